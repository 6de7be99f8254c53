"""Gauges say what is in force in the process, while a proxy takes listeners up, refuses and changes them."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from by_file import ByFile
from conftest import config, rollout
from lab import bootstrap
from lab.envoy import Envoy, Metrics, edge
from lab.service import Service
from lab.until import until
from lab.wire import get

LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"


class Changing(ByFile):
    """An Envoy whose filter is in its listener, as on plain LDS and with Envoy Gateway."""

    def weighted(self, weight: float, *more: dict[str, Any]) -> dict[str, Any]:
        listener = copy.deepcopy(self.document)
        manager = bootstrap.connection_manager({"static_resources": {"listeners": [listener]}})
        filter_of = copy.deepcopy(self.filter)
        bootstrap.set_config(filter_of, config(rollout(weight)))
        resource = self.for_edge(filter_of)["resources"][0]
        manager["http_filters"][:1] = [{"name": resource["name"], "typed_config": resource["typed_config"]}, *more]
        return listener

    async def change(self, weight: float, *more: dict[str, Any], refused: bool = False) -> None:
        stat = "lds.update_rejected" if refused else "lds.update_success"
        name = f"^listener_manager[.]{stat.replace('.', '[.]')}$"
        before = sum((await self.stats(name)).values())
        self.write_listener(self.weighted(weight, *more))

        async def taken() -> bool:
            warming = sum((await self.stats("^listener_manager[.]total_listeners_warming$")).values())
            return sum((await self.stats(name)).values()) > before and not warming

        await until(taken, "the listener", timeout=30)

    async def weight(self, wanted: float) -> None:
        labels = {"rollout": "checkout", "rollout_version": "canary"}
        await self.metrics_when(
            lambda now: now.value("cohort_version_weight", **labels) == wanted * 1000, f"a gauge of {wanted} %"
        )


pytestmark = pytest.mark.edges


@pytest.fixture
async def proxy(v1: Service, v2: Service) -> AsyncIterator[Changing]:
    clusters = {"checkout-v1": v1.address, "checkout-v2": v2.address}
    async with Changing(
        clusters=clusters, config=config(rollout(25)), concurrency=2, extra_args=("--drain-time-s", "60")
    ) as envoy:
        yield envoy


async def visit(proxy: Changing) -> None:
    """Each of these comes on a connection of its own, so that every worker gets some."""
    for user in range(40):
        assert (await get(proxy.address, headers=[("x-user-id", f"user-{user}")])).status == 200


async def test_a_listener_that_envoy_refuses_leaves_the_gauges_as_they_are(proxy: Changing):
    await visit(proxy)
    await proxy.change(25)
    await proxy.weight(25)
    broken = {"name": "lua", "typed_config": {"@type": LUA, "default_source_code": {"inline_string": "function ("}}}
    await proxy.change(50, broken, refused=True)
    await visit(proxy)
    # The gauges of 25 % are written at every tick: one of another worker's would be seen in between.
    for _ in range(5):
        await proxy.weight(25)
        await visit(proxy)


async def test_an_older_configuration_that_envoy_takes_up_again_is_in_force(proxy: Changing):
    """A, B, A while the listener of A drains: Envoy uses A's plugin again and does not configure it anew."""
    await proxy.change(25)
    await visit(proxy)
    await proxy.weight(25)
    await proxy.change(10)
    await visit(proxy)
    await proxy.weight(10)
    await proxy.change(25)
    await visit(proxy)
    await proxy.weight(25)
    # A bad one after it is refused, and what is in force stays.
    await proxy.change(180, refused=True)
    await visit(proxy)
    await proxy.weight(25)
    # The native module tells it with its next tick.
    told = lambda now: now.sum("cohort_config_rejected_total") == 1  # noqa: E731
    await proxy.metrics_when(told, "a refused configuration counted")


async def test_the_child_of_a_hot_restart_says_what_is_in_force_in_it(tmp_path: Path):
    """Envoy shows the sum of its own gauges and its parent's, for as long as the parent drains."""
    if edge() != "wasm":
        pytest.skip("a native module cannot read what a gauge shows (docs/native.md)")
    timing = ("--drain-time-s", "1", "--parent-shutdown-time-s", "20")
    number = tmp_path / "base-id"

    def shows(weight: float) -> Callable[[Metrics], bool]:
        wanted = {"canary": weight * 1000, "stable": 100_000 - weight * 1000}
        return lambda now: now.by("rollout_version", "cohort_version_weight") == wanted

    first = ("--use-dynamic-base-id", "--base-id-path", str(number))
    async with Envoy(config=config(rollout(25)), hot_restart=first, extra_args=timing) as parent:
        await parent.metrics_when(shows(25), "the parent's gauges")
        second = ("--base-id", number.read_text().strip(), "--restart-epoch", "1")
        async with Envoy(config=config(rollout(10)), hot_restart=second, extra_args=timing) as child:
            await child.metrics_when(shows(10), "the child's gauges beside the parent's")
            assert parent.process.alive, "the parent still drains"
            await child.configure(config(rollout(15)))
            await child.metrics_when(shows(15), "a change beside the parent")
            assert parent.process.alive
            await until(lambda: not parent.process.alive, "the end of the parent", timeout=40)
            await child.metrics_when(shows(15), "the child's gauges alone")
