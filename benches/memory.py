"""Memory of a real Envoy over a million requests and a thousand changes of the configuration: `make bench WHAT=memory`.

Round by round the same: h2load sends its share of the requests, as fast as they are answered, from a thousand
users; then the configuration changes its share of times under a light load, one bad one among every ten good
ones. After each round the process' resident memory is read. Writes a page and a plot; exits with 1 if a request
failed, if memory at the end is more above that of the warmed-up process than `TOLERANCE`, or if the idle proxy
has more to do than at the beginning.

    PYTHONPATH=envoy python benches/memory.py [--requests 1000000] [--changes 1000] [--out docs/reports]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import plot
from lab import bootstrap
from lab.client import Load, users
from lab.envoy import ConfigRefused, Envoy
from lab.process import cpu_seconds, resident
from matplotlib.ticker import FuncFormatter
from report import command, leave, made_by

ROUNDS = 20
#: After so many rounds the process is warm: V8 has compiled, every time series is there, pools have grown.
WARM = 4
#: The most that resident memory may grow from then to the end.
TOLERANCE = 0.03
#: The most CPU time that the idle proxy may spend at the end, as a multiple of what it does at the beginning: what
#: an old configuration leaves behind may be work instead of memory.
IDLE_TOLERANCE = 1.5
#: So long it is watched, in seconds.
IDLE = 5
#: Of the heavy load.
CONNECTIONS = 16


def configuration(generation: int) -> dict[str, Any]:
    """Everything at once; another one for every generation, with the same names for ever."""
    return {
        "segments": {"internal": [{"header": {"x-employee": {"present": True}}}, {"address": ["10.0.0.0/8"]}]},
        "rollouts": [
            {
                "name": "checkout",
                "versions": [
                    {"name": "stable"},
                    {"name": "canary", "weight": 1 + generation % 60, "requestHeaders": {"x-feature": "on"}},
                    {"name": "experiment", "weight": generation % 7},
                ],
                "hashKey": [{"header": "x-user-id"}, {"query": "uid"}],
                "anonymousId": {"cookie": {"name": "cohort-id"}},
                "pin": {
                    "cookie": {"name": "pin", "maxAge": "1d"},
                    "generation": f"g{generation}",
                    "signingKey": "c2l4dGVlbi1ieXRlcy1vci1tb3JlLW9mLXJhbmRvbQ==",
                },
                "overrides": {"header": "x-canary", "cookie": "canary", "query": "canary"},
                "rules": [
                    {"name": "employees", "segment": "internal", "version": "canary"},
                    {
                        "name": f"rule-{generation}",
                        "match": [{"header": {"x-country": {"regex": f"^(N|S){generation}"}}}],
                        "weights": {"canary": 50},
                    },
                ],
                "guard": {"window": "5s", "minRequests": 50, "maxFailureRatio": 0.5, "slowerThan": "5s"}
                | {"maxSlowRatio": 0.5},
                "output": {"responseHeader": "x-cohort-checkout", "reasonHeader": "x-cohort-reason", "baggage": True},
            },
            {
                "name": "search",
                "salt": f"salt-{generation}",
                "mode": "shadow" if generation % 3 == 0 else "enforce",
                "match": [{"path": {"prefix": "/"}, "method": ["GET"]}],
                "versions": [{"name": "stable"}, {"name": "canary", "weight": 25}],
                "hashKey": [{"query": "uid"}],
            },
        ],
    }


@dataclass
class Sample:
    minutes: float
    requests: int
    changes: int
    #: MiB.
    resident: float
    #: What Envoy's own allocator has handed out, in MiB. V8's heaps are beside it.
    allocated: float


@dataclass
class Run:
    proxy: Envoy
    requests: int
    changes: int
    generation: int = 0
    refused: int = 0
    heavy: int = 0
    light: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    #: CPU milliseconds a second without a request, before the first and after the last round.
    idle: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    async def sample(self) -> None:
        allocated = (await self.proxy.stats("^server[.]memory_allocated$"))["server.memory_allocated"]
        self.samples.append(
            Sample(
                (time.monotonic() - self.began) / 60,
                self.heavy + self.light,
                self.generation,
                resident(self.proxy.pid),
                allocated / (1 << 20),
            )
        )
        one = self.samples[-1]
        print(f"{one.requests:,} requests, {one.changes:,} changes: {one.resident:.1f} MiB", file=sys.stderr)

    async def watch_idle(self) -> None:
        before, began = cpu_seconds(self.proxy.pid), time.monotonic()
        await asyncio.sleep(IDLE)
        self.idle.append(1000 * (cpu_seconds(self.proxy.pid) - before) / (time.monotonic() - began))

    async def load(self, count: int, urls: Path) -> None:
        """Exactly so many requests, as fast as they are answered."""
        h2load = await asyncio.create_subprocess_exec(
            *("h2load", "--h1", "-n", str(count), "-c", str(CONNECTIONS), "-t", "1", "-i", str(urls)),
            *("-H", "cookie: theme=dark; pin=canary.g1", "-H", "user-agent: h2load"),
            stdout=asyncio.subprocess.PIPE,
        )
        told = (await h2load.communicate())[0].decode()
        found = re.search(r"status codes: (\d+) 2xx", told)
        good = int(found[1]) if found else 0
        self.heavy += count
        if good != count:
            self.failed["under the heavy load, not answered with 200"] += count - good

    async def change(self, count: int) -> None:
        """So many changes, under a light load."""
        async with Load(self.proxy.url, users(200), rate=50) as load:
            for _ in range(count):
                self.generation += 1
                await self.proxy.configure(configuration(self.generation))
                if self.generation % 10 == 0:
                    with contextlib.suppress(ConfigRefused):
                        await self.proxy.configure({**configuration(self.generation), "unknown": self.generation})
                        raise AssertionError("a bad configuration was taken")
                    self.refused += 1
            await load.stop()
            self.light += load.sent
            for _, answer in load.failures:
                self.failed[f"while configurations changed: {answer.error or f'status {answer.status}'}"] += 1

    async def round(self, urls: Path) -> None:
        await self.load(self.requests // ROUNDS, urls)
        await self.change(self.changes // ROUNDS)
        await self.sample()

    @property
    def growth(self) -> float:
        """Of resident memory, from the warmed-up process to the end."""
        return self.samples[-1].resident / self.samples[WARM].resident - 1


async def run(requests: int, changes: int) -> tuple[Run, list[str]]:
    routes = bootstrap.answer_directly("x-cohort-checkout", ["canary", "experiment"], "stable")

    def quiet(boot: dict[str, Any]) -> None:
        bootstrap.connection_manager(boot).pop("access_log", None)

    with tempfile.NamedTemporaryFile("w", suffix=".txt") as urls:
        async with Envoy(config=configuration(0), routes=routes, concurrency=2, edit=quiet) as proxy:
            urls.write("".join(f"{proxy.url}/cart?uid=user-{number}\n" for number in range(1000)))
            urls.flush()
            it = Run(proxy, requests, changes)
            await it.sample()
            await it.watch_idle()
            for _ in range(ROUNDS):
                await it.round(Path(urls.name))
            await it.watch_idle()
            return it, await verdict(it)


async def verdict(it: Run) -> list[str]:
    problems = [f"{count} requests failed: {what}" for what, count in it.failed.items()]
    total = it.heavy + it.light
    metrics = await it.proxy.metrics_when(
        lambda now: now.sum("cohort_requests_total", rollout="checkout") >= total, "every request counted"
    )
    if (counted := metrics.sum("cohort_requests_total", rollout="checkout")) != total:
        problems.append(f"cohort_requests_total is {counted:.0f} for {total} requests")
    stats = await it.proxy.stats("^wasm[.].*(fail|reload)")
    problems += [f"{name} is {value}" for name, value in stats.items() if value]
    if it.growth > TOLERANCE:
        problems.append(f"memory grew by {it.growth:.1%}")
    if it.idle[1] > IDLE_TOLERANCE * it.idle[0]:
        problems.append(f"the idle proxy spends {it.idle[1]:.1f} CPU ms a second, {it.idle[0]:.1f} at the beginning")
    return problems


def page(it: Run, problems: list[str], made: str) -> str:
    warm, last = it.samples[WARM], it.samples[-1]
    lines = [
        "# Memory over a million requests and a thousand configurations",
        "",
        made_by(made, "two workers"),
        "",
        f"**{'Passed' if not problems else 'Failed'}**: {it.heavy + it.light:,} requests served "
        f"({it.light:,} of them while configurations changed), {it.generation:,} changes taken, {it.refused} bad ones "
        f"refused, {sum(it.failed.values())} requests failed, in {last.minutes:.1f} minutes. Resident memory from the "
        f"warmed-up process ({warm.requests:,} requests, {warm.changes} changes) to the end: {it.growth:+.1%}, from "
        f"{warm.resident:.1f} to {last.resident:.1f} MiB (allowed: +{TOLERANCE:.0%}). CPU time of the idle "
        f"proxy: {it.idle[0]:.1f} ms a second at the beginning, {it.idle[1]:.1f} at the end "
        f"(allowed: {IDLE_TOLERANCE} times).",
        "",
        *[f"- {problem}" for problem in problems],
        *([""] if problems else []),
        "![Resident memory of Envoy over requests served](memory.svg)",
        "",
        "| minute | requests served | changes taken | resident MiB | allocated by Envoy MiB |",
        "|---:|---:|---:|---:|---:|",
        *[
            f"| {one.minutes:.1f} | {one.requests:,} | {one.changes:,} | {one.resident:.1f} | {one.allocated:.1f} |"
            for one in it.samples
        ],
        "",
        "Resident memory is that of the whole process, V8's heaps for the filter included; what Envoy's own allocator "
        "has handed out is without those. Each round is a share of the requests from a thousand users over "
        f"{CONNECTIONS} connections as fast as they are answered, then a share of the changes at 50 requests a second. "
        "Every configuration differs from the one before in weights, rules, a regular expression, a salt and the "
        "pin's generation, and has signed pins, overrides, a guard, and a second rollout that goes in and out of "
        "shadow mode. Every request is in `cohort_requests_total` once.",
        "",
        "What Envoy itself has allocated goes up a little with every change; with a filter that does nothing it does "
        "too.",
    ]
    return "\n".join(lines) + "\n"


def picture(it: Run, path: Path) -> None:
    figure, (axes,) = plot.panels(1, 1, (8, 3.4))
    million = 1e6
    served = [one.requests / million for one in it.samples]
    for of, name, colour in (
        ("resident", "resident", plot.LINE),
        ("allocated", "allocated by Envoy itself", plot.SECOND),
    ):
        values = [getattr(one, of) for one in it.samples]
        axes.plot(served, values, marker="o", color=colour, clip_on=False)
        axes.annotate(
            f"{name}, {values[-1]:.1f} MiB", (served[-1], values[-1]), (0, 8), textcoords="offset points", ha="right"
        )
    axes.axvline(served[WARM], color=plot.FAINT, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate("warm", (served[WARM], 0), (5, 5), textcoords="offset points", color=plot.FAINT)
    axes.set_ylim(0, 1.25 * max(one.resident for one in it.samples))
    axes.set_xlim(0)
    axes.set_xlabel(f"million requests served; {it.changes // ROUNDS} configurations between two points")
    axes.set_ylabel("MiB")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    plot.save(figure, path, "Resident memory of Envoy over requests served")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="the folder to write memory.md and memory.svg to")
    args = parser.parse_args()
    if not shutil.which("h2load"):
        sys.exit("make bench WHAT=memory needs h2load on PATH (Debian: apt-get install nghttp2-client)")
    it, problems = asyncio.run(run(args.requests, args.changes))
    default = (args.requests, args.changes) == (1_000_000, 1000)
    other = {} if default else {"requests": args.requests, "changes": args.changes}
    leave(page(it, problems, command("memory", **other)), args.out and args.out / "memory.md")
    if args.out:
        picture(it, args.out / "memory.svg")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
