# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes by HTTP and HTTPS, of real servers, some of which send what no server should."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.backends import (
    IMPATIENT,
    Handler,
    Result,
    ask,
    check,
    close,
    endlessly,
    greet,
    hang,
    prober,
    reset,
    say,
    tcp,
)

OK = b"HTTP/1.1 200 OK\r\n"
GOOD = OK + b"Content-Length: 5\r\n\r\nready"
GONE = "timeout after 0.4 s"
READY = {"expect": "ready"}
CASES: dict[str, tuple[Handler, dict[str, Any], Result]] = {
    "good": (say(GOOD), {}, (True, True, "HTTP 200")),
    "204": (say(b"HTTP/1.1 204 No Content\r\n\r\n"), {}, (True, True, "HTTP 204")),
    "without a reason": (say(b"HTTP/1.1 200\r\n\r\n"), {}, (True, True, "HTTP 200")),
    "of HTTP/1.0": (say(b"HTTP/1.0 200 OK\n\n"), {}, (True, True, "HTTP 200")),
    "the status in two parts": (say(b"HTTP/1.1 20", b"0 OK\r\n"), {}, (True, True, "HTTP 200")),
    "503": (say(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), {}, (False, True, "HTTP 503")),
    "a redirect": (say(b"HTTP/1.1 302 Found\r\n\r\n"), {}, (False, True, "HTTP 302")),
    "a redirect that is good": (
        say(b"HTTP/1.1 302 Found\r\n\r\n"),
        {"status": [200, 399]},
        (True, True, "HTTP 302"),
    ),
    "an interim answer first": (
        say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", GOOD),
        READY,
        (True, True, "HTTP 200"),
    ),
    "the text": (say(GOOD), READY, (True, True, "HTTP 200")),
    "the text until the end": (say(OK + b"\r\nal", b"ready"), READY, (True, True, "HTTP 200")),
    "the text in chunks": (
        say(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nrea\r\n", b"2;x=y\r\ndy\r\n0\r\n\r\n"),
        READY,
        (True, True, "HTTP 200"),
    ),
    "another text": (
        say(OK + b"Content-Length: 4\r\n\r\nbusy", then_wait=True),
        READY,
        (False, True, "HTTP 200, without the text expected"),
    ),
    "another text in chunks": (
        say(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nready"[:-5] + b"busy!\r\n0\r\n\r\n"),
        READY,
        (False, True, "HTTP 200, without the text expected"),
    ),
    "the text after its end": (
        say(OK + b"Content-Length: 1\r\n\r\n!ready", then_wait=True),
        READY,
        (False, True, "HTTP 200, without the text expected"),
    ),
    "the text among the headers": (
        say(OK + b"X: ready\r\nContent-Length: 0\r\n\r\n"),
        READY,
        (False, True, "HTTP 200, without the text expected"),
    ),
    "half of it in time": (
        say(OK + b"\r\nrea", then_wait=True),
        {**READY, "timeout": IMPATIENT},
        (False, True, "HTTP 200, without the text expected in time"),
    ),
    "no end of the headers": (
        say(OK + b"X: y\r\n"),
        READY,
        (False, True, "HTTP 200, closed within the headers"),
    ),
    "nothing": (hang, {"timeout": IMPATIENT}, (False, False, GONE)),
    "half a status": (
        say(b"HTTP/1.1 2", then_wait=True),
        {"timeout": IMPATIENT},
        (False, False, GONE),
    ),
    "closed": (say(), {}, (False, False, "closed without a word")),
    "closed in a status": (say(b"HTTP/1"), {}, (False, False, "closed after 'HTTP/1'")),
    "reset": (reset, {}, (False, False, "connection reset by peer")),
    "somebody else": (greet, {}, (False, True, "no HTTP, but '220 mail.example.com")),
    "garbage": (say(b"\x80\0\x1b[2J\n"), {}, (False, True, "no HTTP, but '\\x80\\x00\\x1b[2J")),
    "an odd status": (say(b"HTTP/1.1 9999 x\r\n"), {}, (False, True, "no HTTP, but 'HTTP/1.1 9")),
    "another version": (say(b"HTTP/2 200\r\n\r\n"), {}, (False, True, "no HTTP, but 'HTTP/2 20")),
    "a byte at a time": (
        endlessly(b"", b"H", pause=0.05),
        {"timeout": IMPATIENT},
        (False, True, "no HTTP, but 'HH"),
    ),
    "slow headers": (
        endlessly(OK, b"X", pause=0.05),
        {**READY, "timeout": IMPATIENT},
        (False, True, "HTTP 200, timeout after 0.4 s"),
    ),
    "an endless first line": (
        endlessly(b"HTTP/1.1 200 ", b"x" * 4096),
        {},
        (False, True, "the first line is too long"),
    ),
    "endless headers": (
        endlessly(OK, b"X: y\r\n" * 999),
        READY,
        (False, True, "HTTP 200, the headers are too long"),
    ),
    "endless interim answers": (
        endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99),
        {},
        (False, True, "too many interim answers"),
    ),
    "an endless body": (
        endlessly(OK + b"\r\n", b"x" * 65536),
        READY,
        (False, True, "HTTP 200, the answer is too long"),
    ),
    "an endless body that nobody reads": (
        endlessly(OK + b"\r\n", b"x" * 65536),
        {},
        (True, True, "HTTP 200"),
    ),
    "endless small chunks": (
        endlessly(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 999),
        READY,
        (False, True, "HTTP 200, the answer is too long"),
    ),
    "a chunk of very many bytes": (
        say(OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\nready"),
        READY,
        (True, True, "HTTP 200"),
    ),
    "a hundred megabytes that are announced": (
        say(OK + b"Content-Length: 100000000\r\n\r\n" + b"x" * 300000),
        READY,
        (False, True, "HTTP 200, the answer is too long"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_http(case: str) -> None:
    handler, options, (healthy, answered, reason) = CASES[case]

    async def trial() -> Result:
        async with prober() as asking, tcp(handler) as backend:
            return await ask(asking, check("http", **options), backend)

    found = asyncio.run(trial())
    assert found[:2] == (healthy, answered)
    assert found[2].startswith(reason)


@pytest.mark.parametrize(
    ("version", "options", "lines"),
    [
        (4, {}, ["GET / HTTP/1.1", "Host: 127.0.0.1:{port}"]),
        (6, {}, ["GET / HTTP/1.1", "Host: [::1]:{port}"]),
        (
            4,
            {"path": "/health?full=1", "host": "www.example.com"},
            ["GET /health?full=1 HTTP/1.1", "Host: www.example.com"],
        ),
    ],
)
def test_the_request(version: int, options: dict[str, Any], lines: list[str]) -> None:
    async def trial() -> tuple[bytes, int]:
        said = b""

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal said
            said = await reader.readuntil(b"\r\n\r\n")
            writer.write(GOOD)

        async with prober() as asking, tcp(handler, version) as backend:
            assert (await ask(asking, check("http", **options), backend))[0]
            return said, backend.port

    said, port = asyncio.run(trial())
    rest = ["User-Agent: l4lb", "Accept: */*", "Accept-Encoding: identity", "Connection: close"]
    expected = [*(line.format(port=port) for line in lines), *rest, "", ""]
    assert said.decode().split("\r\n") == expected


# TLS

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)

USES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
NO_USES = ("key_agreement", "encipher_only", "decipher_only")
CA_USAGE = x509.KeyUsage(
    **dict.fromkeys((*USES, *NO_USES), False), key_cert_sign=True, crl_sign=True
)


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.file = folder / "authority.pem"
        own = self._signed(self.name, self.key.public_key(), NOW + DAY)
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        own = own.add_extension(CA_USAGE, critical=True)
        certificate = own.sign(self.key, hashes.SHA256())
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *names: str, until: datetime.datetime = NOW + DAY) -> ssl.SSLContext:
        """With a certificate for these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        alternatives = [
            x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
            for name in names
        ]
        builder = self._signed(subject, key.public_key(), until)
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        file = self.folder / "server.pem"
        plain = serialization.NoEncryption()
        file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _signed(
        self, subject: x509.Name, key: Any, until: datetime.datetime
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(self.name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(NOW - 9 * DAY).not_valid_after(until)
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        subject_key = x509.SubjectKeyIdentifier.from_public_key(key)
        return builder.add_extension(own, critical=False).add_extension(subject_key, critical=False)


@pytest.fixture()
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Whom the system believes."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    return made


def probed(handler: Handler, server: ssl.SSLContext | None, **options: Any) -> Result:
    async def trial() -> Result:
        async with prober() as asking, tcp(handler, tls=server) as backend:
            return await ask(asking, check("https", **options), backend)

    return asyncio.run(trial())


@pytest.mark.parametrize(
    ("names", "options", "result"),
    [
        (["www.example.com"], {}, (True, True, "HTTP 200")),
        (["a.example"], {"host": "www.example.com"}, (True, True, "HTTP 200")),
        (
            ["www.example.com"],
            {"host": "www.example.com", "verify": True, **READY},
            (True, True, "HTTP 200"),
        ),
        (
            ["www.example.com"],
            {"host": "www.example.com:8443", "verify": True},
            (True, True, "HTTP 200"),
        ),
        (["127.0.0.1"], {"verify": True}, (True, True, "HTTP 200")),
        (
            ["a.example"],
            {"host": "www.example.com", "verify": True},
            (False, True, "certificate: Hostname mismatch, certificate is not valid fo…"),
        ),
        (
            ["a.example"],
            {"verify": True},
            (False, True, "certificate: IP address mismatch, certificate is not valid …"),
        ),
    ],
)
def test_certificates(
    authority: Authority, names: list[str], options: dict[str, Any], result: Result
) -> None:
    assert probed(say(GOOD), authority.server(*names), **options) == result


def test_an_expired_certificate(authority: Authority) -> None:
    server = authority.server("www.example.com", until=NOW - DAY)
    options: dict[str, Any] = {"host": "www.example.com"}
    found = probed(say(GOOD), server, **options, verify=True)
    assert found == (False, True, "certificate: certificate has expired")
    assert probed(say(GOOD), server, **options) == (True, True, "HTTP 200")


def test_an_authority_that_nobody_knows(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = authority.server("www.example.com")
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority(other).file))
    healthy, answered, reason = probed(say(GOOD), server, host="www.example.com", verify=True)
    assert (healthy, answered) == (False, True)
    assert reason.startswith("certificate: ")


@pytest.mark.parametrize(
    ("handler", "options", "result"),
    [
        (say(b"HTTP/1.1 503 x\r\n\r\n"), {}, (False, True, "HTTP 503")),
        (close, {}, (False, False, "closed without a word")),
        (endlessly(OK + b"\r\n", b"x" * 65536), READY, (False, True, "HTTP 200, the answer is t")),
        (hang, {"timeout": 1}, (False, False, "timeout after 1 s")),
    ],
)
def test_https(
    authority: Authority, handler: Handler, options: dict[str, Any], result: Result
) -> None:
    found = probed(handler, authority.server("a.example"), **options)
    assert found[:2] == result[:2]
    assert found[2].startswith(result[2])


@pytest.mark.parametrize(
    ("handler", "options", "result"),
    [
        (hang, {"timeout": IMPATIENT}, (False, False, GONE)),
        (say(), {}, (False, False, "TLS: closed in the middle")),
        (reset, {}, (False, False, "connection reset by peer")),
        (say(GOOD), {}, (False, True, "TLS: ")),
        (greet, {}, (False, True, "TLS: ")),
        (endlessly(b"", b"\x16\x03\x03\x40\x00" + b"x" * 16384), {}, (False, True, "TLS: ")),
        (
            endlessly(b"\x16\x03\x03\x40\x00", b"\0", pause=0.05),
            {"timeout": IMPATIENT},
            (False, False, GONE),
        ),
    ],
)
def test_what_is_no_tls(handler: Handler, options: dict[str, Any], result: Result) -> None:
    found = probed(handler, None, **options)
    assert found[:2] == result[:2]
    assert found[2].startswith(result[2])


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_taken_up_again_but_not_those_of_another_backend(
    authority: Authority, newest: ssl.TLSVersion
) -> None:
    server = authority.server("www.example.com")
    server.maximum_version = newest
    names: list[str | None] = []
    server.sni_callback = lambda _tls, name, _context: names.append(name)

    async def trial() -> list[bool]:
        reused: list[bool] = []

        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reused.append(writer.get_extra_info("ssl_object").session_reused)
            await say(GOOD)(reader, writer)

        options = check("https", host="www.example.com", verify=True)
        async with prober() as asking, tcp(handler, tls=server) as backend:
            for each in (backend, backend, replace(backend, backend=ip_address("10.0.0.1"))):
                assert await ask(asking, options, each) == (True, True, "HTTP 200")
        return reused

    assert asyncio.run(trial()) == [False, True, False]
    assert set(names) == {"www.example.com"}
