"""What a version under guard that nobody asks for costs a worker of a real Envoy at each tick, in CPU time:
`make bench WHAT=ticks`.

A thousand rollouts have a guard each, and the kernel counts what the workers' threads spend on them in each second.
Such a version rests: a worker reads its record from the proxy's shared data, where another one may have written, and
looks only when the window has passed. What an Envoy without a guard spent in that second is taken off. All of them run
at the same time, so that each meets what else the machine does. Printed are medians, and between which figures half of
the seconds lie. What a look costs at a version that was asked for is with `make bench WHAT=look`.

    PYTHONPATH=envoy python benches/ticks.py [--rollouts 1000] [--seconds 30]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from contextlib import AsyncExitStack
from statistics import quantiles
from typing import Any

from lab.envoy import Envoy
from lab.process import thread_seconds
from report import command, made_by

#: Ticks a second, of each worker.
TICKS = 4
WORKERS = 2
#: Seconds until every gauge is made: those of a hundred rollouts at a tick.
WARM = 6

#: What is guarded against.
GUARDS: dict[str, dict[str, Any] | None] = {
    "nothing": None,
    "failures": {},
    "failures and slowness": {"maxFailureRatio": 0.05, "slowerThan": "500ms", "maxSlowRatio": 0.05},
}


def config(rollouts: int, guard: dict[str, Any] | None) -> dict[str, Any]:
    one = {
        "versions": [{"name": "stable"}, {"name": "canary", "weight": 30}],
        "hashKey": [{"header": "x-user-id"}],
        **({} if guard is None else {"guard": guard}),
    }
    names = (f"r{number}" for number in range(rollouts))
    return {"rollouts": [{"name": name, "match": [{"host": {"exact": f"{name}.example"}}], **one} for name in names]}


def spent(proxy: Envoy) -> float:
    """Seconds of CPU time of a worker since its start."""
    threads = thread_seconds(proxy.pid, "wrk")
    assert len(threads) == WORKERS, threads
    return sum(threads.values()) / WORKERS


async def seconds_of(rollouts: int, seconds: int) -> dict[str, list[float]]:
    """Seconds of CPU time of one worker in each second, by what is guarded against."""
    async with AsyncExitStack() as stack:
        proxies = {
            against: await stack.enter_async_context(Envoy(config=config(rollouts, guard), concurrency=WORKERS))
            for against, guard in GUARDS.items()
        }
        await asyncio.sleep(WARM)
        taken = [{against: spent(proxy) for against, proxy in proxies.items()}]
        for _ in range(seconds):
            await asyncio.sleep(1)
            taken.append({against: spent(proxy) for against, proxy in proxies.items()})
        for against, proxy in proxies.items():
            guarded = len((await proxy.metrics()).by("rollout", "cohort_guard_evidence"))
            assert guarded == (0 if GUARDS[against] is None else rollouts), f"{guarded} rollouts have a guard"
    return {against: [now[against] - was[against] for was, now in itertools.pairwise(taken)] for against in GUARDS}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=30)
    args = parser.parse_args()
    print(made_by(command("ticks")))
    print(f"{'a version and tick':<40}{'µs':>6}{'half of the seconds':>24}")
    found = await seconds_of(args.rollouts, args.seconds)
    without = found.pop("nothing")
    for against, figures in found.items():
        more = [(one - base) / TICKS / args.rollouts * 1e6 for one, base in zip(figures, without, strict=True)]
        low, median, high = quantiles(more, n=4)
        print(f"{f'guarded against {against}':<40}{median:>6.1f}{f'{low:.1f} to {high:.1f}':>24}")


asyncio.run(main())
