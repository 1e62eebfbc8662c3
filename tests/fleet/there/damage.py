# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What befalls the maps of a balancer."""

from __future__ import annotations

import ctypes

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import bpf
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.maps import Array

from tests.fleet.there.looking import at_work


def a_lookup_table() -> None:
    data_path, manifest = at_work("eth0")
    tables = data_path.lookup_tables
    tables.update(manifest.tables["web"].index, bytes(tables.element_size))


def a_backend_record() -> None:
    data_path, manifest = at_work("eth0")
    backends = data_path.backends
    backends.update(max(manifest.numbers["web"].values()), bytes(backends.element_size))


def the_service_table() -> None:
    table, content = _service_table()
    table.update(0, content[:16] + bytes(len(content) - 16))


def the_head_of_the_service_table() -> None:
    table, content = _service_table()
    table.update(0, bytes([99]) + content[1:])


def no_service_table() -> None:
    services, first = at_work("eth0")[0].services, ctypes.c_uint32(0)
    bpf.check(bpf.libbpf().bpf_map_delete_elem(services.fd, ctypes.byref(first)), "delete it")


def the_manifest(interface: str = "eth0") -> None:
    data_path, _manifest = at_work(interface)
    assert data_path.manifest_map
    data_path.manifest_map.update(0, bytes(data_path.manifest_map.element_size))


def _service_table() -> tuple[Array, bytes]:
    table = at_work("eth0")[0].services.inner(0)
    assert table
    return table, table.lookup(0) or b""
