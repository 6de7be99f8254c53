"""A ramp by the clock: every proxy arrives at the same weights, with nobody talking to it."""

from __future__ import annotations

import asyncio
import itertools
import time
from datetime import datetime, timezone
from typing import Any

import pytest
from conftest import Launch, config, rollout
from lab import arithmetic
from lab.client import Answer, Load, User, users
from lab.envoy import Envoy, Metrics
from lab.service import Service
from lab.until import until

pytestmark = pytest.mark.clock

#: Seconds after the start, and the canary's weight from then on.
STEPS = ((0.0, 10.0), (1.5, 40.0), (3.0, 75.5))
_salts = itertools.count()


def ramped(start: float, before: float = 2, steps: Any = STEPS, **more: Any) -> dict[str, Any]:
    """A rollout whose ramp starts at a Unix time, to the millisecond."""
    instant = datetime.fromtimestamp(start, timezone.utc).isoformat(timespec="milliseconds")
    listed = [{"after": f"{after * 1000:.0f}ms", "weights": {"canary": weight}} for after, weight in steps]
    salt = f"ramp-{next(_salts)}"
    return rollout(before, salt=salt, ramp={"start": instant.replace("+00:00", "Z"), "steps": listed}, **more)


def whole(seconds: float) -> float:
    """A time to the millisecond, as the configuration can say it."""
    return round(seconds, 3)


async def before_the_start(*proxies: Envoy, steps: Any = STEPS) -> tuple[dict[str, Any], float]:
    """A ramp that is in force on every proxy before it starts, and its start; the slower the machine, the later."""
    for lead in (2.0, 4.0, 8.0, 16.0, 32.0):
        start = whole(time.time() + lead)
        one = ramped(start, steps=steps)
        await asyncio.gather(*(proxy.configure(config(one)) for proxy in proxies))
        if time.time() < start:
            return one, start
    raise AssertionError("no configuration was in force within 32 seconds")


def weight_at(one: dict[str, Any], start: float, now: float, before: float = 2, steps: Any = STEPS) -> float:
    return next((weight for after, weight in reversed(steps) if now >= start + after), before)


def version_at(one: dict[str, Any], user: str, weight: float) -> str:
    place = arithmetic.bucket(one["salt"], user)
    return arithmetic.owner([("stable", None), ("canary", weight)], place)


def gauge(metrics: Metrics) -> dict[str, float]:
    return metrics.by("rollout_version", "cohort_version_weight", rollout="checkout")


@pytest.fixture(scope="module")
async def two(launch: Launch) -> tuple[Envoy, Envoy]:
    first, second = await asyncio.gather(*(launch(config=config(rollout()), concurrency=2) for _ in range(2)))
    return first, second


async def test_two_proxies_agree_with_the_clock_at_every_instant(two: tuple[Envoy, Envoy]):
    one, start = await before_the_start(*two)
    seen: set[float] = set()
    agreed = 0
    async with User.session(16) as http:
        askers = [User(http, proxy.url) for proxy in two]
        for number in itertools.count():
            user = f"user-{number}"
            sent = time.time()
            answers = await asyncio.gather(*(asker.ask(user) for asker in askers))
            done = time.time()
            weights = {weight_at(one, start, at) for at in (sent, done)}
            # Only a request that was on its way at the very edge of a step may have either.
            possible = {version_at(one, user, weight) for weight in weights}
            assert {answer.version for answer in answers} <= possible, (user, sent - start, weights)
            if len(weights) == 1:
                seen |= weights
                agreed += answers[0].version == answers[1].version
            if done > start + STEPS[-1][0] + 0.5 and agreed > 100:
                break
    assert seen == {2, 10.0, 40.0, 75.5}, "before the start, and every step"
    print(f"{agreed} users asked of both proxies, each where the clock says")


async def test_the_gauge_follows_the_clock(two: tuple[Envoy, Envoy]):
    proxy, _ = two
    # Far enough apart that a busy machine sees each.
    steps = ((0.0, 10.0), (4.0, 40.0), (8.0, 75.5))
    _, start = await before_the_start(proxy, steps=steps)
    for after, weight in ((-1.0, 2.0), *steps):
        wanted = {"stable": 100_000 - weight * 1000, "canary": weight * 1000}
        await proxy.metrics_when(lambda m, wanted=wanted: gauge(m) == wanted, f"the gauges at {weight} percent")
        late = time.time() - (start + after)
        assert late < 4 or after < 0, f"{late:.2f} s late"


async def test_pause_and_rollback_are_edits(two: tuple[Envoy, Envoy]):
    proxy, _ = two
    start = whole(time.time() - 1000)
    one = ramped(start)
    await proxy.configure(config(one))
    await proxy.metrics_when(lambda m: gauge(m).get("canary") == 75_500, "a ramp that began long ago")
    paused = {key: value for key, value in one.items() if key != "ramp"}
    paused["versions"] = [{"name": "stable"}, {"name": "canary", "weight": 40}]
    await proxy.configure(config(paused))
    await proxy.metrics_when(lambda m: gauge(m).get("canary") == 40_000, "paused")
    paused["versions"] = [{"name": "stable"}, {"name": "canary", "weight": 0}]
    await proxy.configure(config(paused))
    await proxy.metrics_when(lambda m: gauge(m).get("canary") == 0, "rolled back")


async def test_a_trip_ends_the_ramp(two: tuple[Envoy, Envoy], v2: Service):
    proxy, _ = two
    # The canary falls in the first step and comes back when the last one has been reached by the clock.
    steps = ((0.0, 20.0), (8.0, 100.0))
    guard = {"minRequests": 10, "maxFailureRatio": 0.2, "window": "1s", "retryAfter": "8s"}
    start = whole(time.time() + 0.5)
    one = ramped(start, before=0, steps=steps, guard=guard)
    mark = len(proxy.filter_log())

    def said(what: str) -> list[str]:
        return [line for line in proxy.filter_log()[mark:] if what in line]

    def stays(answer: Answer) -> bool:
        return answer.version == version_at(one, answer.user, 20.0)

    await v2.behave(failure_ratio=1.0)
    try:
        await proxy.configure(config(one))
        async with Load(proxy.url, users(1000), rate=150) as load:
            await until(lambda: said("held out of traffic"), "the fall")
            assert time.time() < start + 8, "the trip comes in the first step"
            await v2.behave(failure_ratio=0.0)
            await until(lambda: said("back in traffic"), "the return")
            assert time.time() > start + 8
            await proxy.metrics_when(lambda m: gauge(m).get("canary") == 20_000, "the step in which it fell")
            # One worker says it in the gauge, and the other learns it with its next look.
            newest = lambda: list(load.recent)[-100:]  # noqa: E731
            await until(lambda: all(map(stays, newest())), "both workers to have it back")
            began = load.elapsed
            await until(lambda: load.elapsed > began + 2, "two seconds of traffic")
            after: list[Answer] = [a for when, a in load.heard if when - a.seconds > began]
    finally:
        await v2.behave(failure_ratio=0.0)
    assert after and all(map(stays, after))
    assert {a.version for a in after} == {"stable", "canary"}
    assert not [a for a in after if a.failed]
