"""`mode: "shadow"`: decides, counts and logs, and does nothing to a request."""

from __future__ import annotations

from typing import Any

from conftest import Launch, config, rollout
from lab import arithmetic
from lab.client import always_others, ask, users
from lab.envoy import Envoy
from lab.service import Service
from lab.until import until
from lab.wire import Connection, get

FORGED = [
    ("x-cohort-checkout", "canary"),
    ("x_cohort_checkout", "canary"),
    ("x-cohort-cluster", "checkout-v2"),
    ("x-feature", "forged"),
    ("x-cohort-reason", "forged"),
    ("baggage", "tenant=blue,cohort-checkout=canary"),
]


def shadowed(weight: float = 30, **more: Any) -> dict[str, Any]:
    """A rollout in shadow mode that would do everything there is to do."""
    return rollout(
        mode="shadow",
        versions=[
            {"name": "stable", "cluster": "checkout-v1"},
            {"name": "canary", "cluster": "checkout-v2", "weight": weight, "requestHeaders": {"x-feature": "on"}},
        ],
        **{
            "hashKey": [{"header": "x-user-id"}],
            "anonymousId": {"cookie": {"name": "cohort-id"}},
            "pin": {"cookie": {"name": "cohort-checkout"}},
            "overrides": {"header": "x-canary"},
            "output": {
                "clusterHeader": "x-cohort-cluster",
                "responseHeader": "x-cohort-checkout",
                "reasonHeader": "x-cohort-reason",
                "baggage": True,
            },
            **more,
        },
    )


async def test_nothing_is_done_to_a_request_and_everything_is_counted(launch: Launch):
    proxy: Envoy = await launch(config=config(shadowed()))
    plain: Envoy = await launch(config=config())
    everybody = users(200)
    async with await Connection.open(proxy.address) as shadow, await Connection.open(plain.address) as without:
        for user in everybody:
            headers = [("x-user-id", user), ("x-other", "kept"), ("baggage", "tenant=blue"), ("cookie", "a=b")]
            one, other = [await connection.get(headers=headers) for connection in (shadow, without)]
            assert one.status == 200
            # What reaches the service is what would without a rollout, but for the proxy's own marks.
            marks = {"x-request-id", "x-envoy-expected-rq-timeout-ms", "host"}
            seen, expected = (
                [(name.lower(), value) for name, value in reply.told["headers"] if name.lower() not in marks]
                for reply in (one, other)
            )
            assert seen == expected
            assert one.told["service"] == "checkout-v1"
            assert {name for name, _ in one.headers} == {name for name, _ in other.headers}
            assert not one.all("set-cookie")
    expected = arithmetic.versions(rollout(30), everybody)
    counts = await proxy.metrics_when(
        lambda m: m.sum("cohort_responses_total", rollout="checkout") == len(everybody), "every answer counted"
    )
    for version in ("stable", "canary"):
        labels = {"rollout": "checkout", "rollout_version": version}
        assert counts.value("cohort_requests_total", **labels, reason="HASH") == list(expected.values()).count(version)
        assert counts.sum("cohort_responses_total", **labels, code_class="2xx") == counts.sum(
            "cohort_requests_total", **labels
        )


async def test_every_step_of_a_decision_is_counted_under_its_reason(proxy: Envoy):
    rules = [{"name": "bots", "match": [{"header": {"x-bot": {"present": True}}}], "version": "canary"}]
    await proxy.configure(config(shadowed(50, name="steps", rules=rules)))
    asked = {
        "OVERRIDE": [("x-canary", "canary")],
        "RULE": [("x-bot", "1")],
        "PINNED": [("cookie", "cohort-checkout=canary")],
        # A visitor without a key has an id for this one request, and is not given it.
        "HASH": [],
    }
    for headers in asked.values():
        reply = await get(proxy.address, headers=headers)
        assert reply.told["service"] == "checkout-v1"
        assert not reply.all("set-cookie") and not reply.all("x-cohort-reason")
    await proxy.metrics_when(
        lambda m: (
            {r: n for r, n in m.by("reason", "cohort_requests_total", rollout="steps").items() if n}
            == dict.fromkeys(asked, 1)
        ),
        "one request for each reason",
    )


async def test_a_clients_own_copy_of_every_output_is_removed(proxy: Envoy):
    await proxy.configure(config(shadowed(100)))
    reply = await get(proxy.address, headers=[("x-user-id", "u"), *FORGED])
    assert reply.told["service"] == "checkout-v1"
    assert reply.reached("baggage") == ["tenant=blue"]
    names = {name.replace("_", "-") for name in reply.reached_names}
    assert not names & {"x-cohort-checkout", "x-cohort-cluster", "x-feature", "x-cohort-reason"}


async def test_an_enforced_rollout_after_a_shadow_writes_what_the_shadow_would_have(proxy: Envoy):
    enforced = rollout(0, name="enforced", output={"routeHeader": "x-cohort-checkout", "responseHeader": "x-who"})
    await proxy.configure(config(shadowed(100), enforced))
    reply = await get(proxy.address, headers=[("x-user-id", "u")])
    assert reply.reached("x-cohort-checkout") == ["stable"]
    assert (reply.one("x-who"), reply.told["service"]) == ("stable", "checkout-v1")


async def test_each_decision_is_a_line_of_the_log_at_debug_level(launch: Launch):
    for level, lines in (("debug", 2), ("info", 0)):
        proxy: Envoy = await launch(config=config(shadowed(100)), wasm_log_level=level)
        await get(proxy.address, headers=[("x-user-id", "u")])
        await get(proxy.address, headers=[("x-canary", "stable")])
        await proxy.metrics_when(lambda m: m.sum("cohort_requests_total") == 2, "both requests counted")

        def said(proxy: Envoy = proxy) -> list[str]:
            return [line for line in proxy.filter_log() if "(shadow)" in line]

        found = await until(said, "the lines of the log", holds=lambda found, n=lines: len(found) == n)
        if found:
            assert "rollout checkout (shadow): canary, HASH" in found[0]
            assert "rollout checkout (shadow): stable, OVERRIDE" in found[1]


async def test_a_shadow_has_no_guard(proxy: Envoy, v2: Service):
    """All of its requests are answered by what the route table would use anyway, so that they say nothing
    of a version. Its twin beside it decides the same for everybody, is in force, and trips."""
    guard = {"window": "10s", "maxFailureRatio": 0.1}
    twin = rollout(50, name="twin", salt="watched", guard=guard, output={"routeHeader": "x-cohort-checkout"})
    await proxy.configure(config(shadowed(50, name="watched", guard=guard), twin))
    await v2.behave(failure_ratio=1.0)
    asked, others = 0, always_others(100)

    async def falls() -> bool:
        nonlocal asked
        asked += len(await ask(proxy.url, next(others)))
        return (await proxy.metrics()).sum("cohort_version_held_out", rollout="twin") == 1

    try:
        await until(falls, "the twin's canary is held out")
    finally:
        await v2.behave(failure_ratio=0.0)
    labels = {"rollout": "watched"}
    metrics = await proxy.metrics_when(
        lambda m: m.sum("cohort_requests_total", **labels) == asked, "every request counted"
    )
    assert metrics.sum("cohort_guard_trips_total", **labels) == 0
    assert metrics.sum("cohort_version_held_out", **labels) == 0
