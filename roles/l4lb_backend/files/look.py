# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print as JSON, in a second line, what a host has of a real server.

The role puts look.py of the role l4lb before it, which it takes its functions from.
"""
# ruff: noqa: F821
# pylint: disable=undefined-variable

UNIT_OF_SERVER = "l4lb-real-server.service"


def addresses():
    """Of the host, without those that are good on one link only."""
    links = json.loads(output("ip", "-json", "address") or "[]")
    return [
        one["local"]
        for link in links
        for one in link.get("addr_info", ())
        if one.get("scope") == "global" and "local" in one
    ]


def state_of_unit():
    """As systemd knows it."""
    properties = "--property=UnitFileState,ActiveState"
    shown = output("systemctl", "show", properties, UNIT_OF_SERVER).split() if systemd else []
    return {
        "file": described("/etc/systemd/system/" + UNIT_OF_SERVER),
        "enabled": "UnitFileState=enabled" in shown,
        "active": "ActiveState=active" in shown,
    }


print(
    json.dumps(
        {
            "addresses": addresses(),
            "unit": state_of_unit(),
            "saved": Path("/etc/l4lb/real-server/state.json").exists(),
            "nftables": any(Path(folder, "nft").exists() for folder in ("/usr/sbin", "/sbin")),
        }
    )
)
