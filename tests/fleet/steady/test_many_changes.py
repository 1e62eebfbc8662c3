# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many changes, and many runs at once: traffic notices nothing that it need not."""

from __future__ import annotations

import json
import random
import subprocess
from typing import Any

from lab import Lab
from lab.host import ENVIRONMENT, Host
from tests.fleet.rig.balancers import apply, counters, leftovers, packets, program
from tests.fleet.rig.clients import SEED, THOROUGH, assert_all_counted, traffic
from tests.fleet.rig.hosts import python
from tests.fleet.rig.play import run
from tests.fleet.rig.services import WEB, background, echoes, wanted
from tests.fleet.there import many

KEPT, COMING = ("web1", "web2"), ("web3", "web4")


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


def test_hundreds_of_changes(lab: Lab, lb1: Host) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    present = set(COMING)
    changes = []
    for _turn in range(1000 if THOROUGH else 250):
        services, taken, present = random_change(chance, present)
        changes.append((wanted(*services), taken))
    apply(lb1, wanted(*echoes(*WEB), background(chance, 1)))
    loaded, before = program(lb1), counters(lb1)
    with traffic(lab) as running:
        done = python(lb1, many.timed, configs=[config for config, _taken in changes])
        for (start, end, outcome), (_config, taken) in zip(done, changes):
            assert "error" not in outcome, outcome
            running.taken.append((start, end, taken))
    seconds = [end - start for start, end, _outcome in done]
    print(f"{sum(seconds):.1f} s, {max(seconds):.3f} s at most for one")
    assert program(lb1) == loaded, "no change of backends brings another program"
    assert_all_counted(lb1, running.stream, before)
    assert leftovers(lb1, "eth0") == []


# Replacements of the program.


def test_replacements_of_the_program(lab: Lab, lb1: Host) -> None:
    """Other features, other encapsulations, other sources; now and then more room."""
    apply(lb1, wanted(*echoes(*WEB)))
    before = counters(lb1)
    others = [
        {"address": f"10.9.{n >> 8}.{n & 255}", "mac": "02:00:00:00:00:09"} for n in range(1100)
    ]
    crowd = {**background(random.Random(3), 1), "scheduler": "maglev", "backends": others}
    variants = [
        [*echoes(*WEB), {**background(random.Random(1), 3), "affinity": "source"}],
        echoes(*WEB, encapsulation="gue"),
        [*echoes(*WEB), {**background(random.Random(2), 3), "port": 0, "encapsulation": "gre"}],
        echoes(*WEB),
    ]
    loaded = set()
    with traffic(lab) as running:
        for part in range(5):
            configs = [wanted(*variants[number % 4]) for number in range(10 if THOROUGH else 4)]
            if part == 2:
                configs[3] = wanted(*echoes(*WEB), crowd)
            for outcome in python(lb1, many.replacing, configs=configs):
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
    ran = run(lab, str(book), ANSIBLE_KEEP_REMOTE_FILES="1")
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
