# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong and odd configurations: option, value, and what is said of it.

The messages are the whole of it but for the prefix l4lb_, which the role puts in front. Each is
tried in tests/unit/test_wrong.py, and on a host in tests/fleet/apply/test_wrong_input.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Options = dict[str, Any]

GOOD: Options = {
    "name": "web",
    "address": "192.0.2.10",
    "port": 80,
    "protocol": "tcp",
    "backends": [{"address": "203.0.113.21"}],
}
PORTS = "give a whole number from 0 to 65535"
FROM_1 = "give a whole number from 1 to 65535"
TABLE_SIZE = "give a whole number from 0 to 16777216"
RATE = "give a whole number from 0 to 4294967295"
WEIGHTS = "give a whole number from 0 to 255"
MTUS = "give a whole number from 576 to 65535"
TRUTH = "give true or false"
TEXT = "YAML does not take this for text; give the service a name in quotes"
ADDRESS = "not an IP address, as in 192.0.2.10 or 2001:db8::10"
SOURCE = "not an IP address or prefix, as in 192.0.2.1 or 192.0.2.0/28"
SOURCE6 = "not an IP address or prefix, as in 2001:db8::1 or 2001:db8::/112"
MAC = "not a MAC address, as in 52:54:00:00:00:0b"
QUOTED = "YAML took the MAC address for a number; write '52:54:00:12:34:56', with quotes"
SEXAGESIMAL = ((((52 * 60 + 54) * 60) * 60 + 12) * 60 + 34) * 60 + 56
"""What YAML 1.1 makes of 52:54:00:12:34:56 without quotes."""
NOBODY = "neither link-local nor IPv4-mapped addresses are balanced"
UNICAST = "not a unicast address"
NAME = "give the service a name; it labels statistics"
LINK = "not an interface name (see ip link)"
INTERFACE = "give the interface that receives the packets"
MAPPING = "give a mapping of options"
STATES = "choose one of enabled, drained, disabled"
UNKNOWN = "no such option; "
OF_A_SERVICE = (
    UNKNOWN + "use name, address, port, protocol, scheduler, affinity, encapsulation, "
    "flow_table, check, on_unhealthy, min_healthy, slow_start, announce_when, backends"
)
OF_A_BACKEND = UNKNOWN + "use address, weight, state, mac, mtu, backup, held"
TYPES = "choose one of tcp, http, https, dns, udp, command"
FROM_1_TO_100 = "give a whole number from 1 to 100"
INTERVALS = "give a number of seconds from 0.1 to 3600"
TIMEOUTS = "give a number of seconds from 0.01 to 60"
STATUS = "give the least and the most, from 100 to 599, as in [200, 299]"
PATH = "begin with /, as in /health?full=1, and write a space as %20 and others likewise"
HOST = "not a host name, as in www.example.com; others are written in ASCII, as xn--…"
QUERY = "give a name and a type, as in www.example.com A; types are A, NS, CNAME, SOA, PTR"
QUOTES = "YAML does not take this for text; put it in quotes"
BYTES = "use up to 1024 bytes of text"
PROGRAM = "give the absolute path of a program, as in /usr/local/bin/check"
WORDS = "give a list of the program's path and its arguments; there is no shell"
HEALTHY = "give a whole number from 0 to 65535, or a percentage up to 100%"
NO_CHECK = "without a check all backends count as healthy; give one, or leave this out"
TWICE_AND_THRICE = {"rise": 2, "fall": 3}
NO_HTTP = "; leave it out, or use type http or https"
VIP, SERVER = "give one that is routed to the balancer", "give the server's own"

SETTINGS: list[tuple[str, Any, str]] = [
    ("interface", None, INTERFACE),
    ("interface", "", INTERFACE),
    ("interface", 7, INTERFACE + ", in quotes"),
    ("interface", 1.5, INTERFACE + ", in quotes"),
    ("interface", ["eth0"], INTERFACE),
    ("interface", {"name": "eth0"}, INTERFACE),
    ("interface", "eth0 ", LINK),
    ("interface", "eth 0", LINK),
    ("interface", "eth0:1", LINK),
    ("interface", "../eth0", LINK),
    ("interface", "..", LINK),
    ("interface", "é" * 64, LINK),
    ("interface", "ä" * 64, LINK),
    ("state", "Present", "choose one of present, absent"),
    ("state", "present ", "choose one of present, absent"),
    ("state", True, "choose one of present, absent"),
    ("state", ["present"], "choose one of present, absent"),
    ("replace", "perhaps", TRUTH),
    ("replace", 1, TRUTH),
    ("replace", [], TRUTH),
    ("mode", "fast", "choose one of auto, native, generic"),
    ("mode", "Native", "choose one of auto, native, generic"),
    ("mode", "native ", "choose one of auto, native, generic"),
    ("mode", False, "choose one of auto, native, generic"),
    ("mode", 1, "choose one of auto, native, generic"),
    ("mode", ["auto"], "choose one of auto, native, generic"),
    ("mode", {}, "choose one of auto, native, generic"),
    ("source_address", "here", SOURCE),
    ("source_address", 3221225985, SOURCE),
    ("source_address", ["192.0.2.1"], SOURCE),
    ("source_address", "192.0.2.1/33", SOURCE),
    ("source_address", "１９２.0.2.1", SOURCE),
    (
        "source_address",
        "2001:db8::1",
        "give an IPv4 address or prefix, as in 192.0.2.1 or 192.0.2.0/28",
    ),
    (
        "source_address",
        "192.0.2.17/28",
        "neither one address nor a prefix; give 192.0.2.17 or 192.0.2.16/28",
    ),
    ("source_address", "0.0.0.0/0", UNICAST),
    ("source_address", "224.0.0.1", UNICAST),
    (
        "source_address6",
        "192.0.2.1",
        "give an IPv6 address or prefix, as in 2001:db8::1 or 2001:db8::/112",
    ),
    ("source_address6", "eth0", SOURCE6),
    ("source_address6", "2001:db8::1%eth0", SOURCE6),
    ("source_address6", "ff02::1", UNICAST),
    ("source_address6", {"address": "::1"}, SOURCE6),
    ("gateway_mac", "52:54:00:00:00", MAC),
    ("gateway_mac", "52:54:00:00:00:zz", MAC),
    ("gateway_mac", "525400000001", MAC),
    ("gateway_mac", SEXAGESIMAL, QUOTED),
    ("gateway_mac", 12, MAC),
    ("gateway_mac", True, MAC),
    ("gateway_mac", "01:00:5e:00:00:01", "not a unicast MAC address"),
    ("gateway_mac", "00:00:00:00:00:00", "not a unicast MAC address"),
    ("flow_table_size", -1, TABLE_SIZE),
    ("flow_table_size", 2**24 + 1, TABLE_SIZE),
    ("flow_table_size", "64k", TABLE_SIZE),
    ("flow_table_size", "65,536", TABLE_SIZE),
    ("flow_table_size", 65536.0, TABLE_SIZE),
    ("flow_table_size", True, TABLE_SIZE),
    ("flow_table_size", [65536], TABLE_SIZE),
    ("flow_table_size", "9" * 60, TABLE_SIZE),
    ("udp_timeout", 0, FROM_1),
    ("udp_timeout", 65536, FROM_1),
    ("udp_timeout", "30s", FROM_1),
    ("udp_timeout", 0.5, FROM_1),
    ("udp_timeout", {}, FROM_1),
    ("gue_port", 0, FROM_1),
    ("gue_port", 65536, FROM_1),
    ("gue_port", "６０８０", FROM_1),
    ("gue_port", "gue", FROM_1),
    ("gue_port", "", FROM_1),
    ("own_macs", {"eth0": "52:54:00:00:00:0b"}, "give a list"),
    ("own_macs", True, "give a list"),
    ("own_macs", SEXAGESIMAL, "give a list"),
    ("no_service", "reject", "choose one of drop, pass"),
    ("no_service", "DROP", "choose one of drop, pass"),
    ("no_service", False, "choose one of drop, pass"),
    ("allow_own_address", "perhaps", TRUTH),
    ("allow_own_address", 1, TRUTH),
    ("allow_own_address", ["192.0.2.10"], TRUTH),
    ("allow_own_address", "192.0.2.10", TRUTH),
    ("manage_sysctls", "perhaps", TRUTH),
    ("manage_sysctls", 1, TRUTH),
    ("announce", "bgp", TRUTH),
    ("announce", 1, TRUTH),
    ("announce_timeout", -1, "give a whole number from 0 to 3600"),
    ("announce_timeout", 3601, "give a whole number from 0 to 3600"),
    ("announce_timeout", "1m", "give a whole number from 0 to 3600"),
    ("announce_prefix_length6", 47, "give a whole number from 48 to 128"),
    ("announce_prefix_length6", "/64", "give a whole number from 48 to 128"),
    ("echo_rate", -1, RATE),
    ("echo_rate", 2**32, RATE),
    ("echo_rate", "1000/s", RATE),
    ("echo_rate", "1e4", RATE),
    ("too_big_rate", -1, RATE),
    ("too_big_rate", 2**32, RATE),
    ("too_big_rate", "none", RATE),
    ("too_big_rate", False, RATE),
    ("services", "web", "give a list of services; on a command line, write it as JSON"),
    ("services", "[]", "give a list of services; on a command line, write it as JSON"),
    ("services", {"web": {"port": 80}}, "give a list"),
    ("services", 1, "give a list"),
    ("services", True, "give a list"),
    ("services", None, "give the services; an empty list is a balancer without any"),
]
"""Of the balancer: what is below its options is as it should be."""

SERVICES: list[tuple[str, Any, str]] = [
    ("address", None, ADDRESS),
    ("address", "", ADDRESS),
    ("address", "192.0.2", ADDRESS),
    ("address", "192.0.2.300", ADDRESS),
    ("address", "192.0.2.010", ADDRESS),
    ("address", "192.0.2.10/32", ADDRESS),
    ("address", "192.0.2.10:80", ADDRESS),
    ("address", "１９２.0.2.10", ADDRESS),
    ("address", "www.example.com", ADDRESS),
    ("address", 3221225994, ADDRESS),
    ("address", 192.2, ADDRESS),
    ("address", ["192.0.2.10", "192.0.2.11"], ADDRESS),
    ("address", "[2001:db8::10]", ADDRESS),
    ("address", "2001:db8::10%eth0", ADDRESS),
    ("address", "0.0.0.0", UNICAST),  # noqa: S104 (no socket is bound)
    ("address", "255.255.255.255", UNICAST),
    ("address", "224.0.0.1", UNICAST),
    ("address", "::", UNICAST),
    ("address", "ff02::1", UNICAST),
    ("address", "fe80::1", NOBODY),
    ("address", "::ffff:192.0.2.10", NOBODY),
    ("address", "127.0.0.2", f"a loopback address; {VIP}"),
    ("address", "169.254.0.1", f"a link-local address; {VIP}"),
    ("address", "0.0.0.1", f"an unspecified address; {VIP}"),
    ("address", "::1", f"a loopback address; {VIP}"),
    ("port", None, PORTS),
    ("port", -1, PORTS),
    ("port", 65536, PORTS),
    ("port", "http", PORTS),
    ("port", "80-90", PORTS),
    ("port", "８０", PORTS),
    ("port", "+80", PORTS),
    ("port", "80.0", PORTS),
    ("port", "0x50", PORTS),
    ("port", 80.0, PORTS),
    ("port", True, PORTS),
    ("port", [80, 443], PORTS),
    ("port", {}, PORTS),
    ("port", "", PORTS),
    ("protocol", None, "choose one of tcp, udp"),
    ("protocol", "TCP", "choose one of tcp, udp"),
    ("protocol", "tcp ", "choose one of tcp, udp"),
    ("protocol", "ｔｃｐ", "choose one of tcp, udp"),
    ("protocol", "tcp,udp", "choose one of tcp, udp"),
    ("protocol", "sctp", "choose one of tcp, udp"),
    ("protocol", 6, "choose one of tcp, udp"),
    ("protocol", ["tcp", "udp"], "choose one of tcp, udp"),
    ("scheduler", "rr", "choose one of maglev, jhash"),
    ("scheduler", "Maglev", "choose one of maglev, jhash"),
    ("scheduler", "", "choose one of maglev, jhash"),
    ("scheduler", 1, "choose one of maglev, jhash"),
    ("scheduler", ["maglev"], "choose one of maglev, jhash"),
    ("affinity", "client", "choose one of flow, source"),
    ("affinity", True, "choose one of flow, source"),
    ("encapsulation", "vxlan", "choose one of ipip, gue, gre, l2"),
    ("encapsulation", "IPIP", "choose one of ipip, gue, gre, l2"),
    ("encapsulation", False, "choose one of ipip, gue, gre, l2"),
    ("flow_table", "never", TRUTH),
    ("flow_table", 0, TRUTH),
    ("flow_table", 65536, TRUTH),
    ("flow_table", "", TRUTH),
    ("flow_table", [], TRUTH),
    ("prot", "tcp", UNKNOWN + "did you mean port or protocol?"),
    ("adress", "192.0.2.10", UNKNOWN + "did you mean address?"),
    ("Port", 80, UNKNOWN + "did you mean port?"),
    ("backend", [], UNKNOWN + "did you mean backends?"),
    ("vip", "192.0.2.10", OF_A_SERVICE),
    ("check", "tcp", MAPPING),
    ("check", ["tcp"], MAPPING),
    ("check", True, MAPPING),
    ("on_unhealthy", "drop", "choose one of auto, move, keep"),
    ("on_unhealthy", True, "choose one of auto, move, keep"),
    ("on_unhealthy", "move", NO_CHECK),
    ("min_healthy", "half", HEALTHY),
    ("min_healthy", "101%", HEALTHY),
    ("min_healthy", "50 percent", HEALTHY),
    ("min_healthy", "-1%", HEALTHY),
    ("min_healthy", -1, HEALTHY),
    ("min_healthy", 65536, HEALTHY),
    ("min_healthy", 0.5, HEALTHY),
    ("min_healthy", True, HEALTHY),
    ("min_healthy", [1], HEALTHY),
    ("min_healthy", "50%", NO_CHECK),
    ("slow_start", -1, "give a whole number from 0 to 3600"),
    ("slow_start", 3601, "give a whole number from 0 to 3600"),
    ("slow_start", "30s", "give a whole number from 0 to 3600"),
    ("slow_start", 30, NO_CHECK),
    ("announce_when", "some", "choose one of any, all, healthy, forwarding"),
    ("announce_when", "ANY", "choose one of any, all, healthy, forwarding"),
    ("announce_when", True, "choose one of any, all, healthy, forwarding"),
    ("True", 1, OF_A_SERVICE),
    ("x" * 200, 1, OF_A_SERVICE),
    ("backends", "203.0.113.21", "give a list of backends; on a command line, write it as JSON"),
    ("backends", {"address": "203.0.113.21"}, "give a list"),
    ("backends", 1, "give a list"),
    ("backends", False, "give a list"),
]
"""Of the service web."""

BACKENDS: list[tuple[str, Any, str]] = [
    ("address", None, ADDRESS),
    ("address", "web1", ADDRESS),
    ("address", "203.0.113.21/24", ADDRESS),
    ("address", 3405803797, ADDRESS),
    ("address", ["203.0.113.21"], ADDRESS),
    ("address", "fe80::1", NOBODY),
    ("address", "239.0.0.1", UNICAST),
    ("weight", -1, WEIGHTS),
    ("weight", 256, WEIGHTS),
    ("weight", 1.5, WEIGHTS),
    ("weight", "heavy", WEIGHTS),
    ("weight", "50%", WEIGHTS),
    ("weight", True, WEIGHTS),
    ("weight", [1], WEIGHTS),
    ("weight", {}, WEIGHTS),
    ("weight", "", WEIGHTS),
    ("state", "down", STATES),
    ("state", "Enabled", STATES),
    ("state", "enabled ", STATES),
    ("state", True, STATES),
    ("state", ["enabled"], STATES),
    ("state", 1, STATES),
    ("mac", "52:54:00", MAC),
    ("mac", SEXAGESIMAL, QUOTED),
    ("mac", ["52:54:00:00:00:0b"], MAC),
    ("mac", "ff:ff:ff:ff:ff:ff", "not a unicast MAC address"),
    ("mtu", 575, MTUS),
    ("mtu", 65536, MTUS),
    ("mtu", "1400 bytes", MTUS),
    ("mtu", True, MTUS),
    ("mtu", {"bytes": 1400}, MTUS),
    ("backup", "perhaps", TRUTH),
    ("backup", 1, TRUTH),
    ("backup", [], TRUTH),
    ("held", True, "only drained and disabled backends are held"),
    ("held", "maybe", TRUTH),
    ("wieght", 1, UNKNOWN + "did you mean weight?"),
    ("port", 8080, OF_A_BACKEND),
    ("ip", "203.0.113.21", OF_A_BACKEND),
]
"""Of the first backend of the service web."""

CHECKS: list[tuple[Options, str, str]] = [
    ({}, "type", TYPES),
    ({"type": "ping"}, "type", TYPES),
    ({"type": "HTTP"}, "type", TYPES),
    ({"type": ["tcp"]}, "type", TYPES),
    ({"type": "tcp", "tiemout": 1}, "tiemout", UNKNOWN + "did you mean timeout?"),
    (
        {"type": "tcp", "retries": 1},
        "retries",
        UNKNOWN + "use type, via, port, interval, timeout, rise",
    ),
    (
        {"type": "tcp", "status": [200, 299]},
        "status",
        "a check of type tcp has no status" + NO_HTTP,
    ),
    ({"type": "dns", "status": 200}, "status", "a check of type dns has no status" + NO_HTTP),
    ({"type": "udp", "path": "/"}, "path", "a check of type udp has no path" + NO_HTTP),
    ({"type": "tcp", "host": "a.example"}, "host", "a check of type tcp has no host" + NO_HTTP),
    (
        {"type": "http", "verify": True},
        "verify",
        "a check of type http has no verify; leave it out, or use type https",
    ),
    (
        {"type": "tcp", "verify": "yes"},
        "verify",
        "a check of type tcp has no verify; leave it out, or use type https",
    ),
    (
        {"type": "http", "query": "a.example A"},
        "query",
        "a check of type http has no query; leave it out, or use type dns",
    ),
    (
        {"type": "http", "send": "GET / HTTP/1.0"},
        "send",
        "a check of type http has no send; leave it out, or use type tcp or udp",
    ),
    (
        {"type": "command", "command": ["/bin/true"], "expect": "ok"},
        "expect",
        "a check of type command has no expect; leave it out, or use type tcp or http or https",
    ),
    (
        {"type": "tcp", "command": ["/bin/true"]},
        "command",
        "a check of type tcp has no command; leave it out, or use type command",
    ),
    ({"type": "tcp", "via": "vip"}, "via", "choose one of tunnel, address"),
    ({"type": "tcp", "via": True}, "via", "choose one of tunnel, address"),
    (
        {"type": "command", "command": ["/bin/true"], "via": "tunnel"},
        "via",
        "what a command sends is not known, so it cannot go there; use via: address",
    ),
    ({"type": "tcp", "port": 0}, "port", FROM_1),
    ({"type": "tcp", "port": 65536}, "port", FROM_1),
    ({"type": "tcp", "port": "https"}, "port", FROM_1),
    ({"type": "tcp", "interval": 0}, "interval", INTERVALS),
    ({"type": "tcp", "interval": 0.05}, "interval", INTERVALS),
    ({"type": "tcp", "interval": 3601}, "interval", INTERVALS),
    ({"type": "tcp", "interval": "2s"}, "interval", INTERVALS),
    ({"type": "tcp", "interval": True}, "interval", INTERVALS),
    ({"type": "tcp", "interval": float("nan")}, "interval", INTERVALS),
    ({"type": "tcp", "interval": "1e3"}, "interval", INTERVALS),
    ({"type": "tcp", "timeout": 0}, "timeout", TIMEOUTS),
    ({"type": "tcp", "timeout": 61}, "timeout", TIMEOUTS),
    ({"type": "tcp", "timeout": "１"}, "timeout", TIMEOUTS),
    (
        {"type": "tcp", "timeout": 3},
        "timeout",
        "longer than the interval of 2 s; shorten it, or lengthen that",
    ),
    (
        {"type": "https", "timeout": "1.5", "interval": 0.5},
        "timeout",
        "longer than the interval of 0.5 s; shorten it, or lengthen that",
    ),
    ({"type": "tcp", "rise": 0}, "rise", FROM_1_TO_100),
    ({"type": "tcp", "rise": 101}, "rise", FROM_1_TO_100),
    ({"type": "tcp", "rise": 1.5}, "rise", FROM_1_TO_100),
    ({"type": "tcp", "fall": 0}, "fall", FROM_1_TO_100),
    ({"type": "tcp", "fall": "many"}, "fall", FROM_1_TO_100),
    ({"type": "http", "path": "health"}, "path", PATH),
    ({"type": "http", "path": "/a b"}, "path", PATH),
    ({"type": "http", "path": "/a\r\nX: y"}, "path", PATH),
    ({"type": "http", "path": "http://www.example.com/"}, "path", PATH),
    ({"type": "https", "path": "/é"}, "path", PATH),
    ({"type": "https", "path": 1}, "path", PATH),
    ({"type": "http", "path": "/" * 1025}, "path", PATH),
    ({"type": "http", "host": "www example"}, "host", HOST),
    ({"type": "http", "host": "a\r\nX: y"}, "host", HOST),
    ({"type": "https", "host": "bücher.example"}, "host", HOST),
    ({"type": "https", "host": "https://www.example.com"}, "host", HOST),
    ({"type": "https", "host": 1}, "host", HOST),
    ({"type": "https", "verify": "perhaps"}, "verify", TRUTH),
    ({"type": "https", "verify": 1}, "verify", TRUTH),
    ({"type": "http", "status": []}, "status", STATUS),
    ({"type": "http", "status": [200, 299, 301]}, "status", STATUS),
    ({"type": "http", "status": [299, 200]}, "status", STATUS),
    ({"type": "http", "status": [0, 299]}, "status", STATUS),
    ({"type": "http", "status": [200, 600]}, "status", STATUS),
    ({"type": "http", "status": "2xx"}, "status", STATUS),
    ({"type": "http", "status": "200-299"}, "status", STATUS),
    ({"type": "http", "status": True}, "status", STATUS),
    ({"type": "http", "status": {"least": 200}}, "status", STATUS),
    ({"type": "dns"}, "query", QUERY),
    ({"type": "dns", "query": ""}, "query", QUERY),
    ({"type": "dns", "query": "www.example.com ANY"}, "query", QUERY),
    ({"type": "dns", "query": "www.example.com A AAAA"}, "query", QUERY),
    ({"type": "dns", "query": "www..example.com"}, "query", QUERY),
    ({"type": "dns", "query": "x" * 64 + ".example A"}, "query", QUERY),
    ({"type": "dns", "query": "x." * 126 + "xx A"}, "query", QUERY),
    ({"type": "dns", "query": "www/example A"}, "query", QUERY),
    ({"type": "dns", "query": ["www.example.com", "A"]}, "query", QUERY),
    ({"type": "tcp", "send": 1}, "send", QUOTES),
    ({"type": "tcp", "send": "x" * 1025}, "send", BYTES),
    ({"type": "http", "expect": 200}, "expect", QUOTES),
    ({"type": "http", "expect": ["ok"]}, "expect", QUOTES),
    ({"type": "dns", "query": "a.example", "expect": "ä" * 600}, "expect", BYTES),
    ({"type": "command"}, "command", WORDS),
    ({"type": "command", "command": []}, "command", WORDS),
    ({"type": "command", "command": "/bin/check {address}"}, "command", WORDS),
    ({"type": "command", "command": {"path": "/bin/true"}}, "command", WORDS),
    ({"type": "command", "command": ["/bin/check", None]}, "command[1]", QUOTES),
    ({"type": "command", "command": ["/bin/check", True]}, "command[1]", QUOTES),
    ({"type": "command", "command": ["/bin/check", 1.5]}, "command[1]", QUOTES),
    ({"type": "command", "command": ["check"]}, "command[0]", PROGRAM),
    ({"type": "command", "command": ["./check"]}, "command[0]", PROGRAM),
    ({"type": "command", "command": ["/bin/"]}, "command[0]", PROGRAM),
    ({"type": "command", "command": [""]}, "command[0]", PROGRAM),
    (
        {"type": "command", "command": ["/bin/check", "{host}"]},
        "command[1]",
        "{host} stands for nothing; use {address} or {port}",
    ),
    ({"type": "command", "command": ["/bin/check", "a\0b"]}, "command[1]", BYTES + " without NUL"),
    (
        {"type": "command", "command": ["/bin/check", *["x" * 1000] * 2]},
        "command",
        "use up to 1024 bytes together",
    ),
]
"""The check of the service web: option, and what is said of it."""


def service(**options: Any) -> Options:
    """A good one but for these; None leaves one out."""
    return {name: value for name, value in {**GOOD, **options}.items() if value is not None}


def wanted(*services: Any, **options: Any) -> Options:
    """A good configuration but for these."""
    return {"interface": "eth0", "services": [*(services or (service(),))], **options}


def servers(*addresses: str) -> list[Options]:
    return [{"address": address} for address in addresses]


WHOLE: list[tuple[Options, str]] = [
    (
        wanted(hash_seed=-1),
        "hash_seed: 'not shown': give a whole number from 0 to 18446744073709551615",
    ),
    (
        wanted(hash_seed="4711 " * 2),
        "hash_seed: 'not shown': give a whole number from 0 to 18446744073709551615",
    ),
    (
        wanted(hash_seed=2**64),
        "hash_seed: 'not shown': give a whole number from 0 to 18446744073709551615",
    ),
    (wanted(own_macs=["02:00"]), f"own_macs[0]: '02:00': {MAC}"),
    (wanted(own_macs=[None]), f"own_macs[0]: None: {MAC}"),
    (wanted(own_macs=[SEXAGESIMAL]), f"own_macs[0]: {SEXAGESIMAL}: {QUOTED}"),
    (wanted(own_macs="02:00,x"), f"own_macs[0]: '02:00': {MAC}"),
    (
        wanted(own_macs=[f"02:00:00:00:00:{one:02x}" for one in range(33)]),
        "own_macs: '33 addresses': at most 32 fit",
    ),
    (
        {"interface": "eth0"},
        "services: None: give the services; an empty list is a balancer without any",
    ),
    ({}, f"interface: None: {INTERFACE}"),
    ({"services": []}, f"interface: None: {INTERFACE}"),
    ({"state": "absent"}, f"interface: None: {INTERFACE}"),
    (wanted("web"), f"services[0]: 'web': {MAPPING}"),
    (wanted(None), f"services[0]: None: {MAPPING}"),
    (wanted([service()]), "services[0]: [{"),
    (wanted(service(), 80), f"services[1]: 80: {MAPPING}"),
    (wanted(service(name=None)), f"services[0].name: None: {NAME}"),
    (wanted(service(name="")), f"services[0].name: '': {NAME}"),
    (wanted(service(name=" ")), f"services[0].name: ' ': {NAME}"),
    (wanted(service(name=80)), f"services[0].name: 80: {TEXT}"),
    (wanted(service(name=1.1)), f"services[0].name: 1.1: {TEXT}"),
    (wanted(service(name=False)), f"services[0].name: False: {TEXT}"),
    (wanted(service(name=["web"])), f"services[0].name: ['web']: {TEXT}"),
    (
        wanted(service(name="a\nb")),
        "services[0].name: 'a\\nb': use up to 63 bytes of printable text",
    ),
    (
        wanted(service(name="x" * 64)),
        f"services[0].name: '{'x' * 64}': use up to 63 bytes of printable text",
    ),
    (wanted(service(name="x" * 9999)), "services[0].name: 'xxx"),
    (
        wanted(service(port=0, check={"type": "tcp"})),
        "services[web].check.port: None: the service has every port; give the one to check",
    ),
    (
        wanted(service(port=0, check={"type": "command", "command": ["/bin/check", "{port}"]})),
        "services[web].check.port: None: the service has every port; give the one to check",
    ),
    (
        wanted(service(), service(port=81)),
        "services: 'web': two services have this name; rename one",
    ),
    (
        wanted(service(), service(name="web ", port=81)),
        "services: 'web': two services have this name; rename one",
    ),
    (
        wanted(service(), service(name="www")),
        "services[www]: '192.0.2.10 80/tcp': service web has this address, port and protocol already; merge them",
    ),
    (
        wanted(service(), service(name="www", port="80")),
        "services[www]: '192.0.2.10 80/tcp': service web has this address, port and protocol already; merge them",
    ),
    (
        wanted(service(backends=["203.0.113.21"])),
        f"services[web].backends[0]: '203.0.113.21': {MAPPING}",
    ),
    (wanted(service(backends=[None])), f"services[web].backends[0]: None: {MAPPING}"),
    (wanted(service(backends=[{}])), f"services[web].backends[0].address: None: {ADDRESS}"),
    (wanted(service(backends=[[]])), f"services[web].backends[0]: []: {MAPPING}"),
    (
        wanted(service(backends=servers("10.0.0.1", "10.0.0.1"))),
        "services[web].backends[1].address: '10.0.0.1': listed twice; give it a larger weight instead",
    ),
    (
        wanted(service(backends=servers("fd00::1", "FD00:0::1"))),
        "services[web].backends[1].address: 'fd00::1': listed twice; give it a larger weight instead",
    ),
    (
        wanted(
            service(
                scheduler="jhash",
                backends=servers(*(f"10.0.{n >> 8}.{n & 255}" for n in range(513))),
            )
        ),
        "services[web].backends: '513 backends': the jhash scheduler takes at most 512; use maglev",
    ),
    (
        wanted(service(backends=servers("127.0.0.1"))),
        f"services[web].backends[127.0.0.1].address: '127.0.0.1': a loopback address; {SERVER}",
    ),
    (
        wanted(service(backends=servers("192.0.2.10"))),
        "services[web].backends[192.0.2.10].address: '192.0.2.10': the address of the service web, so "
        f"packets would come back; {SERVER}",
    ),
    (
        wanted(service(encapsulation="l2"), gateway_mac="02:00:00:00:00:01"),
        "services[web].encapsulation: 'l2': 203.0.113.21 would get its packets from gateway_mac; give it its "
        "own mac if it is on the balancer's link, else choose another encapsulation",
    ),
    (
        wanted(interface="lo"),
        "interface: 'lo': has no MAC address, so it is not where clients' packets come in; give the one that is",
    ),
    (
        wanted(source_address="192.0.2.10"),
        "source_address: '192.0.2.10': has the address of web, whose backends take nothing from there; give an "
        "address of the host, or leave this option out",
    ),
    (
        wanted(gateway_mac="02:00:00:00:00:01", own_macs=["02:00:00:00:00:01"]),
        "gateway_mac: '02:00:00:00:00:01': the balancer's own, so packets to backends would come in again; give "
        "the gateway's",
    ),
]
"""A configuration, and the message or how it begins."""

GROUPS = "give the name of one group; one that has others as children has all their hosts"
IN_INVENTORY = "give a group whose hosts are the backends"
OF_THE_ROLE: list[tuple[Options, str]] = [
    (
        wanted(service(backends=None)),
        "services[web].backends: None: give backends or backend_group; backends: [] is a service that drops everything",
    ),
    (
        wanted(service(backend_group=["webservers"])),
        f"services[web].backend_group: ['webservers']: {GROUPS}",
    ),
    (
        wanted(service(backend_group=["a", "b"])),
        f"services[web].backend_group: ['a', 'b']: {GROUPS}",
    ),
    (
        wanted(service(backend_group={"webservers": {}})),
        f"services[web].backend_group: {{'webservers': {{}}}}: {GROUPS}",
    ),
    (wanted(service(backend_group=1)), f"services[web].backend_group: 1: {GROUPS}"),
    (wanted(service(backend_group=True)), f"services[web].backend_group: True: {GROUPS}"),
    (
        wanted(service(backend_group="wbservers")),
        f"services[web].backend_group: 'wbservers': it is not in the inventory; {IN_INVENTORY}",
    ),
    (
        wanted(service(backend_group="")),
        f"services[web].backend_group: '': it is not in the inventory; {IN_INVENTORY}",
    ),
    (wanted(manage_packages="perhaps"), f"manage_packages: 'perhaps': {TRUTH}"),
    (wanted(manage_packages=0), f"manage_packages: 0: {TRUTH}"),
    (wanted(manage_packages=[]), f"manage_packages: []: {TRUTH}"),
]
"""With what the role alone has."""

# Unknown variables are others' affair, and at the most warned of.
OF_MODULE_AND_COMMAND: list[tuple[Options, str]] = [
    (
        wanted(service(backend_group="webservers")),
        "services[web].backend_group: 'webservers': no such option; groups are known to the role xdp.l4lb.l4lb "
        "alone; list the backends",
    ),
    (
        wanted(manage_packages=False),
        "manage_packages: False: no such option; use interface, mode, ",
    ),
    (wanted(adress="x"), "adress: 'x': no such option; did you mean source_address?"),
    (
        wanted(flow_tabel_size=1),
        "flow_tabel_size: 1: no such option; did you mean flow_table_size?",
    ),
    (wanted(hash_sed=4711), "hash_sed: 'not shown': no such option; did you mean hash_seed?"),
]

ODD: list[tuple[Options, Options]] = [
    (wanted(mode=None), {"mode": "auto"}),
    (wanted(flow_table_size="4096"), {"flow_table_size": 4096}),
    (wanted(flow_table_size=" 4096 "), {"flow_table_size": 4096}),
    (wanted(echo_rate="007"), {"echo_rate": 7}),
    (wanted(hash_seed="4711"), {"hash_seed": 4711}),
    (wanted(source_address=""), {"source_address": None}),
    (wanted(source_address=" 198.51.100.1 "), {"source_address": "198.51.100.1"}),
    (wanted(source_address="198.51.100.0/255.255.255.0"), {"source_address": "198.51.100.0/24"}),
    (wanted(gateway_mac="52-54-00-12-34-5A"), {"gateway_mac": "52:54:00:12:34:5a"}),
    (wanted(gateway_mac=" 52:54:00:12:34:5a\n"), {"gateway_mac": "52:54:00:12:34:5a"}),
    (wanted(gateway_mac=""), {"gateway_mac": None}),
    (wanted(own_macs=None), {"own_macs": []}),
    (wanted(own_macs="02:00:00:00:00:01"), {"own_macs": ["02:00:00:00:00:01"]}),
    (
        wanted(own_macs="02:00:00:00:00:02, 02:00:00:00:00:01"),
        {"own_macs": ["02:00:00:00:00:01", "02:00:00:00:00:02"]},
    ),
    (wanted(allow_own_address="yes"), {"allow_own_address": True}),
    (wanted(allow_own_address="False"), {"allow_own_address": False}),
    (wanted(allow_own_address=" on "), {"allow_own_address": True}),
    (wanted(replace="no"), {}),
    (wanted(services=[]), {"services": []}),
    (wanted(service(name=" web ")), {"name": "web"}),
    (wanted(service(address=" 192.0.2.10")), {"address": "192.0.2.10"}),
    (wanted(service(address="2001:DB8:0::0:10")), {"address": "2001:db8::10"}),
    (wanted(service(port="80")), {"port": 80}),
    (wanted(service(port="080 ")), {"port": 80}),
    (wanted(service(port=0)), {"port": 0}),
    (wanted(service(flow_table="no")), {"flow_table": False}),
    (wanted(service(flow_table="Yes")), {"flow_table": True}),
    (wanted(service(check=None, on_unhealthy="auto", min_healthy="1", slow_start="0")), {}),
    (
        wanted(service(check={"type": "http", "path": " /health", "host": "WWW.example.com"})),
        {
            "check": {
                "type": "http",
                "via": "tunnel",
                "port": 80,
                "interval": 2,
                "timeout": 1,
                **TWICE_AND_THRICE,
                "path": "/health",
                "host": "www.example.com",
                "status": [200, 299],
            }
        },
    ),
    (
        wanted(
            service(check={"type": "https", "status": "204", "verify": "yes", "timeout": "2.5"})
        ),
        {
            "check": {
                "type": "https",
                "via": "tunnel",
                "port": 80,
                "interval": 5,
                "timeout": 2.5,
                **TWICE_AND_THRICE,
                "path": "/",
                "status": [204, 204],
                "verify": True,
            }
        },
    ),
    (
        wanted(service(check={"type": "dns", "query": "WWW.Example.com. aaaa", "interval": "0.5"})),
        {
            "check": {
                "type": "dns",
                "via": "tunnel",
                "port": 80,
                "interval": 0.5,
                "timeout": 0.5,
                **TWICE_AND_THRICE,
                "query": "www.example.com AAAA",
            }
        },
    ),
    (
        wanted(
            service(
                port=0,
                check={
                    "type": "command",
                    "command": ["/bin/check", "{address}", 7],
                    "verify": "no",
                },
            )
        ),
        {
            "check": {
                "type": "command",
                "via": "address",
                "interval": 2,
                "timeout": 1,
                **TWICE_AND_THRICE,
                "command": ["/bin/check", "{address}", "7"],
            }
        },
    ),
    (wanted(service(check={"type": "tcp"}, min_healthy="50%")), {"min_healthy": "50 %"}),
    (wanted(service(check={"type": "tcp"}, min_healthy=" 007 % ")), {"min_healthy": "7 %"}),
    (wanted(service(check={"type": "tcp"}, min_healthy="2")), {"min_healthy": 2}),
    (wanted(service(backends=[])), {"backends": []}),
    (
        wanted(
            service(backends=[{"address": "203.0.113.21 ", "weight": "3", "mtu": "", "mac": None}])
        ),
        {},
    ),
]
"""What can only mean one thing -> what it means: of the balancer, or of its first service."""


@dataclass(frozen=True)
class Case:
    """A row of all tables: options of module and command, and the message or how it begins."""

    options: Options
    message: str
    faces: tuple[str, ...] = ("role", "module", "command")


def _cases() -> list[Case]:
    def at(where: str, value: Any, remedy: str) -> str:
        return "" if len(where) > 100 else f"{where}: {value!r}: {remedy}"

    found = [
        Case(wanted(**{option: value}), at(option, value, remedy))
        for option, value, remedy in SETTINGS
    ]
    found += [
        Case(wanted({**GOOD, option: value}), at(f"services[web].{option}", value, remedy))
        for option, value, remedy in SERVICES
    ]
    for check, option, remedy in CHECKS:
        value = f"{len(check['command'])} words" if "together" in remedy else check.get(option)
        if option.startswith("command["):
            value = check["command"][int(option[8:-1])]
        where = f"services[web].check.{option}"
        begin = at(where, value, remedy) if len(repr(value)) < 80 else f"{where}: "
        found.append(Case(wanted(service(check=check)), begin))
    found += [
        Case(
            wanted(service(backends=[{"address": "203.0.113.21", option: value}])),
            at(f"services[web].backends[0].{option}", value, remedy),
        )
        for option, value, remedy in BACKENDS
    ]
    found += [Case(options, message) for options, message in WHOLE]
    found += [Case(options, message, ("role",)) for options, message in OF_THE_ROLE]
    found += [
        Case(options, message, ("module", "command")) for options, message in OF_MODULE_AND_COMMAND
    ]
    return found


CASES = _cases()
