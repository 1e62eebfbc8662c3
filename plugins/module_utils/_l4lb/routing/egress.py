# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How frames leave by the interfaces that routes name.

A program of mode native gives a frame to a driver, which must be one that takes it. What stands on
other interfaces, as a bridge, a bond or a VLAN device, has none. So it is settled beforehand for
each interface which one below sends its frames, and with which VLAN tags. All of this is pure: what
the host has comes in, a table for the data plane goes out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..maps.egress_record import MOST_TAGS, Egress, EgressKey, Tag
from ..network.rtnetlink import LinkEntry, PortVlans

TAKES_REDIRECTS = 4  # NETDEV_XDP_ACT_NDO_XMIT
MAKES_REDIRECTS = 3  # NETDEV_XDP_ACT_BASIC, NETDEV_XDP_ACT_REDIRECT
_IFF_LOOPBACK, _IFF_NOARP = 0x8, 0x80
_NATIVE = 1
_MAC_LENGTH = 6
_CUSTOMER_TAG = 0x8100
_ON_ANOTHER = ("vlan", "macvlan", "ipvlan", "macvtap", "ipvtap")
_AGGREGATES = ("bond", "team")
_DRIVERS = """
    atlantic bnxt_en cpsw ena fec fsl_dpaa fsl_dpaa2_eth fsl_enetc hv_netvsc i40e ice igb igc ixgbe
    ixgbevf mlx4_en mlx5_core mvneta mvpp2 netsec qede sfc stmmac tsnep vif virtio_net
""".split()  # noqa: SIM905 (as one reads it)
"""Of hardware, those that take redirects while they have a program, for kernels that do not say."""
_OTHERWISE = "have another route, give the backend a mac, or set mode to generic"
_GRO = "switch GRO on there, as ethtool -K INTERFACE gro on does, or set mode to generic"
_LATER = "run again when it answers"


@dataclass(frozen=True)
class Surroundings:
    """What a host has around the balanced interface.

    features: XDP's by index of the interface; None: the kernel does not tell.
    drivers: of hardware, by index; only needed if it does not.
    passing: indices of interfaces that have a program for nothing but to take redirects.
    forwarding: of bridges, see rtnetlink.forwarding_table.
    vlans: of bridges that filter VLANs and their ports, by index.
    """

    links: Iterable[LinkEntry]
    features: Mapping[int, int] | None = None
    drivers: Mapping[int, str] = field(default_factory=dict)
    passing: Collection[int] = ()
    forwarding: Mapping[tuple[int, int, bytes], int] = field(default_factory=dict)
    vlans: Mapping[int, PortVlans] = field(default_factory=dict)


@dataclass(frozen=True)
class Exit:
    """How frames leave by an interface.

    egress: None: they cannot.
    reason: why, and what to do.
    unknown: that is only because nobody knows where the next hop is; it may show.
    needs_program: they do only while that interface has a program of its own.
    """

    egress: Egress | None
    reason: str = ""
    unknown: bool = False
    needs_program: bool = False


@dataclass(frozen=True)
class Settled:
    """What holds for all interfaces.

    table: for the data plane.
    programs: indices of the interfaces that need a program of their own for it.
    problems: (index of the interface, MAC address of the next hop, "" if it is not known) -> why
        its packets cannot leave, of next hops in use.
    """

    table: dict[EgressKey, Egress]
    programs: frozenset[int] = frozenset()
    problems: dict[EgressKey, Exit] = field(default_factory=dict)


def is_native(index: int, host: Surroundings) -> bool:
    """Whether an interface can be expected to take a program in mode native."""
    return host.features is None or bool(host.features.get(index, 0) & MAKES_REDIRECTS)


def leading_to_bridges(links: Iterable[LinkEntry]) -> set[int]:
    """The interfaces of whose frames it matters which the next hop is."""
    by_index = {link.index: link for link in links}
    found = set()
    for index, link in by_index.items():
        below: LinkEntry | None = link
        while below and below.kind in _ON_ANOTHER:
            below = by_index.get(below.lower)
        if below and below.kind == "bridge":
            found.add(index)
    return found


def holder(link: LinkEntry, links: Iterable[LinkEntry]) -> LinkEntry | None:
    """The interface above one whose program keeps the kernel from giving this one another, and from
    taking one away; None: there is none."""
    above = (
        one
        for one in links
        if one.index == link.master or (one.kind in _ON_ANOTHER and one.lower == link.index)
    )
    return next((one for one in above if one.xdp_program), None)


def has_vlans(index: int, links: Iterable[LinkEntry]) -> bool:
    """Whether the host has VLAN devices for frames that come in by an interface, on it or on the
    bridge or bond that it is a port of."""
    by_index = {link.index: link for link in links}
    receivers = set()
    while index in by_index and index not in receivers:
        receivers.add(index)
        index = by_index[index].master
    return any(link.vlan and link.lower in receivers for link in by_index.values())


class Exits:
    """How frames leave by each interface of a host."""

    def __init__(self, ingress: int, host: Surroundings, generic: bool = False) -> None:
        """ingress: index of the balanced interface. generic: its mode; then frames pass through
        the kernel's stack, and so leave by any interface that has them."""
        self.ingress = ingress
        self._host = host
        self._generic = generic
        self._links = {link.index: link for link in host.links}

    def of(self, index: int, mac: str = "", known: Egress | None = None) -> Exit:
        """How frames to a next hop, or to any, leave by an interface; `known`: how they did."""
        link = self._links.get(index)
        if link is None:
            return _stuck("which has gone; run again")
        if link.index == self.ingress:
            return Exit(Egress())
        if link.flags & (_IFF_NOARP | _IFF_LOOPBACK) or len(link.mac) != _MAC_LENGTH:
            return _stuck("which carries no Ethernet frames; have another route, or give it a mac")
        if self._generic:
            return Exit(Egress(link.index))
        return self._leave(link, bytes.fromhex(mac.replace(":", "")), (), known)

    def _leave(
        self, link: LinkEntry, mac: bytes, tags: tuple[Tag, ...], known: Egress | None
    ) -> Exit:
        if link.index == self.ingress:
            return Exit(Egress(0, tags))
        if link.kind in _ON_ANOTHER:
            return self._below(link, mac, tags, known)
        if link.kind == "bridge":
            return self._bridged(link, mac, tags, known)
        if link.kind in _AGGREGATES and self._links[self.ingress].master == link.index:
            return Exit(Egress(0, tags))
        return self._redirected(link, tags)

    def _below(
        self, link: LinkEntry, mac: bytes, tags: tuple[Tag, ...], known: Egress | None
    ) -> Exit:
        """By the interface that this one stands on."""
        below = self._links.get(link.lower)
        if below is None:
            return _stuck(
                f"as {link.name} stands on one of another network namespace; {_OTHERWISE}"
            )
        if link.vlan:
            tags = (link.vlan, *tags)
        if len(tags) > MOST_TAGS:
            return _stuck(f"with more than {MOST_TAGS} VLAN tags; {_OTHERWISE}")
        return self._leave(below, mac, tags, known)

    def _bridged(
        self, bridge: LinkEntry, mac: bytes, tags: tuple[Tag, ...], known: Egress | None
    ) -> Exit:
        """By the port that the next hop is behind. Where that is not known: by the only one; or by
        the one that is balanced, as it has the network behind it, and others have a host each."""
        host_vlans = self._host.vlans.get(bridge.index, PortVlans())
        vlan = 0
        if bridge.filters_vlans:
            if tags and tags[0][0] == _CUSTOMER_TAG:
                vlan, tags = tags[0][1], tags[1:]
            else:
                vlan = host_vlans.untagged
            if vlan not in host_vlans.all:
                return _stuck(f"as {bridge.name} takes no such frames from the host; {_OTHERWISE}")
        ports = {
            link.index: self._leave(link, mac, self._port_tags(link, vlan, tags), known)
            for link in self._links.values()
            if link.master == bridge.index
            and not link.is_blocked
            and (not vlan or vlan in self._vlans_of(link).all)
        }
        learned = self._host.forwarding.get((bridge.index, vlan, mac))
        if learned in ports:
            return ports[learned]
        if not ports:
            return _stuck(f"as {bridge.name} has no port for it that is up; {_OTHERWISE}")
        if len(ports) == 1:
            return next(iter(ports.values()))
        likely = [one for one in ports.values() if known and one.egress == known]
        likely = likely or [one for one in ports.values() if one.egress and not one.egress.target]
        if len(likely) == 1:
            return likely[0]
        return replace(
            _stuck(
                f"as {bridge.name} has not heard its next hop behind any of its ports; {_LATER}"
            ),
            unknown=True,
        )

    def _port_tags(self, port: LinkEntry, vlan: int, inner: tuple[Tag, ...]) -> tuple[Tag, ...]:
        """Of frames that leave a bridge by a port. vlan: 0 if it does not look at them."""
        if not vlan or vlan in self._vlans_of(port).without_tag:
            return inner
        return ((_CUSTOMER_TAG, vlan), *inner)

    def _vlans_of(self, port: LinkEntry) -> PortVlans:
        return self._host.vlans.get(port.index, PortVlans())

    def _redirected(self, link: LinkEntry, tags: tuple[Tag, ...]) -> Exit:
        """By the driver of another interface than the balanced one."""
        if len(tags) > MOST_TAGS:
            return _stuck(f"with more than {MOST_TAGS} VLAN tags; {_OTHERWISE}")
        there = Exit(Egress(link.index, tags))
        if link.index in self._host.passing:
            return replace(there, needs_program=True)
        if self._takes(link):
            return there
        if link.kind == "veth":
            return _stuck(f"as the other end of {link.name} takes nothing from XDP; {_GRO}")
        if link.xdp_program:
            return _stuck(f"as {link.name} has another XDP program, of mode generic; {_OTHERWISE}")
        if self._would_take(link):
            above = holder(link, self._links.values())
            if above:
                return _stuck(
                    f"as {link.name} takes that only while it has a program, and gets none while "
                    f"{above.name} has one; remove that first, and let it balance again afterwards"
                )
            return replace(there, needs_program=True)
        return _stuck(f"as the driver of {link.name} takes nothing from XDP; {_OTHERWISE}")

    def _takes(self, link: LinkEntry) -> bool:
        """Whether it takes what is redirected to it."""
        if self._host.features is not None:
            return bool(self._host.features.get(link.index, 0) & TAKES_REDIRECTS)
        if link.kind in (
            "veth",
            "tun",
        ):  # of a veth it depends on the other end, which is elsewhere
            return True
        return link.xdp_mode == _NATIVE and self._would_take(link)

    def _would_take(self, link: LinkEntry) -> bool:
        """Whether it may do so while it has a program of its own."""
        if link.kind not in ("", "bond"):
            return False
        if self._host.features is not None:
            features = self._host.features.get(link.index, 0)
            return features & MAKES_REDIRECTS == MAKES_REDIRECTS
        return link.kind == "bond" or self._host.drivers.get(link.index) in _DRIVERS


def settle(
    exits: Exits,
    addressed: Collection[int],
    hops: Collection[EgressKey],
    known: Mapping[EgressKey, Egress],
) -> Settled:
    """How frames leave by all interfaces that have addresses, and by those of `hops`.

    hops: (index, MAC address or "") of the next hops in use.
    known: what was settled before. It holds where a bridge has forgotten a next hop meanwhile.
    """
    table: dict[EgressKey, Egress] = {}
    programs: set[int] = set()
    problems: dict[EgressKey, Exit] = {}
    used = {index for index, _mac in hops}
    for index in sorted({exits.ingress, *addressed, *used}):
        found = exits.of(index)
        if found.egress and (index in used or not found.needs_program):
            table[index, ""] = found.egress
    for index, mac in sorted(hops):
        found = exits.of(index, mac, known.get((index, mac)))
        if found.egress is None:
            problems[index, mac] = found
            continue
        if found.needs_program:
            programs.add(found.egress.target)
        if found.egress != table.get((index, "")):
            table[index, mac] = found.egress
    return Settled(table, frozenset(programs), problems)


def differences(
    before: Mapping[EgressKey, Egress],
    after: Mapping[EgressKey, Egress],
    ingress: int,
    name: Callable[[int], str],
) -> list[str]:
    """What is settled otherwise, in words. name: of an interface."""

    def told(egress: Egress | None) -> str:
        if egress is None:
            return "nowhere"
        numbers = " in ".join(f"VLAN {number}" for _protocol, number in reversed(egress.tags))
        return name(egress.target or ingress) + (f" in {numbers}" if numbers else "")

    found = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old != new:
            to = f" to {key[1]}" if key[1] else ""
            found.append(f"frames by {name(key[0])}{to} leave by {told(old)} -> {told(new)}")
    return found


def _stuck(reason: str) -> Exit:
    return Exit(None, reason)
