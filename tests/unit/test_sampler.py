# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which balancers are sampled, and when they are looked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath.counters import (
    Count,
    Statistics,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations import sampler
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.sampler import Sampler

SERVICE = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
CONFIG = parse_config({"interface": "eth0", "services": [SERVICE]})


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Interfaces that have a balancer, to add to."""
    names: list[str] = []

    def at_work(places: Any) -> tuple[Any, None, None]:
        if places.interface not in names:
            raise L4lbError(f"no balancer is attached to {places.interface}")
        return SimpleNamespace(manifest=None, config=CONFIG, mode="native"), None, None

    counted = Statistics({"web": Count(1, 60)}, {}, {})
    monkeypatch.setattr(sampler, "at_work", at_work)
    monkeypatch.setattr(sampler, "statistics", lambda *_arguments: counted)
    monkeypatch.setattr(sampler.here, "known", lambda: list(names))
    return names


def test_balancers_come_and_go(there: list[str]) -> None:
    """As while somebody watches."""
    taken = Sampler()
    assert taken.take() == {}
    there.append("eth0")
    assert taken.take().keys() == {"eth0"}
    there.append("eth1")
    assert taken.take().keys() == {"eth0", "eth1"}
    there.remove("eth0")
    assert taken.take().keys() == {"eth1"}


def test_the_only_one_that_was_asked_for(there: list[str]) -> None:
    there.append("eth1")
    with pytest.raises(L4lbError, match="no balancer is attached to eth0"):
        Sampler("eth0").take()
