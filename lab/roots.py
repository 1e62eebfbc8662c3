# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Userlands for hosts: trees made of a distribution's packages, each once, in build/roots."""

from __future__ import annotations

import fcntl
import re
import shutil
import sys
import tempfile
from pathlib import Path

from lab.command import call
from lab.topology import ROOTS, LabError

DIRECTORY = Path(__file__).resolve().parents[1] / "build/roots"

# What a balancer needs and a server runs, and what a test looks with.
PACKAGES = """
python3-bpfcc python3-pyroute2 linux-headers-{architecture}
iproute2 ethtool procps nginx-light curl iputils-ping frr
"""
# A host on which nobody has installed anything yet: what Ansible and the laboratory ask for.
BARE = "python3 iproute2 ethtool procps"
# Nobody reads in a host.
LEFT_OUT = ["/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*"]
# Which need not be how others would.
FORWARDED = re.compile(r"^Acquire::(?:https?::|Check-).*$", re.MULTILINE)


def tree(name: str) -> Path:
    """Where the files of a userland are, or will be."""
    return DIRECTORY / name


def make(name: str) -> bool:
    """Make a userland, which takes minutes; False if it is there already. Takes root."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with (DIRECTORY / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        contents = DIRECTORY / f"{name}.contents"  # written last: it says that the tree is complete
        wanted = f"{ROOTS[name]}\n{' '.join(_packages(name))}\n"
        if contents.exists() and contents.read_text() == wanted:
            return False
        if not shutil.which("mmdebstrap"):
            raise LabError("missing: mmdebstrap; apt-get install mmdebstrap")
        contents.unlink(missing_ok=True)
        # What an interrupted run may have left.
        call(["rm", "-rf", "--one-file-system", str(tree(name))])
        print(f"roots: making {tree(name)}, which takes minutes", file=sys.stderr, flush=True)
        bootstrap(ROOTS[name], tree(name), _packages(name), LEFT_OUT)
        contents.write_text(wanted)
    return True


def _packages(name: str) -> list[str]:
    if name.endswith("-bare"):
        return BARE.split()
    return PACKAGES.format(architecture=architecture()).split()


def architecture() -> str:
    """Of this machine's packages."""
    return call(["dpkg", "--print-architecture"]).stdout.strip()


def settings() -> list[str]:
    """How this machine's apt reaches its archive, as lines of its settings."""
    return FORWARDED.findall(call(["apt-config", "dump"]).stdout)


def bootstrap(suite: str, tree: Path, packages: list[str], left_out: list[str], *more: str) -> None:
    """Make a tree of packages, without the files that are left out; more options of mmdebstrap."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("\n".join(settings()))
        file.flush()
        options = [
            *("--quiet", "--mode=root", "--variant=minbase", "--format=directory"),
            *(f"--include={','.join(packages)}", f"--aptopt={file.name}"),
            *(f"--dpkgopt=path-exclude={paths}" for paths in left_out),
            *more,
        ]
        # What it mounts meanwhile goes with it, however it ends.
        command = ["unshare", "--mount", "mmdebstrap", *options]
        call([*command, suite, str(tree), archive()])


def archive() -> str:
    """Where this machine gets its packages from."""
    fields = ["Created-By: Packages", "Origin: Debian", "Label: Debian"]
    found = call(["apt-get", "indextargets", "--format", "$(REPO_URI)", *fields]).stdout.split()
    if not found:
        raise LabError("apt knows no archive of Debian here; is its list of packages current?")
    return found[0]
