# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real browser, headless: Chromium, as its DevTools protocol has it said and done.

By a pipe (--remote-debugging-pipe), with a zero byte after each message, so it needs no port:
https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

PROGRAM = "/usr/bin/chromium-headless-shell"
PATIENCE = 60.0
"""Seconds; a busy machine may need some for what takes half of one."""
_SWITCHES = """
--no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --no-first-run
--disable-background-networking --disable-component-update --disable-sync --lang=en-GB
--remote-debugging-pipe
""".split()  # noqa: SIM905 (as one reads it)


class Browser:
    """One page of it.

    errors: what it has complained of: exceptions, refusals by the page's policy, and the like.
    requests: addresses that were asked for.
    """

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer = reader, writer
        self._number, self._session = 0, ""
        self._read = b""
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have something done; returns what came of it."""
        self._number += 1
        order = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._writer, json.dumps(order).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._number:
                assert "error" not in said, said
                found: dict[str, Any] = said["result"]
                return found

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            assert select.select([self._reader], [], [], PATIENCE)[0], "the browser says nothing"
            part = os.read(self._reader, 1 << 20)
            assert part, "the browser has ended"
            self._read += part
        message, _zero, self._read = self._read.partition(b"\0")
        said: dict[str, Any] = json.loads(message)
        self._hear(said.get("method", ""), said.get("params", {}))
        return said

    def _hear(self, event: str, found: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(found["exceptionDetails"]))
        elif event == "Log.entryAdded":
            self.errors.append(f"{found['entry']['level']}: {found['entry']['text']}")
        elif event == "Runtime.consoleAPICalled":
            self.errors.append(f"console.{found['type']}")

    # What a reader does

    def look_at(self, width: int, dark: bool = False, height: int = 900) -> None:
        """By a screen of so many pixels, in a room that is dark or not."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, address: str) -> None:
        """Go there."""
        self.call("Page.navigate", url=address)

    def press(self, key: str) -> None:
        """A key, by its name."""
        text = {"Enter": "\r", " ": " "}.get(key)
        extra = {"text": text} if text else {}
        code = {"Tab": 9, "Enter": 13, " ": 32}[key]
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **extra
            )

    # What a reader sees

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        said = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def text(self) -> str:
        """All that is written."""
        return str(self.evaluate("document.body.innerText"))

    def until(self, condition: Callable[[], Any]) -> Any:
        """What the condition has become, as soon as it is something."""
        deadline = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)
        return found

    def named(self) -> list[tuple[str, str]]:
        """Role and name of each thing, as a screen reader is told."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        ]

    def picture(self) -> bytes:
        """All of the page, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        said = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(said["data"])


@contextmanager
def browser(inside: Callable[..., Sequence[str]] = lambda *command: command) -> Iterator[Browser]:
    """One that runs until the end. inside: makes a command one that runs elsewhere."""
    to_it, ours = os.pipe()
    theirs, from_it = os.pipe()
    with tempfile.TemporaryDirectory() as profile:
        words = [PROGRAM, *_SWITCHES, f"--user-data-dir={profile}"]
        pipes = ["bash", "-c", f'exec "$@" 3<&{to_it} 4>&{from_it}', "bash", *words]
        process = subprocess.Popen(
            [*inside(*pipes)],
            pass_fds=(to_it, from_it),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_it)
        os.close(from_it)
        try:
            yield Browser(theirs, ours)
        finally:
            os.close(ours)  # which ends it
            os.close(theirs)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
