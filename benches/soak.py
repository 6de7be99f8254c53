"""Ten minutes of everything at once, and a report of what was lost: `make bench WHAT=soak`.

Load on two workers while, cycle after cycle, a ramp goes up, the canary fails and the guard takes it out,
the configuration changes (good, bad, good), and both services are restarted. Prints the report; exits with
1 if a request failed that should not have, if the guard missed a failure, or if memory grew.

    PYTHONPATH=envoy python benches/soak.py [--seconds 600] [--rate 60] [--out docs/reports/soak.md]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lab import bootstrap
from lab.client import Load, ask, users
from lab.envoy import ConfigRefused, Envoy
from lab.process import resident
from lab.service import Service
from lab.until import until
from report import command, leave, made_by

#: What a cycle does, and whether requests may fail meanwhile.
ALLOWED = {"the canary answers 503 until the guard trips": True, "a service is killed": True}
#: The most that Envoy's memory may grow from the end of the first third to the end.
GROWTH = 0.15


def configuration(generation: int, **more: Any) -> dict[str, Any]:
    """A ramp from now on, a guard, a health check, pins: another configuration for every generation."""
    start = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "rollouts": [
            {
                "name": "checkout",
                "versions": [{"name": "stable"}, {"name": "canary", "weight": 1}],
                "hashKey": [{"header": "x-user-id"}],
                "pin": {"cookie": {"name": "pin"}, "generation": f"g{generation}"},
                "ramp": {
                    "start": start,
                    "steps": [
                        {"after": "0s", "weights": {"canary": 5}},
                        {"after": "5s", "weights": {"canary": 25}},
                        {"after": "10s", "weights": {"canary": 50}},
                    ],
                },
                "guard": {"window": "5s", "minRequests": 20, "maxFailureRatio": 0.2},
                "health": {"canary": {"cluster": "checkout-v2", "path": "/ready", "interval": "1s", "timeout": "1s"}},
                "output": {"responseHeader": "x-cohort-checkout", "reasonHeader": "x-cohort-reason", "baggage": True},
                **more,
            }
        ]
    }


@dataclass
class Soak:
    proxy: Envoy
    services: dict[str, Service]
    load: Load
    seconds: float
    #: Phases with the seconds since the start of the load when they began and ended.
    phases: list[tuple[str, float, float]] = field(default_factory=list)
    did: Counter[str] = field(default_factory=Counter)
    #: Minutes, requests so far, failures so far, resident memory in MiB, memory that Envoy allocated in MiB.
    samples: list[tuple[float, int, int, float, float]] = field(default_factory=list)
    generation: int = 0
    http2: Counter[int] = field(default_factory=Counter)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = self.load.elapsed
        yield
        # An answer that was on its way when the phase ended belongs to it.
        self.phases.append((name, began, self.load.elapsed + 0.5))

    @property
    def time_left(self) -> float:
        return self.seconds - self.load.elapsed

    async def configure(self, **more: Any) -> None:
        self.generation += 1
        self.did["good configurations taken"] += 1
        await self.proxy.configure(configuration(self.generation, **more))

    async def held_out(self, wanted: float) -> None:
        def is_so(metrics: Any) -> bool:
            return metrics.value("cohort_version_held_out", rollout="checkout", rollout_version="canary") == wanted

        await until(self.proxy.metrics, f"canary held out: {wanted}", holds=is_so, timeout=30, every=0.2)

    async def cycle(self) -> None:
        with self.phase("a ramp goes up"):
            await self.configure()
            await asyncio.sleep(12)
        with self.phase("the canary answers 503 until the guard trips"):
            began = time.monotonic()
            await self.services["checkout-v2"].behave(failure_ratio=1.0)
            await self.held_out(1)
            self.did["trips"] += 1
            self.did["milliseconds until the trips showed"] += round(1000 * (time.monotonic() - began))
            await asyncio.sleep(1)
        with self.phase("the canary is held out"):
            await asyncio.sleep(4)
            await self.services["checkout-v2"].behave(failure_ratio=0.0)
        with self.phase("configurations change: good, bad, good"):
            for number in range(20):
                await self.configure(salt=f"s{number % 3}")
                with contextlib.suppress(ConfigRefused):
                    await self.proxy.configure({"rollouts": [], f"unknown-{self.generation}": 1})
                    raise AssertionError("a bad configuration was taken")
                self.did["bad configurations refused"] += 1
        for name in self.services:
            with self.phase("a service is replaced"):
                old = self.services[name]
                new = await Service(name, drain=1.0).start()
                await self.proxy.set_endpoints(name, [new.address])
                self.services[name] = new
                await old.stop()
                self.did["services replaced"] += 1
        with self.phase("a service is killed"):
            old = self.services["checkout-v2"]
            await old.kill()
            await asyncio.sleep(0.5)
            new = await Service("checkout-v2", drain=1.0).start()
            await self.proxy.set_endpoints("checkout-v2", [new.address])
            self.services["checkout-v2"] = new
            self.did["services killed"] += 1
            await self.configure()
            await self.held_out(0)
        with self.phase("HTTP/2 beside HTTP/1.1"):
            answers = await ask(self.proxy.url, users(300), http2=True, concurrency=8)
            self.http2.update(answer.status for answer in answers.values())

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(10)
            memory = (await self.proxy.stats("^server[.]memory_allocated$"))["server.memory_allocated"]
            minutes, load = self.load.elapsed / 60, self.load
            self.samples.append((minutes, load.answered, load.failed, resident(self.proxy.pid), memory / 1024 / 1024))

    def failures(self) -> Counter[tuple[str, str]]:
        """Failed answers by what was going on, and by what came."""
        counted: Counter[tuple[str, str]] = Counter()
        for at, answer in self.load.failures:
            # The request began before the answer failed: the phase of either counts.
            during = [name for name, began, ended in self.phases if began <= at and at - answer.seconds <= ended]
            name = next((one for one in during if ALLOWED.get(one)), during[-1] if during else "between")
            counted[name, answer.error or f"status {answer.status}"] += 1
        return counted

    @property
    def growth(self) -> float:
        """Growth of resident memory after the first third."""
        third = self.samples[len(self.samples) // 3][3]
        return self.samples[-1][3] / third - 1


async def run(seconds: float, rate: float) -> tuple[Soak, list[str]]:
    services = {name: await Service(name, drain=1.0).start() for name in ("checkout-v1", "checkout-v2")}
    soak = None
    try:
        clusters = {name: service.address for name, service in services.items()}
        routes = bootstrap.route_by_header("x-cohort-checkout", {"canary": "checkout-v2"}, "checkout-v1", timeout="5s")
        async with Envoy(
            config=configuration(0), clusters=clusters, routes=routes, concurrency=2, failure_policy="FAIL_CLOSED"
        ) as proxy:
            async with Load(proxy.url, users(2000), rate=rate) as load:
                soak = Soak(proxy, services, load, seconds)
                watch = asyncio.create_task(soak.watch())
                while soak.time_left > 0:
                    await soak.cycle()
                    soak.did["cycles"] += 1
                watch.cancel()
                await load.stop()
            problems = await verdict(soak)
            return soak, problems
    finally:
        for service in services.values():
            await service.stop()


async def verdict(soak: Soak) -> list[str]:
    lost = {cause: count for cause, count in soak.failures().items() if not ALLOWED.get(cause[0])}
    problems = [f"{count} failed ({what}) while {name}" for (name, what), count in lost.items()]
    if set(soak.http2) != {200}:
        problems.append(f"HTTP/2: {dict(soak.http2)}")
    if soak.growth > GROWTH:
        problems.append(f"memory grew by {soak.growth:.0%}")
    if soak.load.answered != soak.load.sent:
        problems.append(f"{soak.load.sent - soak.load.answered} requests without an outcome")
    stats = await soak.proxy.stats("^wasm[.].*(fail|reload)")
    problems += [f"{name} is {value}" for name, value in stats.items() if value]
    total = soak.load.answered + soak.http2.total()
    metrics = await soak.proxy.metrics_when(
        lambda now: now.sum("cohort_requests_total") >= total, "every request counted"
    )
    for name in ("cohort_requests_total", "cohort_responses_total"):
        if metrics.sum(name) != total:
            problems.append(f"{name} is {metrics.sum(name):.0f} for {total} requests")
    return problems


def page(soak: Soak, problems: list[str], made: str) -> str:
    load = soak.load
    lines = [
        "# A soak",
        "",
        made_by(made, "two workers"),
        "",
        f"**{'Passed' if not problems else 'Failed'}**: {load.answered:,} requests over HTTP/1.1 and "
        f"{soak.http2.total():,} over HTTP/2 in {soak.samples[-1][0]:.1f} minutes.",
        "",
        *[f"- {problem}" for problem in problems],
        *([""] if problems else []),
        "## What was done meanwhile",
        "",
        "| what | how often |",
        "|---|---|",
    ]
    did = Counter(soak.did)
    millis = did.pop("milliseconds until the trips showed", 0)
    lines += [f"| {what} | {count} |" for what, count in did.items()]
    if did["trips"]:
        lines += [
            "",
            f"From the canary's first 503 to its gauge `cohort_version_held_out`: {millis / did['trips']:,.0f} ms on "
            "average (the guard wants 20 requests first).",
        ]
    lines += [
        "",
        "## Failures by cause",
        "",
        "| while | what came | requests | may it |",
        "|---|---|---|---|",
        *[
            f"| {name} | {what} | {count} | {'yes' if ALLOWED.get(name) else '**no**'} |"
            for (name, what), count in sorted(soak.failures().items())
        ],
        "",
        f"While anything else went on (ramps, {did['good configurations taken']} good and "
        f"{did['bad configurations refused']} bad configurations, {did['services replaced']} services replaced in good "
        f"order): {sum(count for (name, _), count in soak.failures().items() if not ALLOWED.get(name))}.",
        "Every request is in `cohort_requests_total` once and in `cohort_responses_total` once.",
        "",
        "## Memory over time",
        "",
        "| minute | requests | failures | resident MiB | allocated by Envoy MiB |",
        "|---|---|---|---|---|",
    ]
    step = max(1, len(soak.samples) // 12)
    shown = soak.samples[::step]
    if shown[-1] != soak.samples[-1]:
        shown.append(soak.samples[-1])
    lines += [
        f"| {minute:.1f} | {requests:,} | {failed} | {resident:.1f} | {allocated:.1f} |"
        for minute, requests, failed, resident, allocated in shown
    ]
    lines += ["", f"Resident memory after the first third to the end: {soak.growth:+.1%} (allowed: +{GROWTH:.0%})."]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=60, help="requests a second")
    parser.add_argument("--out", type=Path, help="write the report there too")
    args = parser.parse_args()
    soak, problems = asyncio.run(run(args.seconds, args.rate))
    other = {} if (args.seconds, args.rate) == (600, 60) else {"seconds": f"{args.seconds:g}", "rate": f"{args.rate:g}"}
    leave(page(soak, problems, command("soak", **other)), args.out)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
