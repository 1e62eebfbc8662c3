"""Compiles files/bpf/decap.c once and attaches it in several network namespaces.

Run by /usr/bin/python3, to which bcc belongs. Compiles at once, then reads from standard input
a JSON list of {"namespace": file, "interface": name, "addresses": [IPv4, ...]}.
"""

from __future__ import annotations

import ctypes
import ipaddress
import json
import os
import socket
import struct
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "files/bpf/decap.c"
CLONE_NEWNET = 0x40000000
XDP_FLAGS_DRV_MODE = 1 << 2


def kernel_headers() -> list[str]:
    """Compiler flags that find kernel headers; none if bcc finds the running kernel's by itself.

    XDP programs use only what the kernel promises to keep, so the newest installed headers serve.
    Debian splits a kernel's headers: bcc takes "source", where most are, from the environment
    and needs to be told of the generated ones in "build".
    """
    modules = Path("/lib/modules")
    if (modules / os.uname().release / "build").exists():
        return []
    builds = sorted(modules.glob("*/build"), key=lambda path: [int(n) if n.isdigit() else 0 for n in path.parent.name.replace("-", ".").split(".")])
    if not builds:
        sys.exit("no kernel headers in /lib/modules: install linux-headers-amd64, or your architecture's")
    build = builds[-1]
    source = build.with_name("source") if build.with_name("source").exists() else build
    os.environ["BCC_KERNEL_SOURCE"] = str(source)
    architecture = {"x86_64": "x86", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    parts = ["include", "include/generated/uapi", f"arch/{architecture}/include/generated", f"arch/{architecture}/include/generated/uapi"]
    return [f"-I{build / part}" for part in parts]


def enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(namespace).open() as file:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace)


def main() -> None:
    try:
        from bcc import BPF
    except ImportError:
        sys.exit("bcc is not installed: apt-get install python3-bpfcc")
    bpf = BPF(text=SOURCE.read_text(), cflags=kernel_headers())
    program = bpf.load_func(b"decap", BPF.XDP)
    ends = bpf[b"tunnel_ends"]
    for end in json.load(sys.stdin):
        enter(end["namespace"])
        index = socket.if_nametoindex(end["interface"])
        for address in end["addresses"]:
            key = struct.pack("=I4s", index, ipaddress.IPv4Address(address).packed)
            ends[ends.Key.from_buffer_copy(key)] = ends.Leaf(1)
        bpf.attach_xdp(end["interface"].encode(), program, XDP_FLAGS_DRV_MODE)


if __name__ == "__main__":
    main()
