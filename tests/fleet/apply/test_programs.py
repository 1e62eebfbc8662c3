# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that are not ours, not C, or not safe."""

from __future__ import annotations

import pytest

from lab import Lab
from lab.host import Host
from tests.fleet.rig.balancers import apply, packets, program, traces
from tests.fleet.rig.clients import works
from tests.fleet.rig.hosts import python
from tests.fleet.rig.services import service, wanted
from tests.fleet.there import strangers


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_a_foreign_program(lab: Lab, lb1: Host, mode: str) -> None:
    python(lb1, strangers.foreign, mode=mode)
    stranger = program(lb1)
    outcome = apply(lb1, wanted(service(1, 2)))
    assert outcome["error"] == "ForeignProgramError"
    for part in ("eth0", "'stranger'", f"(id {stranger})", "replace: true"):
        assert part in outcome["message"]
    assert apply(lb1, None)["steps"] == []
    assert program(lb1) == stranger

    outcome = apply(lb1, wanted(service(1, 2)), replace=True)
    assert "replace the XDP program 'stranger'" in outcome["steps"]
    assert outcome["mode"] == mode, "it is exchanged at once"
    works(lab, 1, 2)
    assert apply(lb1, wanted(service(1, 2)), replace=True)["steps"] == []


def test_a_foreign_program_in_place_of_ours(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    works(lab, 1, 2)
    before = packets(lb1)
    lb1.run(["ip", "link", "set", "eth0", "xdp", "off"])
    python(lb1, strangers.foreign, mode="native")
    assert apply(lb1, wanted(service(1, 2)))["error"] == "ForeignProgramError"
    apply(lb1, wanted(service(1, 2)), replace=True)
    assert packets(lb1) == before, "ours was pinned meanwhile"
    works(lab, 1, 2)


BAD_SOURCES = {
    "clang": (
        {"send/encap.h": "#pragma once\n\nint x = nonsense;\n"},
        "clang refused l4lb: send/encap.h:3:9: error: use of undeclared identifier 'nonsense'",
        "undeclared identifier 'nonsense'",
    ),
    "verifier": (
        {"l4lb.c": "int l4lb(struct xdp_md *ctx) { return *(int *)8; }\n"},
        "the kernel refused to load l4lb: ",
        "invalid mem access 'scalar'",
    ),
    "no l4lb.c": ({"l4lb.c": None}, "the C sources lack l4lb.c; is the collection installed", ""),
}


@pytest.mark.parametrize(("other", "message", "log"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_bad_sources(
    lab: Lab, lb1: Host, other: dict[str, str | None], message: str, log: str
) -> None:
    outcome = python(lb1, strangers.with_sources, others=other, wanted=wanted(service(1, 2)))
    assert message in outcome["message"]
    assert traces(lb1) == []

    apply(lb1, wanted(service(1, 2)))
    outcome = python(lb1, strangers.with_sources, others=other, wanted=wanted(service(3)))
    assert message in outcome["message"]
    assert log in outcome["log"]
    works(lab, 1, 2)
    assert apply(lb1, wanted(service(1, 2)))["steps"] == []
