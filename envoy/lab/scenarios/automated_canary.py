"""An automated canary: a ramp, a health check and a guard; nobody has to be awake."""

from __future__ import annotations

import time

from .. import arithmetic
from ..bootstrap import route_by_header
from ..envoy import Metrics
from ..service import Service
from ..stage import Scenario, Setup, Stage, instant
from ..until import until
from .canary_clock import everybody_at

STORY = """
The clock raises the canary's weight. First a dependency that only the canary has goes away: the canary says it
is not ready, and its users get stable until it is. Then the canary becomes slow: the guard takes it out for good,
and the ramp ends. The example's minutes are seconds here.
"""


def held_out(told: Metrics) -> bool:
    return told.value("cohort_version_held_out", rollout="checkout", rollout_version="canary") == 1


async def play(stage: Stage) -> None:
    nobody = dict.fromkeys(stage.users, "stable")
    quarter = {user: "canary" if arithmetic.bucket("checkout", user) < 25_000 else "stable" for user in nobody}
    async with Service("payment") as payment:
        stage.step("the canary starts; it is ready when payment is")
        canary = await stage.deploy("checkout-v2")
        await canary.behave(dependency=f"{payment.url}/ready")
        rollout = stage.rollout
        for step, after in zip(rollout["ramp"]["steps"], ("0s", "2s", "30s", "31s"), strict=True):
            step["after"] = after
        rollout["ramp"]["start"] = instant(0)
        ramp_ends = time.monotonic() + 31
        rollout["guard"]["window"] = "5s"
        rollout["health"]["canary"] |= {"interval": "500ms", "timeout": "500ms"}
        await stage.apply()
        await everybody_at(stage, 25)

        stage.step("payment goes away, and with it the canary's readiness")
        began = time.monotonic()
        await payment.behave(ready=False)
        await until(lambda: stage.arrived(nobody), "the canary held out by its health check")
        stage.figure("unready canary out of traffic after", f"{time.monotonic() - began:.1f} s")
        await stage.everybody(expected=nobody)
        await stage.platform.until_out(canary)
        stage.expect("without a failed request, endpoints gone and all", stage.load.failed == 0)

        stage.step("payment is back")
        began = time.monotonic()
        await payment.behave(ready=True)
        await until(lambda: stage.arrived(quarter), "the canary back in traffic")
        stage.figure("ready canary back in traffic after", f"{time.monotonic() - began:.1f} s")
        await everybody_at(stage, 25)

        stage.step("the canary becomes slow: 800 ms an answer, 500 ms are allowed")
        began = time.monotonic()
        await canary.behave(delay_ms=800)
        await stage.proxy.metrics_when(held_out, "the canary held out by its guard")
        await until(lambda: stage.arrived(nobody), "everybody on stable")
        took = time.monotonic() - began
        stage.figure("time to roll back", f"{took * 1000:.0f} ms (by the guard, from the first slow request)")
        stage.expect("rolled back by itself within thirty seconds", took < 30)
        this = await stage.everybody(expected=nobody)
        reasons = {answer.reason for answer in this.answers.values()}
        stage.expect(f"reasons: {', '.join(sorted(map(str, reasons)))}", reasons == {"HASH", "FALLBACK"})
        seen = (await stage.ask(["tester"], headers={"x-canary": "canary"}))["tester"]
        stage.expect("an override still reaches the canary, to look at it", seen.served_by == "checkout-v2")

        stage.step("the time of the ramp's last step comes")
        await until(lambda: time.monotonic() > ramp_ends, "the last step")
        await stage.everybody(expected=nobody, quiet=True)
        stage.expect("a trip ends the ramp: nobody is back on the canary", await stage.arrived(nobody))

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
