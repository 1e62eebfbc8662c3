# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic of a client that knows what became of it: numbered datagrams, HTTP requests, connections
that stay open, downloads, frames sent."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import selectors
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from lab.host import ENVIRONMENT
from lab.topology import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lab.host import Host

ETH_P_ALL = 3
PATIENCE = 10.0  # seconds until what shall come must have come
QUIET = 0.5  # seconds without an answer after which none is under way any more
BUFFER = 64 << 20
SO_RCVBUFFORCE = 33

# Options that have curl give up when nothing moves, however long the whole of it takes.
STALLED = ("--speed-limit", "1", "--speed-time", "10")


class Stream:
    """Datagrams to lab/echo.py on several flows, all of which send the next number at once.

    with Stream(client, ("192.0.2.10", 7)) as stream:
        stream.await_answers()
    """

    def __init__(
        self, host: Host, address: tuple[str, int], flows: int = 16, interval: float = 0.01
    ) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.interval = interval
        self.numbers = 0
        self.times: list[float] = []
        """When a number was sent, on the monotonic clock."""
        self.answers: list[dict[int, list[str]]] = [{} for _ in range(flows)]
        """By flow: number -> the servers that answered it."""
        self._sockets = [host.socket(family, socket.SOCK_DGRAM) for _ in range(flows)]
        for each in self._sockets:
            each.setblocking(False)
            each.connect(address)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        for each in self._sockets:
            each.close()

    def await_answers(self, flows: list[int] | None = None) -> None:
        """Until something sent from now on is answered on every one of the flows."""
        number = self.numbers
        waiting = set(range(len(self.answers)) if flows is None else flows)
        deadline = time.monotonic() + PATIENCE
        while waiting:
            if time.monotonic() > deadline:
                raise LabError(f"no answer on flows {waiting} within {PATIENCE} s")
            time.sleep(self.interval)
            waiting -= {flow for flow in waiting if max(self.answers[flow], default=-1) >= number}

    def servers(self, flow: int) -> list[str]:
        """Who answered on a flow, one after the other."""
        result: list[str] = []
        for _, servers in sorted(self.answers[flow].items()):
            result += [server for server in servers if result[-1:] != [server]]
        return result

    def duplicates(self) -> int:
        """Answers beyond the first of each."""
        return sum(len(servers) - 1 for flow in self.answers for servers in flow.values())

    def lost(self, flow: int) -> list[int]:
        """The numbers of a flow that nobody answered; all are in when the stream has ended."""
        return [number for number in range(self.numbers) if number not in self.answers[flow]]

    def gap(self, flow: int) -> float:
        """Seconds that a flow was without answers at a stretch: as many as it lost numbers."""
        longest = run = 0
        for number in range(self.numbers):
            run = 0 if number in self.answers[flow] else run + 1
            longest = max(longest, run)
        return longest * self.interval

    def _run(self) -> None:
        with selectors.DefaultSelector() as waiting:
            for flow, each in enumerate(self._sockets):
                waiting.register(each, selectors.EVENT_READ, flow)
            due = time.monotonic()
            while not self._stopping.is_set():
                self.times.append(time.monotonic())
                for each in self._sockets:
                    with contextlib.suppress(OSError):  # what was said of an earlier one
                        each.send(str(self.numbers).encode())
                self.numbers += 1
                # From when it really was sent: after a pause no burst follows.
                due = max(due, time.monotonic() - self.interval) + self.interval
                while (left := due - time.monotonic()) > 0:
                    self._receive(waiting, left)
            while self._receive(waiting, QUIET):
                pass

    def _receive(self, waiting: selectors.BaseSelector, patience: float) -> int:
        ready = waiting.select(patience)
        for key, _ in ready:
            with contextlib.suppress(OSError):
                server, number = self._sockets[key.data].recv(2048).decode().split()
                self.answers[key.data].setdefault(int(number), []).append(server)
        return len(ready)


class Requests:
    """HTTP requests for /, one after the other on each of several connections, without any pardon:
    what a browser would try again is a failure here.

    with Requests(client, ("192.0.2.10", 80), kept=True) as requests:
        requests.await_answers()
    """

    def __init__(
        self,
        host: Host,
        address: tuple[str, int],
        kept: bool,
        connections: int = 8,
        interval: float = 0.02,
    ) -> None:
        """kept: whether connections go on after an answer, for as long as the server lets them."""
        self.answers: list[str] = []
        self.failures: list[str] = []
        self.opened = 0
        self._host = host
        self._address = address
        self._kept = kept
        self._interval = interval
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(connections)]

    def __enter__(self) -> Requests:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def await_answers(self, count: int = 200) -> None:
        """Until so many more have come."""
        wanted = len(self.answers) + count
        deadline = time.monotonic() + PATIENCE
        while len(self.answers) < wanted:
            if time.monotonic() > deadline:
                raise LabError(f"{wanted - len(self.answers)} answers missing: {self.failures}")
            time.sleep(self._interval)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(*self._address)
        while not self._stopping.wait(self._interval):
            self._ask(connection)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        try:
            if connection.sock is None:
                connection.sock = self._open()
            connection.request("GET", "/", headers={} if self._kept else {"Connection": "close"})
            response = connection.getresponse()
            answer = response.read().decode().strip()
        except (OSError, http.client.HTTPException) as e:
            self.failures.append(repr(e))
            connection.close()
        else:
            kind = self.answers if response.status == http.HTTPStatus.OK else self.failures
            kind.append(answer)

    def _open(self) -> socket.socket:
        opened = self._host.socket(socket.AF_INET, socket.SOCK_STREAM)
        opened.settimeout(PATIENCE)
        self.opened += 1
        try:
            opened.connect(self._address)
        except OSError:
            opened.close()
            raise
        return opened


class Connections:
    """TCP connections to lab/echo.py that stay open; what comes back is compared byte for byte.

    with Connections(client, ("192.0.2.10", 7)) as connections:
        ...
    assert connections.broken == {}
    """

    def __init__(
        self, host: Host, address: tuple[str, int], count: int = 16, interval: float = 0.02
    ) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.interval = interval
        self.servers: list[str] = []
        """By connection."""
        self.broken: dict[int, str] = {}
        """Connection -> what happened to it."""
        self.rounds = 0
        self._sockets = []
        for _ in range(count):
            one = host.socket(family, socket.SOCK_STREAM)
            one.settimeout(PATIENCE)
            one.connect(address)
            self._sockets.append(one)
            self.servers.append(_line(one))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Connections:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        for each in self._sockets:
            each.close()

    def await_rounds(self, count: int = 2) -> None:
        """Until each connection that is not broken has carried something sent from now on."""
        wanted = self.rounds + count
        while self.rounds < wanted and self._thread.is_alive():
            time.sleep(self.interval)

    def _run(self) -> None:
        while not self._stopping.is_set():
            whole = [number for number in range(len(self._sockets)) if number not in self.broken]
            for number in whole:
                self._attempt(number, lambda one, text: one.sendall(text))
            for number in whole:
                self._attempt(number, _compare)
            self.rounds += 1
            self._stopping.wait(self.interval)

    def _attempt(self, number: int, action: Callable[[socket.socket, bytes], None]) -> None:
        """Not a word twice: so what is doubled, lost or another's shows."""
        if number not in self.broken:
            text = b"".join(b"%d of %d in %d\n" % (n, number, self.rounds) for n in range(40))
            try:
                action(self._sockets[number], text)
            except (OSError, LabError) as e:
                self.broken[number] = str(e)


def _compare(one: socket.socket, expected: bytes) -> None:
    got = b""
    while len(got) < len(expected):
        part = one.recv(len(expected) - len(got))
        if not part:
            raise LabError("the server closed it")
        got += part
    if got != expected:
        raise LabError(f"{got!r} came instead of {expected!r}")


def _line(one: socket.socket) -> str:
    text = b""
    while not text.endswith(b"\n"):
        if not (byte := one.recv(1)):
            raise LabError("the server closed the connection at once")
        text += byte
    return text.decode().strip()


class Download:
    """A running download with curl; `server` is who serves it."""

    def __init__(self, host: Host, url: str, rate: str = "1G") -> None:
        command = ["curl", "-sS", *STALLED, "--limit-rate", rate, "-D/dev/stderr", url]
        digest = host.inside("sh", "-c", '"$@" | sha256sum', "sh", *command)
        self.process = subprocess.Popen(
            digest,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.server = ""
        headers = self.process.stderr
        while headers and (line := headers.readline()).strip():
            name, _, value = line.partition(":")
            if name.lower() == "x-server":
                self.server = value.strip()

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.process.poll() is None

    def digest(self) -> str:
        """Wait for the end; the SHA-256 of what came."""
        output, errors = self.process.communicate()
        if errors:
            raise LabError(f"download from {self.server}: {errors.strip()}")
        return output.split()[0]


class Frames:
    """What a host sends to some addresses; packets without IP options or extension headers."""

    def __init__(self, host: Host, interface: str, addresses: Iterable[str]) -> None:
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.bind((interface, ETH_P_ALL))
        self._socket.setblocking(False)
        self._packed = {_packed(address) for address in addresses}
        self._seen: dict[tuple[bytes, int], tuple[int, int]] = {}

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def count(self, address: str, port: int) -> tuple[int, int]:
        """Frames and their bytes to a TCP or UDP port so far."""
        for frame in self._sent():
            start, end = (38, 54) if frame[12:14] == b"\x86\xdd" else (30, 34)
            if frame[start:end] in self._packed:
                # After the addresses comes the transport header: source port, destination port.
                key = frame[start:end], int.from_bytes(frame[end + 2 : end + 4], "big")
                packets, octets = self._seen.get(key, (0, 0))
                self._seen[key] = packets + 1, octets + len(frame)
        return self._seen.get((_packed(address), port), (0, 0))

    def _sent(self) -> Iterator[bytes]:
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, origin = self._socket.recvfrom(2048)
                if origin[2] == socket.PACKET_OUTGOING:
                    yield frame


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed
