"""A version that fails leaves traffic by itself, on every worker, and comes back once it is well."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import h11
import pytest
from conftest import Launch, config, rollout
from guarded import (
    ALWAYS,
    BOTH_WORKERS,
    Lab,
    Watcher,
    a_lab,
    all_fall_back,
    evidence,
    guarded,
    held_out,
    of,
    two_workers,
    weights,
)
from lab import arithmetic, bootstrap
from lab.client import Answer, users
from lab.envoy import Envoy
from lab.service import Service
from lab.until import until
from lab.wire import get

#: Two workers see a change at their next tick (250 ms); what was on its way then still arrives.
WITHIN = 2.0


@pytest.fixture(scope="module")
async def shared(launch: Launch) -> Envoy:
    return await two_workers(launch)


@pytest.fixture
async def lab(shared: Envoy, v1: Service, v2: Service) -> AsyncIterator[Lab]:
    async with a_lab(shared, v1, v2) as lab:
        yield lab


# --- what trips it -----------------------------------------------------------------------------------


async def falls(
    lab: Lab,
    one: dict[str, Any],
    breaks: Callable[[], Awaitable[Any]],
    *,
    cause: str = "failures",
    bad: Callable[[Answer], bool] = lambda answer: answer.failed,
    headers: dict[str, str] | None = None,
) -> None:
    """Breaks the canary under load, and expects it to leave traffic on every worker, for good.

    `bad`: which answers of the broken canary the guard should count.
    """
    await lab.apply(one)
    canaries = set(of(one, "canary", 10_000))
    async with lab.load(headers=headers) as load:
        await load.more(100)
        assert {a.version for _, a in load.heard} == {"stable", "canary"}
        assert load.failed == 0
        began = len(load.heard)
        await breaks()
        await lab.watcher.out()
        # Whoever was let through before the other worker knew has had an answer by now.
        await load.more(120)
        quiet, served = load.elapsed, (await lab.v2.counts())["requests"]
        await load.more(240)
        assert (await lab.v2.counts())["requests"] == served, "the canary is not asked any more"
        later = [a for when, a in load.heard if when - a.seconds > quiet]
        assert {(a.version, a.served_by, a.status) for a in later} == {("stable", "checkout-v1", 200)}
        assert {a.reason for a in later if a.user in canaries} == {"FALLBACK"}
        assert {a.reason for a in later if a.user not in canaries} == {"HASH"}

    # A cut answer has no version that the client could read; whose it was, the weights say.
    met = [when - a.seconds for when, a in load.heard[began:] if a.user in canaries and bad(a)]
    took = max(met) - min(met)
    print(f"{took:.2f} s and {len(met)} failures from the first request that failed to the last")
    assert took < WITHIN
    assert not [a for _, a in load.heard if a.user not in canaries and a.failed], "stable is well"

    answers = await lab.everybody(of(one, "canary"), headers=headers)
    assert {(a.reason, a.served_by) for a in answers.values()} == {("FALLBACK", "checkout-v1")}
    assert await lab.watcher.trips() == {cause: 1}, "one trip, whatever the number of workers"
    (said,) = lab.watcher.warnings("held out of traffic")
    assert f"rollout checkout: version canary is held out of traffic ({cause})" in said
    assert "its users get stable" in said
    figures = re.search(r"of (\d+) answers in [\d.]+ s (\d+) (failed|were slower)", said)
    assert figures, said
    assert int(figures[1]) >= int(figures[2]) >= 3
    assert "by chance less than once in 365 d" in said
    metrics = await lab.proxy.metrics()
    assert weights(metrics) == {"stable": 100_000, "canary": 0}
    assert evidence(metrics) == 1000

    with suppress(ConnectionError, h11.RemoteProtocolError):
        reply = await get(lab.proxy.address, headers=[("x-user-id", "u"), *ALWAYS, *(headers or {}).items()])
        assert (reply.one("x-cohort-checkout"), reply.one("x-cohort-reason")) == ("canary", "OVERRIDE")


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param({"failure_ratio": 1.0, "failure_status": 500}, id="5xx"),
        pytest.param({"reset_ratio": 1.0}, id="connection reset"),
        pytest.param({"cut_ratio": 1.0}, id="reset after headers"),
        pytest.param({"delay_ms": 1000.0}, id="route timeout"),
    ],
)
async def test_a_canary_that_starts_to_fail_is_out_within_two_seconds(lab: Lab, behaviour: dict[str, Any]):
    await falls(lab, guarded(), lambda: lab.v2.behave(**behaviour))
    served = (await lab.v2.counts())["requests"]
    with suppress(ConnectionError, h11.RemoteProtocolError):
        await get(lab.proxy.address, headers=[("x-user-id", "u"), *ALWAYS])
    assert (await lab.v2.counts())["requests"] == served + 1, "an override still gets there"


async def test_a_canary_without_a_healthy_upstream_is_out(lab: Lab):
    try:
        await falls(lab, guarded(), lambda: lab.proxy.set_endpoints("checkout-v2", []))
    finally:
        await lab.proxy.set_endpoints("checkout-v2", [lab.v2.address])


def served_by_canary(answer: Answer) -> bool:
    """A gRPC failure has status 200."""
    return answer.served_by == "checkout-v2"


async def test_a_grpc_status_in_the_headers_counts(lab: Lab):
    grpc = {"content-type": "application/grpc"}
    await falls(lab, guarded(), lambda: lab.v2.behave(grpc_status=14), bad=served_by_canary, headers=grpc)


async def test_a_grpc_status_in_the_trailers_counts(launch: Launch, v1: Service):
    def speaks_http2(boot: dict[str, Any]) -> None:
        kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        bootstrap.cluster(boot, "checkout-v2")["typed_extension_protocol_options"] = {
            kind: {
                "@type": f"type.googleapis.com/{kind}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }

    async with Service("checkout-v2", http2=True) as v2:
        proxy = await launch(
            config=config(rollout()), concurrency=2, clusters={"checkout-v2": v2.address}, edit=speaks_http2
        )
        lab = Lab(proxy, v1, v2, await Watcher.begin(proxy))
        grpc = {"content-type": "application/grpc"}
        await v2.behave(grpc_status=0)
        await falls(lab, guarded(), lambda: v2.behave(grpc_status=13), bad=served_by_canary, headers=grpc)


async def test_a_canary_that_gets_slow_is_out(lab: Lab):
    guard = {"maxFailureRatio": 1.0, "slowerThan": "100ms", "maxSlowRatio": 0.2}
    await falls(
        lab,
        guarded(guard=guard),
        lambda: lab.v2.behave(delay_ms=150.0),
        cause="latency",
        bad=lambda answer: answer.seconds > 0.1,
    )
    (said,) = lab.watcher.warnings("held out of traffic")
    assert "were slower than 100 ms" in said


async def test_users_pinned_to_a_canary_that_fell_get_the_fallback_and_keep_their_pin(lab: Lab):
    one = guarded(pin={"cookie": {"name": "pinned"}})
    pinned = {"cookie": "pinned=canary"}
    await lab.apply(one)
    stables = of(one, "stable")
    answers = await lab.everybody(stables[:20], headers=pinned)
    assert {(a.reason, a.served_by) for a in answers.values()} == {("PINNED", "checkout-v2")}
    await lab.v2.behave(failure_ratio=1.0)
    async with lab.load(stables[100:], rate=60), lab.load(stables[:100], rate=60, headers=pinned):
        await lab.watcher.out()
    await until(lambda: lab.everybody(stables[:BOTH_WORKERS], headers=pinned), "both workers", holds=all_fall_back)
    answers = await lab.everybody(stables, headers=pinned)
    assert all_fall_back(answers)
    reply = await get(lab.proxy.address, headers=[("x-user-id", stables[0]), *pinned.items()])
    assert reply.one("x-cohort-reason") == "FALLBACK"
    assert reply.all("set-cookie") == [], "the pin is still good for when the version comes back"


# --- the way back ------------------------------------------------------------------------------------


async def breaks(lab: Lab) -> None:
    """The canary fails, under load on both versions, until it is out."""
    async with lab.load():
        await lab.v2.behave(failure_ratio=1.0)
        await lab.watcher.out()


async def breaks_out(lab: Lab, one: dict[str, Any], *others: dict[str, Any]) -> list[str]:
    """Applies a configuration and breaks the canary until it is out on both workers; its users."""
    await lab.apply(one, *others)
    canaries = of(one, "canary")
    await breaks(lab)
    await until(lambda: lab.everybody(canaries[:BOTH_WORKERS]), "both workers", holds=all_fall_back)
    return canaries


async def test_after_retry_after_a_tenth_of_its_users_try_it_and_it_falls_again_or_comes_back(lab: Lab):
    one = guarded(50, guard={"window": "4s", "retryAfter": "4s"})
    canaries = await breaks_out(lab, one)
    chosen = {u for u in of(one, "canary", 10_000) if arithmetic.bucket(one["salt"], u) % 10 == 0}
    async with lab.load(canaries, rate=100) as load:
        # It is still broken: those who try it meet that, and nobody else does.
        await until(lambda: lab.watcher.warnings("is tried again"), "a probe")
        await until(lambda: len(lab.watcher.warnings("held out of traffic")) >= 2, "the second fall")
        failed = {answer.user for _, answer in load.failures}
        assert failed
        assert failed <= chosen
        assert (await lab.watcher.trips())["failures"] == 2

        await lab.v2.behave(failure_ratio=0.0)
        await until(lambda: len(lab.watcher.warnings("is tried again")) >= 2, "the second probe")
        began = len(load.heard)
        metrics = await lab.proxy.metrics_when(
            lambda m: weights(m) == {"stable": 95_000, "canary": 5_000}, "a tenth of its share"
        )
        assert not held_out(metrics)
        await until(lambda: lab.watcher.warnings("is back in traffic"), "the return")
        probing = {a.user for _, a in load.heard[began:] if a.version == "canary"}
        await load.more(60)
        began = len(load.heard)
        await load.more(200)
        back = [answer for _, answer in load.heard[began:]]
        assert {(a.version, a.reason, a.status) for a in back} == {("canary", "HASH", 200)}
    assert probing & chosen, "a tenth tried it before all had it"
    (said,) = lab.watcher.warnings("is back in traffic")
    figures = re.search(r"of (\d+) answers in [\d.]+ s (\d+) failed", said)
    assert figures, said
    # The trial may have begun a moment before the repair.
    assert int(figures[2]) < 0.2 * int(figures[1])
    assert weights(await lab.proxy.metrics()) == {"stable": 50_000, "canary": 50_000}
    assert (await lab.watcher.trips())["failures"] == 2


async def test_a_reload_of_an_unchanged_rollout_does_not_forget_a_trip(lab: Lab):
    one, other = guarded(), rollout(10, name="other", output={})
    canaries = await breaks_out(lab, one, other)
    await lab.v2.behave(failure_ratio=0.0)
    reordered = json.loads(json.dumps(one), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert list(reordered) == list(reversed(one))
    for changed in (
        config(one, {**other, "versions": [{"name": "stable"}, {"name": "canary", "weight": 20}]}),
        config(reordered, other),
        config(other, reordered),
        config(one),
    ):
        await lab.proxy.configure(changed)
        assert all_fall_back(await lab.everybody(canaries[:BOTH_WORKERS])), "from the first request on"
    assert held_out(await lab.proxy.metrics())
    assert await lab.watcher.trips() == {"failures": 1}


async def test_a_changed_rollout_begins_anew(lab: Lab):
    one = guarded()
    canaries = await breaks_out(lab, one)
    await lab.v2.behave(failure_ratio=0.0)
    two = {**one, "versions": [{"name": "stable"}, {"name": "canary", "weight": 31}]}
    await lab.apply(two)
    answers = await lab.everybody(canaries[:BOTH_WORKERS])
    assert {(a.reason, a.served_by) for a in answers.values()} == {("HASH", "checkout-v2")}
    await lab.watcher.back()


@pytest.mark.parametrize("between", ["another weight", "disabled", "no rollout"])
async def test_a_rollout_changed_and_changed_back_begins_anew(lab: Lab, between: str):
    """Out, rolled back by hand, repaired, and released again with the very same configuration."""
    one = guarded()
    canaries = await breaks_out(lab, one)
    await lab.v2.behave(failure_ratio=0.0)
    stopped = {**one, "versions": [{"name": "stable"}, {"name": "canary", "weight": 0}]}
    change, stable = {
        "another weight": (config(stopped), 100_000),
        "disabled": (config({**one, "enabled": False}), 100_000),
        "no rollout": (config(), 0),
    }[between]
    await lab.proxy.configure(change)
    # It is known to be in force from its first tick on, and so are its gauges. Envoy forgets a native module's before.
    shown = {"stable": stable, "canary": 0}
    await lab.proxy.metrics_when(lambda m: weights(m) == shown and not held_out(m), "the change in force")
    await lab.apply(one)
    answers = await lab.everybody(canaries[:BOTH_WORKERS])
    assert {(a.reason, a.served_by) for a in answers.values()} == {("HASH", "checkout-v2")}
    await lab.watcher.back()
    # And the guard is as awake as before.
    await breaks(lab)
    assert await lab.watcher.trips() == {"failures": 2}


async def test_a_version_that_is_gone_is_not_held_out_for_ever_on_a_dashboard(lab: Lab):
    one = guarded()
    await breaks_out(lab, one)
    versions = [{"name": "stable"}, {"name": "green", "weight": 5}]
    await lab.apply({**one, "versions": versions, "overrides": {"header": "x-canary"}})
    new = {"stable": 95_000, "green": 5_000, "canary": 0}
    await lab.proxy.metrics_when(lambda m: weights(m) == new and not held_out(m), "no canary held out")
    await lab.proxy.configure(config())
    gone = {"stable": 0, "green": 0, "canary": 0}
    if lab.proxy.edge == "native":
        # Envoy forgets a native module's gauges with the last configuration that has touched them.
        del gone["canary"]
    await lab.proxy.metrics_when(lambda m: weights(m) == gone, "weights of a rollout that is gone")


async def test_a_configuration_that_was_replaced_trips_nothing(lab: Lab):
    one = guarded()
    await lab.apply(one)
    canaries = of(one, "canary")
    await lab.v2.behave(failure_ratio=1.0)
    await lab.everybody([*canaries[:2], *of(one, "stable", 20)])
    # The same version in a rollout without a guard, whose failures go into the same counters.
    two = {key: value for key, value in one.items() if key != "guard"}
    await lab.apply(two)
    async with lab.load(canaries, rate=100) as load:
        await load.more(200)
    assert load.failed == load.answered, "whoever is in the canary sees it fail"
    assert await lab.watcher.trips() == {}
    assert lab.watcher.warnings() == []
    assert not held_out(await lab.proxy.metrics())


# --- figures that the documentation names ------------------------------------------------------------


async def test_a_dead_canary_with_one_request_a_second_costs_at_most_six_errors(lab: Lab):
    one = guarded(5, guard={"maxFailureRatio": 0.05})
    await lab.apply(one)
    await lab.v2.behave(failure_ratio=1.0)
    async with lab.load(of(one, "stable", 400), rate=19), lab.load(of(one, "canary", 120), rate=1) as load:
        await lab.watcher.out()
        await load.more(3)
    print(f"{load.failed} errors")
    assert 3 <= load.failed <= 6


async def test_half_of_a_tenth_of_200_requests_a_second_fails_and_is_rolled_back_in_seconds(lab: Lab):
    """Weight 10, 50 % errors, 200 requests a second, and the guard's defaults."""
    one = {**guarded(10), "guard": {}}
    await lab.apply(one)
    async with lab.load(users(2000), rate=200) as load:
        await load.more(400)
        await lab.v2.behave(failure_ratio=0.5)
        began = load.elapsed
        await lab.watcher.out()
        await load.more(200)
    took = load.failures[-1][0] - began
    print(f"the last of {load.failed} errors {took:.1f} s after the canary began to fail")
    assert load.failures[0][0] >= began
    assert took < 5
