# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's tunnels and addresses, by netlink (rtnetlink(7); linux/if_tunnel.h).

A device of ours takes what anybody sends to one address of this host. The kernel prefers it to
those that its modules make for all addresses (tunl0, sit0, gre0, ...), which stay as they are. It
loads the module of a kind by itself.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import struct
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import NamedTuple

from ..errors import HostError, KernelError
from ..kernel.paths import PROGRAMS, Paths, told
from ..model.config import Address
from ..network import netlink, rtnetlink
from .ruleset import DEVICES
from .state import Device, Tunnel

_NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _DELADDR = 16, 17, 18, 20, 21
_LINK = struct.Struct("=B3xiII")  # struct ifinfomsg: family, index, flags, which of these
_ADDRESS = struct.Struct("=4Bi")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND, _IFLA_INFO_DATA = 3, 18, 1, 2
_NESTED = 0x8000
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 2
_IFF_UP = 1
_SCOPE_GLOBAL, _SCOPE_HOST = 0, 254
_LO = 1
_LOCAL = {"ipip": 2, "sit": 2, "ip6tnl": 2, "gre": 6, "ip6gre": 6}
"""Kind -> its attribute for the own address: IFLA_IPTUN_LOCAL, IFLA_GRE_LOCAL."""
_LOOSE = 2
_LOADED = Path("/sys/module")
_NETLINK_GENERIC = 16
_CONTROLLER, _GETFAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2
_GENERIC_HEAD = struct.Struct("=BB2x")  # struct genlmsghdr: command, version
_FOU_ADD, _FOU_DELETE, _FOU_GET = 1, 2, 3
_FOU_PORT, _FOU_AF, _FOU_TYPE, _FOU_LOCAL = 1, 2, 4, {4: 6, 6: 7}
_FOU_GUE = 2


class Found(NamedTuple):
    """A device of ours."""

    number: int
    name: str
    device: Device


def devices(paths: Paths) -> dict[Tunnel, Found]:
    """All of ours."""
    addresses: dict[int, set[IPv4Address]] = {}
    for one in rtnetlink.addresses():
        if isinstance(one.address, IPv4Address):
            addresses.setdefault(one.index, set()).add(one.address)
    return {
        tunnel: Found(
            index, name, Device(is_up, _is_loose(name, paths), frozenset(addresses.get(index, ())))
        )
        for tunnel, index, name, is_up in _links()
    }


def _links() -> Iterator[tuple[Tunnel, int, str, bool]]:
    for body in netlink.dump(_GETLINK, 0, _LINK):
        _family, index, flags, _change = _LINK.unpack_from(body)
        attributes = netlink.attributes(body, _LINK.size)
        name = attributes[_IFLA_IFNAME].rstrip(b"\0").decode(errors="replace")
        info = netlink.attributes(attributes.get(_IFLA_LINKINFO, b""))
        kind = info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode()
        if not name.startswith(DEVICES) or kind not in _LOCAL:
            continue
        local = netlink.attributes(info.get(_IFLA_INFO_DATA, b"")).get(_LOCAL[kind], bytes(4))
        yield Tunnel(kind, ip_address(local)), index, name, bool(flags & _IFF_UP)


def set_up(tunnel: Tunnel, device: Device, paths: Paths) -> None:
    """Have a device be like this, whatever it is now. Raises KernelError, or HostError."""
    found = devices(paths).get(tunnel)
    if not found:
        _add(tunnel, _free_name(tunnel.kind))
        found = devices(paths)[tunnel]
    # before it is up: a packet that comes meanwhile is dropped as one to no tunnel
    for address in device.addresses - found.device.addresses:
        add_address(address, found.number, _SCOPE_HOST)
    if device.is_loose:
        path = _rp_filter(found.name, paths)
        with told(f"write {path}"):
            path.write_text(f"{_LOOSE}\n", encoding="ascii")
    for address in found.device.addresses - device.addresses:
        remove_address(address, found.number)
    flags = _IFF_UP if device.is_up else 0
    netlink.order(_NEWLINK, _LINK.pack(0, found.number, flags, _IFF_UP))


def remove(tunnel: Tunnel, paths: Paths) -> None:
    """Remove the device; none is fine. Raises KernelError."""
    found = devices(paths).get(tunnel)
    if found:
        netlink.order(_DELLINK, _LINK.pack(0, found.number, 0, 0))


def _add(tunnel: Tunnel, name: str) -> None:
    data = netlink.attribute(_LOCAL[tunnel.kind], tunnel.local.packed)
    info = netlink.attribute(_IFLA_INFO_KIND, tunnel.kind.encode())
    info += netlink.attribute(_IFLA_INFO_DATA | _NESTED, data)
    body = _LINK.pack(0, 0, 0, 0) + netlink.attribute(_IFLA_IFNAME, name.encode() + b"\0")
    body += netlink.attribute(_IFLA_LINKINFO | _NESTED, info)
    try:
        netlink.order(_NEWLINK, body, netlink.CREATE | netlink.ONLY_IF_NEW)
    except KernelError as e:
        text = f"add a {tunnel.kind} device for {tunnel.local}: {e}"
        if e.code == errno.EEXIST:
            text += "; another device takes the same packets, remove it (ip -d tunnel show)"
        elif e.code == errno.EOPNOTSUPP:
            text += "; the kernel has none, decapsulation may be bpf"
        raise KernelError(text, e.code) from e


def _free_name(kind: str) -> str:
    taken = {entry.name for entry in rtnetlink.links()}
    number = 0
    while f"{DEVICES}{kind}{number}" in taken:
        number += 1
    return f"{DEVICES}{kind}{number}"


def _is_loose(name: str, paths: Paths) -> bool:
    try:
        return _rp_filter(name, paths).read_text(encoding="ascii").strip() == str(_LOOSE)
    except OSError:
        return False


def _rp_filter(name: str, paths: Paths) -> Path:
    return paths.sysctl / "net/ipv4/conf" / name / "rp_filter"


# Addresses


def add_address(address: Address, index: int = _LO, scope: int = _SCOPE_GLOBAL) -> None:
    """Give an interface an address; that it has it is fine. Raises KernelError."""
    try:
        netlink.order(
            _NEWADDR, _address(address, index, scope), netlink.CREATE | netlink.ONLY_IF_NEW
        )
    except KernelError as e:
        if e.code != errno.EEXIST:
            raise KernelError(f"add the address {address}: {e}", e.code) from e


def remove_address(address: Address, index: int = _LO) -> None:
    """Take it away; none is fine. Raises KernelError."""
    with contextlib.suppress(KernelError):
        netlink.order(_DELADDR, _address(address, index, _SCOPE_GLOBAL))
    if any(one.address == address and one.index == index for one in rtnetlink.addresses()):
        raise KernelError(f"the address {address} cannot be removed")


def _address(address: Address, index: int, scope: int) -> bytes:
    family = rtnetlink.AF_INET if address.version == 4 else rtnetlink.AF_INET6
    head = _ADDRESS.pack(family, address.max_prefixlen, _IFA_F_NODAD, scope, index)
    return head + b"".join(
        netlink.attribute(kind, address.packed) for kind in (_IFA_LOCAL, _IFA_ADDRESS)
    )


# GUE: UDP ports where the kernel takes it off (linux/fou.h). What is left looks as if it had come
# by IP in IP, so the devices for that unpack it.


def gue_ends() -> set[tuple[Address, int]]:
    """Own addresses and ports that have it. Raises KernelError."""
    family = _fou()
    found: set[tuple[Address, int]] = set()
    if not family:
        return found
    for body in netlink.dumped(family, _GENERIC_HEAD.pack(_FOU_GET, 1), _NETLINK_GENERIC):
        attributes = netlink.attributes(body, _GENERIC_HEAD.size)
        if netlink.number(attributes.get(_FOU_TYPE)) != _FOU_GUE:
            continue
        port = int.from_bytes(attributes.get(_FOU_PORT, b""), "big")
        for kind in _FOU_LOCAL.values():
            if any(attributes.get(kind, b"")):
                found.add((ip_address(attributes[kind]), port))
    return found


def take_gue(address: Address, port: int) -> None:
    """Have GUE taken off there; that it is already is fine. Raises KernelError."""
    if (address, port) in gue_ends():
        return
    load_gue()
    try:
        _order_gue(_FOU_ADD, address, port)
    except KernelError as e:
        text = f"take GUE off at {address}, UDP port {port}: {e}"
        if e.code == errno.EADDRINUSE:
            text += "; another program, or another setting of the kernel (ip fou show), has it"
        raise KernelError(text, e.code) from e


def load_gue() -> None:
    """Load the module, which the kernel does not do by itself, unlike those of devices. Raises
    HostError."""
    if not _fou():
        load_module("fou")


def leave_gue(address: Address, port: int) -> None:
    """Have it no longer taken off; none is fine. Raises KernelError."""
    if (address, port) in gue_ends():
        _order_gue(_FOU_DELETE, address, port)


def _order_gue(command: int, address: Address, port: int) -> None:
    family = _fou()
    if not family:
        raise KernelError("the module fou is not loaded", errno.EOPNOTSUPP)
    af = rtnetlink.AF_INET if address.version == 4 else rtnetlink.AF_INET6
    body = _GENERIC_HEAD.pack(command, 1)
    body += netlink.attribute(_FOU_PORT, port.to_bytes(2, "big"))
    body += netlink.attribute(_FOU_AF, bytes([af])) + netlink.attribute(
        _FOU_TYPE, bytes([_FOU_GUE])
    )
    body += netlink.attribute(_FOU_LOCAL[address.version], address.packed)
    netlink.order(family, body, protocol=_NETLINK_GENERIC)


def _fou() -> int:
    """Its number; 0 if the module is not loaded."""
    request = _GENERIC_HEAD.pack(_GETFAMILY, 1) + netlink.attribute(_FAMILY_NAME, b"fou\0")
    with netlink.connect(_NETLINK_GENERIC) as generic:
        generic.send(netlink.message(_CONTROLLER, netlink.REQUEST, 0, request))
        (answer,) = netlink.received(generic)
    if answer.type == netlink.ERROR:
        return 0
    return netlink.number(netlink.attributes(answer.body, _GENERIC_HEAD.size)[_FAMILY_ID])


# Modules


def has_module(name: str) -> bool:
    """Whether the kernel has a module, or would load it. Nothing is loaded."""
    return (_LOADED / name).exists() or _modprobe("--dry-run", "--quiet", name) is None


def load_module(name: str) -> None:
    """Load a module; that it is there is fine. Raises HostError."""
    problem = _modprobe(name)
    if problem:
        raise HostError(f"load the kernel's module {name}: {problem}")


def _modprobe(*arguments: str) -> str | None:
    """Why it fails; None if it does not."""
    program = shutil.which("modprobe", path=PROGRAMS)
    if not program:
        return "there is no modprobe"
    # pylint: disable-next=ansible-bad-function  # the library is used without modules, too
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return (done.stderr.strip() or "it fails") if done.returncode else None
