# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command l4lb, given one configuration after the other."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.command import change, main

from tests.fleet.there.library import sources


def applied(configurations: list[Any]) -> list[tuple[int, str, str]]:
    """What `l4lb apply FILE` answers to each: exit code, output and errors."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(change, "sources", sources),  # which the build puts beside it
    ):
        return [_apply(one, Path(folder, "wanted.json")) for one in configurations]


def _apply(options: Any, file: Path) -> tuple[int, str, str]:
    file.write_text(json.dumps(options))
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main.main("0", ["apply", str(file)])
    return code, output.getvalue(), errors.getvalue()
