# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user may write: a mistake is one error that names option, value, remedy."""

from __future__ import annotations

import dataclasses
import json
import random
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

import pytest
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.errors import ConfigError
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.config import (
    Backend,
    Config,
    Service,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.options import (
    ANNOUNCE_WHEN,
    ENCAPSULATIONS,
    MAX_BACKENDS,
    MAX_SERVICES,
)
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.parse import parse_config
from ansible_collections.xdp.l4lb.plugins.module_utils._l4lb.model.values import interface_name

FIRST = int(IPv4Address("10.0.0.0"))


def backends(count: int) -> list[dict[str, Any]]:
    return [{"address": str(IPv4Address(FIRST + index))} for index in range(count)]


def service(**options: Any) -> dict[str, Any]:
    """The options of a service; None leaves one out."""
    defaults = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    merged = {**defaults, "backends": backends(2), **options}
    return {key: value for key, value in merged.items() if value is not None}


def backend(**options: Any) -> dict[str, Any]:
    return service(backends=[{"address": "10.0.0.1", **options}])


def options(*services: Any, **more: Any) -> dict[str, Any]:
    return {"interface": "eth0", "services": list(services), **more}


WRONG = {
    # The balancer.
    "no interface": ({}, "interface", None, "give the interface"),
    "empty interface": (options(interface=""), "interface", "", "give the interface"),
    "interface is a number": (options(interface=7), "interface", 7, "give the interface"),
    "long interface": (options(interface="é" * 64), "interface", "é" * 64, "ip link"),
    "long in bytes": (options(interface="ä" * 64), "interface", "ä" * 64, "ip link"),
    "slash": (options(interface="eth/0"), "interface", "eth/0", "ip link"),
    "colon": (options(interface="eth0:1"), "interface", "eth0:1", "ip link"),
    "space": (options(interface="eth 0"), "interface", "eth 0", "ip link"),
    "parent directory": (options(interface=".."), "interface", "..", "ip link"),
    "not text": (options(interface="e\udc80"), "interface", "e\udc80", "ip link"),
    "unknown option": (options(vip="x"), "vip", "x", "no such option; use interface, mode"),
    "mode": (options(mode="offload"), "mode", "offload", "choose one of auto, native, generic"),
    "source": (
        options(source_address="eth0"),
        "source_address",
        "eth0",
        "not an IP address or prefix, as in 192.0.2.1 or 192.0.2.0/28",
    ),
    "source6": (
        options(source_address6="eth0"),
        "source_address6",
        "eth0",
        "not an IP address or prefix, as in 2001:db8::1 or 2001:db8::/112",
    ),
    "source is a number": (options(source_address=1), "source_address", 1, "not an IP address"),
    "IPv6 source": (
        options(source_address="2001:db8::1"),
        "source_address",
        "2001:db8::1",
        "give an IPv4 address or prefix, as in 192.0.2.1",
    ),
    "IPv4 source for IPv6": (
        options(source_address6="192.0.2.0/28"),
        "source_address6",
        "192.0.2.0/28",
        "give an IPv6 address or prefix, as in 2001:db8::1",
    ),
    "bits beyond the source's prefix": (
        options(source_address="192.0.2.17/28"),
        "source_address",
        "192.0.2.17/28",
        "neither one address nor a prefix; give 192.0.2.17 or 192.0.2.16/28",
    ),
    "source of everything": (
        options(source_address="0.0.0.0/0"),
        "source_address",
        "0.0.0.0/0",
        "not a unicast address",
    ),
    "multicast source": (
        options(source_address6="ff02::1"),
        "source_address6",
        "ff02::1",
        "not a unicast address",
    ),
    "source with a zone": (
        options(source_address6="fe80::1%eth0"),
        "source_address6",
        "fe80::1%eth0",
        "not an IP address or prefix",
    ),
    "gateway": (options(gateway_mac="1:2"), "gateway_mac", "1:2", "not a MAC address, as in"),
    "multicast gateway": (
        options(gateway_mac="01:00:5e:00:00:01"),
        "gateway_mac",
        "01:00:5e:00:00:01",
        "not a unicast MAC",
    ),
    "negative seed": (
        options(hash_seed=-1),
        "hash_seed",
        "not shown",
        "from 0 to 18446744073709551615",
    ),
    "large seed": (
        options(hash_seed=2**64),
        "hash_seed",
        "not shown",
        "from 0 to 18446744073709551615",
    ),
    "negative rate": (options(echo_rate=-1), "echo_rate", -1, "from 0 to 4294967295"),
    "large rate": (options(too_big_rate=2**32), "too_big_rate", 2**32, "from 0 to 4294967295"),
    "own MACs as a mapping": (options(own_macs={"a": 1}), "own_macs", {"a": 1}, "give a list"),
    "no own MAC": (options(own_macs=["02:00"]), "own_macs[0]", "02:00", "not a MAC address, as in"),
    "too many own MACs": (
        options(own_macs=[f"02:00:00:00:00:{number:02x}" for number in range(33)]),
        "own_macs",
        "33 addresses",
        "at most 32 fit",
    ),
    "no service": (options(no_service="reject"), "no_service", "reject", "one of drop, pass"),
    "own address": (
        options(allow_own_address="perhaps"),
        "allow_own_address",
        "perhaps",
        "give true or false",
    ),
    "negative flow table": (
        options(flow_table_size=-1),
        "flow_table_size",
        -1,
        "give a whole number from 0 to 16777216",
    ),
    "large flow table": (
        options(flow_table_size=2**24 + 1),
        "flow_table_size",
        2**24 + 1,
        "from 0 to 16777216",
    ),
    "no timeout": (options(udp_timeout=0), "udp_timeout", 0, "from 1 to 65535"),
    "long timeout": (options(udp_timeout=65536), "udp_timeout", 65536, "from 1 to 65535"),
    "no port of GUE": (options(gue_port=0), "gue_port", 0, "from 1 to 65535"),
    "large port of GUE": (options(gue_port=65536), "gue_port", 65536, "from 1 to 65535"),
    "services is no list": (
        {"interface": "eth0", "services": {"web": 1}},
        "services",
        {"web": 1},
        "give a list",
    ),
    "service is no mapping": (options("web"), "services[0]", "web", "give a mapping"),
    # Services.
    "no name": (options(service(name=None)), "services[0].name", None, "give the service a name"),
    "blank name": (options(service(), service(name=" ")), "services[1].name", " ", "a name"),
    "name is a number": (options(service(name=5)), "services[0].name", 5, "a name"),
    "long name": (options(service(name="x" * 64)), "services[0].name", "x" * 64, "up to 63 bytes"),
    "long name in bytes": (
        options(service(name="ä" * 32)),
        "services[0].name",
        "ä" * 32,
        "up to 63 bytes",
    ),
    "name of two lines": (options(service(name="a\nb")), "services[0].name", "a\nb", "printable"),
    "name is not text": (
        options(service(name="\udc80")),
        "services[0].name",
        "\udc80",
        "printable",
    ),
    "typo": (options(service(prot=80)), "services[web].prot", 80, "port or protocol?"),
    "no address": (options(service(address=None)), "services[web].address", None, "not an IP"),
    "bad address": (options(service(address="192.0.2")), "services[web].address", "192.0.2", "192"),
    "leading zero": (
        options(service(address="192.0.2.010")),
        "services[web].address",
        "192.0.2.010",
        "not an IP address, as in 192.0.2.10",
    ),
    "address is a number": (options(service(address=1)), "services[web].address", 1, "not an IP"),
    "prefix": (
        options(service(address="192.0.2.0/24")),
        "services[web].address",
        None,
        "not an IP",
    ),
    "bad IPv6 address": (
        options(service(address="2001:db8::10::1")),
        "services[web].address",
        "2001:db8::10::1",
        "not an IP address, as in 192.0.2.10 or 2001:db8::10",
    ),
    "IPv6 prefix": (
        options(service(address="2001:db8::/64")),
        "services[web].address",
        "2001:db8::/64",
        "not an IP address",
    ),
    "link-local": (
        options(service(address="fe80::1")),
        "services[web].address",
        "fe80::1",
        "neither link-local nor IPv4-mapped addresses are balanced",
    ),
    "IPv4-mapped": (
        options(service(address="::ffff:192.0.2.10")),
        "services[web].address",
        "::ffff:192.0.2.10",
        "neither link-local nor IPv4-mapped addresses are balanced",
    ),
    "zone": (
        options(service(address="2001:db8::10%eth0")),
        "services[web].address",
        "2001:db8::10%eth0",
        "not an IP address",
    ),
    "IPv6 multicast": (
        options(service(address="ff02::1")),
        "services[web].address",
        "ff02::1",
        "not a unicast address",
    ),
    "IPv6 unspecified": (
        options(service(address="::")),
        "services[web].address",
        "::",
        "not a unicast address",
    ),
    "multicast": (options(service(address="224.0.0.1")), "services[web].address", None, "unicast"),
    "unspecified": (options(service(address="0.0.0.0")), "services[web].address", None, "unicast"),  # noqa: S104
    "broadcast": (
        options(service(address="255.255.255.255")),
        "services[web].address",
        "255.255.255.255",
        "not a unicast address",
    ),
    "no port": (options(service(port=None)), "services[web].port", None, "from 0 to 65535"),
    "large port": (options(service(port=70000)), "services[web].port", 70000, "from 0 to 65535"),
    "negative port": (options(service(port=-1)), "services[web].port", -1, "from 0 to 65535"),
    "port in words": (
        options(service(port="eighty")),
        "services[web].port",
        "eighty",
        "a whole number",
    ),
    "port in other digits": (
        options(service(port="\uff18\uff10")),
        "services[web].port",
        "\uff18\uff10",
        "a whole number",
    ),
    "port with a sign": (options(service(port="+80")), "services[web].port", "+80", "a whole"),
    "port is a fraction": (options(service(port=80.0)), "services[web].port", 80.0, "whole number"),
    "port is a truth": (options(service(port=True)), "services[web].port", True, "whole number"),
    "no protocol": (options(service(protocol=None)), "services[web].protocol", None, "tcp, udp"),
    "protocol": (options(service(protocol="TCP")), "services[web].protocol", "TCP", "tcp, udp"),
    "scheduler": (options(service(scheduler="rr")), "services[web].scheduler", "rr", "maglev"),
    "encapsulation": (
        options(service(encapsulation="vxlan")),
        "services[web].encapsulation",
        "vxlan",
        "choose one of ipip, gue, gre, l2",
    ),
    "affinity": (
        options(service(affinity="client")),
        "services[web].affinity",
        "client",
        "choose one of flow, source",
    ),
    "flow table is a number": (
        options(service(flow_table=1)),
        "services[web].flow_table",
        1,
        "give true or false",
    ),
    "flow table is text": (
        options(service(flow_table="never")),
        "services[web].flow_table",
        "never",
        "give true or false",
    ),
    "two of one name": (
        options(service(), service(port=81)),
        "services",
        "web",
        "two services have this name; rename one",
    ),
    "an address announced and not": (
        options(service(announce_when="all"), service(name="other", port=81)),
        "services[other].announce_when",
        "any",
        "service web of the same address has all; an address is announced",
    ),
    "two spellings of one address": (
        options(
            service(address="2001:db8::10"), service(name="other", address="2001:DB8:0::0:0010")
        ),
        "services[other]",
        "2001:db8::10 80/tcp",
        "service web has this address, port and protocol already; merge them",
    ),
    "two of one key": (
        options(service(), service(name="other")),
        "services[other]",
        "192.0.2.10 80/tcp",
        "service web has this address, port and protocol already; merge them",
    ),
    "what cannot be sent": (
        options(service(check={"type": "tcp", "send": "\udc80"})),
        "services[web].check.send",
        "\udc80",
        "use up to 1024 bytes of text",
    ),
    # Backends.
    "backends is no list": (
        options(service(backends="10.0.0.1")),
        "services[web].backends",
        "10.0.0.1",
        "give a list",
    ),
    "backend is no mapping": (
        options(service(backends=["10.0.0.1"])),
        "services[web].backends[0]",
        "10.0.0.1",
        "give a mapping",
    ),
    "backend's typo": (
        options(backend(wieght=1)),
        "services[web].backends[0].wieght",
        1,
        "no such option; did you mean weight?",
    ),
    "no backend address": (
        options(service(backends=[{}])),
        "services[web].backends[0].address",
        None,
        "not an IP address",
    ),
    "link-local backend": (
        options(backend(address="fe80::1")),
        "services[web].backends[0].address",
        "fe80::1",
        "neither link-local nor IPv4-mapped addresses are balanced",
    ),
    "backend with a zone": (
        options(backend(address="2001:db8::1%eth0")),
        "services[web].backends[0].address",
        "2001:db8::1%eth0",
        "not an IP address",
    ),
    "IPv6 backend twice": (
        options(service(backends=[{"address": "fd00::1"}, {"address": "FD00:0::1"}])),
        "services[web].backends[1].address",
        "fd00::1",
        "listed twice",
    ),
    "backend twice": (
        options(service(backends=backends(2) + backends(1))),
        "services[web].backends[2].address",
        "10.0.0.0",
        "listed twice",
    ),
    "weight": (
        options(backend(weight=300)),
        "services[web].backends[0].weight",
        300,
        "give a whole number from 0 to 255",
    ),
    "negative weight": (
        options(backend(weight=-1)),
        "services[web].backends[0].weight",
        -1,
        "from 0 to 255",
    ),
    "state": (
        options(backend(state="down")),
        "services[web].backends[0].state",
        "down",
        "choose one of enabled, drained, disabled",
    ),
    "held though enabled": (
        options(backend(held=True)),
        "services[web].backends[0].held",
        True,
        "only drained and disabled backends are held",
    ),
    "mac": (
        options(backend(mac="52:54:00:00:00")),
        "services[web].backends[0].mac",
        "52:54:00:00:00",
        "not a MAC address",
    ),
    "small mtu": (
        options(backend(mtu=575)),
        "services[web].backends[0].mtu",
        575,
        "from 576 to 65535",
    ),
    "mtu as text": (
        options(backend(mtu="1400 bytes")),
        "services[web].backends[0].mtu",
        "1400 bytes",
        "from 576 to 65535",
    ),
    "mac of zeros": (
        options(backend(mac="00:00:00:00:00:00")),
        "services[web].backends[0].mac",
        "00:00:00:00:00:00",
        "not a unicast MAC",
    ),
    "too many for jhash": (
        options(service(scheduler="jhash", backends=backends(513))),
        "services[web].backends",
        "513 backends",
        "at most 512; use maglev",
    ),
}


@pytest.mark.parametrize("given, option, value, remedy", WRONG.values(), ids=WRONG)
def test_a_mistake_names_option_value_and_remedy(
    given: dict[str, Any], option: str, value: Any, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(given)
    error = caught.value
    assert error.option == option
    if value is not None:
        assert error.value == value
    assert str(error).startswith(f"{option}: {error.value!r}: ")
    assert remedy in str(error)


CHECKS: list[dict[str, Any]] = [
    {"type": "tcp", "send": "PING\r\n", "expect": "+PONG"},
    {
        "type": "http",
        "path": "/health?full=1",
        "host": "www.example.com:8080",
        "status": [200, 399],
    },
    {"type": "https", "verify": True, "timeout": 0.25, "expect": "\u2028 é\x7f"},
    {"type": "dns", "query": "_sip._tcp.example.com SRV"},
    {"type": "udp", "send": "\0"},
    {"type": "command", "command": ["/bin/check", "{address}", "a b", '{"c": 1}', ""]},
]
RIGHT: dict[str, dict[str, Any]] = {
    "no services": {"interface": "eth0"},
    "services is null": {"interface": "eth0", "services": None},
    "a VLAN's name": options(service(), interface="bond0.100"),
    "an odd interface": options(service(), interface='%d"ä\\'),
    "the longest interface": options(interface="i" * 127),
    "no backends": options(service(backends=None)),
    "every port": options(service(port=0)),
    "the last port": options(service(port=65535)),
    "odd names": options(service(name="a]b [c].d"), service(name="é 'x' %s", port=81)),
    "names that differ in case": options(service(), service(name="Web", port=81)),
    "the longest name": options(service(name="ä" * 31 + "x")),
    "a name like an option": options(service(name="services")),
    "one address, both protocols": options(service(), service(name="u", protocol="udp")),
    "a port and every port": options(service(), service(name="any", port=0)),
    "a backend of two services": options(service(), service(name="b", port=81)),
    "weight 0": options(backend(weight=0)),
    "weight 255": options(backend(weight=255)),
    "drained": options(backend(state="drained")),
    "held": options(backend(state="drained", held=True)),
    "weight held": options(backend(weight=0, configured_weight=255)),
    "not held": options(backend(held=False)),
    "jhash": options(service(scheduler="jhash", backends=backends(512)[::-1])),
    "every encapsulation": options(
        *(
            service(name=name, port=port, encapsulation=name)
            for port, name in enumerate(ENCAPSULATIONS, 1)
        )
    ),
    "IPv6": options(service(address="2001:db8::10", backends=[{"address": "fd00::1"}])),
    "IPv6 to IPv4": options(service(address="2001:db8::10")),
    "IPv4 to IPv6": options(backend(address="2001:db8::1")),
    "backends of both families": options(
        service(backends=[{"address": "fd00::1"}, *backends(2), {"address": "fd00::"}])
    ),
    "one address, both families": options(service(), service(name="six", address="::c000:20a")),
    "source prefixes": options(
        service(), source_address="10.9.9.0/24", source_address6="2001:db8::/112"
    ),
    "a prefix of one address": options(service(), source_address="10.9.9.9/32"),
    "no flow table": options(service(flow_table=False), flow_table_size=0),
    "the largest numbers": options(
        service(), flow_table_size=2**24, udp_timeout=65535, gue_port=65535
    ),
    "all options": options(
        service(
            backends=[
                {
                    "address": "10.0.0.1",
                    "weight": 3,
                    "state": "disabled",
                    "mac": "52-54-00-00-00-0B",
                    "mtu": 1400,
                }
            ],
            scheduler="jhash",
            affinity="source",
            encapsulation="gue",
            flow_table=False,
        ),
        mode="native",
        source_address="10.9.9.9",
        source_address6="2001:DB8::9",
        gateway_mac="52:54:00:00:00:FE",
        flow_table_size=1,
        udp_timeout=1,
        gue_port=1,
        hash_seed=2**64 - 1,
        own_macs=["02-00-00-00-00-0B", "02:00:00:00:00:0a", "02:00:00:00:00:0b"],
        no_service="pass",
        allow_own_address=True,
        echo_rate=0,
        too_big_rate=2**32 - 1,
        announce=True,
        announce_timeout=3600,
        announce_prefix_length6=64,
    ),
    **{f"announced when {one}": options(service(announce_when=one)) for one in ANNOUNCE_WHEN},
    **{f"a check: {one['type']}": options(service(check=one)) for one in CHECKS},
    "a check of every port": options(service(port=0, check={"type": "tcp", "port": 443})),
    "a command without a port": options(service(port=0, check=CHECKS[-1])),
    "all of health": options(
        service(
            check={"type": "tcp", "via": "address", "interval": 0.1, "rise": 100, "fall": 1},
            on_unhealthy="move",
            min_healthy="33 %",
            slow_start=3600,
            backends=[*backends(2), {"address": "fd00::1", "backup": "yes"}],
        )
    ),
    "empty texts are no values": options(
        service(), source_address="", source_address6="", gateway_mac=""
    ),
}


@pytest.mark.parametrize("given", RIGHT.values(), ids=RIGHT)
def test_dump_is_the_inverse_of_parse(given: dict[str, Any]) -> None:
    config = parse_config(given)
    dumped = json.loads(json.dumps(config.dump()))
    assert parse_config(dumped) == config
    assert parse_config(dumped).dump() == dumped


@pytest.mark.parametrize("seed", [12345, 2**32 - 1, 2**64 - 1])
def test_the_seed_is_not_shown(seed: int) -> None:
    """But whether there is one, and whether it is the same as elsewhere."""
    config = parse_config(options(service(), hash_seed=seed))
    shown = config.dump(shown=True)
    assert str(seed) not in json.dumps(shown)
    assert shown == {**config.dump(), "hash_seed": shown["hash_seed"]}
    again = parse_config(options(hash_seed=str(seed))).options(shown=True)
    assert again["hash_seed"] == shown["hash_seed"]
    other = parse_config(options(hash_seed=seed - 1)).options(shown=True)
    assert other["hash_seed"] != shown["hash_seed"]
    assert parse_config(options(hash_seed=0)).dump(shown=True)["hash_seed"] == 0


@pytest.mark.parametrize("seed", ["0x123456789", "12345678901234567890123", "secret", -12345, 1.5])
def test_a_wrong_seed_is_not_shown_either(seed: object) -> None:
    with pytest.raises(ConfigError, match="hash_seed: 'not shown': give a whole number") as caught:
        parse_config(options(hash_seed=seed))
    assert str(seed) not in str(caught.value)


@pytest.mark.parametrize(
    ("schedulers", "seed", "wasted"),
    [
        (["jhash"], 7, True),
        (["jhash", "jhash"], 7, True),
        (["jhash", "maglev"], 7, False),
        (["maglev"], 7, False),
        (["jhash"], 0, False),
        ([], 7, False),
    ],
)
def test_a_seed_that_no_scheduler_knows(schedulers: list[str], seed: int, wasted: bool) -> None:
    services = [
        service(name=f"{port}", port=port, scheduler=name) for port, name in enumerate(schedulers)
    ]
    assert parse_config(options(*services, hash_seed=seed)).wastes_seed is wasted


def test_dump_has_every_option() -> None:
    held = {"address": "10.0.0.1", "state": "disabled", "held": True, "configured_weight": 2}
    check = {"type": "tcp"}
    more = {"check": check, "announce_when": "all"}
    dumped = parse_config(options(service(backends=[{**held, "backup": True}], **more))).dump()
    for model, names in (
        (Config, dumped),
        (Service, dumped["services"][0]),
        (Backend, dumped["services"][0]["backends"][0]),
    ):
        assert list(names) == [one.name for one in dataclasses.fields(model)]


def test_without_a_check_the_dump_says_nothing_of_health() -> None:
    """What was written before there were checks compares as equal."""
    dumped = parse_config(options(service())).dump()["services"][0]
    assert not dumped.keys() & {"check", "on_unhealthy", "min_healthy", "slow_start"}
    assert "backup" not in dumped["backends"][0]


@pytest.mark.parametrize(
    ("given", "could", "least"),
    [
        (1, 10, 1),
        (0, 10, 0),
        (3, 2, 3),
        ("50%", 10, 5),
        ("50%", 11, 6),
        ("1%", 3, 1),
        ("100 %", 7, 7),
        ("0%", 7, 0),
        ("50%", 0, 0),
    ],
)
def test_the_least_that_must_be_healthy(given: int | str, could: int, least: int) -> None:
    config = parse_config(options(service(check={"type": "tcp"}, min_healthy=given)))
    assert config.services[0].least_healthy(could) == least


def test_defaults() -> None:
    config = parse_config(options(service(backends=backends(1))))
    backend_ = Backend(IPv4Address("10.0.0.0"), 1, "enabled", None)
    web = Service(
        name="web",
        address=IPv4Address("192.0.2.10"),
        port=80,
        protocol="tcp",
        scheduler="maglev",
        affinity="flow",
        encapsulation="ipip",
        flow_table=True,
        backends=(backend_,),
    )
    assert config == Config(
        interface="eth0",
        mode="auto",
        source_address=None,
        source_address6=None,
        gateway_mac=None,
        flow_table_size=65536,
        udp_timeout=30,
        gue_port=6080,
        hash_seed=0,
        own_macs=(),
        no_service="drop",
        allow_own_address=False,
        echo_rate=10000,
        too_big_rate=10000,
        services=(web,),
    )


@pytest.mark.parametrize("text", ["80", " 80 ", "080"])
def test_numbers_may_come_as_text(text: str) -> None:
    """As from the command line, a template or an INI inventory."""
    config = parse_config(
        options(service(port=text, backends=[{"address": "10.0.0.1", "weight": "3"}]))
    )
    assert config.services[0].port == 80
    assert config.services[0].backends[0].weight == 3


@pytest.mark.parametrize(
    ("text", "meant"),
    [("yes", True), ("True", True), ("on", True), ("no", False), ("False", False)],
)
def test_truth_may_come_as_text(text: str, meant: bool) -> None:
    assert parse_config(options(service(flow_table=text))).services[0].flow_table is meant


def test_the_canonical_form_of_a_mac() -> None:
    config = parse_config(RIGHT["all options"])
    assert config.gateway_mac == "52:54:00:00:00:fe"
    assert config.services[0].backends[0].mac == "52:54:00:00:00:0b"
    assert config.own_macs == ("02:00:00:00:00:0a", "02:00:00:00:00:0b")


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("2001:DB8:0:0::10", "2001:db8::10"),
        ("2001:0db8::0010", "2001:db8::10"),
        ("::192.0.2.10", "::c000:20a"),
    ],
)
def test_the_canonical_form_of_an_address(given: str, canonical: str) -> None:
    listed = service(address=given, backends=[{"address": given}])
    found = parse_config(options(listed)).dump()["services"][0]
    assert (found["address"], found["backends"][0]["address"]) == (canonical, canonical)


@pytest.mark.parametrize(
    ("given", "network", "dumped"),
    [
        ("10.9.9.9", IPv4Network("10.9.9.9/32"), "10.9.9.9"),
        ("10.9.9.9/32", IPv4Network("10.9.9.9/32"), "10.9.9.9"),
        ("10.9.9.0/24", IPv4Network("10.9.9.0/24"), "10.9.9.0/24"),
        ("10.9.9.0/255.255.255.0", IPv4Network("10.9.9.0/24"), "10.9.9.0/24"),
        ("2001:DB8::9", IPv6Network("2001:db8::9/128"), "2001:db8::9"),
        ("2001:db8::/112", IPv6Network("2001:db8::/112"), "2001:db8::/112"),
    ],
)
def test_the_canonical_form_of_a_source(
    given: str, network: IPv4Network | IPv6Network, dumped: str
) -> None:
    option = "source_address" if network.version == 4 else "source_address6"
    config = parse_config(options(**{option: given}))
    assert getattr(config, option) == network
    assert config.dump()[option] == dumped


def test_the_order_of_services_does_not_matter() -> None:
    services = [service(name=f"s{index}", port=index) for index in range(20)]
    config = parse_config(options(*services))
    random.Random(1).shuffle(services)
    assert parse_config(options(*services)) == config
    assert config.dump()["services"][2]["name"] == "s10"


@pytest.mark.parametrize(("scheduler", "matters"), [("maglev", False), ("jhash", True)])
def test_the_order_of_backends_matters_to_jhash_only(scheduler: str, matters: bool) -> None:
    listed = ["10.0.0.9", "fd00::10", "10.0.0.10", "fd00::9", "9.0.0.11"]
    in_order = ["9.0.0.11", "10.0.0.9", "10.0.0.10", "fd00::9", "fd00::10"]
    given = [{"address": address} for address in listed]
    config = parse_config(options(service(scheduler=scheduler, backends=given)))
    found = [str(one.address) for one in config.services[0].backends]
    assert found == (listed if matters else in_order)
    other = parse_config(options(service(scheduler=scheduler, backends=given[::-1])))
    assert (other != config) == matters


@pytest.mark.parametrize(
    ("state", "share"), [("enabled", 7), ("drained", 0), ("disabled", 0)], ids=str
)
def test_only_the_enabled_have_a_share(state: str, share: int) -> None:
    assert Backend(IPv4Address("10.0.0.1"), 7, state).share == share


# Limits.


def test_as_many_services_as_fit() -> None:
    services = [
        service(name=f"s{index}", port=index + 1, backends=[]) for index in range(MAX_SERVICES + 1)
    ]
    assert len(parse_config(options(*services[1:])).services) == MAX_SERVICES
    with pytest.raises(ConfigError, match="services: 4097: at most 4096 services fit"):
        parse_config(options(*services))


def test_as_many_backends_as_fit() -> None:
    most = MAX_BACKENDS - 2  # each of the two services takes one
    many = backends(most + 1)
    two = [service(backends=many[:32768]), service(name="b", port=81, backends=many[32768:-1])]
    config = parse_config(options(*two))
    assert sum(len(one.backends) for one in config.services) == most
    two[1]["backends"] = many[32768:]
    message = "services: '65534 backends of 2 services': at most 65535 backends and services"
    with pytest.raises(ConfigError, match=message):
        parse_config(options(*two))


def test_interface_name_returns_what_it_checked() -> None:
    assert interface_name("eth0.5") == "eth0.5"
