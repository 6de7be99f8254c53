"""Checks against a Prometheus: what only the fleet shows, a business figure, a server of no use, a token."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiohttp import web
from conftest import Launch, config, rollout
from guarded import held_out, of
from lab.client import ask, users
from lab.envoy import REPOSITORY, Envoy
from lab.service import Service
from lab.until import until
from prometheus import Prometheus

#: The shortest there is, in seconds.
INTERVAL = 5

#: What never may be seen anywhere but on the metrics server.
TOKEN = "s3cr3t-0123456789"

BAD = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "9"]}]}}


def checked(name: str, query: str, *, cluster: str = "prometheus", guard: Any = None, **more: Any) -> dict[str, Any]:
    """A rollout whose canary leaves traffic after one bad look; rollout and check have this name."""
    check = {
        "name": name,
        "version": "canary",
        "cluster": cluster,
        "query": query,
        "interval": f"{INTERVAL}s",
        "timeout": "2s",
        "failures": 1,
        **more,
    }
    return rollout(30, name=name, guard=guard or {}, analysis=[check], output={"responseHeader": f"x-got-{name}"})


async def is_out(proxy: Envoy, name: str) -> bool:
    return held_out(await proxy.metrics(), name)


def said(proxy: Envoy, what: str) -> list[str]:
    return [line for line in proxy.filter_log() if "[warning]" in line and what in line]


class MetricsServer:
    """Answers the query API as the query itself says, and exposes metrics of a shop."""

    def __init__(self) -> None:
        #: When each question came, by its query, and the headers of the last one.
        self.asked: dict[str, list[float]] = {}
        self.headers: dict[str, Mapping[str, str]] = {}
        #: From now on every answer is this.
        self.always: dict[str, Any] | None = None
        #: What a scrape of the shop gives.
        self.shop = ""

    async def __aenter__(self) -> MetricsServer:
        app = web.Application()
        app.router.add_get("/api/v1/query", self._query)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.address = ("127.0.0.1", site._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=self.shop)

    async def _query(self, request: web.Request) -> web.StreamResponse:
        query = request.query["query"]
        self.asked.setdefault(query, []).append(time.monotonic())
        self.headers[query] = request.headers
        if self.always is not None:
            return web.json_response(self.always)
        token = request.headers["authorization"]
        match query:
            case "slow":
                await asyncio.sleep(60)
            case "garbage":
                return web.Response(text=f"<html>{token}</html>")
            case "error":
                return web.json_response({"status": "error", "error": f"who is {token}?"}, status=400)
            case "large":
                return web.Response(body=b'{"status": "success", "data": "' + b"x" * 10_000_000 + b'"}')
            case "several":
                one = {"metric": {"token": token}, "value": [1, "9"]}
                return web.json_response({"status": "success", "data": {"resultType": "vector", "result": [one, one]}})
        return web.json_response(BAD)


@pytest.fixture
async def server() -> AsyncIterator[MetricsServer]:
    async with MetricsServer() as server:
        yield server


def scrapes(*ports: int, path: str = "/stats/prometheus") -> list[dict[str, Any]]:
    targets = [f"127.0.0.1:{port}" for port in ports]
    return [{"job_name": "proxies", "metrics_path": path, "static_configs": [{"targets": targets}]}]


def ready_made() -> list[str]:
    """The queries of docs/analysis.md."""
    page = (REPOSITORY / "docs" / "analysis.md").read_text()
    configs = [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)]
    return [check["query"] for one in configs for check in one["rollouts"][0]["analysis"]]


async def test_a_version_that_only_the_fleet_shows_to_be_bad_leaves_every_proxy(launch: Launch, v2: Service):
    answered = 'sum(cohort_responses_total{rollout_version="canary"})'
    query = f'sum(cohort_failures_total{{rollout_version="canary"}}) / ({answered} > 60)'
    # No proxy alone has the answers that its own guard wants.
    one = checked("checkout", query, max=0.1, failures=2, guard={"maxFailureRatio": 0.1, "minRequests": 1000})
    proxies = [await launch(config=config(one), concurrency=2, clusters={"prometheus": []}) for _ in range(2)]
    their = of(one, "canary", 40)
    await v2.behave(failure_ratio=0.5)
    try:
        async with Prometheus(jobs=scrapes(*(proxy.admin_port for proxy in proxies))) as prometheus:
            for proxy in proxies:
                await proxy.set_endpoints("prometheus", [prometheus.address])
            await ask(proxies[0].url, their)
            await until(lambda: prometheus.values(answered), "the first proxy's answers", holds=lambda it: it == [40])
            assert await prometheus.values(query) == [], "one proxy alone shows nothing"
            assert not any([await is_out(proxy, "checkout") for proxy in proxies])

            await ask(proxies[1].url, their)
            await until(lambda: prometheus.values(query), "the sum", holds=lambda it: it == [0.5])
            began = time.monotonic()
            for proxy in proxies:
                await until(lambda proxy=proxy: is_out(proxy, "checkout"), "held out")
            assert time.monotonic() - began < 2 * INTERVAL + 1, "two looks"

            queries = ready_made()
            assert len(queries) == 7
            for written in queries:
                # There is no Istio here and no shop.
                there = not re.search("istio_|orders_", written)
                await until(
                    lambda written=written: prometheus.values(written), written, holds=lambda it, n=there: len(it) == n
                )
        for proxy in proxies:
            # One worker may show that it is out before the other has said so, or knows it.
            [line] = await until(lambda proxy=proxy: said(proxy, "is held out of traffic (analysis)"), "the line")
            assert "check checkout gave 0.5, above max 0.1, 2 in a row; its users get stable" in line
            await until(
                lambda proxy=proxy: ask(proxy.url, their, fresh=True),
                "both workers",
                holds=lambda answers: {answer.served_by for answer in answers.values()} == {"checkout-v1"},
            )
            metrics = await proxy.metrics()
            labels = {"rollout": "checkout", "rollout_version": "canary"}
            assert metrics.sum("cohort_guard_trips_total", **labels, cause="analysis") == 1
            assert metrics.sum("cohort_guard_trips_total", **labels, cause="failures") == 0
            assert metrics.value("cohort_analysis_value", **labels, check="checkout") == 500
            assert metrics.value("cohort_analysis_failing", **labels, check="checkout") == 1
    finally:
        await v2.behave(failure_ratio=0.0)


@pytest.mark.edges
async def test_a_business_figure_that_falls_takes_the_version_out_and_none_does_not(
    launch: Launch, server: MetricsServer
):
    one = checked("orders", 'sum(orders_per_minute{version="canary"})', min=3)
    proxy = await launch(config=config(one), clusters={"prometheus": []})
    labels = {"rollout": "orders", "rollout_version": "canary", "check": "orders"}

    async def value() -> float | None:
        return (await proxy.metrics()).value("cohort_analysis_value", **labels)

    async with Prometheus(jobs=scrapes(server.address[1], path="/metrics")) as prometheus:
        await proxy.set_endpoints("prometheus", [prometheus.address])
        server.shop = 'orders_per_minute{version="stable"} 80\n'

        async def looked() -> bool:
            return (await proxy.stats("^cluster.prometheus.")).get("cluster.prometheus.upstream_rq_200", 0) > 0

        await until(looked, "a look that finds nothing")
        failing = "cohort_analysis_failing"
        metrics = await proxy.metrics_when(lambda now: now.series(failing, **labels), "what the look found")
        assert metrics.value(failing, **labels) == 0
        assert not await is_out(proxy, "orders")
        server.shop += 'orders_per_minute{version="canary"} 5\n'
        await until(value, "a good figure", holds=lambda it: it == 5000)
        assert not await is_out(proxy, "orders")
        server.shop = server.shop.replace("} 5", "} 2")
        await until(lambda: is_out(proxy, "orders"), "held out")
    [line] = await until(lambda: said(proxy, "is held out of traffic (analysis)"), "the line")
    assert "check orders gave 2, below min 3" in line


async def test_a_metrics_server_of_no_use_changes_nothing_and_a_token_stays_with_it(
    launch: Launch, server: MetricsServer
):
    reasons = {
        # How Envoy tells of a timeout.
        "slow": "status 504",
        "garbage": "an answer that is not JSON",
        "error": "status 400",
        "large": "an answer of more than 65536 bytes",
        "several": "a vector of 2 elements, where one number is needed",
        "dead": "status 503",
    }
    secret = {"onNoData": "fail", "max": 1, "requestHeaders": {"authorization": f"Bearer {TOKEN}"}}
    clusters = {name: "nobody" if name == "dead" else "prometheus" for name in reasons}
    rollouts = [checked(name, name, cluster=clusters[name], **secret) for name in reasons]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy = await launch(
            config=config(*rollouts),
            concurrency=2,
            clusters={"prometheus": server.address, "nobody": closed.getsockname()},
            wasm_log_level="trace",
        )

        async def errors() -> dict[str, float]:
            return (await proxy.metrics()).by("rollout", "cohort_analysis_errors_total")

        await until(errors, "two errors of each", holds=lambda it: all(it.get(name, 0) >= 2 for name in reasons))
    for name, why in reasons.items():
        assert not await is_out(proxy, name), name
        [line] = said(proxy, f"check {name} has no usable answer")
        assert f"from cluster {clusters[name]} ({why})" in line
    assert said(proxy, "is held out of traffic") == []

    # One worker asks, and the others leave it to that one.
    for name in reasons.keys() - {"dead"}:
        asked = server.asked[name]
        assert all(later - earlier > INTERVAL * 0.9 for earlier, later in itertools.pairwise(asked)), (name, asked)
        headers = server.headers[name]
        assert headers["authorization"] == f"Bearer {TOKEN}"
        assert (headers["host"], headers["user-agent"]) == ("prometheus", "cohort-analysis")

    # It goes on being asked, and what it then says counts.
    server.always = BAD
    for name in reasons.keys() - {"dead"}:
        await until(lambda name=name: is_out(proxy, name), f"{name} held out")
    assert not await is_out(proxy, "dead")
    await proxy.configure(config(*rollouts, checked("last", "x", **secret)))
    told = "\n".join([proxy.log(), *proxy.access_log(), await proxy.admin("/stats/prometheus")])
    assert "held out of traffic (analysis)" in told
    assert TOKEN not in told


async def test_no_request_waits_for_a_metrics_server(launch: Launch, server: MetricsServer):
    one = checked("hung", "slow", max=1, requestHeaders={"authorization": "x"})
    proxy = await launch(config=config(one), concurrency=2, clusters={"prometheus": server.address})
    await until(lambda: server.asked.get("slow"), "a question under way")
    asked = len(server.asked["slow"])
    answers = await ask(proxy.url, users(200))
    assert {answer.status for answer in answers.values()} == {200}
    # 200 requests asked for nothing.
    assert len(server.asked["slow"]) <= asked + 1
