"""What the tests of the guard start from: a guarded rollout, a proxy with two workers, and what it says."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from conftest import Launch, config, rollout
from lab import arithmetic, bootstrap
from lab.client import Answer, Load, ask, users
from lab.envoy import Envoy, Metrics
from lab.service import Service

#: Users enough, each on a connection of their own, that both of two workers have some: but for once in 2^39 times.
BOTH_WORKERS = 40
OVERRIDES = {"header": "x-canary", "values": {"always": "canary"}}
ALWAYS = [("x-canary", "always")]

_salts = itertools.count()


def guarded(weight: float = 30, guard: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A rollout with a guard. Its salt is new each time, so that no earlier test's trip is remembered."""
    base = {"maxFailureRatio": 0.2, "window": "30s"}
    more = {"salt": f"salt-{next(_salts)}", "overrides": OVERRIDES, **more}
    return rollout(weight, guard={**base, **(guard or {})}, **more)


def of(one: dict[str, Any], version: str, count: int = 200) -> list[str]:
    """Users whom the weights give a version."""
    found = (user for user in users(10_000) if arithmetic.version(one, user) == version)
    return list(itertools.islice(found, count))


def held_out(metrics: Metrics, name: str = "checkout") -> bool:
    return metrics.value("cohort_version_held_out", rollout=name, rollout_version="canary") == 1


def evidence(metrics: Metrics) -> float | None:
    return metrics.value("cohort_guard_evidence", rollout="checkout", rollout_version="canary")


def trips(metrics: Metrics) -> dict[str, float]:
    counts = metrics.by("cause", "cohort_guard_trips_total", rollout="checkout", rollout_version="canary")
    return {cause: count for cause, count in counts.items() if count}


def weights(metrics: Metrics) -> dict[str, float]:
    return metrics.by("rollout_version", "cohort_version_weight", rollout="checkout")


@dataclass
class Watcher:
    """What one proxy said since a test began: its counters and its log go on from test to test."""

    proxy: Envoy
    before: dict[str, float] = field(default_factory=dict)
    mark: int = 0
    # How many falls have been awaited.
    falls: int = 0

    @classmethod
    async def begin(cls, proxy: Envoy) -> Watcher:
        return cls(proxy, trips(await proxy.metrics()), len(proxy.filter_log()))

    async def trips(self) -> dict[str, float]:
        now = trips(await self.proxy.metrics())
        since = {cause: count - self.before.get(cause, 0) for cause, count in now.items()}
        return {cause: count for cause, count in since.items() if count}

    def warnings(self, about: str = "") -> list[str]:
        lines = self.proxy.filter_log()[self.mark :]
        return [line for line in lines if "[warning]" in line and about in line]

    async def out(self) -> None:
        """Awaits the next fall: of two workers one may show that it is out before the other has counted it."""
        self.falls += 1
        least = sum(self.before.values()) + self.falls
        await self.proxy.metrics_when(
            lambda metrics: held_out(metrics) and sum(trips(metrics).values()) >= least, "the canary held out"
        )

    async def back(self) -> None:
        await self.proxy.metrics_when(lambda metrics: not held_out(metrics), "the canary not held out")


async def everybody(proxy: Envoy, who: Iterable[str], **more: Any) -> dict[str, Answer]:
    """Everyone on a connection of their own: each worker takes about half."""
    return await ask(proxy.url, who, fresh=True, concurrency=8, **more)


@dataclass
class Lab:
    """A proxy with two workers, and the two services behind it."""

    proxy: Envoy
    v1: Service
    v2: Service
    watcher: Watcher

    async def apply(self, one: dict[str, Any], *others: dict[str, Any]) -> None:
        await self.proxy.configure(config(one, *others))
        await self.watcher.back()

    def load(self, who: list[str] | None = None, *, rate: float = 120, **more: Any) -> Load:
        # Many connections, so that both workers have some.
        return Load(self.proxy.url, who or users(400), rate=rate, **more)

    async def everybody(self, who: Iterable[str], **more: Any) -> dict[str, Answer]:
        return await everybody(self.proxy, who, **more)


@asynccontextmanager
async def well(*services: Service) -> AsyncIterator[None]:
    """Services behave again at the end."""
    try:
        yield
    finally:
        for service in services:
            await service.behave(
                failure_ratio=0.0,
                failure_status=503,
                delay_ms=0.0,
                delay_ratio=1.0,
                reset_ratio=0.0,
                cut_ratio=0.0,
                grpc_status=None,
                padding=0,
                ready=True,
            )


async def two_workers(launch: Launch, **options: Any) -> Envoy:
    """An Envoy with two workers, whose routes wait 300 ms for an answer."""
    to = {"canary": "checkout-v2"}
    routes = bootstrap.route_by_header("x-cohort-checkout", to, "checkout-v1", timeout="0.3s")
    return await launch(**{"config": config(rollout()), "concurrency": 2, "routes": routes, **options})


@asynccontextmanager
async def a_lab(proxy: Envoy, v1: Service, v2: Service) -> AsyncIterator[Lab]:
    """A lab whose services behave again at the end."""
    async with well(v1, v2):
        yield Lab(proxy, v1, v2, await Watcher.begin(proxy))


def all_fall_back(answers: dict[str, Answer]) -> bool:
    return {(a.reason, a.served_by) for a in answers.values()} == {("FALLBACK", "checkout-v1")}


def failures(metrics: Metrics, version: str = "canary") -> float:
    return metrics.sum("cohort_failures_total", rollout="checkout", rollout_version=version)
