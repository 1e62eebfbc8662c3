# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes by a program: what it gets, what it may, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.answer import CannotProbe
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.probes.command import (
    MOST_AT_ONCE,
)

from tests.backends import IMPATIENT, PATIENT, Result, ask, check, prober, target

GONE = "timeout after 0.4 s"


def probed(*command: str, user: str | None = None, **options: Any) -> Result:
    async def trial() -> Result:
        async with prober(user) as asking:
            return await ask(asking, check("command", command=[*command], **options), target(8080))

    return asyncio.run(trial())


def shell(text: str, *arguments: str, **options: Any) -> Result:
    return probed("/bin/sh", "-c", text, "sh", *arguments, **options)


def is_there(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ends(process: int) -> bool:
    """Whether it does soon; else it is ended."""
    for _each in range(100):
        if not is_there(process):
            return True
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    return False


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("exit 0", (True, True, "exit code 0")),
        ("echo; echo ' fine '; echo more", (True, True, "fine")),
        ("exit 3", (False, True, "exit code 3")),
        ("echo 'no disk' >&2; exit 1", (False, True, "no disk")),
        ("printf '\\033[2J\\377'; exit 1", (False, True, "\\x1b[2J\\xff")),
        ("yes x | head -c 9000000; exit 1", (False, True, "x")),
        ("yes x | tr -d '\\n' | head -c 9000000; exit 1", (False, True, "x" * 59 + "…")),
        ("pwd; exit 1", (False, True, "/")),
        ("read line || echo nothing; exit 1", (False, True, "nothing")),
        ("env | grep -c NOTIFY; exit 1", (False, True, "0")),
    ],
)
def test_the_end(text: str, result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    assert shell(text) == result


def test_arguments_are_not_a_shell_s() -> None:
    words = ["{address}:{port}", "$(id)", "a b", "; id", '{"port": {port}}', "{ address }", ""]
    expected = '127.0.0.1:8080|$(id)|a b|; id|{"port": 8080}|{ address }||'
    assert shell("printf '%s|' \"$@\"; exit 1", *words) == (False, True, expected)


@pytest.mark.parametrize(
    "text",
    [
        "echo $$ >{file}; sleep 60",
        "trap '' TERM INT HUP; echo $$ >{file}; while :; do sleep 1; done",
        "sleep 60 & echo $! >{file}; wait",
        "yes & echo $! >{file}; wait",
        "echo $$ >{file}; kill -STOP $$; sleep 60",
    ],
)
def test_a_timeout_ends_all_of_it(text: str, tmp_path: Path) -> None:
    file = tmp_path / "process"
    assert shell(text.format(file=file), timeout=1) == (False, False, "timeout after 1 s")
    assert ends(int(file.read_text()))


def test_what_it_leaves_in_its_group_ends_with_it(tmp_path: Path) -> None:
    """And who holds its output open keeps nobody waiting."""
    file = tmp_path / "process"
    assert shell(f"sleep 60 & echo $! >{file}; echo done") == (True, True, "done")
    assert ends(int(file.read_text()))


def cannot(*command: str, user: str | None = None, **options: Any) -> str:
    with pytest.raises(CannotProbe) as caught:
        probed(*command, user=user, **options)
    return caught.value.reason


def test_what_is_not_the_backend_s_fault(tmp_path: Path) -> None:
    file = tmp_path / "check"
    file.write_text("#!/bin/sh\n")
    assert cannot("/nonexistent/check") == "/nonexistent/check: No such file or directory"
    assert cannot(str(file)).endswith(": Permission denied") or len(str(file)) > 40
    assert cannot("/bin/sh", "-c", "kill -SEGV $$") == "the command died of SIGSEGV"
    assert "name not found" in cannot("/bin/true", user="nobody-at-all")


def test_it_runs_as_another_user() -> None:
    if os.geteuid():
        pytest.skip("cannot run here: needs root")
    assert shell("id -un; exit 1", user="nobody") == (False, True, "nobody")
    assert shell("id -G | wc -w; exit 1", user="nobody") == (False, True, "1")


def test_only_so_many_run_at_once(tmp_path: Path) -> None:
    counting = f"cd {tmp_path} && mkdir $$ && ls | wc -l && sleep 0.3; rmdir $$"

    async def trial() -> list[Result]:
        given = check("command", command=["/bin/sh", "-c", counting], timeout=PATIENT)
        async with prober() as asking:
            return await asyncio.gather(
                *(ask(asking, given, target(80)) for _each in range(2 * MOST_AT_ONCE + 1))
            )

    found = asyncio.run(trial())
    assert all(healthy for healthy, _answered, _reason in found)
    assert max(int(reason) for _healthy, _answered, reason in found) <= MOST_AT_ONCE


def test_who_waits_too_long_for_that_blames_nobody() -> None:
    async def trial() -> list[Any]:
        busy = check("command", command=["/bin/sleep", "5"])
        late = check("command", command=["/bin/true"], timeout=IMPATIENT)
        async with prober() as asking:
            running = [
                asyncio.ensure_future(asking.probe(busy, target(80)))
                for _each in range(MOST_AT_ONCE)
            ]
            await asyncio.sleep(0)
            found = await asyncio.gather(
                *(asking.probe(late, target(80)) for _each in range(3)), return_exceptions=True
            )
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            return found

    reasons = {getattr(one, "reason", None) for one in asyncio.run(trial())}
    assert reasons == {f"{MOST_AT_ONCE} commands run already"}


def test_nothing_stays_open() -> None:
    async def trial() -> None:
        async with prober() as asking:
            before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
            for command in (["/bin/true"], ["/bin/sleep", "9"], ["/nonexistent"]):
                given = check("command", command=command, timeout=IMPATIENT)
                with contextlib.suppress(CannotProbe):
                    await ask(asking, given, target(80))
            assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208

    asyncio.run(trial())
