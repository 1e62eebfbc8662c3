#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: drain, disable, enable or weigh a backend."""

from __future__ import annotations

DOCUMENTATION = r"""
module: l4lb_backend
short_description: Drain, disable, enable or weigh a backend of an XDP balancer
version_added: 0.1.0
description:
  - Changes one backend of what a host balances now, as M(xdp.l4lb.l4lb) set it up, and leaves all else as it is.
  - Made to be called with C(delegate_to) from the rolling deploy of an application. The task then runs on the balancer,
    which is all that needs root.
  - A backend that was drained, disabled or weighed this way is held so. Later runs of M(xdp.l4lb.l4lb) keep that state
    or weight, and warn if their configuration has another one, until this module enables the backend, or they remove
    it. On the balancer itself the command C(l4lb) does the same.
  - It needs neither bcc nor a compiler. Packets of other backends do not notice.
requirements:
  - libbpf 1.x on the host, which M(xdp.l4lb.l4lb) needs too
  - root
author:
  - The xdp.l4lb authors (!UNKNOWN)
attributes:
  check_mode:
    description: Changes nothing, does not wait, and predicts what would be changed.
    support: full
  diff_mode:
    description: Shows state and weight in each service, before and after.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
  platform:
    description: Where the module runs.
    support: full
    platforms: Linux
  action:
    description: Has an action plugin, which has it shown what changes.
    support: full
options:
  address:
    description: The backend's IPv4 or IPv6 address.
    type: str
    required: true
  service:
    description: Only the service of this name. The default is every service that has the backend.
    type: str
  interface:
    description:
      - Only the balancer on this interface. The default is every balancer of the host that has the backend.
    type: str
  state:
    description:
      - V(drained) gets no new flows, and keeps those that the flow table remembers.
      - V(disabled) gets nothing; packets of its flows go to other backends at once.
      - V(enabled) gets flows, and lifts the hold of the other two and that of a weight, so that it has its configured
        weight again. Where the configuration has another state, the next run of M(xdp.l4lb.l4lb) brings that back.
      - The default is the state that it has.
    type: str
    choices: [enabled, drained, disabled]
  weight:
    description:
      - Share of new flows under the scheduler V(maglev), from 0 to 255. It is held as a state is; with O(state=enabled)
        it is the new hold.
      - The default is the weight that it has.
    type: int
  wait:
    description:
      - Wait until no flow has sent a drained backend anything for O(quiet) seconds. What was sent before this task counts
        too, as far as the flow table remembers it, so one that is quiet already is not waited for.
      - A flow of which no two packets came within five seconds does not count, nor do ICMP errors. Anyone can forge
        those, and would keep the backend busy for ever.
      - Nor is one that is disabled, or that packets cannot reach because its next hop does not answer.
      - Has no effect on an enabled backend. If it is enabled by someone else meanwhile, that is an error.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds to wait at most. It is an error if the backend is not quiet by then. It stays drained.
      - 'To go on nevertheless, register the result, say as C(drained), and set
        C(failed_when: drained is failed and drained.quiet is undefined).'
    type: float
    default: 300
  quiet:
    description:
      - Seconds without a packet after which a flow counts as ended. A balancer sees packets, not when a connection ends,
        so choose more than the pauses in a connection that must not break.
    type: float
    default: 10
  force:
    description:
      - Let a service lose the last backend that takes new flows, by O(state) or O(weight). Without it that is an error,
        also in check mode, and nothing is changed in any service, on any interface.
      - New flows of the service are dropped then, until a backend takes them again.
    type: bool
    default: false
seealso:
  - module: xdp.l4lb.l4lb
  - module: xdp.l4lb.l4lb_stats
"""

EXAMPLES = r"""
- name: Drain this server on all balancers, then wait until it has nothing to do
  xdp.l4lb.l4lb_backend:
    address: "{{ ansible_host }}"
    state: drained
    wait: true
  delegate_to: "{{ item }}"
  loop: "{{ groups['balancers'] }}"

- name: Enable it again
  xdp.l4lb.l4lb_backend:
    address: "{{ ansible_host }}"
    state: enabled
  delegate_to: "{{ item }}"
  loop: "{{ groups['balancers'] }}"

- name: Send it fewer new flows of one service
  xdp.l4lb.l4lb_backend:
    address: 203.0.113.22
    service: web
    weight: 1

- name: Take the only server out, although nobody is served meanwhile
  xdp.l4lb.l4lb_backend:
    address: 203.0.113.23
    state: disabled
    force: true
"""

RETURN = r"""
steps:
  description: What was changed, or would be, and what that does to flows.
  returned: success, or when the backend is not quiet in time
  type: list
  elements: str
  sample:
    - >-
      web: 1 backend drained (203.0.113.22), hold of 203.0.113.22 off -> on, 25.0 % of new flows move, 0 established
services:
  description: The services that have the backend, or the one asked for.
  returned: as RV(steps)
  type: list
  elements: dict
  contains:
    interface:
      description: The balancer.
      type: str
      sample: eth0
    service:
      description: The name of the service.
      type: str
      sample: web
    before:
      description: What was.
      type: dict
      contains: &backend
        state:
          description: V(enabled), V(drained) or V(disabled).
          type: str
          sample: drained
        weight:
          description: Share of new flows.
          type: int
          sample: 1
        held:
          description: Whether later configurations do not change the state.
          type: bool
          sample: true
        configured_weight:
          description: The weight by the configuration.
          returned: when later configurations do not change the weight
          type: int
          sample: 2
    after:
      description: What is now, or would be.
      type: dict
      contains: *backend
    flows:
      description:
        - How many flows are left to a drained backend, that is, sent it a packet within the last O(quiet) seconds. To
          a disabled one there are V(0). Those of which no two packets came within five seconds do not count.
        - Null if it is enabled, or the service has no flow table, and so no flows to keep.
      type: int
      sample: 0
flows:
  description: The sum of RV(services[].flows); null if all of them are.
  returned: as RV(steps)
  type: int
  sample: 0
quiet:
  description: Whether no flow sends the backend anything any more. If not, the time was up, and the task has failed.
  returned: when O(wait) is true and the backend is not enabled, but not in check mode
  type: bool
  sample: true
waited:
  description: Seconds that the task waited for that.
  returned: as RV(quiet)
  type: float
  sample: 10.2
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError, L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import require_root
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Backend
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.values import unicast_address
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.order import (
    Order,
    Place,
    operate,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.report import held_weight
from ansible_collections.xdp.l4lb.plugins.module_utils._module import changes


def order_of(params: dict[str, Any]) -> Order:
    """What the options say. Raises ConfigError."""
    for option in ("wait_timeout", "quiet"):
        if not params[option] >= 0:
            raise ConfigError(option, params[option], "give a number of seconds, 0 or more")
    return Order(
        address=unicast_address(params["address"], "address"),
        service=params["service"],
        interface=params["interface"],
        state=params["state"],
        weight=params["weight"],
        wait=params["wait_timeout"] if params["wait"] else None,
        quiet=params["quiet"],
        force=params["force"],
    )


def options_of(backend: Backend) -> dict[str, Any]:
    """Of a backend what this module may change."""
    return {
        "state": backend.state,
        "weight": backend.weight,
        "held": backend.held,
        **held_weight(backend),
    }


def as_yaml(place: Place, backend: Backend) -> str:
    """One side of the difference in one service."""
    options = "".join(
        f"  {name}: {json.dumps(value)}\n" for name, value in options_of(backend).items()
    )
    return f"- interface: {place.interface}\n  service: {place.service}\n{options}"


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do what the options say; returns the result. Raises L4lbError."""
    require_root()
    order = order_of(module.params)
    report = operate(order, module.check_mode)
    before, after = (
        "".join(as_yaml(place, getattr(place, side)) for place in report.places)
        for side in ("before", "after")
    )
    result: dict[str, Any] = {
        **changes(module, f"backend {order.address}", report, before, after),
        "services": [
            {
                "interface": place.interface,
                "service": place.service,
                "before": options_of(place.before),
                "after": options_of(place.after),
                "flows": place.flows,
            }
            for place in report.places
        ],
        "flows": report.flows,
    }
    if report.waited:
        result.update(waited=round(report.waited.seconds, 1), quiet=report.waited.quiet)
    problem = report.problem(order)
    if problem:
        module.fail_json(msg=problem, **result)
    return result


def main() -> None:
    """Run as a module."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "service": {"type": "str"},
            "interface": {"type": "str"},
            "state": {"type": "str", "choices": ["enabled", "drained", "disabled"]},
            "weight": {"type": "int"},
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "float", "default": 300},
            "quiet": {"type": "float", "default": 10},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module)
    except L4lbError as e:
        module.fail_json(msg=str(e))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
