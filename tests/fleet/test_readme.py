# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What README.md tells a reader to type works, with the collection installed as it says, and what
docs/backends.md does.

```yaml     with "# FILE" first: is written to FILE
```console  "$ COMMAND" is run on the controller, in order; what follows it is in its output
```sh       with "# on HOSTS" first: is run there
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab import Lab, LabError
from lab.host import CHECKOUT
from tests.fleet.rig.labs import laboratory
from tests.fleet.rig.readme import BY_HAND, README, blocks, script

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTS = {
    "on the router": ["router"],
    "on a client": ["client"],
    "on a balancer": ["lb1"],
    "on every backend": ["web1", "web2", "web3"],
    "on every backend, with nftables": ["web1", "web3"],
    "on every backend, or with iptables": ["web2"],
}


def run_on(lab: Lab, where: str) -> list[str]:
    """Run there what README.md says, and return what each host answers."""
    return [lab.host(name).run(["sh", "-ec", script(where)]).stdout for name in HOSTS[where]]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with laboratory("r") as lab:
        yield lab


def typed(block: str) -> list[list[str]]:
    """The commands of a block, each with the lines that shall follow."""
    return [command.rstrip().split("\n") for command in block.split("$ ")[1:]]


@pytest.fixture(scope="module")
def directory(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader works: the collection is installed, and the files that README.md shows."""
    directory = tmp_path_factory.mktemp("readme")
    (directory / "xdp.l4lb").symlink_to(CHECKOUT)
    for block in blocks("yaml"):
        path = directory / block.partition("\n")[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(block)
    for command, *_output in typed(blocks("console")[0]):
        type_in(directory, lab, command)
    return directory


def type_in(directory: Path, lab: Lab, command: str) -> str:
    environment = {
        "HOME": str(directory),
        "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        # Hosts of the laboratory instead of those that SSH reaches.
        "ANSIBLE_TRANSPORT": "xdp.l4lb.netns",
        "L4LB_LAB": lab.name,
    }
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def assert_shows(output: str, expected: list[str]) -> None:
    """Every expected line is there, in this order."""
    lines = iter(line.strip() for line in output.splitlines())
    for line in expected:
        # Ansible's default format puts a line of the table between quotation marks.
        assert any(line.strip() in (seen, seen.strip('",')) for seen in lines), (line, output)


def test_every_block_is_tested() -> None:
    assert set(re.findall(r"^```(\w+)$", README, re.MULTILINE)) == {"text", "yaml", "console", "sh"}
    assert set(re.findall(r"^```(\w+)$", BY_HAND, re.MULTILINE)) == {"sh"}
    scripts = (*blocks("sh"), *blocks("sh", BY_HAND))
    assert {block.partition("\n")[0] for block in scripts} == {f"# {one}" for one in HOSTS}


def test_from_deploying_to_removing(directory: Path, lab: Lab) -> None:
    commands = [command for block in blocks("console")[1:] for command in typed(block)]
    assert len(commands) == 9
    for command, *expected in commands:
        if command.endswith("xdp.l4lb.remove"):
            assert_balances(lab)
            (shown,) = run_on(lab, "on a balancer")
            assert "web on eth0 (native), 192.0.2.10 tcp 80" in shown
            assert (
                "\nservice:    web on eth0, 192.0.2.10 tcp 80\npackets:    to 203.0.113.2" in shown
            )
            assert "\nresult:     answered by packet_too_big: " in shown
        assert_shows(type_in(directory, lab, command), [line for line in expected if line != "…"])
    for name in ("lb1", "lb2"):
        assert "xdp" not in lab.host(name).run(["ip", "link", "show", "eth0"]).stdout


def assert_balances(lab: Lab) -> None:
    run_on(lab, "on the router")
    answers = [run_on(lab, "on a client")[0] for _each in range(40)]
    assert set(answers) == {"web1\n", "web2\n", "web3\n"}


def test_backends_with_a_kernel_tunnel(directory: Path, lab: Lab) -> None:
    try:
        lab.host("client").run(["ip", "link", "add", "type", "ipip", "remote", "192.0.2.1"])
    except LabError:
        pytest.skip("cannot run here: the kernel has no ipip")
    for name in HOSTS["on every backend"]:
        lab.host(name).run(["ip", "link", "set", "eth0", "xdp", "off"])
    for where in HOSTS:
        if where.startswith("on every backend"):
            run_on(lab, where)
    type_in(directory, lab, "ansible-playbook -i inventory.yml xdp.l4lb.deploy")
    assert_balances(lab)


@pytest.mark.parametrize("name", re.findall(r"`make ([\w-]+)`", README))
def test_make_has_the_target(name: str) -> None:
    subprocess.run(["make", "--dry-run", name], cwd=CHECKOUT, check=True, capture_output=True)


@pytest.mark.parametrize("command", re.findall(r"`(ansible-doc [^`]+)`", README))
def test_the_documentation_is_there(directory: Path, lab: Lab, command: str) -> None:
    assert "xdp.l4lb.l4lb" in type_in(directory, lab, command).lower()
