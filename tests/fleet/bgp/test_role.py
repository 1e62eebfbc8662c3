# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role l4lb_bgp beside what a host has of BIRD."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from lab.host import Host
from tests.fleet.bgp.conftest import KEY, ROUTER, VIP6, Fleet, speaking
from tests.fleet.rig.play import changed
from tests.fleet.rig.services import VIP

CONFIGURATION, FILE = "/etc/bird/bird.conf", "/etc/bird/l4lb.conf"
INCLUDE = f'include "{FILE}";'


def content(host: Host, path: str = CONFIGURATION) -> str:
    return host.run(["cat", path]).stdout


def since(host: Host) -> str:
    """Since when its session is up."""
    (line,) = [one for one in birdc(host, "show protocols").splitlines() if "l4lb_router " in one]
    return " ".join(line.split())


def birdc(host: Host, *words: str) -> str:
    return host.run(["birdc", " ".join(words)]).stdout


@contextmanager
def changed_file(host: Host, path: str, text: str) -> Iterator[None]:
    """A file that is something else for a while; BIRD does not hear of it."""
    before = content(host, path)
    host.run(["sh", "-c", f"cat >{path}"], input=text)
    yield
    host.run(["sh", "-c", f"cat >{path}"], input=before)


def test_what_the_router_hears(fleet: Fleet, lb1: Host) -> None:
    shown = birdc(fleet.router, f"show route all {VIP}/32 protocol lb1v4")
    for attribute in ("BGP.med: 50", "BGP.community: (64512,7)", "BGP.as_path: 64512"):
        assert attribute in shown
    assert "BGP.large_community: (64512, 1, 2)" in shown
    shown = birdc(fleet.router, f"show route all {VIP6}/128 protocol lb1v6")
    assert "BGP.next_hop: 2001:db8:2::11" in shown
    assert "Established" in since(lb1)


def test_a_second_run_changes_nothing(fleet: Fleet, lb1: Host) -> None:
    first = since(lb1)
    output = speaking(fleet.lab, "--diff")
    assert changed(output) == [0, 0]
    assert since(lb1) == first
    assert content(lb1).count(INCLUDE) == 1
    assert lb1.run(["stat", "-c", "%a %U:%G", FILE]).stdout == "640 root:bird\n"


def test_a_change_keeps_the_sessions_that_it_does_not_concern(fleet: Fleet, lb1: Host) -> None:
    first = since(lb1)
    more: dict[str, Any] = {"limit": "lb1", "bgp_med": 60}
    predicted = speaking(fleet.lab, "--check", "--diff", **more)
    assert changed(predicted) == [1]
    assert KEY not in predicted
    assert "med = 60" not in content(lb1, FILE)
    assert changed(speaking(fleet.lab, **more)) == [2]  # the file, and that BIRD has read it
    fleet.until(lambda: "BGP.med: 60" in birdc(fleet.router, f"show route all {VIP}/32"))
    assert since(lb1) == first
    assert changed(speaking(fleet.lab, limit="lb1")) == [2]


def test_there_and_back(fleet: Fleet, lb1: Host) -> None:
    """What the host had of its own is what it has in the end."""
    own = content(lb1).replace(f"{INCLUDE}\n", "")
    absent: dict[str, Any] = {"limit": "lb1", "bgp_state": "absent"}
    assert changed(speaking(fleet.lab, "--check", **absent)) == [2]
    assert changed(speaking(fleet.lab, **absent)) == [3]
    assert content(lb1) == own
    assert lb1.run(["ls", "/etc/bird"]).stdout.split() == ["bird.conf", "envvars"]
    fleet.until_hops("lb2")
    assert changed(speaking(fleet.lab, **absent)) == [0]
    assert changed(speaking(fleet.lab, "--check", limit="lb1")) == [2]
    assert changed(speaking(fleet.lab, limit="lb1")) == [3]
    assert content(lb1) == f"{own}{INCLUDE}\n"


def test_a_bird_without_bfd_and_device(fleet: Fleet, lb1: Host) -> None:
    """They come along where they are missing, and only there."""
    assert "protocol bfd" in content(lb1, FILE)
    assert "protocol device" not in content(lb1, FILE)
    with changed_file(lb1, CONFIGURATION, "protocol bfd mine { }\n"):
        shown = speaking(fleet.lab, "--check", "--diff", limit="lb1", bgp_peers=[
            {"address": ROUTER[0], "asn": 64500}
        ])  # fmt: skip
    assert "+protocol device l4lb_device" in shown
    assert "-protocol bfd l4lb_bfd" in shown


WRONG: list[tuple[str, bool, dict[str, Any], str]] = [
    ("no peers", True, {"bgp_peers": []}, "l4lb_bgp_peers: []: give a list of routers"),
    ("broken", True, {}, "bird.conf is broken, without anything of this role; mend it first"),
    ("taken", False, {}, "BIRD does not take the peers beside /etc/bird/bird.conf"),
    ("no bird", False, {"manage_packages": False}, "BIRD is missing on the host"),
    ("no bird", False, {}, "bird2 cannot be installed from this host's package sources"),
]
"""What is wrong, whether in check mode, the variables, and what is said."""
TEXTS = {"broken": "protocol device {\n", "taken": "protocol device { }\nipv4 table l4lb4;\n"}
"""The configuration that the host has of its own."""


@contextmanager
def without_bird(host: Host) -> Iterator[None]:
    host.run(["mv", "/usr/sbin/bird", "/root/bird"])
    yield
    host.run(["mv", "/root/bird", "/usr/sbin/bird"])


@pytest.mark.parametrize(("what", "check", "variables", "told"), WRONG)
def test_wrong_is_one_error(
    fleet: Fleet, lb1: Host, what: str, check: bool, variables: dict[str, Any], told: str
) -> None:
    text = TEXTS.get(what, content(lb1))
    arguments = ["--check"] if check else []
    missing = without_bird(lb1) if what == "no bird" else nullcontext()
    with changed_file(lb1, CONFIGURATION, text), missing:
        output = speaking(fleet.lab, *arguments, limit="lb1", **variables)
        assert content(lb1) == text
    assert told in " ".join(output.split()), output
    assert "failed=1" in output
    there = lb1.run(["ls", "-A", "/etc/bird"]).stdout.split()
    assert there == ["bird.conf", "envvars", "l4lb.conf"]


def test_check_mode_where_there_is_no_bird(fleet: Fleet, lb1: Host) -> None:
    with without_bird(lb1):
        assert changed(speaking(fleet.lab, "--check", "--diff", limit="lb1")) == [1]


def test_an_frr_that_is_too_old(fleet: Fleet, lb1: Host) -> None:
    """tests/userlands has one that is not."""
    if " version 10" in lb1.run(["/usr/lib/frr/bgpd", "--version"]).stdout:
        pytest.skip("cannot run here: the distribution has an FRR that is new enough")
    given: dict[str, Any] = {"limit": "lb1", "bgp_daemon": "frr", "bgp_peers": []}
    output = " ".join(speaking(fleet.lab, **given).split())
    assert "The host has FRR 8." in output and "10.0 or newer is needed" in output
    lb1.run(["mv", "/usr/bin/vtysh", "/root/vtysh"])
    output = " ".join(speaking(fleet.lab, "--check", **given).split())
    lb1.run(["mv", "/root/vtysh", "/usr/bin/vtysh"])
    assert "FRR is missing on the host. With l4lb_bgp_daemon: frr the VIPs are given to" in output
    assert changed(speaking(fleet.lab, **{**given, "bgp_state": "absent"})) == [0]
