# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print as JSON what a host has of BIRD, and what that thinks of its configuration.

Arguments: the configuration, the line of it that is ours, and the file that this includes. Where
TRY is set, print what BIRD has against that in place of our line.
The role gives this to /usr/bin/python3, whichever that is: it must run on any Python 3.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIRD, BIRDC = "/usr/sbin/bird", "/usr/sbin/birdc"
CONFIGURATION, INCLUDE, FILE = sys.argv[1:4]


def run(*command):
    """Its exit code, and what it prints."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout.strip()


def version():
    """Of BIRD; empty if there is none."""
    if not os.access(BIRD, os.X_OK):
        return ""
    found = re.search(r"version (\S+)", run(BIRD, "--version")[1])
    return found.group(1) if found else ""


def own():
    """The configuration without our line; None if there is none."""
    try:
        lines = Path(CONFIGURATION).read_text().splitlines()
    except OSError:
        return None
    return "\n".join(line for line in lines if line.strip() != INCLUDE) + "\n"


def objection(text):
    """What BIRD has against a configuration; tried beside the own one, which may include others."""
    folder = str(Path(CONFIGURATION).parent)
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".l4lb-", suffix=".conf") as file:
        file.write(text)
        file.flush()
        code, said = run(BIRD, "-p", "-c", file.name)
        said = said.replace("bird: ", "").replace(file.name, CONFIGURATION)
    return (said or "it fails without a word") if code else ""


def is_loaded():
    """Whether a running BIRD has read the configuration since it was changed; None: none runs."""
    code, said = run(BIRDC, "show", "status")
    if code or "Last reconfiguration on" not in said:
        return None
    found = re.search(r"Last reconfiguration on (\d+-\d+-\d+ \d+:\d+:\d+)", said)
    if not found:  # another format of time
        return True
    then = time.mktime(time.strptime(found.group(1), "%Y-%m-%d %H:%M:%S"))
    times = [Path(name).stat().st_mtime for name in (CONFIGURATION, FILE) if Path(name).exists()]
    return then + 1 >= max(times, default=0)


there = version()
text = own() if there else None
if "TRY" in globals():  # the role has put it before this
    print(json.dumps(objection((text or "") + globals()["TRY"])))
else:
    plain = text and re.sub(r"#.*|/\*.*?\*/", "", text)
    print(
        json.dumps(
            {
                "user": os.geteuid(),
                "family": "debian" if Path("/etc/debian_version").exists() else "other",
                "systemd": Path("/run/systemd/system").is_dir(),
                "version": there,
                "problem": "" if text is None else objection(text),
                "device": text is not None and objection(text + "protocol device { }\n") != "",
                "bfd": bool(plain and re.search(r"^\s*protocol\s+bfd\b", plain, re.MULTILINE)),
                "file": Path(FILE).exists(),
                "includes": text is not None and INCLUDE in Path(CONFIGURATION).read_text(),
                "loaded": is_loaded() if there else None,
            }
        )
    )
