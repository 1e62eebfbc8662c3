# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody wrote of health: of a service's check, and of what follows from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from . import values
from .check import CHECK, QUERY_TYPES, Check
from .options import SERVICE

_HTTP = ("http", "https")
_TYPES = {
    "path": _HTTP,
    "host": _HTTP,
    "status": _HTTP,
    "verify": ("https",),
    "query": ("dns",),
    "send": ("tcp", "udp"),
    "expect": ("tcp", "http", "https", "dns", "udp"),
    "command": ("command",),
}
"""Option -> the types that have it; all others have all."""
_INTERVAL, _INTERVALS = 2.0, {"https": 5.0}
_PATHS = dict.fromkeys(_HTTP, "/")
_GOOD_STATUS, _LEAST_STATUS, _MOST_STATUS = (200, 299), 100, 599
_MOST_BYTES = 1024
"""Of a text, and of all words of a command together."""
_PERCENT = re.compile(r"([0-9]{1,3}) ?%")
_PATH = re.compile(r"/[!-~]*")
_LABELS = r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*"
_HOST = re.compile(rf"(?=[^:]{{1,253}}(:|$)){_LABELS}(:[0-9]{{1,5}})?")
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABELS}|\.")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
PLACEHOLDERS = ("address", "port")


def parse_health(options: Mapping[str, Any], port: int, where: str) -> dict[str, Any]:
    """The fields of a Service that are about health. Raises ConfigError.

    port: of the service.
    """
    given = options.get("check")
    found = {
        "check": None if given is None else _check(given, port, f"{where}.check"),
        "on_unhealthy": values.choice(options, SERVICE["on_unhealthy"], where),
        "min_healthy": _min_healthy(options.get("min_healthy"), f"{where}.min_healthy"),
        "slow_start": values.integer(options, SERVICE["slow_start"], where),
    }
    for name, value in found.items():
        if not found["check"] and value != SERVICE[name].default:
            remedy = "without a check all backends count as healthy; give one, or leave this out"
            raise ConfigError(f"{where}.{name}", options[name], remedy)
    return found


def _min_healthy(value: object, where: str) -> int | str:
    option = SERVICE["min_healthy"]
    if value is None:
        return int(option.default)
    percent = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if percent and int(percent[1]) <= 100:
        return f"{int(percent[1])} %"
    try:
        return values.whole(value, where, option)
    except ConfigError as e:
        remedy = f"{e.remedy}, or a percentage up to 100%"
        raise ConfigError(where, value, remedy) from None


def _check(raw: object, service_port: int, where: str) -> Check:
    options = values.mapping(raw, where)
    values.known(options, CHECK, where)
    kind = values.choice(options, CHECK["type"], where)
    for name, types in _TYPES.items():
        if kind not in types and options.get(name) not in (None, ""):
            if name == "verify" and not values.boolean(options, CHECK[name], where):
                continue
            remedy = f"a check of type {kind} has no {name}; leave it out, or use type"
            raise ConfigError(f"{where}.{name}", options[name], f"{remedy} {' or '.join(types)}")
    interval = _INTERVALS.get(kind, _INTERVAL)
    if options.get("interval") is not None:
        interval = values.seconds(options["interval"], f"{where}.interval", CHECK["interval"])
    command = _command(options.get("command"), f"{where}.command") if kind == "command" else None
    return Check(
        type=kind,
        via=_via(options, kind, where),
        port=_port(options, service_port, command, where),
        interval=interval,
        timeout=_timeout(options.get("timeout"), interval, f"{where}.timeout"),
        rise=values.integer(options, CHECK["rise"], where),
        fall=values.integer(options, CHECK["fall"], where),
        path=values.optional(options, "path", where, _path) or _PATHS.get(kind),
        host=values.optional(options, "host", where, _host),
        status=_status(options.get("status"), f"{where}.status") if kind in _HTTP else None,
        verify=values.boolean(options, CHECK["verify"], where),
        query=_query(options.get("query"), f"{where}.query") if kind == "dns" else None,
        send=values.optional(options, "send", where, _text),
        expect=values.optional(options, "expect", where, _text),
        command=command,
    )


def _via(options: Mapping[str, Any], kind: str, where: str) -> str:
    if options.get("via") is None:
        return "address" if kind == "command" else "tunnel"
    via = values.choice(options, CHECK["via"], where)
    if kind == "command" and via == "tunnel":
        remedy = "what a command sends is not known, so it cannot go there; use via: address"
        raise ConfigError(f"{where}.via", via, remedy)
    return via


def _port(
    options: Mapping[str, Any], service_port: int, command: tuple[str, ...] | None, where: str
) -> int | None:
    given = options.get("port")
    if given is not None:
        return values.whole(given, f"{where}.port", CHECK["port"])
    if service_port:
        return service_port
    if command and not any("{port}" in word for word in command):
        return None
    raise ConfigError(f"{where}.port", None, "the service has every port; give the one to check")


def _timeout(value: object, interval: float, where: str) -> float:
    if value is None:
        return min(float(CHECK["timeout"].default), interval)
    timeout = values.seconds(value, where, CHECK["timeout"])
    if timeout > interval:
        remedy = f"longer than the interval of {interval:g} s; shorten it, or lengthen that"
        raise ConfigError(where, value, remedy)
    return timeout


def _path(value: object, where: str) -> str:
    if isinstance(value, str) and len(value) <= _MOST_BYTES and _PATH.fullmatch(value.strip()):
        return value.strip()
    remedy = "begin with /, as in /health?full=1, and write a space as %20 and others likewise"
    raise ConfigError(where, value, remedy)


def _host(value: object, where: str) -> str:
    name = value.strip().lower() if isinstance(value, str) else ""
    if _HOST.fullmatch(name):
        return name
    remedy = "not a host name, as in www.example.com; others are written in ASCII, as xn--…"
    raise ConfigError(where, value, remedy)


def _status(value: object, where: str) -> tuple[int, int]:
    if value is None:
        return _GOOD_STATUS
    given = [*value] if isinstance(value, (list, tuple)) else [value]
    ends = [*map(_three_digits, given * 2 if len(given) == 1 else given)]
    if len(ends) != 2 or not _LEAST_STATUS <= ends[0] <= ends[1] <= _MOST_STATUS:
        remedy = f"give the least and the most, from {_LEAST_STATUS} to {_MOST_STATUS}, as in "
        raise ConfigError(where, value, f"{remedy}[200, 299]")
    return ends[0], ends[1]


def _three_digits(value: object) -> int:
    """0 if it is something else."""
    if isinstance(value, str) and re.fullmatch("[0-9]{3}", value.strip()):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _query(value: object, where: str) -> str:
    words = value.split() if isinstance(value, str) else []
    if len(words) == 1:
        words.append("A")
    if len(words) == 2:
        name = words[0].lower()
        name = name[:-1] if name.endswith(".") and len(name) > 1 else name
        if words[1].upper() in QUERY_TYPES and _NAME.fullmatch(name):
            return f"{name} {words[1].upper()}"
    remedy = "give a name and a type, as in www.example.com A; types are "
    raise ConfigError(where, value, f"{remedy}{', '.join(QUERY_TYPES)}")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(where, value, "YAML does not take this for text; put it in quotes")
    if not 0 < _length(value) <= _MOST_BYTES:
        raise ConfigError(where, value, f"use up to {_MOST_BYTES} bytes of text")
    return value


def _command(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        remedy = "give a list of the program's path and its arguments; there is no shell"
        raise ConfigError(where, value, remedy)
    words = []
    for index, word in enumerate(value):
        here = f"{where}[{index}]"
        if isinstance(word, int) and not isinstance(word, bool):
            word = str(word)
        if not isinstance(word, str):
            raise ConfigError(here, word, "YAML does not take this for text; put it in quotes")
        if "\0" in word or not 0 <= _length(word) <= _MOST_BYTES:
            raise ConfigError(here, word, f"use up to {_MOST_BYTES} bytes of text without NUL")
        unknown = [name for name in _PLACEHOLDER.findall(word) if name not in PLACEHOLDERS]
        if unknown:
            remedy = f"{{{unknown[0]}}} stands for nothing; use {{address}} or {{port}}"
            raise ConfigError(here, word, remedy)
        words.append(word)
    if not words[0].startswith("/") or words[0].endswith("/"):
        remedy = "give the absolute path of a program, as in /usr/local/bin/check"
        raise ConfigError(f"{where}[0]", words[0], remedy)
    if sum(map(_length, words)) > _MOST_BYTES:
        raise ConfigError(where, f"{len(words)} words", f"use up to {_MOST_BYTES} bytes together")
    return tuple(words)


def _length(text: str) -> int:
    """Bytes; -1 if it cannot be encoded."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return -1
