"""Feature flags: who sees what, for two flags, and the kill switch."""

from __future__ import annotations

from .. import arithmetic, wire
from ..stage import Scenario, Setup, Stage

STORY = """
new-cart is on for all employees, a tenth of beta users, half of premium users and nobody else; wallet for a
quarter of the users in Germany and France. The service learns it from request headers that no client can set.
"""


def below(stage: Stage, percent: float, flag: str = "new-cart") -> set[str]:
    """The users who are within a percentage."""
    return {user for user in stage.users if arithmetic.bucket(flag, user) < percent * 1000}


async def on(stage: Stage, headers: dict[str, str], flag: str = "new-cart") -> set[str]:
    """The users for whom the flag is on, with these headers."""
    answers = await stage.ask(stage.users, headers=headers, rollout=flag)
    return {user for user, answer in answers.items() if answer.version == "on"}


async def play(stage: Stage) -> None:
    everyone = set(stage.users)

    async def check(who: str, headers: dict[str, str], expected: set[str], flag: str = "new-cart") -> None:
        got = await on(stage, headers, flag)
        share = f"{100 * len(got) / len(everyone):.1f} %"
        stage.figure(f"{flag} on for {who}", f"{len(got):,} of {len(everyone):,} users ({share})")
        stage.expect(f"{flag} is on for {who}: {share}, exactly those", got == expected)

    stage.step("new-cart: by segment")
    await stage.everybody()
    await check("employees", {"x-employee": "42"}, everyone)
    await check("beta users", {"x-plan": "beta"}, below(stage, 10))
    await check("premium users", {"x-plan": "premium"}, below(stage, 50))
    await check("everybody else", {}, set())

    stage.step("wallet: in two countries only")
    await check("users in Germany", {"x-country": "DE"}, below(stage, 25, "wallet"), "wallet")
    await check("users in France", {"x-country": "FR"}, below(stage, 25, "wallet"), "wallet")
    await check("users in Spain", {"x-country": "ES"}, set(), "wallet")

    stage.step("what the service sees")
    employee = await wire.get(stage.proxy.address, "/", [("x-user-id", "user-1"), ("x-employee", "42")])
    stage.expect("an employee's request says x-feature-new-cart: on", employee.reached("x-feature-new-cart") == ["on"])
    forged = await wire.get(stage.proxy.address, "/", [("x-user-id", "user-1"), ("x-feature-new-cart", "on")])
    stage.expect("a client's own x-feature-new-cart does not get there", not forged.reached("x-feature-new-cart"))
    stage.count(2, 0)

    stage.step("the service is deployed anew: flags are not its business")
    old = stage.services["checkout-v1"]
    slow = await stage.begin_slow("user-1", "checkout-v1")
    await stage.deploy("checkout-v1")
    await stage.retire(old, slow)
    stage.expect("the same beta users", await on(stage, {"x-plan": "beta"}) == below(stage, 10))

    stage.step("premium from 50 to 75 %")
    before = await on(stage, {"x-plan": "premium"})
    stage.rollout["rules"][2]["weights"]["on"] = 75
    await stage.apply()
    after = await on(stage, {"x-plan": "premium"})
    stage.figure("premium raised to 75 %", f"{len(after - before)} users in, {len(before - after)} out")
    stage.expect("nobody lost the feature", before <= after == below(stage, 75))

    stage.step("the kill switch")
    stage.rollout["enabled"] = False
    await stage.roll_back()
    stage.expect("off for employees too", not await on(stage, {"x-employee": "42"}))
    stage.expect("wallet is not touched", await on(stage, {"x-country": "DE"}, "wallet") == below(stage, 25, "wallet"))
    stage.rollout["enabled"] = True
    await stage.apply()
    stage.expect("on again for the same users", await on(stage, {"x-plan": "premium"}) == after)


SCENARIO = Scenario(
    "feature-flags",
    "segments, countries, the kill switch",
    Setup(
        services=["checkout-v1"],
        example="feature-flags",
        routes=[{"match": {"prefix": "/"}, "route": {"cluster": "checkout-v1"}}],
        rollout="new-cart",
        users=1000,
    ),
    play,
    STORY,
)
