# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiles files/bpf/decap.c once and attaches it in several network namespaces.

Run by /usr/bin/python3, to which bcc belongs. Compiles at once, then reads from standard input
a JSON list of {"namespace": file, "interface": name, "addresses": [those where tunnels end]}.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# As a script this file's directory comes first on the path; the package is one above.
sys.path[0] = str(ROOT)

from lab.namespace import network  # noqa: E402

XDP_FLAGS_DRV_MODE = 1 << 2
# How the kernel's source calls what uname calls otherwise.
ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}


def kernel_headers() -> list[str]:
    """Compiler flags that find kernel headers; none if bcc finds the running kernel's by itself.

    XDP programs use only what the kernel promises to keep, so the newest installed headers serve.
    Debian splits a kernel's headers: bcc takes "source", where most are, from the environment
    and needs to be told of the generated ones in "build".
    """
    modules = Path("/lib/modules")
    if (modules / os.uname().release / "build").exists():
        return []
    builds = [path for path in modules.glob("*/build") if path.exists()]
    if not builds:
        sys.exit("no kernel headers in /lib/modules: install linux-headers-amd64 or alike")
    build = max(builds, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parent.name)])
    source = build.with_name("source")
    os.environ["BCC_KERNEL_SOURCE"] = str(source if source.exists() else build)
    generated = (
        f"arch/{ARCHITECTURES.get(os.uname().machine, os.uname().machine)}/include/generated"
    )
    parts = ["include", "include/generated/uapi", generated, f"{generated}/uapi"]
    return [f"-I{build / part}" for part in parts]


def tunnel_end(interface: str, address: str) -> bytes:
    """struct tunnel_end of the program."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        parsed = ipaddress.IPv6Address(f"::ffff:{parsed}")
    return struct.pack("=I16s", socket.if_nametoindex(interface), parsed.packed)


def main() -> None:
    try:
        from bcc import BPF
    except ImportError:
        sys.exit("bcc is not installed: apt-get install python3-bpfcc")
    # As the balancer's program is compiled, and for the same reason (module_utils/compiler.py).
    flags = ["-fno-strict-overflow", *kernel_headers()]
    bpf = BPF(text=(ROOT / "files/bpf/decap.c").read_text(), cflags=flags)
    program = bpf.load_func(b"decap", BPF.XDP)
    tunnel_ends = bpf[b"tunnel_ends"]
    for end in json.load(sys.stdin):
        with network(Path(end["namespace"])):
            for address in end["addresses"]:
                key = tunnel_end(end["interface"], address)
                tunnel_ends[tunnel_ends.Key.from_buffer_copy(key)] = tunnel_ends.Leaf(1)
            bpf.attach_xdp(end["interface"].encode(), program, XDP_FLAGS_DRV_MODE)


if __name__ == "__main__":
    main()
