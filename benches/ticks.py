"""What a version under guard costs a worker of a real Envoy at each tick, in CPU time: `make bench WHAT=ticks`.

A thousand rollouts have a guard each, and the kernel counts what the workers' threads spend on them. What the threads
do without a guard is taken off.

- A version that nobody asks for rests: a worker reads its record from the proxy's shared data, where another one may
  have written, and looks only when the window has passed.
- A version that was asked for since the last tick is looked at. Each request goes to one version of every rollout, so
  that a few requests a second are heard of by all of them. What it costs to hear is in the figure.

    PYTHONPATH=envoy python benches/ticks.py [--rollouts 1000] [--seconds 20]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lab.bootstrap import Address
from lab.client import users
from lab.envoy import Envoy
from lab.process import thread_seconds
from lab.wire import Connection
from report import command, made_by

#: Ticks a second, of each worker.
TICKS = 4
#: Seconds until every gauge is made: those of a hundred rollouts at a tick.
WARM = 6
#: Requests a second where versions are asked for, so that each tick finds one: they do not come in step.
RATE = 2 * TICKS

#: What is guarded against, and for how many causes.
GUARDS: dict[str, tuple[int, dict[str, Any]]] = {
    "failures": (1, {}),
    "failures and slowness": (2, {"maxFailureRatio": 0.05, "slowerThan": "500ms", "maxSlowRatio": 0.05}),
}


def config(rollouts: int, guard: dict[str, Any] | None, *, asked: bool) -> dict[str, Any]:
    one = {
        "versions": [{"name": "stable"}, {"name": "canary", "weight": 30}],
        "hashKey": [{"header": "x-user-id"}],
        **({} if guard is None else {"guard": guard}),
    }
    names = [f"r{number}" for number in range(rollouts)]
    matches = [{} if asked else {"match": [{"host": {"exact": f"{name}.example"}}]} for name in names]
    return {"rollouts": [{"name": name, **match, **one} for name, match in zip(names, matches, strict=True)]}


@asynccontextmanager
async def service() -> AsyncIterator[Address]:
    """Answers every request at once, however many headers it has."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 20) as server:
        yield server.sockets[0].getsockname()


async def ask(proxy: Envoy) -> None:
    """Another user each time, until it is cancelled."""
    loop = asyncio.get_running_loop()
    async with await Connection.open(proxy.address) as connection:
        began = loop.time()
        for number, user in enumerate(itertools.cycle(users(10_000))):
            assert (await connection.get(headers=[("x-user-id", user)])).status == 200
            await asyncio.sleep(began + (number + 1) / RATE - loop.time())


async def spent(rollouts: int, guard: dict[str, Any] | None, seconds: float, *, asked: bool) -> float:
    """Seconds of CPU time of one worker in each second."""
    # Where versions are asked for there is one worker, which hears of every request.
    workers = 1 if asked else 2
    async with (
        service() as address,
        Envoy(
            config=config(rollouts, guard, asked=asked),
            clusters={"checkout-v1": address, "checkout-v2": address},
            concurrency=workers,
        ) as proxy,
        asyncio.TaskGroup() as group,
    ):
        asking = group.create_task(ask(proxy)) if asked else None
        await asyncio.sleep(WARM)
        before = thread_seconds(proxy.pid, "wrk")
        await asyncio.sleep(seconds)
        after = thread_seconds(proxy.pid, "wrk")
        metrics = await proxy.metrics()
        if asking:
            asking.cancel()
    assert len(before) == workers, before
    guarded = metrics.by("rollout", "cohort_guard_evidence")
    assert len(guarded) == (0 if guard is None else rollouts), f"{len(guarded)} rollouts have a guard"
    answers = metrics.by("rollout", "cohort_responses_total", source="upstream")
    least = rollouts * RATE * seconds if asked else 0
    assert sum(answers.values()) >= least, f"{sum(answers.values())} answers, not {least}"
    return sum(after[thread] - before[thread] for thread in before) / workers / seconds


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    print(made_by(command("ticks")))
    print(f"{'a version and tick':<48}{'µs':>6}{'a cause':>10}")
    for asked in (False, True):
        without = await spent(args.rollouts, None, args.seconds, asked=asked)
        for against, (causes, guard) in GUARDS.items():
            more = await spent(args.rollouts, guard, args.seconds, asked=asked) - without
            tick = more / TICKS / args.rollouts * 1e6
            what = f"{'asked for' if asked else 'resting'}, guarded against {against}"
            print(f"{what:<48}{tick:>6.1f}{tick / causes:>10.1f}")


asyncio.run(main())
