"""A dark launch: first only counted, then mirrored; no user ever gets an answer of the new version."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .. import arithmetic, wire
from ..bootstrap import route_by_header
from ..service import Service
from ..stage import Scenario, Setup, Stage
from ..until import until

HEADER = "x-cohort-checkout-next"

STORY = """
In shadow mode the filter decides and counts, and does nothing to a request. In force, the requests of a fifth of
the users are copied to the new version by Envoy, which throws its answers away. The new version is a bad one.
"""


def routes() -> list[dict]:
    """Everything to checkout-v1; what is to be mirrored goes to checkout-v2 as well."""
    mirrored, plain = route_by_header(HEADER, {"mirrored": "checkout-v1"}, "checkout-v1")
    mirrored["route"]["request_mirror_policies"] = [{"cluster": "checkout-v2"}]
    return [mirrored, plain]


async def play(stage: Stage) -> None:
    stage.step("shadow mode: decided and counted, nothing done")
    this = await stage.everybody(expected={})
    stage.expect("no answer says anything of a version", {a.version for a in this.answers.values()} == {None})
    forged = await wire.get(stage.proxy.address, "/", [("x-user-id", "user-1"), (HEADER, "mirrored")])
    stage.count(1, forged.status != 200)
    stage.expect("no header reaches the service, a client's own neither", not forged.reached(HEADER))
    metrics = await stage.proxy.metrics()
    by_version = metrics.by("rollout_version", "cohort_requests_total", rollout="checkout-next")
    share = 100 * by_version["mirrored"] / sum(by_version.values())
    stage.figure("counted as mirrored in shadow mode", f"{share:.1f} % of requests")
    stage.expect(f"a fifth is counted as mirrored: {share:.1f} %", 15 < share < 25)

    stage.step("in force: a fifth of the users is mirrored to a new version that fails and is slow")
    dark = await stage.deploy("checkout-v2")
    await dark.behave(failure_ratio=0.5, delay_ms=400)
    stage.rollout["mode"] = "enforce"
    await stage.apply()
    before = (await dark.counts())["requests"]
    this = await stage.everybody()
    copied = len(this.users_of("mirrored"))
    stage.expect("every answer is of checkout-v1", {a.served_by for a in this.answers.values()} == {"checkout-v1"})

    async def copies() -> int:
        return (await dark.counts())["requests"] - before

    got = await until(copies, "the copies", holds=lambda now: now >= copied)
    stage.figure("requests copied to the new version", f"{got:,}, {copied} of them in one round of all users")
    wanted = arithmetic.versions(stage.rollout, stage.users)
    right = {user for user, version in wanted.items() if version == "mirrored"} == this.users_of("mirrored")
    stage.expect("mirrored are always the same users, those of the arithmetic", right)

    stage.step("the new version crashes")
    await dark.kill()
    await stage.everybody(quiet=True)
    stage.expect("no user notices", stage.load.failed == 0)

    stage.step("another is started, and all of it switched off: shadow mode again")
    await stage.platform.until_out(dark)
    stage.platform.members[dark.name].remove(dark)
    dark = await stage.deploy("checkout-v2")
    await until(copies_of(dark), "copies at the new process", holds=lambda now: now > 5)
    stage.rollout["mode"] = "shadow"
    await stage.roll_back()
    mark, heard = (await dark.counts())["requests"], stage.load.answered
    await until(lambda: stage.load.answered > heard + 100, "a hundred more answers")
    late = (await dark.counts())["requests"] - mark
    stage.expect(f"copies after the switch: {late}", late == 0)
    await stage.retire(dark)


def copies_of(service: Service) -> Callable[[], Awaitable[int]]:
    """What counts the requests a process has had."""

    async def count() -> int:
        return (await service.counts())["requests"]

    return count


SCENARIO = Scenario(
    "dark-launch",
    "counted in the shadow, then mirrored",
    Setup(
        services=["checkout-v1"],
        later=["checkout-v2"],
        example="dark-launch",
        routes=routes(),
        rollout="checkout-next",
        users=500,
    ),
    play,
    STORY,
)
