# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what docs/backends.md says that a server has to run, as one script."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs/backends.md"
VIP6 = "2001:db8:ffff::10"


def block(text: str, where: str) -> str:
    """What is run there."""
    found = re.search(rf"^```sh\n# {where}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise SystemExit(f"docs/backends.md has no block {where!r}")
    return found[1]


def table(text: str) -> tuple[list[str], list[str]]:
    """What the table says beyond that: commands, and the devices that these make."""
    commands, devices = [], []
    for encapsulation in ("ipip", "gue", "gre"):
        found = re.search(rf"^\| `{encapsulation}` \|(.*)\|(.*)\|.*\|$", text, re.MULTILINE)
        if not found:
            raise SystemExit(f"docs/backends.md has no row on {encapsulation}")
        for code in re.findall("`(.*?)`", found[1] + found[2]):
            if code.startswith(("ip ", "modprobe ")):
                commands.append(code)
                devices += re.findall(r"^ip link add (\S+)", code)
            elif re.fullmatch(r"\w+0", code):
                devices.append(code)
    return commands, devices


def main() -> None:
    text = PAGE.read_text()
    commands, devices = table(text)
    script = [block(text, "on every backend"), f"ip address replace {VIP6}/128 dev lo", *commands]
    for device in devices:
        script += [f"ip link set {device} up", f"sysctl -w net.ipv4.conf.{device}.rp_filter=0"]
    print("\n".join([*script, block(text, "on every backend, with nftables")]))


if __name__ == "__main__":
    main()
