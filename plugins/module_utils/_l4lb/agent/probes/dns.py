# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A name, asked for over UDP (RFC 1035)."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from ...model.check import QUERY_TYPES, Check
from .answer import Unhealthy
from .wire import Wire

_RECURSION_DESIRED, _IS_RESPONSE, _INTERNET = 0x0100, 0x8000, 1
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_MOST_POINTERS, _MOST_RECORDS, _MOST_LENGTH = 16, 64, 255
_CODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
_BAD = ("SERVFAIL", "REFUSED")


async def ask(wire: Wire, check: Check) -> str:
    """Returns what is good about the backend. Raises Unhealthy, CannotProbe."""
    await wire.connect()
    identity = secrets.token_bytes(2)
    name, kind = (check.query or "").split()
    question = _name(name) + struct.pack("!HH", QUERY_TYPES[kind], _INTERNET)
    header = _HEADER.pack(int.from_bytes(identity, "big"), _RECURSION_DESIRED, 1, 0, 0, 0)
    await wire.send(header + question)
    while True:
        message = await wire.receive(1 << 16)
        if message[:2] != identity:  # of somebody who guesses, or an earlier one
            continue
        try:
            return _judged(message, question, check.expect)
        except (struct.error, IndexError, ValueError) as e:
            raise Unhealthy("the answer is no DNS", answered=True) from e


def _judged(message: bytes, question: bytes, expected: str | None) -> str:
    _identity, flags, questions, answers, _others, _more = _HEADER.unpack_from(message)
    start = _HEADER.size + len(question)
    asked = message[_HEADER.size : start].lower()
    if not flags & _IS_RESPONSE or questions > 1 or (questions and asked != question):
        raise ValueError
    number = flags & 15
    code = _CODES[number] if number < len(_CODES) else f"RCODE {number}"
    if code in _BAD:
        raise Unhealthy(code, answered=True)
    if expected is None:
        return code
    records = [*_records(message, start if questions else _HEADER.size, answers)]
    if _plain(expected) not in map(_plain, records):
        shown = f"{records[0]}, not {expected}" if records else f"{code}, but no {expected}"
        raise Unhealthy(shown, answered=True)
    return f"{code}, {expected}"


def _plain(text: str) -> str:
    """One spelling of addresses and names."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text.lower().rstrip(".")


def _name(name: str) -> bytes:
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _records(message: bytes, at: int, count: int) -> Iterator[str]:
    """The answers as text."""
    for _each in range(min(count, _MOST_RECORDS)):
        _owner, at = _read_name(message, at)
        kind, _class, _ttl, length = _RECORD.unpack_from(message, at)
        at += _RECORD.size
        if at + length > len(message):
            raise ValueError
        yield _record(message, kind, at, length)
        at += length


def _record(message: bytes, kind: int, at: int, length: int) -> str:
    data = message[at : at + length]
    if kind == QUERY_TYPES["A"]:
        return str(IPv4Address(data))
    if kind == QUERY_TYPES["AAAA"]:
        return str(IPv6Address(data))
    if kind == QUERY_TYPES["TXT"]:
        return "".join(part.decode("utf-8", "backslashreplace") for part in _strings(data))
    if kind in (QUERY_TYPES["NS"], QUERY_TYPES["CNAME"], QUERY_TYPES["PTR"]):
        return _read_name(message, at)[0]
    if kind == QUERY_TYPES["MX"]:
        return f"{int.from_bytes(data[:2], 'big')} {_read_name(message, at + 2)[0]}"
    if kind == QUERY_TYPES["SRV"]:
        numbers = " ".join(map(str, struct.unpack_from("!HHH", data)))
        return f"{numbers} {_read_name(message, at + 6)[0]}"
    if kind == QUERY_TYPES["SOA"]:
        first, at = _read_name(message, at)
        second, at = _read_name(message, at)
        numbers = " ".join(map(str, struct.unpack_from("!IIIII", message, at)))
        return f"{first} {second} {numbers}"
    return data.hex()


def _strings(data: bytes) -> Iterator[bytes]:
    while data:
        yield data[1 : 1 + data[0]]
        data = data[1 + data[0] :]


def _read_name(message: bytes, at: int) -> tuple[str, int]:
    """A name, and where what follows it begins."""
    labels: list[str] = []
    after, pointers, total = None, 0, 0
    while message[at]:
        length = message[at]
        if length >= 0xC0:
            after = at + 2 if after is None else after
            at = (length & 0x3F) << 8 | message[at + 1]
            pointers += 1
        elif length < 0x40:
            labels.append(message[at + 1 : at + 1 + length].decode("ascii", "backslashreplace"))
            at += 1 + length
            total += 1 + length
        if length in range(0x40, 0xC0) or pointers > _MOST_POINTERS or total > _MOST_LENGTH:
            raise ValueError
    return ".".join(labels), at + 1 if after is None else after
