# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan is made from: the desired state aside, all that the host and the maps say."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address

from ..datapath import build, compare, egresses, flows
from ..datapath.build import Machine
from ..datapath.program import DataPath
from ..kernel import lock, requirements
from ..kernel.requirements import Memory
from ..maps import image
from ..maps.image import Image
from ..maps.manifest import Manifest
from ..maps.sizes import Room
from ..model.checks import Host
from ..model.config import Config, Service
from ..model.interface import Ingress
from ..model.standing import NOT_CHECKED, Verdict
from ..network import ethtool, neighbour_table, neighbours
from ..network.link import Link
from ..network.neighbour_table import Limits
from ..routing import egress, local, ways
from ..routing.ways import Known, Ways
from . import modes, needs
from .live import Live
from .needs import Needs
from .places import Places


@dataclass(frozen=True)
class Maps:
    """What the maps of a data path say, which may be of another version.

    ingress: what the interface had when they were written.
    wrong: where they do not hold what the manifest says, as of `compare.differences`.
    slots: the lookup table of a service; asked only if it matters.
    flows: how many established flows are remembered, by (id of the service, number of the backend);
        likewise.
    """

    has_flows: bool = False
    room: Room = field(default_factory=lambda: Room(0, 0))
    ingress: Ingress = field(default_factory=lambda: Ingress(None, ""))
    wrong: tuple[str, ...] = ()
    slots: Callable[[Service], Sequence[int]] = lambda _service: ()
    flows: Callable[[], Mapping[tuple[int, int], int]] = dict


@dataclass(frozen=True)
class Tools:
    """What a program is made with.

    digest: of the C sources.
    lacks: why the kernel will not take it, if so; asked only if there is to be a new one.
    memory: for its maps; likewise.
    """

    digest: str = ""
    bcc: str | None = None
    machine: Machine = field(default_factory=Machine)
    lacks: Callable[[], str | None] = lambda: None
    memory: Callable[[], Memory] = Memory


@dataclass(frozen=True)
class Observed:
    """The host, as one desired state has to do with it.

    maps: None: there are none.
    ingress: what the interface has now.
    host: what its addresses say.
    ways: to the backends.
    needs: of the host; missing: what of it is not there yet; idle: interfaces that have a program
        for nothing but to take redirects, which nobody needs any more.
    crowd: IP version -> how many neighbours that takes, with those that others need; limits: of
        these, see neighbour_table.
    strips_tags: the interface has VLANs, and takes tags off frames before a program sees them.
    saved: whether the file says this; asked when that is known.
    hint: that mode native may work by now, in words.
    senders: as of needs.senders; asked only if the mode is to be generic.
    newcomer: as of `verdicts_after`.
    """

    live: Live
    maps: Maps | None
    ingress: Ingress
    host: Host
    ways: Ways
    needs: Needs
    missing: Needs
    crowd: Mapping[int, int]
    limits: Mapping[int, Limits | None]
    idle: Needs
    strips_tags: bool
    saved: Callable[[Config], bool]
    tools: Tools
    hint: str | None = None
    senders: Sequence[str] = ()
    newcomer: Verdict | None = None

    @property
    def manifest(self) -> Manifest | None:
        """What the maps hold; None: there are none, or that cannot be read."""
        return self.live.manifest


def observe(
    places: Places,
    live: Live,
    wanted: Config,
    sources: Mapping[str, str] | None,
    drawn: Image | None = None,
) -> Observed:
    """Ask the host, for `wanted`. Raises L4lbError.

    sources: of the program; None: it stays.
    drawn: the image of the state that is expected, if this process has drawn it.
    """
    ingress = ingress_of(live.link, wanted)
    routed = needs.routed(wanted)
    sources_ = {**ingress.sources, **wanted.sources}
    settled = neighbours.settled()
    found = ways.look(routed, sources_, live.link.index, mode_of(live, wanted), known(live))
    needed = Needs(
        frozenset(found.hops),
        frozenset(address.version for address in routed),
        found.settled.programs,
    )
    crowd = settled.counts(needed.hops)
    has_vlans = egress.has_vlans(live.link.index, found.links)
    return Observed(
        live=live,
        maps=_maps(live, ingress, drawn),
        ingress=ingress,
        host=local.look(wanted, live.link, sources_),
        ways=found,
        needs=needed,
        missing=needs.missing(needed, places.paths, settled),
        crowd=crowd,
        limits={version: neighbour_table.limits(places.paths, version) for version in crowd},
        idle=needs.unneeded_redirects(places.interface, places.paths, needed),
        strips_tags=has_vlans and ethtool.strips_tags(live.link.name),
        saved=places.saved.holds,
        tools=Tools() if sources is None else _tools(sources),
        hint=modes.hint(live) if wanted.mode == "auto" else None,
        senders=needs.senders(live.link, places.paths) if wanted.mode == "generic" else (),
        newcomer=_newcomer(places),
    )


def _newcomer(places: Places) -> Verdict | None:
    """If somebody checks, new backends wait for that, though not for ever: the agent tells."""
    if not lock.agent_is_there(places.paths):
        return None
    return Verdict(answered=True, reason=NOT_CHECKED, since=int(time.time()))


def ingress_of(interface: Link, config: Config) -> Ingress:
    """What an interface has, for a configuration."""
    services = {service.address for service in config.services}
    address, address6 = (interface.source(version, services) for version in (4, 6))
    return Ingress(
        address if isinstance(address, IPv4Address) else None,
        interface.mac,
        address6 if isinstance(address6, IPv6Address) else None,
        interface.mtu,
        interface.receivers,
    )


def known(live: Live) -> Known:
    """What the last run has seen of the ways to the backends."""
    if live.data_path is None or live.manifest is None:
        return Known()
    return Known(live.manifest.route_mtus, egresses.read(live.data_path))


def mode_of(live: Live, config: Config) -> str:
    """That packets are handled in; auto, if that will only show."""
    if config.mode == "auto" and live.mode:
        return live.mode
    return config.mode


def ingress_then(data_path: DataPath, manifest: Manifest, now: Ingress) -> Ingress:
    """What the interface had when the maps were written, as far as they hold that."""
    content = data_path.service_table()
    then = image.ingress_of(content, now) if content else now
    return replace(then, mtu=manifest.mtu)


def _maps(live: Live, ingress: Ingress, drawn: Image | None) -> Maps | None:
    data_path, manifest = live.data_path, live.manifest
    if data_path is None:
        return None
    if manifest is None:
        return Maps("flows" in data_path.maps)
    then = ingress_then(data_path, manifest, ingress)
    if drawn is None or (drawn.manifest, drawn.ingress) != (manifest, then):
        drawn = image.draw(manifest, then)
    return Maps(
        "flows" in data_path.maps,
        data_path.room,
        then,
        tuple(compare.differences(data_path, drawn)),
        lambda service: flows.slots(data_path, service, manifest),
        functools.cache(lambda: flows.remembered(data_path)),
    )


def _tools(sources: Mapping[str, str]) -> Tools:
    text = build.program_text(sources) if sources else ""
    return Tools(
        hashlib.sha256(text.encode()).hexdigest(),
        requirements.bcc_version(),
        build.machine(),
        requirements.lacks,
        requirements.memory,
    )
