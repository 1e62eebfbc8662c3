# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options: what they may be."""

from __future__ import annotations

MODES = ("auto", "native", "generic")
PROTOCOLS = {"tcp": 6, "udp": 17}
SCHEDULERS = ("maglev", "jhash")
AFFINITIES = ("flow", "source")
ENCAPSULATIONS = ("ipip", "gue", "gre", "l2")
STATES = ("enabled", "drained", "disabled")
NO_SERVICE = ("drop", "pass")
MAX_SERVICES = 4096
MAX_BACKENDS = 65535
"""Of backends, and one more for each service: the data plane numbers them with 16 bits, from 1."""
MAX_NAME_BYTES = 63
MAX_WEIGHT = 255
MAX_SEED = 2**64 - 1
MAX_FLOWS = 2**24
MAX_TIMEOUT = 65535
MAX_RATE = 2**32 - 1
MAX_OWN_MACS = 32
MIN_MTU, MAX_MTU = 576, 65535
"""576: what every IPv4 host must take (RFC 791)."""
