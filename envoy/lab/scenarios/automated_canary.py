"""An automated canary: a ramp, a health check and a guard; nobody has to be awake."""

from __future__ import annotations

import time

from ..bootstrap import route_by_header
from ..service import Service
from ..stage import Scenario, Setup, Stage
from ..until import until
from .canary_clock import instant

STORY = """
The clock raises the canary's weight. First a dependency that only the canary has goes away: the canary says it
is not ready, and its users get stable until it is. Then the canary becomes slow: the guard takes it out for good,
and the ramp ends. The example's minutes are seconds here.
"""


async def held_out(stage: Stage, wanted: int, what: str) -> float:
    """Awaits that the proxy holds the canary out, or no longer does; the seconds it took."""
    labels = {"rollout": "checkout", "rollout_version": "canary"}
    began = time.monotonic()
    await stage.proxy.metrics_when(lambda told: told.value("cohort_version_held_out", **labels) == wanted, what)
    return time.monotonic() - began


async def play(stage: Stage) -> None:
    async with Service("payment") as payment:
        stage.step("the canary starts; it is ready when payment is")
        canary = await stage.deploy("checkout-v2")
        await canary.behave(dependency=f"{payment.url}/ready")
        rollout = stage.rollout
        for step, after in zip(rollout["ramp"]["steps"], ("0s", "2s", "20s", "22s"), strict=True):
            step["after"] = after
        rollout["ramp"]["start"] = instant(0)
        ends = time.monotonic() + 22
        rollout["guard"] |= {"window": "5s", "minRequests": 20}
        rollout["health"]["canary"] |= {"interval": "500ms", "timeout": "500ms"}
        await stage.apply()
        await until(lambda: stage.load.by_version["canary"] > 60, "users on the canary")

        stage.step("payment goes away")
        await payment.behave(ready=False)
        took = await held_out(stage, 1, "the canary held out by its health check")
        stage.figure("unready canary out of traffic after", f"{took:.1f} s")
        this = await stage.everybody(expected=dict.fromkeys(stage.users, "stable"))
        stage.expect("everybody is served by stable", this.served_by("stable") == {"checkout-v1"})
        await stage.platform.until_out(canary)
        stage.expect("the canary is out of the endpoints later than out of traffic", stage.load.failed == 0)

        stage.step("payment is back")
        await payment.behave(ready=True)
        took = await held_out(stage, 0, "the canary back in traffic")
        stage.figure("ready canary back in traffic after", f"{took:.1f} s")
        on_canary = stage.load.by_service["checkout-v2"]
        await until(lambda: stage.load.by_service["checkout-v2"] > on_canary + 40, "users on the canary again")

        stage.step("the canary becomes slow: 800 ms an answer, 500 ms are allowed")
        await canary.behave(delay_ms=800)
        took = await held_out(stage, 1, "the canary held out by its guard")
        stage.figure("time to roll back", f"{took:.1f} s (from the first slow answer, by the guard)")
        stage.expect("rolled back by itself within five seconds", took < 5)
        this = await stage.everybody(expected=dict.fromkeys(stage.users, "stable"))
        reasons = {answer.reason for answer in this.answers.values()}
        stage.expect(f"everybody is on stable, reasons {', '.join(sorted(reasons))}", "FALLBACK" in reasons)
        seen = (await stage.ask(["tester"], headers={"x-canary": "canary"}))["tester"]
        stage.expect("an override still reaches the canary, to look at it", seen.served_by == "checkout-v2")
        await until(lambda: time.monotonic() > ends, "the time of the ramp's last step", timeout=30)
        this = await stage.everybody(expected=dict.fromkeys(stage.users, "stable"), quiet=True)
        stage.expect("the ramp's later steps bring nobody back", not this.users_of("canary"))

        stage.step("the canary ends")
        del rollout["ramp"], rollout["health"]
        await stage.apply()
        await stage.retire(canary)


SCENARIO = Scenario(
    "automated-canary",
    "ramp, health check and guard",
    Setup(
        services=["checkout-v1"],
        later=["checkout-v2"],
        example="automated-canary",
        routes=route_by_header("x-cohort-checkout", {"canary": "checkout-v2"}, "checkout-v1"),
        users=300,
        load_rate=150,
    ),
    play,
    STORY,
)
