# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of the module l4lb: sends the C sources along, in the same round trip, and has it
shown what changes."""

from __future__ import annotations

import base64
import functools
import json
import zlib
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources
from ansible_collections.xdp.l4lb.plugins.plugin_utils.shown import show_change

display = Display()

HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
"""As Ansible itself says it."""
SOURCES = Path(__file__).resolve().parents[2] / "files" / "bpf"


@functools.cache
def packed_sources() -> str:
    """The files of files/bpf as compressed JSON, name -> text."""
    sources = json.dumps(read_sources(SOURCES))
    return base64.b64encode(zlib.compress(sources.encode())).decode()


class ActionModule(ActionBase):
    """Runs the module of the same name."""

    _supports_check_mode = True
    _supports_async = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Add the sources to the options; show what it did, and what the host lacks."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        result.update(
            self._execute_module(
                module_name="xdp.l4lb.l4lb",
                module_args={**self._task.args, "sources": packed_sources()},
                task_vars=task_vars,
                wrap_async=self._task.async_val,
            )
        )
        self._tell(result, task_vars or {})
        result["invocation"] = {"module_args": {**self._task.args, **self._hidden()}}
        return result

    def _tell(self, result: dict[str, Any], task_vars: dict[str, Any]) -> None:
        """The role tries before it installs, and says itself what it would install."""
        if not task_vars.get("__l4lb_trial"):
            show_change(result, self._task.diff)
            if self._templar.template(task_vars.get("__l4lb_installing", False)):
                result.pop("lacks", None)
            if "lacks" in result:
                display.warning(f"a real run would stop here: {result['lacks']}")
        elif "lacks" in result:
            result.update(failed=True, msg=result["lacks"])

    def _hidden(self) -> dict[str, str]:
        """Options that are secrets, if they are given; to mark them as such in the module would
        have Ansible hide each equal number, too."""
        return {name: HIDDEN for name in self._task.args if name == "hash_seed"}
