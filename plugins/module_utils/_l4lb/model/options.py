# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options: what they are called, what they may be, and what they mean.

This is the only place that says so, with check.py for those of a check. Parsing, the module's
argument spec and all defaults follow it; tests/unit/test_options.py holds documentation, role and
README against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MODES = ("auto", "native", "generic")
PROTOCOLS = {"tcp": 6, "udp": 17}
SCHEDULERS = ("maglev", "jhash")
AFFINITIES = ("flow", "source")
ENCAPSULATIONS = ("ipip", "gue", "gre", "l2")
STATES = ("enabled", "drained", "disabled")
ON_UNHEALTHY = ("auto", "move", "keep")
PRESENCE = ("present", "absent")
NO_SERVICE = ("drop", "pass")
ANNOUNCE_WHEN = ("any", "all", "healthy", "forwarding")
MAX_SERVICES = 4096
MAX_BACKENDS = 65535
"""Of backends, and one more for each service: the data plane numbers them with 16 bits, from 1."""
MAX_NAME_BYTES = 63
MAX_OWN_MACS = 32


@dataclass(frozen=True)
class Option:
    """An option of a configuration, a service, its check, or a backend.

    kind: as Ansible calls it. range: of a number, the least and the most.
    """

    name: str
    kind: str
    meaning: str
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    range: tuple[float, float] | None = None


def table(*options: Option) -> Mapping[str, Option]:
    return {option.name: option for option in options}


CONFIG = table(
    Option("interface", "str", "interface that receives the clients' packets", required=True),
    Option(
        "mode",
        "str",
        "`native` (in the driver), `generic` (any driver, slower), or `auto`: the first that works",
        default="auto",
        choices=MODES,
    ),
    Option(
        "source_address",
        "str",
        "outer source address of tunnels over IPv4; the interface's own if not given, and "
        "never a service's. Flows are spread over the addresses of a prefix, as in "
        "`192.0.2.0/28`, so that receivers use all their queues; it must be routed to the "
        "host, which `ip route add local 192.0.2.0/28 dev lo` tells the host",
    ),
    Option("source_address6", "str", "the same over IPv6"),
    Option(
        "gateway_mac",
        "str",
        "send everything to this MAC address; if not given, the host's routes and neighbours "
        "decide",
    ),
    Option(
        "flow_table_size",
        "int",
        "flows remembered per CPU, each in 16 bytes; rounded up to a power of two, at least "
        "1024; `0` is none",
        default=65536,
        range=(0, 2**24),
    ),
    Option(
        "udp_timeout",
        "int",
        "seconds after which a silent UDP flow is forgotten",
        default=30,
        range=(1, 65535),
    ),
    Option("gue_port", "int", "UDP port of GUE at the backends", default=6080, range=(1, 65535)),
    Option(
        "hash_seed",
        "int",
        "number of 64 bits by which new flows get their backends under `maglev`; the same on "
        "all balancers of a fleet. On the open internet choose a random one and keep it "
        "secret, or strangers can overload one backend",
        default=0,
        range=(0, 2**64 - 1),
    ),
    Option(
        "own_macs",
        "list",
        "MAC addresses whose frames are balanced besides the interface's own, those of the "
        "bridge or bond that it is a port of, and of VLAN and macvlan devices on them; all "
        "other frames pass",
        default=(),
    ),
    Option(
        "no_service",
        "str",
        "packets to a service's address that are for no service, and that the host would "
        "forward: `drop`, or `pass` for a host that translates addresses",
        default="drop",
        choices=NO_SERVICE,
    ),
    Option(
        "allow_own_address",
        "bool",
        "allow services at an address of the host itself, which then no longer gets what is "
        "sent to their ports",
        default=False,
    ),
    Option(
        "echo_rate",
        "int",
        "pings of services that each CPU answers a second at the most; `0` is none",
        default=10000,
        range=(0, 2**32 - 1),
    ),
    Option(
        "too_big_rate",
        "int",
        "packets too big for their path whose senders each CPU tells so a second at the most; "
        "`0` is none",
        default=10000,
        range=(0, 2**32 - 1),
    ),
    Option(
        "manage_sysctls",
        "bool",
        "raise `net.ipv4.neigh.default.gc_thresh1` to `3`, and their IPv6 sisters, where the "
        "kernel keeps fewer neighbours than there are next hops; if `false`, that is an error or "
        "a warning",
        default=False,
    ),
    Option(
        "announce",
        "bool",
        "announce the VIPs for which the host serves: the agent has host routes to them in the "
        "kernel's routing table 214, from which a routing daemon sends them on",
        default=False,
    ),
    Option(
        "announce_timeout",
        "int",
        "seconds that a VIP waits for all of its backends to be checked before it is announced "
        "first, as at boot, up to 3600",
        default=60,
        range=(0, 3600),
    ),
    Option(
        "announce_prefix_length6",
        "int",
        "how many bits of an IPv6 VIP are announced, from 48, where routers take no host routes: "
        "the prefix is announced as long as one VIP in it would be, and all of it comes here",
        default=128,
        range=(48, 128),
    ),
    Option(
        "services",
        "list",
        "list of services, see below; required unless the state is `absent`",
        default=(),
    ),
)

RUN = table(
    Option(
        "state",
        "str",
        "`present`, or `absent`: remove the balancer and every trace of it",
        default="present",
        choices=PRESENCE,
    ),
    Option(
        "replace",
        "bool",
        "take over an interface that carries an XDP program of someone else",
        default=False,
    ),
)
"""What is asked of a run, and not part of the configuration."""

ROLE = table(
    Option(
        "manage_packages",
        "bool",
        "install what is missing; if `false`, that is an error",
        default=True,
    ),
    Option(
        "agent",
        "bool",
        "run the agent, `l4lb-agent.service`, which checks the backends of services that have a "
        "`check`, and repairs what others break of the balancer; without it such services are "
        "refused",
        default=True,
    ),
    Option(
        "check_user",
        "str",
        "user whose rights programs have that check backends",
        default="nobody",
    ),
    Option(
        "metrics_listen",
        "str",
        "where the agent has its status page and metrics, by HTTP: an address of the host and a "
        "port from 1024 on, as in `192.0.2.11:9942` or `[::1]:9942`; empty is nowhere",
        default="127.0.0.1:9942",
    ),
    Option(
        "metrics_per_backend",
        "bool",
        "have metrics of each backend of each service; if `false`, of services alone, which are "
        "fewer",
        default=True,
    ),
    Option(
        "skip_unreachable",
        "bool",
        "leave out a host that cannot be reached, and go on with the others; else "
        "`xdp.l4lb.deploy` ends there",
        default=False,
    ),
    Option(
        "interfaces",
        "list",
        "several interfaces of a host: a list of these variables, without their prefix",
        default=(),
    ),
)
"""Of the role alone."""

SERVICE = table(
    Option("name", "str", "unique; labels statistics", required=True),
    Option("address", "str", "the VIP, IPv4 or IPv6", required=True),
    Option(
        "port",
        "int",
        "`0` is every port of the address that no other service has",
        required=True,
        range=(0, 65535),
    ),
    Option(
        "protocol",
        "str",
        "`tcp` or `udp`",
        required=True,
        choices=tuple(PROTOCOLS),
    ),
    Option(
        "scheduler",
        "str",
        "`maglev` respects weights, and moves few flows when backends come and go; `jhash` is "
        "a Jenkins hash over 512 slots, dealt round robin, which ignores weights other than "
        "`0` and knows no `hash_seed`",
        default="maglev",
        choices=SCHEDULERS,
    ),
    Option(
        "affinity",
        "str",
        "what stays together: `flow`, the same addresses and ports, or `source`, all flows of "
        "a client's address",
        default="flow",
        choices=AFFINITIES,
    ),
    Option(
        "encapsulation",
        "str",
        "`ipip` (IP in IP), `gue` (in UDP), `gre`, or `l2` (another destination MAC address): "
        "see Backends",
        default="ipip",
        choices=ENCAPSULATIONS,
    ),
    Option(
        "flow_table",
        "bool",
        "remember the backends of flows, so that a change moves none of them; if `false`, "
        "packets cost a little less",
        default=True,
    ),
    Option(
        "check",
        "dict",
        "how it is found out which backends are healthy, see below; if not given, all are",
    ),
    Option(
        "on_unhealthy",
        "str",
        "what becomes of the flows of a backend that is unhealthy: `move` gives them to others, "
        "`keep` leaves them there, and `auto` moves them if the backend did not answer at all, and "
        "keeps them if it answered, but not as it should",
        default="auto",
        choices=ON_UNHEALTHY,
    ),
    Option(
        "min_healthy",
        "raw",
        "with fewer healthy backends, all are used that could take flows: a number of them, or a "
        "percentage as in `50%`; with `0` never, and packets are dropped while none is healthy",
        default=1,
        range=(0, MAX_BACKENDS),
    ),
    Option(
        "slow_start",
        "int",
        "seconds over which the share of a backend grows that is healthy again, up to 3600; `0` "
        "is at once",
        default=0,
        range=(0, 3600),
    ),
    Option(
        "announce_when",
        "str",
        "when the VIP is announced, the same for all services of an address: `any` of them serves, "
        "as one does of which a backend takes new flows; `all` of them do; any is `healthy`, not "
        "only serving because too few backends are; or the balancer is `forwarding`, whatever "
        "the backends",
        default="any",
        choices=ANNOUNCE_WHEN,
    ),
    Option(
        "backends",
        "list",
        "list of backends, see below, in addition to those of the group",
        default=(),
    ),
)

BACKEND = table(
    Option(
        "address",
        "str",
        "IPv4 or IPv6 address, whatever the service's; of a host in a group else "
        "`ansible_host` or its name, or the fact `default_ipv4`",
        required=True,
    ),
    Option(
        "weight",
        "int",
        "share of new flows, 0 to 255",
        default=1,
        range=(0, 255),
    ),
    Option(
        "state",
        "str",
        "`enabled`; `drained`: no new flows, but those that the flow table remembers; "
        "`disabled`: nothing. What an operator set with `xdp.l4lb.drain` takes precedence, "
        "until it is `enabled`",
        default="enabled",
        choices=STATES,
    ),
    Option(
        "mac",
        "str",
        "MAC address of the next hop; takes precedence over `gateway_mac`",
    ),
    Option(
        "mtu",
        "int",
        "bytes of the longest packet that the path takes, outer headers included, where that "
        "is less than what the interface and the route say",
        range=(576, 65535),
    ),
    Option(
        "backup",
        "bool",
        "takes flows only while no backend can that is none",
        default=False,
    ),
    Option(
        "held",
        "bool",
        "an operator set its state, which is not enabled and which a new configuration keeps",
        default=False,
    ),
    Option(
        "configured_weight",
        "int",
        "the weight without the one that an operator set, which a new configuration keeps",
        range=(0, 255),
    ),
)
"""In this order parsing takes them."""
