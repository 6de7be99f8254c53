"""What a configuration of 1 MiB costs a VM of a real Envoy, in CPU time and memory: `make bench WHAT=loading`.

Envoy runs the filter in one machine for each worker, and each worker is a thread. So what a machine spends is the CPU
time of its worker's thread, which does nothing else here: the kernel counts it, and compilation, Envoy's own reading
of the file, and the machines beside the workers' are not in it. Memory is the process', so what one machine takes is
the slope over the number of workers.

    PYTHONPATH=envoy python benches/loading.py [--rounds 3] [--changes 6] [--out docs/reports/loading.md]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import bootstrap
from lab.envoy import Envoy
from lab.process import resident, thread_seconds
from report import command, leave, made_by

MIB = 1 << 20
#: What one machine may spend on loading it, in milliseconds.
GOAL = 100
WORKERS = (1, 2, 4)
#: Seconds in which the idle proxy is watched, first while it makes the gauges of many rollouts, then after.
IDLE = 4


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


#: The one that the others are compared with.
SMALL = "small"
KINDS = {SMALL: small, "1 MiB": large, "1 MiB, no guards": unguarded}


@dataclass
class Run:
    """One Envoy, started with a configuration, then given others of the same size. CPU milliseconds of each worker."""

    #: From the start of its thread until the proxy listens.
    first: list[float]
    #: In the seconds after, beyond what the same time costs later.
    rest: list[float]
    #: A second with nothing to do but to tick.
    idle: list[float]
    #: Resident MiB of the process then, and after the changes.
    memory: float
    memory_after: float = 0
    #: For each change, without what the ticks of that time took.
    changes: list[float] = field(default_factory=list)


def workers_spent(proxy: Envoy) -> list[float]:
    """CPU milliseconds of each worker since its start."""
    return [1000 * seconds for _, seconds in sorted(thread_seconds(proxy.pid, "wrk:worker").items())]


async def spent(proxy: Envoy, what: Awaitable[object]) -> tuple[list[float], float]:
    """CPU milliseconds of each worker, and seconds, that something takes."""
    before, began = workers_spent(proxy), time.monotonic()
    await what
    return minus(workers_spent(proxy), before), time.monotonic() - began


def minus(these: Sequence[float], those: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(these, those, strict=True)]


async def run(kind: str, workers: int, changes: int) -> Run:
    make = KINDS[kind]
    routes = bootstrap.answer_directly("x-cohort-checkout", ["canary"], "stable")
    async with Envoy(config=make(0), routes=routes, concurrency=workers) as proxy:
        first = workers_spent(proxy)
        early, _ = await spent(proxy, asyncio.sleep(IDLE))
        late, _ = await spent(proxy, asyncio.sleep(IDLE))
        idle = [millis / IDLE for millis in late]
        taken = Run(first, minus(early, late), idle, resident(proxy.pid))
        for generation in range(1, changes + 1):
            millis, seconds = await spent(proxy, proxy.configure(make(generation)))
            taken.changes += minus(millis, [each * seconds for each in idle])
        taken.memory_after = resident(proxy.pid)
    return taken


Runs = dict[tuple[str, int], list[Run]]


def figures(runs: Runs, kind: str, of: str) -> list[float]:
    """A figure of every worker in every run of a kind."""
    return [figure for n in WORKERS for one in runs[kind, n] for figure in getattr(one, of)]


def middle(runs: Runs, kind: str, of: str) -> float:
    return statistics.median(figures(runs, kind, of))


def memories(runs: Runs, kind: str, of: str) -> list[float]:
    """The process' memory at each number of workers, medians over the runs."""
    return [statistics.median(getattr(one, of) for one in runs[kind, n]) for n in WORKERS]


def per_machine(runs: Runs, kind: str, of: str) -> float:
    """What one more worker takes of memory, beyond what it takes with the smallest configuration."""
    slopes = [statistics.linear_regression(WORKERS, memories(runs, it, of)).slope for it in (kind, SMALL)]
    return slopes[0] - slopes[1]


MEMORIES = {"memory": "after the start", "memory_after": "after the updates"}


def page(runs: Runs, rounds: int, changes: int, made: str) -> tuple[str, bool]:
    def met(kind: str) -> bool:
        return max(middle(runs, kind, of) for of in ("first", "changes")) < GOAL

    def span(kind: str, of: str) -> str:
        every = figures(runs, kind, of)
        return f"{middle(runs, kind, of):.1f} ({min(every):.1f} to {max(every):.1f})"

    lines = [
        "# Loading a configuration of 1 MiB",
        "",
        f"{made_by(made)} {MIB:,} bytes of JSON, {len(json.loads(large(0))['rollouts'])} rollouts, each with "
        "hosts of its own, three versions, a pin, overrides, a guard and four rules.",
        "",
        f"What one virtual machine spends on it, in CPU milliseconds (the goal is under {GOAL}): medians, and from the "
        "least to the most.",
        "",
        f"| configuration | first load | in the {IDLE} seconds after | as an update | ticking, a second | goal |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for kind in KINDS:
        values = " | ".join(span(kind, of) for of in ("first", "rest", "changes", "idle"))
        lines.append(f"| {kind} | {values} | {'met' if met(kind) else '**not met**'} |")
    lines += [
        "",
        "Loading is reading the text, which runs in code that V8 has not optimised yet at the first load. The gauges "
        "of what is in force are made for a hundred rollouts at a tick, in the seconds after, so that no request "
        "waits for all of them; counters come with a rollout's first request. With guards a machine reads two records "
        "of each rollout at every tick, and of one that is asked for its counters too.",
        "",
        "Resident memory of the whole process, MiB, and what one more machine takes of it beyond one with the smallest "
        "configuration:",
        "",
        "| configuration | when | " + " | ".join(f"{n} worker{'s' * (n > 1)}" for n in WORKERS) + " | one machine |",
        "|---|---|" + "---:|" * (len(WORKERS) + 1),
    ]
    for kind in KINDS:
        for of, when in MEMORIES.items():
            values = " | ".join(f"{value:.1f}" for value in memories(runs, kind, of))
            own = "" if kind == SMALL else f"{per_machine(runs, kind, of):.1f}"
            lines.append(f"| {kind} | {when} | {values} | {own} |")
    lines += [
        "",
        "After an update more is resident, because the old configuration is still there while the next one is read, "
        "and a machine gives nothing back.",
        "",
        "CPU time is that of the workers' threads, by the kernel's own account: the making of the machine is in the "
        "first load, V8's compilation on threads of its own is not. What ticks cost is taken away from the updates "
        f"and from the seconds after the start. {rounds} runs with each number of workers, {changes} updates in each.",
    ]
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
    default = (args.rounds, args.changes) == (3, 6)
    other = {} if default else {"rounds": args.rounds, "changes": args.changes}
    text, met = page(runs, args.rounds, args.changes, command("loading", **other))
    leave(text, args.out)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
