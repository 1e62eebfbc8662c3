# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics as text: the format of Prometheus (text, version 0.0.4), and that of OpenMetrics 1.0,
which differs in little."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Union  # as Python 3.9 has no other for what is no annotation

from .families import GAUGE, INFO, Family

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_SLICE = 0.002
"""Seconds that the making of a slice takes."""
Value = Union[int, float]
Sample = tuple  # (suffix of the name, labels as `labelled` has them, value)


def wants_openmetrics(accept: str) -> bool:
    """Whether somebody prefers that, by the header Accept (RFC 9110, 12.5.1)."""
    text = openmetrics = 0.0
    for part in accept.split(","):
        kind, *parameters = (one.strip().lower() for one in part.split(";"))
        quality = _quality(parameters)
        if kind == "application/openmetrics-text":
            openmetrics = max(openmetrics, quality)
        elif kind in ("text/plain", "text/*", "*/*"):
            text = max(text, quality)
    return openmetrics > 0 and openmetrics >= text


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def labelled(labels: Mapping[str, object]) -> str:
    """Labels as they are written: what they say may be anything."""
    pairs = (f'{name}="{str(value).translate(_ESCAPES)}"' for name, value in labels.items())
    return ",".join(pairs)


def lines(family: Family, samples: Iterable[Sample], openmetrics: bool) -> Iterator[str]:
    """All that is said of a metric; nothing if there are no samples."""
    samples = iter(samples)
    first = next(samples, None)
    if first is None:
        return
    told = family.name if openmetrics else family.sample
    kind = GAUGE if family.type == INFO and not openmetrics else family.type
    help_ = family.help.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {told} {help_}\n# TYPE {told} {kind}\n"
    if openmetrics and family.unit:
        yield f"# UNIT {told} {family.unit}\n"
    name = family.sample
    suffix, labels, value = first
    yield f"{name}{suffix}{{{labels}}} {value}\n" if labels else f"{name}{suffix} {value}\n"
    for suffix, labels, value in samples:
        yield f"{name}{suffix}{{{labels}}} {value}\n"


def sliced(text: Iterable[str]) -> Iterator[bytes]:
    """Lines in slices, each as much as is made of them in a short time."""
    part, end = [], time.monotonic() + _SLICE
    for line in text:
        part.append(line)
        if time.monotonic() >= end:
            yield _encoded(part)
            part, end = [], time.monotonic() + _SLICE
    yield _encoded(part)


def _encoded(part: list[str]) -> bytes:
    return "".join(part).encode(errors="backslashreplace")


END = "# EOF\n"
"""Of OpenMetrics."""
