#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: make a host a real server, behind balancers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: l4lb_real_server
short_description: Make a host a real server behind XDP balancers
version_added: 0.1.0
description:
  - Has a host take packets of balancers out of their tunnels, and hold the addresses that clients talk to (VIPs) without
    telling the network so. The role P(xdp.l4lb.l4lb_backend#role) calls it with what the balancers' variables say.
  - As a whole or not at all. What the kernel does is compared with what is wanted, so a second run changes nothing,
    and repairs what somebody changed meanwhile.
  - The host's own network configuration stays as it is. Nothing of it lasts over a reboot by itself; C(l4lb real-server
    restore) sets up again what is saved in C(/etc/l4lb/real-server), which the role has systemd run at boot.
  - The VIPs are on C(lo). For IPv4 it sets C(net.ipv4.conf.all.arp_ignore) and C(arp_announce), unless they are set
    likewise, and gives back what was there before in the end. Filtering by reverse path (C(rp_filter)) becomes loose on
    tunnel devices of its own only.
requirements:
  - root
  - for O(decapsulation=bpf) bcc, kernel headers and libbpf 1.x on the host
  - for O(firewall) and O(limit_segments) nftables on the host
author:
  - The xdp.l4lb authors (!UNKNOWN)
attributes:
  check_mode:
    description: Predicts what would be changed.
    support: full
  diff_mode:
    description: Shows what is set up, before and after.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
  platform:
    description: Where the module runs.
    support: full
    platforms: Linux
  action:
    description: Has an action plugin, which sends the source of the XDP program along.
    support: full
options:
  state:
    description:
      - V(present) sets up what the other options say, and removes what was set up before and is not listed.
      - V(absent) removes all of it. Modules that the kernel has loaded stay loaded.
    type: str
    choices: [present, absent]
    default: present
  services:
    description:
      - VIPs, and how packets to them reach this server. Several ways may lead to one VIP.
      - Required if O(state=present).
    type: raw
    suboptions:
      address:
        description: The VIP, IPv4 or IPv6.
        type: str
        required: true
      backend:
        description: The address of this server that balancers send to, IPv4 or IPv6.
        type: str
        required: true
      encapsulation:
        description:
          - How balancers send, as in M(xdp.l4lb.l4lb), V(ipip), V(gue), V(gre) or V(l2). For V(l2) there is nothing to
            unpack.
        type: str
        choices: [ipip, gue, gre, l2]
        default: ipip
      gue_port:
        description: UDP port of GUE, from 1 to 65535.
        type: int
        default: 6080
      mtu:
        description:
          - Bytes of the longest packet on the way from the balancers, from 576 to 65535. The default is the MTU of the
            interface that has the address.
        type: int
  decapsulation:
    description:
      - V(kernel) unpacks by tunnel devices, whose names begin with C(l4lb-).
      - V(bpf) unpacks by an XDP program. The link may pause when it is attached, as many drivers set up their queues
        anew for that.
      - V(auto) is V(kernel) wherever the kernel has its modules, or can load them.
    type: str
    choices: [auto, kernel, bpf]
    default: auto
  interface:
    description: Where the XDP program is attached. The default is the interface that has the address of the server.
    type: str
  balancers:
    description:
      - Addresses and prefixes that balancers send from. The XDP program unpacks for nobody else, so it needs them for each
        family of tunnels, as O(firewall) does.
      - V(0.0.0.0/0) and V(::/0) are everyone, who then can have packets with any source delivered to the VIPs.
    type: list
    elements: str
    default: []
  firewall:
    description:
      - Keep strangers from the kernel's tunnels, and what is for no VIP from coming out of them, by a table of nftables. The
        XDP program does so by itself.
      - Other tunnels of the same protocol to the same address are kept out, too.
    type: bool
    default: false
  limit_segments:
    description:
      - Have clients send segments that fit into the tunnel, by a table of nftables that lowers what the server says
        of its size in the SYN-ACK. Where nftables is missing, that is a warning.
    type: bool
    default: true
  keep:
    description:
      - Keep what was set up before and is not listed, as packets to it may be on their way, or sent by balancers that
        still know nothing of the change. A later run without it removes that.
    type: bool
    default: false
  verify:
    description:
      - Send a probe through each tunnel to each VIP, as from a balancer, which must reach a socket there. Not in check mode.
    type: bool
    default: true
  sources:
    description: The source of the XDP program, packed. The action plugin sets this. It is of no use to set it.
    type: str
seealso:
  - module: xdp.l4lb.l4lb
"""

EXAMPLES = r"""
- name: Serve a VIP, for which two balancers send IP in IP
  xdp.l4lb.l4lb_real_server:
    services:
      - address: 192.0.2.10
        backend: 203.0.113.21
    balancers: [203.0.113.11, 203.0.113.12]
    firewall: true

- name: Be no real server any more
  xdp.l4lb.l4lb_real_server:
    state: absent
"""

RETURN = r"""
steps:
  description: What was changed, or would be, in the order in which it is done.
  returned: success
  type: list
  elements: str
  sample: ['add the ipip device for what is sent to 203.0.113.21', 'add the VIP 192.0.2.10 to lo']
decapsulation:
  description: Who unpacks, V(kernel) or V(bpf). Empty if nothing comes in tunnels.
  returned: success
  type: str
  sample: kernel
counters:
  description: Packets since the devices and programs exist.
  returned: success
  type: dict
  contains:
    programs:
      description: By interface, what became of packets in tunnels.
      type: dict
      sample: {eth0: {unpacked: 4711, not_a_balancer: 3, not_a_vip: 0}}
    devices:
      description: By tunnel device, those that came out of it.
      type: dict
      sample: {l4lb-ipip0: 4711}
    firewall_dropped:
      description: Those that O(firewall) has dropped.
      type: int
      sample: 0
lacks:
  description: What a real run would stop for, as the host lacks it.
  returned: in check mode, when something is missing
  type: str
  sample: bcc is not installed
log:
  description: What clang or the kernel's verifier said.
  returned: when the XDP program does not compile or load
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import HostError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import bpf, requirements
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import require_root
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import unpack_sources
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.real_server import counters
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver import probe
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver.options import (
    OPTIONS,
    RUN,
    parse_request,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver.server import RealServer
from ansible_collections.xdp.l4lb.plugins.module_utils._module import (
    changes,
    lacks,
    run_module,
    specification,
    use_python_that_has,
)


def arguments() -> dict[str, dict[str, Any]]:
    """The argument spec: the library's options, and those of the module alone."""
    spec = specification((*OPTIONS.values(), *RUN.values()))
    spec["services"] = {"type": "raw"}
    spec["balancers"]["elements"] = "str"
    return spec


ARGUMENTS = arguments()


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do what the options say; returns the result. Raises L4lbError."""
    params = dict(module.params)
    packed = params.pop("sources")
    request = parse_request(params)
    require_root()
    server = RealServer(unpack_sources(packed))
    plan = server.plan(request.desired, request.keep)
    if plan.loads:
        use_python_that_has({"bcc": requirements.bcc_version()})
    needed = (bpf.require, requirements.require_tools) if plan.loads else ()
    more = lacks(*needed) if module.check_mode else {}
    if not module.check_mode:
        plan = server.apply(request.desired, request.keep)
        if request.verify:
            for failure in probe.failures(request.desired):
                raise HostError(f"it is set up, but {failure}")
    return {
        **more,
        **changes(module, "real server", plan, *plan.listings),
        "decapsulation": plan.way,
        "counters": counters(),
    }


def main() -> None:
    """Run as a module."""
    run_module(AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True), run)


if __name__ == "__main__":
    main()
