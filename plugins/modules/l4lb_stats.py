#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: counters of the balancers of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: l4lb_stats
short_description: Counters of XDP balancers as facts
version_added: 0.1.0
description:
  - Reads the counters of the balancers that M(xdp.l4lb.l4lb) set up on a host, summed over CPUs.
  - It needs none of bcc, pyroute2 and a compiler, and changes nothing.
requirements:
  - libbpf 1.x on the host, which M(xdp.l4lb.l4lb) needs too
  - root
author:
  - The xdp.l4lb authors (@xdp-l4lb)
attributes:
  check_mode:
    description: Runs the same in check mode.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
  facts:
    description: Returns facts and nothing else.
    support: full
  platform:
    description: Where the module runs.
    support: full
    platforms: Linux
options:
  interface:
    description:
      - The balancer on this interface, and an error if there is none.
      - The default is every balancer of the host. A warning tells of those that cannot be read, as when an interface has
        gone, and of those that are saved and not attached.
    type: str
  service:
    description: Only the service of this name, and interfaces that have it. The default is all.
    type: str
  interval:
    description: Seconds between two samples, for rates. V(0) takes one sample and gives no rates.
    type: float
    default: 0
seealso:
  - module: xdp.l4lb.l4lb
"""

EXAMPLES = r"""
- name: Read all counters
  xdp.l4lb.l4lb_stats:

- name: Measure the rates of one service for two seconds
  xdp.l4lb.l4lb_stats:
    interface: eth0
    service: web
    interval: 2
"""

RETURN = r"""
ansible_facts:
  description: Balancers by interface.
  returned: always
  type: dict
  contains:
    l4lb:
      description: Interface -> its balancer. Empty if the host has none.
      type: dict
      returned: always
      contains:
        mode:
          description: Where the program runs, V(native) or V(generic).
          type: str
          returned: always
        native_refused:
          description: Why mode auto became V(generic), in the words of the kernel.
          type: str
          returned: when it did
        services:
          description:
            - Services, by name, each with its C(name), C(address), C(port), C(protocol), C(packets), C(bytes), and
              C(backends).
            - A backend has C(address), C(weight), C(state), C(held), C(packets), C(bytes). It is C(held) if an operator
              set its state, which a new configuration then does not change, and has C(configured_weight) if an operator
              set its weight.
            - Both have C(packets_per_second) and C(bits_per_second) if O(interval) is greater than 0.
            - Bytes are those of transmitted Ethernet frames, encapsulation included.
          type: list
          elements: dict
          returned: always
        drops:
          description: Packets to a service that were not forwarded, by reason.
          type: dict
          returned: always
          sample: {malformed: 0, fragment: 0, no_backend: 0}
        answers:
          description: Packets to a service that the balancer answered itself, by kind.
          type: dict
          returned: always
          sample: {echo_reply: 0, packet_too_big: 0}
        flow_table:
          description: What the flow table did. C(hits) are packets of remembered flows.
          type: dict
          returned: always
          sample: {hits: 0, misses: 0, replacements: 0, evictions: 0}
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError, L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import require_root
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.sampler import Sampler


def run(module: AnsibleModule) -> dict[str, Any]:
    """The facts that the options ask for. Raises L4lbError."""
    require_root()
    interval, service = module.params["interval"], module.params["service"]
    if interval < 0:
        raise ConfigError("interval", interval, "give a number of seconds, 0 or more")
    sampler = Sampler(module.params["interface"], service)
    if interval:
        sampler.take()
        time.sleep(interval)
    found = sampler.take()
    for problem in sampler.problems:
        module.warn(problem)
    return found


def main() -> None:
    """Run as a module."""
    module = AnsibleModule(
        argument_spec={
            "interface": {"type": "str"},
            "service": {"type": "str"},
            "interval": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except L4lbError as e:
        module.fail_json(msg=str(e))
    module.exit_json(ansible_facts={"l4lb": result})


if __name__ == "__main__":
    main()
