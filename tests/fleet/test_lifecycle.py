# Copyright (c) 2026 the xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What traffic notices of changes, failures and accidents: nothing that it need not.

TCP connections stay open and are compared byte for byte; UDP datagrams carry numbers. All that
reaches the balancers does so on one CPU, as a flow does on a NIC.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab
from lab.host import ENVIRONMENT, Host
from lab.traffic import Connections, Stream
from tests.fleet.test_module import (
    FOREIGN,
    INVENTORY,
    WEB,
    WORKERS,
    ansible,
    apply,
    cleaned,
    counters,
    packets,
    program,
    python,
    stats,
    traces,
    wanted,
)

CHECKOUT = Path(__file__).resolve().parents[2]
VIP, OTHER_VIP = "192.0.2.10", "192.0.2.129"
ECHO = 7
SEED = int(os.environ.get("L4LB_SEED", random.SystemRandom().randrange(1 << 32)))
KEPT, COMING = ("web1", "web2"), ("web3", "web4")
FLOWS = 32
PATIENCE = 0.5  # seconds within which a packet that was sent has been balanced


def topology() -> dict[str, Any]:
    """That of two-ways.yml, with VIPs from 192.0.2.128 on behind lb1's second interface."""
    plan: dict[str, Any] = yaml.safe_load((CHECKOUT / "lab/two-ways.yml").read_text())
    hosts = plan["hosts"]
    hosts["router"]["routes"] += ["192.0.2.128/25 via 203.0.113.2"]
    hosts["bypass"]["routes"] = ["192.0.2.128/25 via 198.51.100.130"]
    for name in WEB:
        hosts[name] = {**hosts[name], "loopback": [*hosts[name]["loopback"], f"{OTHER_VIP}/32"]}
        echo = hosts[name]["services"]["echo"]
        service = {**echo, "command": [*echo["command"], OTHER_VIP]}
        hosts[name]["services"] = {**hosts[name]["services"], "echo": service}
    return plan


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(f"l{os.getpid()}")
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


# What is balanced.


def echo(
    protocol: str, *backends: str, vip: str = VIP, **options: dict[str, Any] | Any
) -> dict[str, Any]:
    """The echo service; a backend's options by its name."""
    listed = [{"address": WEB[name], **options.pop(name, {})} for name in backends]
    return {
        "name": protocol,
        "address": vip,
        "port": ECHO,
        "protocol": protocol,
        "backends": listed,
        **options,
    }


def echoes(*backends: str, **options: Any) -> list[dict[str, Any]]:
    """Over both protocols."""
    return [echo(protocol, *backends, **options) for protocol in ("tcp", "udp")]


def background(chance: random.Random, count: int) -> dict[str, Any]:
    """A service without traffic, whose backends go on changing."""
    chosen = chance.sample(range(1, 255), count)
    backends = [
        {"address": f"10.9.0.{n}", "mac": "02:00:00:00:00:09", "weight": chance.randrange(256)}
        for n in chosen
    ]
    return {
        "name": "background",
        "address": VIP,
        "port": 9,
        "protocol": "tcp",
        "scheduler": "jhash",
        "backends": backends,
    }


# Traffic, and what became of it.


@dataclass
class Traffic:
    """Both kinds from the client, while changes are made one after the other."""

    connections: Connections
    stream: Stream
    taken: list[tuple[float, float, set[str]]] = field(default_factory=list)
    """Servers that a change took away from their flows, and when it began and ended."""

    def was_taken(self, server: str, first: int, last: int) -> bool:
        """Whether a server was taken away between two numbers of the stream, or just then."""
        earliest, latest = self.stream.times[first], self.stream.times[last] + PATIENCE
        return any(
            server in servers and start <= latest and earliest <= end
            for start, end, servers in self.taken
        )

    def check(self) -> None:
        """Nothing is lost; nobody's server changed but that of a flow whose server was taken."""
        assert [self.stream.lost(flow) for flow in range(FLOWS)] == [[]] * FLOWS
        assert self.stream.duplicates() == 0
        for flow in range(FLOWS):
            answers = sorted(self.stream.answers[flow].items())
            for (number, (was,)), (next_number, (now,)) in zip(answers, answers[1:]):
                moved = f"flow {flow} went from {was} to {now} at {next_number}"
                assert was == now or self.was_taken(was, number, next_number), moved
        gone = set().union(*(servers for _, _, servers in self.taken))
        for number, error in self.connections.broken.items():
            assert self.connections.servers[number] in gone, (number, error)


@contextlib.contextmanager
def traffic(lab: Lab, vip: str = VIP, interval: float = 0.02) -> Iterator[Traffic]:
    """Until the end of the block, after which it is checked."""
    client = lab.host("client")
    with (
        Connections(client, (vip, ECHO), FLOWS) as connections,
        Stream(client, (vip, ECHO), FLOWS, interval) as stream,
    ):
        stream.await_answers()
        result = Traffic(connections, stream)
        yield result
        stream.await_answers()
        connections.await_rounds()
    print(f"{stream.numbers * FLOWS} datagrams, {connections.rounds * FLOWS} texts over TCP")
    result.check()


def assert_all_counted(
    host: Host, stream: Stream, before: dict[str, Any], tolerated: int = 0
) -> None:
    """What the client sent is what the balancer forwarded: no packet to the stream's service is
    missing, and none was dropped.

    tolerated: how many may have gone uncounted where the maps have grown, see catch_up().
    """
    after = counters(host)
    sent = {one["name"]: one["packets"] for one in after["services"]}
    was = {one["name"]: one["packets"] for one in before["services"]}
    missing = stream.numbers * FLOWS - (sent["udp"] - was.get("udp", 0))
    print(f"{missing} packets are not counted")
    assert 0 <= missing <= tolerated
    assert after["drops"] == before["drops"]


# What an apply leaves behind, whatever happened to it.

LEFT = """
live = Balancer(given["interface"]).live()
records, size = live.data_path.maps["backends"].lookup_all(), backend_record.BACKEND_RECORDS_SIZE
known = {n for numbers in live.manifest.numbers.values() for n in numbers.values()}
result = [
    f"backend {n}"
    for n in range(live.data_path.room.backends)
    if n not in known and any(records[n * size:(n + 1) * size])
]
"""


def leftovers(host: Host, *interfaces: str) -> list[str]:
    """What is there besides the live state of these interfaces."""
    found: list[str] = host.run(["find", "/run/l4lb"], check=False).stdout.split()
    pins = host.run(["ls", "/sys/fs/bpf/l4lb"]).stdout.split()
    found += [name for name in pins if name not in interfaces]
    for interface in interfaces:
        names = host.run(["ls", f"/sys/fs/bpf/l4lb/{interface}"]).stdout.split()
        found += [name for name in names if "%" in name]
        found += python(host, LEFT, interface=interface)
    return found


# Many changes.


def random_change(
    chance: random.Random, present: set[str]
) -> tuple[list[dict[str, Any]], set[str], set[str]]:
    """The next services, the servers that these take from flows, and those that are there then."""
    then = set(present)
    for name in COMING:
        if chance.random() < 0.3:
            then ^= {name}
    options: dict[str, Any] = {}
    for name in (*KEPT, *sorted(then)):
        state = chance.choices(["enabled", "drained"], [3, 1])[0]
        # few enough combinations for the library to remember their lookup tables
        options[name] = {"state": state, "weight": chance.choice([0, 1, 5])}
    options["web1"] = {"weight": 1}  # somebody must take new flows
    services = echoes(*KEPT, *sorted(then), **options)
    services.append(background(chance, chance.randrange(20)))
    return services, present - then, then


APPLY_ALL = """
import time
balancer = Balancer("eth0", sources())
result = []
for options in given["configs"]:
    start = time.monotonic()
    outcome = attempt(balancer.apply, config_of(options))
    result.append((start, time.monotonic(), outcome))
"""


def test_a_thousand_changes(lab: Lab, lb1: Host) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    present = set(COMING)
    changes = []
    for _ in range(1000):
        services, taken, present = random_change(chance, present)
        changes.append((wanted(*services), taken))
    apply(lb1, wanted(*echoes(*WEB), background(chance, 1)))
    loaded, before = program(lb1), counters(lb1)
    with traffic(lab) as running:
        done = python(lb1, APPLY_ALL, configs=[config for config, _ in changes])
        for (start, end, outcome), (_, taken) in zip(done, changes):
            assert "error" not in outcome, outcome
            running.taken.append((start, end, taken))
    seconds = [end - start for start, end, _ in done]
    print(f"{sum(seconds):.1f} s, {max(seconds):.3f} s at most for one")
    assert program(lb1) == loaded, "no change of backends brings another program"
    assert_all_counted(lb1, running.stream, before)
    assert leftovers(lb1, "eth0") == []


# Replacements of the program.


def test_fifty_replacements_of_the_program(lab: Lab, lb1: Host) -> None:
    """Other features, other encapsulations, other sources; now and then more room."""
    apply(lb1, wanted(*echoes(*WEB)))
    before = counters(lb1)
    many = [
        {"address": f"10.9.{n >> 8}.{n & 255}", "mac": "02:00:00:00:00:09"} for n in range(1100)
    ]
    crowd = {**background(random.Random(3), 1), "scheduler": "maglev", "backends": many}
    variants = [
        [*echoes(*WEB), {**background(random.Random(1), 3), "affinity": "source"}],
        echoes(*WEB, encapsulation="gue"),
        [*echoes(*WEB), {**background(random.Random(2), 3), "port": 0, "encapsulation": "gre"}],
        echoes(*WEB),
    ]
    code = """
result = []
for number, options in enumerate(given["configs"]):
    files = sources()
    files["l4lb.c"] += f"// {number // 4}\\n"
    result.append(attempt(Balancer("eth0", files).apply, config_of(options)))
"""
    loaded = set()
    with traffic(lab) as running:
        for part in range(5):
            configs = [wanted(*variants[number % 4]) for number in range(10)]
            if part == 2:
                configs[5] = wanted(*echoes(*WEB), crowd)
            for outcome in python(lb1, code, configs=configs):
                assert "error" not in outcome, outcome
                assert outcome["steps"][0].startswith("compile and load the program")
            loaded.add(program(lb1))
    assert len(loaded) == 5
    assert running.connections.broken == {}
    assert counters(lb1)["flow_table"]["hits"] > 0
    assert_all_counted(lb1, running.stream, before, tolerated=4)
    assert leftovers(lb1, "eth0") == []


# Many at once.


def payload(lab: Lab, host: Host, **options: Any) -> str:
    """The file that Ansible runs on a host to apply these options, kept there."""
    play = {
        "hosts": host.name,
        "gather_facts": False,
        "tasks": [{"xdp.l4lb.l4lb": {"interface": "eth0", **options}}],
    }
    book = host.directory / "play.json"
    book.write_text(json.dumps([play]))
    before = set(
        host.run(["find", "/root/.ansible/tmp", "-name", "*.py"], check=False).stdout.split()
    )
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(INVENTORY)]
    environment = {**os.environ, "L4LB_LAB": lab.name, "ANSIBLE_KEEP_REMOTE_FILES": "1"}
    ran = subprocess.run(
        [*command, str(book)], cwd=CHECKOUT, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = host.run(["find", "/root/.ansible/tmp", "-name", "*.py"]).stdout.split()
    (name,) = set(found) - before
    return name


def test_twenty_runs_at_once(lab: Lab, lb1: Host) -> None:
    """They wait for each other and say so; the state is that of one of them."""
    services = [echoes("web1", "web2"), echoes("web3", "web4")]
    payloads = [payload(lab, lb1, services=each) for each in services]
    running = [
        subprocess.Popen(
            lb1.inside("/usr/bin/python3", payloads[number % 2]),
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(20)
    ]
    results = []
    for process in running:
        output, errors = process.communicate()
        assert process.returncode == 0, output + errors
        results.append(json.loads(output))
    waited = [result["waited"] for result in results]
    print(f"waited {min(waited)} to {max(waited)} s")
    assert max(waited) > 0
    last = {each.split()[1] for each in packets(lb1)}
    assert last in ({WEB["web1"], WEB["web2"]}, {WEB["web3"], WEB["web4"]})
    assert leftovers(lb1, "eth0") == []


# Accidents.


def plan(host: Host, config: dict[str, Any] | None, interface: str = "eth0") -> Any:
    code = "result = attempt(Balancer(given['i'], sources()).plan, config_of(given['w']))"
    return python(host, code, w=config, i=interface)


def test_the_interface_goes_down_and_up(lab: Lab, lb1: Host) -> None:
    """The kernel forgets routes and neighbours; what is left of the balancer goes on."""
    config = wanted(*echoes(*WEB))
    apply(lb1, config)
    loaded = program(lb1)
    client = lab.host("client")
    with Stream(client, (VIP, ECHO)) as stream:
        stream.await_answers()
        lb1.run(["ip", "link", "set", "eth0", "down"])
        lb1.run(["ip", "link", "set", "eth0", "up"])
        lb1.ip(["route replace default via 203.0.113.1"])
        stream.await_answers()
        assert program(lb1) == loaded
        apply(lb1, config)
        assert apply(lb1, config)["steps"] == []
        stream.await_answers()
    hops = lb1.run(["ip", "neigh", "show", "nud", "all", "proto", "214"]).stdout
    assert {line.split()[0] for line in hops.splitlines()} == set(WEB.values())
    assert [len(stream.servers(flow)) for flow in range(16)] == [1] * 16


@contextlib.contextmanager
def renamed(host: Host, *names: str) -> Iterator[None]:
    """An interface that has other names, one after the other."""
    for old, new in zip(names, names[1:]):
        host.ip([f"link set {old} down", f"link set {old} name {new}", f"link set {new} up"])
    try:
        yield
    finally:
        host.ip([f"link set {names[-1]} down", f"link set {names[-1]} name {names[0]}"])
        host.ip([f"link set {names[0]} up"])
        for address in host.plan.interfaces[names[0]].addresses:
            host.run(["ip", "address", "replace", str(address), "dev", names[0]])
        for route in host.plan.routes:
            host.run(["ip", *(["-6"] if "::" in route else []), "route", "replace", *route.split()])


def test_a_renamed_interface(lb1: Host) -> None:
    """Its balancer goes on under the new name."""
    apply(lb1, wanted(*echoes(*WEB)))
    loaded = program(lb1)
    before = sum(packets(lb1).values())
    with renamed(lb1, "eth0", "wan0"):
        gone = apply(lb1, wanted(*echoes(*WEB)))
        assert (
            gone["message"] == "interface: 'eth0': no such interface; its balancer is on wan0 now"
        )
        moved = apply(lb1, {**wanted(*echoes(*WEB)), "interface": "wan0"})
        assert moved["steps"][0] == "interface: eth0 -> wan0"
        assert "compile" not in str(moved["steps"])
        assert "state: absent for eth0" in str(moved["warnings"])
        assert apply(lb1, {**wanted(*echoes(*WEB)), "interface": "wan0"})["steps"] == []
        assert program(lb1, "wan0") == loaded
        assert sum(packets(lb1, "wan0").values()) >= before
        # What is left under the old name is not the balancer.
        assert "detach" not in str(apply(lb1, None)["steps"])
        assert program(lb1, "wan0") == loaded
        assert leftovers(lb1, "wan0") == []
        python(lb1, "Balancer('wan0').apply(None)")
        assert traces(lb1) == []


def test_a_renamed_interface_is_freed(lb1: Host) -> None:
    """`absent` finds it under its new name."""
    apply(lb1, wanted(*echoes(*WEB)))
    with renamed(lb1, "eth0", "wan0"):
        assert apply(lb1, None)["steps"][0] == "detach the program from wan0"
        assert traces(lb1) == []


def test_another_interface_takes_the_name(lb1: Host) -> None:
    """It gets a balancer of its own; that of the renamed one is another."""
    apply(lb1, wanted(*echoes(*WEB)))
    loaded = program(lb1)
    with renamed(lb1, "eth0", "wan0"):
        lb1.run(["sh", "-ec", "ip link add eth0 type veth peer name end; ip link set eth0 up"])
        lb1.run(["ip", "address", "add", "10.78.0.1/24", "dev", "eth0"])
        assert "error" not in apply(lb1, wanted(*echoes("web1")))
        assert loaded == program(lb1, "wan0") != program(lb1)
        assert "error" not in apply(lb1, {**wanted(*echoes(*WEB)), "interface": "wan0"})
        assert {each.split()[1] for each in packets(lb1, "wan0")} == set(WEB.values())
        assert {each.split()[1] for each in packets(lb1)} == {WEB["web1"]}
        assert apply(lb1, wanted(*echoes("web1")))["steps"] == []
        python(lb1, "for name in ('eth0', 'wan0'): Balancer(name).apply(None)")
        lb1.run(["ip", "link", "delete", "eth0"])
        assert traces(lb1) == []


def test_full_file_systems(lb1: Host) -> None:
    """Where locks are, and where clang's words go; nothing has changed when it is noticed."""
    apply(lb1, wanted(*echoes("web1")))
    loaded = program(lb1)
    lb1.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "none", "/run"])
    locked = apply(lb1, wanted(*echoes("web2")))
    lb1.run(["umount", "/run"])
    assert locked["error"] == "HostError"
    assert locked["message"] == "make /run/l4lb/eth0.lock: No space left on device"

    code = """
import tempfile
tempfile.tempdir = "/proc/none"
result = attempt(Balancer("eth0", sources()).apply, config_of(given["w"]))
"""
    compiled = python(lb1, code, w=wanted(*echoes("web1", encapsulation="gue")))
    assert compiled["message"] == "make a temporary file: No such file or directory"
    assert program(lb1) == loaded
    assert apply(lb1, wanted(*echoes("web1")))["steps"] == []


def test_bpffs_is_unmounted_and_comes_back(lab: Lab, lb1: Host) -> None:
    """With the pins goes what is known of the maps; the program goes on until it is replaced."""
    config = wanted(*echoes(*WEB))
    apply(lb1, config)
    with traffic(lab):
        lb1.run(["umount", "/sys/fs/bpf"])
        assert apply(lb1, config)["steps"][0].endswith("the one in place cannot be read")
    assert apply(lb1, config)["steps"] == []
    # What is missing does not prevent removal.
    lb1.run(["umount", "/sys/fs/bpf"])
    apply(lb1, None)
    lb1.run(["sh", "-c", "mountpoint -q /sys/fs/bpf || mount -t bpf -o mode=700 bpf /sys/fs/bpf"])
    assert traces(lb1) == []


HALF_GONE = {
    "the program": "ip link set eth0 xdp off",
    "program and pins": "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb",
    "all but what the kernel keeps resolved": (
        "ip link set eth0 xdp off; rm -r /sys/fs/bpf/l4lb /etc/l4lb"
    ),
    "all pins": "rm -r /sys/fs/bpf/l4lb",
    "the pin of the program": "rm /sys/fs/bpf/l4lb/eth0/program",
    "neighbours": "ip neigh flush proto 214 || :; ip link set eth0 xdp off",
    "what is saved": "rm -r /etc/l4lb",
}


@pytest.mark.parametrize("command", HALF_GONE.values(), ids=HALF_GONE)
def test_removal_of_what_is_half_gone(lb1: Host, command: str) -> None:
    apply(lb1, wanted(*echoes(*WEB)))
    lb1.run(["sh", "-ec", command])
    predicted = plan(lb1, None)
    assert apply(lb1, None)["steps"] == predicted["steps"] != []
    assert traces(lb1) == []
    assert apply(lb1, None)["steps"] == []


# The flow table and its secret.

KEY_OF_THE_FLOWS = """
secret = Pins.of("eth0", Paths()).map("flow_key")
result = [secret.id, secret.lookup(0).hex()]
"""


def test_flows_of_a_drained_backend_outlive_the_program(lab: Lab, lb1: Host) -> None:
    """Nothing but the flow table knows where they belong, and it is found by its secret only."""
    apply(lb1, wanted(*echoes(*WEB)))
    secret = python(lb1, KEY_OF_THE_FLOWS)
    with traffic(lab) as running:
        drained: dict[str, Any] = {"web2": {"state": "drained"}, "web3": {"weight": 0}}
        apply(lb1, wanted(*echoes(*WEB, **drained)))
        programs = {program(lb1)}
        for options in ({"encapsulation": "gue"}, {"scheduler": "jhash"}, {}):
            apply(lb1, wanted(*echoes(*WEB, **drained, **options)))
            programs.add(program(lb1))
            assert python(lb1, KEY_OF_THE_FLOWS) == secret
    assert len(programs) == 4
    servers = [running.stream.servers(flow) for flow in range(FLOWS)]
    assert {"web2", "web3"} <= {server for each in servers for server in each}
    assert set(map(len, servers)) == {1}


def test_another_flow_table_has_another_secret(lb1: Host) -> None:
    config = wanted(*echoes(*WEB))
    apply(lb1, config)
    first = python(lb1, KEY_OF_THE_FLOWS)
    assert (
        "flows remembered so far are forgotten"
        in apply(lb1, {**config, "flow_table_size": 1 << 18})["steps"]
    )
    second = python(lb1, KEY_OF_THE_FLOWS)
    assert first[0] != second[0]
    assert len({first[1], second[1], "00" * 8}) == 3


# Programs of others, and of other times.

OLDER = """
files = sources(**{"l4lb.c": given["text"]})
text = build.program_text(files)
loaded = compiler.load(text, [], "l4lb")
xdp.attach(link.read_link("eth0"), loaded.fd, "native", None)
pins = Pins.of("eth0", Paths())
pins.create()
for name, map_ in loaded.maps().items():
    pins.set(name, map_)
pins.set("program", loaded)
"""
OTHER_MAPS = "BPF_ARRAY(vips, u64, 4);\nint l4lb(struct xdp_md *ctx) { int zero = 0; \
return vips.lookup(&zero) ? XDP_PASS : XDP_DROP; }\n"


@pytest.mark.parametrize("wanted_state", ["present", "absent"])
def test_an_older_release_had_other_maps(lb1: Host, wanted_state: str) -> None:
    """By its pin it is ours all the same."""
    python(lb1, OLDER, text=OTHER_MAPS)
    old = program(lb1)
    code = "result = attempt(Balancer('eth0').statistics)"
    assert "of another version of the collection" in python(lb1, code)["message"]
    if wanted_state == "absent":
        apply(lb1, None)
        assert traces(lb1) == []
        return
    broken = python(lb1, BROKEN, w=wanted(*echoes(*WEB)))
    assert broken["error"] == "CompileError"
    assert program(lb1) == old
    outcome = apply(lb1, wanted(*echoes(*WEB)))
    assert outcome["mode"] == "native"
    assert program(lb1) != old
    assert leftovers(lb1, "eth0") == []
    assert apply(lb1, wanted(*echoes(*WEB)))["steps"] == []


BROKEN = """
files = sources(**{"send/encap.h": "nonsense"})
result = attempt(Balancer("eth0", files).apply, config_of(given["w"]))
"""
AS_BEFORE = """
layout.VERSION -= given["versions"]
original = Manifest.dump
def dump(self):
    state = json.loads(original(self))
    for name in given["without"]:
        del state[name]
    return json.dumps(state).encode()
Manifest.dump = dump
result = attempt(Balancer("eth0", sources()).apply, config_of(given["w"]))
"""


@pytest.mark.parametrize(
    ("versions", "without"),
    [(1, []), (1, ["second", "build"]), (0, ["past"])],
    ids=["of the maps", "of maps and manifest", "of the manifest"],
)
def test_upgrade_from_another_layout(
    lab: Lab, lb1: Host, versions: int, without: list[str]
) -> None:
    """The program is replaced at once; flows go on where the lookup table sends them, too."""
    config = wanted(*echoes(*WEB))
    assert "error" not in python(lb1, AS_BEFORE, versions=versions, without=without, w=config)
    old = program(lb1)
    predicted = plan(lb1, config)["steps"]
    with traffic(lab):
        outcome = apply(lb1, config)
        assert outcome["steps"] == predicted
        assert predicted[0].endswith("the one in place cannot be read")
        assert predicted[1] == "flows remembered so far are forgotten"
    assert program(lb1) != old
    assert apply(lb1, config)["steps"] == []
    assert leftovers(lb1, "eth0") == []


@pytest.mark.parametrize("mode", ["auto", "native", "generic"])
def test_a_failing_take_over_leaves_the_foreign_program(lb1: Host, mode: str) -> None:
    python(lb1, FOREIGN, mode="native")
    stranger = program(lb1)
    code = """
attach, calls = xdp.attach, []
def fail_first(*arguments):
    calls.append(arguments)
    if len(calls) == 1:
        raise errors.KernelError("the driver refuses")
    return attach(*arguments)
xdp.attach = fail_first
result = attempt(Balancer("eth0", sources()).apply, config_of(given["w"]), True)
"""
    outcome = python(lb1, code, w=wanted(*echoes(*WEB), mode=mode))
    assert outcome["message"] == "the driver refuses"
    assert program(lb1) == stranger
    lb1.run(["ip", "link", "set", "eth0", "xdp", "off"])
    assert traces(lb1) == []


LINKED = """
import ctypes, time
text = "int stranger(struct xdp_md *ctx) { return XDP_PASS; }"
loaded = compiler.load(text, [], "stranger")
libbpf = ctypes.CDLL("libbpf.so.1")
fd = libbpf.bpf_link_create(loaded.fd, link.read_link("eth0").index, 37, None)
assert fd >= 0, fd
result = attempt(Balancer("eth0", sources()).apply, config_of(given["w"]), True)
result["still"] = link.read_link("eth0").attached.program_id == loaded.id
"""


def test_a_program_that_a_bpf_link_holds(lb1: Host) -> None:
    """The kernel lets nobody replace it."""
    outcome = python(lb1, LINKED, w=wanted(*echoes(*WEB)))
    assert outcome["error"] == "KernelError"
    assert "stop the program that holds it" in outcome["message"]
    assert outcome["still"]
    deadline = time.monotonic() + 5
    while program(lb1) and time.monotonic() < deadline:  # the link goes soon after its process
        time.sleep(0.05)
    assert traces(lb1) == []


# Two balancers on one host.


def second(*backends: str, **options: Any) -> dict[str, Any]:
    return {**wanted(*echoes(*backends, vip=OTHER_VIP, **options)), "interface": "eth1"}


def test_another_balancer_of_the_host_is_left_alone(lab: Lab, lb1: Host) -> None:
    """Whatever becomes of the first one, the second one's packets do not notice."""
    apply(lb1, second(*WEB))
    loaded = program(lb1, "eth1")
    before = counters(lb1, "eth1")
    with traffic(lab, OTHER_VIP) as running:
        for config in (
            wanted(*echoes(*WEB)),
            wanted(*echoes("web1", encapsulation="gue")),
            None,
            wanted(*echoes("web2")),
            wanted(*echoes("web2"), mode="generic"),
            None,
        ):
            assert "error" not in apply(lb1, config)
    assert running.connections.broken == {}
    assert program(lb1, "eth1") == loaded
    assert apply(lb1, second(*WEB))["steps"] == []
    assert counters(lb1, "eth1")["drops"] == before["drops"]
    assert leftovers(lb1, "eth1") == []


def test_a_balancer_that_cannot_be_read_keeps_its_neighbours(lb1: Host) -> None:
    apply(lb1, wanted(*echoes("web1", "web2")), second("web2", "web3"))
    damage = """
live = Balancer("eth1").live()
live.data_path.manifest_map.update(0, bytes(live.data_path.manifest_map.shape.value_size))
"""
    python(lb1, damage)
    for config in (wanted(*echoes("web4")), None):
        apply(lb1, config)
        hops = lb1.run(["ip", "neigh", "show", "proto", "214"]).stdout
        assert {WEB["web2"], WEB["web3"]} <= {line.split()[0] for line in hops.splitlines()}
    assert lb1.run(["cat", "/proc/sys/net/ipv4/conf/lo/forwarding"]).stdout == "1\n"


def test_counters_while_an_interface_has_gone(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    """Those of the others are there, and a warning says what happened."""
    apply(lb1, wanted(*echoes("web1")), second("web2"))
    with renamed(lb1, "eth1", "gone1"):
        everything, one, sampled, service = ansible(
            lab,
            tmp_path,
            stats(),
            stats(interface="eth1"),
            stats(interval=0.1),
            stats(service="nope"),
        )
    for each in (everything, sampled):
        assert each["ansible_facts"]["l4lb"].keys() == {"eth0"}
        (warning,) = each["warnings"]
        assert "'eth1': no such interface; its balancer is on gone1 now" in warning
    assert one["failed"]
    assert service["msg"] == "service: 'nope': eth0 has no such service, but tcp, udp"


def test_counters_of_a_service_that_one_interface_has(lab: Lab, lb1: Host, tmp_path: Path) -> None:
    other = echo("udp", "web2", vip=OTHER_VIP)
    apply(lb1, wanted(*echoes("web1")), {**wanted({**other, "name": "dns"}), "interface": "eth1"})
    found, missing = ansible(lab, tmp_path, stats(service="dns"), stats(service="nope"))
    assert found["ansible_facts"]["l4lb"].keys() == {"eth1"}
    assert missing["msg"] == (
        "service: 'nope': eth0 has no such service, but tcp, udp; eth1 has no such service, but dns"
    )
