"""A canary that starts to fail leaves traffic by itself, and comes back by itself once it is repaired."""

from __future__ import annotations

import re

from .. import arithmetic, wire
from ..stage import Round, Scenario, Setup, Stage
from ..until import until

WEIGHT, RATE, FAILURES = 10, 200, 0.5

CONFIG = {
    "rollouts": [
        {
            "name": "checkout",
            "versions": [{"name": "stable"}, {"name": "canary", "weight": WEIGHT}],
            "hashKey": [{"header": "x-user-id"}],
            "overrides": {"header": "x-canary", "values": {"always": "canary"}},
            "guard": {"window": "8s", "retryAfter": "12s"},
            "output": {"responseHeader": "x-cohort-checkout", "reasonHeader": "x-cohort-reason"},
        }
    ]
}

STORY = f"""
{RATE} requests a second go on all the while, {WEIGHT} percent of the users to the canary. Then the canary starts to
answer {FAILURES:.0%} errors. There is no controller: the filter in the proxy counts, and acts.
"""


async def play(stage: Stage) -> None:
    load, proxy, canary = stage.load, stage.proxy, stage.services["checkout-v2"]

    def said(what: str) -> list[str]:
        return [line for line in proxy.filter_log() if "[warning]" in line and what in line]

    def tell(line: str) -> None:
        stage.say(f"Envoy's log: {line[line.index('rollout checkout') :]}")

    def trials() -> int:
        return len(said("is tried again with"))

    nobody = dict.fromkeys(stage.users, "stable")

    async def while_it_is_out() -> Round:
        """Who gets what. On a busy machine a trial may begin meanwhile: then it is asked after the next fall."""
        while True:
            before = trials()
            this = await stage.everybody(expected={})
            asked = load.elapsed
            # The log comes a little later than what it tells of.
            await until(lambda asked=asked: load.elapsed > asked + 0.5, "half a second")
            if trials() == before:
                return this
            stage.say("asked again: the canary was tried meanwhile")
            # What a trial of the broken canary fails is broken on purpose, and no lost request.
            stage.count(0, -sum(one.failed for one in this.answers.values() if one.version == "canary"))
            await until(lambda: len(said("held out of traffic")) > trials(), "the canary out again")
            await until(lambda: stage.arrived(nobody), "out on every worker")

    stage.step(f"canary at {WEIGHT} %")
    await stage.everybody()

    stage.step(f"the canary starts to answer {FAILURES:.0%} errors")
    await canary.behave(failure_ratio=FAILURES)
    began = load.elapsed
    await until(lambda: said("held out of traffic"), "the trip")
    tripped = load.elapsed
    tell(said("held out of traffic")[0])
    # What is quiet for two seconds is over.
    await until(lambda: load.elapsed - max(tripped, load.failures[-1][0]) > 2, "two seconds without an error")
    over = load.failures[-1][0] - began
    met = {answer.user for _, answer in load.failures}
    stage.figure("first error to last error", f"{load.failures[-1][0] - load.failures[0][0]:.1f} s")
    stage.figure("users who met an error", f"{len(met)} of {stage.setup.load_users:,}, in {load.failed} requests")
    stage.expect(f"out of traffic on every worker {over:.1f} s after it started to fail", over < 10)

    stage.step("who is served by what, while the canary is still broken")
    this = await while_it_is_out()
    stage.expect(f"users served by the canary: {len(this.users_of('canary'))}", not this.users_of("canary"))
    stage.expect(f"errors: {this.failed}", this.failed == 0)
    theirs = [user for user in stage.users if arithmetic.version(stage.rollout, user) == "canary"]
    reasons = {this.answers[user].reason for user in theirs}
    stage.expect(f"the canary's {len(theirs)} users have it as {', '.join(map(str, reasons))}", reasons == {"FALLBACK"})
    reply = await wire.get(proxy.address, headers=[("x-user-id", "u"), ("x-canary", "always")])
    reached = reply.one("x-cohort-checkout")
    stage.expect(f"x-canary: always still reaches {reached}, to see what broke", reached == "canary")

    stage.step("the canary is repaired; after retryAfter a tenth of its users try it")
    await canary.behave(failure_ratio=0.0)
    falls = len(said("held out of traffic"))
    before = trials()
    repaired = load.elapsed
    await until(lambda: trials() > before, "a probe of the repaired canary")
    tell(said("is tried again with")[-1])
    still_out = load.elapsed

    def came_back() -> list[str]:
        nonlocal still_out
        lines = said("is back in traffic")
        if not lines:
            # The log comes a little later than what it tells of.
            still_out = load.elapsed - 0.5
        return lines

    await until(came_back, "the return")
    tell(said("is back in traffic")[0])
    heard = [answer for when, answer in load.heard if repaired < when < still_out]
    probing = {answer.user for answer in heard if answer.version == "canary"}
    tenth = {user for user in probing if arithmetic.bucket("checkout", user) % 10 == 0}
    stage.expect(f"of the load's users {len(probing)} tried it, the same tenth throughout", probing == tenth)
    again = len(said("held out of traffic")) - falls
    stage.expect(f"falls after the repair: {again}", again == 0)
    stage.figure("repaired to back in traffic", f"{load.elapsed - repaired:.1f} s")

    def returned() -> bool:
        newest = [one for one in list(load.recent) if arithmetic.version(stage.rollout, one.user) == "canary"]
        return len(newest) >= 20 and all(one.version == "canary" for one in newest)

    await until(returned, "the canary's users back with it, whichever worker they meet")
    await stage.everybody()
    answered = re.search(r"of (\d+) answers in [\d.]+ s (\d+) failed", said("is back in traffic")[0])
    stage.expect("it came back on the strength of answers", answered and int(answered[1]) > 0)


SCENARIO = Scenario(
    "guard",
    "a canary fails, leaves traffic by itself, and comes back",
    Setup(
        config=CONFIG,
        load_rate=RATE,
        load_users=2000,
        may_fail=frozenset({"canary"}),
    ),
    play,
    STORY,
)
