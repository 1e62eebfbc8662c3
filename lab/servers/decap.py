# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiles files/bpf/decap.c once and attaches it in several network namespaces.

Run by /usr/bin/python3, to which bcc belongs. Compiles at once, then reads from standard input
a JSON list of {"namespace": file, "interface": name, "addresses": [those where tunnels end],
"gue_port": there, "balancers": [prefixes of their addresses], "vips": [prefixes]}. One that has
nothing but a namespace and an interface takes off nothing.
"""

from __future__ import annotations

import ctypes
import importlib
import ipaddress
import json
import os
import socket
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# As a script this file's directory comes first on the path; the packages are two above.
sys.path[0] = str(ROOT)

from lab.namespace import network  # noqa: E402

XDP_FLAGS_DRV_MODE = 1 << 2


def address_at(index: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    """struct address_at of the program."""
    if isinstance(address, ipaddress.IPv4Address):
        address = ipaddress.IPv6Address(f"::ffff:{address}")
    return struct.pack("=I16s", index, address.packed)


def prefix_at(index: int, text: str) -> bytes:
    """struct prefix_at of the program."""
    prefix = ipaddress.ip_network(text)
    length = 32 + prefix.prefixlen + (128 - prefix.max_prefixlen)
    return struct.pack("=I", length) + address_at(index, prefix.network_address)


def main() -> None:
    """Load the program, and attach it wherever standard input says."""
    library = "plugins.module_utils._l4lb"
    compiler = importlib.import_module(f"{library}.kernel.compiler")
    kernel_maps = importlib.import_module(f"{library}.kernel.maps")
    errors = importlib.import_module(f"{library}.errors")
    try:
        program = compiler.load((ROOT / "files/bpf/decap.c").read_text(), [], "decap")
    except errors.L4lbError as e:
        sys.exit(str(e))
    maps, libbpf = kernel_maps.maps_of(program), ctypes.CDLL("libbpf.so.1")
    for end in json.load(sys.stdin):
        with network(Path(end["namespace"])):
            index = socket.if_nametoindex(end["interface"])
            for text in end.get("addresses", ()):
                key = address_at(index, ipaddress.ip_address(text))
                maps["tunnel_ends"].update(key, struct.pack("!H", end["gue_port"]))
            for name in ("balancers", "vips"):
                for text in end.get(name, ()):
                    maps[name].update(prefix_at(index, text), b"\1")
            code = libbpf.bpf_xdp_attach(index, program.fd, XDP_FLAGS_DRV_MODE, None)
            if code:
                sys.exit(f"attach to {end['interface']}: {os.strerror(-code)}")


if __name__ == "__main__":
    main()
