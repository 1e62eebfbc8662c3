# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print as JSON what a host has of FRR, and what is to be told to it.

Arguments: the lines that its configuration is to have, each with the sections that it is in, as
JSON; then "apply", to tell FRR. Of what FRR has, ours are the route-map l4lb, and what has the
kernel's table 214 redistributed.
The role gives this to /usr/bin/python3, whichever that is: it must run on any Python 3.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

VTYSH = "/usr/bin/vtysh"
BGPD = ("/usr/lib/frr/bgpd", "/usr/libexec/frr/bgpd")
SAVED = ("/etc/frr/frr.conf", "/etc/frr/bgpd.conf")
OURS = re.compile(r"route-map l4lb (permit|deny) \d+$|redistribute table-direct 214( |$)")
SYSTEM = re.compile(r"^router bgp (\d+)$", re.MULTILINE)
WANTED = {tuple(line) for line in json.loads(sys.argv[1])}


def run(*command):
    """Its exit code, and what it prints."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout.strip()


def version():
    """Of FRR; empty if there is none."""
    for path in BGPD:
        if os.access(path, os.X_OK) and os.access(VTYSH, os.X_OK):
            found = re.search(r"version (\d[\d.]*)", run(path, "--version")[1])
            return found.group(1) if found else ""
    return ""


def ours(text):
    """Our lines of a configuration, each after the sections that it is in."""
    found, sections = set(), []
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        word = line.strip()
        if not word or word.startswith(("!", "exit", "end")):
            continue
        sections = sections[:depth] + [word]
        if any(OURS.match(one) for one in sections):
            found.add(tuple(sections))
    return found


def commands(present):
    """What makes of the lines that are there those that there shall be. A line that takes the place
    of another does so by itself."""
    added, removed = WANTED - present, present - WANTED
    replaced = {_subject(line) for line in added}
    found = []
    for *sections, line in sorted(removed, reverse=True):
        gone = any(tuple(sections[: n + 1]) in removed for n in range(len(sections)))
        if not gone and _subject((*sections, line)) not in replaced:
            found.append([*sections, "no " + line])
    return found + [list(line) for line in sorted(added)]


def _subject(line):
    *sections, last = line
    return (*sections, *last.split()[:2]) if sections else line


def objection(orders):
    """What FRR has against them; empty: nothing. It tries the syntax alone."""
    lines = [line for order in orders for line in [*order, "exit"]]
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("".join(line + "\n" for line in lines))
        file.flush()
        code, said = run(VTYSH, "-C", "-f", file.name)
    return (said or "it fails without a word") if code else ""


def tell(orders):
    """Tell a running FRR. Returns what it has against it; empty: nothing."""
    for order in orders:
        words = [word for line in ["configure terminal", *order] for word in ("-c", line)]
        code, said = run(VTYSH, *words)
        if code or said.startswith("%"):
            return "{}: {}".format("; ".join(order), said)
    return ""


there = version()
code, running = run(VTYSH, "-d", "bgpd", "-c", "show running-config") if there else (1, "")
orders = commands(ours(running)) if code == 0 else []
if sys.argv[2:] == ["apply"]:
    sys.exit(tell(orders) or None)
saved = "\n".join(Path(name).read_text() for name in SAVED if Path(name).exists()) if there else ""
print(
    json.dumps(
        {
            "user": os.geteuid(),
            "version": there,
            "runs": code == 0,
            "systems": [int(number) for number in SYSTEM.findall(running)],
            "commands": ["; ".join(order) for order in orders],
            "problem": objection(orders) if orders else "",
            "saved": ours(saved) == WANTED,
            "bird": Path("/etc/bird/l4lb.conf").exists(),
        }
    )
)
