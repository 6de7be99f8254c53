"""An A/B/n test: four variants, a second test across it, visitors nobody knows, and a winner."""

from __future__ import annotations

import copy

from .. import arithmetic
from ..client import Key, users
from ..stage import Scenario, Setup, Stage
from ..visitors import Visitors

STORY = """
Four variants of a button; known users say who they are, visitors get an id of their own. A second test runs
across the first. Pins keep whoever was asked once in their variant, whatever becomes of the weights.
"""


async def play(stage: Stage) -> None:
    search = next(one for one in stage.config["rollouts"] if one["name"] == "search")
    stage.step("known users: four variants")
    this = await stage.everybody()

    stage.step("the second test does not depend on the first")
    other = await stage.ask(stage.users, rollout="search", key=stage.setup.key)
    wanted = arithmetic.versions(search, stage.users)
    right = sum(other[user].version == version for user, version in wanted.items())
    stage.expect(f"every user is where the arithmetic puts them: {right:,} of {len(wanted):,}", right == len(wanted))
    shares = {}
    for variant in ("control", "large", "green", "animated"):
        inside = this.users_of(variant)
        shares[variant] = 100 * sum(other[user].version == "semantic" for user in inside) / len(inside)
    story = ", ".join(f"{variant} {share:.1f} %" for variant, share in shares.items())
    stage.figure("semantic search among", story)
    stage.expect(f"semantic search is even among the variants: {story}", all(43 < s < 57 for s in shares.values()))

    people = Visitors(stage.proxy.url, users(200, "visitor-"), rollout="buy-button", key=None)
    async with people:
        stage.step("visitors without an id of ours")
        first = await people.everybody()
        stage.expect("everybody was given an id", all("cohort-id" in jar for jar in people.cookies.values()))
        stage.expect("everybody is pinned now", set(people.reason.values()) == {"PINNED"})
        seen = sorted(set(map(str, first.values())))
        stage.expect(f"they are in all variants: {', '.join(seen)}", len(seen) == 4)

        stage.step("large from 20 to 30 %")
        original = copy.deepcopy(stage.config)
        await stage.weights(large=30)
        this = await stage.everybody()
        allowed = {("green", "large"), ("control", "green"), ("control", "large")}
        stage.expect("users without a pin move as the ranges do", set(this.moves.by_direction) <= allowed)
        await people.everybody()
        stage.figure("pinned visitors moved by the new weights", sum(people.moves.values()))
        stage.expect("no visitor with a pin moved", not people.moves)

        stage.step("the service is deployed anew in mid-test")
        old = stage.services["checkout-v1"]
        slow = await stage.begin_slow("user-1", "checkout-v1")
        await stage.deploy("checkout-v1")
        await stage.retire(old, slow)
        stage.expect("no visitor moved", await people.everybody() == first)

        stage.step("large has won: everybody")
        await stage.weights(large=100, green=0, animated=0)
        await stage.everybody()
        await people.everybody()
        stage.expect("pins to the others are worth nothing", set(people.version.values()) == {"large"})

        stage.step("the way back: the test as it was, with a new generation of pins")
        stage.config = original
        stage.rollout["pin"]["generation"] = "2"
        await stage.roll_back()
        await stage.everybody()
        again = await people.everybody()
        stage.expect("visitors are divided as at first", again == first)

    stage.count(people.sent, people.failed)


SCENARIO = Scenario(
    "ab-test",
    "four variants, pins, a second test across",
    Setup(
        services=["checkout-v1"],
        example="ab-test",
        routes=[{"match": {"prefix": "/"}, "route": {"cluster": "checkout-v1"}}],
        rollout="buy-button",
        key=Key("cookie", "uid"),
        users=1000,
    ),
    play,
    STORY,
)
