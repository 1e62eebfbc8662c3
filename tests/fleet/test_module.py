# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules on a host of the laboratory, and their library where no Ansible is needed for it.

Every test begins on a host without a balancer, and the fixture makes sure that it ends on one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import TOPOLOGY, Lab
from lab.host import ENVIRONMENT, Host

CHECKOUT = Path(__file__).resolve().parents[2]
INVENTORY = CHECKOUT / "lab/inventory.yml"
BPF = CHECKOUT / "files/bpf"

VIP, OTHER_VIP, ROUTED = "192.0.2.10", "192.0.2.129", "10.50.0.1"
WEB = {f"web{index}": f"203.0.113.2{index}" for index in range(1, 5)}
OUTER = 20  # bytes of an outer IPv4 header


# A laboratory with a few more paths through lb1.


def topology() -> dict[str, Any]:
    """lb1 has a second interface, eth1, for VIPs from 192.0.2.128 on; lb2 has no bpffs."""
    plan: dict[str, Any] = yaml.safe_load(TOPOLOGY.read_text())
    hosts = plan["hosts"]
    hosts["router"]["interfaces"]["second"] = {"addresses": ["10.77.0.1/30"]}
    hosts["router"]["routes"] += [
        "192.0.2.128/25 via 10.77.0.2",
        f"{ROUTED}/32 via 203.0.113.11",
    ]
    hosts["lb1"]["interfaces"]["eth1"] = {"to": "router/second", "addresses": ["10.77.0.2/30"]}
    hosts["lb1"]["routes"] = [*hosts["lb1"]["routes"], f"{ROUTED}/32 via {WEB['web4']}"]
    hosts["lb2"]["bpffs"] = False
    for name in WEB:
        loopback = [*hosts[name]["loopback"], f"{OTHER_VIP}/32"]
        hosts[name] = {**hosts[name], "loopback": loopback}
    hosts["web4"]["loopback"] = [*hosts["web4"]["loopback"], f"{ROUTED}/32"]
    return plan


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(f"m{os.getpid()}")
    plan = tmp_path_factory.mktemp("lab") / "topology.yml"
    plan.write_text(yaml.safe_dump(topology()))
    lab.up(plan)
    try:
        yield lab
    finally:
        for worker in WORKERS.values():
            worker.communicate("")
        WORKERS.clear()
        left = lab.down()
    assert left == {}


@pytest.fixture
def lb1(lab: Lab) -> Iterator[Host]:
    yield from cleaned(lab.host("lb1"))


@pytest.fixture
def lb2(lab: Lab) -> Iterator[Host]:
    yield from cleaned(lab.host("lb2"))


def cleaned(host: Host) -> Iterator[Host]:
    assert traces(host) == []
    yield host
    python(host, "for name in ('eth0', 'eth1'): Balancer(name, sources()).apply(None)")
    assert traces(host) == []


def traces(host: Host) -> list[str]:
    """What a balancer has left on a host."""
    links = json.loads(host.run(["ip", "-json", "link"]).stdout)
    found = [f"XDP on {link['ifname']}" for link in links if link.get("xdp")]
    found += [
        f"file {name}"
        for name in host.run(["find", "/run/l4lb", "/sys/fs/bpf/l4lb"], check=False).stdout.split()
    ]
    found += host.run(["ip", "neigh", "show", "nud", "all", "proto", "214"]).stdout.splitlines()
    if host.run(["cat", "/proc/sys/net/ipv4/conf/lo/forwarding"]).stdout != "0\n":
        found.append("net.ipv4.conf.lo.forwarding")
    return found


# Ways to give orders.

# What runs on a host, once: imports take longer than most calls. Each call is a process of its own
# all the same, as the modules are: nothing of BPF stays alive but by its pins and its interface.
WORKER = """
import contextlib, json, os, sys, traceback
from pathlib import Path
from ansible_collections.xdp.l4lb.plugins.module_utils import (
    bpf, compiler, datapath, errors, facts, host, image, layout, link, neighbours)
from ansible_collections.xdp.l4lb.plugins.module_utils.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils.model import Config
import bcc

def sources(**others):
    files = Path(given["bpf"]).glob("*.[ch]")
    return {**{path.name: path.read_text() for path in files}, **others}

def config_of(options):
    return None if options is None else Config.parse(options)

def attempt(call, *arguments):
    try:
        outcome = call(*arguments)
    except errors.L4lbError as e:
        return {"error": type(e).__name__, "message": str(e), "log": getattr(e, "log", "")}
    plan = getattr(outcome, "plan", outcome)
    names = "steps", "warnings", "before", "after"
    answer = {name: getattr(plan, name) for name in names}
    return {**answer, "mode": getattr(outcome, "mode", None)}

for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            code, given = json.loads(line)
            result = None
            exec(code)
            print(json.dumps({"result": result}), flush=True)
        except BaseException:
            print(json.dumps({"error": traceback.format_exc()}), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(json.dumps({"error": "it was killed"}), flush=True)
"""
WORKERS: dict[Path, subprocess.Popen[str]] = {}


def python(host: Host, code: str, **given: Any) -> Any:
    """Run code with the library on a host; returns what it leaves in `result`."""
    worker = WORKERS.get(host.directory)
    if worker is None:
        library = f"PYTHONPATH={CHECKOUT}/.ansible/collections"
        worker = WORKERS[host.directory] = subprocess.Popen(
            host.inside("env", library, "/usr/bin/python3", "-c", WORKER),
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    assert worker.stdin and worker.stdout
    print(json.dumps([code, {"bpf": str(BPF), **given}]), file=worker.stdin, flush=True)
    answer = json.loads(worker.stdout.readline())
    assert "error" not in answer, answer["error"]
    return answer["result"]


def apply(host: Host, *wanted: dict[str, Any] | None, replace: bool = False) -> Any:
    """Apply configurations one after the other in one process; returns the last outcome."""
    code = """
for options in given["wanted"]:
    name = options["interface"] if options else "eth0"
    result = attempt(Balancer(name, sources()).apply, config_of(options), given["replace"])
"""
    return python(host, code, wanted=wanted, replace=replace)


def ansible(lab: Lab, tmp_path: Path, *tasks: dict[str, Any], hosts: str = "lb1") -> list[Any]:
    """Run tasks in one play; returns what each was registered as, also if it failed."""
    book, output = tmp_path / "play.yml", tmp_path / "results.json"
    names = [f"r{index}" for index in range(len(tasks))]
    play = {
        "hosts": hosts,
        "gather_facts": False,
        "tasks": [
            *(
                {"register": name, "ignore_errors": True, "diff": True, **task}
                for name, task in zip(names, tasks)
            ),
            {
                "delegate_to": "localhost",
                "vars": {"ansible_connection": "local"},
                "ansible.builtin.copy": {
                    "content": f"{{{{ [{', '.join(names)}] | to_json }}}}",
                    "dest": str(output),
                    "mode": "0600",
                },
            },
        ],
    }
    book.write_text(yaml.safe_dump([play]))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(INVENTORY)]
    done = subprocess.run(
        [*command, str(book)],
        cwd=CHECKOUT,
        env={**os.environ, "L4LB_LAB": lab.name, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results: list[Any] = json.loads(output.read_text())
    return results


def l4lb(check: bool = False, **options: Any) -> dict[str, Any]:
    """A task that runs the module."""
    return {"xdp.l4lb.l4lb": {"interface": "eth0", **options}, "check_mode": check}


def stats(**options: Any) -> dict[str, Any]:
    """A task that runs the module for counters."""
    return {"xdp.l4lb.l4lb_stats": options}


def service(*backends: int | dict[str, Any], **options: Any) -> dict[str, Any]:
    """A service on the VIP; backends by the number of the web server."""
    listed = [{"address": WEB[f"web{one}"]} if isinstance(one, int) else one for one in backends]
    defaults = {"name": "web", "address": VIP, "port": 80, "protocol": "tcp"}
    return {**defaults, "backends": listed, **options}


def wanted(*services: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"interface": "eth0", "services": list(services), **options}


# Ways to look.


def answers(lab: Lab, count: int = 20, url: str = f"http://{VIP}/") -> Counter[str]:
    """Who answers requests of the client."""
    loop = f"for i in $(seq {count}); do curl -sS --max-time 2 {url}; done"
    return Counter(lab.host("client").run(["sh", "-c", loop]).stdout.split())


def works(lab: Lab, *servers: int, url: str = f"http://{VIP}/") -> None:
    """All requests are answered, by these servers and no other."""
    found = answers(lab, 8 * len(servers) or 1, url)
    assert set(found) <= {f"web{one}" for one in servers}
    assert sum(found.values()) == 8 * len(servers)


def program(host: Host, interface: str = "eth0") -> int | None:
    """The id of the XDP program."""
    (link,) = json.loads(host.run(["ip", "-json", "link", "show", interface]).stdout)
    return link["xdp"]["prog"]["id"] if link.get("xdp") else None


def counters(host: Host, interface: str = "eth0") -> dict[str, Any]:
    """Facts of a balancer."""
    code = """
live, now = Balancer(given["interface"], sources).statistics()
result = facts.facts(live.config, live.mode, now)
"""
    found: dict[str, Any] = python(host, code, interface=interface)
    return found


def packets(host: Host) -> dict[str, int]:
    """Packets by service and backend."""
    return {
        f"{one['name']} {backend['address']}": backend["packets"]
        for one in counters(host)["services"]
        for backend in one["backends"]
    }


# From nothing to a balancer and back.


def test_from_nothing_to_a_balancer_and_back(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    two: dict[str, Any] = {"services": [service(1, 2)]}
    three: dict[str, Any] = {"services": [service(1, 3, name="www")], "mode": "native"}

    (predicted,) = ansible(lab, tmp_path, l4lb(check=True, **two))
    assert predicted["changed"]
    assert traces(lb1) == []

    applied, again, checked = ansible(lab, tmp_path, l4lb(**two), l4lb(**two), l4lb(True, **two))
    assert applied["changed"]
    assert applied["mode"] == "native"
    assert applied["headers"]["release"]
    assert applied["steps"] == predicted["steps"]
    assert applied["diff"] == predicted["diff"]
    assert applied["diff"]["before"] == ""
    assert yaml.safe_load(applied["diff"]["after"])["services"][0]["backends"][1] == {
        "address": WEB["web2"],
        "weight": 1,
        "state": "enabled",
        "mac": None,
    }
    assert "sources" not in applied.get("invocation", {}).get("module_args", {})
    for second in (again, checked):
        assert not second["changed"]
        assert second["steps"] == []
        assert second["diff"]["before"] == second["diff"]["after"] == applied["diff"]["after"]
    works(lab, 1, 2)

    loaded = program(lb1)
    predicted, applied = ansible(lab, tmp_path, l4lb(True, **three), l4lb(**three))
    assert predicted["changed"] and applied["changed"]
    assert applied["steps"] == predicted["steps"]
    assert applied["diff"] == predicted["diff"]
    assert applied["diff"]["before"] == again["diff"]["after"]
    assert yaml.safe_load(applied["diff"]["after"])["services"][0]["name"] == "www"
    assert program(lb1) == loaded
    works(lab, 1, 3)

    predicted, applied, again = ansible(
        lab,
        tmp_path,
        l4lb(True, state="absent"),
        l4lb(state="absent"),
        l4lb(state="absent"),
    )
    assert predicted["changed"] and applied["changed"] and not again["changed"]
    assert applied["steps"] == predicted["steps"]
    assert applied["diff"]["after"] == "" != applied["diff"]["before"]
    assert traces(lb1) == []


@pytest.mark.usefixtures("lb1")
def test_the_examples_of_the_documentation(lab: Lab, tmp_path: Path) -> None:
    tasks = []
    for name in ("l4lb", "l4lb_stats"):
        text = (CHECKOUT / "plugins/modules" / f"{name}.py").read_text()
        tasks += yaml.safe_load(text.split('EXAMPLES = r"""')[1].split('"""')[0])
    # Stop balancing last.
    tasks.sort(key=lambda task: "absent" in str(task))
    results = ansible(lab, tmp_path, *tasks)
    assert [one.get("msg") for one in results if one["failed"]] == []
    assert [one["changed"] for one in results] == [True, False, False, True]


# Changes.


def test_a_change_keeps_the_program_and_the_counters(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    works(lab, 1, 2)
    loaded, before = program(lb1), packets(lb1)
    assert apply(lb1, wanted(service(2, 3)))["steps"] == ["web: changed"]
    assert program(lb1) == loaded
    assert packets(lb1) == {"web 203.0.113.22": before["web 203.0.113.22"], "web 203.0.113.23": 0}
    works(lab, 2, 3)
    before = packets(lb1)
    assert all(before.values())

    # Known by its address, port and protocol, a service may have another name.
    renamed = wanted(service(2, 3, name="www"), service(1, name="web", port=81))
    assert apply(lb1, renamed)["steps"] == ["web: changed", "www: added"]
    after = packets(lb1)
    assert after.pop("web 203.0.113.21") == 0
    assert after == {name.replace("web", "www"): count for name, count in before.items()}
    swapped = wanted(service(2, 3, name="web"), service(1, name="www", port=81))
    apply(lb1, swapped)
    assert packets(lb1) == {**before, "www 203.0.113.21": 0}
    assert program(lb1) == loaded
    works(lab, 2, 3)


def test_other_features_bring_another_program_and_keep_the_counters(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    works(lab, 1, 2)
    loaded, before = program(lb1), packets(lb1)
    more = wanted(service(1, 2), service(3, name="more", port=8080, scheduler="jhash"))
    outcome = apply(lb1, more)
    assert outcome["steps"][0] == "compile and load the program: the services use other features"
    assert program(lb1) != loaded
    assert packets(lb1) == {**before, "more 203.0.113.23": 0}
    works(lab, 1, 2)
    works(lab, 3, url=f"http://{VIP}:8080/")
    assert apply(lb1, more)["steps"] == []


def test_growth_keeps_the_counters(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    works(lab, 1, 2)
    loaded, before = program(lb1), packets(lb1)
    mac = "02:00:00:00:00:09"
    crowd = [{"address": f"10.9.{n >> 8}.{n & 255}", "mac": mac} for n in range(1023)]
    grown = wanted(service(1, 2), service(*crowd, name="crowd", port=81))
    outcome = apply(lb1, grown)
    assert any("more backends than the maps have room for" in step for step in outcome["steps"])
    assert program(lb1) != loaded
    after = packets(lb1)
    assert {name: after[name] for name in before} == before
    works(lab, 1, 2)
    # It does not shrink again: that would be for nothing.
    loaded = program(lb1)
    assert apply(lb1, wanted(service(1, 2)))["steps"] == ["crowd: removed"]
    assert program(lb1) == loaded
    works(lab, 1, 2)


def test_modes(lab: Lab, lb1: Host) -> None:
    for mode, got in (("generic", "generic"), ("native", "native"), ("auto", "native")):
        outcome = apply(lb1, wanted(service(1, 2), mode=mode))
        assert outcome["mode"] == got
        assert outcome["after"]["mode"] == mode
        assert counters(lb1)["mode"] == got
        assert apply(lb1, wanted(service(1, 2), mode=mode))["steps"] == []
        works(lab, 1, 2)
    sent = sum(packets(lb1).values())
    assert apply(lb1, wanted(service(1, 2), mode="generic"))["mode"] == "generic"
    assert sum(packets(lb1).values()) == sent


@pytest.mark.parametrize(
    "services",
    [
        [],
        [service()],
        [
            service(
                {"address": WEB["web1"], "weight": 0}, {"address": WEB["web2"], "state": "drained"}
            )
        ],
    ],
    ids=["no service", "no backends", "no share"],
)
def test_nobody_to_send_to(lab: Lab, lb1: Host, services: list[dict[str, Any]]) -> None:
    assert apply(lb1, wanted(*services))["mode"] == "native"
    assert apply(lb1, wanted(*services))["steps"] == []
    lab.host("client").run(["curl", "-s", "--max-time", "0.2", f"http://{VIP}/"], check=False)
    found = counters(lb1)
    assert [one["packets"] for one in found["services"]] == [0] * len(services)
    assert (found["drops"]["no_backend"] > 0) == bool(services)


def test_odd_names_of_services(lab: Lab, lb1: Host) -> None:
    names = ["Web", "services", "backends", "a]b", "é %s \\", "x" * 63]
    odd = wanted(*(service(1, name=name, port=80 + n) for n, name in enumerate(names)))
    assert apply(lb1, odd)["mode"] == "native"
    assert apply(lb1, odd)["steps"] == []
    works(lab, 1)
    assert {one["name"] for one in counters(lb1)["services"]} == set(names)


# Repairs of what others did to the live state.

DAMAGE = {
    "the program is detached": "run('ip link set eth0 xdp off')",
    "all pins are gone": "run('rm -r /sys/fs/bpf/l4lb')",
    "a pin is gone": "run('rm /sys/fs/bpf/l4lb/eth0/drops')",
    "the pin of the program is gone": "run('rm /sys/fs/bpf/l4lb/eth0/program')",
    "no forwarding on loopback": "run('sysctl -qw net.ipv4.conf.lo.forwarding=0')",
    "neighbours are gone": "for n in 21, 22: run(f'ip neigh del 203.0.113.{n} dev eth0')",
    "a lookup table": (
        "path.maps['lookup_tables'].inner(tables['web'].index).update(0, bytes(131088))"
    ),
    "a lookup table is gone": "path.maps['lookup_tables'].delete(tables['web'].index)",
    "a backend record": "path.maps['backends'].update(1, bytes(64))",
    "the service table": "services.update(0, head[:16] + bytes(len(head) - 16))",
    "the head of the service table": "services.update(0, bytes([99]) + head[1:])",
    "no service table": "path.maps['services'].delete(0)",
    "the manifest": "path.manifest_map.update(0, bytes(path.manifest_map.shape.value_size))",
}

DO_DAMAGE = """
import subprocess
def run(command):
    subprocess.run(command.split(), check=True)
live = Balancer("eth0").live()
path, tables = live.data_path, live.manifest.tables
services = path.maps["services"].inner(0)
head = services.lookup(0)
exec(given["damage"])
del live, path, services
"""


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_repair(lab: Lab, lb1: Host, damage: str) -> None:
    config = wanted(service(1, 2))
    apply(lb1, config)
    code = f"{DO_DAMAGE}\nresult = attempt(Balancer('eth0', sources()).plan, config_of(given['w']))"
    plan = python(lb1, code, damage=damage, w=config)
    outcome = apply(lb1, config)
    assert outcome["steps"] == plan["steps"] != []
    assert outcome["mode"] == "native"
    works(lab, 1, 2)
    assert apply(lb1, config)["steps"] == []


def test_damage_does_not_prevent_removal(lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    python(lb1, DO_DAMAGE, damage=DAMAGE["the manifest"])
    assert "error" not in apply(lb1, None)
    assert traces(lb1) == []
