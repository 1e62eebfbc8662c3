# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of the module l4lb: checks its options, and sends the C sources along.

Ansible would tell wrong ones otherwise: in its words, and with the seed if that is wrong.
"""

from __future__ import annotations

import base64
import functools
import json
import zlib
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import (
    parse_request,
    parse_settings,
)

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
        """Normalise the options, and add the sources to them."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = {name: value for name, value in self._task.args.items() if name != "sources"}
        try:
            settings = parse_settings(given)
            parse_request(given)
        except ConfigError as e:
            result.update(failed=True, msg=str(e))
        else:
            given.update((name, value) for name, value in settings.items() if name in given)
            given["sources"] = packed_sources()
            result.update(
                self._execute_module(
                    module_name="xdp.l4lb.l4lb",
                    module_args=given,
                    task_vars=task_vars,
                    wrap_async=self._task.async_val,
                )
            )
        result["invocation"] = {"module_args": {**self._task.args, **self._hidden()}}
        return result

    def _hidden(self) -> dict[str, str]:
        """Options that are secrets, if they are given; to mark them as such in the module would
        have Ansible hide each equal number, too."""
        return {name: HIDDEN for name in self._task.args if name == "hash_seed"}
