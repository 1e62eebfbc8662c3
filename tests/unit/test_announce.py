# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VIPs are announced, and why not the others."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent import announcer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.announcer import Announcer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.journal import Journal
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.announce import host, table, word
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.announce.decide import Side, decide
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import KernelError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import Paths
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.manifest import Manifest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Announced
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import Verdict

VIP = "192.0.2.10"
ONE, TWO = "203.0.113.21", "203.0.113.22"
DRAINED: list[dict[str, Any]] = [{"address": ONE, "state": "drained"}]
IDLE = "eth0 is down"


def service(name: str = "web", port: int = 80, **options: Any) -> dict[str, Any]:
    """A checked one of two backends."""
    given = {"name": name, "address": VIP, "port": port, "protocol": "tcp"}
    backends = [{"address": ONE}, {"address": TWO}]
    return {**given, "check": {"type": "tcp"}, "backends": backends, **options}


def side(
    *services: dict[str, Any],
    bad: Collection[str] = (),
    idle: str = "",
    unknown: Collection[str] = (),
    **options: Any,
) -> Side:
    """A balancer. bad: addresses of backends that are unhealthy."""
    wanted = {"interface": "eth0", "announce": True, "services": list(services), **options}
    verdicts = {ip_address(one): Verdict(True, "HTTP 503") for one in bad}
    names = [one["name"] for one in services if one.get("check")]
    manifest = Manifest(parse_config(wanted), verdicts=dict.fromkeys(names, verdicts))
    return Side(manifest, idle, unknown)


def said(*sides: Side, there: Collection[str] = ()) -> dict[str, str]:
    """VIP -> why it is not announced; empty if it is."""
    found = decide(sides, [ip_address(one) for one in there])
    return {str(vip): one.reason if one else "" for vip, one in found.items()}


def when(how: str, **others: Any) -> list[dict[str, Any]]:
    """Two services of the VIP, the second otherwise."""
    return [
        service(announce_when=how),
        service(**{"name": "tls", "port": 443, "announce_when": how, **others}),
    ]


NONE_OF_TLS = "no backend of tls takes new flows"
NONE_OF_WEB = "no backend of web takes new flows"
OPEN = "too few backends of tls are healthy, so that all are used"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (side(service()), ""),
        (side(service(backends=[])), NONE_OF_WEB),
        (side(service(backends=DRAINED)), NONE_OF_WEB),
        (side(service(), bad=[ONE]), ""),
        (side(service(), bad=[ONE, TWO]), ""),
        (side(service(min_healthy=0), bad=[ONE, TWO]), NONE_OF_WEB),
        (side(*when("any", backends=[])), ""),
        (side(*when("all", backends=[])), NONE_OF_TLS),
        (side(*when("all")), ""),
        (side(*when("all"), bad=[ONE, TWO]), ""),
        (side(*when("healthy"), bad=[ONE]), ""),
        (side(*when("healthy"), bad=[ONE, TWO]), OPEN),
        (side(*when("healthy", check=None), bad=[ONE, TWO]), ""),
        (side(*when("healthy", backends=[])), ""),
        (side(*when("forwarding"), bad=[ONE, TWO]), ""),
        (side(service(announce_when="forwarding", backends=[])), ""),
        (side(service(announce_when="forwarding"), idle=IDLE), IDLE),
        (side(service(), idle=IDLE), IDLE),
    ],
)
def test_one_balancer(found: Side, reason: str) -> None:
    assert said(found) == {VIP: reason}


def test_what_is_not_to_be_announced_is_not_decided() -> None:
    assert said(side(service(), announce=False)) == {}
    assert said(side(service(), announce=False), side(service(address="2001:db8::1"))) == {
        "2001:db8::1": ""
    }


@pytest.mark.parametrize(
    ("how", "other", "reason"),
    [
        ("any", "any", ""),
        ("all", "all", IDLE),
        ("any", "all", IDLE),
        ("forwarding", "healthy", ""),
    ],
)
def test_two_balancers_of_a_host(how: str, other: str, reason: str) -> None:
    """One of which forwards nothing: each of their conditions must be met by both together."""
    sides = [side(service(announce_when=how)), side(service(announce_when=other), idle=IDLE)]
    assert said(*sides) == said(*reversed(sides)) == {VIP: reason}


def test_several_vips_of_a_prefix() -> None:
    """It is announced as long as one of them would be, but for what asks for more."""
    one, other = "2001:db8:0:1::10", "2001:db8:0:1::20"
    away = service("away", address=other, backends=[])
    found = side(service(), service("six", address=one), away, announce_prefix_length6=64)
    assert said(found) == {VIP: "", "2001:db8:0:1::/64": ""}
    demanding = {**away, "announce_when": "all"}
    found = side(service("six", address=one), demanding, announce_prefix_length6=64)
    assert said(found) == {"2001:db8:0:1::/64": "no backend of away takes new flows"}
    told = {name: {"announced": True} for name in decide([found], ())}
    assert host.of_balancer(told, found.manifest.config).keys() == {one, other}
    assert host.of_balancer(told, side(service("six", address=one)).manifest.config) == {}


def test_it_waits_for_the_first_checks() -> None:
    found = side(service(), service("tls", 443), unknown={"tls"})
    assert said(found) == {VIP: "not all backends of tls have been checked yet"}
    assert said(found, there=[VIP]) == {VIP: ""}
    assert said(side(service(), unknown={"web"}, idle=IDLE)) == {VIP: IDLE}
    assert said(side(service(announce_when="forwarding"), unknown={"web"})) == {VIP: ""}


# What the agent makes of it.


class Routes:
    """In place of the kernel's table."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.there: dict[Announced, int] = {}
        self.taken: set[str] = set()
        self.now, self.said = 1000.0, list[str]()
        self.paths = Paths(etc=tmp_path / "etc", run=tmp_path / "run")
        for name in ("routes", "announce", "withdraw"):
            monkeypatch.setattr(table, name, getattr(self, name))
        monkeypatch.setattr(announcer.time, "monotonic", lambda: self.now)
        self.agent = Announcer(Journal(self.said.append), self.paths)

    def routes(self) -> dict[Announced, int]:
        return dict(self.there)

    def announce(self, vips: Collection[Announced]) -> None:
        for vip in vips:
            if str(vip) in self.taken:
                raise KernelError("File exists", 17)
            self.there[vip] = table.STAYS

    def withdraw(self, vips: Collection[Announced]) -> None:
        for vip in vips:
            del self.there[vip]

    def follow(self, *sides: Side, complete: bool = True) -> list[str]:
        """What is announced then."""
        self.agent.follow(sides, complete)
        return [str(vip) for vip in self.there]


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Routes:
    return Routes(monkeypatch, tmp_path)


def test_what_it_says(routes: Routes) -> None:
    assert routes.follow(side(service())) == [VIP]
    assert routes.follow(side(service(backends=DRAINED))) == []
    assert routes.follow() == []
    assert routes.said == [f"{VIP} is announced", f"{VIP} is withdrawn: {NONE_OF_WEB}"]


def test_what_no_balancer_has_goes(routes: Routes) -> None:
    routes.there = {ip_address(VIP): table.STAYS}
    assert routes.follow(complete=False) == [VIP]
    assert routes.follow() == []
    assert routes.said == [f"{VIP} is withdrawn: no service has it"]


def test_a_prefix_takes_the_place_of_its_vips(
    routes: Routes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no moment at which neither is announced, and what ends in the same run goes."""
    six, ends = "2001:db8:0:1::10", "2001:db8:0:2::10"
    before = side(service(address=six), service("ends", address=ends))
    assert routes.follow(before) == [ends, six]
    after = side(service(address=six), announce_prefix_length6=64)
    monkeypatch.setattr(host, "sides", lambda *_arguments: [after])
    host.settle(routes.paths, before.manifest.config, after.manifest)
    assert [str(name) for name in routes.there] == [six]
    assert routes.follow(after) == ["2001:db8:0:1::/64"]
    assert routes.said[2:] == [
        "2001:db8:0:1::/64 is announced",
        f"{six} is withdrawn: no service has it",
    ]


def test_it_waits_no_longer_than_it_shall(routes: Routes) -> None:
    waits = side(service(), unknown={"web"}, announce_timeout=10)
    assert routes.follow(waits) == []
    routes.now += 9
    assert routes.follow(waits) == []
    routes.now += 1
    assert routes.follow(waits) == [VIP]
    assert routes.said == [f"{VIP} is announced although not all of its backends have been checked"]
    routes.there.clear()
    assert routes.follow(waits) == []


def test_somebody_else_s_route_stays(routes: Routes) -> None:
    routes.taken = {VIP}
    other = "192.0.2.11"
    found = side(service(), service("other", address=other))
    for _turn in range(2):
        assert routes.follow(found) == [other]
    assert routes.said == [f"{other} is announced", f"{VIP} cannot be announced: File exists"]


def test_an_operator_s_word_holds(routes: Routes, monkeypatch: pytest.MonkeyPatch) -> None:
    found = side(service())
    routes.follow(found)
    word.withdraw(routes.paths)
    assert routes.follow(found) == []
    routes.there = {ip_address(VIP): table.LEAVES}
    assert routes.follow(found) == [VIP]  # whoever withdraws it has some time for that
    monkeypatch.setattr(announcer.time, "time", lambda: 1e12)
    assert routes.follow(found) == []
    word.announce(routes.paths)
    assert routes.follow(found) == [VIP]
    assert routes.said[1].startswith(f"{VIP} is withdrawn: withdrawn by the operator since ")


def test_traffic_comes_back(routes: Routes) -> None:
    routes.there = {ip_address(VIP): table.LEAVES}
    routes.follow(side(service()))
    assert routes.there == {ip_address(VIP): table.STAYS}


def test_a_word(tmp_path: Path) -> None:
    """Leaves nothing when it is taken back."""
    paths = Paths(etc=tmp_path / "etc", run=tmp_path / "run")
    assert word.withdrawn(paths) is None
    word.withdraw(paths, until_boot=True)
    passing = word.withdrawn(paths)
    assert passing and passing.until_boot
    assert str(passing).endswith("until the next boot; l4lb announce ends that")
    word.withdraw(paths)
    lasting = word.withdrawn(paths)
    assert lasting and not lasting.until_boot
    word.announce(paths)
    assert word.withdrawn(paths) is None
    assert list(tmp_path.iterdir()) == []


def test_each_ends_what_it_has_said(tmp_path: Path) -> None:
    """But the operator all, and nobody else what he has said."""
    paths = Paths(etc=tmp_path / "etc", run=tmp_path / "run")

    def who() -> str | None:
        found = word.withdrawn(paths)
        return found.by if found else None

    word.withdraw(paths, by="upgrade")
    assert who() == "upgrade"
    assert str(word.withdrawn(paths)).startswith("withdrawn by upgrade since ")
    word.announce(paths, by="backup")
    assert who() == "upgrade"
    word.announce(paths, by="upgrade")
    assert who() is None
    for until_boot in (False, True):
        word.withdraw(paths, by="upgrade")
        word.withdraw(paths, until_boot)
        assert who() == "operator"
        word.withdraw(paths, by="upgrade")
        word.announce(paths, by="upgrade")
        assert who() == "operator"
        word.announce(paths)
        assert who() is None
    word.withdraw(paths, by="upgrade")
    word.announce(paths)
    assert who() is None


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"two words", b"upgrade\x1b[2J"])
def test_a_word_of_nobody_is_the_operator_s(tmp_path: Path, content: bytes) -> None:
    """As after a crash: who cannot be told does not lose his word to others."""
    paths = Paths(etc=tmp_path / "etc", run=tmp_path / "run")
    word.withdraw(paths)
    (paths.etc / "withdrawn").write_bytes(content)
    word.announce(paths, by="upgrade")
    found = word.withdrawn(paths)
    assert found and found.by == "operator"
