# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus reads, for hosts without the agent: metrics."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..agent import record
from ..errors import ConfigError
from ..kernel.paths import Paths, require_root
from ..metrics import look
from ..metrics.samples import Host
from ..metrics.seen import Kept
from ..metrics.text import Metrics
from ..network import neighbours
from ..operations import here
from .usage import add_per_backend

_MODE = 0o644
"""Of the file, as whoever serves it is somebody else."""


def add_commands(commands: Any) -> None:
    """Register it."""
    command = commands.add_parser(
        "metrics",
        help="metrics for Prometheus, as text",
        description="Show what Prometheus reads: the agent's answer to /metrics, but what\n"
        "only it knows. With --output it is for the textfile collector of node_exporter,\n"
        "where there is no agent, or nobody can ask it.",
    )
    command.add_argument(
        "--output",
        metavar="FILE",
        help="write it to this file, which others find whole at any time; its name ends with\n"
        ".prom where node_exporter is to read it (default: standard output)",
    )
    add_per_backend(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write all of it."""
    require_root()
    kept = {
        name: Kept(one.repairs, bool(one.problem))
        for name, (one, _since) in record.noted(Paths()).items()
    }
    announced = look.announced()
    balancers = [look.at(name, announced, kept=kept.get(name)) for name in here.known()]
    host = Host(options.version, neighbours.next_hop_counts())
    metrics = Metrics(options.per_backend)
    text = metrics.text(host, metrics.know(balancers), openmetrics=False)
    if options.output is None:
        sys.stdout.buffer.write(b"".join(text))  # in UTF-8, whatever the terminal's encoding
    else:
        _write(Path(options.output), text)
    return 0


def _write(path: Path, text: Iterable[bytes]) -> None:
    """Raises ConfigError, or what `text` does; the file is as before then."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".l4lb.", delete=False) as file:
            new = Path(file.name)
            try:
                file.writelines(text)
                file.close()
                new.chmod(_MODE)
                new.replace(path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    new.unlink()
                raise
    except OSError as e:
        remedy = "give a file in a directory that there is"
        raise ConfigError("--output", str(path), f"{e.strerror}; {remedy}") from e
