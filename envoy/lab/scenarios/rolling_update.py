"""A rolling update with version affinity: pods replaced one by one, and no user sees both versions in turn."""

from __future__ import annotations

from collections import defaultdict

from ..bootstrap import route_by_header
from ..stage import Scenario, Setup, Stage

#: The weight of v2 while one, two, three of three pods are new.
SHARES = (33.333, 66.667, 100)

STORY = """
Three pods of v1 become three pods of v2. The weight follows the pods, so a user goes from v1 to v2 once. Beside
it the same pods behind one plain cluster, as a Service spreads requests: there a user meets both versions.
"""


async def without_affinity(stage: Stage) -> int:
    """Users who meet both versions in four requests to the plain cluster."""
    addresses = [one.address for ones in stage.platform.members.values() for one in ones]
    await stage.proxy.set_endpoints("checkout-all", addresses)
    met = defaultdict(set)
    for _ in range(4):
        for user, answer in (await stage.ask(stage.users[:200], path="/plain")).items():
            met[user].add(answer.served_by)
    await stage.proxy.set_endpoints("checkout-all", [])
    return sum(len(versions) > 1 for versions in met.values())


async def play(stage: Stage) -> None:
    stage.step("before: three pods of v1")
    await stage.deploy("checkout-v1")
    await stage.deploy("checkout-v1")
    await stage.everybody()

    for number, share in enumerate(SHARES, start=1):
        stage.step(f"pod {number} of 3: a new one starts, the weight follows, an old one ends")
        await stage.deploy("checkout-v2")
        old = stage.platform.members["checkout-v1"][0]
        stays = next(user for user in stage.users if stage.last_round.answers[user].version == "v1")
        slow = await stage.begin_slow(stays, "checkout-v1")
        await stage.weights(v2=share)
        this = await stage.everybody()
        stage.expect("users moved only from v1 to v2", this.moves.count("v2", "v1") == 0)
        if number == 1:
            stage.expect("each at most once under the load too", set(stage.load.moves) <= {("v1", "v2")})
            stage.say("the way back, rehearsed while all pods of v1 are there")
            stage.version("v2")["weight"] = 0
            await stage.roll_back()
            await stage.everybody(quiet=True)
            await stage.weights(v2=share)
            await stage.everybody(quiet=True)
        if number == 2:
            both = await without_affinity(stage)
            stage.figure("met both versions in 4 requests", f"0 of 200 users (plain cluster: {both} of 200)")
            stage.expect(f"without affinity {both} of 200 users met both versions", both > 100)
        await stage.retire(old, slow)


SCENARIO = Scenario(
    "rolling-update",
    "pods replaced one by one, each user on one version",
    Setup(
        services=["checkout-v1"],
        later=["checkout-v2", "checkout-all"],
        example="rolling-update",
        routes=[
            {"match": {"prefix": "/plain"}, "route": {"cluster": "checkout-all"}},
            *route_by_header("x-cohort-checkout", {"v2": "checkout-v2"}, "checkout-v1"),
        ],
        users=500,
    ),
    play,
    STORY,
)
