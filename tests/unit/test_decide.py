# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans: every step, warning, refusal and prediction, from what was observed; nothing is asked."""

from __future__ import annotations

from array import array
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.decide import (
    Remains,
    Terms,
    decide,
    removal,
    with_sources,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.live import (
    Live,
    pause_told,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.needs import Needs
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.observe import (
    Maps,
    Observed,
    Tools,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.places import Places
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.plan import Plan
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.build import (
    Machine,
    build_flags,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import (
    ConfigError,
    ForeignProgramError,
    HostError,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.bpf import Program
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.requirements import Memory
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import layout, numbering
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.egress_record import Egress
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.manifest import Manifest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.sizes import Room
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.checks import Host
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.edits import change_backend
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.interface import (
    Ingress,
    Receivers,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.standing import (
    NOT_CHECKED,
    Verdict,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network.link import Link
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network.neighbour_table import Limits
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network.routes import (
    Hop,
    RouteEntry,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network.rtnetlink import LinkEntry
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.routing.egress import Exit, Settled
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.routing.ways import Known, Ways

MAC = "02:00:00:00:00:01"
ETH0, ETH1 = 2, 3
PLACES = Places.of("eth0")
OURS = cast(Program, SimpleNamespace(name="l4lb", id=1))
THEIRS = cast(Program, SimpleNamespace(name="theirs", id=7))
OWN = Ingress(IPv4Address("203.0.113.2"), MAC)
LINK = Link(ETH0, "eth0", MAC)
ENTRIES = [
    LinkEntry(index, f"eth{index - ETH0}", 0, bytes.fromhex(MAC.replace(":", "")), 1500, 0, 0)
    for index in (ETH0, ETH1)
]
BACKENDS = [{"address": f"203.0.113.2{number}"} for number in (1, 2)]
SERVICE = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
TOOLS = Tools("digest", "0.26.0", Machine(250, 2))
ROOM = Room(1024, 16)


def config(*services: dict[str, Any], **options: Any) -> Config:
    wanted = services or ({**SERVICE, "backends": BACKENDS},)
    return parse_config({"interface": "eth0", "services": wanted, **options})


WANTED = config()
NO_MEMORY = (
    "flow_table_size: 16777216: takes 512 MiB on 2 CPUs, and 300 MiB are available; choose a "
    "smaller one"
)


def ways(**changes: Any) -> Ways:
    """To both backends, directly by eth0."""
    routes = {ip_address(one["address"]): RouteEntry(1, (Hop(ETH0),)) for one in BACKENDS}
    settled = Settled({})
    made = Ways(
        ETH0, ENTRIES, routes, set(), [], {}, settled, False, False, Known(), False, {},
        dict.fromkeys(routes, frozenset([(ETH0, "")])),
    )  # fmt: skip
    return replace(made, **changes)


BUILD = {
    "sources": TOOLS.digest,
    "flags": build_flags(replace(WANTED, source_address=None), ROOM, TOOLS.machine),
    "bcc": TOOLS.bcc,
    "layout": layout.VERSION,
    "backends": ROOM.backends,
    "tables": ROOM.tables,
}


def manifest(now: Config = WANTED, **build: Any) -> Manifest:
    """Of a balancer that does this."""
    placed = numbering.place(with_sources(now, OWN), {**BUILD, **build}, None, ROOM.backends)
    return numbering.with_tables(placed, None, (), keep=True)[0]


def virgin(**changes: Any) -> Observed:
    """A host that has no balancer."""
    seen = Observed(
        live=Live(LINK),
        maps=None,
        ingress=OWN,
        host=Host({MAC}),
        ways=ways(),
        needs=Needs(),
        missing=Needs(),
        crowd={},
        limits={},
        idle=Needs(),
        strips_tags=False,
        saved=lambda _config: False,
        tools=TOOLS,
    )
    return replace(seen, **changes)


def deployed(now: Config = WANTED, of: dict[str, Any] | None = None, **changes: Any) -> Observed:
    """A host whose balancer does `now`; of: what else its program was built from."""
    there = manifest(now, **(of or {}))
    slots = array("H", [1, 2]) * 32768 + array("H", [1])
    maps = Maps(True, ROOM, OWN, (), lambda _service: slots, lambda: {(0, 1): 40, (0, 2): 60})
    seen = virgin(
        live=Live(LINK, program=OURS, manifest=there, mode="native", pinned=True),
        maps=maps,
        saved=lambda config: config == now,
    )
    return replace(seen, **changes)


def maps(**changes: Any) -> Maps:
    return replace(cast(Maps, deployed().maps), **changes)


def plan(wanted: Config, seen: Observed, **terms: Any) -> Plan:
    return decide(PLACES, wanted, seen, Terms(**terms))


DETACHED = replace(deployed().live, program=None, mode=None)
SINCE = 1795672002
PAUSED = replace(DETACHED, paused=SINCE)
NOT_SAVED = deployed(saved=lambda _config: False)
HOP = Needs(hops=frozenset([(ETH0, ip_address("203.0.113.21"))]))
LOAD, ATTACH = "compile and load the program", "attach the program to eth0, mode auto"
FORGOTTEN = "flows remembered so far are forgotten"
OTHER = replace(WANTED, interface="eth9")
DRAINED = config({**SERVICE, "backends": [BACKENDS[0], {**BACKENDS[1], "state": "drained"}]})
PASSING = "attach a program to eth1 that passes everything"
HALF_MOVES = "50.0 % of new flows move, 0 established"
REDIRECT = Needs(redirects=frozenset([ETH1]))

USUAL, LARGE = Limits(128, 512, 1024), Limits(4096, 8192, 16384)
MANAGED = config(manage_sysctls=True)
V4, V6 = (f"net.ipv{version}.neigh.default.gc_thresh" for version in (4, 6))
"""Without the number at its end."""


def crowded(
    counts: dict[int, int], limits: Limits | None = USUAL, now: Config = WANTED
) -> Observed:
    """A host whose balancer has so many next hops by IP version, under the same limits of both."""
    return deployed(now, crowd=counts, limits=dict.fromkeys(counts, limits))


STEPS: dict[str, tuple[Config, Observed, dict[str, Any], list[str]]] = {
    "nothing": (WANTED, deployed(), {}, []),
    "a virgin host": (
        WANTED,
        virgin(),
        {},
        [LOAD, ATTACH, "web: added with 2 backends"],
    ),
    "a given mode": (
        config(mode="generic"),
        virgin(),
        {},
        [LOAD, "attach the program to eth0, mode generic", "web: added with 2 backends"],
    ),
    "paused": (WANTED, deployed(live=PAUSED), {}, []),
    "paused, and deployed": (
        DRAINED,
        deployed(live=PAUSED),
        {},
        [f"web: 1 backend drained (203.0.113.22), {HALF_MOVES}"],
    ),
    "paused, and rebooted": (
        WANTED,
        virgin(live=Live(LINK, paused=SINCE)),
        {},
        [LOAD, "web: added with 2 backends"],
    ),
    "paused for somebody else's program": (
        WANTED,
        deployed(live=replace(PAUSED, foreign=THEIRS)),
        {"replace_foreign": True},
        [],
    ),
    "paused no more": (
        WANTED,
        deployed(live=PAUSED),
        {"resumed": True},
        ["end the pause of eth0", ATTACH],
    ),
    "another mode": (
        config(mode="generic"),
        deployed(),
        {},
        [
            "attach the program to eth0, mode generic; the link may pause",
            "mode: auto -> generic",
        ],
    ),
    "other sources": (
        WANTED,
        deployed(of={"sources": "other"}),
        {},
        [f"{LOAD}: the sources changed", ATTACH],
    ),
    "another bcc": (
        WANTED,
        deployed(of={"bcc": "0.31.0"}),
        {},
        [f"{LOAD}: bcc changed", ATTACH],
    ),
    "bcc has gone": (WANTED, deployed(tools=replace(TOOLS, bcc=None)), {}, []),
    "another layout": (
        WANTED,
        deployed(of={"layout": 1}),
        {},
        [f"{LOAD}: the layout of the maps changed", ATTACH],
    ),
    "another feature": (
        WANTED,
        deployed(of={"flags": []}),
        {},
        [f"{LOAD}: the services use other features", ATTACH],
    ),
    "too small": (
        WANTED,
        deployed(of={"backends": 4}),
        {},
        [f"{LOAD}: more backends than the maps have room for", ATTACH],
    ),
    "too few tables": (
        WANTED,
        deployed(of={"tables": 4}),
        {},
        [f"{LOAD}: more lookup tables than the maps have room for", ATTACH],
    ),
    "not readable": (
        WANTED,
        deployed(live=Live(LINK)),
        {},
        [f"{LOAD}: the one in place cannot be read", FORGOTTEN, ATTACH],
    ),
    "not attached": (WANTED, deployed(live=DETACHED), {}, [ATTACH]),
    "somebody else's": (
        WANTED,
        virgin(live=Live(LINK, foreign=THEIRS)),
        {"replace_foreign": True},
        ["replace the XDP program 'theirs'", LOAD, ATTACH, "web: added with 2 backends"],
    ),
    "renamed": (
        WANTED,
        deployed(OTHER),
        {},
        ["interface: eth9 -> eth0", "interface: eth9 -> eth0"],
    ),
    "a damaged table": (
        WANTED,
        deployed(maps=maps(wrong=("web", "backends"))),
        {},
        ["repair the map of web", "repair the map of backends"],
    ),
    "another MAC address": (
        WANTED,
        deployed(ingress=replace(OWN, mac="02:00:00:00:00:02")),
        {},
        ["own MAC addresses: 02:00:00:00:00:01 -> 02:00:00:00:00:02"],
    ),
    "another VLAN device": (
        WANTED,
        deployed(ingress=replace(OWN, receivers=Receivers(by_vlan={7: ETH1}))),
        {},
        ["other devices receive what comes in by eth0"],
    ),
    "another MTU of a route": (
        WANTED,
        deployed(ways=ways(route_mtus={ip_address("203.0.113.21"): 1400})),
        {},
        ["MTU of the route to 203.0.113.21 none -> 1400"],
    ),
    "frames leave elsewhere": (
        WANTED,
        deployed(ways=ways(settled=Settled({(ETH1, ""): Egress(ETH1)}))),
        {},
        ["frames by eth1 leave by nowhere -> eth1"],
    ),
    "pins are missing": (
        WANTED,
        deployed(live=replace(deployed().live, pinned=False)),
        {},
        ["pin the program and its maps"],
    ),
    "redirects": (
        WANTED,
        deployed(missing=REDIRECT),
        {},
        [f"{PASSING}, as it takes redirected frames only then"],
    ),
    "no redirects any more": (
        WANTED,
        deployed(idle=REDIRECT),
        {},
        ["detach the program from eth1 that passes everything"],
    ),
    "forwarding": (
        WANTED,
        deployed(missing=Needs(versions=frozenset([6, 4]))),
        {},
        ["set net.ipv4.conf.lo.forwarding to 1", "set net.ipv6.conf.lo.forwarding to 1"],
    ),
    "next hops": (
        WANTED,
        deployed(missing=HOP),
        {},
        ["have the kernel keep the next hops resolved"],
    ),
    "next hops go without saying": (WANTED, deployed(missing=HOP, live=DETACHED), {}, [ATTACH]),
    "not saved": (WANTED, NOT_SAVED, {}, [f"write {PLACES.saved.path}"]),
    "too low limits that are managed": (
        MANAGED,
        crowded({4: 2000, 6: 384}, USUAL, MANAGED),
        {},
        [f"set {V4}1 to 4096", f"set {V4}2 to 8192", f"set {V4}3 to 16384"],
    ),
    "limits are raised only": (
        MANAGED,
        crowded({6: 700}, Limits(2048, 512, 4096), MANAGED),
        {},
        [f"set {V6}1 to 2048", f"set {V6}2 to 2048", f"set {V6}3 to 4096"],
    ),
    "limits that do": (MANAGED, crowded({4: 2000}, LARGE, MANAGED), {}, []),
    "limits that do not show are not set": (
        MANAGED,
        crowded({4: 2000}, None, MANAGED),
        {},
        [],
    ),
    "an edit sets no limits": (
        replace(MANAGED, services=DRAINED.services),
        crowded({4: 2000}, USUAL, MANAGED),
        {"edited": True, "accepted": True},
        [f"web: 1 backend drained (203.0.113.22), {HALF_MOVES}"],
    ),
    "an edit keeps the program": (
        DRAINED,
        deployed(of={"sources": "other"}),
        {"edited": True, "accepted": True},
        [f"web: 1 backend drained (203.0.113.22), {HALF_MOVES}"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("wanted", "seen", "terms", "steps"), STEPS.values(), ids=STEPS)
def test_steps(wanted: Config, seen: Observed, terms: dict[str, Any], steps: list[str]) -> None:
    made = plan(wanted, seen, **terms)
    assert [*made.steps] == steps
    assert made.changed == bool(steps)


STUCK = Settled({}, problems={(ETH0, ""): Exit(None, "which carries no frames")})
LATER = Settled({}, problems={(ETH0, ""): Exit(None, "as nobody answers", unknown=True)})
BOTH = "203.0.113.21, 203.0.113.22"
TAGS = (
    "eth0 takes VLAN tags off frames before they can be looked at, so that all count as untagged; "
    "run ethtool -K eth0 rx-vlan-offload off, and make it last"
)
NARROW = (
    f"services[web]: on the way to {BOTH}, packets of 576 bytes do not fit with their outer "
    "header, and hosts need not send shorter ones by IPv4; raise the MTU"
)
OWN_VIP = Host({MAC}, addresses={ip_address("192.0.2.10")})


def forgetful(count: int, version: int, soft: int, wanted: int) -> str:
    low, high = ({4: V4, 6: V6}[version] + number for number in "23")
    return (
        f"{count} next hops are neighbours by IPv{version}, and {low} is {soft}, beyond which the "
        f"kernel forgets some again and again; set it to {wanted}, and {high} to {2 * wanted}, or "
        "manage_sysctls to true"
    )


MANY = (
    f"10000 next hops are neighbours by IPv4, and {V4}3 is 1024, so the kernel does not take as "
    f"many; set it to 65536, and {V4}2 to 32768, or manage_sysctls to true"
)
HIDDEN = (
    "700 next hops are neighbours by IPv4; whether the kernel keeps as many does not show in this "
    f"network namespace: on the host itself, {V4}2 is to be 2048 and {V4}3 4096 or more"
)

SENDERS = (
    "packets of the balancer on eth2 leave by eth0, which takes them in mode native only; set mode "
    "to generic there, too"
)

WARNINGS: dict[str, tuple[Config, Observed, dict[str, Any], list[str]]] = {
    "nothing": (WANTED, deployed(), {}, []),
    "renamed": (
        WANTED,
        deployed(OTHER),
        {},
        ["eth0 was eth9; state: absent for eth9 removes what is left of that"],
    ),
    "paused": (WANTED, deployed(live=PAUSED), {}, [pause_told("eth0", SINCE)]),
    "paused no more": (WANTED, deployed(live=PAUSED), {"resumed": True}, []),
    "no next hop": (
        WANTED,
        virgin(ways=ways(unreachable=[ip_address("203.0.113.21")])),
        {},
        ["no next hop for backend 203.0.113.21; packets to it are dropped"],
    ),
    "cannot leave, but was accepted": (
        WANTED,
        deployed(ways=ways(settled=STUCK)),
        {"accepted": True},
        [f"packets to {BOTH} would leave by eth0, which carries no frames"],
    ),
    "cannot leave yet": (
        WANTED,
        deployed(ways=ways(settled=LATER)),
        {},
        [f"packets to {BOTH} would leave by eth0, as nobody answers"],
    ),
    "a wasted seed": (
        config({**SERVICE, "scheduler": "jhash", "backends": BACKENDS}, hash_seed=1),
        virgin(),
        {},
        ["hash_seed has no effect: all services use the scheduler jhash, which knows none"],
    ),
    "an interface that is down": (
        WANTED,
        virgin(live=Live(replace(LINK, is_up=False))),
        {},
        ["interface: 'eth0': is down, so that nothing comes in; run ip link set eth0 up"],
    ),
    "a flow table that does not fit": (
        config(flow_table_size=2**24),
        virgin(tools=replace(TOOLS, memory=lambda: Memory(300 << 20, 2))),
        {},
        [NO_MEMORY],
    ),
    "one that just fits": (
        config(flow_table_size=2**24),
        virgin(tools=replace(TOOLS, memory=lambda: Memory(512 << 20, 2))),
        {},
        [],
    ),
    "one that no service uses": (
        config({**SERVICE, "backends": BACKENDS, "flow_table": False}, flow_table_size=2**24),
        virgin(tools=replace(TOOLS, memory=lambda: Memory(1, 2))),
        {},
        [],
    ),
    "one that is there already": (
        WANTED,
        deployed(of={"sources": "others"}, tools=replace(TOOLS, memory=lambda: Memory(1, 2))),
        {},
        [],
    ),
    "tags are taken off": (
        WANTED,
        virgin(strips_tags=True),
        {},
        [TAGS],
    ),
    "others redirect to it": (
        config(mode="generic"),
        deployed(senders=["eth2"]),
        {},
        [SENDERS],
    ),
    "fewer next hops than the kernel keeps": (WANTED, crowded({4: 384, 6: 384}), {}, []),
    "higher limits": (WANTED, crowded({4: 7000}, LARGE), {}, []),
    "more next hops than the kernel keeps for long": (
        WANTED,
        crowded({4: 385, 6: 1023}),
        {},
        [forgetful(385, 4, 512, 2048), forgetful(1023, 6, 512, 4096)],
    ),
    "more than it takes, but accepted": (
        WANTED,
        crowded({4: 10000}),
        {"accepted": True},
        [MANY],
    ),
    "nobody knows what it keeps": (WANTED, crowded({4: 700}, None), {}, [HIDDEN]),
    "nor if it is to be managed": (MANAGED, crowded({4: 700}, None, MANAGED), {}, [HIDDEN]),
    "nobody knows, but it does not matter": (WANTED, crowded({4: 384}, None), {}, []),
    "limits that are managed": (MANAGED, crowded({4: 10000}, USUAL, MANAGED), {}, []),
    "a narrow way": (
        WANTED,
        virgin(ways=ways(links=[replace(one, mtu=580) for one in ENTRIES])),
        {},
        [NARROW],
    ),
}


@pytest.mark.parametrize(("wanted", "seen", "terms", "warnings"), WARNINGS.values(), ids=WARNINGS)
def test_warnings(
    wanted: Config, seen: Observed, terms: dict[str, Any], warnings: list[str]
) -> None:
    assert [*plan(wanted, seen, **terms).warnings] == warnings


REFUSALS: dict[str, tuple[Config, Observed, type[Exception], str]] = {
    "somebody else's": (
        WANTED,
        virgin(live=Live(LINK, foreign=THEIRS)),
        ForeignProgramError,
        r"eth0 carries the XDP program 'theirs' \(id 7\), which is not ours",
    ),
    "an address of the host": (
        WANTED,
        virgin(host=OWN_VIP),
        ConfigError,
        "192.0.2.10",
    ),
    "no address for tunnels": (
        WANTED,
        virgin(ingress=Ingress(None, MAC)),
        ConfigError,
        "eth0 has no IPv4 address",
    ),
    "too many MAC addresses": (
        WANTED,
        virgin(
            ingress=replace(
                OWN, receivers=Receivers(tuple(f"02:00:00:00:01:{n:02x}" for n in range(64)))
            )
        ),
        ConfigError,
        "own_macs",
    ),
    "a driver without XDP": (
        config(mode="native"),
        virgin(ways=ways(refused=True)),
        HostError,
        "the driver of eth0 takes no XDP program in mode native",
    ),
    "no way out": (
        WANTED,
        virgin(ways=ways(settled=STUCK)),
        HostError,
        "would leave by eth0, which carries no frames",
    ),
    "more next hops than the kernel takes": (WANTED, crowded({4: 10000}), HostError, MANY),
    "as many as it has room for": (WANTED, crowded({6: 1024}), HostError, f"{V6}3 is 1024"),
    "a kernel that lacks something": (
        WANTED,
        virgin(tools=replace(TOOLS, lacks=lambda: "Linux 4.4 lacks everything")),
        HostError,
        "Linux 4.4 lacks everything",
    ),
}


@pytest.mark.parametrize(("wanted", "seen", "error", "words"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(wanted: Config, seen: Observed, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        plan(wanted, seen)


def test_a_pause_does_not_end_in_place_of_somebody_else_s() -> None:
    with pytest.raises(ForeignProgramError):
        plan(WANTED, deployed(live=replace(PAUSED, foreign=THEIRS)), resumed=True)


def test_what_was_accepted_once_is_warned_of() -> None:
    made = plan(WANTED, virgin(host=OWN_VIP), accepted=True)
    assert len(made.warnings) == 1
    assert "192.0.2.10" in made.warnings[0]


def test_a_kernel_is_not_asked_for_what_is_there() -> None:
    tools = replace(TOOLS, lacks=lambda: "not asked")
    assert not plan(WANTED, deployed(tools=tools)).changed


# What is done.


@pytest.mark.parametrize(
    ("wanted", "seen", "terms", "load", "attach", "write", "save", "repair"),
    [
        (WANTED, deployed(), {}, False, False, False, False, ()),
        (WANTED, virgin(), {}, True, True, True, True, ()),
        (WANTED, deployed(of={"bcc": "1"}), {}, True, True, True, False, ()),
        (WANTED, deployed(live=DETACHED), {}, False, True, False, False, ()),
        (WANTED, NOT_SAVED, {}, False, False, False, True, ()),
        (WANTED, deployed(maps=maps(wrong=("web", "backends"))), {}, False, False, True, False,
         ("web",)),
        (DRAINED, deployed(), {}, False, False, True, True, ()),
        (WANTED, deployed(OTHER), {}, False, False, True, True, ()),
        (WANTED, deployed(missing=HOP), {}, False, False, False, False, ()),
    ],
    ids=["nothing", "first", "program", "attach", "save", "repair", "change", "name", "hops"],
)  # fmt: skip
def test_parts(
    wanted: Config,
    seen: Observed,
    terms: dict[str, Any],
    load: bool,
    attach: bool,
    write: bool,
    save: bool,
    repair: tuple[str, ...],
) -> None:
    made = plan(wanted, seen, **terms)
    assert (made.load, made.attach, made.write, made.save) == (load, attach, write, save)
    assert made.repair == repair


def test_the_default_source_is_filled_in_but_not_saved() -> None:
    made = plan(WANTED, virgin())
    assert made.desired and made.declared
    assert str(made.desired.source_address) == "203.0.113.2/32"
    assert made.declared.source_address is None
    assert made.after["source_address"] == "203.0.113.2"
    assert made.before == {}


def test_moves_are_predicted() -> None:
    made = plan(DRAINED, deployed())
    (move,) = made.moves
    assert (move.service, move.of, move.established_flows) == ("web", 65537, 0)
    assert move.new_flows_percent == pytest.approx(50, abs=0.01)


def test_holds_are_kept() -> None:
    held = change_backend(WANTED, ip_address("203.0.113.22"), state="drained")
    made = plan(WANTED, deployed(held))
    assert not made.changed, "the hold is saved, too"
    assert made.desired
    assert [one.state for one in made.desired.services[0].backends] == ["enabled", "drained"]


def test_a_plan_stays_as_it_is() -> None:
    made = plan(WANTED, virgin())
    with pytest.raises(AttributeError):
        made.warnings = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        manifest().generation = 7  # type: ignore[misc]


# Removal.

SYSCTLS = Path("/etc/sysctl.d/60-l4lb.conf")


@pytest.mark.parametrize(
    ("remains", "steps"),
    [
        (Remains(Live(LINK)), []),
        (Remains(Live(LINK), attached=True), ["detach the program from eth0"]),
        (Remains(Live(LINK), pins=True), [f"remove {PLACES.pins.directory}"]),
        (Remains(Live(LINK), saved=True), [f"remove {PLACES.saved.path}"]),
        (Remains(Live(LINK), unneeded=HOP), ["let go of the next hops"]),
        (Remains(Live(LINK), saved=True, unneeded=HOP), [f"remove {PLACES.saved.path}"]),
        (Remains(Live(LINK), sysctls=SYSCTLS), [f"remove {SYSCTLS}"]),
        (
            Remains(Live(LINK), unneeded=REDIRECT, names={ETH1: "eth1"}),
            ["detach the program from eth1 that passes everything"],
        ),
    ],
    ids=["nothing", "attached", "pins", "saved", "hops", "hops go too", "sysctls", "redirects"],
)
def test_removal(remains: Remains, steps: list[str]) -> None:
    made = removal(PLACES, remains)
    assert [*made.steps] == steps
    assert made.desired is None
    assert made.after == {}


CHECK = {"type": "tcp", "interval": 2, "timeout": 1}
OTHERS = [{"address": f"203.0.113.3{number}"} for number in (1, 2)]
SERVE_ON = "the old ones serve until a new one is healthy, but no longer than 5 s"
TRUSTED = "what is new counts as healthy until it is checked"


@pytest.mark.parametrize(
    ("was", "becomes", "agent", "told", "overlaps"),
    [
        pytest.param(BACKENDS, OTHERS, True, SERVE_ON, True, id="all are new"),
        pytest.param(BACKENDS, [*BACKENDS, *OTHERS], True, None, False, id="some are"),
        pytest.param(BACKENDS, OTHERS, False, TRUSTED, False, id="and no agent is there"),
        pytest.param([], OTHERS, True, None, False, id="there were none"),
        pytest.param(
            [{**one, "state": "drained"} for one in BACKENDS],
            OTHERS,
            True,
            None,
            False,
            id="the old ones took no flows",
        ),
        pytest.param(BACKENDS, [], True, None, False, id="there are none any more"),
    ],
)
def test_new_backends_of_a_service_with_a_check(
    was: list[dict[str, Any]],
    becomes: list[dict[str, Any]],
    agent: bool,
    told: str | None,
    overlaps: bool,
) -> None:
    """Others serve meanwhile, if somebody finds out when they need not."""
    now, wanted = (
        config({**SERVICE, "check": CHECK, "backends": listed}) for listed in (was, becomes)
    )
    newcomer = Verdict(answered=True, reason=NOT_CHECKED) if agent else None
    found = plan(wanted, deployed(now, newcomer=newcomer))
    (step,) = (step for step in found.steps if step.startswith("web: "))
    assert [words for words in (SERVE_ON, TRUSTED) if words in step] == ([told] if told else [])
    assert (found.overlap is not None) == overlaps
    if found.overlap:
        (both,) = found.overlap.services
        assert [str(one.address) for one in both.backends] == [
            one["address"] for one in (*becomes, *was)
        ]
