# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way of a packet, and why it goes that way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ...balancer.balancer import Balancer
from ...datapath import flows
from ...kernel import lock
from ...kernel.clock import ticks, ticks_per_second
from ...kernel.paths import Paths
from ...maps import flow_table, image
from ...model.config import Address, Backend, Config, Service, remembers
from ...model.standing import Standing
from ...model.standing import Verdict as Health
from ...network import link
from .finding import Finding, finding
from .packet import Packet
from .run import Trial, Verdict
from .ways import Way, way

_FOR_NOBODY = ("malformed", "fragment", "bad_source", "no_service", "no_backend")
"""Drops before a backend is picked."""


@dataclass(frozen=True)
class Memory:
    """What a CPU remembers of a flow.

    backend: its address. silence: seconds since the last packet. confirmed: more than a single
        packet was seen. counts: whether it decides, as the backend still keeps its flows.
    """

    backend: Address
    silence: float
    confirmed: bool
    counts: bool


@dataclass(frozen=True)
class Slot:
    """Of a lookup table.

    slots: how many there are. owner: whose it is; holder: who has it now.
    """

    number: int
    slots: int
    owner: Address
    holder: Address


@dataclass(frozen=True)
class Outcome:
    """What becomes of the packet on some CPUs.

    chosen: the backend that it is for, also if it does not get there; None: there is none.
    """

    cpus: tuple[int, ...]
    verdict: Verdict
    chosen: Backend | None


@dataclass(frozen=True)
class Server:
    """A backend that the packet is for on some CPU, or would be if that took it.

    effective: its state, as packets find it. health: None: it is healthy.
    """

    backend: Backend
    number: int
    effective: str
    health: Health | None
    way: Way


@dataclass(frozen=True)
class Explanation:
    """The whole way of a packet.

    mode: of the interface. names: of interfaces that packets leave by. cpus: how many there are.
    remembers: whether the service uses the flow table. memory: by CPU, where it knows the flow.
    only: the backend of all new flows of a service without a lookup table; None: it has none.
    others: services at the same address.
    standing: None: there is no service.
    watched: whether an agent is at work.
    """

    interface: str
    mode: str | None
    packet: Packet
    config: Config
    found: Finding
    outcomes: tuple[Outcome, ...]
    names: Mapping[int, str] = field(default_factory=dict)
    cpus: int = 0
    remembers: bool = False
    memory: dict[int, Memory] = field(default_factory=dict)
    slot: Slot | None = None
    only: Address | None = None
    servers: tuple[Server, ...] = ()
    others: tuple[Service, ...] = ()
    standing: Standing | None = None
    watched: bool = False


def explain(balancer: Balancer, packet: Packet) -> Explanation:
    """What becomes of a packet, and why; nothing of the live balancer changes by that.

    Needs the sources, and all that it takes to compile them. Waits while another run changes the
    balancer. Raises L4lbError, as if nothing balances.
    """
    with lock.of_interface(balancer.interface, balancer.places.paths):
        trial = Trial(balancer, packet.flow)
        return _Inquiry(trial, packet).explanation(balancer.interface)


class _Inquiry:
    """Into what becomes of a packet in a trial."""

    def __init__(self, trial: Trial, packet: Packet) -> None:
        self._trial, self._packet = trial, packet
        self._found = finding(trial)

    def explanation(self, interface: str) -> Explanation:
        trial = self._trial
        service, config = trial.service, trial.manifest.config
        memory, slot = self._memory(), self._slot()
        outcomes = tuple(self._outcomes(memory, slot))
        return Explanation(
            interface,
            trial.live.mode,
            self._packet,
            config,
            self._found,
            outcomes,
            self._names(outcomes),
            len(trial.cpus),
            service is not None and remembers(service, config),
            memory,
            slot,
            self._only(),
            tuple(self._servers(outcomes, memory, slot)),
            tuple(one for one in config.services if one.address == self._packet.flow.destination),
            trial.manifest.standings[service.name] if service else None,
            lock.agent_is_there(Paths()),
        )

    def _names(self, outcomes: tuple[Outcome, ...]) -> dict[int, str]:
        verdicts = [self._found.new, *self._found.remembered.values()]
        verdicts += [one.verdict for one in outcomes]
        used = {one.interface for one in verdicts if one.interface}
        return {index: link.interface_name(index) for index in used}

    def _memory(self) -> dict[int, Memory]:
        """By CPU, where there is any."""
        trial, content = self._trial, self._trial.remembered()
        if not trial.service or not trial.data_path.flows or not content:
            return {}
        name, manifest = trial.service.name, trial.manifest
        number = manifest.service_ids[name]
        owners = [(one, number) for one in manifest.numbers[name].values()]
        now, second, wanted = ticks(), ticks_per_second(), trial.fingerprint
        return {
            cpu: Memory(
                trial.numbers[owner].address,
                (now - tick) % 2**32 / second,
                confirmed,
                cpu in self._found.remembered,
            )
            for cpu, block in trial.data_path.flows.by_cpu(content).items()
            for (owner, _service), known, tick, confirmed in flow_table.flows_of(owners, block)
            if known == wanted
        }

    def _slot(self) -> Slot | None:
        """Whose it is, and who has it while that one takes no flows."""
        trial, number = self._trial, self._found.slot
        if number is None or trial.service is None:
            return None
        service, manifest = trial.service, trial.manifest
        stands = manifest.standings[service.name]
        whole = replace(stands, aside=(), partly={})
        dealt = image.deal(service, manifest.config.hash_seed, stands)
        owner = service.backends[image.positions(dealt, whole)[number] - 1]
        slots = flows.slots(trial.data_path, service, manifest)
        return Slot(number, len(slots), owner.address, trial.numbers[slots[number]].address)

    def _outcomes(self, memory: dict[int, Memory], slot: Slot | None) -> list[Outcome]:
        """Those that differ, the most frequent first."""
        alike: dict[tuple[Verdict, Backend | None], list[int]] = {}
        latest = min(memory.values(), key=lambda one: one.silence, default=None)
        for cpu, tried in self._trial.run(self._packet).items():
            known = latest if self._packet.error else memory.get(cpu)  # errors ask all CPUs
            chosen = tried.verdict.backend or self._chosen(tried.verdict, known, slot)
            alike.setdefault((tried.verdict, chosen), []).append(cpu)
        found = (Outcome(tuple(cpus), *both) for both, cpus in alike.items())
        return sorted(found, key=lambda one: -len(one.cpus))

    def _chosen(self, verdict: Verdict, memory: Memory | None, slot: Slot | None) -> Backend | None:
        """For whom a packet would have been that is not sent."""
        trial = self._trial
        if trial.service is None or verdict.reason in _FOR_NOBODY:
            return None
        address = slot.holder if slot else self._only()
        if memory and memory.counts:
            address = memory.backend
        return next((one for one in trial.service.backends if one.address == address), None)

    def _only(self) -> Address | None:
        trial = self._trial
        if trial.service is None or trial.slot is not None:
            return None
        usable = trial.manifest.standings[trial.service.name].usable
        return trial.service.backends[usable[0]].address if usable else None

    def _servers(
        self, outcomes: Iterable[Outcome], memory: Mapping[int, Memory], slot: Slot | None
    ) -> list[Server]:
        """Each once, those first that the packet is for."""
        trial = self._trial
        service, manifest = trial.service, trial.manifest
        if service is None:
            return []
        named = [one.chosen.address for one in outcomes if one.chosen]
        named += [one.backend for one in memory.values()]
        named += [slot.owner] if slot else []
        stands, verdicts = manifest.standings[service.name], manifest.verdicts
        places = (service.places[address] for address in dict.fromkeys(named))
        return [
            Server(
                service.backends[place],
                manifest.numbers[service.name][service.backends[place].address],
                stands.backends[place].state,
                verdicts.get(service.name, {}).get(service.backends[place].address),
                way(service.backends[place], manifest.config),
            )
            for place in places
        ]
