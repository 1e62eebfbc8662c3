# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules on a host of the laboratory, and their library where no Ansible is needed for it.

Every test begins on a host without a balancer, and the fixture makes sure that it ends on one.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import Config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from scapy.layers.inet import IP, TCP

from lab import TOPOLOGY, Lab
from lab.host import ENVIRONMENT, Host

CHECKOUT = Path(__file__).resolve().parents[2]
INVENTORY = CHECKOUT / "lab/inventory.yml"
BPF = CHECKOUT / "files/bpf"

VIP, OTHER_VIP, ROUTED = "192.0.2.10", "192.0.2.129", "10.50.0.1"
WEB = {f"web{index}": f"203.0.113.2{index}" for index in range(1, 5)}
FOLDERS = ["/run/l4lb", "/sys/fs/bpf/l4lb", "/etc/l4lb"]
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
        balancers = [*hosts[name]["balancers"], "10.77.0.2"]
        hosts[name] = {**hosts[name], "loopback": loopback, "balancers": balancers}
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
    found += [f"file {name}" for name in host.run(["find", *FOLDERS], check=False).stdout.split()]
    found += host.run(["ip", "neigh", "show", "nud", "all", "proto", "214"]).stdout.splitlines()
    if host.run(["cat", "/proc/sys/net/ipv4/conf/lo/forwarding"]).stdout != "0\n":
        found.append("net.ipv4.conf.lo.forwarding")
    return found


# Ways to give orders.

# What runs on a host, once: imports take longer than most calls. Each call is a process of its own
# all the same, as the modules are: nothing of BPF stays alive but by its pins and its interface.
WORKER = """
import contextlib, dataclasses, json, os, sys, traceback
from pathlib import Path
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb import errors
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.datapath import build
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel import bpf, compiler
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.paths import Paths
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.pins import Pins
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps import backend_record, layout
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.maps.manifest import Manifest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.network import link, neighbours, xdp
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.operations.report import facts
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.balancer.balancer import Balancer
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
import bcc

def sources(**others):
    return {**read_sources(Path(given["bpf"])), **others}

def config_of(options):
    return None if options is None else parse_config(options)

def attempt(call, *arguments):
    try:
        outcome = call(*arguments)
    except errors.L4lbError as e:
        return {"error": type(e).__name__, "message": str(e), "log": getattr(e, "log", "")}
    plan = getattr(outcome, "plan", outcome)
    names = "steps", "warnings", "before", "after"
    answer = {name: getattr(plan, name) for name in names}
    answer["moves"] = [dataclasses.asdict(move) for move in plan.moves]
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


def apply(
    host: Host, *wanted: dict[str, Any] | None, replace: bool = False, accepted: bool = False
) -> Any:
    """Apply configurations one after the other in one process; returns the last outcome."""
    code = """
for options in given["wanted"]:
    name = options["interface"] if options else "eth0"
    result = attempt(Balancer(name, sources()).apply, config_of(options), *given["how"])
"""
    return python(host, code, wanted=wanted, how=[replace, accepted])


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


# What a run may change of a host, and all that packets meet there.
STATE = """
def balanced(name):
    live = Balancer(name).live(must_exist=False)
    found = {"attached": live.link.attached and dataclasses.astuple(live.link.attached)}
    if live.data_path:
        maps, manifest = live.data_path.maps, live.manifest
        found["table"] = maps["services"].inner(0).lookup(0).hex()
        found["backends"] = maps["backends"].lookup_all().hex()
        found["slots"] = manifest and {
            service.name: bytes(memoryview(live.data_path.slots(service, manifest))).hex()
            for service in manifest.config.services
        }
    return found

def pinned(path):
    pins = Pins(path.parent)
    return (pins.program() if path.name == "program" else pins.map(path.name)).id

def state():
    return {
        "balanced": {name: balanced(name) for name in ("eth0", "eth1")},
        "pins": {str(path): pinned(path) for path in sorted(Path("/sys/fs/bpf").glob("l4lb/*/*"))},
        "saved": {str(path): path.read_text() for path in sorted(Path("/etc/l4lb").glob("*"))},
        "there": [name for name in ("/sys/fs/bpf/l4lb", "/etc/l4lb") if Path(name).exists()],
        "next hops": sorted(map(str, neighbours.managed())),
        "forwarding": [
            Path(f"/proc/sys/net/ipv{version}/conf/lo/forwarding").read_text()
            for version in (4, 6)
        ],
    }
"""


def state(host: Host) -> dict[str, Any]:
    """All that a run may change of a host, and what packets meet there."""
    found: dict[str, Any] = python(host, f"{STATE}result = state()")
    return found


def program(host: Host, interface: str = "eth0") -> int | None:
    """The id of the XDP program."""
    (link,) = json.loads(host.run(["ip", "-json", "link", "show", interface]).stdout)
    return link["xdp"]["prog"]["id"] if link.get("xdp") else None


def saved(host: Host) -> dict[str, Any]:
    """The desired states on disk, by the name of the file."""
    files = host.run(["find", "/etc/l4lb", "-type", "f", "-printf", "%m %f\n"]).stdout.split()
    found = {}
    for mode, name in zip(files[::2], files[1::2]):
        assert mode == "600"
        raw = json.loads(host.run(["cat", f"/etc/l4lb/{name}"]).stdout)
        assert raw["version"] == 1
        found[name] = raw["config"]
    return found


def counters(host: Host, interface: str = "eth0") -> dict[str, Any]:
    """Facts of a balancer."""
    code = """
live, now = Balancer(given["interface"], sources).statistics()
result = facts(live.config, live.mode, now)
"""
    found: dict[str, Any] = python(host, code, interface=interface)
    return found


def packets(host: Host, interface: str = "eth0") -> dict[str, int]:
    """Packets by service and backend."""
    return {
        f"{one['name']} {backend['address']}": backend["packets"]
        for one in counters(host, interface)["services"]
        for backend in one["backends"]
    }


def returned(value: str) -> dict[str, Any]:
    """What the documentation of the module says is in a value that it returns."""
    text = (CHECKOUT / "plugins/modules/l4lb.py").read_text()
    documented = yaml.safe_load(text.split('RETURN = r"""')[1].split('"""')[0])
    contents: dict[str, Any] = documented[value]["contains"]
    return contents


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
    assert applied["moves"] == predicted["moves"]
    assert applied["moves"][0].keys() == returned("moves").keys()
    assert applied["diff"] == predicted["diff"]
    assert applied["diff"]["before"] == again["diff"]["after"]
    assert applied["diff"]["prepared"].splitlines() == applied["steps"] != []
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
    served = answers(lab)["web1"]
    before = packets(lb1)
    outcome = apply(lb1, wanted(service(2, 3)))
    (step,), (move,) = outcome["steps"], outcome["moves"]
    exchange = f"web: 1 backend added ({WEB['web3']}), 1 backend removed ({WEB['web1']})"
    assert step.startswith(f"{exchange}, 66.7")
    assert step.endswith(f" % of new flows move, {move['established_flows']} established")
    assert move["established_flows"] >= served > 0
    assert program(lb1) == loaded
    assert packets(lb1) == {"web 203.0.113.22": before["web 203.0.113.22"], "web 203.0.113.23": 0}
    works(lab, 2, 3)
    before = packets(lb1)
    assert all(before.values())

    # Known by its address, port and protocol, a service may have another name.
    renamed = wanted(service(2, 3, name="www"), service(1, name="web", port=81))
    assert apply(lb1, renamed)["steps"] == [
        "web: added with 1 backend",
        "www: renamed from web, no flow moves",
    ]
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
    assert apply(lb1, wanted(service(1, 2)))["steps"] == ["crowd: removed, 0 established flows end"]
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


def test_a_permanent_neighbour_is_left_alone(lb1: Host) -> None:
    """An operator has given the MAC address of a next hop."""
    entry = ["ip", "neigh", "replace", WEB["web1"], "lladdr", "02:00:00:00:00:09", "dev", "eth0"]
    lb1.run([*entry, "nud", "permanent"])
    try:
        assert apply(lb1, wanted(service(1, 2)))["warnings"] == []
        show = ["ip", "neigh", "show", WEB["web1"]]
        assert "lladdr 02:00:00:00:00:09 PERMANENT" in lb1.run(show).stdout
        assert apply(lb1, wanted(service(1, 2)))["steps"] == []
        apply(lb1, None)
        assert "lladdr 02:00:00:00:00:09 PERMANENT" in lb1.run(show).stdout
    finally:
        lb1.run(["ip", "neigh", "delete", WEB["web1"], "dev", "eth0"])


def test_odd_names_of_services(lab: Lab, lb1: Host) -> None:
    names = ["Web", "services", "backends", "a]b", "é %s \\", "x" * 63]
    odd = wanted(*(service(1, name=name, port=80 + n) for n, name in enumerate(names)))
    assert apply(lb1, odd)["mode"] == "native"
    assert apply(lb1, odd)["steps"] == []
    works(lab, 1)
    assert {one["name"] for one in counters(lb1)["services"]} == set(names)


def test_backends_without_a_next_hop(lb1: Host) -> None:
    """They are told of, and nothing is tried again and again."""
    lb1.run(["ip", "route", "add", "unreachable", "10.82.0.0/24"])
    addresses = [lb1.address, "127.0.0.1", "10.82.0.1"]
    config = wanted(service(*({"address": address} for address in addresses)))
    for steps in (True, False):
        outcome = apply(lb1, config, accepted=True)
        assert bool(outcome["steps"]) == steps
        for address in addresses:
            warning = f"no next hop for backend {address}; packets to it are dropped"
            assert warning in outcome["warnings"]
    lb1.run(["ip", "route", "del", "unreachable", "10.82.0.0/24"])


# Repairs of what others did to the live state.

DAMAGE = {
    "the program is detached": "run('ip link set eth0 xdp off')",
    "all pins are gone": "run('rm -r /sys/fs/bpf/l4lb')",
    "a pin is gone": "run('rm /sys/fs/bpf/l4lb/eth0/drops')",
    "the pin of the program is gone": "run('rm /sys/fs/bpf/l4lb/eth0/program')",
    "no forwarding on loopback": "run('sysctl -qw net.ipv4.conf.lo.forwarding=0')",
    "neighbours are gone": "for n in 21, 22: run(f'ip neigh del 203.0.113.{n} dev eth0')",
    "a lookup table": "path.maps['lookup_tables'].update(tables['web'].index, bytes(131074))",
    "a backend record": "path.maps['backends'].update(max(numbers['web'].values()), bytes(128))",
    "the service table": "services.update(0, head[:16] + bytes(len(head) - 16))",
    "the head of the service table": "services.update(0, bytes([99]) + head[1:])",
    "no service table": "path.maps['services'].delete(0)",
    "the saved state is gone": "run('rm -r /etc/l4lb')",
    "the saved state is another": "run('sed -i s/22/23/ /etc/l4lb/eth0.json')",
    "the saved state is no JSON": "run('truncate -s 40 /etc/l4lb/eth0.json')",
    "a file of a killed run": "run('touch /etc/l4lb/eth0.json.new')",
    "the manifest": "path.manifest_map.update(0, bytes(path.manifest_map.shape.value_size))",
}

DO_DAMAGE = """
import subprocess
def run(command):
    subprocess.run(command.split(), check=True)
live = Balancer("eth0").live()
path, tables, numbers = live.data_path, live.manifest.tables, live.manifest.numbers
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
    assert saved(lb1) == {"eth0.json": parse_config(config).dump()}


def test_a_damaged_service_is_renamed(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    python(lb1, DO_DAMAGE, damage=DAMAGE["a lookup table"])
    renamed = wanted(service(1, 2, name="www"))
    apply(lb1, renamed)
    works(lab, 1, 2)
    assert apply(lb1, renamed)["steps"] == []


def test_damage_does_not_prevent_removal(lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    python(lb1, DO_DAMAGE, damage=DAMAGE["the manifest"])
    assert "error" not in apply(lb1, None)
    assert traces(lb1) == []


def test_what_was_balanced_is_remembered(lb1: Host) -> None:
    """Also where the kernel does not say, as after a reboot."""
    code = "result = Balancer('eth0').live().remembered.dump()"
    nothing = Config("eth0").dump()
    assert python(lb1, code) == nothing
    config = wanted(service(1, 2))
    apply(lb1, config)
    live = python(lb1, code)
    assert live["source_address"] == lb1.address
    own = {"source_address": None, "source_address6": None}
    assert {**live, **own} == parse_config(config).dump()
    lb1.run(["sh", "-ec", "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb"])
    assert python(lb1, code) == parse_config(config).dump()
    lb1.run(["truncate", "-s", "40", "/etc/l4lb/eth0.json"])
    assert python(lb1, code) == nothing


# Changes of the host around it.


def test_a_change_of_the_interface(lb1: Host) -> None:
    """It goes with its program, comes back without, and its name has a dot."""
    config = wanted(service(1, 2, address=OTHER_VIP), interface="veth.100")
    add = """
        ip link add veth.100 address {mac} type veth peer name end
        ip address add 10.78.0.1/24 dev veth.100
        ip link set veth.100 up
        ip link set end up
    """
    frame = bytes(IP(src="10.78.0.9", dst=OTHER_VIP) / TCP(dport=80))
    for mac in ("02:00:00:00:00:77", "02:00:00:00:00:78"):
        lb1.run(["sh", "-ec", add.format(mac=mac)])
        outcome = apply(lb1, config)
        assert outcome["mode"] == "native"
        assert apply(lb1, config)["steps"] == []
        before = counters(lb1, "veth.100")["services"][0]["packets"]
        with lb1.socket(socket.AF_PACKET, socket.SOCK_RAW) as end:
            end.bind(("end", 0))
            end.send(bytes.fromhex(mac.replace(":", "") + "020000000001" + "0800") + frame)
        assert counters(lb1, "veth.100")["services"][0]["packets"] == before + 1
        lb1.run(["ip", "link", "del", "veth.100"])
    assert before == 1, "counters survive, as the pins do"

    outcome = apply(lb1, config)
    assert outcome["error"] == "ConfigError"
    assert "no such interface; this host has lo, eth0, eth1" in outcome["message"]
    code = "result = attempt(Balancer('veth.100').apply, None)"
    folders = ["/sys/fs/bpf/l4lb/veth%2e100", "/etc/l4lb/veth%2e100.json"]
    assert python(lb1, code)["steps"] == [f"remove {folder}" for folder in folders]
    assert traces(lb1) == []


def test_two_interfaces(lab: Lab, lb1: Host) -> None:
    first = wanted(service(1, 2))
    second = wanted(service(2, 3, address=OTHER_VIP), interface="eth1")
    apply(lb1, first, second)
    works(lab, 1, 2)
    works(lab, 2, 3, url=f"http://{OTHER_VIP}/")
    assert packets(lb1, "eth1").keys() == {"web 203.0.113.22", "web 203.0.113.23"}

    # Each lets go of next hops that the other does not need.
    apply(lb1, {**first, "services": [service(4)]})
    hops = lb1.run(["ip", "neigh", "show", "proto", "214"]).stdout
    assert {line.split()[0] for line in hops.splitlines()} == {WEB[f"web{n}"] for n in (2, 3, 4)}
    apply(lb1, None)
    works(lab, 2, 3, url=f"http://{OTHER_VIP}/")
    python(lb1, "Balancer('eth1').apply(None)")
    assert traces(lb1) == []


def test_a_host_without_bpffs(lb2: Host) -> None:
    mounted = ["findmnt", "--noheadings", "--types", "bpf", "/sys/fs/bpf"]
    assert not lb2.run(mounted, check=False).stdout
    code = "result = attempt(Balancer('eth0', sources()).plan, config_of(given['w']))"
    assert "error" not in python(lb2, code, w=wanted(service(1, 2)))
    assert not lb2.run(mounted, check=False).stdout
    apply(lb2, wanted(service(1, 2)))
    assert lb2.run(mounted).stdout
    assert apply(lb2, wanted(service(1, 2)))["steps"] == []


def test_two_runs_at_once(lab: Lab, lb1: Host) -> None:
    """One waits for the other, and the state is that of one of them."""
    code = """
children = []
for number in 21, 22, 23:
    children.append(os.fork())
    if not children[-1]:
        backend = {"address": f"203.0.113.{number}"}
        options = {**given["w"], "services": [{**given["w"]["services"][0], "backends": [backend]}]}
        for _ in range(3):
            outcome = attempt(Balancer("eth0", sources()).apply, config_of(options))
            if "error" in outcome:
                os._exit(1)
        os._exit(0)
result = [os.waitpid(child, 0)[1] for child in children]
"""
    assert python(lb1, code, w=wanted(service(1))) == [0, 0, 0]
    (last,) = packets(lb1)
    works(lab, int(last[-1]))
    assert apply(lb1, wanted(service(int(last[-1]))))["steps"] == []


# Wrong input, as the user sees it. The balancer of before goes on.

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "address": (
        {"services": [service(address="192.0.2.300")]},
        "services[web].address: '192.0.2.300': not an IP address, as in 192.0.2.10",
    ),
    "port": (
        {"services": [service(port=70000)]},
        "services[web].port: 70000: give a whole number from 0 to 65535",
    ),
    "weight": (
        {"services": [service({"address": "10.0.0.1", "weight": 300})]},
        "services[web].backends[0].weight: 300: give a whole number from 0 to 255",
    ),
    "service twice": (
        {"services": [service(), service(name="www")]},
        "service web has this address, port and protocol already; merge them",
    ),
    "name twice": (
        {"services": [service(), service(port=81)]},
        "services: 'web': two services have this name; rename one",
    ),
    "backend twice": (
        {"services": [service(1, 1)]},
        "services[web].backends[1].address: '203.0.113.21': listed twice",
    ),
    "wrong family": (
        {"source_address6": "192.0.2.1"},
        "source_address6: '192.0.2.1': give an IPv6 address or prefix, as in 2001:db8::1",
    ),
    "typo": (
        {"services": [service(prot="tcp")]},
        "services[web].prot: 'tcp': no such option; use name, address, port, protocol,",
    ),
    "choice": ({"mode": "fast"}, "value of mode must be one of: auto, native, generic, got: fast"),
    "type": (
        {"services": [service(port="http")]},
        "services[web].port: 'http': give a whole number from 0 to 65535",
    ),
    "interface": (
        {"interface": "eth9"},
        "interface: 'eth9': no such interface; this host has lo, eth0, eth1",
    ),
    "no interface name": ({"interface": "eth0:1"}, "interface: 'eth0:1': not an interface name"),
    "no address to send from": (
        {"interface": "lo", "source_address": "here"},
        "source_address: 'here': not an IP address",
    ),
}


@pytest.mark.usefixtures("lb1")
def test_wrong_input(lab: Lab, tmp_path: Path) -> None:
    good: dict[str, Any] = {"services": [service(1, 2)]}
    tasks = [l4lb(**wrong) for wrong, _ in WRONG.values()]
    first, *results, last = ansible(lab, tmp_path, l4lb(**good), *tasks, l4lb(**good))
    assert first["changed"]
    for name, result in zip(WRONG, results):
        assert result["failed"], name
        assert WRONG[name][1] in result["msg"]
        assert "Traceback" not in str(result)
    assert not last["failed"] and not last["changed"]
    works(lab, 1, 2)


# What a host may lack.


@contextlib.contextmanager
def hidden(host: Host, path: str) -> Iterator[None]:
    """A folder that the host has not got for a while."""
    host.run(["mount", "-t", "tmpfs", "none", path])
    try:
        yield
    finally:
        host.run(["umount", path])


BCC, PYROUTE2 = (f"/usr/lib/python3/dist-packages/{name}" for name in ("bcc", "pyroute2"))
HEADERS = "/lib/modules"


def test_a_host_that_lacks_everything(lab: Lab, lb2: Host, tmp_path: Path) -> None:
    config: dict[str, Any] = {"services": [service(1, 2)]}
    with hidden(lb2, BCC), hidden(lb2, PYROUTE2), hidden(lb2, HEADERS):
        present, unknown, absent, real, none = ansible(
            lab,
            tmp_path,
            l4lb(True, **config),
            l4lb(True, **{**config, "interface": "eth9"}),
            l4lb(True, state="absent"),
            l4lb(**config),
            stats(),
            hosts="lb2",
        )
    assert present["changed"]
    assert any("pyroute2 is not installed" in one for one in present["warnings"])
    assert "address: 203.0.113.22" in present["diff"]["after"]
    assert unknown["msg"].startswith("interface: 'eth9': no such interface")
    assert not absent["changed"]
    assert real["msg"] == "pyroute2 is not installed; install python3-pyroute2"
    assert none["ansible_facts"] == {"l4lb": {}}
    assert traces(lb2) == []
    (applied,) = ansible(lab, tmp_path, l4lb(**config), hosts="lb2")
    for what in ("steps", "moves", "diff"):
        assert applied[what] == present[what]


def test_no_bcc(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    """Nothing can be compiled; all else works."""
    one: dict[str, Any] = {"services": [service(1)]}
    two: dict[str, Any] = {"services": [service(1, 2)]}
    with hidden(lb1, BCC):
        failed, checked = ansible(lab, tmp_path, l4lb(**one), l4lb(True, **one))
    assert failed["msg"].startswith("bcc is not installed for /usr/bin/python3; install python3-")
    assert checked["changed"]
    assert any("bcc is not installed" in text for text in checked["warnings"])
    assert traces(lb1) == []

    apply(lb1, wanted(service(1)))
    jhash: dict[str, Any] = {"services": [service(1, scheduler="jhash")]}
    with hidden(lb1, BCC):
        again, changed, failed, counted = ansible(
            lab, tmp_path, l4lb(**one), l4lb(**two), l4lb(**jhash), stats()
        )
    assert not again["changed"]
    assert changed["steps"][0].startswith(f"web: 1 backend added ({WEB['web2']}), ")
    assert failed["msg"].startswith("bcc is not installed")
    assert counted["ansible_facts"]["l4lb"]["eth0"]["services"][0]["name"] == "web"
    works(lab, 1, 2)
    assert apply(lb1, wanted(service(1, 2)))["steps"] == [], "bcc is what it was"


def test_no_headers(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    with hidden(lb1, HEADERS):
        assert apply(lb1, wanted(service(1, 2)))["steps"] == []
        outcome = apply(lb1, wanted(service(1, scheduler="jhash")))
    assert outcome["error"] == "HostError"
    assert "no kernel headers in /lib/modules/*/build; install linux-head" in outcome["message"]
    works(lab, 1, 2)


def test_no_root(lab: Lab, lb1: Host) -> None:
    code = """
os.setgid(65534)
os.setuid(65534)
balancer = Balancer("eth0", sources())
result = [
    attempt(balancer.apply, config_of(given["w"])),
    attempt(balancer.apply, None),
    attempt(balancer.plan, config_of(given["w"])),
]
"""
    virgin = python(lb1, code, w=wanted(service(1, 2)))
    apply(lb1, wanted(service(1, 2)))
    deployed = python(lb1, code, w=wanted(service(1, 2)))
    for outcome in (*virgin, *deployed):
        assert outcome["error"] == "HostError"
        assert "root is needed" in outcome["message"]
        assert "become: true" in outcome["message"]
    works(lab, 1, 2)


# Programs that are not ours, not C, or not safe.

FOREIGN = """
text = "int stranger(struct xdp_md *ctx) { return XDP_PASS; }"
program = compiler.load(text, [], "stranger")
result = xdp.attach(link.read_link("eth0"), program.fd, given["mode"], None)
"""


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_a_foreign_program(lab: Lab, lb1: Host, mode: str) -> None:
    python(lb1, FOREIGN, mode=mode)
    stranger = program(lb1)
    outcome = apply(lb1, wanted(service(1, 2)))
    assert outcome["error"] == "ForeignProgramError"
    for part in ("eth0", "'stranger'", f"(id {stranger})", "replace: true"):
        assert part in outcome["message"]
    assert apply(lb1, None)["steps"] == []
    assert program(lb1) == stranger

    outcome = apply(lb1, wanted(service(1, 2)), replace=True)
    assert "replace the XDP program 'stranger'" in outcome["steps"]
    assert outcome["mode"] == mode, "it is exchanged at once"
    works(lab, 1, 2)
    assert apply(lb1, wanted(service(1, 2)), replace=True)["steps"] == []


def test_a_foreign_program_in_place_of_ours(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, 2)))
    works(lab, 1, 2)
    before = packets(lb1)
    lb1.run(["ip", "link", "set", "eth0", "xdp", "off"])
    python(lb1, FOREIGN, mode="native")
    assert apply(lb1, wanted(service(1, 2)))["error"] == "ForeignProgramError"
    apply(lb1, wanted(service(1, 2)), replace=True)
    assert packets(lb1) == before, "ours was pinned meanwhile"
    works(lab, 1, 2)


BAD_SOURCES = {
    "clang": (
        {"send/encap.h": "#pragma once\n\nint x = nonsense;\n"},
        "clang refused l4lb: send/encap.h:3:9: error: use of undeclared identifier 'nonsense'",
        "undeclared identifier 'nonsense'",
    ),
    "verifier": (
        {"l4lb.c": "int l4lb(struct xdp_md *ctx) { return *(int *)8; }\n"},
        "the kernel refused to load l4lb: ",
        "invalid mem access 'scalar'",
    ),
    "no l4lb.c": ({"l4lb.c": None}, "the C sources lack l4lb.c; is the collection installed", ""),
}


@pytest.mark.parametrize(("other", "message", "log"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_bad_sources(
    lab: Lab, lb1: Host, other: dict[str, str | None], message: str, log: str
) -> None:
    code = """
texts = {name: text for name, text in sources(**given["other"]).items() if text is not None}
result = attempt(Balancer("eth0", texts).apply, config_of(given["w"]))
"""
    outcome = python(lb1, code, other=other, w=wanted(service(1, 2)))
    assert message in outcome["message"]
    assert traces(lb1) == []

    apply(lb1, wanted(service(1, 2)))
    outcome = python(lb1, code, other=other, w=wanted(service(3)))
    assert message in outcome["message"]
    assert log in outcome["log"]
    works(lab, 1, 2)
    assert apply(lb1, wanted(service(1, 2)))["steps"] == []


# A run that fails, or is killed, at any step.

STEPS = {
    "neighbours": "neighbours.manage",
    "stage": "datapath.DataPath.stage",
    "before the switch": "datapath.DataPath.switch",
    "pin": "Pins.set",
    "attach": "link.attach",
    "finish": "datapath.DataPath.finish",
    "clean up pins": "Pins.drop_others",
    "write the new state": "saved.Saved.prepare",
    "save it": "saved.Saved.commit",
}
FAIL = """
import importlib
*path, name = given["step"].split(".")
target = globals()[path[0]]
for part in path[1:]:
    target = getattr(target, part)
original = target.__dict__[name]
def fail(*_, **__):
    if given["kill"]:
        os._exit(0 if print(json.dumps({"result": {"killed": True}}), flush=True) is None else 1)
    setattr(target, name, original)
    raise errors.KernelError("the sky falls")
setattr(target, name, fail)
result = attempt(Balancer("eth0", sources()).apply, config_of(given["w"]))
"""


def stopped(host: Host, step: str, kill: bool, config: dict[str, Any]) -> None:
    """Apply, and fail or be killed at a step; a run that fails leaves all as it was."""
    before = state(host)
    outcome = python(host, FAIL, step=step, kill=kill, w=config)
    if outcome.get("message") == "the sky falls":
        assert state(host) == before
    elif not kill and "the sky falls" not in str(outcome["warnings"]):
        assert step == "link.attach", "there is nothing to attach"


@pytest.mark.parametrize("kill", [False, True], ids=["fails", "killed"])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_run_that_stops_half_way(lab: Lab, lb1: Host, step: str, kill: bool) -> None:
    """First on a host without a balancer, then with other backends, then with other features."""
    first, second = wanted(service(1, 2)), wanted(service(2, 3))
    third = wanted(service(2, 3, scheduler="jhash"))
    stopped(lb1, step, kill, first)
    apply(lb1, first)
    assert apply(lb1, first)["steps"] == []
    works(lab, 1, 2)
    before = packets(lb1)["web 203.0.113.22"]
    for config in (second, third):
        stopped(lb1, step, kill, config)
        works(lab, 1, 2, 3)
        assert "error" not in apply(lb1, config)
        assert apply(lb1, config)["steps"] == []
        works(lab, 2, 3)
        assert packets(lb1)["web 203.0.113.22"] > before
        before = packets(lb1)["web 203.0.113.22"]
    assert lb1.run(["ls", "/sys/fs/bpf/l4lb"]).stdout == "eth0\n"
    assert "%" not in lb1.run(["ls", "/sys/fs/bpf/l4lb/eth0"]).stdout
    assert saved(lb1) == {"eth0.json": parse_config(third).dump()}


def test_a_full_disk(lab: Lab, lb1: Host) -> None:
    """Nothing has changed yet when it is noticed."""
    full = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=4", "none", "/etc/l4lb"]
    apply(lb1, wanted(service(1, 2)))
    loaded = program(lb1)
    lb1.run(full)
    lb1.run(["sh", "-c", "cat /dev/zero >/etc/l4lb/zeros"], check=False)
    outcome = apply(lb1, wanted(service(3, scheduler="jhash")))
    assert outcome["error"] == "HostError"
    assert outcome["message"] == "write /etc/l4lb/eth0.json.new: No space left on device"
    assert lb1.run(["ls", "/etc/l4lb"]).stdout == "zeros\n"
    lb1.run(["umount", "/etc/l4lb"])
    assert program(lb1) == loaded
    works(lab, 1, 2)
    assert apply(lb1, wanted(service(1, 2)))["steps"] == []


@pytest.mark.parametrize("step", ["neighbours.manage", "link.attach", "datapath.DataPath.finish"])
def test_removal_after_a_run_was_killed(lb1: Host, step: str) -> None:
    python(lb1, FAIL, step=step, kill=True, w=wanted(service(1, 2)))
    apply(lb1, None)
    assert traces(lb1) == []


# Counters.


class Wire:
    """Counts what the client sends to the VIP."""

    def __init__(self, client: Host) -> None:
        everything = socket.htons(3)
        self.socket = client.socket(socket.AF_PACKET, socket.SOCK_RAW, everything)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
        self.socket.bind(("eth0", 3))

    def counted(self) -> tuple[int, int]:
        """Frames so far and their bytes."""
        frames = size = 0
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, address = self.socket.recvfrom(1 << 16)
                to_vip = frame[12:14] == b"\x08\x00" and frame[30:34] == socket.inet_aton(VIP)
                if address[2] == socket.PACKET_OUTGOING and to_vip:
                    frames += 1
                    size += len(frame)
        return frames, size


def test_counters_are_exact(lab: Lab, lb1: Host) -> None:
    client = lab.host("client")
    udp = service(1, 2, 3, name="dns", port=53, protocol="udp")
    apply(lb1, wanted(service(1, 2, 3, 4), udp))
    wire = Wire(client)
    with wire.socket, client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        answers(lab, 60)
        http = wire.counted()
        for length in range(0, 1400, 7):
            sender.sendto(bytes(length), (VIP, 53))
        datagrams = wire.counted()
    found = {one["name"]: one for one in counters(lb1)["services"]}
    assert datagrams[0] == 200
    for name, (frames, size) in (("web", http), ("dns", datagrams)):
        assert (found[name]["packets"], found[name]["bytes"]) == (frames, size + frames * OUTER)
        for key in ("packets", "bytes"):
            assert sum(one[key] for one in found[name]["backends"]) == found[name][key]
    assert not any(counters(lb1)["drops"].values())


def test_counters_are_exact_across_changes(lab: Lab, lb1: Host) -> None:
    """Backends come and go and the program is replaced while packets flow."""
    client = lab.host("client")
    states = [
        wanted(service(1, 2, 3, protocol="udp", scheduler=scheduler), *more)
        for scheduler in ("maglev", "jhash")
        for more in ([], [service(4, name="more", port=81)])
    ]
    apply(lb1, states[0])
    sent = 0
    stop = threading.Event()

    def send() -> None:
        nonlocal sent
        with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not stop.is_set():
                sender.sendto(b"x", (VIP, 80))
                sent += 1
                time.sleep(0.0002)  # a full queue on the way would lose some

    thread = threading.Thread(target=send)
    thread.start()
    try:
        apply(lb1, *states, *states)
    finally:
        stop.set()
        thread.join()
    found = counters(lb1)
    total = next(one for one in found["services"] if one["name"] == "web")["packets"]
    assert total + sum(found["drops"].values()) == sent
    assert not any(found["drops"].values())


# The rest of what the host does.


def test_other_traffic_is_untouched(lab: Lab, lb1: Host) -> None:
    client = lab.host("client")
    own = lb1.address
    lb1.run(["sysctl", "-qw", "net.ipv4.conf.eth0.forwarding=1"])
    apply(lb1, wanted(service(1, 2), service(1, 2, name="every", address=OTHER_VIP, port=0)))
    before = packets(lb1)

    with (
        lb1.socket(socket.AF_INET, socket.SOCK_STREAM) as server,
        client.socket(socket.AF_INET, socket.SOCK_STREAM) as there,
    ):
        server.bind((own, 80))  # a service's port, at another address
        server.listen()
        there.settimeout(5)
        there.connect((own, 80))
        here, _ = server.accept()
        with here:
            here.sendall(bytes(300_000))
            there.sendall(b"ssh")
            assert here.recv(3) == b"ssh"
            received = 0
            while received < 300_000:
                received += len(there.recv(1 << 16))

    for target in (own, lb1.address6):
        client.run(["ping", "-c2", "-i0.01", "-W1", target])
    lab.host("router").run(["ip", "neigh", "flush", "dev", "servers"])
    client.run(["ping", "-c2", "-i0.01", "-W1", own])
    works(lab, 4, url=f"http://{ROUTED}/")

    assert packets(lb1) == before
    assert not any(counters(lb1)["drops"].values())
    works(lab, 1, 2)


# l4lb_stats.


def test_stats(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    (nothing,) = ansible(lab, tmp_path, stats())
    assert nothing["ansible_facts"] == {"l4lb": {}}

    drained = {"address": WEB["web3"], "weight": 5, "state": "drained"}
    apply(lb1, wanted(service(1, 2, drained), service(4, name="other", port=81)))
    apply(lb1, wanted(service(1, address=OTHER_VIP), interface="eth1"))
    works(lab, 1, 2)
    everything, checked, one, other, nowhere, unknown, negative, rates = ansible(
        lab,
        tmp_path,
        stats(),
        {**stats(interface="eth0"), "check_mode": True},
        stats(interface="eth0", service="other"),
        stats(interface="eth0", service="nope"),
        stats(interface="eth9"),
        stats(interface="lo"),
        stats(interval=-1),
        stats(interval=0.1, interface="eth0"),
    )
    found = everything["ansible_facts"]["l4lb"]
    assert not everything["changed"]
    assert found.keys() == {"eth0", "eth1"}
    assert checked["ansible_facts"]["l4lb"] == {"eth0": found["eth0"]}
    assert one["ansible_facts"]["l4lb"]["eth0"]["services"] == [found["eth0"]["services"][0]]
    assert other["msg"] == "service: 'nope': eth0 has no such service, but other, web"
    assert nowhere["msg"].startswith("interface: 'eth9': no such interface; this host has ")
    assert unknown["msg"] == "no balancer is attached to lo"
    assert negative["msg"] == "interval: -1.0: give a number of seconds, 0 or more"

    eth0 = found["eth0"]
    assert eth0.keys() == {"mode", "services", "drops", "answers", "flow_table"}
    assert eth0["mode"] == "native"
    assert set(eth0["drops"].values()) == {0}
    web = eth0["services"][1]
    names = ("name", "address", "port", "protocol", "packets", "bytes", "backends")
    assert web.keys() == set(names)
    assert [web[name] for name in names[:4]] == ["web", VIP, 80, "tcp"]
    shown = [(each["address"], each["weight"], each["state"]) for each in web["backends"]]
    assert shown == [
        (WEB["web1"], 1, "enabled"),
        (WEB["web2"], 1, "enabled"),
        (WEB["web3"], 5, "drained"),
    ]
    assert all(type(each["packets"]) is type(each["bytes"]) is int for each in web["backends"])
    assert web["backends"][0].keys() == {"address", "weight", "state", "held", "packets", "bytes"}
    assert web["packets"] == sum(each["packets"] for each in web["backends"]) > 0

    idle = rates["ansible_facts"]["l4lb"]["eth0"]["services"][1]
    for each in (idle, *idle["backends"]):
        assert each["packets_per_second"] == each["bits_per_second"] == 0.0


def test_rates(lab: Lab, lb1: Host) -> None:
    apply(lb1, wanted(service(1, protocol="udp")))
    code = """
import time
balancer = Balancer("eth0")
_, before = balancer.statistics()
print(json.dumps({"result": None}), flush=True)
sys.stdin.readline()
live, now = balancer.statistics()
result = facts(live.config, live.mode, now, before, 0.5)
"""
    python(lb1, code)
    with lab.host("client").socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(50):
            sender.sendto(bytes(100), (VIP, 80))
    worker = WORKERS[lb1.directory]
    assert worker.stdin and worker.stdout
    print(file=worker.stdin, flush=True)
    (found,) = json.loads(worker.stdout.readline())["result"]["services"]
    # Ethernet, two IP headers, UDP, and what is in it.
    size = 14 + 20 + 20 + 8 + 100
    for each in (found, *found["backends"]):
        assert each["packets_per_second"] == 100
        assert each["bits_per_second"] == 100 * size * 8
