# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules of this collection share: the face of the library that Ansible sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.respawn import (
    has_respawned,
    probe_interpreters_for_module,
    respawn_module,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import (
    CompileError,
    HostError,
    L4lbError,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.options import Option
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.printable import printable

# Where distributions put the Python that their bcc belongs to.
_INTERPRETERS = ["/usr/bin/python3", "/usr/libexec/platform-python"]


def specification(options: Iterable[Option]) -> dict[str, dict[str, Any]]:
    """The argument spec of options, and of the C sources, which an action plugin sends."""
    spec: dict[str, dict[str, Any]] = {
        "sources": {"type": "str", "no_log": True},  # every run would write it to the system's log
    }
    for option in options:
        given: dict[str, Any] = {"type": option.kind}
        spec[option.name] = given
        if option.required:
            given["required"] = True
        elif option.default is not None:
            given["default"] = list(option.default) if option.kind == "list" else option.default
        if option.choices:
            given["choices"] = list(option.choices)
    return spec


def use_python_that_has(there: Mapping[str, object]) -> None:
    """Go on under the distribution's Python if this one lacks what that one has.

    there: a package that is needed -> whether it is there.
    """
    if has_respawned():
        return
    for name, is_installed in there.items():
        interpreter = None if is_installed else probe_interpreters_for_module(_INTERPRETERS, name)
        if interpreter:
            respawn_module(interpreter)


def lacks(*requirements: Callable[[], object]) -> dict[str, str]:
    """What a real run would fail for; in check mode it goes on, as it may be installed by then.

    requirements: each raises HostError if the host lacks it.
    """
    try:
        for require in requirements:
            require()
    except HostError as e:
        return {"lacks": str(e)}
    return {}


class Told(Protocol):
    """What a run does or has done, in words."""

    @property
    def steps(self) -> Sequence[str]:
        """Empty if nothing changes."""

    @property
    def warnings(self) -> Sequence[str]:
        """What is dangerous."""


def changes(
    module: AnsibleModule, title: str, plan: Told, before: str, after: str
) -> dict[str, Any]:
    """The part of a result that says what changes, and with which steps; warns as the plan does.

    before, after: YAML.
    """
    for warning in plan.warnings:
        module.warn(printable(warning))
    steps = [printable(step) for step in plan.steps]
    return {
        "changed": bool(steps),
        "steps": steps,
        "diff": {
            "before_header": title,
            "after_header": title,
            "before": before,
            "after": after,
            "prepared": "".join(f"{step}\n" for step in steps),
        },
    }


def run_module(module: AnsibleModule, run: Callable[[AnsibleModule], dict[str, Any]]) -> None:
    """Have `run` do what the options say, and end with its result, or with what went wrong."""
    # What was asked for, the action plugin knows; to send it back takes longer than to do it.
    told: dict[str, Any] = {"invocation": {}}
    try:
        told.update(run(module))
    except CompileError as e:
        module.fail_json(msg=str(e), log=e.log, **told)
    except L4lbError as e:
        module.fail_json(msg=str(e), **told)
    module.exit_json(**told)
