"""The queries of Flagger and Argo Rollouts, and the rules, on a real Prometheus that scrapes a real Envoy.

Once with a proxy that has the tag rules (`istio/mesh`), once with one that has Istio's stock ones and no
more, whose metrics get their labels from the PodMonitor's relabelings.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import yaml
from answering import answering, answers
from istiod import MANIFESTS, manifest
from lab import bootstrap as boots
from lab.client import ask, users
from lab.envoy import Envoy
from lab.until import until
from prometheus import Prometheus, scrape_rules

#: The tag rules that Istio's bootstrap brings along, as of 1.30.
STOCK_TAGS = [
    {"tag_name": "component", "regex": r"(component\.(.+?)\.)"},
    {"tag_name": "tag", "regex": r"(tag\.(.+?);\.)"},
    {"tag_name": "cache", "regex": r"(cache\.(.+?)\.)"},
    {"tag_name": "wasm_filter", "regex": r"(wasm_filter\.(.+?)\.)"},
    {"tag_name": "response_code", "regex": r"_rq(_(\d{3}))$"},
    {"tag_name": "response_code_class", "regex": r"_rq(_(\dxx))$"},
]

CONFIG = {
    "rollouts": [
        {
            "name": "checkout",
            "versions": [
                {"name": "stable"},
                {"name": "canary", "weight": 40},
                {"name": "idle", "weight": 0},
            ],
            "hashKey": [{"header": "x-user-id"}],
            "overrides": {"header": "x-canary"},
        }
    ]
}

VARIABLES = {"rollout": "checkout", "version": "canary", "stable": "stable"}

#: The span of the queries, and how long the traffic before them takes at most.
WINDOW = "15s"


def routes() -> list[dict[str, Any]]:
    """A canary that fails for requests that say so, and stable likewise."""
    return boots.failing_by_header(answers(), "x-fail")


def extra_stat_tags() -> list[dict[str, str]]:
    """The tag rules that Istio writes for `extraStatTags`."""
    [values] = yaml.safe_load_all((MANIFESTS / "mesh" / "istiod-values.yaml").read_text())
    names = values["meshConfig"]["defaultConfig"]["extraStatTags"]
    return [{"tag_name": name, "regex": rf"({name}=\.=(.*?);\.;)"} for name in names]


@dataclass
class Stage:
    envoy: Envoy
    prometheus: Prometheus


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["tagged", "stock"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A proxy whose canary fails three requests in ten and whose stable fails one, and who watches it."""
    tags = STOCK_TAGS + (extra_stat_tags() if request.param == "tagged" else [])

    def edit(boot: dict[str, Any]) -> None:
        boot["stats_config"]["stats_tags"] = tags

    monitor = manifest("metrics/pod-monitor.yaml")
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    rules = manifest("metrics/prometheus-rule.yaml")["spec"]
    async with answering(routes()) as there, Envoy(config=CONFIG, edit=edit, **there) as envoy:
        # Series begin at the first request: one before the first scrape, so that none is born with a value.
        await ask(envoy.url, ["first"])
        await envoy.admin("/stats/prometheus")
        async with Prometheus(envoy.admin_port, endpoint["path"], scrape_rules(endpoint), rules) as prometheus:
            counts = 'sum(cohort_requests_total{rollout="checkout"})'
            await until(lambda: prometheus.values(counts), "a scrape", every=0.2)
            for fails in (True, False):
                for version, count in (("canary", 300), ("stable", 100)):
                    # Overridden: exactly so many users of each.
                    asked = count if fails else 1000 - count
                    headers = {"x-canary": version, **({"x-fail": "1"} if fails else {})}
                    answers = await ask(envoy.url, users(asked), headers=headers)
                    assert {answer.failed for answer in answers.values()} == {fails}
            await until(
                lambda: prometheus.values(counts),
                "every request scraped",
                holds=lambda seen: seen == [2001],
                every=0.2,
            )
            yield Stage(envoy, prometheus)


def flagger_query(name: str, variables: dict[str, str]) -> str:
    """A MetricTemplate's query as Flagger renders it."""
    path = MANIFESTS / "controllers" / "flagger" / "metric-templates.yaml"
    [query] = [one["spec"]["query"] for one in yaml.safe_load_all(path.read_text()) if one["metadata"]["name"] == name]

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        return WINDOW if name == "interval" else variables[name.removeprefix("variables.")]

    return re.sub(r"\{\{ ([a-z.]+) \}\}", value, query)


def argo_metric(name: str) -> dict[str, Any]:
    template = manifest("controllers/argo-rollouts/analysis-template.yaml")
    [metric] = [one for one in template["spec"]["metrics"] if one["name"] == name]
    return metric


def argo_query(name: str, variables: dict[str, str]) -> str:
    """A metric's query as Argo Rollouts renders it."""
    args = {**variables, "window": WINDOW}
    query = argo_metric(name)["provider"]["prometheus"]["query"]
    return re.sub(r"\{\{args\.([a-z]+)\}\}", lambda found: args[found.group(1)], query)


def argo_verdict(name: str, result: list[float]) -> str:
    """What Argo Rollouts makes of a result: the conditions are comparisons, and neither may hold."""

    def holds(condition: str) -> bool:
        return bool(eval(condition.replace("&&", "and"), {"len": len, "result": result}))

    metric = argo_metric(name)
    if holds(metric["failureCondition"]):
        return "Failed"
    return "Successful" if holds(metric["successCondition"]) else "Inconclusive"


# --- labels ------------------------------------------------------------------------------------------------


async def test_labels_come_with_and_without_tag_rules_on_the_proxy(stage: Stage) -> None:
    found = await stage.prometheus.query("cohort_responses_total > 0")
    by_labels = {(labels["rollout"], labels["rollout_version"], labels["code_class"]): value for labels, value in found}
    # The first user, who was not overridden, is one of the two.
    first = [key for key, value in by_labels.items() if value % 100]
    assert len(first) == 1
    by_labels[first[0]] -= 1
    assert by_labels == {
        ("checkout", "canary", "5xx"): 300,
        ("checkout", "canary", "2xx"): 700,
        ("checkout", "stable", "5xx"): 100,
        ("checkout", "stable", "2xx"): 900,
    }
    names = {labels["__name__"] for labels, _ in await stage.prometheus.query('{__name__=~"cohort_.*"}')}
    assert {name for name in names if not name.startswith("cohort_request_duration_milliseconds")} == {
        "cohort_config_invalid",
        "cohort_failures_total",
        "cohort_ignored_total",
        "cohort_requests_total",
        "cohort_responses_total",
        "cohort_version_held_out",
        "cohort_version_weight",
    }
    assert {"cohort_request_duration_milliseconds" + end for end in ("_bucket", "_count", "_sum")} <= names
    [(labels, weight)] = await stage.prometheus.query('cohort_version_weight{rollout_version="canary"}')
    assert weight == 40000
    assert set(labels) == {"__name__", "instance", "job", "plugin", "rollout", "rollout_version"}


async def test_ignored_things_have_their_label(stage: Stage) -> None:
    async def ignored() -> list[float]:
        return await stage.prometheus.values('cohort_ignored_total{rollout="checkout",what="override"} > 0')

    await ask(stage.envoy.url, ["somebody"], headers={"x-canary": "no-such-version"})
    await until(ignored, "an ignored override", every=0.2)


# --- queries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flagger", "argo", "low", "high"),
    [
        ("cohort-failures", "failures", 29.0, 31.0),
        ("cohort-times-worse-than-stable", "times-worse-than-stable", 2.8, 3.2),
        ("cohort-p99", "p99", 0.0, 500.0),
    ],
)
async def test_a_query_sees_what_the_canary_did(stage: Stage, flagger: str, argo: str, low: float, high: float) -> None:
    for query in (flagger_query(flagger, VARIABLES), argo_query(argo, VARIABLES)):
        [value] = await stage.prometheus.values(query)
        assert low < value < high
    verdict = "Successful" if argo == "p99" else "Failed"
    assert argo_verdict(argo, [value]) == verdict


@pytest.mark.parametrize("argo", ["failures", "times-worse-than-stable", "p99"])
async def test_a_version_without_answers_is_neither_good_nor_bad(stage: Stage, argo: str) -> None:
    for version in ("idle", "no-such-version"):
        result = await stage.prometheus.values(argo_query(argo, {**VARIABLES, "version": version}))
        assert result == [] or all(math.isnan(value) for value in result)
        assert argo_verdict(argo, result) == "Inconclusive"


async def test_a_stable_without_answers_counts_as_one_failure_in_a_thousand(stage: Stage) -> None:
    """At weight 100 nobody asks it, and the canary is looked at all the same."""
    nobody = {**VARIABLES, "stable": "no-such-version"}
    name = "times-worse-than-stable"
    for query in (flagger_query(f"cohort-{name}", nobody), argo_query(name, nobody)):
        assert await stage.prometheus.values(query) == [pytest.approx(300, rel=0.05)]


async def test_the_rules_see_it_too(stage: Stage) -> None:
    async def by_version(record: str) -> dict[str, float]:
        return {labels["rollout_version"]: value for labels, value in await stage.prometheus.query(record)}

    # Rules are evaluated once a second, after the last scrape too.
    await until(stage.prometheus.alerts, "an alert", holds=lambda seen: "CohortVersionFailing" in seen)
    failing = await by_version("cohort:failure_ratio:rate5m")
    assert failing["canary"] == pytest.approx(0.3, abs=0.01)
    assert failing["stable"] == pytest.approx(0.1, abs=0.01)
    share = await by_version("cohort:share:rate5m")
    assert share["canary"] == pytest.approx(0.5, abs=0.01)
    assert not {"CohortConfigInvalid", "CohortMissing"} & await stage.prometheus.alerts()


async def test_a_version_that_a_proxy_took_out_fails_the_analysis(stage: Stage) -> None:
    """Last: it changes the configuration."""
    flagger, argo = flagger_query("cohort-held-out", VARIABLES), argo_query("held-out", VARIABLES)
    guard = {"maxFailureRatio": 0.1, "window": "10s"}
    await stage.envoy.configure({"rollouts": [{**CONFIG["rollouts"][0], "guard": guard}]})
    await until(lambda: stage.prometheus.values(argo), "not held out", holds=lambda s: s == [0], every=0.2)
    assert argo_verdict("held-out", [0]) == "Successful"

    async def ask_and_look() -> list[float]:
        await ask(stage.envoy.url, users(50), headers={"x-canary": "stable"})
        await ask(stage.envoy.url, users(100)[50:], headers={"x-canary": "canary", "x-fail": "1"})
        return await stage.prometheus.values(argo)

    await until(ask_and_look, "held out", holds=lambda seen: seen == [1], every=0.2)
    assert await stage.prometheus.values(flagger) == [1]
    assert argo_verdict("held-out", [1]) == "Failed"
    trips = 'cohort_guard_trips_total{rollout="checkout",rollout_version="canary",cause="failures"}'
    await until(lambda: stage.prometheus.values(trips), "the trip", holds=lambda s: s == [1])
    await until(stage.prometheus.alerts, "an alert", holds=lambda seen: "CohortVersionHeldOut" in seen)
