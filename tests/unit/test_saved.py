# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desired state on disk: what is written is read back, and whatever else is there is told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.saved import (
    Saved,
    saved_interfaces,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import HostError, L4lbError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import Paths
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config


def config(interface: str = "eth0", *services: dict[str, Any]) -> Config:
    return parse_config({"interface": interface, "services": services})


def service(name: str, port: int, *addresses: str) -> dict[str, Any]:
    backends = [{"address": address} for address in addresses]
    there = {"address": "192.0.2.10", "port": port, "protocol": "tcp"}
    return {"name": name, **there, "backends": backends}


SOME = config(
    "eth0",
    service("web", 80, "10.0.0.1", "2001:db8::1"),
    service('"backends": [] é }, {', 81, "10.0.0.2"),
    service("empty", 82),
)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(etc=tmp_path / "etc/l4lb")


@pytest.mark.parametrize("state", [config(), SOME], ids=["no services", "some"])
def test_what_is_written_is_read(paths: Paths, state: Config) -> None:
    saved = Saved("eth0", paths)
    assert saved.read() is None and not saved.exists() and not saved.holds(state)
    saved.prepare(state)
    assert saved.read() is None and saved.exists(), "it is not the state yet"
    saved.commit()
    assert saved.read() == state
    assert saved.holds(state) and not saved.holds(config("eth0", service("other", 80)))
    raw = json.loads(saved.path.read_bytes())
    assert raw == {"version": 1, "config": state.dump()}
    assert saved.path.stat().st_mode & 0o777 == 0o600
    saved.set_aside()
    assert saved.read() is None and saved.exists(), "it is not gone yet"
    saved.discard()
    assert not paths.etc.exists()


def test_people_can_read_it(paths: Paths) -> None:
    saved = Saved("eth0", paths)
    saved.prepare(SOME)
    saved.commit()
    lines = saved.path.read_text().splitlines()
    backend = '{"address": "10.0.0.1", "weight": 1, "state": "enabled", "mac": null, "mtu": null},'
    assert " " * 10 + backend in lines
    assert '        "backends": []' in lines
    assert any("é" in line for line in lines)


def test_an_interrupted_run(paths: Paths) -> None:
    saved = Saved("eth0", paths)
    saved.prepare(SOME)
    saved.commit()
    saved.prepare(config())
    assert saved.read() == SOME
    assert not saved.holds(SOME), "there is another one beside it"
    saved.abandon()
    assert saved.holds(SOME)
    saved.prepare(config())
    saved.set_aside()
    saved.discard()
    assert not paths.etc.exists()


def test_what_is_undone(paths: Paths) -> None:
    """Each time when nothing has been done yet, and when all has."""
    saved = Saved("eth0", paths)
    nothing = saved.content()
    saved.prepare(SOME)
    saved.put_back(nothing)
    saved.commit()
    saved.put_back(nothing)
    assert saved.read() is None
    saved.abandon()
    assert not paths.etc.exists()

    saved.prepare(SOME)
    saved.commit()
    some = saved.content()
    saved.take_back(some)
    for step in (saved.set_aside, saved.discard):
        step()
        saved.take_back(some)
        assert saved.content() == some
        saved.set_aside()
    saved.take_back(some)
    saved.prepare(config())
    saved.commit()
    saved.put_back(some)
    assert saved.content() == some
    assert saved.holds(SOME)


SINCE = 1795672002


def paused(saved: Saved) -> int | None:
    return saved.paused


def test_a_pause(paths: Paths) -> None:
    """It lasts whatever is saved, and goes with what is saved."""
    saved = Saved("eth0", paths)
    saved.mark(None)
    assert paused(saved) is None
    saved.mark(SINCE)
    assert paused(saved) == SINCE
    assert saved.exists()
    for step in (lambda: saved.prepare(SOME), saved.commit, lambda: saved.put_back(None)):
        step()
        assert paused(saved) == SINCE
    saved.mark(None)
    assert not paths.etc.exists()
    saved.mark(SINCE)
    saved.discard()
    assert not paths.etc.exists()


def test_several_interfaces(paths: Paths) -> None:
    assert saved_interfaces(paths) == []
    for name in ("veth.100", "eth0"):
        saved = Saved(name, paths)
        saved.prepare(config(name))
        saved.commit()
    for stranger in ("a.b.json", "%zz.json", "eth1.json.new"):
        (paths.etc / stranger).touch()
    assert (paths.etc / "veth%2e100.json").exists()
    assert saved_interfaces(paths) == ["eth0", "veth.100"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not readable"),
        ("{", "is not readable"),
        ("\udcff", "is not readable"),
        ("[]", "is not readable"),
        ('{"version": 1}', "is not readable"),
        ('{"version": 2, "config": {}}', "is of another version"),
        ('{"version": 1, "config": []}', "is of another version"),
        ('{"version": 1, "config": {}}', "interface: None: give the interface"),
        ('{"version": 1, "config": {"interface": "eth1"}}', "is of the interface eth1"),
        ('{"version": 1, "config": {"interface": "eth0", "x": 1}}', "x: 1: no such option"),
    ],
)
def test_what_cannot_be_read(paths: Paths, text: str, message: str) -> None:
    saved = Saved("eth0", paths)
    paths.etc.mkdir(parents=True)
    saved.path.write_text(text, errors="surrogateescape")
    with pytest.raises(L4lbError, match=message) as e:
        saved.read()
    assert str(saved.path) in str(e.value)
    assert "apply the configuration again" in str(e.value)
    assert not saved.holds(config())


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    saved = Saved("eth0", Paths(etc=tmp_path / "file/l4lb"))
    with pytest.raises(HostError, match=r"write .*/eth0\.json\.new: Not a directory"):
        saved.prepare(SOME)
    saved.abandon()


def test_what_is_no_file(paths: Paths) -> None:
    saved = Saved("eth0", paths)
    paths.etc.mkdir(parents=True)
    os.mkfifo(saved.path)
    with pytest.raises(L4lbError, match=r"eth0\.json: not a regular file; apply the config"):
        saved.read()
    assert not saved.holds(config())
    saved.path.unlink()
    saved.path.symlink_to("/dev/zero")
    with pytest.raises(L4lbError, match=r"eth0\.json: not a regular file; apply the config"):
        saved.read()


def test_what_has_no_end(paths: Paths) -> None:
    saved = Saved("eth0", paths)
    paths.etc.mkdir(parents=True)
    saved.path.touch()
    os.truncate(saved.path, 1 << 40)
    with pytest.raises(L4lbError, match=r"eth0\.json: longer than 32 MiB, .*; apply the config"):
        saved.read()
