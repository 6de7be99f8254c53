"""What Prometheus reads, labels and all."""

from __future__ import annotations

import pytest
from conftest import Launch, config, rollout
from lab import arithmetic
from lab.client import ask, users
from lab.envoy import Envoy, Metrics
from lab.service import Service
from lab.wire import get

EVERYBODY = users(300)

#: Every metric that a rollout without a guard has, with its labels.
LABELS = {
    "cohort_requests_total": {"rollout", "rollout_version", "reason"},
    "cohort_responses_total": {"rollout", "rollout_version", "code_class", "source"},
    "cohort_failures_total": {"rollout", "rollout_version"},
    "cohort_request_duration_milliseconds_bucket": {"rollout", "rollout_version", "le"},
    "cohort_request_duration_milliseconds_count": {"rollout", "rollout_version"},
    "cohort_request_duration_milliseconds_sum": {"rollout", "rollout_version"},
    "cohort_version_weight": {"rollout", "rollout_version"},
    "cohort_version_held_out": {"rollout", "rollout_version"},
    "cohort_guard_trips_total": {"rollout", "rollout_version", "cause"},
    "cohort_ignored_total": {"rollout", "what"},
    "cohort_config_invalid": set(),
}
# Every metric says whose it is.
LABELS = {name: {"plugin", *labels} for name, labels in LABELS.items()}


@pytest.fixture
async def fresh(launch: Launch) -> Envoy:
    """An Envoy whose counters start from nothing."""
    return await launch(config=config(rollout(30)), concurrency=2)


def counted(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Non-zero time series of a metric: label values in the order of their names, but for plugin and source."""
    return {
        tuple(value for label, value in sorted(labels.items()) if label not in ("plugin", "source")): value
        for labels, value in metrics.series(name)
        if value
    }


def answered(count: int):
    """Whether so many answers are counted, and gauges set; durations come with a flush, a moment after the counters."""
    names = ("cohort_responses_total", "cohort_request_duration_milliseconds_count")
    return lambda metrics: metrics.ticked() and all(metrics.sum(name) >= count for name in names)


async def test_requests_and_responses_are_counted_by_version_reason_and_class(fresh: Envoy, v2: Service):
    expected = arithmetic.versions(rollout(30), EVERYBODY)
    canary = sum(version == "canary" for version in expected.values())
    stable = len(EVERYBODY) - canary
    await ask(fresh.url, EVERYBODY)
    await get(fresh.address)
    metrics = await fresh.metrics_when(answered(len(EVERYBODY) + 1), "every answer counted")
    # Label values in the order of names: reason, rollout, rollout_version.
    assert counted(metrics, "cohort_requests_total") == {
        ("HASH", "checkout", "canary"): canary,
        ("HASH", "checkout", "stable"): stable,
        ("DEFAULT", "checkout", "stable"): 1,
    }
    assert counted(metrics, "cohort_responses_total") == {
        ("2xx", "checkout", "canary"): canary,
        ("2xx", "checkout", "stable"): stable + 1,
    }
    assert counted(metrics, "cohort_failures_total") == {}
    for version, count in (("canary", canary), ("stable", stable + 1)):
        labels = {"rollout": "checkout", "rollout_version": version}
        assert metrics.value("cohort_request_duration_milliseconds_count", **labels) == count

    await v2.behave(failure_ratio=1.0, failure_status=503)
    try:
        await ask(fresh.url, EVERYBODY)
        await v2.behave(failure_status=404)
        await ask(fresh.url, EVERYBODY)
    finally:
        await v2.behave(failure_ratio=0.0, failure_status=503)
    metrics = await fresh.metrics_when(answered(3 * len(EVERYBODY) + 1), "every answer counted")
    assert counted(metrics, "cohort_responses_total") == {
        ("2xx", "checkout", "canary"): canary,
        ("4xx", "checkout", "canary"): canary,
        ("5xx", "checkout", "canary"): canary,
        ("2xx", "checkout", "stable"): 3 * stable + 1,
    }
    assert counted(metrics, "cohort_failures_total") == {("checkout", "canary"): canary}


async def test_every_time_series_has_the_documented_name_and_labels_and_no_other(fresh: Envoy):
    await ask(fresh.url, EVERYBODY[:20])
    metrics = await fresh.metrics_when(answered(20), "every answer counted")
    for name, labels, _ in metrics.samples:
        if "cohort_" in name and not name.startswith("envoy_"):
            assert name in LABELS, name
            assert set(labels) == LABELS[name], (name, labels)
    assert metrics.names() >= {"cohort_requests_total", "cohort_responses_total", "cohort_config_invalid"}


async def test_weights_in_force_are_gauges_in_thousandths_of_a_percent(fresh: Envoy):
    await fresh.configure(config(rollout(12.345)))
    await get(fresh.address)

    def weights(metrics: Metrics) -> dict[str, float]:
        return metrics.by("rollout_version", "cohort_version_weight", rollout="checkout")

    await fresh.metrics_when(lambda m: weights(m) == {"stable": 87_655, "canary": 12_345}, "the weights")
    await fresh.configure(config(rollout(0)))
    await fresh.metrics_when(lambda m: weights(m) == {"stable": 100_000, "canary": 0}, "the weights after")


async def test_no_label_takes_a_value_from_a_request(fresh: Envoy):
    overrides = {"header": "x-canary", "query": "canary", "cookie": "canary"}
    await fresh.configure(config(rollout(30, overrides=overrides)))
    await get(fresh.address, headers=[("x-user-id", "u")])
    before = (await fresh.metrics_when(answered(1), "an answer")).names()
    strange = "zzmarker"
    for number in range(20):
        marked = f"{strange}{number}"
        headers = [("x-user-id", marked), ("x-canary", marked), ("cookie", f"canary={marked}"), (marked, marked)]
        await get(fresh.address, f"/{marked}?canary={marked}", headers, host=marked, method="GET")
    metrics = await fresh.metrics_when(answered(21), "every answer counted")
    assert metrics.names() == before
    assert strange not in await fresh.admin("/stats/prometheus")


async def test_the_histogram_has_the_buckets_of_the_bootstrap(fresh: Envoy):
    await get(fresh.address)
    metrics = await fresh.metrics_when(answered(1), "an answer")
    name = "cohort_request_duration_milliseconds_bucket"
    edges = {labels["le"] for labels, _ in metrics.series(name)}
    assert edges == {
        *("1", "2.5", "5", "10", "25", "50", "100", "250", "500"),
        *("1000", "2500", "5000", "10000", "30000", "+Inf"),
    }


async def test_no_upstream_is_a_failure_with_an_answer(launch: Launch):
    proxy = await launch(config=config(rollout(100)), clusters={"checkout-v2": []})
    reply = await get(proxy.address, headers=[("x-user-id", "u")])
    assert reply.status == 503
    metrics = await proxy.metrics_when(answered(1), "an answer")
    assert counted(metrics, "cohort_responses_total") == {("5xx", "checkout", "canary"): 1}
    assert counted(metrics, "cohort_failures_total") == {("checkout", "canary"): 1}
