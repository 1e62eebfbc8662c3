# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What drivers say of themselves, to a process that may open netlink sockets and no others: so runs
the unit that restores a balancer at boot (RestrictAddressFamilies of systemd.exec(5))."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import ethtool, rtnetlink


@pytest.fixture
def netlink_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Restricted(socket.socket):
        def __init__(self, family: int = -1, *others: Any, **options: Any) -> None:
            if family != socket.AF_NETLINK:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            super().__init__(family, *others, **options)

    monkeypatch.setattr(socket, "socket", Restricted)


@pytest.mark.usefixtures("netlink_only")
def test_netlink_sockets_are_enough() -> None:
    links = rtnetlink.links()
    found = ethtool.drivers(links)
    assert found.keys() == {one.index for one in links if not one.kind}
    assert not ethtool.strips_tags("lo")


def test_it_is_what_ethtool_would_say() -> None:
    """By sysfs, where a device has a driver that it names."""
    known = 0
    for one in rtnetlink.links():
        driver = f"/sys/class/net/{one.name}/device/driver"
        if not one.kind and os.path.exists(driver):  # noqa: PTH110 (a link of sysfs)
            known += 1
            assert ethtool.drivers([one])[one.index] == os.path.basename(os.readlink(driver))  # noqa: PTH115, PTH119
    if not known:
        pytest.skip("cannot run here: no interface has hardware")
