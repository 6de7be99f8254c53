"""A canary by the clock: the ramp of an example, hurried, on two proxies that never talk to each other."""

from __future__ import annotations

import asyncio
import time

from .. import arithmetic
from ..bootstrap import route_by_header
from ..envoy import Envoy
from ..stage import Round, Scenario, Setup, Stage, instant
from ..until import until

ROUTES = route_by_header("x-cohort-checkout", {"canary": "checkout-v2"}, "checkout-v1")

#: When each step of the example comes here: seconds after the start instead of minutes and hours, on a machine that
#: asks for everybody within a second. A slower one has as much longer steps.
HURRIED = (0, 3, 6, 14)

STORY = """
The file says when the canary gets 5, 25, 50 and 100 percent, and is not touched again. The example's hours are
seconds here. A second proxy starts in the middle of the ramp, with the same file.
"""


async def weight(proxy: Envoy) -> float | None:
    value = (await proxy.metrics()).value("cohort_version_weight", rollout="checkout", rollout_version="canary")
    return None if value is None else value / 1000


async def everybody_at(stage: Stage, percent: float) -> Round:
    """Awaits a step and asks everybody."""
    stage.step(f"the clock: canary at {percent:g} %")
    await until(lambda: weight(stage.proxy), f"the step to {percent} %", holds=lambda now: now == percent)
    there = {**stage.rollout, "versions": [{"name": "stable"}, {"name": "canary", "weight": percent}]}
    this = await stage.everybody(expected=arithmetic.versions(there, stage.users), wanted=arithmetic.wanted(there))
    back = this.moves.count("canary", "stable")
    stage.expect(f"users moved only from stable to canary; back: {back}", back == 0)
    return this


async def play(stage: Stage) -> None:
    stage.step("before the start: the ramp is written, the weight is 0")
    canary = await stage.deploy("checkout-v2")
    began = time.monotonic()
    this = await stage.everybody()
    stage.expect("nobody is on the canary", not this.users_of("canary"))
    pace = max(1.0, time.monotonic() - began)
    ramp = stage.rollout["ramp"]
    for step, after in zip(ramp["steps"], HURRIED, strict=True):
        step["after"] = f"{after * pace * 1000:.0f}ms"
    ramp["start"] = instant(1 + pace)
    await stage.apply()

    await everybody_at(stage, 5)
    addresses = {name: one.address for name, one in stage.services.items()}
    second = Envoy(clusters=addresses, config=stage.config, routes=ROUTES)
    starting = asyncio.create_task(second.__aenter__())
    try:
        await everybody_at(stage, 25)
        here = await everybody_at(stage, 50)
        await starting
        there = await stage.ask(stage.users, url=second.url)
        same = sum(there[user].version == answer.version for user, answer in here.answers.items())
        stage.figure("same version on a proxy started in mid-ramp", f"{same:,} of {len(there):,} users")
        stage.expect(f"the second proxy agrees: {same:,} of {len(there):,} users", same == len(there))
    finally:
        await asyncio.gather(starting, return_exceptions=True)
        await second.__aexit__()
    await everybody_at(stage, 100)

    stage.step("the way back: the ramp taken out, the weight 0")
    slow = await stage.begin_slow("user-1", "checkout-v2")
    del stage.rollout["ramp"]
    await stage.roll_back()
    this = await stage.everybody()
    stage.expect("everybody is on stable", not this.users_of("canary"))
    await stage.retire(canary, slow)


SCENARIO = Scenario(
    "canary-clock",
    "a ramp that every proxy follows by its own clock",
    Setup(services=["checkout-v1"], later=["checkout-v2"], example="canary-clock", routes=ROUTES, users=500),
    play,
    STORY,
)
