# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an interface has now: the link, the program on it, and what its maps hold."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from ..datapath.program import DataPath
from ..errors import ConfigError, IdleError, L4lbError, PausedError
from ..kernel.bpf import Program
from ..kernel.paths import require_root
from ..kernel.pins import Pins
from ..maps.manifest import Manifest
from ..model.config import Config
from ..network import link
from ..network.link import Link
from ..network.xdp import is_passing
from .places import Places


@dataclass(frozen=True)
class Live:
    """What an interface has now."""

    link: Link
    data_path: DataPath | None = None
    """Ours, attached, or only pinned (as after the interface was made anew)."""
    program: Program | None = None
    """Ours, attached, whether its maps can be read or not."""
    mode: str | None = None
    """That it is attached in, or is to be again."""
    foreign: Program | None = None
    manifest: Manifest | None = None
    pinned: bool = False
    """The pins are complete, and no interrupted run has left others."""
    saved: Config | None = None
    """What is on disk, if that is readable; asked only where the kernel does not say."""
    paused: int | None = None
    """Since when it is not attached by the operator's word, in seconds since 1970; None: it is
    attached, or should be."""

    @property
    def attached(self) -> bool:
        """Whether our program is attached."""
        return self.program is not None

    @property
    def config(self) -> Config:
        """What it balances now; nothing if that is not known."""
        return self.manifest.config if self.manifest else Config(self.link.name)

    @property
    def remembered(self) -> Config:
        """What it balanced last: what is saved, where the kernel does not say."""
        return self.saved or self.config


def read(places: Places, must_exist: bool = True) -> Live:
    """The live state. Raises ConfigError if the interface must exist and does not."""
    require_root()
    pinned = places.pins.program()
    found = _link(places, pinned, must_exist)
    program = data_path = foreign = mode = manifest = saved = None
    there = Program.by_id(found.attached.program_id) if found.attached else None
    if found.attached and there:
        data_path = DataPath.of(there)
        if data_path or (pinned and pinned.id == there.id):
            program, mode = there, found.attached.mode
        elif not is_passing(there):
            foreign = there
    if pinned and not program and not link.carriers(pinned.id):
        data_path = DataPath.of(pinned)
    complete = False
    if data_path:
        manifest = data_path.read()
        complete = places.pins.complete(data_path.program, data_path.pinned_maps())
    if manifest is None:
        with contextlib.suppress(L4lbError):
            saved = places.saved.read()
    tidy = complete and not places.staging.directory.exists()
    paused = None if program else places.saved.paused
    return Live(found, data_path, program, mode, foreign, manifest, tidy, saved, paused)


def pause_told(interface: str, since: int) -> str:
    """In words."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
    return (
        f"{interface} is paused since {when}, and balances nothing; l4lb resume {interface} ends "
        "that"
    )


def _link(places: Places, pinned: Program | None, must_exist: bool) -> Link:
    """The interface; if it has another name by now and need not exist, by that name."""
    try:
        return link.read_link(places.interface)
    except ConfigError as e:
        names = link.carriers(pinned.id) if pinned else []
        if must_exist:
            if names:
                raise ConfigError(
                    "interface",
                    places.interface,
                    f"no such interface; its balancer is on {names[0]} now",
                ) from e
            raise
        for name in names:
            other = Pins.of(name, places.paths).program()
            if pinned and (other is None or other.id != pinned.id):  # not its own by now
                return link.read_link(name)
        return Link(index=0, name=places.interface, mac="")


def at_work(places: Places, or_paused: bool = False) -> tuple[Live, DataPath, Manifest]:
    """The live state, and what of it is there then. Raises IdleError if the interface has no
    balancer, PausedError if it is paused, unless that will do, and L4lbError if it cannot be
    read."""
    live = read(places)
    if live.paused is not None and not (or_paused and live.data_path):
        raise PausedError(pause_told(places.interface, live.paused))
    if not live.attached and live.paused is None:
        raise IdleError(f"no balancer is attached to {places.interface}")
    if live.data_path is None or live.manifest is None:
        raise L4lbError(
            f"the maps of {places.interface} are of another version of the collection; "
            "apply the configuration again"
        )
    return live, live.data_path, live.manifest
