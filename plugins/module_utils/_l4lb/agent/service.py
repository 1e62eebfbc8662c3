# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent: one process for all balancers of a host, which has them follow the health of their
backends, and keeps them as they were deployed.

What balances goes on without it, as it was. When it returns, it takes over the verdicts that the
data plane has.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import resource
import signal
import socket
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..announce import host
from ..announce.decide import Side
from ..balancer.balancer import Balancer
from ..errors import IdleError, L4lbError
from ..kernel import lock
from ..kernel.paths import Paths, require_root
from ..model.check import Check
from ..model.config import Address, Config, Service
from ..model.listen import Listen
from ..network import rtnetlink
from ..network.rtnetlink import LinkEntry
from ..operations import here
from ..operations.judge import Judge
from .aims import Aims, Seen
from .announcer import Announcer
from .journal import Journal
from .notify import notify, watchdog_interval
from .outage import Links
from .page.document import Status
from .page.page import Page
from .page.recorder import Recorder
from .probes.answer import Answer, CannotProbe
from .probes.prober import Prober
from .seeing import Seeing
from .upkeep import Upkeep
from .watch import Watch
from .web import metrics
from .web.message import Handler
from .web.server import Server

_LOST = "nobody knows which balancers there are"
_LOOK = 1.0
"""Seconds after which it looks again for what other runs have changed."""
_SETTLE = 0.02
"""Seconds that a link has for what is but a moment, as when a program takes another's place."""


@dataclass(frozen=True)
class Settings:
    """How the agent is run.

    version: of the collection.
    user: whose rights commands have that check backends.
    listen: where it can be asked; None: nowhere.
    per_backend: whether it has metrics of each backend, which may be many.
    page: the files of the status page, see page.FILES.
    """

    version: str = ""
    user: str | None = None
    listen: Listen | None = None
    per_backend: bool = True
    page: Mapping[str, str] = field(default_factory=dict)


async def serve(journal: Journal, sources: Mapping[str, str], settings: Settings) -> None:
    """Watch until SIGTERM or SIGINT; SIGHUP has it look at once what has changed.

    sources: files of files/bpf, for the tunnel of checks.

    Raises L4lbError if it cannot begin.
    """
    require_root()
    _allow_sockets()
    paths = Paths()
    with lock.of_agent(paths) as held:
        prober = Prober(settings.user)
        upkeep, announcer = Upkeep(journal, held, paths), Announcer(journal, paths)
        try:
            agent = _Agent(prober, Aims(prober, sources, journal), upkeep, announcer, journal)
            await agent.run(agent.web(settings))
        finally:
            prober.close()


def _allow_sockets() -> None:
    """As many as are allowed: each check that is under way has one."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # the unit forbids it, and has set it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Agent:
    def __init__(
        self,
        prober: Prober,
        aims: Aims,
        upkeep: Upkeep,
        announcer: Announcer,
        journal: Journal,
    ) -> None:
        self._prober, self._aims, self._journal = prober, aims, journal
        self._upkeep, self._announcer = upkeep, announcer
        self._is_complete = False
        self._settling: asyncio.TimerHandle | None = None
        self._judges: dict[str, Judge] = {}
        self._watches: dict[str, Watch] = {}
        self._links = Links()
        self._followed: dict[str, Config] = {}
        self._look = asyncio.Event()
        self._over = False

    def web(self, settings: Settings) -> list[Coroutine[Any, Any, None]]:
        """What answers those who ask, and sees to it that there is something to tell."""
        if settings.listen is None:
            return []
        seeing = Seeing(
            settings.version,
            self._judges,
            self._watches,
            self._upkeep,
            self._prober,
            self._journal,
        )
        recorder = Recorder(self._judges)
        routes: dict[str, Handler] = {
            "/": Page(settings.page),
            "/status.json": Status(
                settings.version, recorder, lambda: self._journal.troubles, self._upkeep.shown
            ),
            "/metrics": metrics.answers(seeing.look, settings.per_backend),
        }
        return [Server(settings.listen, routes, self._journal).run(), recorder.run()]

    async def run(self, web: Sequence[Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGHUP, self._look.set)
        upkeep = loop.create_task(self._upkeep.run())
        upkeep.add_done_callback(lambda _task: self._look.set())
        tasks = [upkeep, *map(loop.create_task, web)]
        links = rtnetlink.Changes(0, [rtnetlink.LINK])
        loop.add_reader(links.socket.fileno(), self._hear, links)
        pause = min(_LOOK, (watchdog_interval() or 4 * _LOOK) / 4)
        try:
            await self._look_at_all()
            notify("READY=1")
            while not self._over:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._look.wait(), pause)
                self._look.clear()
                if upkeep.done():
                    upkeep.result()  # raises what ended it
                await self._look_at_all()
                self._aims.keep()
                notify("WATCHDOG=1", f"STATUS={self._status()}")
        finally:
            notify("STOPPING=1")
            loop.remove_reader(links.socket.fileno())
            links.socket.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for watch in self._watches.values():
                await watch.close()
            await self._aims.close()

    def _end(self) -> None:
        self._over = True
        self._look.set()

    def _hear(self, links: rtnetlink.Changes) -> None:
        if links.heard() and self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(_SETTLE, self._announce)

    def _announce(self) -> None:
        """As it is by now, and in time: who sends packets here is to know when they get no
        further."""
        if self._settling:
            self._settling.cancel()
            self._settling = None
        try:
            links = rtnetlink.links()
            for link in links:
                self._links.see(link.name, host.is_down(link), time.monotonic())
            sides = [self._side(name, watch, links) for name, watch in self._watches.items()]
        except L4lbError as e:
            self._journal.alarm(_LOST, str(e))
            return
        known = [side for side in sides if side]
        self._announcer.follow(known, self._is_complete and len(known) == len(sides))

    def _side(self, name: str, watch: Watch, links: Sequence[LinkEntry]) -> Side | None:
        if watch.manifest is None:
            return None
        idle = host.idle(name, links, self._judges[name].program)
        announces = watch.manifest.config.announce  # else there may be very many for nothing
        return Side(watch.manifest, idle, watch.unknown() if announces else ())

    async def _look_at_all(self) -> None:
        """At the balancers that there are by now. Raises HostError if another process must."""
        here.require_writable()
        self._is_complete = False
        try:
            there = here.balancing()
            self._journal.calm(_LOST)
        except (L4lbError, OSError) as e:
            self._journal.alarm(_LOST, str(e))
            return
        for name in self._watches.keys() - there:
            await self._leave(name)
        complete = True
        for name in there:
            trouble = f"the balancer of {name} cannot be watched"
            try:
                self._look_at(name)
                self._journal.calm(trouble)
            except IdleError:
                await self._leave(name)
            except (L4lbError, OSError) as e:
                self._journal.alarm(trouble, str(e))
                complete = False
        self._is_complete = complete
        self._announce()

    def _look_at(self, name: str) -> None:
        if name not in self._watches:
            judge = self._judges[name] = Judge(Balancer(name))
            probe = functools.partial(self._probe, name)
            self._watches[name] = Watch(judge, probe, self._journal, self._announce)
        judge = self._judges[name]
        self._watches[name].look()
        manifest = judge.look()
        if self._followed.get(name) is not manifest.config and judge.ingress:
            self._followed[name] = manifest.config
            index = socket.if_nametoindex(name)
            services = manifest.config.services
            tunnelled = {one.name for one in services if one.check and one.check.via == "tunnel"}
            records = judge.records(tunnelled)
            self._aims.follow(name, Seen(manifest, index, judge.ingress.mtu, records))

    async def _leave(self, name: str) -> None:
        watch = self._watches.pop(name, None)
        self._judges.pop(name, None)
        self._followed.pop(name, None)
        if watch:
            await watch.close()
            self._aims.follow(name, None)

    async def _probe(
        self, interface: str, service: Service, check: Check, address: Address
    ) -> Answer:
        target, began = self._aims.target(interface, service, check, address), time.monotonic()
        answer = await self._prober.probe(check, target)
        if not answer.healthy and self._links.was_down(interface, since=began):
            raise CannotProbe(f"{interface} was down")
        return answer

    def _status(self) -> str:
        """A line for systemctl status."""
        counts = [watch.counts() for watch in self._watches.values()]
        checked, unhealthy = (sum(each) for each in zip(*counts)) if counts else (0, 0)
        return f"{checked} backends checked, {unhealthy} unhealthy"
