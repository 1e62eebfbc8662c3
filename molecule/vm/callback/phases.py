# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell how long each playbook of the scenario took, and the longest tasks of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: phases
type: aggregate
short_description: Tells how long each playbook took
description: Tells how long each playbook took, and its longest tasks.
"""
LONGEST = 3


class CallbackModule(CallbackBase):
    """Tells at the end of a playbook."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "phases"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._name = ""
        self._begin = time.monotonic()
        self._tasks: list[tuple[float, str]] = []

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Remember which it is."""
        self._name = Path(playbook._file_name).stem

    def v2_playbook_on_task_start(self, task: Any, **_given: Any) -> None:
        """Remember when it began."""
        self._tasks.append((time.monotonic(), task.get_name()))

    def v2_playbook_on_stats(self, *_given: Any) -> None:
        """All has been done."""
        now = time.monotonic()
        ends = [begin for begin, *name in self._tasks[1:]] + [now]
        took = [(end - begin, name) for end, (begin, name) in zip(ends, self._tasks)]
        self._display.display(f"phase {self._name}: {now - self._begin:.0f} s")
        for seconds, name in sorted(took, reverse=True)[:LONGEST]:
            self._display.display(f"  {seconds:.0f} s of it: {name}")
