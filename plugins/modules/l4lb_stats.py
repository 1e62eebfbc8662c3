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
  - The xdp.l4lb authors (!UNKNOWN)
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
    description: Returns facts, and why some are missing.
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
  digests:
    description:
      - Whether to tell all by which the balancers of a fleet are compared as well, versions, options and digests, as the
        playbook C(xdp.l4lb.verify) does.
      - A digest is the same on every balancer of the same configuration, whatever the order of its entries and whatever
        interfaces are called. Nothing goes into it that is a host's own, which are names of interfaces, MAC addresses,
        C(source_address) and C(source_address6); and the C(hash_seed) only as people may see it.
      - It takes some milliseconds for each service.
    type: bool
    default: true
seealso:
  - module: xdp.l4lb.l4lb
  - plugin: xdp.l4lb.differences
    plugin_type: filter
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
problems:
  description: Why facts lack balancers that should be there, a line each, as in the warnings.
  returned: always
  type: list
  elements: str
  sample: [no balancer is attached to eth1; l4lb restore brings it back]
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
          sample: native
        native_refused:
          description: Why mode auto became V(generic), in the words of the kernel.
          type: str
          returned: when it did
          sample: 'Numerical result out of range (veth: Peer MTU is too large to set XDP)'
        digest:
          description: Of its configuration, which are RV(ignore:settings) and all services, but no states of backends.
          type: str
          returned: when O(digests)
          sample: 3f0c9a51d2e84b67
        versions:
          description: Of what the balancer is made of.
          type: dict
          returned: when O(digests)
          contains:
            collection:
              description: The collection that the command C(l4lb) of the host is of; none if it has none.
              type: str
              sample: 0.1.0
            program:
              description: Digest of the C sources that the program in the kernel is compiled from.
              type: str
              sample: 6b1e0d0c47f2a913
            bcc:
              description: The bcc that compiled it.
              type: str
              sample: 0.26.0
            kernel:
              description: The running kernel.
              type: str
              sample: 6.1.0-37-amd64
        settings:
          description: Options of the balancer, as of M(xdp.l4lb.l4lb), without those that are a host's own.
          type: dict
          returned: when O(digests)
          sample: {echo_rate: 1000, mode: auto}
        announcement:
          description:
            - VIP -> whether a routing daemon is to announce it. While the host is withdrawn, C(withdrawn_by) says by whom,
              which is V(operator) but where C(l4lb withdraw --by) says otherwise.
          type: dict
          returned: always, empty unless the balancer has O(xdp.l4lb.l4lb#module:announce=true)
          sample: {"192.0.2.10": {"announced": false, "reason": "no backend of web takes new flows"}}
        services:
          description: Services, sorted by name.
          type: list
          elements: dict
          returned: always
          contains:
            name:
              description: Its name.
              type: str
              sample: web
            address:
              description: Address that clients talk to.
              type: str
              sample: 192.0.2.10
            port:
              description: Port that clients talk to, V(0) for every one that no other service has.
              type: int
              sample: 80
            protocol:
              description: V(tcp) or V(udp).
              type: str
              sample: tcp
            packets:
              description: Packets sent to backends, to those too that are gone.
              type: int
              sample: 12000
            bytes:
              description: Bytes of these as transmitted Ethernet frames, encapsulation included.
              type: int
              sample: 888000
            packets_per_second:
              description: Packets a second during O(interval).
              type: float
              returned: when O(interval) is greater than 0
              sample: 5000.0
            bits_per_second:
              description: Bits a second during O(interval).
              type: float
              returned: when O(interval) is greater than 0
              sample: 29600000.0
            fails_open:
              description: Whether too few backends are healthy, so that all are used.
              type: bool
              returned: when the service has a check
              sample: false
            digests:
              description: By which balancers are compared.
              type: dict
              returned: when O(digests)
              contains:
                configuration:
                  description: Of its options and backends, with their weights as configured, but without their states.
                  type: str
                  sample: 9d2b7c1f60a5e384
                lookup_table:
                  description: Of the table by which new flows get their backends, as the kernel has it now.
                  type: str
                  sample: 04c8e1b7a9f35d26
                states:
                  description: Of the states in which packets find the backends, by configuration, orders and health.
                  type: str
                  sample: e57a3096bd1c8f42
            options:
              description: Its other options, as of M(xdp.l4lb.l4lb).
              type: dict
              returned: when O(digests)
              sample: {scheduler: maglev, affinity: flow}
            backends:
              description: Its backends.
              type: list
              elements: dict
              contains:
                address:
                  description: Address of the server.
                  type: str
                  sample: 203.0.113.21
                weight:
                  description: Share of new flows.
                  type: int
                  sample: 1
                state:
                  description: V(enabled), V(drained) or V(disabled).
                  type: str
                  sample: enabled
                held:
                  description: Whether an operator set the state, which a new configuration then does not change.
                  type: bool
                  sample: false
                configured_weight:
                  description: Its weight by the configuration, which it has again once it is enabled.
                  type: int
                  returned: when an operator set its weight
                  sample: 3
                mtu:
                  description: Its C(mtu).
                  type: int
                  returned: when it has one
                  sample: 1400
                backup:
                  description: That it takes flows only while no other can.
                  type: bool
                  returned: when that is so
                  sample: true
                healthy:
                  description: Whether its checks are good.
                  type: bool
                  returned: when the service has a check
                  sample: false
                reason:
                  description: Why it is not healthy.
                  type: str
                  returned: when it is not healthy
                  sample: HTTP 503
                unhealthy_since:
                  description: Since when, in seconds since 1970.
                  type: int
                  returned: when it is not healthy
                  sample: 1795672002
                share_percent:
                  description: How much of its share it has, while that grows.
                  type: int
                  returned: while it is healthy again, of a service with C(slow_start)
                  sample: 30
                packets:
                  description: Packets sent to it.
                  type: int
                  sample: 6000
                bytes:
                  description: Bytes of these as transmitted Ethernet frames, encapsulation included.
                  type: int
                  sample: 444000
                packets_per_second:
                  description: Packets a second during O(interval).
                  type: float
                  returned: when O(interval) is greater than 0
                  sample: 5000.0
                bits_per_second:
                  description: Bits a second during O(interval).
                  type: float
                  returned: when O(interval) is greater than 0
                  sample: 29600000.0
        drops:
          description: Packets to a service that were not forwarded, by reason.
          type: dict
          returned: always
          contains:
            malformed:
              description: >-
                Header lengths contradict each other or the frame, or what would be answered has a wrong header
                checksum, options that cannot be read, a source route, or comes from a group's MAC address.
              type: int
              sample: 0
            fragment:
              description: A fragment has no ports to balance by.
              type: int
              sample: 0
            no_backend:
              description: The service has no enabled backend with a weight.
              type: int
              sample: 0
            no_route:
              description: The host has no route to the backend.
              type: int
              sample: 0
            no_neighbour:
              description: The next hop does not answer ARP or neighbour discovery.
              type: int
              sample: 0
            forwarding_off:
              description: >-
                net.ipv4.conf.lo.forwarding, or its IPv6 sister, is 0, so the kernel answers no route lookups.
              type: int
              sample: 0
            too_big:
              description: >-
                Does not fit the path to the backend with its outer header, and the sender cannot be told: it may be
                fragmented, is an ICMP error, or would have to be shorter than 576 bytes, 1280 of IPv6.
              type: int
              sample: 0
            no_room:
              description: The driver left no room before the frame for the outer header.
              type: int
              sample: 0
            bad_source:
              description: >-
                The source address is one that no host may have: loopback, multicast, unspecified, broadcast, or the
                service's own.
              type: int
              sample: 0
            ttl_expired:
              description: The TTL or hop limit was used up on the way here.
              type: int
              sample: 0
            no_service:
              description: >-
                To a service's address, but to no service, and the host would have forwarded it, to come back again.
              type: int
              sample: 0
            limited:
              description: Pings beyond echo_rate, or packets that do not fit beyond too_big_rate.
              type: int
              sample: 0
            no_egress:
              description: >-
                The route to the backend leaves by an interface that takes no packets from here, or that was not there
                at the last run.
              type: int
              sample: 0
        answers:
          description: Packets to a service that the balancer answered itself, by kind.
          type: dict
          returned: always
          contains:
            echo_reply:
              description: Pings of a service's address.
              type: int
              sample: 0
            packet_too_big:
              description: Packets that do not fit the path to the backend with their outer header.
              type: int
              sample: 0
        flow_table:
          description: What the flow table did.
          type: dict
          returned: always
          contains:
            hits:
              description: Packets of remembered flows.
              type: int
              sample: 0
            misses:
              description: 'Packets of flows that were not, or no longer, remembered: new ones.'
              type: int
              sample: 0
            replacements:
              description: Misses that took the place of another flow.
              type: int
              sample: 0
            evictions:
              description: Replacements of established flows, which are forgotten.
              type: int
              sample: 0
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError, L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import require_root
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.sampler import Sampler


def run(module: AnsibleModule) -> dict[str, Any]:
    """The facts that the options ask for, and what they lack. Raises L4lbError."""
    require_root()
    interval, service = module.params["interval"], module.params["service"]
    if interval < 0:
        raise ConfigError("interval", interval, "give a number of seconds, 0 or more")
    sampler = Sampler(module.params["interface"], service, module.params["digests"])
    if interval:
        sampler.take()
        time.sleep(interval)
    found = sampler.take()
    for problem in sampler.problems:
        module.warn(problem)
    return {"ansible_facts": {"l4lb": found}, "problems": sampler.problems}


def main() -> None:
    """Run as a module."""
    module = AnsibleModule(
        argument_spec={
            "interface": {"type": "str"},
            "service": {"type": "str"},
            "interval": {"type": "float", "default": 0},
            "digests": {"type": "bool", "default": True},
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
