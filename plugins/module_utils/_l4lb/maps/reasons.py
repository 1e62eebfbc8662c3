# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counters count, by their names."""

from __future__ import annotations

DROPS = {
    "malformed": "Header lengths contradict each other or the frame, or what would be answered has "
    "a wrong header checksum, options that cannot be read, a source route, or comes from a group's "
    "MAC address. What a UDP header says of its length is left to the backend. Expected to be 0; "
    "look for a broken sender or a scan.",
    "fragment": "A fragment has no ports to balance by. Expected to be near 0; have clients use "
    "path MTU discovery.",
    "no_backend": "The service has no enabled backend with a weight. Enable one.",
    "no_route": "The host has no route to the backend. Add one, or give the backend a mac.",
    "no_neighbour": "The next hop does not answer ARP or neighbour discovery. A few at start are "
    "normal; else see whether it is up.",
    "forwarding_off": "net.ipv4.conf.lo.forwarding, or its IPv6 sister, is 0, so the kernel "
    "answers no route lookups. Expected to be 0; apply the configuration again.",
    "too_big": "Does not fit the path to the backend with its outer header, and the sender cannot "
    "be told: it may be fragmented, is an ICMP error, or would have to be shorter than 576 bytes, "
    "1280 of IPv6. Raise the MTU towards the backends.",
    "no_room": "The driver left no room before the frame for the outer header. Expected to be 0; "
    "use mode generic.",
    "bad_source": "The source address is one that no host may have: loopback, multicast, "
    "unspecified, broadcast, or the service's own. Somebody forges packets.",
    "ttl_expired": "The TTL or hop limit was used up on the way here. A few are traceroute's; many "
    "are a routing loop.",
    "no_service": "To a service's address, but to no service, and the host would have forwarded "
    "it, to come back again. A few are scans; else see whether a service is missing.",
    "limited": "Pings beyond echo_rate, or packets that do not fit beyond too_big_rate. Raise them "
    "if these are not an attack.",
    "no_egress": "The route to the backend leaves by an interface that takes no packets from here, "
    "or that was not there at the last run. Apply the configuration again; it says which.",
}
"""Why a packet to a service was not forwarded, and what an operator does about it."""
ANSWERS = {
    "echo_reply": "Pings of a service's address.",
    "packet_too_big": "Packets that do not fit the path to the backend with their outer header. "
    "The sender was told the MTU that it may use. Many of them: raise the MTU towards the "
    "backends, or lower the MSS that the servers announce.",
}
"""What the balancer answers itself."""
FLOW_EVENTS = {
    "hits": "Packets of remembered flows.",
    "misses": "Packets of flows that were not, or no longer, remembered: new ones.",
    "replacements": "Misses that took the place of another flow. Where evictions are few, those "
    "were single packets, as scans and floods send them.",
    "evictions": "Replacements of established flows, which are forgotten. Many of them: raise "
    "flow_table_size.",
}
"""What the flow table did."""
