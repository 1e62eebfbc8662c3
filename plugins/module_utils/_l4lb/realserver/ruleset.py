# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of a real server, as nft(8) reads them. All of this is pure.

Segments: what a server says in its SYN-ACK is what clients send, and that grows on the way here.
nftables lowers what is larger and never raises; no route is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..model.config import Address
from .desired import Desired
from .state import Filter

if TYPE_CHECKING:
    from .decide import Host

TABLE = "l4lb_real_server"
DEVICES = "l4lb-"
"""What the names of our tunnel devices begin with."""
_USUAL_MTU = 1500
_INNER = {4: 40, 6: 60}
"""Bytes of the headers of IP and TCP."""
_FAMILY = {4: "ip", 6: "ip6"}
_CHAINS = {
    "input": "type filter hook input priority filter",
    "segments": "type filter hook postrouting priority mangle",
}


def rules(desired: Desired, way: str, host: Host) -> list[tuple[str, str]]:
    """Pairs of the name of a chain and a rule."""
    found: list[tuple[str, str]] = []
    if desired.firewall and way == "kernel":
        found += [("input", rule) for rule in _guards(desired)]
    if desired.limit_segments:
        found += [("segments", rule) for rule in _limits(desired, host)]
    return found


def table(found: Iterable[tuple[str, str]]) -> Filter:
    """The table of these rules. Each bears a digest of all, by which it is compared."""
    each = list(found)
    digest = hashlib.sha256(repr((each, _CHAINS)).encode()).hexdigest()[:16]
    chains = "".join(
        f"  chain {chain} {{\n    {hook}\n"
        + "".join(f'    {rule} comment "{digest}"\n' for place, rule in each if place == chain)
        + "  }\n"
        for chain, hook in _CHAINS.items()
        if any(place == chain for place, _rule in each)
    )
    start = f"table inet {TABLE}\ndelete table inet {TABLE}\n"
    return Filter(digest, len(each), f"{start}table inet {TABLE} {{\n{chains}}}\n")


def _guards(desired: Desired) -> Iterator[str]:
    """Only balancers reach tunnels, and only what is for a VIP comes out of them."""
    kinds: dict[Address, set[str]] = {}
    for entry in desired.tunnels:
        ways = kinds.setdefault(entry.backend, set())
        if entry.encapsulation == "gue":
            ways.add(f"udp dport {entry.gue_port}")
        elif entry.encapsulation == "gre":
            ways.add("meta l4proto 47")
        else:
            ways.add(f"meta l4proto {4 if entry.vip.version == 4 else 41}")
    for address in sorted(kinds, key=lambda one: (one.version, one.packed)):
        family = _FAMILY[address.version]
        known = [str(one) for one in desired.balancers if one.version == address.version]
        if "0.0.0.0/0" in known or "::/0" in known:
            continue
        allowed = f"{family} saddr != {_set(known)} "
        for way in sorted(kinds[address]):
            yield f"{family} daddr {address} {way} {allowed}counter drop"
    for version, family in _FAMILY.items():
        vips = sorted(vip for vip in desired.vips if vip.version == version)
        allowed = f"{family} daddr != {_set(map(str, vips))} " if vips else ""
        yield f'iifname "{DEVICES}*" meta nfproto ipv{version} {allowed}counter drop'


def _limits(desired: Desired, host: Host) -> Iterator[str]:
    """A VIP that packets reach in several ways has room in all of them."""
    sizes: dict[Address, int] = {}
    for entry in desired.tunnels:
        mtu = entry.mtu or host.mtus.get(host.addresses[entry.backend], _USUAL_MTU)
        size = mtu - entry.added - _INNER[entry.vip.version]
        sizes[entry.vip] = min(size, sizes.get(entry.vip, size))
    groups: dict[tuple[int, int], list[Address]] = {}
    for vip, size in sizes.items():
        groups.setdefault((vip.version, size), []).append(vip)
    for (version, size), vips in sorted(groups.items()):
        there = f"{_FAMILY[version]} saddr {_set(sorted(map(str, vips)))}"
        yield f"{there} tcp flags & (syn|rst) == syn tcp option maxseg size set {size}"


def _set(values: Iterable[str]) -> str:
    return f"{{ {', '.join(values)} }}"
