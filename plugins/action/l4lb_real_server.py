# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of the module l4lb_real_server: checks its options, sends the source of the XDP
program along, and has it shown what changes."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.realserver.options import parse_request
from ansible_collections.xdp.l4lb.plugins.plugin_utils.shown import show_change, warn_of_lacks
from ansible_collections.xdp.l4lb.plugins.plugin_utils.sources import packed_sources


class ActionModule(ActionBase):
    """Runs the module of the same name."""

    _supports_check_mode = True
    _supports_async = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run it, and show what it did, and what the host lacks."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = {name: value for name, value in self._task.args.items() if name != "sources"}
        try:
            parse_request(given)
        except ConfigError as e:
            result.update(failed=True, msg=str(e))
            return result
        result.update(
            self._execute_module(
                module_name="xdp.l4lb.l4lb_real_server",
                module_args={**given, "sources": packed_sources("decap.c")},
                task_vars=task_vars,
                wrap_async=self._task.async_val,
            )
        )
        if not (task_vars or {}).get("__l4lb_backend_trial"):
            show_change(result, self._task.diff)
            warn_of_lacks(result)
        return result
