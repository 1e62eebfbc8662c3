# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a deploy, and what it says."""

from __future__ import annotations

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
