# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on a host of the laboratory, by the Python of its distribution, and calls functions of
the modules beside it there.

It reads lines of JSON, [module, function, arguments], and answers each by one. The library is
imported once, which takes longer than most calls. Each call is a process of its own all the same,
as the modules are: nothing of BPF stays alive but by its pins and its interface.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import Any


def serve() -> None:
    """Answer all there is."""
    importlib.import_module("bcc")
    importlib.import_module("tests.fleet.there.library")
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _answer(line)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            _tell(error="it was killed")


def pause() -> None:
    """Answer nothing yet, and go on when another line comes."""
    _tell(result=None)
    sys.stdin.readline()


def end(result: Any) -> None:
    """Answer, and end as if killed: nothing of this process is cleaned up."""
    _tell(result=result)
    os._exit(0)


def _answer(line: str) -> None:
    try:
        module, function, given = json.loads(line)
        _tell(result=getattr(importlib.import_module(module), function)(**given))
    except BaseException:
        _tell(error=traceback.format_exc())


def _tell(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
