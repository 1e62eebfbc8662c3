# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reaches a terminal does as it says."""

from __future__ import annotations

import json

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.command import output
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import (
    CompileError,
    ConfigError,
    KernelError,
    L4lbError,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.printable import printable

TEXTS = {
    "plain": ("web on eth0", "web on eth0"),
    "other letters": ("größer … 網", "größer … 網"),
    "a colour": ("\x1b[31m", "\\x1b[31m"),
    "a title": ("\x1b]0;x\x07", "\\x1b]0;x\\x07"),
    "the same in one byte of C1": ("\x9b31m", "\\x9b31m"),
    "a line of its own": ("a\nl4lb: b\r", "a\\nl4lb: b\\r"),
    "delete": ("\x7f", "\\x7f"),
    "from right to left": ("\u202eabc", "\\u202eabc"),
    "what looks like a space": ("\u00a0\u2028", "\\xa0\\u2028"),
    "no UTF-8": (b"\xff".decode(errors="surrogateescape"), "\\udcff"),
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.values(), ids=TEXTS)
def test_texts(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "error",
    [
        L4lbError("\x1b[31m"),
        KernelError("\x1b[31m", 1),
        CompileError("\x1b[31m", "log"),
        ConfigError("\x1b[31m", "\x1b[31m", "\x1b[31m"),
    ],
)
def test_errors(error: L4lbError) -> None:
    assert "\\x1b[31m" in str(error) and str(error).isprintable()


def test_an_option_that_nobody_knows() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"interface": "eth0", "\x1b[2J": 1})
    assert str(caught.value).startswith("\\x1b[2J: 1: no such option")


def test_what_the_command_writes(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(["one\x1b[31m", "two"])
    output.tell("one\ntwo\x1b[31m")
    assert capsys.readouterr() == ("one\\x1b[31m\ntwo\n", "l4lb: one two\\x1b[31m\n")


def test_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"\x1b[31m": "\x7f\x9b\u202e\n"}
    output.show_json(value)
    written = capsys.readouterr().out
    assert written.rstrip("\n").isprintable()
    assert json.loads(written) == value
