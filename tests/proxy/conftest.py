"""What tests on a real Envoy start from: services, Envoys, and configurations to change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from lab import bootstrap
from lab.envoy import Envoy, runs_native
from lab.service import Service
from xdist.scheduler import LoadFileScheduling

Launch = Callable[..., Awaitable[Envoy]]


def rollout(weight: float = 30, **more: Any) -> dict[str, Any]:
    """A rollout with a stable version and a canary; `more` adds to it or replaces."""
    return {
        "name": "checkout",
        "versions": [{"name": "stable"}, {"name": "canary", "weight": weight}],
        "hashKey": [{"header": "x-user-id"}],
        "output": {"responseHeader": "x-cohort-checkout", "reasonHeader": "x-cohort-reason"},
        **more,
    }


def config(*rollouts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"rollouts": list(rollouts), **more}


#: Files whose tests share nothing: any worker may take any of them.
APART = ("demo/test_scenarios.py", "demo/test_demo.py")

#: Files that take minutes, mostly of waiting: they start first, so that nobody waits for the last of them.
LONGEST = (
    "guard/test_guard_stays.py",
    "decision/test_full_example.py",
    "istio/test_istio_delivery.py",
    "guard/test_guard.py",
    "demo/test_page.py",
)


class ByFile(LoadFileScheduling):
    """The tests of a file go to one worker, because they share Envoys."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return nodeid if file.endswith(APART) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    # In the order in which they are collected.
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        file = item.nodeid.partition("::")[0]
        if file.endswith(APART):
            # Small parts, of which every worker that is free takes one.
            return len(LONGEST) + 1
        return next((place for place, long in enumerate(LONGEST) if file.endswith(long)), len(LONGEST))

    items.sort(key=place)


#: For what loads the native module.
native_module = pytest.mark.skipif(not runs_native(), reason="no native module (make native), or an Envoy before 1.39")


@pytest.fixture(scope="session")
async def v1() -> AsyncIterator[Service]:
    async with Service("checkout-v1") as service:
        yield service


@pytest.fixture(scope="session")
async def v2() -> AsyncIterator[Service]:
    async with Service("checkout-v2") as service:
        yield service


@pytest.fixture(scope="module")
async def launch(v1: Service, v2: Service) -> AsyncIterator[Launch]:
    """Starts Envoys that end with the module: `await launch(config=..., concurrency=2)`.

    What a client forges reaches the filter: it has to hold alone. `early_removal=True` has Envoy remove it first, as
    `envoy/envoy.yaml` does.
    """
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Envoy:
            clusters = {"checkout-v1": v1.address, "checkout-v2": v2.address, **options.pop("clusters", {})}
            options = {"early_removal": False, **options}
            return await stack.enter_async_context(Envoy(clusters=clusters, **options))

        yield start


@pytest.fixture(scope="module")
async def proxy(launch: Launch) -> Envoy:
    """One Envoy for all tests of a module; each gives it the configuration that it needs."""
    return await launch(config=config(rollout()))


@pytest.fixture(scope="module")
async def direct(launch: Launch) -> Envoy:
    """An Envoy that answers by itself with the chosen route's name in `x-served-by`, on two workers."""
    routes = bootstrap.answer_directly("x-cohort-checkout", ["canary", "green"], "stable")
    return await launch(config=config(rollout()), routes=routes, concurrency=2)
