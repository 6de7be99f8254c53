"""What docs/compare.md says of Envoy's own ways to split traffic, beside Cohort's, on one real Envoy.

    make test-proxy ARGS='-k compare -s'

prints the figures. What Istio, Flagger and Argo Rollouts do is printed by `make test-mesh`.
"""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Launch, config, rollout
from lab import bootstrap as boots
from lab.client import Load, ask, users
from lab.envoy import Envoy
from lab.service import Service
from lab.until import until

CANARY = {"x-cohort-checkout": "canary"}
USERS = 2000


def split(**more: Any) -> list[dict[str, Any]]:
    """Five in a hundred to v2 by Envoy's own weights; a header route first, as canary setups have one."""
    by_header = boots.route_by_header("x-cohort-checkout", {"canary": "checkout-v2"}, "checkout-v1")[:1]
    clusters = [{"name": "checkout-v1", "weight": 95}, {"name": "checkout-v2", "weight": 5}]
    weighted = {"clusters": clusters, **more.pop("weighted", {})}
    return [*by_header, {"match": {"prefix": "/"}, "route": {"weighted_clusters": weighted, **more}}]


#: Ways to split: the routes, and the plugin's configuration (`None`: the filter is left out).
WAYS = {
    "weighted clusters": (split(), None),
    "use_hash_policy": (
        split(weighted={"use_hash_policy": True}, hash_policy=[{"header": {"header_name": "x-user-id"}}]),
        None,
    ),
    "Cohort": (
        boots.route_by_header("x-cohort-checkout", {"canary": "checkout-v2"}, "checkout-v1"),
        config(rollout(5, guard={"maxFailureRatio": 0.05})),
    ),
}


def without_filter(boot: dict[str, Any]) -> None:
    manager = boots.connection_manager(boot)
    manager["http_filters"] = manager["http_filters"][-1:]


async def started(launch: Launch, way: str) -> Envoy:
    routes, plugin = WAYS[way]
    if plugin is None:
        return await launch(routes=routes, edit=without_filter, early_removal=False)
    return await launch(routes=routes, config=plugin)


@pytest.mark.parametrize("way", WAYS)
async def test_compare_users_who_ask_twice(launch: Launch, way: str) -> None:
    proxy = await started(launch, way)
    first, second = await ask(proxy.url, users(USERS)), await ask(proxy.url, users(USERS))
    assert {one.status for one in (*first.values(), *second.values())} == {200}
    changed = sum(first[user].served_by != second[user].served_by for user in first)
    share = sum(one.served_by == "checkout-v2" for one in first.values()) / USERS
    forged = await ask(proxy.url, users(100), headers=CANARY)
    reached = sum(one.served_by == "checkout-v2" for one in forged.values())
    print(
        f"\n== compare: {way}: {changed} of {USERS} changed version, {share:.2%} canary, {reached} of 100 by a header"
    )
    assert 0.03 < share < 0.07
    if way == "weighted clusters":
        assert 100 < changed < 300  # 2 × 5 % × 95 % of 2,000 is 190
    else:
        assert changed == 0
    assert reached <= 12 if way == "Cohort" else reached == 100


@pytest.mark.parametrize("way", WAYS)
async def test_compare_what_a_canary_that_always_fails_costs(launch: Launch, v2: Service, way: str) -> None:
    proxy = await started(launch, way)
    await v2.behave(failure_ratio=1.0)
    try:
        async with Load(proxy.url, users(USERS), rate=100) as load:
            await until(lambda: load.answered >= 2500, "2,500 requests", timeout=60)
    finally:
        await v2.behave(failure_ratio=0.0)
    late = sum(at > load.elapsed - 5 for at, _ in load.failures)
    print(
        f"\n== compare: {way}: a canary that always fails: {load.failed} of {load.answered} failed, "
        f"{late} in the last 5 s"
    )
    if way == "Cohort":
        assert 0 < load.failed < 60 and late == 0
    else:
        assert load.failed > 60 and late > 0
