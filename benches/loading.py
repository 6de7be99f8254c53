"""What a configuration of 1 MiB costs a VM of a real Envoy, in CPU time and memory: `make loading`.

Envoy runs the filter in one machine for each worker, one for the main thread, and for each new configuration one
that it throws away. What one machine costs is therefore the slope over the number of workers: whatever is done
once, reading the file and the throw-away machine included, is in the intercept. The same is done with the
smallest configuration, and the difference of the two slopes is what the page states. CPU time is the process'
own, all threads together; what the idle proxy spends on its ticks in the time of an update is taken away.

    PYTHONPATH=envoy python benches/loading.py [--rounds 3] [--changes 6] [--out docs/reports/loading.md]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lab import bootstrap
from lab.envoy import Envoy, version
from lab.process import cpu_seconds, resident

MIB = 1 << 20
#: What one machine may spend on loading it, in milliseconds.
GOAL = 100
WORKERS = (1, 2, 4)
#: Seconds in which the idle proxy is watched.
IDLE = 3


def rollout(number: int, generation: int) -> dict[str, Any]:
    """One of many teams' rollouts: a host of its own, three versions, a pin, overrides, a guard, rules."""
    name = f"team-{number}"
    return {
        "name": name,
        "match": [
            {"host": {"in": [f"{name}.example.com", f"www.{name}.example.com"]}, "path": {"prefix": "/api/"}},
            {"host": {"exact": f"{name}.internal.example.com"}, "method": ["GET", "POST"]},
        ],
        "versions": [
            {"name": "stable", "cluster": f"{name}-v1"},
            {"name": "canary", "weight": 1 + (number + generation) % 40, "cluster": f"{name}-v2"},
            {"name": "experiment", "weight": 2.5, "cluster": f"{name}-v3", "requestHeaders": {f"x-{name}-on": "1"}},
        ],
        "hashKey": [{"header": "x-user-id"}, {"cookie": "uid"}],
        "pin": {"cookie": {"name": f"{name}-pin", "maxAge": "1d"}, "generation": f"g{generation}"},
        "overrides": {"header": f"x-{name}-canary", "cookie": f"{name}-canary", "values": {"on": "canary"}},
        "guard": {"window": "30s", "minRequests": 50, "maxFailureRatio": 0.05},
        "rules": [
            {"name": "employees", "segment": "internal", "version": "canary"},
            {
                "name": "beta",
                "match": [{"cookie": {"plan": {"exact": "beta"}}, "not": {"path": {"suffix": ".js"}}}],
                "weights": {"canary": 50},
            },
            {
                "name": "north",
                "match": [{"header": {"x-country": {"in": ["CA", "DK", "FI", "IS", "NO", "SE", "US"]}}}],
                "version": "experiment",
            },
            {
                "name": "android",
                "match": [{"header": {"user-agent": {"regex": r"Android 1[0-9]+\b"}}, "method": ["GET"]}],
                "weights": {"canary": 10, "experiment": 10},
            },
        ],
        "output": {"clusterHeader": f"x-{name}-cluster", "responseHeader": f"x-cohort-{name}"},
    }


def large(generation: int) -> str:
    """As many rollouts as fit into 1 MiB, as a chart would render them; another text for every generation."""

    def text(count: int) -> str:
        segments = {"internal": [{"header": {"x-employee": {"present": True}}}, {"address": ["10.0.0.0/8"]}]}
        rollouts = [rollout(number, generation) for number in range(count)]
        return json.dumps({"segments": segments, "rollouts": rollouts}, separators=(",", ":"))

    # From two lengths follows what one more takes; names get longer by a digit at 10, 100 and 1,000.
    count = MIB // (len(text(1000)) - len(text(999)))
    while len(text(count + 1)) <= MIB:
        count += 1
    filled = text(count)
    # The rest of the 1 MiB is white space, which is read as well.
    return filled + " " * (MIB - len(filled))


def small(generation: int) -> str:
    return json.dumps(
        {
            "rollouts": [
                {
                    "name": "checkout",
                    "versions": [{"name": "stable"}, {"name": "canary", "weight": 1 + generation % 90}],
                    "hashKey": [{"header": "x-user-id"}],
                }
            ]
        }
    )


def unguarded(generation: int) -> str:
    """The large one, whose rollouts have no guard."""
    config = json.loads(large(generation))
    for one in config["rollouts"]:
        del one["guard"]
    return json.dumps(config, separators=(",", ":")).ljust(MIB)


KINDS = {"small": small, "1 MiB": large, "1 MiB, no guards": unguarded}


@dataclass
class Run:
    """One Envoy, started with a configuration, then given others of the same size."""

    #: CPU milliseconds from the start of the process until it listens.
    start: float
    #: Resident MiB then, and after the changes.
    memory: float
    memory_after: float
    #: CPU milliseconds a second with nothing to do but to tick.
    idle: float
    #: CPU milliseconds for each change, without what the ticks of that time took.
    changes: list[float]


async def spent(proxy: Envoy, what: Awaitable[object]) -> tuple[float, float]:
    """CPU milliseconds and seconds that something takes."""
    before, began = cpu_seconds(proxy.pid), time.monotonic()
    await what
    return 1000 * (cpu_seconds(proxy.pid) - before), time.monotonic() - began


async def run(kind: str, workers: int, changes: int) -> Run:
    make = KINDS[kind]
    routes = bootstrap.answer_directly("x-cohort-checkout", ["canary"], "stable")
    async with Envoy(config=make(0), routes=routes, concurrency=workers) as proxy:
        taken = Run(cpu_seconds(proxy.pid) * 1000, resident(proxy.pid), 0, 0, [])
        taken.idle = (await spent(proxy, asyncio.sleep(IDLE)))[0] / IDLE
        for generation in range(1, changes + 1):
            millis, seconds = await spent(proxy, proxy.configure(make(generation)))
            taken.changes.append(millis - taken.idle * seconds)
        taken.memory_after = resident(proxy.pid)
    return taken


@dataclass
class Line:
    """A figure at each number of workers, and the line through them."""

    values: list[float]

    @property
    def slope(self) -> float:
        return statistics.linear_regression(WORKERS, self.values).slope


Runs = dict[tuple[str, int], list[Run]]


def line(runs: Runs, kind: str, of: str) -> Line:
    """Medians over the runs of a kind; of `changes` over the changes after the first two of each run."""

    def figures(one: Run) -> Sequence[float]:
        return one.changes[2:] if of == "changes" else [getattr(one, of)]

    return Line([statistics.median(f for one in runs[kind, n] for f in figures(one)) for n in WORKERS])


FIGURES = {
    "start": ("first load, in a machine that has run nothing yet", "CPU ms"),
    "changes": ("later load, as an update", "CPU ms"),
    "idle": ("ticking", "CPU ms a second"),
    "memory": ("resident, after the start", "MiB"),
    "memory_after": ("resident, after the updates", "MiB"),
}


def report(runs: Runs, rounds: int, changes: int, command: str) -> tuple[str, bool]:
    small_slopes = {of: line(runs, "small", of).slope for of in FIGURES}
    cost = {kind: {of: line(runs, kind, of).slope - small_slopes[of] for of in FIGURES} for kind in KINDS}

    def met(kind: str) -> bool:
        return max(cost[kind]["start"], cost[kind]["changes"]) < GOAL

    lines = [
        "# Loading a configuration of 1 MiB",
        "",
        f"Made by `{command}` on {datetime.now(timezone.utc):%Y-%m-%d}: Envoy {version()}, {os.cpu_count()} cores "
        f"shared with other work. {MIB:,} bytes of JSON, {len(json.loads(large(0))['rollouts'])} rollouts, each with "
        "hosts of its own, three versions, a pin, overrides, a guard and four rules.",
        "",
        f"What one virtual machine spends on it, beyond the smallest configuration (the goal is under {GOAL} ms):",
        "",
        "| configuration | first load, CPU ms | as an update, CPU ms | ticking, CPU ms a second "
        "| resident MiB | after the updates | goal |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for kind in list(KINDS)[1:]:
        it = cost[kind]
        lines.append(
            f"| {kind} | {it['start']:.0f} | {it['changes']:.0f} | {it['idle']:.1f} | {it['memory']:.1f} "
            f"| {it['memory_after']:.1f} | {'met' if met(kind) else '**not met**'} |"
        )
    lines += [
        "",
        "After an update more is resident, because the old configuration is still there while the next one is read, "
        "and a machine gives nothing back.",
        "",
        "With guards a machine does more: while it loads it defines the counters that each guard reads, and it reads "
        "them at every tick. All other time series come with a rollout's first request. The rest is reading the text, "
        "which runs in code that V8 has not optimised yet at the first load.",
        "",
        "## How it was measured",
        "",
        "Envoy has one machine for each worker, one for the main thread, and for each new configuration one that it "
        "throws away. So what one machine costs is the slope over 1, 2 and 4 workers; what is done once, such as "
        "Envoy's own reading of the file and its making of each time series, is in the intercept. From the slope with "
        "the large configuration the slope with the smallest useful one is taken away. CPU time is the process' own "
        "clock, all threads together, V8's compilation beside them included; what the idle proxy spends on ticks in "
        "the time of an update is taken away.",
        "",
        f"Medians of {rounds} runs; of updates, over the third to the last of {changes} in each run.",
        "",
        "| figure | configuration | 1 worker | 2 workers | 4 workers | for each worker |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for of, (name, unit) in FIGURES.items():
        for kind in KINDS:
            figures = line(runs, kind, of)
            values = " | ".join(f"{value:.1f}" for value in figures.values)
            lines.append(f"| {name}, {unit} | {kind} | {values} | {figures.slope:.1f} |")
    return "\n".join(lines) + "\n", all(met(kind) for kind in KINDS)


async def measure(rounds: int, changes: int) -> Runs:
    runs: Runs = {(kind, workers): [] for kind in KINDS for workers in WORKERS}
    for number in range(rounds):
        for kind, workers in runs:
            print(f"round {number + 1} of {rounds}: {kind}, {workers} workers", file=sys.stderr)
            runs[kind, workers].append(await run(kind, workers, changes))
    return runs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--changes", type=int, default=6)
    parser.add_argument("--out", type=Path, help="write the page there too")
    parser.add_argument("--print-configuration", action="store_true", help="only print the configuration")
    args = parser.parse_args()
    if args.print_configuration:
        print(large(0), end="")
        return 0
    runs = asyncio.run(measure(args.rounds, args.changes))
    asked = [f"--{name} {value}" for name, value in (("rounds", args.rounds), ("changes", args.changes))]
    default = (args.rounds, args.changes) == (3, 6)
    command = "make loading" + ("" if default else f" ARGS='{' '.join(asked)}'")
    text, met = report(runs, args.rounds, args.changes, command)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
