# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a deploy, what it says, and whom it leaves out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lab import Lab
from lab.host import Host
from tests.fleet.command.conftest import files
from tests.fleet.rig.command import DEPLOYED, service
from tests.fleet.rig.play import changes, playbook


def test_some_steps_alone(lab: Lab, lb1: Host) -> None:
    """A change of services leaves the rest alone; all but packages is put right again."""
    installed = files(lb1)
    lb1.run(["chmod", "700", "/usr/lib/l4lb/l4lb"])
    lb1.run(["rm", "/usr/sbin/l4lb"])
    other = {**DEPLOYED, "services": [service("web1")]}
    moved = "web: 1 backend removed (203.0.113.22), 50.0 % of new flows move, 0 established"
    for arguments, settings in (
        (["--check"], {}),
        ([], {"DISPLAY_OK_HOSTS": "false", "CALLBACK_RESULT_FORMAT": "json"}),
    ):
        done = playbook(lab, "deploy", "--tags", "apply", *arguments, settings=settings, **other)
        assert "changed=1 " in done.stdout
        assert moved in " ".join(done.stdout.split())
    assert files(lb1) == [path for path in installed if path != "/usr/sbin/l4lb"]
    assert changes(lab, "deploy", "--skip-tags", "packages", **DEPLOYED) == 3
    assert files(lb1) == installed


@pytest.mark.parametrize("skip", [False, True])
def test_the_first_is_dead(lab: Lab, tmp_path: Path, skip: bool) -> None:
    dead = tmp_path / "dead.json"
    dead.write_text(json.dumps({"balancers": {"hosts": {"lb1": {"ansible_netns_host": "nobody"}}}}))
    variables = {**DEPLOYED, "skip_unreachable": skip}
    done = playbook(lab, "deploy", "--check", "-i", str(dead), limit="lb1,lb2", **variables)
    recap = re.findall(r"^(lb\d) .* unreachable=(\d) .* ignored=(\d)", done.stdout, re.MULTILINE)
    assert recap == ([("lb1", "0", "1"), ("lb2", "0", "0")] if skip else [("lb1", "1", "0")])
    assert ("web: added with 2 backends" in done.stdout) == skip
