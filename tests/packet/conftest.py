# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: balancers in network namespaces of their own."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator

import pytest

from tests.packet.crossing import build
from tests.packet.harness import Balancer, Namespace


@pytest.fixture(scope="session")
def namespace() -> Iterator[Namespace]:
    """A network namespace without routes."""
    yield from _namespace()


@pytest.fixture(scope="session")
def shipped(namespace: Namespace) -> Balancer:
    """A balancer that sends to a gateway's MAC address, unless backends have their own."""
    return Balancer(namespace)


@pytest.fixture(scope="session")
def filling(namespace: Namespace) -> Balancer:
    """The same with a program that fills the room for new headers with 0xFF before it writes them,
    so that no field goes unset unnoticed; and that has every feature, used or not."""
    return Balancer(namespace, flags=["-DFILL_HEADROOM"], every_feature=True)


@pytest.fixture(params=["shipped", "filling"])
def balancer(request: pytest.FixtureRequest) -> Balancer:
    """Either of these: what is cheap runs with both."""
    made: Balancer = request.getfixturevalue(request.param)
    return made


@pytest.fixture(scope="module")
def routed_namespace() -> Iterator[Namespace]:
    """A network namespace that forwards; what is in it is the test's to add."""
    yield from _namespace()


@pytest.fixture(scope="session")
def crossing() -> Iterator[Namespace]:
    """A host that forwards."""
    for made in _namespace():
        build(made)
        yield made


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers that are the same in every run of a test, and others in every test."""
    seed = zlib.crc32(request.node.name.encode())
    print(f"seed of the random numbers: {seed}")
    return random.Random(seed)


def _namespace() -> Iterator[Namespace]:
    try:
        made = Namespace()
    except PermissionError:
        pytest.skip("cannot run here: network namespaces and BPF programs take root")
    yield made
    made.close()
