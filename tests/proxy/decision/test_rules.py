"""Conditions, segments and rules: each kind of condition and text comparison, on a real Envoy."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Launch, config, rollout
from lab import arithmetic, bootstrap
from lab.client import ask, users
from lab.envoy import Envoy
from lab.wire import Reply, get

RULED = ("canary", "RULE")
UNRULED = ("stable", "DEFAULT")


def decision(reply: Reply) -> tuple[str | None, str | None]:
    """Version and reason; the version by what the route table did with it."""
    assert reply.status == 200
    assert reply.one("x-cohort-checkout") == reply.one("x-served-by")
    return reply.one("x-served-by"), reply.one("x-cohort-reason")


def when(*conditions: dict[str, Any]) -> dict[str, Any]:
    """A rollout that gives the canary to nobody but those for whom one of the conditions holds."""
    return config(rollout(0, rules=[{"name": "rule", "match": list(conditions), "version": "canary"}]))


def ask_with(path: str = "/", *headers: tuple[str, str | bytes], **more: Any) -> dict[str, Any]:
    return {"path": path, "headers": list(headers), **more}


def plan(value: str | bytes) -> dict[str, Any]:
    return ask_with("/", ("x-plan", value))


#: A text comparison, values for which it holds, and values for which it does not.
TEXTS: list[tuple[dict[str, Any], list[str | bytes], list[str | bytes]]] = [
    ({"exact": "beta"}, ["beta"], ["Beta", "betas", "a-beta", "", b"beta\xff"]),
    ({"exact": "beta", "ignoreCase": True}, ["beta", "BETA", "bEta"], ["betas", b"BET\xc1"]),
    ({"exact": ""}, [""], ["beta"]),
    ({"prefix": "be"}, ["be", "beta", b"be\xff\xfe"], ["b", "abe", "Beta"]),
    ({"prefix": "be", "ignoreCase": True}, ["BE", "Beta"], ["b", "abe"]),
    ({"suffix": "ta"}, ["ta", "beta", b"\xff\xfeta"], ["a", "tab", "beTA"]),
    ({"suffix": "ta", "ignoreCase": True}, ["TA", "beTa"], ["a", "tab"]),
    ({"contains": "et"}, ["et", "beta", b"\xffet\xfe"], ["e", "bEta", "e-t"]),
    ({"contains": "et", "ignoreCase": True}, ["ET", "bEta"], ["e-t"]),
    ({"regex": "^v[0-9]+$"}, ["v1", "v123"], ["v", "av1", "v1b", "V1", b"v1\xff"]),
    ({"regex": "e[t]"}, ["et", "beta", b"\xffet"], ["e", "bEta"]),
    ({"regex": "^V[0-9]$", "ignoreCase": True}, ["v1", "V1"], ["v12"]),
    ({"in": ["US", "CA"]}, ["US", "CA"], ["us", "USA", "U", "", "US, CA"]),
    ({"in": ["US", "CA"], "ignoreCase": True}, ["us", "cA"], ["usa"]),
    ({"present": True}, ["", "beta", b"\xff"], []),
]


@pytest.mark.parametrize(("text", "holds", "fails"), TEXTS, ids=lambda v: str(v) if isinstance(v, dict) else "")
async def test_a_text_comparison_compares_bytes(direct: Envoy, text: dict, holds: list, fails: list):
    await direct.configure(when({"header": {"x-plan": text}}))
    for value in holds:
        assert decision(await get(direct.address, **plan(value))) == RULED, value
    for value in fails:
        assert decision(await get(direct.address, **plan(value))) == UNRULED, value
    # What is not there is like nothing.
    assert decision(await get(direct.address)) == UNRULED


async def test_present_false_holds_where_there_is_none(direct: Envoy):
    for part in (
        {"header": {"x-plan": {"present": False}}},
        {"cookie": {"plan": {"present": False}}},
        {"query": {"plan": {"present": False}}},
    ):
        await direct.configure(when(part))
        assert decision(await get(direct.address)) == RULED
        carried = ask_with("/?plan", ("x-plan", ""), ("cookie", "plan="))
        assert decision(await get(direct.address, **carried)) == UNRULED


SHOP = "shop.example.com"

#: A condition, requests for which it holds, and requests for which it does not.
CONDITIONS: list[tuple[dict[str, Any], list[dict], list[dict]]] = [
    (
        {"host": {"exact": SHOP}},
        [ask_with(host=SHOP), ask_with(host="SHOP.Example.com:8443")],
        [ask_with(host="example.com"), ask_with(host=f"{SHOP}.evil.example")],
    ),
    (
        {"host": {"suffix": ".example.com"}},
        [ask_with(host=SHOP), ask_with(host="a.EXAMPLE.com:80")],
        [ask_with(host="example.com"), ask_with(host="a.example.com.evil.example")],
    ),
    (
        {"path": {"prefix": "/checkout"}},
        [ask_with("/checkout"), ask_with("/checkout/cart?a=b")],
        [ask_with("/"), ask_with("/search?to=/checkout")],
    ),
    # Without the query string: it is the path that ends so.
    ({"path": {"suffix": ".js"}}, [ask_with("/a.js"), ask_with("/a.js?v=1")], [ask_with("/a?v=b.js")]),
    ({"path": {"exact": "/a"}}, [ask_with("/a"), ask_with("/a?")], [ask_with("/a/"), ask_with("/A")]),
    (
        {"method": ["POST", "PUT"]},
        [ask_with(method="POST"), ask_with(method="PUT")],
        [ask_with(), ask_with(method="PATCH")],
    ),
    (
        {"header": {"X-Plan": {"exact": "a"}}},
        [plan("a"), ask_with("/", ("X-PLAN", "a")), ask_with("/", ("x-plan", "a"), ("x-plan", "b"))],
        [plan("b"), ask_with("/", ("x-plan", "b"), ("x-plan", "a"))],
    ),
    (
        {"cookie": {"plan": {"exact": "beta"}}},
        [
            ask_with("/", ("cookie", "plan=beta")),
            ask_with("/", ("cookie", 'a=b;plan="beta" ; c=d')),
            ask_with("/", ("cookie", "a=b"), ("cookie", "c=d; plan=beta")),
            ask_with("/", ("cookie", "plan=beta; plan=alpha")),
        ],
        [
            ask_with("/", ("cookie", "plans=beta")),
            ask_with("/", ("cookie", "xplan=beta")),
            ask_with("/", ("cookie", "Plan=beta")),
            ask_with("/", ("cookie", "plan=alpha; plan=beta")),
            ask_with("/", ("cookie", "other=plan=beta")),
        ],
    ),
    ({"cookie": {"plan": {"prefix": "b"}}}, [ask_with("/", ("cookie", b"x=\xff; plan=b\xfe"))], []),
    (
        {"query": {"plan": {"exact": "a%20b"}}},
        [ask_with("/?plan=a%20b"), ask_with("/?x=y&plan=a%20b&plan=c")],
        [
            ask_with("/?plan=a+b"),
            ask_with("/plan=a%20b"),
            ask_with("/?plan=c&plan=a%20b"),
            ask_with("/?xplan=a%20b"),
        ],
    ),
    (
        {"address": ["127.0.0.8/31", "::1"]},
        [ask_with(source="127.0.0.8"), ask_with(source="127.0.0.9")],
        [
            ask_with(source="127.0.0.10"),
            ask_with(source="127.0.0.10", path="/?", headers=[("x-real-ip", "127.0.0.8")]),
        ],
    ),
    ({"not": {"path": {"suffix": ".js"}}}, [ask_with("/a")], [ask_with("/a.js")]),
    ({"not": {"not": {"path": {"suffix": ".js"}}}}, [ask_with("/a.js")], [ask_with("/a")]),
]


@pytest.mark.parametrize(
    ("condition", "holds", "fails"), CONDITIONS, ids=lambda v: str(v) if isinstance(v, dict) else ""
)
async def test_a_condition_looks_at_its_part_of_the_request(direct: Envoy, condition: dict, holds: list, fails: list):
    await direct.configure(when(condition))
    for request in holds:
        assert decision(await get(direct.address, **request)) == RULED, request
    for request in fails:
        assert decision(await get(direct.address, **request)) == UNRULED, request


async def test_all_parts_of_a_condition_must_hold_and_one_condition_of_a_list_is_enough(direct: Envoy):
    every_part = {
        "host": {"exact": SHOP},
        "path": {"prefix": "/a"},
        "method": ["GET"],
        "header": {"x-plan": {"exact": "p"}, "x-more": {"present": True}},
        "cookie": {"c": {"exact": "1"}},
        "query": {"q": {"exact": "1"}},
        "address": ["127.0.0.1"],
        "not": {"header": {"x-bot": {"present": True}}},
    }
    await direct.configure(when(every_part, {"path": {"exact": "/other"}}))
    good = {
        "path": "/a?q=1",
        "headers": [("x-plan", "p"), ("x-more", ""), ("cookie", "c=1")],
        "host": SHOP,
        "source": "127.0.0.1",
    }
    assert decision(await get(direct.address, **good)) == RULED
    for change in (
        {"host": "lab"},
        {"path": "/b?q=1"},
        {"path": "/a?q=2"},
        {"method": "POST"},
        {"headers": [("x-plan", "p"), ("cookie", "c=1")]},
        {"headers": [("x-more", ""), ("cookie", "c=1")]},
        {"headers": [("x-plan", "p"), ("x-more", "")]},
        {"source": "127.0.0.2"},
        {"headers": [*good["headers"], ("x-bot", "1")]},
    ):
        assert decision(await get(direct.address, **{**good, **change})) == UNRULED, change
    assert decision(await get(direct.address, "/other")) == RULED


async def test_the_first_rule_that_holds_decides(direct: Envoy):
    rules = [
        {"name": "never", "match": [{"path": {"exact": "/never"}}], "version": "canary"},
        {"name": "bots", "match": [{"header": {"x-bot": {"present": True}}}], "version": "stable"},
        {"name": "all", "match": [{"path": {"prefix": "/"}}], "version": "canary"},
    ]
    await direct.configure(config(rollout(100, rules=rules)))
    assert decision(await get(direct.address, headers=[("x-bot", "1"), ("x-user-id", "u")])) == ("stable", "RULE")
    assert decision(await get(direct.address, headers=[("x-user-id", "u")])) == RULED


async def test_a_segment_is_a_list_of_conditions_that_several_rules_share(direct: Envoy):
    segments = {"internal": [{"header": {"x-employee": {"present": True}}}, {"address": ["127.0.0.9"]}]}
    rules = [
        # Both of them: the segment and one of the conditions.
        {"name": "both", "segment": "internal", "match": [{"path": {"prefix": "/new"}}], "version": "canary"},
        {"name": "rest", "segment": "internal", "version": "stable"},
    ]
    await direct.configure(config(rollout(100, rules=rules), segments=segments))
    for who in ({"headers": [("x-employee", "")]}, {"source": "127.0.0.9"}):
        assert decision(await get(direct.address, "/new", **who)) == RULED
        assert decision(await get(direct.address, "/old", **who)) == ("stable", "RULE")
    assert decision(await get(direct.address, "/new", [("x-user-id", "u")])) == ("canary", "HASH")


async def test_a_percentage_inside_a_segment_uses_the_same_buckets(direct: Envoy):
    """Half of the beta users, a tenth of the others; who is in at a tenth is in at a half."""
    everybody = users(2000)
    rules = [{"name": "beta", "segment": "beta", "weights": {"canary": 50}}]
    split = rollout(10, rules=rules)
    await direct.configure(config(split, segments={"beta": [{"header": {"x-plan": {"exact": "beta"}}}]}))
    beta = await ask(direct.url, everybody, headers={"x-plan": "beta"})
    others = await ask(direct.url, everybody)
    assert {a.reason for a in beta.values()} == {"RULE"}
    assert {a.reason for a in others.values()} == {"HASH"}
    assert {u: a.served_by for u, a in beta.items()} == arithmetic.versions(rollout(50), everybody)
    assert {u: a.served_by for u, a in others.items()} == arithmetic.versions(rollout(10), everybody)
    # Without a key there is no half of anything.
    assert decision(await get(direct.address, headers=[("x-plan", "beta")])) == ("stable", "RULE")


async def test_weights_of_a_rule_state_all_the_weights(direct: Envoy):
    three = [{"name": "stable"}, {"name": "canary", "weight": 40}, {"name": "green", "weight": 40}]
    rules = [{"name": "half", "match": [{"path": {"exact": "/half"}}], "weights": {"green": 50}}]
    split = rollout(versions=three, rules=rules)
    await direct.configure(config(split))
    everybody = users(500)
    answers = await ask(direct.url, everybody, path="/half")
    expected = arithmetic.versions(
        {
            **split,
            "versions": [{"name": "stable"}, {"name": "canary", "weight": 0}, {"name": "green", "weight": 50}],
        },
        everybody,
    )
    assert {u: a.served_by for u, a in answers.items()} == expected
    assert set(expected.values()) == {"stable", "green"}


async def test_an_expression_that_would_take_for_ever_elsewhere_answers_at_once(direct: Envoy):
    """Linear time: what makes a backtracking engine try 2^40 ways."""
    await direct.configure(when({"header": {"x-plan": {"regex": "^(a+)+$"}}}))
    assert decision(await get(direct.address, **plan("a" * 4000))) == RULED
    assert decision(await get(direct.address, **plan("a" * 4000 + "!"))) == UNRULED


async def test_several_rollouts_on_one_request_decide_each_for_itself(direct: Envoy):
    """Two salts are independent: knowing one version says nothing of the other."""
    first, second = rollout(50), rollout(50, name="second", output={"responseHeader": "x-second"})
    await direct.configure(config(first, second))
    both = {"canary": 0, "stable": 0}
    for user in users(400):
        reply = await get(direct.address, headers=[("x-user-id", user)])
        assert reply.one("x-cohort-checkout") == arithmetic.version(first, user)
        assert reply.one("x-second") == arithmetic.version(second, user)
        if reply.one("x-cohort-checkout") == "canary":
            both[reply.one("x-second")] += 1
    # Of some 200 canary users half; five standard deviations.
    total = sum(both.values())
    assert abs(both["canary"] - total / 2) < 5 * (total / 4) ** 0.5


async def test_of_two_rollouts_that_write_a_header_the_first_that_matches_does(launch: Launch):
    routes = bootstrap.answer_directly("x-variant", ["canary", "green"], "stable")
    proxy = await launch(config=config(rollout()), routes=routes)
    green = [{"name": "stable"}, {"name": "green", "weight": 100}]
    output = {"routeHeader": "x-variant", "responseHeader": "x-variant", "reasonHeader": "x-cohort-reason"}
    # A rollout by header has no key, so its reason tells which of the two wrote.
    by_rule = [{"name": "all", "match": [{"path": {"prefix": "/"}}], "version": "canary"}]
    first = rollout(0, name="first", match=[{"path": {"prefix": "/first"}}], rules=by_rule, output=output)
    second = rollout(name="second", versions=green, output=output)
    await proxy.configure(config(first, second))
    for path, version, reason in (("/first", "canary", "RULE"), ("/else", "green", "HASH")):
        reply = await get(proxy.address, path, [("x-user-id", "u"), ("x-variant", "stable")])
        assert reply.one("x-served-by") == version
        assert reply.all("x-variant") == [version]
        assert reply.all("x-cohort-reason") == [reason]
    metrics = await proxy.metrics_when(
        lambda m: m.sum("cohort_requests_total", rollout="second") == 2, "both requests of the second"
    )
    assert metrics.sum("cohort_requests_total", rollout="first", rollout_version="canary", reason="RULE") == 1
    await proxy.configure(config(second, first))
    reply = await get(proxy.address, "/first", [("x-user-id", "u")])
    assert (reply.one("x-served-by"), reply.one("x-cohort-reason")) == ("green", "HASH")
