"""A client's own copy of what Cohort writes reaches neither the route table nor an upstream."""

from __future__ import annotations

import pytest
from conftest import Launch, config, rollout
from lab import bootstrap
from lab.envoy import Envoy
from lab.service import Service
from lab.wire import get, get_http2

SPELLINGS = [
    "x-cohort-checkout",
    "X-Cohort-Checkout",
    "X-COHORT-CHECKOUT",
    "x_cohort_checkout",
    "X_Cohort-checkout",
    "x-cohort_checkout",
]


def forged(reply, header: str = "x-cohort-checkout") -> list[str]:
    """What reached the service under any spelling of a header."""
    return [
        value for name, value in reply.told["headers"] if name.lower().replace("_", "-").replace(".", "-") == header
    ]


@pytest.mark.parametrize("name", [*SPELLINGS, "x.cohort.checkout"])
async def test_another_spelling_does_not_choose_a_version(proxy: Envoy, name: str):
    await proxy.configure(config(rollout(0)))
    for ask in (get, get_http2):
        spelled = name.lower() if ask is get_http2 else name
        reply = await ask(proxy.address, headers=[("x-user-id", "u"), (spelled, "canary")])
        assert reply.told["service"] == "checkout-v1"
        assert forged(reply) == ["stable"]


async def test_a_repeated_header_does_not_choose_a_version(proxy: Envoy):
    await proxy.configure(config(rollout(0)))
    lines = [(name, "canary") for name in SPELLINGS]
    reply = await get(proxy.address, headers=[*lines, ("x-user-id", "u"), *lines])
    assert reply.told["service"] == "checkout-v1"
    assert forged(reply) == ["stable"]


async def test_a_value_that_is_not_utf8_does_not_choose_a_version(proxy: Envoy):
    await proxy.configure(config(rollout(0)))
    reply = await get(proxy.address, headers=[("x-cohort-checkout", b"canary\xff"), ("x-cohort-checkout", "canary")])
    assert reply.told["service"] == "checkout-v1"
    assert forged(reply) == ["stable"]


@pytest.mark.parametrize(
    "how",
    [
        {"match": [{"path": {"exact": "/elsewhere"}}]},
        {"mode": "shadow"},
        {"mode": "shadow", "match": [{"path": {"exact": "/elsewhere"}}]},
    ],
    ids=["no match", "shadow", "shadow without a match"],
)
async def test_where_the_rollout_writes_nothing_the_forged_header_is_gone_too(proxy: Envoy, how: dict):
    await proxy.configure(config(rollout(100, **how)))
    for name in SPELLINGS:
        reply = await get(proxy.address, headers=[("x-user-id", "u"), (name, "canary"), (name, "canary")])
        assert reply.told["service"] == "checkout-v1", name
        assert forged(reply) == [], name


async def test_with_the_kill_switch_the_forged_header_is_replaced(proxy: Envoy):
    await proxy.configure(config(rollout(100, enabled=False)))
    reply = await get(proxy.address, headers=[("x_cohort_checkout", "canary"), ("x-cohort-checkout", "canary")])
    assert reply.told["service"] == "checkout-v1"
    assert forged(reply) == ["stable"]


async def test_a_forged_cluster_header_reaches_no_cluster(proxy: Envoy):
    output = {"clusterHeader": "x-cohort-cluster"}
    by_cluster = rollout(0, output=output)
    by_cluster["versions"][0]["cluster"] = "checkout-v1"
    by_cluster["versions"][1]["cluster"] = "checkout-v2"
    await proxy.configure(config(by_cluster))
    for name in ("x-cohort-cluster", "X_Cohort_Cluster"):
        reply = await get(proxy.address, headers=[(name, "checkout-v2")], host="by-cluster.example.com")
        assert reply.told["service"] == "checkout-v1"
        assert forged(reply, "x-cohort-cluster") == ["checkout-v1"]
    by_cluster["match"] = [{"path": {"exact": "/elsewhere"}}]
    await proxy.configure(config(by_cluster))
    reply = await get(proxy.address, headers=[("x-cohort-cluster", "checkout-v2")], host="by-cluster.example.com")
    assert reply.status in (404, 503), "no cluster is chosen"


async def test_a_forged_reason_or_response_header_reaches_no_upstream(proxy: Envoy):
    output = {"responseHeader": "x-who", "reasonHeader": "x-why", "routeHeader": "x-cohort-checkout"}
    await proxy.configure(config(rollout(100, output=output)))
    reply = await get(proxy.address, headers=[("X-Who", "me"), ("x_why", "because"), ("x-user-id", "u")])
    assert not {"x-who", "x-why", "x_why"} & reply.reached_names
    assert (reply.one("x-who"), reply.one("x-why")) == ("canary", "HASH")


@pytest.mark.parametrize(
    "member", ["cohort-checkout=canary", "cohort%2Dcheckout=canary", " cohort-checkout = canary;p"]
)
async def test_a_forged_baggage_member_is_gone_and_its_neighbours_stay(proxy: Envoy, member: str):
    await proxy.configure(config(rollout(0, output={"baggage": True})))
    lines = [("baggage", f"tenant=blue,{member},region=eu"), ("baggage", member)]
    reply = await get(proxy.address, headers=[("x-user-id", "u"), *lines])
    members = [one.strip() for line in reply.reached("baggage") for one in line.split(",")]
    assert sorted(members) == ["cohort-checkout=stable", "region=eu", "tenant=blue"]


async def test_a_header_that_is_not_ours_passes_as_it_is(proxy: Envoy):
    await proxy.configure(config(rollout(0)))
    others = [("x-cohort-checkouts", "a"), ("x-cohort", "b"), ("x_other", "c"), ("xcohortcheckout", b"\xfe")]
    reply = await get(proxy.address, headers=others)
    for name, value in others:
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        assert reply.reached(name) == [text]


async def test_request_trailers_over_http2_are_cleaned_too(launch: Launch):
    async with Service("checkout-v1", http2=True) as service:

        def over_http2(boot: dict) -> None:
            kind = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
            explicit = {"explicit_http_config": {"http2_protocol_options": {}}}
            options = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": kind, **explicit}}
            bootstrap.cluster(boot, "checkout-v1")["typed_extension_protocol_options"] = options

        proxy = await launch(config=config(rollout(0)), clusters={"checkout-v1": service.address}, edit=over_http2)
        trailers = [
            ("x-cohort-checkout", "canary"),
            ("x_cohort_checkout", "canary"),
            ("x-checksum", "abc"),
            ("baggage", "cohort-checkout=canary,tenant=blue"),
        ]
        reply = await get_http2(proxy.address, headers=[("x-user-id", "u")], body=b"hello", trailers=trailers)
        assert reply.told["service"] == "checkout-v1"
        assert ["x-checksum", "abc"] in reply.told["trailers"]
        names = [name.replace("_", "-") for name, _ in reply.told["trailers"]]
        assert "x-cohort-checkout" not in names
        assert "cohort-checkout" not in str([v for n, v in reply.told["trailers"] if n == "baggage"])
