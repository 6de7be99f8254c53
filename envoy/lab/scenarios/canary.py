"""A canary by hand: 5, 25, 50, 100 percent, and back; its processes are scaled before a step and after the way back."""

from __future__ import annotations

from .. import arithmetic, wire
from ..stage import Scenario, Setup, Stage

STEPS = (5, 25, 50, 100)

#: Before this step the canary gets a second process.
SCALED_AT = 50

STORY = """
A real Envoy runs envoy/envoy.yaml with the filter in front of two versions of a service.
2,000 users come back after every change of the weight, which is a change of one file.
Another load asks all the while, so that a failed request anywhere would be seen.
"""


async def play(stage: Stage) -> None:
    # Somebody who moves with the second step, on a connection that stays open from first to last.
    watched = next(u for u in stage.users if 5_000 <= arithmetic.bucket("checkout", u) < 25_000)
    async with await wire.Connection.open(stage.proxy.address) as connection:

        async def watch() -> str | None:
            answer = await connection.get("/", [("x-user-id", watched)])
            return answer.one("x-cohort-checkout")

        stage.step(f"canary at {STEPS[0]} %")
        await stage.everybody()
        seen = [await watch()]
        for percent in STEPS[1:]:
            stage.step(f"canary to {percent} %")
            if percent == SCALED_AT:
                second = await stage.deploy("checkout-v2")
            await stage.weights(canary=percent)
            this = await stage.everybody()
            back = this.moves.count("canary", "stable")
            stage.expect(f"users moved only from stable to canary; back: {back}", back == 0)
            seen.append(await watch())
        canary = this.users_of("canary")
        stage.expect(f"canary serves everybody: {len(canary):,} users", len(canary) == len(stage.users))

        stage.step(f"roll back: canary to {STEPS[0]} %")
        stays = next(u for u in stage.users if arithmetic.bucket("checkout", u) < STEPS[0] * 1000)
        slow = await stage.begin_slow(stays, "checkout-v2")
        stage.version("canary")["weight"] = STEPS[0]
        await stage.roll_back()
        this = await stage.everybody()
        out = this.moves.count("stable", "canary")
        stage.expect(f"users moved only from canary to stable; the other way: {out}", out == 0)
        seen.append(await watch())

        await stage.retire(second, slow)

        story = " → ".join(str(version) for version in seen)
        stage.figure(f"{watched} on one open connection", story)
        stage.expect(
            f"an open connection saw each change on its next request: {story}",
            seen == ["stable", "canary", "canary", "canary", "stable"],
        )


SCENARIO = Scenario("canary", "5 → 25 → 50 → 100 percent, and back", Setup(example="canary"), play, STORY)
