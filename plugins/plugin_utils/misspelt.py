# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that nobody reads, and that were perhaps meant to be others."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from ansible.utils.display import Display
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.options import (
    BACKEND,
    CONFIG,
    ROLE,
    RUN,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver import (
    options as real_server,
)

display = Display()

PREFIX = "l4lb_"
_OF_PLAYBOOKS = (
    *("hosts", "serial", "gather_facts"),
    *("backend", "service", "wait", "wait_timeout", "quiet", "force", "interval"),
    *("ignore", "report_file", "balancer", "balancer_state", "min_serving"),
)
_OF_SERVERS = (
    *BACKEND,
    *real_server.OPTIONS,
    *("keep", "verify", "setup", "balancer_group", "hosts", "serial", "has", "result"),
)
_OF_BGP = (
    *("state", "daemon", "asn", "router_id", "peers", "password", "multihop", "med", "communities"),
    *("bfd", "bfd_interval", "bfd_multiplier", "hold_time", "configuration"),
)
_RESULTS = ("result", "measured")
KNOWN = frozenset(
    (
        *(*CONFIG, *RUN, *ROLE, *_OF_PLAYBOOKS, *_RESULTS),
        *(f"backend_{name}" for name in _OF_SERVERS),
        *(f"bgp_{name}" for name in _OF_BGP),
    )
)
"""Without the prefix: what roles and playbooks of the collection read or set."""
_LIKENESS = 0.85
"""Above it two names differ by a letter or two; below, somebody has names of his own."""


def warn_of_misspelt(names: Iterable[str]) -> None:
    """Have Ansible show it."""
    for warning in misspelt(names):
        display.warning(warning)


def misspelt(names: Iterable[str]) -> Iterator[str]:
    """A warning for each of these variables that is none, but nearly is."""
    for name in sorted(names):
        bare = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and bare not in KNOWN:
            for close in difflib.get_close_matches(bare.lower(), sorted(KNOWN), 1, _LIKENESS):
                yield f"{name}: did you mean {PREFIX}{close}?"
