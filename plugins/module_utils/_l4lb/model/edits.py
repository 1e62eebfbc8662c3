# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds: what an operator drained, disabled or weighed stays so until an operator enables it.

A new configuration may change all else of a held backend. It ends the hold only by removing the
backend, or the service; these are known by what the data plane knows them by.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import ConfigError
from ..printable import listed
from .config import Address, Backend, Config, Service, ServiceKey
from .options import BACKEND, STATES
from .standing import is_renewed


def change_backend(
    config: Config,
    address: Address,
    service: str | None = None,
    state: str | None = None,
    weight: int | None = None,
) -> Config:
    """Change a backend of one service, or of all that have it; None: as it is.

    A state other than enabled, and a weight, are held from then on; enabled lifts both holds, and
    brings the configured weight back, unless a weight comes with it.

    Raises ConfigError if there is no such backend or service, or no such state or weight.
    """
    if state not in (None, *STATES):
        raise ConfigError("state", state, f"choose one of {', '.join(STATES)}")
    low, high = BACKEND["weight"].range or (0, 0)
    if weight is not None and not low <= weight <= high:
        raise ConfigError("weight", weight, f"give a whole number from {low} to {high}")

    def changed(backend: Backend) -> Backend:
        configured = backend.configured_weight
        if configured is None:
            configured = backend.weight
        if state == "enabled":
            backend = replace(backend, weight=configured, configured_weight=None)
        if weight is not None:
            backend = replace(backend, weight=weight, configured_weight=configured)
        if state is not None:
            backend = replace(backend, state=state, held=state != "enabled")
        return backend

    chosen = find_backend(config, address, service)
    services = tuple(
        replace(
            each,
            backends=tuple(
                changed(backend) if backend.address == address else backend
                for backend in each.backends
            ),
        )
        if each.key in chosen
        else each
        for each in config.services
    )
    return replace(config, services=services)


def overlapped(before: Config, after: Config) -> Config | None:
    """`after`, in which services that get other backends only still have their old ones, too; None
    if there are no such."""
    old = {service.key: service for service in before.services}
    services = tuple(
        replace(each, backends=(*each.backends, *old[each.key].backends))
        if each.key in old and is_renewed(old[each.key], each)
        else each
        for each in after.services
    )
    return replace(after, services=services) if services != after.services else None


def find_backend(
    config: Config, address: Address, service: str | None = None
) -> dict[ServiceKey, tuple[Service, Backend]]:
    """A backend in one service, or in all that have it.

    Raises ConfigError, which lists what there is, if there is none.
    """
    where = config.interface
    services = [each for each in config.services if service in (None, each.name)]
    if not services:
        there = listed(each.name for each in config.services) or "none"
        raise ConfigError("service", service, f"{where} has no such service, but {there}")
    found = {
        each.key: (each, backend)
        for each in services
        for backend in each.backends
        if backend.address == address
    }
    if not found:
        addresses = {one.address for each in services for one in each.backends}
        ordered = sorted(addresses, key=lambda one: (one.version, int(one)))
        there = listed(ordered) or "none"
        of = f"service {service} on {where}" if service else where
        raise ConfigError("address", str(address), f"{of} has no such backend, but {there}")
    return found


def keep_holds(config: Config, before: Config) -> tuple[Config, list[str]]:
    """`config` with the holds of `before`, and a warning of each that makes a difference."""
    held = {
        (service.key, backend.address): backend
        for service in before.services
        for backend in service.backends
        if backend.held or backend.configured_weight is not None
    }
    if not held:
        return config, []
    warnings: list[str] = []
    services = []
    for service in config.services:
        backends = []
        for backend in service.backends:
            hold = held.get((service.key, backend.address))
            if hold:
                backend, differences = _with_hold(backend, hold)
                warnings += (
                    f"{service.name}: backend {backend.address} {difference} as configured; run "
                    "l4lb_backend with state: enabled to lift the hold"
                    for difference in differences
                )
            backends.append(backend)
        services.append(replace(service, backends=tuple(backends)))
    return replace(config, services=tuple(services)), warnings


def _with_hold(backend: Backend, hold: Backend) -> tuple[Backend, list[str]]:
    """A backend as the one that is held, and what of the configuration does not count, in words."""
    differences = []
    if hold.held:
        if hold.state != backend.state:
            differences.append(
                f"stays {hold.state}, as an operator set, and is not {backend.state}"
            )
        backend = replace(backend, state=hold.state, held=True)
    if hold.configured_weight is not None:
        configured = backend.configured_weight
        if hold.weight != backend.weight:
            differences.append(
                f"keeps the weight {hold.weight}, as an operator set, and not {backend.weight}"
            )
        backend = replace(
            backend,
            weight=hold.weight,
            configured_weight=backend.weight if configured is None else configured,
        )
    return backend, differences
