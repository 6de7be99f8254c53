"""The health check of a version's cluster: down at the start, thresholds, the return, a cluster there is not."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from conftest import Launch, config, rollout
from guarded import everybody, of
from lab.client import Answer, Load, users
from lab.envoy import Envoy, Metrics
from lab.service import Service
from lab.until import until
from lab.wire import get

CHECK = {
    "cluster": "checkout-v2",
    "path": "/ready",
    "interval": "500ms",
    "timeout": "300ms",
    "unhealthyThreshold": 3,
    "healthyThreshold": 2,
}
_salts = itertools.count()


def checked(**more: Any) -> dict[str, Any]:
    """A rollout whose canary is polled; a salt and a host of its own, so that it starts with no memory."""
    number = next(_salts)
    check = {**CHECK, "host": f"health-{number}", **more}
    overrides = {"header": "x-canary"}
    return rollout(30, salt=f"health-{number}", overrides=overrides, health={"canary": check})


def held_out(metrics: Metrics) -> float | None:
    return metrics.value("cohort_version_held_out", rollout="checkout", rollout_version="canary")


def trips(metrics: Metrics) -> float:
    return metrics.sum("cohort_guard_trips_total", rollout="checkout", rollout_version="canary", cause="health")


def reasons(answers: dict[str, Answer]) -> set[tuple[str | None, str | None]]:
    return {(answer.reason, answer.served_by) for answer in answers.values()}


FALLBACK, HASH = {("FALLBACK", "checkout-v1")}, {("HASH", "checkout-v2")}


@pytest.fixture(scope="module")
async def shared(launch: Launch) -> Envoy:
    return await launch(config=config(rollout()), concurrency=2)


@pytest.fixture
async def canary(v2: Service) -> AsyncIterator[Service]:
    yield v2
    await v2.behave(ready=True, delay_ms=0.0)


def said(proxy: Envoy, mark: int, what: str) -> list[str]:
    return [line for line in proxy.filter_log()[mark:] if "[warning]" in line and what in line]


@pytest.mark.edges
async def test_a_version_that_gets_unready_is_out_after_the_threshold_and_back_after_the_other(
    shared: Envoy, canary: Service
):
    one, mark = checked(), len(shared.filter_log())
    before = trips(await shared.metrics())
    await shared.configure(config(one))
    who = of(one, "canary", 60)
    async with Load(shared.url, users(300), rate=80) as load:
        await until(lambda: load.by_version["canary"] > 20, "canary in traffic")
        assert held_out(await shared.metrics()) == 0
        await canary.behave(ready=False)
        # One worker may show it before the other has counted it.
        metrics = await shared.metrics_when(lambda m: held_out(m) == 1 and trips(m) > before, "the canary held out")
        assert trips(metrics) - before == 1
        weights = metrics.by("rollout_version", "cohort_version_weight", rollout="checkout")
        assert weights["canary"] in (0, 30_000), "one worker may be a tick behind"
        await until(lambda: everybody(shared, who), "both workers", holds=lambda a: reasons(a) == FALLBACK)
        assert reasons(await everybody(shared, who)) == FALLBACK
        reply = await get(shared.address, headers=[("x-user-id", who[0]), ("x-canary", "canary")])
        assert (reply.one("x-cohort-reason"), reply.told["service"]) == ("OVERRIDE", "checkout-v2")
        (line,) = said(shared, mark, "held out of traffic")
        assert (
            "rollout checkout: version canary is held out of traffic (health): GET /ready on cluster "
            "checkout-v2 gave 503, 3 in a row; its users get stable" in line
        )

        await canary.behave(ready=True)
        await shared.metrics_when(lambda m: held_out(m) == 0, "the canary back")
        await until(lambda: everybody(shared, who), "both workers", holds=lambda a: reasons(a) == HASH)
        assert reasons(await everybody(shared, who)) == HASH
        (line,) = said(shared, mark, "back in traffic")
        assert "version canary is back in traffic: GET /ready on cluster checkout-v2 gave 200, 2 in a row" in line
    assert load.failed == 0, "the service answered all the while: only its readiness failed"
    assert trips(await shared.metrics()) - before == 1


async def test_fewer_bad_answers_than_the_threshold_hold_nothing_out(shared: Envoy, canary: Service):
    one, mark = checked(unhealthyThreshold=1000), len(shared.filter_log())

    async def polled(code_class: str) -> int:
        name = f"cluster.checkout-v2.upstream_rq_{code_class}"
        return (await shared.stats(f"^{name}$")).get(name, 0)

    await shared.configure(config(one))
    good, bad = await polled("2xx"), await polled("5xx")
    # The configuration before it polls for five more seconds, twice in each.
    await until(lambda: polled("2xx"), "a good answer to this check", holds=lambda now: now - good > 10)
    await canary.behave(ready=False)
    await until(lambda: polled("5xx"), "several bad answers", holds=lambda now: now - bad >= 4)
    assert held_out(await shared.metrics()) == 0
    assert said(shared, mark, "") == []
    # The first answer of a check decides at once: the same service, asked by a check that is new.
    await shared.configure(config(checked(unhealthyThreshold=1000)))
    await shared.metrics_when(lambda m: held_out(m) == 1, "held out by the first answer")


@pytest.mark.edges
async def test_one_worker_polls_for_all(shared: Envoy, canary: Service):
    one = checked(interval="1s")
    await shared.configure(config(one))
    name = "cluster.checkout-v2.upstream_rq_total"

    async def polls() -> int:
        return (await shared.stats(f"^{name}$"))[name]

    before, began = await polls(), time.monotonic()
    theirs = set(of(one, "canary", 300))
    async with Load(shared.url, [user for user in users(300) if user not in theirs], rate=50) as load:
        # The stable users' requests are the clock: none of them goes to the cluster that is polled.
        await until(lambda: load.elapsed > 5, "five seconds")
        sent, took = await polls() - before, time.monotonic() - began
    assert 3 <= sent <= took + 2, f"{sent} in {took:.1f} s: once a second, not once a second and worker"


async def test_a_slow_answer_is_none(launch: Launch, v2: Service, canary: Service):
    """A cluster whose socket takes connections and never answers."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        silent = server.sockets[0].getsockname()
        one = checked(cluster="silent")
        proxy = await launch(config=config(one), concurrency=2, clusters={"silent": silent})
        await proxy.metrics_when(lambda m: held_out(m) == 1, "the canary held out")
        (line,) = await until(lambda: said(proxy, 0, "held out of traffic"), "the line")
        assert "GET /ready on cluster silent gave 504, 1 in a row" in line, "the proxy's own word for a timeout"


async def test_an_upstream_that_is_down_when_the_proxy_starts_gets_nobody_and_later_its_users(
    launch: Launch, v2: Service
):
    one = checked()
    proxy = await launch(config=config(one), concurrency=2, clusters={"checkout-v2": []})
    who = of(one, "canary", 60)
    await proxy.metrics_when(lambda m: held_out(m) == 1, "held out by the first answer")
    await until(lambda: everybody(proxy, who), "both workers", holds=lambda a: reasons(a) == FALLBACK)
    answers = await everybody(proxy, who)
    assert reasons(answers) == FALLBACK
    assert not [a for a in answers.values() if a.failed]
    await proxy.set_endpoints("checkout-v2", [v2.address])
    await until(lambda: everybody(proxy, who), "the return", holds=lambda a: reasons(a) == HASH)
    assert reasons(await everybody(proxy, who)) == HASH


async def test_a_cluster_that_the_proxy_does_not_have_holds_the_version_out_and_the_log_says_why(launch: Launch):
    one = checked(cluster="no-such-cluster")
    proxy = await launch(config=config(one), concurrency=2)
    await proxy.metrics_when(lambda m: held_out(m) == 1, "the canary held out")
    who = of(one, "canary", 60)
    await until(lambda: everybody(proxy, who), "both workers", holds=lambda a: reasons(a) == FALLBACK)
    (line,) = said(proxy, 0, "held out of traffic")
    assert "cluster no-such-cluster cannot be asked (does the proxy have one of that name?)" in line


async def test_what_is_known_of_a_cluster_outlives_a_change_of_a_weight(shared: Envoy, canary: Service):
    one = checked()
    await shared.configure(config(one))
    await canary.behave(ready=False)
    who = of(one, "canary", 60)
    await until(lambda: everybody(shared, who), "the fall", holds=lambda a: reasons(a) == FALLBACK)
    two = {**one, "versions": [{"name": "stable"}, {"name": "canary", "weight": 60}]}
    await shared.configure(config(two))
    assert reasons(await everybody(shared, who)) == FALLBACK, "from the first request on"


async def test_changes_while_a_poll_is_under_way_cost_no_request(launch: Launch, v2: Service):
    """The SDK ends the VM where the proxy gives a number to two calls, or an answer to a call that it does not know."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        silent = server.sockets[0].getsockname()
        proxy = await launch(config=config(rollout()), clusters={"silent": silent}, failure_policy="FAIL_CLOSED")

        async def polls() -> int:
            name = "cluster.silent.upstream_rq_total"
            return (await proxy.stats(f"^{name}$")).get(name, 0)

        async def polls_above(sent: int) -> None:
            await until(polls, "a poll of the new configuration", holds=lambda now: now > sent)

        for change in range(4):
            sent = await polls()
            await proxy.configure(config(checked(cluster="silent", interval="5s", timeout="4s")))
            await polls_above(sent)
            reply = await get(proxy.address, headers=[("x-user-id", "user-1")])
            assert reply.status == 200, f"change {change}: {proxy.filter_log()}"
