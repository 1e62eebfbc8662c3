# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, one class per remedy."""

from __future__ import annotations

import reprlib

from .printable import printable

_MOST_OF_A_VALUE, _MOST_OF_A_NAME, _MOST = 80, 120, 280
"""Characters of an error about an option; with a prefix it is still shorter than 300."""


def _limited(text: str, most: int) -> str:
    """The text as it is printed, as far as it has room."""
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _short(value: object) -> str:
    """A value as one would write it; of a long or deep one what it begins and ends with."""
    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = brief.maxlong = _MOST_OF_A_VALUE
    return brief.repr(value)


class L4lbError(Exception):
    """Base of everything this library raises on purpose. Its message is fit for a terminal."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class ConfigError(L4lbError):
    """The desired state is wrong: names the option, the value and what to do."""

    def __init__(self, option: str, value: object, remedy: str) -> None:
        told = f"{_limited(option, _MOST_OF_A_NAME)}: {_limited(_short(value), _MOST_OF_A_VALUE)}"
        super().__init__(_limited(f"{told}: {remedy}", _MOST))
        self.option = option
        self.value = value
        self.remedy = remedy


class HostError(L4lbError):
    """The host lacks something: a package, kernel headers, a privilege, an interface."""


class BusyError(HostError):
    """Another run holds a lock."""


class IdleError(L4lbError):
    """No balancer is attached to the interface."""


class PausedError(IdleError):
    """None is, as the operator has paused it."""


class ForeignProgramError(L4lbError):
    """The interface carries an XDP program that is not ours."""


class CompileError(L4lbError):
    """clang or the verifier refused the program; `log` is what it said."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


class LastBackendError(L4lbError):
    """A service would be left without a backend that takes new flows; that can be forced."""


class KernelError(L4lbError):
    """A bpf(2) or netlink call failed; `code` is its errno, 0 if there is none."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code
