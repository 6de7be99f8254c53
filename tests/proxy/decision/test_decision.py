"""The reasons DISABLED, OVERRIDE, HASH and DEFAULT, shadow mode, match, and what they write."""

from __future__ import annotations

import hashlib

import pytest
from conftest import config, rollout
from lab import arithmetic
from lab.envoy import Envoy
from lab.until import until
from lab.wire import Reply, get

OVERRIDES = {
    "header": "x-canary",
    "query": "canary",
    "cookie": "canary",
    "values": {"always": "canary", "never": "stable"},
}
#: A user of stable at 30 percent, and one of the canary.
STABLE = next(f"u{n}" for n in range(99) if arithmetic.version(rollout(30), f"u{n}") == "stable")
CANARY = next(f"u{n}" for n in range(99) if arithmetic.version(rollout(30), f"u{n}") == "canary")


def decision(reply: Reply) -> tuple[str | None, str | None, str]:
    """Version and reason as the response says them, and who answered."""
    assert reply.status == 200
    return reply.one("x-cohort-checkout"), reply.one("x-cohort-reason"), reply.told["service"]


async def decided(proxy: Envoy, path: str = "/", *headers: tuple[str, str | bytes], **more):
    return decision(await get(proxy.address, path, headers, **more))


async def test_with_a_key_the_reason_is_hash_and_without_one_default(proxy: Envoy):
    await proxy.configure(config(rollout()))
    assert await decided(proxy, "/", ("x-user-id", CANARY)) == ("canary", "HASH", "checkout-v2")
    assert await decided(proxy, "/", ("x-user-id", STABLE)) == ("stable", "HASH", "checkout-v1")
    assert await decided(proxy) == ("stable", "DEFAULT", "checkout-v1")


async def test_the_kill_switch_gives_everybody_stable(proxy: Envoy):
    await proxy.configure(config(rollout(100, enabled=False, overrides=OVERRIDES)))
    for headers in ([("x-user-id", CANARY)], [("x-canary", "always")], []):
        assert await decided(proxy, "/", *headers) == ("stable", "DISABLED", "checkout-v1")


@pytest.mark.parametrize(
    ("value", "version"),
    [("always", "canary"), ("never", "stable"), ("canary", "canary"), ("stable", "stable")],
)
async def test_an_override_names_a_version_or_a_word_for_it(proxy: Envoy, value: str, version: str):
    await proxy.configure(config(rollout(overrides=OVERRIDES)))
    service = {"stable": "checkout-v1", "canary": "checkout-v2"}[version]
    for user in (STABLE, CANARY):
        key = ("x-user-id", user)
        expected = (version, "OVERRIDE", service)
        assert await decided(proxy, "/", key, ("x-canary", value)) == expected
        assert await decided(proxy, f"/?a=b&canary={value}", key) == expected
        assert await decided(proxy, "/", key, ("cookie", f"a=b; canary={value}")) == expected


async def test_of_several_overrides_the_header_comes_before_the_query_before_the_cookie(proxy: Envoy):
    await proxy.configure(config(rollout(overrides=OVERRIDES)))
    all_three = [("x-canary", "always"), ("cookie", "canary=never")]
    assert (await decided(proxy, "/?canary=never", *all_three))[0] == "canary"
    assert (await decided(proxy, "/?canary=always", ("cookie", "canary=never")))[0] == "canary"


async def test_an_unknown_override_is_ignored_and_counted(proxy: Envoy):
    await proxy.configure(config(rollout(overrides=OVERRIDES)))
    labels = {"rollout": "checkout", "what": "override"}
    before = (await proxy.metrics()).sum("cohort_ignored_total", **labels)
    for value in ("maybe", "Always", "", b"\xff\xfe"):
        assert await decided(proxy, "/", ("x-user-id", CANARY), ("x-canary", value)) == (
            "canary",
            "HASH",
            "checkout-v2",
        )
    counted = await proxy.metrics_when(
        lambda metrics: metrics.sum("cohort_ignored_total", **labels) > before, "an ignored override"
    )
    assert before + 3 <= counted.sum("cohort_ignored_total", **labels) <= before + 4


async def test_an_override_needs_everything_that_is_required(proxy: Envoy):
    secret = "open sesame"
    require = {
        "addresses": ["127.0.0.7/32", "10.0.0.0/8"],
        "secretHeader": "x-canary-secret",
        "secretSha256": hashlib.sha256(secret.encode()).hexdigest(),
    }
    await proxy.configure(config(rollout(overrides={**OVERRIDES, "require": require})))
    asks = [("x-user-id", STABLE), ("x-canary", "always")]
    right, wrong = ("x-canary-secret", secret), ("x-canary-secret", "guess")
    held = ("canary", "OVERRIDE", "checkout-v2")
    refused = ("stable", "HASH", "checkout-v1")
    assert await decided(proxy, "/", *asks, right, source="127.0.0.7") == held
    assert await decided(proxy, "/", *asks, right, source="127.0.0.8") == refused
    assert await decided(proxy, "/", *asks, wrong, source="127.0.0.7") == refused
    assert await decided(proxy, "/", *asks, source="127.0.0.7") == refused
    reply = await get(proxy.address, "/", [*asks, right], source="127.0.0.7")
    assert "x-canary-secret" not in reply.reached_names
    assert secret.encode() not in reply.body


async def test_a_rollout_that_does_not_match_writes_nothing(proxy: Envoy):
    only = [{"host": {"exact": "shop.example.com"}, "path": {"prefix": "/checkout"}, "method": ["GET"]}]
    await proxy.configure(config(rollout(100, match=only)))
    key = [("x-user-id", CANARY)]
    for path, host, method, matches in (
        ("/checkout/cart", "shop.example.com", "GET", True),
        ("/checkout/cart?a=b", "SHOP.example.com:8080", "GET", True),
        ("/search", "shop.example.com", "GET", False),
        ("/checkout/cart", "example.com", "GET", False),
        ("/checkout/cart", "shop.example.com", "POST", False),
    ):
        reply = await get(proxy.address, path, key, host=host, method=method)
        expected = ("canary", "HASH", "checkout-v2") if matches else (None, None, "checkout-v1")
        assert decision(reply) == expected, (path, host, method)
        assert ("x-cohort-checkout" in reply.reached_names) == matches


async def test_shadow_mode_does_nothing_to_a_request_but_counts_it(proxy: Envoy):
    labels = {"rollout": "shadowed", "rollout_version": "canary"}
    await proxy.configure(config(rollout(100, name="shadowed", mode="shadow")))
    reply = await get(proxy.address, headers=[("x-user-id", "u")])
    assert decision(reply) == (None, None, "checkout-v1")
    assert not [name for name in reply.reached_names if "cohort" in name]
    assert not reply.all("set-cookie")
    await proxy.metrics_when(
        lambda metrics: metrics.sum("cohort_requests_total", **labels) == 1, "one request of the shadow"
    )


async def test_every_matching_rollout_is_decided_and_the_first_writes_a_shared_header(proxy: Envoy):
    first = rollout(100, name="first", output={"routeHeader": "x-cohort-shared"})
    second = rollout(0, name="second", output={"routeHeader": "x-cohort-shared"})
    third = rollout(100, name="third", output={})
    await proxy.configure(config(first, second, third))
    reply = await get(proxy.address, headers=[("x-user-id", "u")])
    assert reply.reached("x-cohort-shared") == ["canary"]
    assert reply.reached("x-cohort-third") == ["canary"]


async def test_a_version_brings_request_headers_of_its_own(proxy: Envoy):
    with_header = rollout(100)
    with_header["versions"][1]["requestHeaders"] = {"x-feature-new-cart": "on"}
    await proxy.configure(config(with_header))
    reply = await get(proxy.address, headers=[("x-user-id", "u"), ("x-feature-new-cart", "forged")])
    assert reply.reached("x-feature-new-cart") == ["on"]
    with_header["versions"][1]["weight"] = 0
    await proxy.configure(config(with_header))
    reply = await get(proxy.address, headers=[("x-user-id", "u"), ("x-feature-new-cart", "forged")])
    assert reply.reached("x-feature-new-cart") == []


async def test_the_cluster_header_serves_a_route_by_cluster_header(proxy: Envoy):
    by_cluster = rollout(30, output={"clusterHeader": "x-cohort-cluster"})
    by_cluster["versions"][0]["cluster"] = "checkout-v1"
    by_cluster["versions"][1]["cluster"] = "checkout-v2"
    await proxy.configure(config(by_cluster))
    for user, service in ((STABLE, "checkout-v1"), (CANARY, "checkout-v2")):
        reply = await get(proxy.address, headers=[("x-user-id", user)], host="by-cluster.example.com")
        assert reply.told["service"] == service
        assert reply.reached("x-cohort-cluster") == [service]


async def test_baggage_carries_the_version_beside_what_is_there(proxy: Envoy):
    await proxy.configure(config(rollout(100, output={"baggage": True})))
    reply = await get(proxy.address, headers=[("x-user-id", "u"), ("baggage", "tenant=blue;p=1, region=eu")])
    members = {member.strip() for line in reply.reached("baggage") for member in line.split(",")}
    assert members == {"tenant=blue;p=1", "region=eu", "cohort-checkout=canary"}


async def test_the_access_log_says_version_reason_and_route(proxy: Envoy):
    await proxy.configure(config(rollout(100)))
    await get(proxy.address, "/log-me", [("x-user-id", "u")])

    def logged() -> list[str]:
        return [line for line in proxy.access_log() if "/log-me" in line]

    (line,) = await until(logged, "a line of the access log")
    assert "checkout=canary reason=HASH cluster=checkout-v2 route=canary" in line
