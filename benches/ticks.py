"""What a version under guard that nobody asks for costs a worker of a real Envoy at each tick, in CPU time:
`make bench WHAT=ticks`.

A thousand rollouts have a guard each, and the kernel counts what the workers' threads spend on them. Such a version
rests: a worker reads its record from the proxy's shared data, where another one may have written, and looks only when
the window has passed. What the threads do without a guard is taken off.

    PYTHONPATH=envoy python benches/ticks.py [--rollouts 1000] [--seconds 20]
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from lab.envoy import Envoy
from lab.process import thread_seconds
from report import command, made_by

#: Ticks a second, of each worker.
TICKS = 4
WORKERS = 2
#: Seconds until every gauge is made: those of a hundred rollouts at a tick.
WARM = 6

#: What is guarded against, and for how many causes.
GUARDS: dict[str, tuple[int, dict[str, Any]]] = {
    "failures": (1, {}),
    "failures and slowness": (2, {"maxFailureRatio": 0.05, "slowerThan": "500ms", "maxSlowRatio": 0.05}),
}


def config(rollouts: int, guard: dict[str, Any] | None) -> dict[str, Any]:
    one = {
        "versions": [{"name": "stable"}, {"name": "canary", "weight": 30}],
        "hashKey": [{"header": "x-user-id"}],
        **({} if guard is None else {"guard": guard}),
    }
    names = (f"r{number}" for number in range(rollouts))
    return {"rollouts": [{"name": name, "match": [{"host": {"exact": f"{name}.example"}}], **one} for name in names]}


async def spent(rollouts: int, guard: dict[str, Any] | None, seconds: float) -> float:
    """Seconds of CPU time of one worker in each second."""
    async with Envoy(config=config(rollouts, guard), concurrency=WORKERS) as proxy:
        await asyncio.sleep(WARM)
        before = thread_seconds(proxy.pid, "wrk")
        await asyncio.sleep(seconds)
        after = thread_seconds(proxy.pid, "wrk")
        guarded = (await proxy.metrics()).by("rollout", "cohort_guard_evidence")
    assert len(before) == WORKERS, before
    assert len(guarded) == (0 if guard is None else rollouts), f"{len(guarded)} rollouts have a guard"
    return sum(after[thread] - before[thread] for thread in before) / WORKERS / seconds


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    print(made_by(command("ticks")))
    without = await spent(args.rollouts, None, args.seconds)
    print(f"{'a version and tick':<36}{'µs':>6}{'a cause':>10}")
    for against, (causes, guard) in GUARDS.items():
        tick = (await spent(args.rollouts, guard, args.seconds) - without) / TICKS / args.rollouts * 1e6
        print(f"{f'guarded against {against}':<36}{tick:>6.1f}{tick / causes:>10.1f}")


asyncio.run(main())
