"""The dashboard's and the rules' queries, on a real Prometheus that scrapes real Envoys with the filter.

Three proxies: one with two rollouts, whose canary fails and is taken out; one with another weight in force;
one that started with a configuration that cannot be honoured.
"""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import queries
import yaml
from answering import answering, answers
from lab import bootstrap as boots
from lab.client import Key, always_others, ask, users
from lab.envoy import Envoy
from lab.until import until
from prometheus import Prometheus

#: checkout trips. Another proxy gives search another weight and few requests, so its share is off its weight too.
CONFIG: dict[str, Any] = {
    "rollouts": [
        {
            "name": "checkout",
            "versions": [{"name": "stable"}, {"name": "canary", "weight": 30}],
            "hashKey": [{"header": "x-user-id"}],
            "overrides": {"header": "x-canary"},
            "guard": {"window": "10s", "maxFailureRatio": 0.2},
        },
        {
            "name": "search",
            "versions": [{"name": "stable"}, {"name": "canary", "weight": 10}],
            "hashKey": [{"header": "x-user-id"}],
        },
    ]
}


def elsewhere() -> dict[str, Any]:
    """The configuration of the proxy that missed the last change of search, and has a blue-green rollout."""
    search = {**CONFIG["rollouts"][1], "versions": [{"name": "stable"}, {"name": "canary", "weight": 50}]}
    colours = {
        "name": "colours",
        "versions": [{"name": "blue"}, {"name": "green", "weight": 50}],
        "hashKey": [{"header": "x-user-id"}],
        "pin": {"cookie": {"name": "cohort-colours"}},
        "inherit": {"addresses": ["127.0.0.0/8"]},
    }
    return {"rollouts": [search, colours]}


def routes() -> list[dict[str, Any]]:
    """Answers; a request that says so fails."""
    return boots.failing_by_header(answers(), "x-fail")


@dataclass
class Stage:
    prometheus: Prometheus
    #: Before the first scrape.
    before: float


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage() -> AsyncIterator[Stage]:
    """After ordinary traffic, an ignored override, and a canary whose failures took it out."""
    [job] = yaml.safe_load((queries.ROOT / "envoy/prometheus/prometheus.yaml").read_text())["scrape_configs"]
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(answering(routes()))
        envoys = await asyncio.gather(
            *(
                stack.enter_async_context(Envoy(config=config, **there))
                for config in (CONFIG, elsewhere(), {"rollouts": "none"})
            )
        )
        envoy = envoys[0]
        # Series begin with the first request, and must be there before they grow.
        for one in envoys:
            await ask(one.url, users(20))
        for headers in ({"x-fail": "1"}, {"cookie": "cohort-colours=blue"}, {"x-cohort-colours": "green"}):
            await ask(envoys[1].url, users(20), headers=headers)
        job = {**job, "static_configs": [{"targets": [f"127.0.0.1:{one.admin_port}" for one in envoys]}]}
        before = time.time()
        prometheus = await stack.enter_async_context(Prometheus(rules=queries.rules(), jobs=[job]))

        async def scraped(requests: int) -> None:
            query = f'sum(cohort_requests_total{{rollout="checkout",instance="127.0.0.1:{envoy.admin_port}"}})'
            seen = lambda: prometheus.values(query)  # noqa: E731
            await until(seen, f"{requests} requests scraped", holds=lambda s: s == [requests], every=0.2)

        await scraped(20)
        await ask(envoy.url, users(300))
        await ask(envoy.url, users(10), headers={"x-canary": "no-such-version"})
        for _ in range(4):
            await ask(envoy.url, users(300))
        await ask(envoy.url, ["nobody"], key=Key("header", "x-nothing"))
        asked = 20 + 300 + 10 + 1200 + 1
        await scraped(asked)
        held = 'cohort_version_held_out{rollout="checkout",rollout_version="canary"} > 0'

        # Stable answers well at the same time: the guard compares.
        others = always_others(200, start=400)

        async def fails() -> list[float]:
            nonlocal asked
            some = next(others)
            asked += len(some)
            await asyncio.gather(
                ask(envoy.url, some[:100], headers={"x-fail": "1", "x-canary": "canary"}),
                ask(envoy.url, some[100:], headers={"x-canary": "stable"}),
            )
            return await prometheus.values(held)

        await until(fails, "the canary held out", every=0.2)
        await ask(envoy.url, users(50))
        await scraped(asked + 50)
        yield Stage(prometheus, before)


async def data(stage: Stage, query: str) -> list[tuple[dict[str, str], float]]:
    """What a query returns, once rules and scrapes have had their turn; numbers only."""

    async def asked() -> list[tuple[dict[str, str], float]]:
        return [one for one in await stage.prometheus.query(query) if not math.isnan(one[1])]

    return await until(asked, f"data for {query}", every=0.3)


# --- the dashboard -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", queries.panels())
async def test_a_panel_shows_something(stage: Stage, name: str):
    assert await data(stage, queries.grafana(queries.panels()[name], span="2m"))


@pytest.mark.parametrize("name", queries.annotations())
async def test_an_annotation_shows_something(stage: Stage, name: str):
    assert await data(stage, queries.grafana(queries.annotations()[name], span="2m"))


async def test_share_wanted_and_got_are_of_the_same_versions_and_sum_to_a_hundred(stage: Stage):
    for letter in "AB":
        query = queries.grafana(queries.panels()[f"Traffic share, wanted and got {letter}"], span="2m")
        found = {labels["rollout_version"]: value for labels, value in await data(stage, query)}
        assert set(found) == {"stable", "canary"}
        assert sum(found.values()) == pytest.approx(100, abs=0.01)


async def test_success_and_latency_are_told_by_version_side_by_side(stage: Stage):
    panels = queries.panels()
    ratio = await data(stage, queries.grafana(panels["Success ratio A"], span="2m"))
    found = {labels["rollout_version"]: value for labels, value in ratio}
    assert found["stable"] == 1
    assert 0 < found["canary"] < 0.9
    for q in (50, 95, 99):
        times = await data(stage, queries.grafana(panels[f"Latency, p{q} A"], span="2m"))
        assert {labels["rollout_version"] for labels, _ in times} == {"stable", "canary"}


async def test_the_choice_of_rollouts_has_every_rollout(stage: Stage):
    [variable] = queries.dashboard()["templating"]["list"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
    found = await data(stage, f"group by ({label}) ({metric})")
    assert {labels[label] for labels, _ in found} == {"checkout", "search", "colours"}


def test_the_dashboard_is_whole():
    told = queries.dashboard()
    assert len({panel["id"] for panel in told["panels"]}) == len(told["panels"])
    [source] = yaml.safe_load((queries.ROOT / "envoy/grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    uids = {panel["datasource"]["uid"] for panel in told["panels"]}
    uids |= {one["datasource"]["uid"] for panel in told["panels"] for one in panel["targets"]}
    uids |= {one["datasource"]["uid"] for one in [*told["annotations"]["list"], *told["templating"]["list"]]}
    assert uids == {source["uid"]}
    # No panel lies on another, and none beyond the 24 columns.
    taken: set[tuple[int, int]] = set()
    for panel in told["panels"]:
        at = panel["gridPos"]
        here = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & here, panel["title"]
        assert max(x for x, _ in here) < 24
        taken |= here
    assert all(panel["description"] for panel in told["panels"])


# --- the rules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", queries.records())
async def test_a_recorded_series_has_data(stage: Stage, name: str):
    assert await data(stage, name)
    assert await data(stage, queries.records()[name])


@pytest.mark.parametrize("name", queries.alerts())
async def test_an_alert_sees_what_it_is_for(stage: Stage, name: str):
    query = queries.alerts()[name]
    if name == "CohortMissing":
        # There was nothing before the first scrape, and there is something now.
        assert await stage.prometheus.query(query, at=stage.before)
        assert await stage.prometheus.query(query) == []
        return
    if name in ("CohortMissingOnProxy", "CohortConfigRejectedByProxies"):
        # Nothing is missing here and there is no istiod. tests/repository/test_manifests.py shows that they fire.
        assert await stage.prometheus.query(query) == []
        return
    found = await data(stage, query)
    about = {(labels.get("rollout"), labels.get("rollout_version")) for labels, _ in found}
    assert about & {("checkout", "canary"), ("search", "canary"), (None, None)}


@pytest.mark.parametrize("name", queries.documents())
async def test_a_query_of_the_documents_has_data(stage: Stage, name: str):
    assert await data(stage, queries.documents()[name])


async def test_the_query_of_the_waiting_step_has_data(stage: Stage):
    place = queries.ROOT / "istio" / "controllers" / "argo-rollouts" / "wait-template.yaml"
    [metric] = yaml.safe_load(place.read_text())["spec"]["metrics"]
    query = metric["provider"]["prometheus"]["query"]
    for argument, value in (("rollout", "checkout"), ("version", "canary")):
        query = query.replace("{{args." + argument + "}}", value)
    assert await data(stage, query)


# --- nothing is left out -----------------------------------------------------------------------------------

#: Files with PromQL, and who runs it: this file, or the tests of Flagger, of Argo Rollouts and of analysis.
HERE = {
    "envoy/grafana/dashboards/cohort.json",
    "envoy/prometheus/rules.yaml",
    "istio/controllers/argo-rollouts/wait-template.yaml",
    "istio/metrics/prometheus-rule.yaml",
}
THERE = {
    "istio/controllers/flagger/metric-templates.yaml",
    "istio/controllers/argo-rollouts/analysis-template.yaml",
    "docs/analysis.md",
}


def test_every_query_of_the_repository_is_run_by_a_test():
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=queries.ROOT, capture_output=True, text=True, check=True
    )
    found = set()
    for name in files.stdout.splitlines():
        path = queries.ROOT / name
        if path.suffix not in {".json", ".yaml", ".yml", ".md"} or not path.exists():
            continue
        # Documents are gone through span by span and fence by fence; a query elsewhere in one would not be run.
        text = path.read_text()
        if path.suffix == ".md":
            text = queries.SPAN.sub("", queries.FENCE.sub("", text))
        if queries.PROMQL.search(text):
            found.add(name)
    assert found == HERE | THERE


def test_both_files_of_rules_are_one():
    [istio] = [one["spec"] for one in yaml.safe_load_all(queries.ISTIO_RULES.read_text())]
    assert queries.rules() == istio
