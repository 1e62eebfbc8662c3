# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What README.md tells a reader to type, and docs/backends.md."""

from __future__ import annotations

import re

from lab.host import CHECKOUT

README = (CHECKOUT / "README.md").read_text()
BY_HAND = (CHECKOUT / "docs/backends.md").read_text()


def blocks(language: str, page: str = README) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def script(where: str) -> str:
    """The commands to run on hosts."""
    scripts = (*blocks("sh"), *blocks("sh", BY_HAND))
    (found,) = (block for block in scripts if block.startswith(f"# {where}\n"))
    return found


def backend_by_hand(vip6: str, firewall: str) -> str:
    """What the page on backends has a server run for every way that there is.

    vip6: its IPv6 VIP. firewall: the block of the page with that.
    """
    commands, devices = _table()
    assert len(devices) == 5, "two devices of ipip, one of gue, two of gre"
    lines = [script("on every backend"), f"ip address replace {vip6}/128 dev lo", *commands]
    for device in devices:
        lines += [f"ip link set {device} up", f"sysctl -w net.ipv4.conf.{device}.rp_filter=0"]
    return "\n".join([*lines, script(firewall)])


def _table() -> tuple[list[str], list[str]]:
    """What the table says beyond that: commands, and the devices that these make."""
    commands, devices = [], []
    for encapsulation in ("ipip", "gue", "gre"):
        found = re.search(rf"^\| `{encapsulation}` \|(.*)\|(.*)\|.*\|$", BY_HAND, re.MULTILINE)
        assert found, f"the page has no row on {encapsulation}"
        for code in re.findall("`(.*?)`", found[1] + found[2]):
            if code.startswith(("ip ", "modprobe ")):
                commands.append(code)
                devices += re.findall(r"^ip link add (\S+)", code)
            elif re.fullmatch(r"\w+0", code):
                devices.append(code)
    return commands, devices
