# SPDX-License-Identifier: GPL-3.0-or-later
"""decap.c, and many builds of l4lb.c: compiled under one kernel, verified by another.

    python -m tests.vm.programs compile FILE    compile them, and write them to FILE
    python -m tests.vm.programs verify FILE     have the running kernel verify what FILE holds

Both need root. An emulated machine needs half a minute to compile what it verifies in a second.
"""

from __future__ import annotations

import pickle
import random
import sys
import time
from pathlib import Path

from tests.packet.verifier import Build, RefusedError

CHOICES = (["IPV4", "IPV6"], ["MAGLEV", "JHASH"], ["IPIP", "GUE", "GRE", "L2"])
"""Features of which every program has some."""
OPTIONS = ["ANY_PORT", "BY_SOURCE", "FLOW_TABLE", "SPREAD"]
VALUES = [
    "-DTICKS_PER_SECOND=250",
    "-DBACKENDS=4096",
    "-DLOOKUP_TABLES=64",
    "-DFLOW_BLOCKS=64",
    "-DCPUS=128",
]
RANDOM_BUILDS = 15
SEED = 20


def builds() -> list[list[str]]:
    """Features of programs: each alone, all of them, and random ones."""
    rng = random.Random(SEED)
    families, schedulers, encapsulations = CHOICES
    found = [
        [family, scheduler, encapsulation]
        for family in families
        for scheduler in schedulers
        for encapsulation in encapsulations
    ]
    found.append([*families, *schedulers, *encapsulations, *OPTIONS])
    for _build in range(RANDOM_BUILDS):
        chosen = [rng.sample(choice, rng.randint(1, len(choice))) for choice in CHOICES]
        chosen.append(rng.sample(OPTIONS, rng.randint(0, len(OPTIONS))))
        found.append([feature for features in chosen for feature in features])
    return found


def compile_all(path: Path) -> None:
    """Write all builds to a file."""
    compiled = {"decap": Build.compile("decap", [])}
    for features in builds():
        flags = VALUES + [f"-DWITH_{feature}" for feature in features]
        compiled[" ".join(features)] = Build.compile("l4lb", flags)
    path.write_bytes(pickle.dumps(compiled))


def verify_all(path: Path) -> int:
    """How many programs the running kernel refuses; tells of each."""
    refused = most = 0
    compiled: dict[str, Build] = pickle.loads(path.read_bytes())  # noqa: S301 our own
    for features, build in compiled.items():
        start = time.monotonic()
        try:
            statistics = build.verify()
        except RefusedError as e:
            refused += 1
            print(f"REFUSED {features}\n{e}", flush=True)
            continue
        most = max(most, statistics["instructions"])
        shown = ", ".join(f"{count} {name}" for name, count in statistics.items())
        print(f"{features}: {shown} ({time.monotonic() - start:.1f} s)", flush=True)
    print(f"{len(compiled)} programs, {refused} refused; at most {most} instructions verified")
    return refused


if __name__ == "__main__":
    action, file = sys.argv[1:]
    if action == "compile":
        compile_all(Path(file))
    else:
        sys.exit(verify_all(Path(file)) > 0)
