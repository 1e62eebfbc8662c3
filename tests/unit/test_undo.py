# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that are taken back when a later one fails."""

from __future__ import annotations

import os
import signal

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import KernelError, L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.undo import Undo


def test_nothing_is_taken_back_of_what_works() -> None:
    done: list[int] = []
    with Undo() as undo:
        undo.add(done.append, 1)
    assert done == []


@pytest.mark.parametrize("error", [KernelError("no", 5), KeyboardInterrupt()])
def test_the_last_step_is_taken_back_first(error: BaseException) -> None:
    done: list[int] = []
    with pytest.raises(type(error)), Undo() as undo:
        undo.add(done.append, 1)
        undo.add(done.append, 2)
        raise error
    assert done == [2, 1]


def test_what_cannot_be_taken_back_is_told() -> None:
    """The others are all the same, and the first error is the one that is raised."""
    done: list[int] = []

    def fail(message: str) -> None:
        raise L4lbError(message)

    with pytest.raises(KernelError) as raised, Undo() as undo:
        undo.add(done.append, 1)
        undo.add(fail, "A fails")
        undo.add(fail, "B fails")
        raise KernelError("attach to eth0: no", 5)
    assert done == [1]
    told = "attach to eth0: no; not all could be put back as it was: B fails; A fails"
    assert str(raised.value) == told
    assert raised.value.code == 5


def test_ctrl_c_waits() -> None:
    done: list[int] = []
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), Undo() as undo:
            undo.add(done.append, 1)
            undo.add(os.kill, os.getpid(), signal.SIGINT)
            raise L4lbError("no")
    finally:
        signal.signal(signal.SIGINT, handler)
    assert done == [1]
