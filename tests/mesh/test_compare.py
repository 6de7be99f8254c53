"""What docs/compare.md says of Istio's weights and of the controllers without Cohort, each the real one.

    make test-mesh ARGS='-k compare'

prints the figures. Nothing of Cohort's is in these proxies. Each way routes 5 % to a canary, and has a route by header,
as canary setups do.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from controllers import argo_rollouts, deployment, flagger, image
from kube import Kube
from kubelet import Kubelet
from lab.client import Load, users
from lab.until import until
from mesh import Agent, Mesh
from scrape import Prometheus
from shop import GATEWAY, SERVICE, SHOP, App, reached, virtual_service

USERS = 2000
#: What the controllers ask: percent of the canary's answers that failed, by Envoy's own counters.
_CANARY = 'cluster_name=~"outbound.*checkout-canary.*"'
FAILED = f"""
100 * (sum(increase(envoy_cluster_upstream_rq{{{_CANARY},response_code_class="5xx"}}[10s])) or vector(0))
/
sum(increase(envoy_cluster_upstream_rq_completed{{{_CANARY}}}[10s]))
"""
#: How often the controllers look, and how many bad looks they take.
INTERVAL, BAD_LOOKS = "30s", 3


@dataclass
class Peers:
    """A gateway without the plugin, and whoever runs pods behind it."""

    mesh: Mesh
    kube: Kube
    kubelet: Kubelet
    gateway: Agent

    @property
    def url(self) -> str:
        return f"http://{self.gateway.address}:8080"


@pytest.fixture
async def peers(mesh: Mesh, tmp_path: Path) -> AsyncIterator[Peers]:
    async with AsyncExitStack() as stack:
        await mesh.kube.apply(GATEWAY)
        kubelet = await stack.enter_async_context(Kubelet(mesh.kube))
        labels = {"istio": "ingressgateway"}
        # Of Envoy's own metrics, which Istio leaves out of what it keeps.
        kept = {"proxyStatsMatcher": {"inclusionRegexps": [r"cluster\.outbound.*upstream_rq.*"]}}
        gateway = Agent(mesh, "gw-compare", "istio-ingress", "router", labels, proxy_config=kept)
        await stack.enter_async_context(gateway)
        await stack.enter_async_context(Prometheus(tmp_path, [gateway], all_of_them=True))
        yield Peers(mesh, mesh.kube, kubelet, gateway)


async def twice(url: str, canary: str, headers: dict[str, str]) -> tuple[int, float, float]:
    """Of 2,000 users with a browser that keeps cookies, who ask twice: how many changed, and the two shares."""
    jars: dict[str, SimpleCookie] = {user: SimpleCookie() for user in users(USERS)}
    rounds: list[dict[str, str]] = []
    connector = aiohttp.TCPConnector(limit=32)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:

        async def ask(user: str, got: dict[str, str]) -> None:
            kept = "; ".join(f"{one.key}={one.value}" for one in jars[user].values())
            with_cookie = {"cookie": kept} if kept else {}
            async with http.get(url, headers={**SHOP, **headers, "x-user-id": user, **with_cookie}) as answer:
                assert answer.status == 200
                for line in answer.headers.getall("set-cookie", []):
                    jars[user].load(line)
                got[user] = answer.headers["x-served-by"]

        for _ in range(2):
            got: dict[str, str] = {}
            await everyone(jars, lambda user, got=got: ask(user, got))
            rounds.append(got)
    changed = sum(rounds[0][user] != rounds[1][user] for user in jars)
    first, second = [sum(one == canary for one in got.values()) / USERS for got in rounds]
    return changed, first, second


async def everyone(who: Any, do: Callable[[str], Awaitable[None]], at_once: int = 32) -> None:
    pending = list(who)

    async def worker() -> None:
        while pending:
            await do(pending.pop())

    await asyncio.gather(*(worker() for _ in range(at_once)))


async def by_header(peers: Peers, canary: str) -> int:
    """How many of 100 requests reach the canary by bringing the header."""
    load = Load(peers.url, users(100), rate=100, headers={**SHOP, "x-canary": "always"})
    async with load:
        await until(lambda: load.answered >= 100, "100 requests with a header", timeout=30)
    return sum(answer.served_by == canary for _, answer in load.heard[:100])


def say(way: str, told: tuple[int, float, float], forged: int | None) -> None:
    changed, first, second = told
    header = "" if forged is None else f", {forged} of 100 by a header"
    print(f"\n== compare: {way}: {changed} of {USERS} changed version, {first:.2%} then {second:.2%} canary{header}")


# --- Istio alone -------------------------------------------------------------------------------------------------


def destination(version: str, weight: int = 100) -> dict[str, Any]:
    return {"destination": {"host": f"checkout-{version}", "port": {"number": 8080}}, "weight": weight}


def split(stable: int) -> dict[str, Any]:
    """Routes by weight, and by a header."""
    match = [{"headers": {"x-canary": {"exact": "always"}}}]
    return virtual_service(
        {"name": "by-header", "match": match, "route": [destination("canary")]},
        {"name": "primary", "route": [destination("stable", stable), destination("canary", 100 - stable)]},
    )


def services() -> list[dict[str, Any]]:
    made = []
    for version in ("stable", "canary"):
        service = copy.deepcopy(SERVICE)
        service["metadata"]["name"] = f"checkout-{version}"
        service["spec"]["selector"]["version"] = version
        made.append(service)
    return made


async def test_compare_a_virtual_service_with_weights(peers: Peers) -> None:
    await peers.kube.apply(*services(), split(95))
    try:
        async with AsyncExitStack() as stack:
            apps = {}
            for version in ("stable", "canary"):
                app = App(peers.kube, f"cmp-{version}", version, {"app": "checkout", "version": version})
                apps[version] = await stack.enter_async_context(app)
            await reached(peers.url)
            told, forged = await twice(peers.url, "canary", {}), await by_header(peers, "canary")
            say("a VirtualService with weights", told, forged)
            assert 100 < told[0] < 300 and forged == 100
            await apps["canary"].behave(failure_ratio=1.0)
            async with Load(peers.url, users(USERS), rate=100, headers=SHOP) as load:
                await until(lambda: load.answered >= 2500, "2,500 requests", timeout=90)
            late = sum(at > load.elapsed - 5 for at, _ in load.failures)
            print(
                f"== compare: a VirtualService with weights: a canary that always fails: {load.failed} of "
                f"{load.answered} failed, {late} in the last 5 s"
            )
            assert late > 0
    finally:
        await peers.kube.kubectl("delete", "virtualservice", "checkout", "-n", "shop")
        await peers.kube.kubectl("delete", "service", "checkout-stable", "checkout-canary", "-n", "shop")


# --- Flagger -----------------------------------------------------------------------------------------------------


def template() -> dict[str, Any]:
    provider = {"type": "prometheus", "address": "http://prometheus.istio-system:9090"}
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "MetricTemplate",
        "metadata": {"name": "failed", "namespace": "shop"},
        "spec": {"provider": provider, "query": FAILED},
    }


def canary(**analysis: Any) -> dict[str, Any]:
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {
            "provider": "istio",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            "service": {"port": 8080, "hosts": ["shop.example.com"], "gateways": ["istio-ingress/public"]},
            "analysis": {
                "interval": INTERVAL,
                "threshold": BAD_LOOKS,
                # It stays at 5 %: what is measured is one step.
                "stepWeight": 5,
                "maxWeight": 50,
                "metrics": [
                    {
                        "name": "failed",
                        "templateRef": {"name": "failed", "namespace": "shop"},
                        "thresholdRange": {"max": 1},
                        "interval": "10s",
                    }
                ],
                **analysis,
            },
        },
    }


@asynccontextmanager
async def with_flagger(peers: Peers, **analysis: Any) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    kube = peers.kube
    await kube.apply(deployment("1"))
    async with flagger(kube):
        await kube.apply(template(), canary(**analysis))

        async def phase() -> str:
            return (await kube.get("Canary", "checkout")).get("status", {}).get("phase", "")

        try:
            await until(phase, "Flagger initialized", holds=lambda now: now == "Initialized", timeout=120, every=0.3)
            await reached(peers.url)
            yield phase
        finally:
            kinds = "canary,metrictemplate,deployment,virtualservice,destinationrule,service"
            await kube.kubectl("delete", kinds, "--all", "-n", "shop")


@pytest.mark.parametrize(
    ("way", "affinity"),
    [
        ("Flagger with weights", None),
        ("Flagger with sessionAffinity", {"cookieName": "canary"}),
        ("Flagger with sessionAffinity and a primary cookie", {"cookieName": "canary", "primaryCookieName": "primary"}),
    ],
)
async def test_compare_flagger(peers: Peers, way: str, affinity: dict[str, str] | None) -> None:
    analysis = {"sessionAffinity": affinity} if affinity else {}
    async with with_flagger(peers, **analysis) as phase:
        await peers.kube.patch("Deployment", "checkout", image("good"))
        async with Load(peers.url, users(50, "other-"), rate=20, headers=SHOP) as load:
            await until(lambda: load.by_service["good"] > 0, "some served by the canary", timeout=120)
            # However long 2,000 users take: it goes no further meanwhile.
            await peers.kube.patch("Canary", "checkout", {"spec": {"suspend": True}})
            told = await twice(peers.url, "good", {})
            assert (await peers.kube.get("Canary", "checkout"))["status"]["canaryWeight"] == 5
            await peers.kube.patch("Canary", "checkout", {"spec": {"suspend": False}})
        say(way, told, None)
        changed, first, second = told
        if affinity is None:
            assert 100 < changed < 300
        elif "primaryCookieName" in affinity:
            assert changed == 0
        else:
            assert 50 < changed < 150
            assert changed == round((second - first) * USERS), "nobody leaves the canary"
        if affinity is None:
            await taken_back(peers, way, "Deployment", phase)


async def taken_back(peers: Peers, way: str, kind: str, phase: Callable[[], Awaitable[str]]) -> None:
    """What an image costs that always fails, shipped in place of the one that is looked at."""
    peers.kubelet.behaviour["bad"] = {"failure_ratio": 1.0}
    await peers.kube.patch(kind, "checkout", image("bad"))
    async with Load(peers.url, users(USERS), rate=100, headers=SHOP) as load:
        await until(lambda: load.failed > 0, "the bad image met", timeout=120)
        await until(phase, "taken back", holds=lambda now: now == "Failed", timeout=240, every=0.3)
        quiet = lambda: load.failures[-1][0] < load.elapsed - 3  # noqa: E731
        await until(quiet, "nobody meets it any more", timeout=30, every=0.1)
    first, last = load.failures[0][0], load.failures[-1][0]
    print(
        f"== compare: {way}: an image that always fails: {load.failed} of {load.answered} failed, "
        f"over {last - first:.0f} s"
    )
    assert load.failed > 60


# --- Argo Rollouts -----------------------------------------------------------------------------------------------


def rollout(tag: str) -> dict[str, Any]:
    """Two pods; 5 % for as long as the analysis looks."""
    [container] = deployment(tag)["spec"]["template"]["spec"]["containers"]
    routing = {"istio": {"virtualServices": [{"name": "checkout", "routes": ["primary"]}]}}
    looks = {"templates": [{"templateName": "failed"}]}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "checkout"}},
            "template": {"metadata": {"labels": {"app": "checkout"}}, "spec": {"containers": [container]}},
            "strategy": {
                "canary": {
                    "canaryService": "checkout-canary",
                    "stableService": "checkout-stable",
                    "trafficRouting": routing,
                    "steps": [{"setWeight": 5}, {"analysis": looks}],
                }
            },
        },
    }


def analysis() -> dict[str, Any]:
    provider = {"prometheus": {"address": "http://prometheus.istio-system:9090", "query": FAILED}}
    metric = {
        "name": "failed",
        "provider": provider,
        "interval": INTERVAL,
        "initialDelay": INTERVAL,
        "count": 20,
        "failureLimit": BAD_LOOKS - 1,
        "inconclusiveLimit": 20,
        "successCondition": "len(result) > 0 && result[0] <= 1",
        "failureCondition": "len(result) > 0 && result[0] > 1",
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": "failed", "namespace": "shop"},
        "spec": {"metrics": [metric]},
    }


async def test_compare_argo_rollouts(peers: Peers) -> None:
    kube, way = peers.kube, "Argo Rollouts with weights"
    made = services()
    for service in made:
        del service["spec"]["selector"]["version"]
    routes = split(100)
    del routes["spec"]["http"][0]  # its own way to have a header's route is setHeaderRoute
    async with argo_rollouts(kube):
        await kube.apply(*made, routes, analysis(), rollout("1"))

        async def phase() -> tuple[str, str]:
            told = await kube.get("Rollout", "checkout")
            tag = told["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]
            return told.get("status", {}).get("phase", ""), tag

        try:
            await until(phase, "Argo ready", holds=lambda now: now == ("Healthy", "1"), timeout=120, every=0.3)
            await reached(peers.url)
            await kube.patch("Rollout", "checkout", image("good"))
            async with Load(peers.url, users(50, "other-"), rate=20, headers=SHOP) as load:
                await until(lambda: load.by_service["good"] > 0, "some served by the canary", timeout=120)
                told = await twice(peers.url, "good", {})
            say(way, told, None)
            assert 100 < told[0] < 300

            async def now() -> str:
                return (await phase())[0].replace("Degraded", "Failed")

            await taken_back(peers, way, "Rollout", now)
        finally:
            await kube.kubectl("delete", "rollout", "checkout", "-n", "shop")
            await kube.kubectl("delete", "virtualservice,analysistemplate,analysisrun,service", "--all", "-n", "shop")
