# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of others, of other times, and that are none."""

from __future__ import annotations

import ctypes
import json
from typing import Any

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb import errors
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import build
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import compiler
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.bpf import Program
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.maps import maps_of
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import Paths
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.pins import Pins
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import layout
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.manifest import Manifest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import link, xdp

from tests.fleet.there.library import Answer, Options, attempt, config_of, sources
from tests.fleet.there.library import statistics as statistics_of

BPF_XDP = 37
STRANGER = "int stranger(struct xdp_md *ctx) { return XDP_PASS; }"
OTHER_MAPS = """
BPF_ARRAY(vips, u64, 4);
int l4lb(struct xdp_md *ctx) { int zero = 0; return vips.lookup(&zero) ? XDP_PASS : XDP_DROP; }
"""


def _stranger() -> Program:
    return compiler.load(STRANGER, [], "stranger")


def foreign(mode: str, interface: str = "eth0") -> None:
    """A program that somebody else attaches."""
    loaded = _stranger()  # open until it is attached
    xdp.attach(link.read_link(interface), loaded.fd, mode, None)


def linked(wanted: Options) -> list[Any]:
    """Apply where a BPF link holds a program; what came of that, and whether it is still there.

    The link goes with this process.
    """
    loaded = _stranger()
    libbpf = ctypes.CDLL("libbpf.so.1")
    fd = libbpf.bpf_link_create(loaded.fd, link.read_link("eth0").index, BPF_XDP, None)
    assert fd >= 0, fd
    outcome = attempt(Balancer("eth0", sources()).apply, config_of(wanted), True)
    attached = link.read_link("eth0").attached
    return [outcome, attached is not None and attached.program_id == loaded.id]


def refused_first(wanted: Options) -> Answer:
    """Take over from a foreign program, where the driver refuses the first program."""
    attach, calls = xdp.attach, []

    def fail_first(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise errors.KernelError("the driver refuses")
        return attach(*arguments)

    xdp.attach = fail_first  # type: ignore[assignment]
    return attempt(Balancer("eth0", sources()).apply, config_of(wanted), True)


def older() -> None:
    """A balancer of a release that had other maps; by its pin it is ours all the same."""
    text = build.program_text(sources(**{"l4lb.c": OTHER_MAPS}))
    loaded = compiler.load(text, [], "l4lb")
    xdp.attach(link.read_link("eth0"), loaded.fd, "native", None)
    pins = Pins.of("eth0", Paths())
    pins.create()
    for name, map_ in maps_of(loaded).items():
        pins.set(name, map_)
    pins.set("program", loaded)


def of_another_layout(wanted: Options, versions: int, without: list[str]) -> Answer:
    """Apply as a release did that had an earlier layout, or knew less in its manifest."""
    original = Manifest.dump

    def dump(self: Manifest) -> bytes:
        state = json.loads(original(self))
        for name in without:
            del state[name]
        return json.dumps(state).encode()

    layout.VERSION -= versions
    Manifest.dump = dump  # type: ignore[method-assign]
    return attempt(Balancer("eth0", sources()).apply, config_of(wanted))


def with_sources(wanted: Options, others: dict[str, str | None]) -> Answer:
    """Apply with other C sources; None: without one of them."""
    texts = {name: text for name, text in {**sources(), **others}.items() if text is not None}
    return attempt(Balancer("eth0", texts).apply, config_of(wanted))


def statistics() -> Answer:
    """Ask for those, of whatever is there."""
    return attempt(statistics_of, "eth0")
