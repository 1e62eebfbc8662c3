# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that forwards, in a namespace of its own: the network of tests about what it would do with
a packet if the balancer left it alone."""

from __future__ import annotations

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.interface import Receivers

from tests.packet.harness import Balancer, Namespace
from tests.packet.model import Host
from tests.packet.packets import BALANCER_MAC, Address, mac

UPLINK, QUIET, MACVLAN = 11, 12, 13
"""Interfaces: one that forwards, one that does not, one that does."""
TAG, QUIET_TAG, UNKNOWN_TAG = 100, 200, 300
OWN_MAC = BALANCER_MAC
BRIDGE_MAC, MACVLAN_MAC, QUIET_MAC = "02:00:00:00:00:0b", "02:00:00:00:00:55", "02:00:00:00:00:66"
RECEIVERS = Receivers(
    (BRIDGE_MAC, MACVLAN_MAC, QUIET_MAC),
    {0: UPLINK, TAG: UPLINK, QUIET_TAG: QUIET},
    {MACVLAN_MAC: MACVLAN, QUIET_MAC: QUIET},
)
FORWARDS: dict[bytes | int, bool] = {
    0: True,
    TAG: True,
    QUIET_TAG: False,
    mac(MACVLAN_MAC): True,
    mac(QUIET_MAC): False,
}
"""What comes in by the interface of a MAC address, or of a VLAN."""
NETWORK = f"""
    link set lo up
    link add uplink index {UPLINK} type veth peer name peer
    link add quiet index {QUIET} type veth peer name quiet-peer
    link add vrrp index {MACVLAN} link uplink type macvlan
    link set uplink up
    link set peer up
    link set quiet up
    link set quiet-peer up
    link set vrrp up
    address add 198.18.0.1/24 dev uplink
    address add 2001:db8:18::1/64 dev uplink nodad
    neighbour add 198.18.0.254 lladdr 52:54:00:01:00:fe dev uplink nud permanent
    neighbour add 2001:db8:18::fe lladdr 52:54:00:01:06:fe dev uplink nud permanent
"""
GATEWAY = {4: "198.18.0.254", 6: "2001:db8:18::fe"}
NOBODY = {4: "198.18.0.99", 6: "2001:db8:18::99"}


def build(namespace: Namespace) -> None:
    """NETWORK. Routes to the services' addresses are the tests' to add."""
    for command in filter(str.strip, NETWORK.split("\n")):
        namespace.ip(command)
    for family in ("ipv4", "ipv6"):
        namespace.write(f"net/{family}/conf/all/forwarding", "1")
        namespace.write(f"net/{family}/conf/quiet/forwarding", "0")


def balancer_on(
    namespace: Namespace,
    *forwarded: Address,
    every_feature: bool = False,
    flags: tuple[str, ...] = (),
    standstill: bool = False,
) -> Balancer:
    """A balancer whose frames NETWORK receives.

    forwarded: addresses that there are routes to.
    standstill: as of a Balancer.
    """
    macs = frozenset(map(mac, RECEIVERS.macs))
    return Balancer(
        namespace,
        OWN_MAC,
        every_feature=every_feature,
        flags=flags,
        standstill=standstill,
        host=Host(macs, FORWARDS, frozenset(forwarded), RECEIVERS.by_vlan),
        receivers=RECEIVERS,
    )
