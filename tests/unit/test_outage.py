# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that a balancer cannot carry out, as its own link is down."""

from __future__ import annotations

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.agent.outage import Links


def test_a_link_that_was_down_during_a_check() -> None:
    links = Links()
    links.see("eth0", False, now=1.0)
    assert not links.was_down("eth0", since=0.0)
    links.see("eth0", True, now=2.0)
    assert links.was_down("eth0", since=1.5)
    assert not links.was_down("eth1", since=1.5)
    links.see("eth0", False, now=3.0)
    assert links.was_down("eth0", since=2.5)
    assert not links.was_down("eth0", since=3.5)
