# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""decap.c, and many builds of l4lb.c: compiled in one place, verified in another.

    python -m tests.vm.programs compile FILE    compile them, and write them to FILE
    python -m tests.vm.programs verify FILE     have the running kernel verify what FILE holds

Both need root. An emulated machine needs half a minute to compile what it verifies in a second;
and each compiler has its own idea of what the verifier takes.
"""

from __future__ import annotations

import itertools
import pickle
import random
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.kernel.sources import read_sources

from tests.packet.verifier import SOURCES, Build, RefusedError

FEATURES = {
    feature
    for text in read_sources(SOURCES).values()
    for feature in re.findall(r"\bWITH_(\w+)", text)
}
CHOICES = (["IPV4", "IPV6"], ["MAGLEV", "JHASH"], ["IPIP", "GUE", "GRE", "L2"])
"""Features of which every program has some."""
COMMON: tuple[list[str], ...] = ([], ["BY_SOURCE"], ["FLOW_TABLE"], ["BY_SOURCE", "FLOW_TABLE"])
"""What every choice is tried with."""
OPTIONS = sorted(FEATURES.difference(*CHOICES))
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
    """Features of programs: every choice, with what is common; all features; and random ones."""
    rng = random.Random(SEED)
    found = [[*chosen, *more] for chosen in itertools.product(*CHOICES) for more in COMMON]
    found.append(sorted(FEATURES))
    for _build in range(RANDOM_BUILDS):
        some = [rng.sample(choice, rng.randint(1, len(choice))) for choice in CHOICES]
        some.append(rng.sample(OPTIONS, rng.randint(0, len(OPTIONS))))
        found.append([feature for features in some for feature in features])
    return found


def compile_one(features: list[str]) -> Build:
    """The program with these features; decap.c without any."""
    if not features:
        return Build.compile("decap", [])
    return Build.compile("l4lb", VALUES + [f"-DWITH_{feature}" for feature in features])


def compile_all(path: Path) -> None:
    """Write all builds to a file."""
    wanted = [[], *builds()]
    with ProcessPoolExecutor() as pool:
        compiled = list(pool.map(compile_one, wanted))
    names = [" ".join(features) or "decap" for features in wanted]
    path.write_bytes(pickle.dumps(dict(zip(names, compiled))))


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
