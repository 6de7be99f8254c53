"""A thousand rollouts in one configuration: one gateway for many services."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from conftest import Launch, config
from lab import arithmetic, bootstrap
from lab.client import ask, users
from lab.envoy import Envoy
from lab.process import cpu_seconds
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


@pytest.mark.skipif(sys.platform != "linux", reason="asks for the CPU time of another process")
async def test_a_request_costs_the_same_among_a_thousand_rollouts_as_among_ten(gateway: Envoy):
    """CPU time of the proxy, so that whatever else runs on the machine hardly matters.

    The third measurement shows that this one would notice: rollouts whose hosts cannot be listed
    beforehand have to be asked one after the other.
    """

    async def cost(count: int, requests: int, **more: Any) -> float:
        """Milliseconds of CPU a request; the best of three."""
        await gateway.configure(config(*(service(number, **more) for number in range(count))))
        best = float("inf")
        for _ in range(3):
            before = cpu_seconds(gateway.pid)
            answers = await ask(gateway.url, users(requests), headers={"host": "svc-7.example.com"}, concurrency=4)
            assert {answer.status for answer in answers.values()} == {200}
            best = min(best, (cpu_seconds(gateway.pid) - before) / requests * 1000)
        return best

    def conditions(host: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"host": host, "path": {"prefix": f"/{part}"}} for part in "abcdef"]

    listed = {"match": conditions({"in": ["svc-8.example.com", "svc-9.example.com"]})}
    few, many = await cost(10, 1500, **listed), await cost(COUNT, 1500, **listed)
    one_by_one = await cost(COUNT, 300, match=conditions({"regex": "^svc-[89][.]example[.]com$"}))
    print(f"ms of CPU a request: {few:.3f} among 10, {many:.3f} among {COUNT}, {one_by_one:.3f} asked one by one")
    assert many < few * 1.5, (few, many)
    assert one_by_one > few * 2, (few, one_by_one)
