# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of the module l4lb: checks its options, sends the C sources along, in the same
round trip, and has it shown what changes.

Ansible would tell wrong options otherwise: in its words, and with the seed if that is wrong.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import (
    parse_request,
    parse_settings,
)
from ansible_collections.xdp.l4lb.plugins.plugin_utils.shown import show_change, warn_of_lacks
from ansible_collections.xdp.l4lb.plugins.plugin_utils.sources import packed_sources

HIDDEN = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
"""As Ansible itself says it."""


class ActionModule(ActionBase):
    """Runs the module of the same name."""

    _supports_check_mode = True
    _supports_async = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Normalise the options, and add the sources to them; show what it did, and what the host
        lacks."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            arguments = self._arguments()
        except ConfigError as e:
            result.update(failed=True, msg=str(e))
        else:
            result.update(
                self._execute_module(
                    module_name="xdp.l4lb.l4lb",
                    module_args=arguments,
                    task_vars=task_vars,
                    wrap_async=self._task.async_val,
                )
            )
            self._tell(result, task_vars or {})
        result["invocation"] = {"module_args": {**self._task.args, **self._hidden()}}
        return result

    def _arguments(self) -> dict[str, Any]:
        """Of the module. Raises ConfigError."""
        given = {name: value for name, value in self._task.args.items() if name != "sources"}
        settings = parse_settings(given)
        parse_request(given)
        given.update((name, value) for name, value in settings.items() if name in given)
        return {**given, "sources": packed_sources()}

    def _tell(self, result: dict[str, Any], task_vars: dict[str, Any]) -> None:
        """The role tries before it installs, and says itself what it would install."""
        if not task_vars.get("__l4lb_trial"):
            show_change(result, self._task.diff)
            if self._templar.template(task_vars.get("__l4lb_installing", False)):
                result.pop("lacks", None)
            warn_of_lacks(result)
        elif "lacks" in result:
            result.update(failed=True, msg=result["lacks"])

    def _hidden(self) -> dict[str, str]:
        """Options that are secrets, if they are given; to mark them as such in the module would
        have Ansible hide each equal number, too."""
        return {name: HIDDEN for name in self._task.args if name == "hash_seed"}
