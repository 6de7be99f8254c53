"""Blue-green: preview, switch, back, switch again, sessions drained, blue ended."""

from __future__ import annotations

from typing import Any

from ..bootstrap import route_by_header
from ..client import ask, users
from ..envoy import Envoy
from ..stage import Scenario, Setup, Stage
from ..until import until
from ..visitors import Visitors

STORY = """
Blue serves. Green is started beside it, looked at by people who know the secret, and then given to everybody
at once. 100 people are logged in to blue meanwhile: their sessions live in blue's memory and end there.
"""


def routes(default: str) -> list[dict[str, Any]]:
    """A route for each colour, and a default for requests that carry neither."""
    return route_by_header("x-cohort-checkout", {"green": "checkout-v2", "blue": "checkout-v1"}, default)


def give_to_green(stage: Stage) -> None:
    """Green becomes stable; blue keeps the people whose pin says so."""
    stage.rollout["versions"] = [{"name": "blue", "weight": 0, "drain": True}, {"name": "green"}]


def give_to_blue(stage: Stage) -> None:
    stage.rollout["versions"] = [{"name": "blue"}, {"name": "green", "weight": 0}]


async def blue_may_go(stage: Stage) -> None:
    """A proxy that has no decision to follow must not meet an empty cluster: the default route goes to green first."""
    addresses = {name: one.address for name, one in stage.services.items()} | {"checkout-v1": []}
    broken = {"rollouts": "none"}
    for default, answered in (("checkout-v1", False), ("checkout-v2", True)):
        async with Envoy(clusters=addresses, config=broken, routes=routes(default)) as started:
            answers = await ask(started.url, stage.users[:50])
        good = sum(not answer.failed for answer in answers.values())
        stage.expect(
            f"a proxy that starts with a bad configuration when blue is gone, default route {default}: "
            f"{good} of {len(answers)} answered",
            good == (len(answers) if answered else 0),
        )


async def play(stage: Stage) -> None:
    people = Visitors(stage.proxy.url, users(100, "visitor-"), rollout="checkout")
    async with people:
        stage.step("before: everybody on blue, 100 people logged in")
        blue = stage.services["checkout-v1"]
        await stage.everybody()

        stage.step("green starts; a preview of it for those who know the secret")
        await stage.deploy("checkout-v2")
        knows = {"x-preview": "green", "x-preview-secret": "open sesame"}
        guesses = {"x-preview": "green", "x-preview-secret": "let me in"}
        seen = (await stage.ask(["tester"], headers=knows))["tester"]
        stage.expect("a tester with the secret is served by green", seen.served_by == "checkout-v2")
        seen = (await stage.ask(["tester"], headers=guesses))["tester"]
        stage.expect("somebody who guesses is served by blue", seen.served_by == "checkout-v1")
        this = await stage.everybody(quiet=True)
        stage.expect("nobody else is", not this.users_of("green"))

        stage.step("the switch: green is stable, blue drains")
        give_to_green(stage)
        await stage.apply()
        this = await stage.everybody()
        stage.expect("everybody without a session is on green", this.served_by("green") == {"checkout-v2"})
        await people.everybody()
        stage.expect("everybody with a session is still on blue", len(people.users_of("blue")) == 100)

        stage.step("the way back, rehearsed: blue is stable again")
        give_to_blue(stage)
        await stage.roll_back()
        this = await stage.everybody()
        stage.expect("everybody is on blue", this.served_by("blue") == {"checkout-v1"})

        stage.step("the switch again; blue's sessions end, then blue")
        give_to_green(stage)
        await stage.apply()
        await stage.everybody(quiet=True)
        people.log_out()
        await people.everybody("/login")
        stage.expect("whoever logs in anew is on green", len(people.users_of("green")) == 100)
        before, heard = (await blue.counts())["requests"], stage.load.answered
        await until(lambda: stage.load.answered > heard + 100, "a hundred more answers")
        left = (await blue.counts())["requests"] - before
        stage.expect(f"requests to blue now that its sessions have ended: {left}", left == 0)
        await blue_may_go(stage)
        slow = await stage.begin_slow("tester", "checkout-v1", headers={"cookie": "cohort-checkout=blue"})
        stage.rollout["versions"] = [{"name": "green"}, {"name": "blue", "weight": 0}]
        await stage.apply()
        await stage.retire(blue, slow)

    stage.count(people.sent, people.failed)
    stage.figure("sessions lost", people.lost_sessions)
    stage.expect(f"sessions lost: {people.lost_sessions}", people.lost_sessions == 0)
    stage.expect("people with a session moved only by logging in anew", people.moves == {("blue", "green"): 100})


SCENARIO = Scenario(
    "blue-green",
    "preview, switch, way back, sessions drained",
    Setup(
        services=["checkout-v1"],
        later=["checkout-v2"],
        example="blue-green",
        routes=routes("checkout-v1"),
        users=1000,
    ),
    play,
    STORY,
)
