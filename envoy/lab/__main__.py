"""``python -m lab [SCENARIO]``: plays a scenario on a real Envoy and ends with 0 if all went as it should."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from . import stage
from .envoy import EnvoyFailed
from .scenarios import all_scenarios


async def play(scenario: stage.Scenario, keep: bool) -> int:
    """Plays it. Ctrl-C and SIGTERM end it in order; that is the way a kept one ends, so it is no failure."""
    told: list[signal.Signals] = []
    loop = asyncio.get_running_loop()
    run = asyncio.ensure_future(stage.run(scenario, keep=keep))

    def end(sig: signal.Signals) -> None:
        told.append(sig)
        run.cancel()

    for sig in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sig, end, sig)
    try:
        return 0 if await run else 1
    except asyncio.CancelledError:
        return 0 if keep and told else 128 + (told[0] if told else signal.SIGTERM)


def main() -> int:
    scenarios = all_scenarios()
    names = "\n".join(f"  {one.name:<17} {one.title}" for one in scenarios.values())
    parser = argparse.ArgumentParser(
        prog="python -m lab",
        description="Plays a way to release on a real Envoy.",
        epilog=f"scenarios:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="?", default="canary", choices=sorted(scenarios), metavar="SCENARIO")
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    args = parser.parse_args()
    if args.list:
        print(names)
        return 0
    try:
        return asyncio.run(play(scenarios[args.scenario], args.keep))
    except EnvoyFailed as problem:
        print(problem, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
