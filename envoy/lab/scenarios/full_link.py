"""A full-link canary: a user who is on the canary of the first service is on the canary of the second."""

from __future__ import annotations

from .. import arithmetic, wire
from ..bootstrap import route_by_header
from ..client import Answer
from ..envoy import Envoy
from ..service import Service
from ..stage import Scenario, Setup, Stage, example

STORY = """
Client, edge proxy, checkout, inner proxy, payment. The edge decides and says so in the request's baggage;
checkout hands the baggage on with its own call, as tracing libraries do; the inner proxy takes the decision over.
"""


async def chains(stage: Stage) -> dict[str, tuple[str, str]]:
    """Who served each user: checkout, and payment behind it."""
    found, answers = {}, {}
    async with await wire.Connection.open(stage.proxy.address) as connection:
        for user in stage.users:
            reply = await connection.get("/", [("x-user-id", user)])
            answers[user] = Answer(user, reply.status, reply.one("x-cohort-release"), reply.one("x-served-by"))
            found[user] = (reply.told["service"], reply.told["called"]["service"])
    stage.note(answers)
    return found


async def check(stage: Stage) -> dict[str, tuple[str, str]]:
    """Every user is on one version through both services, and on the right one."""
    found = await chains(stage)
    wanted = arithmetic.versions(stage.rollout, stage.users)
    both = {"stable": ("checkout-v1", "payment-v1"), "canary": ("checkout-v2", "payment-v2")}
    right = sum(found[user] == both[version] for user, version in wanted.items())
    canary = sum(chain == both["canary"] for chain in found.values())
    stage.say(f"{canary} of {len(found)} users: checkout-v2 → payment-v2; the others: checkout-v1 → payment-v1")
    stage.expect(f"one version through both services: {right} of {len(wanted)} users", right == len(wanted))
    stage.figure("users on one version through both services", f"{right} of {len(wanted)}")
    return found


async def play(stage: Stage) -> None:
    config = example("full-link-inner")
    # In the lab the peers are not 10.0.0.0/8 but this machine.
    config["rollouts"][0]["inherit"]["addresses"] = ["127.0.0.1/32"]
    routes = route_by_header("x-cohort-release", {"canary": "payment-v2"}, "payment-v1")
    async with Service("payment-v1") as v1, Service("payment-v2") as v2:
        clusters = {"payment-v1": v1.address, "payment-v2": v2.address}
        async with Envoy(clusters=clusters, config=config, routes=routes) as inner:
            stage.step("both services have a canary, the inner one first; checkout calls payment")
            await stage.services["checkout-v1"].behave(calls=inner.url)
            canary = await stage.deploy("checkout-v2")
            await canary.behave(calls=inner.url)
            await check(stage)
            await stage.weights(canary=20)
            before = await check(stage)

            stage.step("the baggage of others")
            stable = next(user for user in stage.users if before[user][0] == "checkout-v1")
            mine = [("x-user-id", stable), ("baggage", "tenant=7,cohort-release=canary")]
            reply = await wire.get(stage.proxy.address, "/", mine)
            payment = {name.lower(): value for name, value in reply.told["called"]["headers"]}
            stage.expect("a client cannot choose the canary by baggage", reply.told["service"] == "checkout-v1")
            stage.expect("its other baggage reaches payment", "tenant=7" in payment["baggage"])
            stranger = await wire.get(inner.address, "/", mine, source="127.0.0.5")
            stage.expect("the inner proxy believes its peers only", stranger.told["service"] == "payment-v1")
            stage.count(2, 0)

            stage.step("canary to 60 %, one change at the edge")
            await stage.weights(canary=60)
            after = await check(stage)
            back = sum(before[user][0] == "checkout-v2" != after[user][0] for user in stage.users)
            stage.expect(f"users moved only to the canary; back: {back}", back == 0)

            stage.step("the way back, one change at the edge")
            slow = await stage.begin_slow(next(u for u in after if after[u][0] == "checkout-v2"), "checkout-v2")
            stage.version("canary")["weight"] = 0
            await stage.roll_back()
            await check(stage)
            await stage.retire(canary, slow)
            asked = (await v2.counts())["requests"]
            await check(stage)
            stage.expect("payment-v2 gets nothing any more", (await v2.counts())["requests"] == asked)
            # Nobody may be under way to the inner proxy when it goes.
            await stage.load.stop()


SCENARIO = Scenario(
    "full-link",
    "one decision for two services in a row",
    Setup(
        services=["checkout-v1"],
        later=["checkout-v2"],
        example="full-link-edge",
        routes=route_by_header("x-cohort-release", {"canary": "checkout-v2"}, "checkout-v1"),
        rollout="release",
        users=300,
    ),
    play,
    STORY,
)
