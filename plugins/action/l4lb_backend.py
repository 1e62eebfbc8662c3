# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of the module l4lb_backend: has it shown what changes, and what may be misspelt."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.xdp.l4lb.plugins.plugin_utils.misspelt import warn_of_misspelt
from ansible_collections.xdp.l4lb.plugins.plugin_utils.shown import show_change


class ActionModule(ActionBase):
    """Runs the module of the same name."""

    _supports_check_mode = True
    _supports_async = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run it, and show what it did."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        warn_of_misspelt(task_vars or ())
        result.update(
            self._execute_module(
                module_name="xdp.l4lb.l4lb_backend",
                task_vars=task_vars,
                wrap_async=self._task.async_val,
            )
        )
        show_change(result, self._task.diff)
        return result
