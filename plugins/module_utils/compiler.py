# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the C sources of the data plane to a program in the kernel, by way of bcc."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .bpf import Map, Program
from .errors import CompileError, HostError
from .host import told

_INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')
_CLOCK_MONOTONIC_COARSE = 6
# In C, addresses do not overflow. Clang concludes that one check of a packet's end implies another,
# and leaves that out; the verifier concludes no such thing, and refuses. So let them overflow.
_DIALECT = ["-fno-strict-overflow"]
_ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64", "ppc64le": "powerpc", "s390x": "s390"}


@dataclass(frozen=True)
class Headers:
    """Kernel headers that bcc can compile with.

    `exact` says whether they are the running kernel's. XDP programs use only the stable user
    API, so others serve as well where those are not to be had.
    """

    release: str
    exact: bool
    source: str | None = None
    build: str | None = None


def find_headers(root: Path = Path("/lib/modules")) -> Headers | None:
    """The running kernel's headers, else the newest ones installed; None if there are none."""
    release = platform.release()
    if (root / release / "build").is_dir() or Path("/sys/kernel/kheaders.tar.xz").exists():
        return Headers(release, exact=True)
    candidates = [path for path in root.glob("*") if (path / "build" / "include").is_dir()]
    if not candidates:
        return None
    newest = max(candidates, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
    # Debian splits headers into what is generated (build) and what is not (source).
    source = newest / "source" if (newest / "source" / "include").is_dir() else newest / "build"
    return Headers(newest.name, exact=False, source=str(source), build=str(newest / "build"))


def bcc_version() -> str | None:
    """The version of the bcc that this Python would import, without importing it; None if none.

    The module of this name on PyPI is another project; it has no `table.py`.
    """
    spec = find_spec("bcc")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    if not (folder / "table.py").exists():
        return None
    with contextlib.suppress(OSError):
        found = re.search(r"['\"]([^'\"]+)['\"]", (folder / "version.py").read_text())
        if found:
            return found[1]
    return "unknown"


def join_sources(sources: Mapping[str, str], main: str) -> str:
    """One text of `main` and the headers it includes, each once, that keeps file names and lines.

    bcc rewrites map accesses only in the text it is given, not in what that includes.
    """
    seen: set[str] = set()

    def lines_of(name: str) -> Iterator[str]:
        seen.add(name)
        yield f'#line 1 "{name}"'
        for number, line in enumerate(sources[name].splitlines(), 1):
            include = _INCLUDE.match(line)
            if include and include[1] in sources:
                if include[1] not in seen:
                    yield from lines_of(include[1])
                yield f'#line {number + 1} "{name}"'
            else:
                yield "" if line.strip() == "#pragma once" else line

    return "\n".join(lines_of(main)) + "\n"


def ticks_per_second() -> int:
    """HZ of the running kernel: the coarse clocks advance once per tick."""
    return round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))


class Loaded:
    """A program that bcc compiled and the kernel accepted; keeps it until it is dropped."""

    def __init__(self, module: Any, program: Program) -> None:
        self._module = module
        self.program = program
        self.maps: dict[str, Map] = program.maps()


def load(text: str, flags: Sequence[str], function: str) -> Loaded:
    """Compile `text` with -D... `flags` and load its XDP program `function`.

    Raises HostError if bcc or headers are missing, CompileError (with the log) if clang or the
    verifier refuse.
    """
    headers = require_tools()
    try:
        from bcc import BPF
    except (ImportError, OSError) as e:  # OSError: of its C library
        raise HostError(f"bcc does not load: {e}; reinstall python3-bpfcc") from e
    with _environment(headers), _standard_error() as log:
        try:
            module = BPF(text=text.encode(), cflags=[*_header_flags(headers), *_DIALECT, *flags])
        except Exception as e:
            raise CompileError(f"clang refused {function}: {_first_error(log())}", log()) from e
        try:
            loaded = module.load_func(function.encode(), BPF.XDP)
        except Exception as e:
            raise CompileError(
                f"the kernel refused to load {function}: {_verdict(log())}", log()
            ) from e
    return Loaded(module, Program(os.dup(loaded.fd)))


def require_tools() -> Headers:
    """The headers to compile with. Raises HostError if they or bcc are missing."""
    if bcc_version() is None:
        raise HostError(
            f"bcc is not installed for {sys.executable}; install python3-bpfcc (Debian, Ubuntu) "
            "or python3-bcc (Fedora, RHEL). The package bcc of PyPI is something else"
        )
    headers = find_headers()
    if headers is None:
        raise HostError(
            f"no kernel headers in /lib/modules/*/build; install linux-headers-{platform.release()}"
            " or, as XDP uses the stable API only, those of any other kernel"
        )
    return headers


def _header_flags(headers: Headers) -> list[str]:
    if headers.exact:
        return []
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    include = f"{headers.build}/include"
    generated = f"{headers.build}/arch/{architecture}/include/generated"
    return [
        f"-I{folder}"
        for base in (include, generated)
        for folder in (base, f"{base}/generated", f"{base}/uapi", f"{base}/generated/uapi")
        if Path(folder).is_dir()
    ]


@contextlib.contextmanager
def _environment(headers: Headers) -> Iterator[None]:
    """libbcc looks for headers here only, unless they are the running kernel's."""
    name = "BCC_KERNEL_SOURCE"
    before = os.environ.get(name)
    if headers.source:
        os.environ[name] = headers.source
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _standard_error() -> Iterator[Any]:
    """Collect what clang and libbpf print: yields a function that returns it so far."""
    with contextlib.ExitStack() as stack:
        with told("make a temporary file"):
            file = stack.enter_context(tempfile.TemporaryFile())

        def text() -> str:
            sys.stderr.flush()
            file.seek(0)
            return file.read().decode(errors="replace")

        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield text
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _verdict(log: str) -> str:
    """What the verifier objects to: its last words before the statistics."""
    lines = [line for line in log.strip().splitlines() if not line.startswith("processed ")]
    return lines[-1] if lines else "see the log"


def _first_error(log: str) -> str:
    found = re.search(r"^.*error: .*$", log, re.MULTILINE)
    return found[0] if found else "see the log"
