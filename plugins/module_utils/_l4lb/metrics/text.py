# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All metrics of a host as a text, in slices between which a caller may do other work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .exposition import END, Sample, lines, sliced
from .families import FAMILIES, Family
from .samples import OF_BALANCERS, Host
from .seen import Counted, Known, Seen


class Metrics:
    """Says what the balancers of a host have counted, again and again."""

    def __init__(self, per_backend: bool = True) -> None:
        """per_backend: whether there are those of each backend, too."""
        self._families = [one for one in FAMILIES if per_backend or not one.per_backend]
        self._known: dict[str, Known | None] = {}

    def know(self, balancers: Sequence[Seen]) -> list[Counted]:
        """What there is to count, which takes long if it is new, so it may be another thread's to
        find out."""
        known = {seen.interface: self._known.get(seen.interface) for seen in balancers}
        there = []
        for seen in balancers:
            now = known[seen.interface]
            if now is None or not now.is_of(seen):
                now = known[seen.interface] = Known.of(seen)
            there.append(Counted(seen, now))
        self._known = known
        return there

    def text(self, host: Host, there: Sequence[Counted], openmetrics: bool) -> Iterator[bytes]:
        """The slices, some of which are empty. Raises L4lbError if maps cannot be read."""
        for one in there:
            for _step in one.find_out():
                yield b""
        yield from sliced(self._lines(host, there, openmetrics))

    def _lines(self, host: Host, counted: Sequence[Counted], openmetrics: bool) -> Iterator[str]:
        for family in self._families:
            yield from lines(family, _samples(family, host, counted), openmetrics)
        if openmetrics:
            yield END


def _samples(family: Family, host: Host, counted: Sequence[Counted]) -> Iterator[Sample]:
    of_balancer = OF_BALANCERS.get(family)
    if of_balancer is None:
        yield from host.samples(family)
        return
    for one in counted:
        yield from of_balancer(one)
