"""A version that fails leaves traffic by itself, on every worker; one that does not stays."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import h11
import pytest
from conftest import Launch, config, rollout
from lab import arithmetic, bootstrap
from lab.client import Answer, Load, ask, users
from lab.envoy import Envoy, Metrics
from lab.service import Service
from lab.until import until
from lab.wire import get, request

#: Two workers see a change at their next tick (250 ms); what was on its way then still arrives.
WITHIN = 2.0
MIN_REQUESTS = 20
OVERRIDES = {"header": "x-canary", "values": {"always": "canary"}}
ALWAYS = [("x-canary", "always")]

_salts = itertools.count()


def guarded(weight: float = 30, guard: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A rollout with a guard. Its salt is new each time, so that no earlier test's trip is remembered."""
    base = {"minRequests": MIN_REQUESTS, "maxFailureRatio": 0.2, "window": "30s"}
    more = {"salt": f"salt-{next(_salts)}", "overrides": OVERRIDES, **more}
    return rollout(weight, guard={**base, **(guard or {})}, **more)


def of(one: dict[str, Any], version: str, count: int = 200) -> list[str]:
    """Users whom the weights give a version."""
    found = (user for user in users(10_000) if arithmetic.version(one, user) == version)
    return list(itertools.islice(found, count))


def held_out(metrics: Metrics) -> bool:
    return metrics.value("cohort_version_held_out", rollout="checkout", rollout_version="canary") == 1


def trips(metrics: Metrics) -> dict[str, float]:
    counts = metrics.by("cause", "cohort_guard_trips_total", rollout="checkout", rollout_version="canary")
    return {cause: count for cause, count in counts.items() if count}


def weights(metrics: Metrics) -> dict[str, float]:
    return metrics.by("rollout_version", "cohort_version_weight", rollout="checkout")


@dataclass
class Watcher:
    """What one proxy said since a test began: its counters and its log go on from test to test."""

    proxy: Envoy
    before: dict[str, float] = field(default_factory=dict)
    mark: int = 0

    @classmethod
    async def begin(cls, proxy: Envoy) -> Watcher:
        return cls(proxy, trips(await proxy.metrics()), len(proxy.filter_log()))

    async def trips(self) -> dict[str, float]:
        now = trips(await self.proxy.metrics())
        since = {cause: count - self.before.get(cause, 0) for cause, count in now.items()}
        return {cause: count for cause, count in since.items() if count}

    def warnings(self, about: str = "") -> list[str]:
        lines = self.proxy.filter_log()[self.mark :]
        return [line for line in lines if "[warning]" in line and about in line]

    async def out(self) -> None:
        await self.proxy.metrics_when(held_out, "the canary held out")

    async def back(self) -> None:
        await self.proxy.metrics_when(lambda metrics: not held_out(metrics), "the canary not held out")


@dataclass
class Lab:
    """A proxy with two workers, and the two services behind it."""

    proxy: Envoy
    v1: Service
    v2: Service
    watcher: Watcher

    async def apply(self, one: dict[str, Any], *others: dict[str, Any]) -> None:
        await self.proxy.configure(config(one, *others))

    def load(self, who: list[str] | None = None, *, rate: float = 120, **more: Any) -> Load:
        # Many connections, so that both workers have some.
        return Load(self.proxy.url, who or users(400), rate=rate, **more)

    async def everybody(self, who: Iterable[str], **more: Any) -> dict[str, Answer]:
        """Everyone on a connection of their own: each worker takes about half."""
        return await ask(self.proxy.url, who, fresh=True, concurrency=8, **more)


async def sends(load: Load, count: int) -> None:
    """Awaits so many more answers to the load."""
    so_far = load.answered
    await until(lambda: load.answered - so_far >= count, f"{count} more answers")


@asynccontextmanager
async def well(*services: Service) -> AsyncIterator[None]:
    """Services behave again at the end."""
    try:
        yield
    finally:
        for service in services:
            await service.behave(
                failure_ratio=0.0,
                failure_status=503,
                delay_ms=0.0,
                delay_ratio=1.0,
                reset_ratio=0.0,
                cut_ratio=0.0,
                grpc_status=None,
                padding=0,
                ready=True,
            )


def hasty(to: dict[str, str], default: str) -> list[dict[str, Any]]:
    """Routes that wait 300 ms for an answer."""
    return bootstrap.route_by_header("x-cohort-checkout", to, default, timeout="0.3s")


@pytest.fixture(scope="module")
async def shared(launch: Launch) -> Envoy:
    return await launch(config=config(rollout()), concurrency=2, routes=hasty({"canary": "checkout-v2"}, "checkout-v1"))


@pytest.fixture
async def lab(shared: Envoy, v1: Service, v2: Service) -> AsyncIterator[Lab]:
    async with well(v1, v2):
        yield Lab(shared, v1, v2, await Watcher.begin(shared))


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
        await sends(load, 100)
        assert {a.version for _, a in load.heard} == {"stable", "canary"}
        assert load.failed == 0
        began = len(load.heard)
        await breaks()
        await lab.watcher.out()
        # Whoever was let through before the other worker knew has had an answer by now.
        await sends(load, 120)
        quiet, served = load.elapsed, (await lab.v2.counts())["requests"]
        await sends(load, 240)
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
    assert int(figures[1]) >= MIN_REQUESTS
    assert int(figures[1]) >= int(figures[2]) > 0
    assert weights(await lab.proxy.metrics()) == {"stable": 100_000, "canary": 0}

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
    await lab.everybody(stables[:100], headers=pinned)
    await lab.watcher.out()
    await until(lambda: lab.everybody(stables[:8], headers=pinned), "both workers", holds=all_fall_back)
    answers = await lab.everybody(stables, headers=pinned)
    assert all_fall_back(answers)
    reply = await get(lab.proxy.address, headers=[("x-user-id", stables[0]), *pinned.items()])
    assert reply.one("x-cohort-reason") == "FALLBACK"
    assert reply.all("set-cookie") == [], "the pin is still good for when the version comes back"


def all_fall_back(answers: dict[str, Answer]) -> bool:
    return {(a.reason, a.served_by) for a in answers.values()} == {("FALLBACK", "checkout-v1")}


# --- the way back ------------------------------------------------------------------------------------


async def breaks_out(lab: Lab, one: dict[str, Any], *others: dict[str, Any]) -> list[str]:
    """Applies a configuration and breaks the canary until it is out on both workers; its users."""
    await lab.apply(one, *others)
    canaries = of(one, "canary")
    await lab.v2.behave(failure_ratio=1.0)
    await lab.everybody(canaries[: 2 * MIN_REQUESTS])
    await lab.watcher.out()
    await until(lambda: lab.everybody(canaries[:8]), "both workers", holds=all_fall_back)
    return canaries


async def test_after_retry_after_a_tenth_of_its_users_try_it_and_it_falls_again_or_comes_back(lab: Lab):
    one = guarded(50, guard={"window": "2s", "retryAfter": "2s"})
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
        await sends(load, 60)
        began = len(load.heard)
        await sends(load, 200)
        back = [answer for _, answer in load.heard[began:]]
        assert {(a.version, a.reason, a.status) for a in back} == {("canary", "HASH", 200)}
    assert probing & chosen
    (said,) = lab.watcher.warnings("is back in traffic")
    assert re.search(r"of \d+ answers 0 failed", said), said
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
        assert all_fall_back(await lab.everybody(canaries[:40])), "from the first request on"
    assert held_out(await lab.proxy.metrics())
    assert await lab.watcher.trips() == {"failures": 1}


async def test_a_changed_rollout_begins_anew(lab: Lab):
    one = guarded()
    canaries = await breaks_out(lab, one)
    await lab.v2.behave(failure_ratio=0.0)
    two = {**one, "versions": [{"name": "stable"}, {"name": "canary", "weight": 31}]}
    await lab.apply(two)
    answers = await lab.everybody(canaries[:40])
    assert {(a.reason, a.served_by) for a in answers.values()} == {("HASH", "checkout-v2")}
    await lab.watcher.back()


@pytest.mark.parametrize("between", ["another weight", "disabled", "no rollout"])
async def test_a_rollout_changed_and_changed_back_begins_anew(lab: Lab, between: str):
    """Out, rolled back by hand, repaired, and released again with the very same configuration."""
    one = guarded()
    canaries = await breaks_out(lab, one)
    await lab.v2.behave(failure_ratio=0.0)
    stopped = {**one, "versions": [{"name": "stable"}, {"name": "canary", "weight": 0}]}
    await lab.proxy.configure(
        {
            "another weight": config(stopped),
            "disabled": config({**one, "enabled": False}),
            "no rollout": config(),
        }[between]
    )
    # It is known to be in force from its first tick on.
    await lab.proxy.metrics_when(lambda m: not held_out(m), "the change in force")
    await lab.apply(one)
    answers = await lab.everybody(canaries[:40])
    assert {(a.reason, a.served_by) for a in answers.values()} == {("HASH", "checkout-v2")}
    await lab.watcher.back()
    # And the guard is as awake as before.
    await lab.v2.behave(failure_ratio=1.0)
    await lab.everybody(canaries[: 2 * MIN_REQUESTS])
    await lab.watcher.out()
    assert await lab.watcher.trips() == {"failures": 2}


async def test_a_version_that_is_gone_is_not_held_out_for_ever_on_a_dashboard(lab: Lab):
    one = guarded()
    await breaks_out(lab, one)
    versions = [{"name": "stable"}, {"name": "green", "weight": 5}]
    await lab.apply({**one, "versions": versions, "overrides": {"header": "x-canary"}})
    metrics = await lab.proxy.metrics_when(lambda m: not held_out(m), "no canary held out")
    assert weights(metrics) == {"stable": 95_000, "green": 5_000, "canary": 0}
    await lab.proxy.configure(config())
    await lab.proxy.metrics_when(
        lambda m: weights(m) == {"stable": 0, "green": 0, "canary": 0}, "weights of a rollout that is gone"
    )


async def test_a_configuration_that_was_replaced_trips_nothing(lab: Lab):
    one = guarded()
    await lab.apply(one)
    canaries = of(one, "canary")
    await lab.v2.behave(failure_ratio=1.0)
    await lab.everybody(canaries[: MIN_REQUESTS - 1])
    # The same version in a rollout without a guard, whose failures go into the same counters.
    two = {key: value for key, value in one.items() if key != "guard"}
    await lab.apply(two)
    async with lab.load(canaries, rate=100) as load:
        await sends(load, 200)
    assert load.failed == load.answered, "whoever is in the canary sees it fail"
    assert await lab.watcher.trips() == {}
    assert lab.watcher.warnings() == []
    assert not held_out(await lab.proxy.metrics())


# --- what must not trip it ---------------------------------------------------------------------------


async def stays(lab: Lab, load: Load) -> None:
    """Expects that nothing has tripped; and then that the guard was awake all the while."""
    await sends(load, 120)
    metrics = await lab.proxy.metrics()
    assert not held_out(metrics)
    assert lab.watcher.warnings() == []
    assert await lab.watcher.trips() == {}
    await lab.v2.behave(failure_ratio=1.0, failure_status=503, delay_ms=0.0, padding=0)
    await lab.v1.behave(failure_ratio=0.0)
    await lab.watcher.out()


def failures(metrics: Metrics, version: str = "canary") -> float:
    return metrics.sum("cohort_failures_total", rollout="checkout", rollout_version=version)


async def test_an_outage_that_both_share_rolls_nothing_back(lab: Lab):
    one = guarded(guard={"window": "3s"})
    await lab.apply(one)
    before = failures(await lab.proxy.metrics())
    async with lab.load() as load:
        await sends(load, 60)
        await asyncio.gather(*(each.behave(failure_ratio=0.5) for each in (lab.v1, lab.v2)))
        await sends(load, 360)
        assert failures(await lab.proxy.metrics()) - before > MIN_REQUESTS
        await stays(lab, load)


async def test_a_handful_of_errors_with_little_traffic_rolls_nothing_back(lab: Lab):
    one = guarded()
    await lab.apply(one)
    canaries = of(one, "canary")
    before = failures(await lab.proxy.metrics())
    await lab.v2.behave(failure_ratio=1.0)
    await lab.everybody(canaries[: MIN_REQUESTS - 1])
    await lab.v2.behave(failure_ratio=0.0)
    await lab.proxy.metrics_when(lambda m: failures(m) - before == MIN_REQUESTS - 1, "every failure counted")
    async with lab.load(of(one, "stable")) as load:
        await sends(load, 120)
        assert not held_out(await lab.proxy.metrics())
        assert await lab.watcher.trips() == {}
    # One more is enough.
    await lab.v2.behave(failure_ratio=1.0)
    await lab.everybody(canaries[:1])
    await lab.watcher.out()


async def test_client_errors_roll_nothing_back(lab: Lab):
    await lab.apply(guarded())
    before = failures(await lab.proxy.metrics())
    await lab.v2.behave(failure_ratio=1.0, failure_status=404)
    async with lab.load() as load:
        await until(lambda: load.by_outcome["canary", 404] > 2 * MIN_REQUESTS, "client errors")
        assert failures(await lab.proxy.metrics()) == before
        await stays(lab, load)


async def goes_away(lab: Lab, user: str, *, after: int) -> None:
    """Asks and hangs up: at once, or after so many bytes of the answer."""
    reader, writer = await asyncio.open_connection(*lab.proxy.address)
    before = (await lab.v2.counts())["requests"]
    writer.write(request(headers=[("x-user-id", user)]))
    await writer.drain()
    if after:
        await reader.readexactly(after)
    else:
        await until(lab.v2.counts, "the request at the service", holds=lambda now: now["requests"] > before)
    writer.transport.abort()


@pytest.mark.parametrize("after", [0, 1000], ids=["before the answer", "within the answer"])
async def test_clients_that_go_away_roll_nothing_back(lab: Lab, after: int):
    one = guarded()
    await lab.apply(one)
    before = await lab.proxy.metrics()
    canary = {"rollout": "checkout", "rollout_version": "canary"}
    # So slow that the answer is still to come, or so long that it is not all on its way.
    await lab.v2.behave(**({"padding": 8_000_000} if after else {"delay_ms": 250.0}))
    gone, logged = of(one, "canary", 2 * MIN_REQUESTS), len(lab.proxy.access_log())
    for user in gone:
        await goes_away(lab, user, after=after)
    code_class = "2xx" if after else "none"

    def counted(metrics: Metrics) -> float:
        name = "cohort_responses_total"
        return sum(m.sum(name, code_class=code_class, **canary) * sign for m, sign in ((metrics, 1), (before, -1)))

    metrics = await lab.proxy.metrics_when(lambda m: counted(m) == len(gone), "every abort counted")
    assert failures(metrics) == failures(before)
    # Envoy's own word for it: the downstream connection was terminated.
    went = f" {200 if after else 0} DC "
    lines = await until(
        lambda: lab.proxy.access_log()[logged:], "the access log", holds=lambda lines: len(lines) == len(gone)
    )
    assert not [line for line in lines if went not in line]
    await lab.v2.behave(padding=0, delay_ms=0.0)
    async with lab.load() as load:
        await stays(lab, load)


# --- counters that the proxy leaves out --------------------------------------------------------------


@pytest.mark.parametrize(
    ("left_out", "cause"),
    [("cohort_", "failures"), ("cohort_failures_total", "failures"), ("cohort_slow_responses_total", "latency")],
)
async def test_a_guard_without_counters_says_so_and_still_trips(
    launch: Launch, v1: Service, v2: Service, left_out: str, cause: str
):
    matcher = {"exclusion_list": {"patterns": [{"prefix": f"wasmcustom.{left_out}"}]}}
    one = guarded(guard={"slowerThan": "100ms", "maxSlowRatio": 0.2})
    proxy = await launch(config=config(one), concurrency=2, stats_matcher=matcher)
    watcher = Watcher(proxy)
    canaries = of(one, "canary", 10_000)
    async with well(v2), Load(proxy.url, canaries, rate=120) as load:
        await v2.behave(**({"delay_ms": 150.0} if cause == "latency" else {"failure_ratio": 1.0}))
        await until(lambda: watcher.warnings(f"held out of traffic ({cause})"), "the trip")
        await sends(load, 120)
        began = len(load.heard)
        await sends(load, 100)
        assert {(a.version, a.reason) for _, a in load.heard[began:]} == {("stable", "FALLBACK")}
    assert watcher.warnings("its stats matcher leaves them out"), proxy.log()
    assert len(watcher.warnings("held out of traffic")) == 1
    assert len(watcher.warnings("its stats matcher leaves them out")) <= 2, "once a worker"


# --- figures that the documentation names ------------------------------------------------------------


async def test_half_of_a_tenth_of_200_requests_a_second_fails_and_is_rolled_back_in_seconds(lab: Lab):
    """Weight 10, 50 % errors, 200 requests a second, and the guard's defaults."""
    defaults = {"maxFailureRatio": 0.05, "minRequests": 50, "window": "30s"}
    one = guarded(10, guard=defaults)
    await lab.apply(one)
    async with lab.load(users(2000), rate=200) as load:
        await sends(load, 400)
        await lab.v2.behave(failure_ratio=0.5)
        began = load.elapsed
        await lab.watcher.out()
        await sends(load, 200)
    took = load.failures[-1][0] - began
    print(f"the last of {load.failed} errors {took:.1f} s after the canary began to fail")
    assert load.failures[0][0] >= began
    assert took < 10
