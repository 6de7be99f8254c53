"""A thousand rollouts in one configuration: one gateway for many services."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Launch, config
from lab import arithmetic, bootstrap
from lab.envoy import Envoy
from lab.wire import Connection

COUNT = 1000


def service(number: int, **more: Any) -> dict[str, Any]:
    """A rollout of one service, bound to its host, with everything a rollout is likely to have."""
    name = f"svc-{number}"
    return {
        "name": name,
        "match": [{"host": {"exact": f"{name}.example.com"}, "path": {"prefix": "/"}}],
        "versions": [{"name": "stable"}, {"name": "canary", "weight": 50}],
        "hashKey": [{"header": "x-user-id"}, {"cookie": "uid"}],
        "overrides": {"header": "x-canary", "cookie": "canary"},
        "rules": [{"name": "bots", "match": [{"header": {"x-bot": {"present": True}}}], "version": "stable"}],
        "output": {
            "routeHeader": "x-cohort-version",
            "responseHeader": "x-cohort-version",
            "reasonHeader": "x-why",
        },
        **more,
    }


@pytest.fixture(scope="module")
async def gateway(launch: Launch) -> Envoy:
    routes = bootstrap.answer_directly("x-cohort-version", ["canary"], "stable")
    return await launch(config=config(), routes=routes)


async def test_each_of_a_thousand_hosts_has_its_own_rollout(gateway: Envoy):
    rollouts = [service(number) for number in range(COUNT)]
    took = await gateway.configure(config(*rollouts))
    assert took < 30
    weights = await gateway.metrics_when(
        lambda m: m.value("cohort_version_weight", rollout=f"svc-{COUNT - 1}", rollout_version="canary"),
        "the weight of the last rollout, which nobody has asked for",
    )
    assert set(weights.by("rollout_version", "cohort_version_weight").values()) == {COUNT * 50_000}
    assert weights.sum("cohort_requests_total") == 0
    seen = {"stable": 0, "canary": 0}
    async with await Connection.open(gateway.address) as connection:
        for one in rollouts:
            reply = await connection.get(headers=[("x-user-id", "somebody")], host=f"{one['name']}.example.com")
            version = arithmetic.version(one, "somebody")
            assert reply.one("x-cohort-version") == reply.one("x-served-by") == version, one["name"]
            seen[version] += 1
        # Each salt places the user anew; five standard deviations.
        assert abs(seen["canary"] - COUNT / 2) < 5 * (COUNT / 4) ** 0.5
        reply = await connection.get(headers=[("x-user-id", "somebody")], host="other.example.com")
        assert (reply.one("x-cohort-version"), reply.one("x-served-by")) == (None, "stable")
    metrics = await gateway.metrics_when(
        lambda m: m.sum("cohort_requests_total") == COUNT, "one request of each rollout"
    )
    assert len(metrics.by("rollout", "cohort_requests_total")) == COUNT


async def test_rollouts_that_are_bound_to_a_host_and_those_that_are_not_keep_their_order(gateway: Envoy):
    """Of those that match, the first in the configuration writes the header, whatever it is bound to."""
    everywhere = service(0, name="all", match=[{"path": {"prefix": "/all"}}], rules=[])
    many = [service(number) for number in range(500)]
    canary = [{"name": "stable"}, {"name": "canary", "weight": 100}]
    never = [{"name": "stable"}, {"name": "canary", "weight": 0}]
    for order, version in (
        ([{**everywhere, "versions": canary}, *many], "canary"),
        ([*many, everywhere], "stable"),
    ):
        order = [{**one, "versions": never} if one["name"] == "svc-7" else one for one in order]
        await gateway.configure(config(*order))
        async with await Connection.open(gateway.address) as connection:
            reply = await connection.get("/all", [("x-user-id", "u")], host="SVC-7.example.com:8080")
            assert reply.all("x-cohort-version") == [version]
