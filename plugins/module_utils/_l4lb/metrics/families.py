# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of metrics besides their values: names, types, labels and meanings.

This is the only place that says so; docs/metrics.md is held against it by tests/unit/test_docs.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

COUNTER, GAUGE, INFO, SUMMARY = "counter", "gauge", "info", "summary"
FAILURES = {
    "timeout": "no answer came in time",
    "no_answer": "the connection was refused or ended, or an ICMP error came",
    "wrong_answer": "there was an answer, but not the one that is expected",
    "cannot_check": "nothing was found out, and that is not the backend's fault",
}
"""Why a check failed, by few words, since each is a time series."""


@dataclass(frozen=True)
class Family:
    """A metric with all its labels.

    name: without the suffixes that samples of its type have. labels: in the order of the samples.
    per_backend: whether there is one of each backend of each service, so that they may be many.
    """

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()
    per_backend: bool = False

    @property
    def unit(self) -> str:
        """The base unit that the name ends with, if it does."""
        return next((unit for unit in ("seconds", "bytes") if self.name.endswith(f"_{unit}")), "")

    @property
    def sample(self) -> str:
        """The name of a sample of most types."""
        return self.name + {COUNTER: "_total", INFO: "_info"}.get(self.type, "")


_ALL: list[Family] = []
"""In the order of the text."""


def _family(
    name: str, type_: str, help_: str, *labels: str, of: tuple[str, ...] = (), many: bool = False
) -> Family:
    one = Family(f"l4lb_{name}", type_, help_, (*of, *labels), many)
    _ALL.append(one)
    return one


_of_interface = partial(_family, of=("interface",))
_of_service = partial(_family, of=("interface", "service"))
_of_backend = partial(_family, of=("interface", "service", "backend"), many=True)

BUILD = _family("build", INFO, "The version of the collection that says all of this.", "version")

ATTACHED = _of_interface(
    "attached", GAUGE, "Whether the program is attached to the interface, so that it balances."
)
PAUSED = _of_interface("paused", GAUGE, "Whether an operator has it pause.")
PROGRAM = _of_interface(
    "program",
    INFO,
    "How the program is attached, native or generic, and a digest of its sources.",
    "mode",
    "program",
)
FELL_BACK = _of_interface(
    "generic_fallback",
    GAUGE,
    "Whether mode auto has become generic, which is slower, as the driver refused native.",
)
CONFIGURATION = _of_interface(
    "configuration",
    INFO,
    "The digest of the configuration, which is the same on all balancers of the same, as in "
    "l4lb status --json.",
    "digest",
)
GENERATION = _of_interface(
    "configuration_generation", GAUGE, "How often the configuration has changed."
)

SERVICE = _of_service(
    "service",
    INFO,
    "What clients ask, and how packets travel on.",
    "address",
    "port",
    "protocol",
    "scheduler",
    "encapsulation",
)
SERVICE_PACKETS = _of_service(
    "service_packets", COUNTER, "Packets sent to backends, former ones included."
)
SERVICE_BYTES = _of_service(
    "service_sent_bytes", COUNTER, "Bytes of the frames of these, outer headers included."
)
SERVICE_BACKENDS = _of_service("service_backends", GAUGE, "Backends that are configured.")
SERVICE_USABLE = _of_service("service_backends_usable", GAUGE, "Backends that take new flows.")
SERVICE_UNHEALTHY = _of_service(
    "service_backends_unhealthy",
    GAUGE,
    "Backends that are unhealthy; there is none where nothing is checked.",
)
SERVICE_OPEN = _of_service(
    "service_fails_open",
    GAUGE,
    "Whether backends take flows although they are unhealthy, as fewer than min_healthy are not.",
)
SERVICE_ANNOUNCED = _of_service(
    "service_announced", GAUGE, "Whether its VIP is announced; only where VIPs are to be."
)
SERVICE_CHECK = _of_service(
    "service_check_duration_seconds",
    SUMMARY,
    "How many checks there were, and how long they took, since the agent began.",
)
SERVICE_FAILURES = _of_service(
    "service_check_failures",
    COUNTER,
    "Checks that found a backend bad, or found nothing out.",
    "reason",
)

BACKEND_PACKETS = _of_backend("backend_packets", COUNTER, "Packets sent to it.")
BACKEND_BYTES = _of_backend(
    "backend_sent_bytes", COUNTER, "Bytes of the frames of these, outer headers included."
)
BACKEND_WEIGHT = _of_backend(
    "backend_weight", GAUGE, "Its share of new flows, as configured or held."
)
BACKEND_STATE = _of_backend(
    "backend_state",
    GAUGE,
    "1 with the state that it is in: enabled, drained or disabled; held is true if an operator has "
    "set it.",
    "state",
    "held",
)
BACKEND_HEALTHY = _of_backend(
    "backend_healthy", GAUGE, "Whether it is healthy; only of services that have a check."
)
BACKEND_CHECK = _of_backend(
    "backend_check_duration_seconds",
    SUMMARY,
    "How many checks there were, and how long they took, since the agent began.",
)
BACKEND_FAILURES = _of_backend(
    "backend_check_failures",
    COUNTER,
    "Checks that found it bad, or found nothing out; from the first one on.",
    "reason",
)

DROPS = _of_interface("drops", COUNTER, "Packets to services that were dropped.", "reason")
ANSWERS = _of_interface("answers", COUNTER, "Packets that the balancer answered itself.", "kind")
FLOW_EVENTS = {
    "hits": _of_interface(
        "flow_table_hits", COUNTER, "Packets of flows that the flow table remembers."
    ),
    "misses": _of_interface(
        "flow_table_misses", COUNTER, "Packets of flows that it does not, or no longer, remember."
    ),
    "replacements": _of_interface(
        "flow_table_replacements", COUNTER, "Misses that took the place of another flow."
    ),
    "evictions": _of_interface(
        "flow_table_evictions", COUNTER, "Replacements of established flows, which are forgotten."
    ),
}
FLOW_ENTRIES = _of_interface(
    "flow_table_entries",
    GAUGE,
    "Flows that it remembers on all CPUs, also those that ended since; by a look at a part of it.",
)
FLOW_CAPACITY = _of_interface(
    "flow_table_capacity", GAUGE, "Flows that it has room for, on all CPUs."
)

NEXT_HOPS = _family(
    "next_hops",
    GAUGE,
    "Next hops that the kernel is to keep resolved; resolved is false while they do not answer.",
    "resolved",
)

REPAIRS = _of_interface("repairs", COUNTER, "How often the agent has repaired what others broke.")
PROBLEM = _of_interface(
    "problem", GAUGE, "Whether something is wrong that the agent leaves so; l4lb status says what."
)
LOOP_LAG = _family(
    "agent_loop_lag_seconds",
    COUNTER,
    "By how much the agent was late, all in all: its rate is the part of the time.",
)
TROUBLES = _family("agent_troubles", GAUGE, "How many things are wrong now by the agent's journal.")
STARTED = _family("agent_start_time_seconds", GAUGE, "When the agent began, in seconds since 1970.")
MEMORY = _family("agent_resident_memory_bytes", GAUGE, "Memory that the agent takes.")
CPU = _family("agent_cpu_seconds", COUNTER, "Time of a CPU that the agent has taken.")

FAMILIES = tuple(_ALL)
