# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of the module l4lb: sends the C sources along, in the same round trip."""

from __future__ import annotations

import base64
import functools
import json
import zlib
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

SOURCES = Path(__file__).resolve().parents[2] / "files" / "bpf"


@functools.cache
def packed_sources() -> str:
    """The files of files/bpf as compressed JSON, name -> text."""
    sources = {
        path.name: path.read_text(encoding="utf-8") for path in sorted(SOURCES.glob("*.[ch]"))
    }
    return base64.b64encode(zlib.compress(json.dumps(sources).encode())).decode()


class ActionModule(ActionBase):
    """Runs the module of the same name."""

    _supports_check_mode = True
    _supports_async = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Add the sources to the options."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        result.update(
            self._execute_module(
                module_name="xdp.l4lb.l4lb",
                module_args={**self._task.args, "sources": packed_sources()},
                task_vars=task_vars,
                wrap_async=self._task.async_val,
            )
        )
        result["invocation"] = {"module_args": dict(self._task.args)}
        return result
