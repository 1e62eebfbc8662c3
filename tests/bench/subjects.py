# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that are measured, loaded and filled."""

from __future__ import annotations

import functools
import json
import socket
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from unittest import mock

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import build, counters
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import compiler
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.bpf import Program
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.maps import HashTable, maps_of
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import image
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.egress_record import Egress
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.interface import Ingress
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers import candidate
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.schedulers.maglev import maglev

from tests.bench import ROOT
from tests.maps import write

HERE = Path(__file__).parent
OWN_MAC = "52:54:00:00:00:02"
OWN_ADDRESS = "192.0.2.2"
GATEWAY_MAC = "52:54:00:00:00:fe"

SEED_SLOTS = 512
SEED_SERVER = struct.Struct("QQ4s4s6s2x")


@dataclass(frozen=True)
class Tally:
    """What a program says it has done."""

    sent: int = 0
    hits: int = 0
    """In the flow table."""
    misses: int = 0


@dataclass(frozen=True)
class Subject:
    """A program to measure."""

    program: Program
    tally: Callable[[], Tally] | None = None


def compile_own(name: str, flags: Sequence[str] = ()) -> Program:
    """Compile and load the program of this name from the file of this name."""
    text = (HERE / f"{name}.c").read_text(encoding="utf-8")
    return compiler.load(text, flags, name)


@functools.cache
def baseline(verdict: str = "XDP_TX") -> Subject:
    """Returns the verdict."""
    return Subject(compile_own("baseline", [f"-DVERDICT={verdict}"]))


@functools.cache
def floor() -> Subject:
    """Parses, makes room and writes a header."""
    return Subject(compile_own("floor"))


@functools.cache
def seed() -> Subject:
    """The seed's algorithm, with a server in each of its slots."""
    program = compile_own("seed")
    servers = maps_of(program)["servers"]
    assert isinstance(servers, HashTable)
    first = IPv4Address("10.0.0.1")
    mac = bytes.fromhex(GATEWAY_MAC.replace(":", ""))
    keys = [slot.to_bytes(4, sys.byteorder) for slot in range(SEED_SLOTS)]
    for slot, key in enumerate(keys):
        packed = (IPv4Address(OWN_ADDRESS).packed, (first + slot).packed)
        servers.update(key, SEED_SERVER.pack(0, 0, *packed, mac))

    def tally() -> Tally:
        values = (servers.lookup(key) or b"" for key in keys)
        return Tally(sum(SEED_SERVER.unpack(value)[0] for value in values))

    return Subject(program, tally)


def sources() -> dict[str, str]:
    """The files of files/bpf, name -> text."""
    return read_sources(ROOT / "files" / "bpf")


def balancer(options: Mapping[str, Any], use: str = "") -> Subject:
    """This project's program, serving the configuration that `options` describe.

    use: those who name the same use of the same options share one, flow table and all.

    Raises L4lbError.
    """
    return _balancer(json.dumps(options, sort_keys=True), use)


@functools.cache
def _balancer(options: str, use: str) -> Subject:
    del use
    config = parse_config(json.loads(options))
    data_path = build.load(sources(), config)
    exits = {(index, ""): Egress(index) for index, _name in socket.if_nameindex()}
    source = Ingress(IPv4Address(OWN_ADDRESS), OWN_MAC)
    with mock.patch.object(image, "maglev", _maglev_once):
        manifest = write(data_path, config, source, exits)

    def tally() -> Tally:
        statistics = counters.statistics(data_path, manifest)
        sent = sum(count.packets for count in statistics.services.values())
        return Tally(sent, statistics.flows.get("hits", 0), statistics.flows.get("misses", 0))

    return Subject(data_path.program, tally)


_maglev = maglev
_tables: dict[object, Any] = {}


def _maglev_once(candidates: Sequence[candidate.Candidate], *rest: Any) -> Any:
    """A thousand services with the same backends have the same table: compute it once."""
    key = (*candidates, *rest)
    if key not in _tables:
        _tables[key] = _maglev(candidates, *rest)
    return _tables[key]
