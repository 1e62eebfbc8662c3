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
        self._known: dict[str, Known] = {}

    def text(self, host: Host, balancers: Sequence[Seen], openmetrics: bool) -> Iterator[bytes]:
        """The slices, some of which are empty. Raises L4lbError if maps cannot be read."""
        counted = []
        for seen in balancers:
            known = self._known.get(seen.interface)
            if known is None or not known.is_of(seen):
                known, steps = Known.of(seen)
                for _step in steps:
                    yield b""
                self._known[seen.interface] = known
            one = Counted(seen, known)
            for _step in one.find_out():
                yield b""
            counted.append(one)
        for name in self._known.keys() - {seen.interface for seen in balancers}:
            self._known.pop(name, None)
        yield from sliced(self._lines(host, counted, openmetrics))

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
