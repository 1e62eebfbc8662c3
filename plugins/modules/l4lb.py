#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the balancer on one interface."""

from __future__ import annotations

DOCUMENTATION = r"""
module: l4lb
short_description: Balance layer-4 traffic with XDP
version_added: 0.1.0
description:
  - Compiles an XDP program on the host with bcc, fills its maps with services and backends, and attaches it to a
    network interface. It goes on without Ansible until it is removed.
  - What is there already is compared with what is wanted, in the kernel itself. Only differences are applied, and they
    take effect at once or not at all. A change of services or backends does not touch the program.
  - What is wanted is also saved, in C(/etc/l4lb), one file per interface.
  - An interface that C(l4lb pause) has detached stays so, with a warning, until C(l4lb resume); what is wanted takes
    effect then.
  - Traffic that is not addressed to a service passes to the host untouched.
  - What cannot be meant is an error before anything changes, also in check mode; the options say what that is. A
    service without a backend that takes new flows is a warning.
requirements:
  - python3-bpfcc on the host (C(python3-bcc) on Fedora and RHEL), not the bcc of PyPI
  - python3-pyroute2 on the host
  - kernel headers on the host, of the running kernel or, as XDP uses the stable API only, of another one
  - Linux 5.15 or newer, root
author:
  - The xdp.l4lb authors (!UNKNOWN)
attributes:
  check_mode:
    description: Reports what would change without changing it. Works on a host where nothing is installed yet.
    support: full
  diff_mode:
    description: Shows the state of the kernel before and after, in the form of the options.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
  platform:
    description: Where the module runs.
    support: full
    platforms: Linux
  action:
    description: Has an action plugin, which sends the C sources along with the module, and has it shown what changes.
    support: full
options:
  interface:
    description: Network interface that receives the clients' packets. It has a MAC address, so it is not C(lo).
    type: str
    required: true
  state:
    description:
      - V(present) makes the interface balance as described by the other options.
      - V(absent) removes the program and every trace of it.
    type: str
    choices: [present, absent]
    default: present
  mode:
    description:
      - Where the program runs. V(native) is in the driver, V(generic) works with every driver and is slower.
      - V(auto) takes V(native) if the driver can do it, else V(generic). RV(mode) tells which it is.
    type: str
    choices: [auto, native, generic]
    default: auto
  source_address:
    description:
      - Outer source address of tunnels over IPv4, an address of the host that is no service's. The default is the first
        such IPv4 address of O(interface), preferably one with the prefix of a subnet.
      - Of a prefix, as in V(192.0.2.0/28), each flow takes one address, so that receivers spread flows over CPUs. It must
        be routed to the host, which C(ip route add local 192.0.2.0/28 dev lo) tells the host.
    type: str
  source_address6:
    description: The same over IPv6.
    type: str
  gateway_mac:
    description:
      - Send all encapsulated packets to this MAC address, which is not the host's own.
      - By default the next hop of each backend is found by the routes and neighbours of the host, as for a ping from the
        tunnel's source address, of a prefix from its first. So rules for policy routing by source count.
    type: str
  flow_table_size:
    description:
      - How many flows are remembered per CPU, rounded up to a power of two from 1024 on. V(0) is none.
      - From 0 to 16777216. A flow takes 16 bytes.
    type: int
    default: 65536
  udp_timeout:
    description: Seconds, from 1 to 65535, after which a silent UDP flow is forgotten.
    type: int
    default: 30
  gue_port:
    description: UDP port of GUE at the backends, from 1 to 65535.
    type: int
    default: 6080
  hash_seed:
    description:
      - A number, from 0 to 18446744073709551615, by which new flows get their backends under the scheduler V(maglev).
        Must be the same on every balancer of a fleet. Remembered flows stay where they are if it changes.
      - With V(0) anyone can compute which flows reach one backend, and overload that. On the open internet choose a
        random number and keep it secret. It is not shown, but for 16 bits of a digest.
    type: int
    default: 0
  own_macs:
    description:
      - MAC addresses whose frames are balanced, besides those of O(interface), of the bridge or bond that it is a port
        of, and of VLAN and macvlan devices on them. All other frames pass, multicast and broadcast always. At most 32,
        and 64 of all kinds together.
    type: list
    elements: str
    default: []
  no_service:
    description:
      - What becomes of a packet to a service's address that is for no service, and that the host would forward.
      - V(drop) keeps it from going round between the host and its router until its TTL is used up. What the host takes
        itself, or answers with an error, passes, and so do neighbour and router discovery.
      - V(pass) leaves it to the host, for one that translates addresses.
    type: str
    choices: [drop, pass]
    default: drop
  allow_own_address:
    description:
      - Allow services at an address of the host itself. The host then no longer gets what is sent to their ports, which
        may be the way by which it is administered.
      - Set it beside keepalived and whatever else puts the addresses of services on one of several balancers for a while.
        Else a run on that one is an error.
    type: bool
    default: false
  echo_rate:
    description:
      - Pings of services that each CPU answers a second at the most, from 0 to 4294967295. V(0) is none.
      - As many may come at once after a second without. What is beyond is dropped as C(limited).
    type: int
    default: 10000
  too_big_rate:
    description:
      - Packets that do not fit the path to their backend, and whose senders each CPU tells so a second at the most,
        from 0 to 4294967295. V(0) is none.
      - As many may come at once after a second without. What is beyond is dropped as C(limited).
    type: int
    default: 10000
  manage_sysctls:
    description:
      - Raise the limits of the kernel's neighbour tables, C(net.ipv4.neigh.default.gc_thresh1) to C(gc_thresh3) and their
        IPv6 sisters, where they are too low for the next hops. These are all backends that are on a link of the host.
      - If V(false), more next hops than C(gc_thresh3) are an error. There is a warning if C(gc_thresh2) does not leave room
        for 128 more, as beyond it the kernel forgets neighbours in use.
      - They are set at once and, by C(/etc/sysctl.d/60-l4lb.conf), at each boot, and never lowered. The file goes with the
        last balancer of the host.
      - Only the host's initial network namespace has these sysctls. Elsewhere, as in containers, there is a warning.
    type: bool
    default: false
  announce:
    description:
      - Announce the VIPs for which this host serves. The agent has a host route to each in the kernel's routing table 214,
        of protocol 214, and takes it out when the host serves it no more. Nothing is routed by them. A routing daemon sends
        them on. What others have in that table stays.
      - A VIP that has a route keeps it while the agent is restarted, or dead.
      - C(l4lb withdraw) on the host takes all of them out, whatever is deployed then, until C(l4lb announce).
    type: bool
    default: false
  announce_timeout:
    description:
      - Seconds, from 0 to 3600, that a VIP waits for all of its backends to be checked before it is announced first, as after
        a boot. A backend that cannot be checked would have it wait for ever.
    type: int
    default: 60
  announce_prefix_length6:
    description:
      - How many bits of an IPv6 VIP are announced, from 48 to 128, where routers take no host routes. The prefix is announced
        as long as one VIP in it would be, and all packets to it come here, to addresses without a service, too.
      - Services of the same prefix with different O(services[].announce_when) must all be content.
    type: int
    default: 128
  services:
    description:
      - All services of the interface. Those that are not listed are removed. V([]) is a balancer without services, which
        removes all that there are.
      - Required if O(state=present).
    type: raw
    suboptions:
      name:
        description: Unique name. It labels statistics. At most 63 bytes.
        type: str
        required: true
      address:
        description:
          - IPv4 or IPv6 address that clients talk to.
          - Neither an address of the host, unless O(allow_own_address=true), nor one that no host has, such as loopback,
            link-local and multicast, or the network and broadcast address of a subnet that the host is connected to.
        type: str
        required: true
      port:
        description: Port that clients talk to, from 1 to 65535. V(0) is every port that no other service has.
        type: int
        required: true
      protocol:
        description: Protocol of the service.
        type: str
        choices: [tcp, udp]
        required: true
      scheduler:
        description:
          - How a backend is picked for a flow.
          - V(maglev) respects weights, and moves few flows when backends come and go.
          - V(jhash) is the Jenkins hash over 512 slots, dealt round robin in the listed order. It ignores weights other
            than 0 and takes up to 512 backends. It knows no O(hash_seed), so anyone can compute which flows reach one
            backend.
        type: str
        choices: [maglev, jhash]
        default: maglev
      affinity:
        description:
          - Flows that are for one backend together.
          - V(flow) is each flow by itself. V(source) is all flows of a client's address.
        type: str
        choices: [flow, source]
        default: flow
      encapsulation:
        description:
          - How packets travel to the backends.
          - V(ipip) is IP in IP, of either family in either (RFC 2003, 2473, 4213).
          - V(gue) is generic UDP encapsulation, variant 1, with UDP checksum 0. V(gre) is GRE (RFC 2784).
          - V(l2) rewrites the MAC addresses only. The backends must be on the same link, neither behind a router nor at
            O(gateway_mac); O(services.backends[].mac) tells where they are if routes do not.
        type: str
        choices: [ipip, gue, gre, l2]
        default: ipip
      flow_table:
        description:
          - Whether the backends of flows are remembered, so that a change of backends or weights moves none of them.
          - Without it packets are balanced a little faster.
        type: bool
        default: true
      check:
        description:
          - How the host finds out which backends are healthy. An unhealthy one gets no new flows. Without a check all are
            healthy.
        type: dict
        suboptions:
          type:
            description:
              - V(tcp) opens a connection and resets it, or sends and expects something by it.
              - V(http) and V(https) ask for a page. V(dns) asks for a record over UDP. V(udp) sends a packet. V(command) runs a
                program.
            type: str
            choices: [tcp, http, https, dns, udp, command]
            required: true
          via:
            description:
              - V(tunnel) is to the address of the service, encapsulated as clients' packets are, and to this backend alone. So
                it tells what clients meet. It cannot be where that address is the host's own.
              - V(address) is to the address of the backend itself.
              - Without it, V(address) for a V(command), which knows no other, and else V(tunnel).
            type: str
            choices: [tunnel, address]
          port:
            description: Port to check, from 1 to 65535. Without it the service's. A service with every port needs it.
            type: int
          interval:
            description: Seconds from one check of a backend to the next, from 0.1 to 3600. Without it 5 for V(https), and else 2.
            type: float
          timeout:
            description: Seconds that an answer may take, from 0.01 to 60, and no more than the interval.
            type: float
            default: 1
          rise:
            description: So many good checks on end, from 1 to 100, make a backend healthy.
            type: int
            default: 2
          fall:
            description: So many bad checks on end, from 1 to 100, make a backend unhealthy.
            type: int
            default: 3
          path:
            description: Of V(http) and V(https). What to ask for. Without it C(/).
            type: str
          host:
            description:
              - Of V(http) and V(https). The name to ask for, in the header C(Host) and for TLS (SNI).
              - Without it the address that is asked.
            type: str
          status:
            description: Of V(http) and V(https). The least and the most that is good. Without it from 200 to 299.
            type: list
            elements: int
          verify:
            description: Of V(https). The certificate must be valid for the host, and of an authority that the system trusts.
            type: bool
            default: false
          query:
            description: Of V(dns), which requires it. Name and type of a record, as in C(www.example.com A).
            type: str
          send:
            description: Of V(tcp) and V(udp). What to send.
            type: str
          expect:
            description:
              - Of all but V(command). Text that must be in the answer. Of V(dns) it must be the whole of one of the records, as
                an address.
              - Without it, any answer of a V(dns) server is good but SERVFAIL and REFUSED. With V(udp) silence is good, too, as
                long as no ICMP error comes, for many servers answer only what they know.
            type: str
          command:
            description:
              - Of V(command), which requires it. The absolute path of a program, and its arguments. No shell reads them.
              - In them C({address}) and C({port}) stand for those of the backend.
              - It must end with 0 before the timeout, when it is killed with all of its process group. The first line that it
                prints is shown as the reason.
            type: list
            elements: str
      on_unhealthy:
        description:
          - What becomes of the flows of a backend that is unhealthy.
          - V(auto) keeps them there if it answered, but not as it should, and gives them to others if it did not answer.
          - V(move) gives them to others. V(keep) leaves them there.
        type: str
        choices: [auto, move, keep]
        default: auto
      min_healthy:
        description:
          - With fewer healthy backends, all are used that could take flows. For then it may be the check that is wrong, or all
            is too much for the few.
          - A number from 0 to 65535, or a percentage as in V(50%), rounded up. With V(0) packets are dropped while no backend
            is healthy.
        type: raw
        default: 1
      slow_start:
        description: Seconds over which the share of a backend grows that is healthy again, from 0 to 3600. With V(0) at once.
        type: int
        default: 0
      announce_when:
        description:
          - When the VIP is announced, if O(announce=true). The same for all services of an address, on all protocols and
            ports.
          - V(any) of them serves. A service serves if a backend takes new flows, be that because too few are healthy.
          - V(all) of them do.
          - Any is V(healthy), so that too few healthy backends do not count.
          - The balancer is V(forwarding), whatever the backends.
          - Where several interfaces of a host serve the address, their services count together, and none serves where the
            program is not attached or the interface is down.
        type: str
        choices: [any, all, healthy, forwarding]
        default: any
      backends:
        description: Servers behind the service. A service without any drops its packets.
        type: list
        elements: dict
        default: []
        suboptions:
          address:
            description:
              - IPv4 or IPv6 address of the server. Unique within the service.
              - Neither an address of the host nor that of a service, nor one that no host has.
            type: str
            required: true
          weight:
            description: Share of new flows under the V(maglev) scheduler, from 0 to 255. V(0) is none.
            type: int
            default: 1
          state:
            description:
              - V(enabled) gets flows. V(drained) gets no new ones, and keeps those that the flow table remembers.
              - V(disabled) gets nothing.
              - What M(xdp.l4lb.l4lb_backend) has set takes precedence, with a warning, until it enables the backend, or
                the backend is removed.
            type: str
            choices: [enabled, drained, disabled]
            default: enabled
          mac:
            description: MAC address of the next hop to this server. Takes precedence over O(gateway_mac).
            type: str
          mtu:
            description:
              - Bytes of the longest packet that the path to this server takes, outer headers included, from 576 to 65535.
              - To be set where the path is narrower than the MTU of the host's interface and of its route. What the network
                says about it is not believed, for anyone can forge that.
            type: int
          backup:
            description: Takes flows only while no backend can that is none.
            type: bool
            default: false
  replace:
    description: Take over an interface that carries an XDP program of someone else. Without it that is an error.
    type: bool
    default: false
  sources:
    description: The C sources of the data plane, packed. The action plugin sets this. It is of no use to set it.
    type: str
seealso:
  - module: xdp.l4lb.l4lb_backend
  - module: xdp.l4lb.l4lb_stats
"""

EXAMPLES = r"""
- name: Balance a web service over two servers
  xdp.l4lb.l4lb:
    interface: eth0
    services:
      - name: web
        address: 192.0.2.10
        port: 80
        protocol: tcp
        backends:
          - address: 203.0.113.21
          - address: 203.0.113.22
            weight: 2

- name: Stop balancing
  xdp.l4lb.l4lb:
    interface: eth0
    state: absent
"""

RETURN = r"""
mode:
  description: Where the program runs.
  returned: when state is present, not in check mode
  type: str
  sample: native
native_refused:
  description: Why O(mode=auto) is V(generic), in the words of the kernel.
  returned: when it is and native was tried, not in check mode
  type: str
  sample: 'Numerical result out of range (veth: Peer MTU is too large to set XDP)'
steps:
  description: What was changed, or would be, in the order in which it is done.
  returned: success
  type: list
  elements: str
  sample: ['web: 1 backend added (203.0.113.23), 33.3 % of new flows move, 0 established']
moves:
  description: What happens, or would happen, to the flows of services that change and were there before.
  returned: success
  type: list
  elements: dict
  contains:
    service:
      description: Name of the service.
      type: str
    slots:
      description:
        - Slots of its lookup table that get another backend.
        - None if flows find their slots by another hash than before, as with another scheduler.
      type: int
      sample: 21846
    of:
      description: Slots of its lookup table, 65537 under V(maglev) and 512 under V(jhash).
      type: int
      sample: 65537
    new_flows_percent:
      description: Share of new flows that get another backend than they would have got, or none.
      type: float
      sample: 33.334
    established_flows:
      description:
        - Flows in the flow table that lose their backend, because it is removed or disabled, those included that
          ended without notice. Flows of which a single packet came do not count. Of a flow table of more than four
          million flows, a part is counted.
        - None if the service has no flow table before and after, or one that starts empty. Established flows then
          go where new ones go.
      type: int
      sample: 0
others:
  description: Other interfaces of the host that have a balancer, or have one saved.
  returned: success
  type: list
  elements: str
  sample: [eth1]
headers:
  description: The kernel headers that the program was compiled with.
  returned: when it was compiled
  type: dict
  contains:
    release:
      description: Their version.
      type: str
      sample: 6.1.0-18-amd64
    exact:
      description: Whether they are the running kernel's.
      type: bool
lacks:
  description: What a real run would stop for, as the host lacks it.
  returned: in check mode, when state is present and something is missing
  type: str
  sample: pyroute2 is not installed; install python3-pyroute2
waited:
  description: Seconds that another run on the same interface was waited for.
  returned: not in check mode
  type: float
  sample: 0.0
log:
  description: What clang or the kernel's verifier said.
  returned: when the program does not compile or load
  type: str
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import bpf, requirements
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import require_root
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import unpack_sources
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.listing import listing
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.options import CONFIG, RUN
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_request
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import pyroute
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations import here, renewal
from ansible_collections.xdp.l4lb.plugins.module_utils._module import (
    changes,
    lacks,
    run_module,
    specification,
    use_python_that_has,
)


def arguments() -> dict[str, dict[str, Any]]:
    """The argument spec: the model's options, and those of the module alone."""
    spec = specification((*CONFIG.values(), *RUN.values()))
    spec["own_macs"]["elements"] = "str"
    # What is below is the model's to check, whose words are shorter, and which does it faster. None
    # is not an empty list, which removes all services.
    spec["services"] = {"type": "raw"}
    return spec


ARGUMENTS = arguments()


def run(module: AnsibleModule) -> dict[str, Any]:
    """Do what the options say; returns the result. Raises L4lbError."""
    params = dict(module.params)
    packed = params.pop("sources")
    request = parse_request(params)
    require_root()
    request = here.resolved(request)
    sources = unpack_sources(packed)
    use_python_that_has(
        {"bcc": requirements.bcc_version(), "pyroute2": pyroute.pyroute2_is_installed()}
    )
    balancer = Balancer(request.interface, sources)
    desired, replace = request.config, request.replace

    if module.check_mode:
        plan = balancer.plan(desired, replace)
        needed = (pyroute.require_pyroute2, bpf.require, requirements.require_tools)
        result: dict[str, Any] = lacks(*needed) if desired else {}
    else:
        outcome = renewal.apply(balancer, desired, replace, verify=True)
        plan = outcome.plan
        if outcome.left:
            raise L4lbError(
                f"{balancer.interface} was set up, and then changed by somebody else: a second run "
                f"would {'; '.join(outcome.left[:3])}"
            )
        result = {"waited": round(outcome.waited, 3)}
        if outcome.mode:
            result["mode"] = outcome.mode
        if outcome.native_refused:
            result["native_refused"] = outcome.native_refused
        if outcome.headers:
            headers = outcome.headers
            result["headers"] = {"release": headers.release, "exact": headers.exact}
    before = listing(plan.before)
    after = before if plan.before == plan.after else listing(plan.after)
    return {
        **result,
        **changes(module, f"balancer of {balancer.interface}", plan, before, after),
        "moves": [asdict(move) for move in plan.moves],
        "others": [name for name in here.known() if name != balancer.interface],
    }


class Module(AnsibleModule):
    """One that keeps a secret that is a number: to mark the option no_log would hide each equal
    number in the result."""

    def _log_invocation(self) -> None:
        """Tell the system's log, which others read, what was asked for."""
        seed = self.params["hash_seed"]
        self.params["hash_seed"] = "NOT_LOGGING_PARAMETER"
        super()._log_invocation()
        self.params["hash_seed"] = seed


def main() -> None:
    """Run as a module."""
    run_module(Module(argument_spec=ARGUMENTS, supports_check_mode=True), run)


if __name__ == "__main__":
    main()
