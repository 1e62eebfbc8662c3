# SPDX-FileCopyrightText: 2026 The xdp.l4lb authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Balancers of a fleet compared: who differs from the others in what, in words."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.xdp.l4lb.plugins.filter.fleet import differences, refusal_to_withdraw
from ansible_collections.xdp.l4lb.plugins.plugin_utils.fleet import KINDS

CHECKOUT = Path(__file__).resolve().parents[2]
Facts = dict[str, Any]
Change = Callable[[Facts], object]


def backend(last: int, **more: Any) -> Facts:
    counts = {"packets": 10 * last, "bytes": 1000 * last}
    return {"address": f"10.0.0.{last}", "weight": 1, "state": "enabled", **counts, **more}


def facts() -> Facts:
    """Of a balancer, as l4lb_stats tells them."""
    digests = {"configuration": "c", "lookup_table": "t", "states": "s"}
    service = {"name": "web", "address": "192.0.2.10", "port": 80, "protocol": "tcp"}
    check = {"type": "tcp", "interval": 2}
    return {
        "mode": "native",
        "digest": "d",
        "versions": {"collection": "0.1.0", "program": "p", "bcc": "0.26.0", "kernel": "6.1"},
        "settings": {"echo_rate": 10000, "hash_seed": "set (1f0c)"},
        "services": [
            {
                **service,
                "packets": 30,
                "bytes": 3000,
                "fails_open": False,
                "digests": digests,
                "options": {"scheduler": "maglev", "check": check},
                "backends": [backend(n, healthy=True) for n in (1, 2)],
            }
        ],
        "drops": {"fragment": 0, "no_route": 0},
        "answers": {"echo_reply": 0},
        "flow_table": {"hits": 1},
    }


def answer(interfaces: Facts | None = None, **more: Any) -> Facts:
    """What the task was registered as, with a warning of Ansible's own."""
    more = {"warnings": ["Host is using the discovered Python interpreter"], **more}
    found = {"eth0": facts()} if interfaces is None else interfaces
    return {"changed": False, "ansible_facts": {"l4lb": found}, **more}


def fleet(change: Change = lambda _facts: None, count: int = 3) -> Facts:
    """So many balancers, the last of which is otherwise."""
    found = {f"lb{n}": answer() for n in range(1, count + 1)}
    change(found[f"lb{count}"]["ansible_facts"]["l4lb"]["eth0"])
    return found


def web(found: Facts) -> Facts:
    service: Facts = found["services"][0]
    return service


def configured(change: Change) -> Change:
    """One of the configuration of web."""

    def changed(found: Facts) -> None:
        web(found)["digests"] = {**web(found)["digests"], "configuration": "other"}
        change(web(found))

    return changed


def stated(**state: Any) -> Change:
    """The first backend of web is in another state."""

    def changed(found: Facts) -> None:
        web(found)["digests"] = {**web(found)["digests"], "states": "other"}
        web(found)["backends"][0].update(state)

    return changed


OTHERS = "lb1, lb2"


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (
            lambda one: one["versions"].update(kernel="6.12"),
            "kernel",
            f"the kernel is 6.12 on lb3, and 6.1 on {OTHERS}",
        ),
        (
            lambda one: one["versions"].update(collection=None),
            "collection",
            f"the version of the collection is not known on lb3, and 0.1.0 on {OTHERS}",
        ),
        (
            lambda one: one.update(mode="generic"),
            "mode",
            f"the mode is generic on lb3, and native on {OTHERS}",
        ),
        (
            lambda one: one["settings"].update(echo_rate=5),
            "configuration",
            f"echo_rate is 5 on lb3, and 10000 on {OTHERS}",
        ),
        (
            lambda one: one["services"].clear(),
            "configuration",
            f"web: it is no service on lb3, and a service on {OTHERS}",
        ),
        (
            configured(lambda service: service.update(port=81)),
            "configuration",
            f"web: port is 81 on lb3, and 80 on {OTHERS}",
        ),
        (
            configured(lambda service: service["options"].update(scheduler="jhash")),
            "configuration",
            f"web: scheduler is jhash on lb3, and maglev on {OTHERS}",
        ),
        (
            configured(lambda service: service["options"]["check"].update(interval=5)),
            "configuration",
            f"web: check.interval is 5 on lb3, and 2 on {OTHERS}",
        ),
        (
            configured(lambda service: service["options"].pop("check")),
            "configuration",
            f"web: check is none on lb3, and given on {OTHERS}",
        ),
        (
            configured(lambda service: service["backends"].pop()),
            "configuration",
            f"web: 10.0.0.2 is no backend on lb3, and a backend on {OTHERS}",
        ),
        (
            configured(lambda service: service["backends"][1].update(weight=3)),
            "configuration",
            f"web: the weight of 10.0.0.2 is 3 on lb3, and 1 on {OTHERS}",
        ),
        (
            configured(lambda service: service["backends"][1].update(mtu=1400)),
            "configuration",
            f"web: mtu of 10.0.0.2 is 1400 on lb3, and not given on {OTHERS}",
        ),
        (
            configured(lambda _service: None),
            "configuration",
            f"web: the digest of its configuration is other on lb3, and c on {OTHERS}",
        ),
        (
            stated(state="drained", held=True),
            "states",
            f"web: 10.0.0.1 is drained by an order on lb3, and enabled on {OTHERS}",
        ),
        (
            stated(weight=7, configured_weight=1),
            "states",
            f"web: 10.0.0.1 is enabled and of weight 7 by an order on lb3, and enabled on {OTHERS}",
        ),
        (
            stated(healthy=False, reason="HTTP 503"),
            "states",
            f"web: 10.0.0.1 is enabled and unhealthy (HTTP 503) on lb3, and enabled on {OTHERS}",
        ),
        (
            lambda one: web(one)["digests"].update(lookup_table="u"),
            "lookup_table",
            (
                f"web: for the same configuration and states the digest of its lookup table is u "
                f"on lb3, and t on {OTHERS}; apply the configuration again"
            ),
        ),
    ],
)
def test_one_of_three(change: Change, kind: str, text: str) -> None:
    found = differences(fleet(change))
    assert found["differ"]
    assert found["lines"] == [text]
    (finding,) = found["findings"]
    assert (finding["kind"], finding["who"]) == (kind, ["lb3"])
    assert finding["service"] == ("web" if text.startswith("web") else None)
    assert found["summary"].startswith(f"1 of 3 balancers differ: lb3 ({KINDS[kind]}")


def test_nobody_differs() -> None:
    for count in (1, 2, 40):
        found = differences(fleet(count=count))
        assert found == {
            "differ": False,
            "summary": f"{count} of {count} balancers were asked, and do not differ",
            "lines": [],
            "findings": [],
        }


def test_a_tie_names_all() -> None:
    found = differences(fleet(lambda one: one.update(mode="generic"), count=2))
    assert found["findings"][0]["who"] == ["lb1", "lb2"]
    assert found["lines"] == [
        (
            "the mode is native on lb1, and generic on lb2; as many have the one as the other, so "
            "who is wrong is not known"
        )
    ]


def test_three_opinions() -> None:
    results = fleet(lambda one: one.update(mode="a"), count=5)
    results["lb1"]["ansible_facts"]["l4lb"]["eth0"]["mode"] = "b"
    found = differences(results)
    assert found["lines"] == ["the mode is b on lb1, a on lb5, and native on lb2, lb3, lb4"]
    assert found["findings"][0]["who"] == ["lb1", "lb5"]


def test_a_table_that_differs_with_its_cause_is_no_difference_of_its_own() -> None:
    def drained(found: Facts) -> None:
        stated(state="drained")(found)
        web(found)["digests"]["lookup_table"] = "u"

    too = "; the lookup table is another one, too"
    states = ["drained on lb3, and enabled on lb1, lb2", "enabled on lb1, and drained on lb2"]
    found = differences(fleet(drained))
    assert found["lines"] == [f"web: 10.0.0.1 is {states[0]}{too}"]
    assert [one["kind"] for one in found["findings"]] == ["states"]
    (line,) = differences(fleet(drained, count=2))["lines"]
    assert line.startswith(f"web: 10.0.0.1 is {states[1]}; as many") and line.endswith(too)


def test_an_order_that_matters() -> None:
    def reverse(service: Facts) -> None:
        service["backends"].reverse()

    results = fleet(configured(reverse))
    for one in results.values():
        web(one["ansible_facts"]["l4lb"]["eth0"])["options"]["scheduler"] = "jhash"
    assert differences(results)["lines"] == [
        (
            "web: the order of its backends is 10.0.0.2, 10.0.0.1 on lb3, and 10.0.0.1, 10.0.0.2 "
            "on lb1, lb2"
        )
    ]


def test_what_checks_do_may_differ_in_words() -> None:
    """One is refused, the other waits in vain: both know."""
    results = fleet(stated(healthy=False, reason="refused"))
    for name in ("lb1", "lb2"):
        stated(healthy=False, reason="timeout")(results[name]["ansible_facts"]["l4lb"]["eth0"])
    assert differences(results)["lines"] == []


def test_who_says_nothing_is_named() -> None:
    results = {
        **fleet(),
        "lb4": {"unreachable": True, "msg": "Failed to connect:\n timed out", "changed": False},
        "lb5": {"failed": False, "msg": "root is needed"},
        "lb6": answer({}),
        "lb7": answer({}, problems=["eth0 is paused since yesterday; l4lb resume eth0 ends that"]),
        "lb8": None,
    }
    found = differences(results)
    assert found["lines"] == [
        "lb4 cannot be reached: Failed to connect: timed out",
        "lb5 cannot be asked: root is needed",
        "lb8 cannot be reached: no answer",
        "lb6: does not balance",
        "lb7: eth0 is paused since yesterday; l4lb resume eth0 ends that",
    ]
    assert found["summary"] == (
        "5 of 8 balancers differ: lb4 (no answer), lb5 (what should balance does not), "
        "lb8 (no answer), lb6 (what should balance does not), lb7 (what should balance does not)"
    )


def test_announcements() -> None:
    told = {"announced": True, "reason": None}
    results = fleet()
    for name in ("lb1", "lb2", "lb3"):
        results[name]["ansible_facts"]["l4lb"]["eth0"]["announcement"] = {"192.0.2.10": told}
    assert not differences(results)["differ"]
    quiet = {"192.0.2.10": {"announced": False, "reason": "withdrawn by the operator"}}
    results["lb2"]["ansible_facts"]["l4lb"]["eth0"]["announcement"] = quiet
    assert differences(results)["lines"] == [
        "192.0.2.10 is not announced (withdrawn by the operator) on lb2, and announced on lb1, lb3"
    ]


def announcing(**vips: list[str]) -> Facts:
    """Balancers that are told to announce two VIPs, and announce these."""
    results = {name: answer() for name in vips}
    for name, those in vips.items():
        results[name]["ansible_facts"]["l4lb"]["eth0"]["announcement"] = {
            vip: {"announced": vip in those, "reason": None} for vip in ("v4", "v6")
        }
    return results


def test_the_last_to_announce_is_not_withdrawn() -> None:
    results = announcing(lb1=["v4", "v6"], lb2=["v4"], lb3=[])
    assert refusal_to_withdraw(results, "lb1") == (
        "lb1 is the last one known to announce v6; announce another before, or give l4lb_force=true"
    )
    assert refusal_to_withdraw(results, "lb1", force=True) == ""
    assert refusal_to_withdraw(results, "lb2") == refusal_to_withdraw(results, "lb3") == ""


def test_who_cannot_be_withdrawn() -> None:
    results = {**announcing(lb1=["v4"]), "lb2": answer(), "lb3": {"unreachable": True}}
    for name, told in (
        ("lb2", "lb2 announces no VIPs, so it is for the router to leave it out"),
        ("lb3", "lb3 cannot be reached: no answer"),
        ("lb4", "l4lb_balancer: 'lb4': this run is for other balancers: lb1, lb2, lb3"),
    ):
        for force in (False, True):
            assert refusal_to_withdraw(results, name, force) == told


def test_several_interfaces_are_compared_by_their_names() -> None:
    results = fleet()
    for name, one in results.items():
        interfaces = one["ansible_facts"]["l4lb"]
        if name != "lb3":
            interfaces["eth1"] = copy.deepcopy({**facts(), "services": []})
    results["lb2"]["ansible_facts"]["l4lb"]["eth1"]["mode"] = "generic"
    assert differences(results)["lines"] == [
        "eth1 is none on lb3, and an interface that balances on lb1, lb2",
        (
            "the mode is native on lb1 eth1, and generic on lb2 eth1; as many have the one as the "
            "other, so who is wrong is not known"
        ),
    ]


def test_the_name_of_a_single_interface_does_not_matter() -> None:
    results = fleet()
    results["lb2"] = answer({"bond0": facts()})
    assert not differences(results)["differ"]


def test_what_is_ignored_is_told_and_does_not_count() -> None:
    results = fleet(lambda one: one["versions"].update(kernel="6.12"))
    found = differences(results, ["kernel", "bcc"])
    assert not found["differ"]
    assert found["lines"] == ["the kernel is 6.12 on lb3, and 6.1 on lb1, lb2 (ignored)"]
    assert differences(results, "kernel") == found
    assert differences(results, ["bcc"])["differ"]


def test_names_cannot_have_a_terminal_obey() -> None:
    results = fleet(lambda one: one["services"][0].update(name="a\x1b[2Jb"))
    assert not any("\x1b" in line for line in differences(results)["lines"])


def test_wrong_input() -> None:
    with pytest.raises(AnsibleFilterError, match="l4lb_ignore: 'kernels': choose among unre"):
        differences(fleet(), ["kernels"])
    with pytest.raises(AnsibleFilterError, match="not results of l4lb_stats"):
        differences({"lb1": {"ansible_facts": {"l4lb": ["eth0"]}}})


def test_kinds_are_documented() -> None:
    page = yaml.safe_load((CHECKOUT / "plugins/filter/differences.yml").read_text())
    assert page["DOCUMENTATION"]["options"]["ignore"]["choices"] == [*KINDS]
