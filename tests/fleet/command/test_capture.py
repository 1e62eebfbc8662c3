# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What l4lb capture says where nothing comes, or the kernel lets no program be traced; what it does
is tests/fleet/test_capture.py's."""

from __future__ import annotations

from lab.host import CHECKOUT, Host
from tests.fleet.rig.balancers import program
from tests.fleet.rig.command import l4lb
from tests.fleet.rig.readme import blocks


def test_nothing_but_words(lb1: Host) -> None:
    """Of a file nothing is there before packets are seen, and the program stays as it is."""
    before = program(lb1)
    done = lb1.run(["l4lb", "capture", "--seconds", "1", "-w", "/root/some.pcapng"], check=False)
    *seen, last = done.stderr.splitlines()
    written = lb1.run(["ls", "/root"]).stdout.split()
    if done.returncode:
        assert "lets no program be traced (" in last and "xdpdump" in last and not seen
        assert "some.pcapng" not in written
    else:
        assert last == "l4lb: 0 packets captured, 0 lost as they came too fast"
        assert "some.pcapng" in written
    assert program(lb1) == before


def test_wrong_names(lb1: Host) -> None:
    told = l4lb(lb1, "capture", "--service", "wib", code=1)
    assert told.strip() == "--service: 'wib': there is no such service, but web"
    told = l4lb(lb1, "capture", "--backend", "203.0.113.99", code=1)
    assert "there is no such backend, but 203.0.113.21" in told
    assert "'eth9': no such interface" in l4lb(lb1, "capture", "eth9", code=1)


def test_the_examples_of_the_page(lb1: Host) -> None:
    """All are taken, and come as far as the kernel lets them."""
    _explain, example = blocks("sh", (CHECKOUT / "docs/looking.md").read_text())
    script = example.replace("l4lb capture", "l4lb capture --seconds 1")
    said = lb1.run(["sh", "-c", script], check=False).stderr
    assert said.count("lets no program be traced") + said.count("l4lb: 0 packets captured") == 4
