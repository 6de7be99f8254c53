"""What filters cost a real Envoy: CPU time per request, side by side in one run.

One worker, a load of 16 connections (h2load) on the same core, HTTP/1.1, Envoy answers itself, 14 request headers.
CPU time is what the kernel has charged to the Envoy process; on another core that is the same one underneath (two
threads of it), the load would slow Envoy by up to a half, and by another half a minute later. In a round each gets a
slice of a fraction of a second, in another order every time. What a filter adds is the difference from no filter in
the same round, so that a slow minute of the machine, and even a slow second, is in both; figures are medians. All
are started several times, because where code and data come to lie makes a process faster or slower for its life.

Cohort is measured on both edges, as a Wasm filter and as a native module, each beside the small filters of its kind.

With --calls: what one call to the proxy costs a filter, by a small filter that makes it a hundred times.

Usage: make bench ARGS='[--starts N] [--rounds N] [--requests N] [--edge wasm|native] [--calls]'
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import statistics
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import bootstrap
from lab.envoy import Envoy, version
from lab.process import cpu_seconds
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "target/peers"

#: With the pseudo-headers and those Envoy adds, about what a browser behind a load balancer sends.
HEADERS = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/150.0 Safari/537.36",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language": "en-US,en;q=0.5",
    "accept-encoding": "gzip, deflate, br",
    "x-user-id": "user-4711",
    "cookie": "theme=dark; session=0123456789abcdef0123456789abcdef; cohort-checkout=stable",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}

MINIMAL = {
    "rollouts": [
        {
            "name": "checkout",
            "versions": [{"name": "stable"}, {"name": "canary", "weight": 5}],
            "hashKey": [{"header": "x-user-id"}],
        }
    ]
}

EVERYTHING = {
    "segments": {"internal": [{"header": {"x-employee": {"present": True}}}]},
    "rollouts": [
        {
            "name": "checkout",
            "match": [{"path": {"prefix": "/"}, "method": ["GET", "POST"]}],
            "versions": [
                {"name": "stable"},
                {"name": "canary", "weight": 5, "requestHeaders": {"x-feature-new-cart": "on"}},
            ],
            "hashKey": [{"header": "x-user-id"}, {"cookie": "uid"}],
            "anonymousId": {"cookie": {"name": "cohort-id", "maxAge": "365d"}},
            "pin": {"cookie": {"name": "cohort-checkout", "maxAge": "1d"}},
            "overrides": {"header": "x-canary", "cookie": "canary", "query": "canary"},
            "rules": [
                {"name": "employees", "segment": "internal", "version": "canary"},
                {
                    "name": "beta",
                    "match": [{"cookie": {"plan": {"exact": "beta"}}, "not": {"path": {"suffix": ".js"}}}],
                    "weights": {"canary": 50},
                },
            ],
            "guard": {"maxFailureRatio": 0.05, "slowerThan": "500ms", "maxSlowRatio": 0.2, "retryAfter": "5m"},
            "output": {"responseHeader": "x-cohort-checkout"},
        }
    ],
}


@dataclass
class Peer:
    """One of those that are compared."""

    name: str
    options: dict[str, Any]
    #: What kind of filter it is; None where it is none or a script.
    edge: Edge | None = None


@dataclass(frozen=True)
class Edge:
    """What stands between Envoy and a filter, and the goals for Cohort on it."""

    name: str
    #: Of Cohort's rows.
    cohort: str
    #: What Cohort is measured by, and how many times as much it may add: the minimal configuration, everything on.
    floor: str
    most: tuple[float, float]

    def row(self, what: str) -> str:
        """The name of a small filter's row."""
        return f"{self.name}: {what}"

    @property
    def minimal(self) -> str:
        return f"{self.cohort}, minimal"

    @property
    def everything(self) -> str:
        return f"{self.cohort}, everything on"


#: What the small filters do, by the name of each.
SMALL = {
    "noop": "does nothing",
    "sets": "sets a header",
    "reads": "reads one, sets one",
    "counts": "reads, sets, counts",
}
EDGES = (
    Edge("wasm", "Cohort", SMALL["sets"], (1.15, 1.5)),
    Edge("native", "Cohort native", SMALL["counts"], (1.5, 2)),
)
BASE = "no filter"
#: The names of the scripts in benches/lua, by file.
LUA = {"checksum": "Lua: a checksum", "cookie": "Lua: a cookie, first visit"}


def no_filter(boot: dict[str, Any]) -> None:
    filters = bootstrap.connection_manager(boot)["http_filters"]
    filters[:] = [one for one in filters if one["name"] != "cohort"]


def lua(script: str) -> Callable[[dict[str, Any]], None]:
    def change(boot: dict[str, Any]) -> None:
        no_filter(boot)
        code = {"inline_string": (ROOT / f"benches/lua/{script}.lua").read_text()}
        config = {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": code,
        }
        filters = bootstrap.connection_manager(boot)["http_filters"]
        filters.insert(0, {"name": "envoy.filters.http.lua", "typed_config": config})

    return change


def quiet(edit: Callable[[dict[str, Any]], None] | None = None) -> Callable[[dict[str, Any]], None]:
    """Without an access log, whose cost would be everybody's."""

    def change(boot: dict[str, Any]) -> None:
        bootstrap.connection_manager(boot).pop("access_log", None)
        if edit:
            edit(boot)

    return change


def peers(edges: Sequence[Edge]) -> list[Peer]:
    def small(edge: Edge, file: str) -> Peer:
        module = {"wasm": PEERS / f"{file}.wasm"} if edge.name == "wasm" else {"native": PEERS / f"{file}.so"}
        return Peer(edge.row(SMALL[file]), {"edge": edge.name, "config": "{}", **module}, edge)

    def cohort(edge: Edge) -> list[Peer]:
        return [
            Peer(edge.minimal, {"edge": edge.name, "config": MINIMAL}, edge),
            Peer(edge.everything, {"edge": edge.name, "config": EVERYTHING}, edge),
        ]

    return [
        Peer(BASE, {"edit": no_filter}),
        *(small(edge, file) for edge in edges for file in SMALL),
        *(Peer(name, {"edit": lua(script)}) for script, name in LUA.items()),
        *(peer for edge in edges for peer in cohort(edge)),
    ]


#: Calls of benches/peers/src/calls.rs, the first of which is none; and how often it makes each.
CALLS = {
    "nothing": "",
    "absent": "read a header that is not there",
    "header": "read a header",
    "map": "read the whole header map",
    "property": "read a property",
    "clock": "read the clock",
    "count": "increment a counter",
}
TIMES = 100


def callers() -> list[Peer]:
    return [Peer(name, {"wasm": PEERS / "calls.wasm", "config": name}) for name in CALLS]


def pin(pid: int, core: int) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


async def load(proxy: Envoy, requests: int, core: int) -> float:
    """CPU microseconds per request under a load of so many."""
    headers = [part for name, value in HEADERS.items() for part in ("-H", f"{name}: {value}")]
    command = ["h2load", "--h1", "-t1", "-c16", f"-n{requests}", *headers, f"{proxy.url}/cart?step=2"]
    before = cpu_seconds(proxy.pid)
    h2load = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    out = (await h2load.communicate())[0].decode()
    spent = cpu_seconds(proxy.pid) - before
    if h2load.returncode or f"status codes: {requests} 2xx" not in out:
        raise SystemExit(f"h2load did not get what it asked for:\n{out}")
    return spent / requests * 1e6


async def measure(peers: list[Peer], asked: argparse.Namespace) -> dict[str, list[float]]:
    results: dict[str, list[float]] = {peer.name: [] for peer in peers}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("slices", total=asked.starts * asked.rounds * len(peers))
        for _ in range(asked.starts):
            async for name, taken in slices(peers, asked.rounds, asked.requests):
                results[name].append(taken)
                progress.advance(task)
    return results


async def slices(peers: list[Peer], rounds: int, requests: int) -> AsyncIterator[tuple[str, float]]:
    """Who was under load, and CPU microseconds per request, round by round, from fresh processes."""
    core = max(os.sched_getaffinity(0))
    async with AsyncExitStack() as stack:
        proxies = {}
        for peer in peers:
            routes = bootstrap.answer_directly("x-cohort-checkout", ["canary"], "stable")
            options = {"edge": "wasm", **peer.options, "edit": quiet(peer.options.get("edit"))}
            proxies[peer.name] = await stack.enter_async_context(Envoy(routes=routes, concurrency=1, **options))
            pin(proxies[peer.name].pid, core)
        for proxy in proxies.values():
            # Until V8 has compiled what is often called.
            await load(proxy, 20_000, core)
        for _ in range(rounds):
            for name in random.sample(list(proxies), len(proxies)):
                yield name, await load(proxies[name], requests, core)


def differences(results: dict[str, list[float]], name: str, base: str) -> list[float]:
    """What one costs more than another, round by round."""
    return [one - other for one, other in zip(results[name], results[base], strict=True)]


def report_calls(results: dict[str, list[float]]) -> None:
    """Prints what one call of each kind adds to a request."""
    adds = {name: statistics.median(differences(results, name, "nothing")) for name in results}
    table = Table(title=f"One call to the proxy, Envoy {version()}, median of {len(results['nothing'])} rounds")
    table.add_column("")
    table.add_column("µs", justify="right")
    for name, what in CALLS.items():
        if what:
            table.add_row(what, f"{adds[name] / TIMES:.2f}")
    Console(width=100).print(table)


def report(peers: list[Peer], results: dict[str, list[float]]) -> bool:
    """Prints the table; whether the goals are met."""
    adds = {name: statistics.median(differences(results, name, BASE)) for name in results}
    table = Table(title=f"CPU per request, Envoy {version()}, median of {len(results[BASE])} rounds")
    for column in ("", "µs", "adds µs", "middle half", "times one header", "times counting"):
        table.add_column(column, justify="left" if not column else "right")
    for peer in peers:
        rounds = results[peer.name]
        row = [peer.name, f"{statistics.median(rounds):.1f}"]
        if peer.name != BASE:
            low, _, high = statistics.quantiles(differences(results, peer.name, BASE), n=4)
            row += [f"{adds[peer.name]:.1f}", f"{low:.1f} to {high:.1f}"]
        if peer.edge:
            floors = (peer.edge.row(SMALL[file]) for file in ("sets", "counts"))
            row += [f"{adds[peer.name] / adds[floor]:.2f}" for floor in floors]
        table.add_row(*row)
    console = Console(width=110)
    console.print(table)
    goals = [goal for edge in EDGES if edge in {peer.edge for peer in peers} for goal in goals_of(edge, adds)]
    for goal, met in goals:
        console.print(f"{'met    ' if met else 'not met'}  {goal}")
    return all(met for _, met in goals)


def goals_of(edge: Edge, adds: dict[str, float]) -> list[tuple[str, bool]]:
    """What Cohort may add on an edge, and whether it adds no more."""
    goals = []
    floor = edge.row(edge.floor)
    for name, most in zip((edge.minimal, edge.everything), edge.most, strict=True):
        times = adds[name] / adds[floor]
        goals.append((f"{name}: adds at most {most:g} times what '{floor}' does: {times:.2f}", times <= most))
        for script in LUA.values():
            times = adds[name] / adds[script]
            goals.append((f"{name}: adds less than '{script}': {times:.2f} times", times < 1))
    return goals


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--starts", type=int, default=4, help="of every proxy")
    arguments.add_argument("--rounds", type=int, default=15, help="after each start")
    arguments.add_argument("--requests", type=int, default=6000, help="of each in a round")
    arguments.add_argument("--edge", choices=[edge.name for edge in EDGES], help="only this one")
    arguments.add_argument("--calls", action="store_true", help="what one call to the proxy costs")
    asked = arguments.parse_args()
    if asked.rounds < 2:
        arguments.error("--rounds: a median needs two or more")
    if not shutil.which("h2load"):
        sys.exit("make bench needs h2load on PATH (Debian: apt-get install nghttp2-client)")
    if asked.calls:
        report_calls(asyncio.run(measure(callers(), asked)))
    else:
        compared = peers([edge for edge in EDGES if asked.edge in (None, edge.name)])
        report(compared, asyncio.run(measure(compared, asked)))


if __name__ == "__main__":
    main()
