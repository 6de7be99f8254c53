"""What takes no version out: shared outages, single clients, other filters, clients that go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from conftest import Launch, config
from guarded import Lab, a_lab, evidence, failures, guarded, held_out, of, two_workers
from lab import bootstrap
from lab.client import Key, Load, ask, users
from lab.envoy import Envoy, Metrics
from lab.service import Service
from lab.until import until
from lab.wire import request
from rude import Rude

COOKIE = Key("cookie", "uid")


@pytest.fixture(scope="module")
async def shared(launch: Launch) -> Envoy:
    return await two_workers(launch)


@pytest.fixture
async def lab(shared: Envoy, v1: Service, v2: Service) -> AsyncIterator[Lab]:
    async with a_lab(shared, v1, v2) as lab:
        yield lab


async def stays(lab: Lab, load: Load) -> None:
    """Expects that nothing has tripped; and then that the guard was awake all the while."""
    await load.more(120)
    metrics = await lab.proxy.metrics()
    assert not held_out(metrics)
    assert lab.watcher.warnings() == []
    assert await lab.watcher.trips() == {}
    await lab.v2.behave(failure_ratio=1.0, failure_status=503, delay_ms=0.0, padding=0)
    await lab.v1.behave(failure_ratio=0.0)
    await lab.watcher.out()


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"failure_ratio": 1.0, "failure_status": 503}, id="always-fail"),
        pytest.param({"delay_ms": 150.0, "delay_ratio": 1.0}, id="are-always-slow"),
        pytest.param({"failure_ratio": 0.5, "delay_ms": 150.0, "delay_ratio": 0.5}, id="do-half-of-both"),
    ],
)
async def test_a_minute_in_which_both_versions_are_bad_rolls_nothing_back(lab: Lab, bad: dict[str, Any]):
    await lab.apply(guarded(guard={"slowerThan": "100ms", "maxSlowRatio": 0.05}))
    async with lab.load(rate=60) as load:
        await load.more(60)
        await asyncio.gather(*(each.behave(**bad) for each in (lab.v1, lab.v2)))
        began, before = load.elapsed, len(load.heard)
        while load.elapsed < began + 60:
            await load.more(60)
            assert not held_out(await lab.proxy.metrics())
        ours = [answer for _, answer in load.heard[before:] if answer.version == "canary"]
        assert sum(answer.status == 503 or answer.seconds > 0.1 for answer in ours) > 100
        await lab.v1.behave(failure_ratio=0.0, delay_ms=0.0)
        await stays(lab, load)


async def test_before_min_requests_nothing_trips(lab: Lab):
    one = guarded(guard={"minRequests": 20})
    await lab.apply(one)
    canaries = of(one, "canary", 20)
    async with lab.load(of(one, "stable")) as load:
        await load.more(120)
        await lab.v2.behave(failure_ratio=1.0)
        for user in canaries[:19]:
            await lab.everybody([user])
            # Long enough for another look.
            await load.more(30)
        metrics = await lab.proxy.metrics_when(lambda metrics: evidence(metrics) == 1000, "all the evidence")
        assert not held_out(metrics)
        assert lab.watcher.warnings() == []
        await lab.everybody(canaries[19:])
        await lab.watcher.out()


# --- one client --------------------------------------------------------------------------------------


async def fails(lab: Lab, load: Load, me: str) -> None:
    """10,000 requests that fail in any version."""
    answers = await ask(lab.proxy.url, [me] * 10_000, path="/?status=503", key=COOKIE, concurrency=16)
    assert (answers[me].status, answers[me].served_by) == (503, "checkout-v2")


async def asks_too_much(lab: Lab, load: Load, me: str) -> None:
    """Requests that no version answers in time."""
    answers = await ask(lab.proxy.url, [me] * 300, path="/?delay-ms=400", key=COOKIE, fresh=True)
    assert answers[me].status == 504


async def uploads_slowly(lab: Lab, load: Load, me: str) -> None:
    """Uploads whose last byte comes late."""
    data = request(method="POST", headers=[("cookie", f"uid={me}")], body=b"ab")
    links = [await asyncio.open_connection(*lab.proxy.address) for _ in range(60)]
    for _, writer in links:
        writer.write(data[:-1])
    await load.more(60)
    for reader, writer in links:
        writer.write(data[-1:])
        assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 200 OK\r\n"
        writer.close()


@pytest.mark.parametrize("attack", [fails, asks_too_much, uploads_slowly])
async def test_one_client_takes_nothing_out(lab: Lab, attack: Callable[[Lab, Load, str], Awaitable[None]]):
    guard = {"maxFailureRatio": 0.05, "slowerThan": "150ms", "maxSlowRatio": 0.05}
    one = guarded(10, guard=guard, hashKey=[{"cookie": "uid"}])
    await lab.apply(one)
    me = of(one, "canary", 1)[0]
    async with lab.load([user for user in users(400) if user != me], key=COOKIE) as load:
        await load.more(120)
        await attack(lab, load, me)
        await stays(lab, load)


# --- who answered ------------------------------------------------------------------------------------


def aborts_behind(boot: dict[str, Any]) -> None:
    """A filter behind ours that answers what it is asked to in the version's place."""
    fault = {
        "name": "envoy.filters.http.fault",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
            "abort": {"header_abort": {}, "percentage": {"numerator": 100}},
        },
    }
    bootstrap.connection_manager(boot)["http_filters"].insert(-1, fault)


async def test_what_a_filter_behind_answers_neither_takes_out_nor_hides(launch: Launch, v1: Service, v2: Service):
    proxy = await two_workers(launch, edit=aborts_behind)
    async with a_lab(proxy, v1, v2) as lab:
        one = guarded()
        await lab.apply(one)
        canaries, stables = of(one, "canary", 400), of(one, "stable", 400)
        refused, denied = ({"x-envoy-fault-abort-request": status} for status in ("503", "403"))
        async with (
            lab.load(canaries[:200], rate=60, headers=refused) as load,
            lab.load(stables, rate=30) as well_served,
        ):
            await load.more(200)
            await well_served.more(60)
            assert load.by_outcome["canary", 503] == load.answered
            metrics = await lab.proxy.metrics()
            assert failures(metrics) == 0
            about = {"rollout": "checkout", "rollout_version": "canary"}
            answered = metrics.by("source", "cohort_responses_total", code_class="5xx", **about)
            assert answered.get("proxy", 0) > 100
            assert answered.get("upstream", 0) == 0
            assert lab.watcher.warnings() == []
        # 24 denials to each real request, all of which fail.
        async with (
            lab.load(canaries[:200], rate=96, headers=denied),
            lab.load(canaries[200:], rate=4),
            lab.load(stables, rate=40),
        ):
            await lab.v2.behave(failure_ratio=1.0)
            await lab.watcher.out()


def hanging(boot: dict[str, Any]) -> None:
    """Ways in which a proxy ends an answer that hangs, by path."""
    manager = bootstrap.connection_manager(boot)
    manager["stream_idle_timeout"] = "0.5s"
    manager["common_http_protocol_options"] = {"max_stream_duration": "2s"}
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    limited = {
        **bootstrap.cluster(boot, "checkout-v2"),
        "name": "limited",
        "typed_extension_protocol_options": {
            kind: {
                "@type": f"type.googleapis.com/{kind}",
                "common_http_protocol_options": {"max_stream_duration": "0.5s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }
    bootstrap.clusters(boot).append(limited)
    patient = {"cluster": "checkout-v2", "timeout": "0s", "idle_timeout": "0s"}
    ways = {
        "idle": {**patient, "idle_timeout": None},
        "route-idle": {**patient, "idle_timeout": "0.6s"},
        "timeout": {**patient, "timeout": "0.5s"},
        "duration": {**patient, "max_stream_duration": {"max_stream_duration": "0.5s"}},
        "any-duration": patient,
        "cluster-duration": {**patient, "cluster": "limited"},
    }
    canary = [{"name": "x-cohort-checkout", "string_match": {"exact": "canary"}}]
    bootstrap.routes(boot)[:0] = [
        {
            "match": {"prefix": f"/{way}/", "headers": canary},
            "route": {key: value for key, value in route.items() if value is not None},
        }
        for way, route in ways.items()
    ]


@pytest.fixture(scope="module")
async def hangs(launch: Launch) -> AsyncIterator[Envoy]:
    async with Rude() as rude:
        yield await two_workers(launch, clusters={"checkout-v2": rude.address}, edit=hanging)


@pytest.mark.parametrize("way", ["idle", "route-idle", "timeout", "duration", "any-duration", "cluster-duration"])
async def test_an_answer_that_hangs_after_its_headers_is_a_failure(hangs: Envoy, v1: Service, v2: Service, way: str):
    async with a_lab(hangs, v1, v2) as lab:
        await lab.apply(guarded())
        async with lab.load(path=f"/{way}/hang-in-body", rate=60):
            await lab.watcher.out()
        assert await lab.watcher.trips() == {"failures": 1}


async def test_client_errors_roll_nothing_back(lab: Lab):
    await lab.apply(guarded())
    before = failures(await lab.proxy.metrics())
    await lab.v2.behave(failure_ratio=1.0, failure_status=404)
    async with lab.load() as load:
        await until(lambda: load.by_outcome["canary", 404] > 40, "client errors")
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
    # Those of the tests before that hang are counted when they are cut.
    active = "^http[.]http[.]downstream_rq_active$"
    await until(lambda: lab.proxy.stats(active), "nothing under way", holds=lambda now: sum(now.values()) == 0)
    before = await lab.proxy.metrics()
    canary = {"rollout": "checkout", "rollout_version": "canary"}
    # So slow that the answer is still to come, or so long that it is not all on its way.
    await lab.v2.behave(**({"padding": 8_000_000} if after else {"delay_ms": 250.0}))
    gone, logged = of(one, "canary", 40), len(lab.proxy.access_log())
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


# --- without the proxy's counters --------------------------------------------------------------------


async def falls_by_its_log(lab: Lab, load: Load) -> None:
    """Expects the canary out on both workers, as the log has it, and nothing said but that."""
    await lab.v2.behave(failure_ratio=1.0)
    await until(lambda: lab.watcher.warnings("held out of traffic (failures)"), "the trip")
    await load.more(120)
    began = len(load.heard)
    await load.more(100)
    assert {answer.version for _, answer in load.heard[began:]} == {"stable"}
    assert len(lab.watcher.warnings()) == 1


async def test_a_guard_needs_none_of_the_proxy_s_counters(launch: Launch, v1: Service, v2: Service):
    prefixes = ("wasmcustom.cohort_", "dynamicmodulescustom.cohort_")
    matcher = {"exclusion_list": {"patterns": [{"prefix": prefix} for prefix in prefixes]}}
    proxy = await two_workers(launch, config=config(guarded()), stats_matcher=matcher)
    async with a_lab(proxy, v1, v2) as lab, lab.load() as load:
        await load.more(120)
        await falls_by_its_log(lab, load)
        assert "cohort_failures_total" not in await proxy.admin("/stats/prometheus")


async def test_counters_that_are_reset_change_nothing(lab: Lab):
    await lab.apply(guarded())
    async with lab.load() as load:
        await load.more(240)
        await lab.proxy.admin("/reset_counters", "POST")
        await load.more(120)
        assert lab.watcher.warnings() == []
        await falls_by_its_log(lab, load)
