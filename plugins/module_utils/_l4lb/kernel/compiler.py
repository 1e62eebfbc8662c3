# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the C sources of the data plane to a program in the kernel, by way of bcc."""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
import re
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import CompileError, HostError
from .bpf import Program
from .headers import Headers
from .paths import told
from .requirements import require_tools

# In C, addresses do not overflow. Clang concludes that one check of a packet's end implies another,
# and leaves that out; the verifier concludes no such thing, and refuses. So let them overflow.
_DIALECT = ["-fno-strict-overflow"]
XDP, SCHED_CLS = "XDP", "SCHED_CLS"
"""Kinds of programs, as bcc calls them."""
_ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64", "ppc64le": "powerpc", "s390x": "s390"}


def load(text: str, flags: Sequence[str], function: str, kind: str = XDP) -> Program:
    """Compile `text` with -D... `flags` and load its program `function`.

    Raises HostError if bcc or headers are missing, CompileError (with the log) if clang or the
    verifier refuse.
    """
    program, module = load_by_bcc(text, flags, function, kind)
    close(module)
    return program


def load_by_bcc(
    text: str, flags: Sequence[str], function: str, kind: str = XDP
) -> tuple[Program, Any]:
    """The same, with the object of bcc that has all that was loaded; `close` is its end."""
    with _compiled(text, flags, function) as (module, log):
        try:
            loaded = module.load_func(function.encode(), getattr(module, kind))
            return Program(os.dup(loaded.fd)), module
        except Exception as e:
            close(module)
            raise CompileError(
                f"the kernel refused to load {function}: {_verdict(log())}", log()
            ) from e


@contextlib.contextmanager
def instructions(
    text: str, flags: Sequence[str], function: str, maps: Mapping[str, int]
) -> Iterator[tuple[Callable[[str], bytes], Callable[[str], int]]]:
    """The same for programs that bcc does not load: yields what gives the code of a function, and
    what gives the descriptor of a map, for as long as this lasts.

    maps: name -> descriptor of maps that are there, which are used in place of new ones.
    """
    with _compiled(text, flags, function) as (module, _log):
        pass

    def descriptor(name: str) -> int:
        found: int = module[name.encode()].map_fd
        return found

    def code(name: str) -> bytes:
        found: bytes = module.dump_func(name.encode())
        return found

    try:
        for name, fd in maps.items():  # instructions name maps by descriptors
            os.dup2(fd, descriptor(name), inheritable=False)
        yield code, descriptor
    finally:
        close(module)


@contextlib.contextmanager
def _compiled(
    text: str, flags: Sequence[str], function: str
) -> Iterator[tuple[Any, Callable[[], str]]]:
    """bcc's object of a text, and what gives the log of all that is printed meanwhile."""
    headers = require_tools()
    try:
        from bcc import BPF
    except (ImportError, OSError) as e:  # OSError: of its C library
        raise HostError(f"bcc does not load: {e}; reinstall python3-bpfcc") from e
    with _found_by_bcc(headers) as header_flags, _standard_error() as log:
        try:
            module = BPF(text=text.encode(), cflags=[*header_flags, *_DIALECT, *flags])
        except Exception as e:
            raise CompileError(f"clang refused {function}: {_first_error(log())}", log()) from e
        yield module, log


def close(module: Any) -> None:
    """Let go of what bcc holds, which it would do only at the end of the process. The kernel keeps
    what programs use."""
    atexit.unregister(module.cleanup)
    module.cleanup()


@contextlib.contextmanager
def _found_by_bcc(headers: Headers) -> Iterator[list[str]]:
    """Have bcc take these headers and nothing else; yields the compiler flags that it needs.

    It would also look into the working directory, and in /tmp for what it may have unpacked
    itself; and it heeds variables, as clang does. Any user could plant something there.
    """
    with contextlib.ExitStack() as stack:
        source, build = stack.enter_context(_unpacked(headers))
        stack.enter_context(_working_directory(source))
        before = dict(os.environ)
        os.environ.clear()
        os.environ["BCC_KERNEL_SOURCE"] = str(source)
        try:
            yield _header_flags(build)
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextlib.contextmanager
def _unpacked(headers: Headers) -> Iterator[tuple[Path, Path]]:
    """Where the headers are, by hand and generated. Raises HostError."""
    if headers.source.is_dir():
        yield headers.source, headers.build
        return
    with contextlib.ExitStack() as stack:
        with told("make a temporary directory"):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="l4lb-"))
        try:
            archive = stack.enter_context(tarfile.open(headers.source))
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(folder)  # noqa: S202 (the kernel made it)
        except (OSError, tarfile.TarError) as e:
            raise HostError(f"unpack {headers.source}: {e}") from e
        yield Path(folder), Path(folder)


@contextlib.contextmanager
def _working_directory(folder: Path) -> Iterator[None]:
    with told("open the working directory"):
        before = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with told(f"enter {folder}"):
            os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def _header_flags(build: Path) -> list[str]:
    """For what is generated; bcc itself knows where the rest is."""
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    include = build / "include"
    generated = build / "arch" / architecture / "include" / "generated"
    return [
        f"-I{folder}"
        for base in (include, generated)
        for folder in (base, base / "generated", base / "uapi", base / "generated/uapi")
        if folder.is_dir()
    ]


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
