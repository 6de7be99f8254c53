"""Services, an Envoy, a steady load and closing figures: what a scenario plays on.

A scenario is a module in `scenarios` with a `SCENARIO`: its name, what it tells, what has to run, and a
coroutine that plays it::

    async def play(stage: Stage) -> None:
        before = await stage.everybody("canary at 5 %")
        stage.step("canary to 25 %")
        await stage.weights(canary=25)
        after = await stage.everybody()
        stage.expect("users moved only to canary", after.moves.count("canary", "stable") == 0)

    SCENARIO = Scenario("canary", "A canary by hand", Setup(), play)

The stage starts and stops everything, keeps a load of its own running through all of it, and at the end
prints the figures and says whether every expectation held.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from . import arithmetic, bootstrap, platform
from .client import USER_ID, Answer, Answers, Key, Load, Moves, ask, users
from .envoy import COMMITTED, Envoy, version
from .service import Service
from .show import COLOURS, Show, bar
from .until import until

#: Whom a run that is left running asks as. In the rollout `checkout` this user is on stable at 5 percent and on the
#: canary at 50.
MOVES = "user-8"


@dataclass(frozen=True)
class Setup:
    """What has to run for a scenario."""

    #: The services, by name; each is the cluster of that name.
    services: Sequence[str] = ("checkout-v1", "checkout-v2")
    #: The plugin configuration; default: that of `envoy/filter.yaml`.
    config: Mapping[str, Any] | None = None
    #: The example it plays, such as `blue-green` for examples/blue-green.json, instead of `config`. The services
    #: then have a platform that keeps the endpoints to the ready ones.
    example: str | None = None
    #: Clusters to which something is deployed later (`Stage.deploy`).
    later: Sequence[str] = ()
    #: Routes instead of those of `envoy/envoy.yaml` (see `bootstrap.route_by_header`).
    routes: list[dict[str, Any]] | None = None
    #: The rollout that the tables are about.
    rollout: str = "checkout"
    #: How many users there are, and how they say who they are.
    users: int = 2000
    key: Key = USER_ID
    #: Requests a second of the load that runs all the time, and how many users it has.
    load_rate: float = 100.0
    load_users: int = 300
    #: Seconds a service goes on serving after SIGTERM.
    drain: float = 0.0
    #: Versions that the scenario breaks on purpose: what the load and `Stage.ask` fail at them is no lost request.
    may_fail: frozenset[str] = frozenset()
    #: More for `Envoy(...)`.
    envoy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    name: str
    #: One line.
    title: str
    setup: Setup
    play: Callable[[Stage], Awaitable[None]]
    #: A few lines that are printed first.
    story: str = ""
    #: What a run that is left running starts instead of playing; it yields the address to open.
    by_hand: Callable[[Stage], AbstractAsyncContextManager[str]] | None = None


@dataclass
class Round:
    """Everybody asked once."""

    answers: Answers
    moves: Moves

    @property
    def failed(self) -> int:
        return sum(answer.failed for answer in self.answers.values())

    def users_of(self, version: str) -> set[str]:
        return {user for user, answer in self.answers.items() if answer.version == version}

    def share(self, version: str) -> float:
        """Percent of users."""
        return 100 * len(self.users_of(version)) / max(len(self.answers), 1)

    def served_by(self, version: str) -> set[str | None]:
        """The services that answered the users of a version."""
        return {a.served_by for a in self.answers.values() if a.version == version}


def example(name: str) -> dict[str, Any]:
    """The configuration of an example, with ramps that start in an hour: a scenario sets its own start."""
    config = json.loads((bootstrap.ENVOY_DIR.parent / "examples" / f"{name}.json").read_text())
    for rollout in config["rollouts"]:
        if "ramp" in rollout:
            rollout["ramp"]["start"] = instant(3600)
    return config


def instant(seconds_from_now: float) -> str:
    """A point in time as a configuration writes it."""
    when = datetime.now(timezone.utc) + timedelta(seconds=seconds_from_now)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Slow:
    """Requests that take their time in the processes of a name, to be in flight when something happens."""

    name: str
    tasks: list[asyncio.Task[Answer]]


class Stage:
    def __init__(self, scenario: Scenario, show: Show | None = None) -> None:
        self.scenario = scenario
        self.setup = scenario.setup
        self.show = show or Show()
        self.users = users(self.setup.users)
        self.services: dict[str, Service] = {}
        #: Seconds until each change of the configuration was in force on every worker.
        self.changes: list[float] = []
        self.last_round: Round | None = None
        self.expectations: list[tuple[bool, str]] = []
        self.figures: dict[str, str] = {}
        self._moved = Moves()
        self._asked = self._failed = 0

    # --- life ----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Stage:
        setup = self.setup
        async with AsyncExitStack() as stack:
            drain = setup.drain or (platform.DRAIN if setup.example else 0.0)
            services = [Service(name, drain=drain) for name in setup.services]
            await asyncio.gather(*(stack.enter_async_context(one) for one in services))
            self.services = {one.name: one for one in services}
            self.proxy = await stack.enter_async_context(
                Envoy(
                    clusters={one.name: one.address for one in services} | {name: [] for name in setup.later},
                    config=self._first_config(),
                    routes=setup.routes,
                    **{"concurrency": 2, **setup.envoy},
                )
            )
            self.config = self.proxy.config
            if setup.example:
                self.platform = await stack.enter_async_context(platform.Platform(self.proxy, services))
            self.load = await stack.enter_async_context(
                Load(
                    self.proxy.url,
                    users(setup.load_users, "load-"),
                    rate=setup.load_rate,
                    rollout=setup.rollout,
                    key=setup.key,
                )
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _first_config(self) -> Any:
        if self.setup.example:
            return example(self.setup.example)
        return COMMITTED if self.setup.config is None else copy.deepcopy(self.setup.config)

    # --- what a scenario does ------------------------------------------------------------------------

    @property
    def rollout(self) -> dict[str, Any]:
        """The rollout that the tables are about, in `config`; change it and call `apply`."""
        return next(one for one in self.config["rollouts"] if one["name"] == self.setup.rollout)

    def version(self, name: str) -> dict[str, Any]:
        """A version in `config`."""
        return next(one for one in self.rollout["versions"] if one["name"] == name)

    async def apply(self) -> float:
        """Writes `config` into the live file and awaits that every worker has it; the seconds it took."""
        took = await self.proxy.configure(self.config)
        self.changes.append(took)
        self.say(f"filter.yaml rewritten; in force on every worker after {took * 1000:.0f} ms")
        return took

    async def roll_back(self) -> float:
        """`apply` for the way back: its time is among the closing figures."""
        took = await self.apply()
        self.figure("time to roll back", f"{took * 1000:.0f} ms")
        self.expect("rolled back on every worker within ten seconds", took < 10)
        return took

    async def deploy(self, name: str) -> Service:
        """Starts a process in the cluster of that name and awaits that it takes requests."""
        service = await self.platform.deploy(name)
        self.services[name] = service
        self.say(f"{name} started on port {service.address[1]}, ready, in the endpoints")
        return service

    async def retire(self, service: Service, slow: Slow | None = None) -> None:
        """Ends a process as a platform does, and says what became of `slow`, requests in flight meanwhile."""
        counts = await service.counts()
        code = await self.platform.retire(service)
        self.expect(f"{service.name} ended in order after {counts['requests']:,} requests", code == 0)
        if slow:
            answers = await asyncio.gather(*slow.tasks)
            good = sum(answer.status == 200 and answer.served_by == slow.name for answer in answers)
            self.figure(f"in flight at {service.name}'s SIGTERM", f"{len(answers)}, answered: {good}")
            self.expect(f"requests in flight at SIGTERM: {len(answers)}, answered: {good}", good == len(answers))

    async def begin_slow(self, user: str, name: str, *, count: int = 5, seconds: float = 2.0, **how: Any) -> Slow:
        """Requests of one user that take `seconds` in the processes of a name; returns when all are in flight."""

        async def in_flight() -> int:
            counts = [await one.counts() for one in self.platform.members[name]]
            return sum(one["in_flight"] for one in counts)

        before = await in_flight()
        key, path = self.setup.key, f"/?delay-ms={seconds * 1000:.0f}"

        async def one() -> Answer:
            return (await self.ask([user], key=key, path=path, **how))[user]

        slow = Slow(name, [asyncio.create_task(one()) for _ in range(count)])
        await until(in_flight, f"{count} slow requests in {name}", holds=lambda now: now >= before + count)
        return slow

    async def ask(self, who: Sequence[str], *, url: str | None = None, **how: Any) -> Answers:
        """Asks once for each; see `client.ask`. Counts among the requests, not among the moves."""
        answers = await ask(url or self.proxy.url, who, **{"rollout": self.setup.rollout, **how})
        lost = (answer.failed and answer.version not in self.setup.may_fail for answer in answers.values())
        self.count(len(answers), sum(lost))
        return answers

    async def arrived(self, expected: Mapping[str, str], *, url: str | None = None) -> bool:
        """Whether a hundred users, whichever worker of the proxy they meet, have the versions expected.

        To be awaited: each worker learns by itself, with its next tick, that a version is out or back.
        """
        answers = await self.ask(self.users[:100], url=url)
        return all(answer.version == expected[user] for user, answer in answers.items())

    def count(self, asked: int, failed: int) -> None:
        """Adds requests to the closing figures that were sent by other means."""
        self._asked += asked
        self._failed += failed

    async def weights(self, **weights: float) -> None:
        """Sets weights by version name and applies them."""
        for name, weight in weights.items():
            self.version(name)["weight"] = weight
        await self.apply()

    async def everybody(
        self,
        *,
        expected: Mapping[str, str] | None = None,
        wanted: Mapping[str, float] | None = None,
        quiet: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Round:
        """Asks once for every user and shows who is served by what.

        `expected`: the version of every user where the weights alone do not say it; `{}`: not known.
        `wanted`: percent by version, likewise.
        """
        rollout = self.rollout
        if expected is None:
            expected = arithmetic.versions(rollout, self.users)
        if wanted is None:
            wanted = arithmetic.wanted(rollout) if expected else {}
        with self.show.progress(f"asking for {len(self.users):,} users", len(self.users)) as advance:
            answers = await ask(
                self.proxy.url,
                self.users,
                rollout=rollout["name"],
                key=self.setup.key,
                headers=headers,
                progress=advance,
            )
        this = self.note(answers)
        if not quiet:
            self._show_round(this, wanted)
        if expected:
            right = sum(answers[user].version == name for user, name in expected.items())
            self.expect(
                f"every user is where the arithmetic puts them: {right:,} of {len(expected):,}",
                right == len(expected),
            )
        return this

    def note(self, answers: Answers) -> Round:
        """Everybody's answers, however they were asked: counts them and who moved since the last round."""
        before = self.last_round.answers if self.last_round else {}
        self.last_round = this = Round(answers, Moves.between(before, answers))
        self.count(len(answers), this.failed)
        self._moved.by_direction += this.moves.by_direction
        return this

    def _show_round(self, this: Round, wanted: Mapping[str, float]) -> None:
        rows = []
        for index, one in enumerate(self.rollout["versions"]):
            name = one["name"]
            colour = COLOURS[index % len(COLOURS)]
            got = this.share(name)
            services = ", ".join(sorted(str(s) for s in this.served_by(name))) or "-"
            want = f"{wanted[name]:g} %" if name in wanted else "-"
            rows.append((name, services, len(this.users_of(name)), want, f"{got:.2f} %", bar(got, colour)))
        self.show.table(("version", "served by", "users", "share wanted", "got", ""), rows, left=2)
        if self.last_round and self._asked > len(self.users):
            self.say(f"moved: {this.moves}; failed requests: {this.failed}")

    def step(self, text: str) -> None:
        self.show.step(text)

    def say(self, text: str) -> None:
        self.show.say(text)

    def expect(self, what: str, holds: object) -> bool:
        """Says whether something that must hold does; one that does not makes the run fail."""
        good = bool(holds)
        self.expectations.append((good, what))
        self.show.verdict(good, what)
        return good

    def figure(self, name: str, value: object) -> None:
        """A line among the closing figures."""
        self.figures[name] = str(value)

    # --- the end -------------------------------------------------------------------------------------

    async def close(self) -> bool:
        """Stops the load, prints the closing figures; whether everything expected did hold."""
        await self.load.stop()
        load = self.load
        wanted = [failure for failure in load.failures if failure[1].version in self.setup.may_fail]
        unwanted = [failure for failure in load.failures if failure not in wanted]
        failed = self._failed + len(unwanted)
        await self._show_metrics()
        self.step("closing figures")
        moved = str(self._moved).split(", ")
        rows = [
            ("requests", f"{self._asked + load.sent:,} ({load.sent:,} of them a steady load all the while)"),
            ("failed requests", str(failed)),
            ("users moved", moved[0]),
            *(("", direction) for direction in moved[1:]),
            ("slowest answer", f"{load.slowest * 1000:.0f} ms"),
        ]
        if self.changes:
            slowest = f"{max(self.changes) * 1000:.0f} ms ({len(self.changes)} changes)"
            rows.append(("slowest change in force", slowest))
        rows += self.figures.items()
        self.show.table(("", ""), rows)
        beside = f" (beside {len(wanted)} to what was broken on purpose)" if wanted else ""
        self.expect(f"failed requests: {failed}{beside}", failed == 0)
        for when, answer in unwanted[:5]:
            self.say(f"failed after {when:.1f} s: {answer}")
        good = all(held for held, _ in self.expectations)
        count = sum(held for held, _ in self.expectations)
        self.show.say()
        self.show.verdict(good, f"{self.scenario.name}: {count} of {len(self.expectations)} expectations held")
        return good

    async def _show_metrics(self) -> None:
        """What the proxy itself says of each version, for Prometheus."""
        name = self.setup.rollout

        def complete(metrics: Any) -> bool:
            asked = metrics.sum("cohort_requests_total", rollout=name)
            answered = metrics.sum("cohort_responses_total", rollout=name)
            # Histograms come with a flush, a moment after the counters, and without those who went away before
            # there was an answer, as a page does that is closed.
            gone = metrics.sum("cohort_responses_total", rollout=name, code_class="none")
            timed = metrics.sum("cohort_request_duration_milliseconds_count", rollout=name)
            return 0 < asked <= min(timed + gone, answered)

        metrics = await self.proxy.metrics_when(complete, "as many answers counted as requests")
        self.step("the proxy's own metrics (/stats/prometheus)")
        counts = metrics.by("code_class", "cohort_responses_total", rollout=name)
        classes = sorted(code for code, count in counts.items() if count)
        rows = []
        for one in self.rollout["versions"]:
            labels = {"rollout": name, "rollout_version": one["name"]}
            reasons = metrics.by("reason", "cohort_requests_total", **labels)
            answers = metrics.by("code_class", "cohort_responses_total", **labels)
            weight = metrics.value("cohort_version_weight", **labels)
            quantiles = (metrics.quantile(q, "cohort_request_duration_milliseconds", **labels) for q in (0.5, 0.99))
            rows.append(
                (
                    one["name"],
                    "-" if weight is None else f"{weight / 1000:g} %",
                    sum(reasons.values()),
                    *(answers.get(code, 0.0) for code in classes),
                    *("-" if ms is None else f"{ms:.1f} ms" for ms in quantiles),
                    " ".join(f"{reason} {count:,.0f}" for reason, count in sorted(reasons.items()) if count),
                )
            )
        self.show.table(("version", "weight", "requests", *classes, "p50", "p99", ""), rows)

    async def keep(self) -> None:
        """Leaves everything running and says how to play with it; ends when cancelled."""
        proxy, rollout = self.proxy, self.rollout
        versions = [one["name"] for one in rollout["versions"]]
        self.step("left running: Ctrl-C ends it")
        lines = [
            f"curl -si {proxy.url}/ -H 'x-user-id: {MOVES}'",
            f"curl -si {proxy.url}/ -H 'x-user-id: {MOVES}' -H 'x-canary: always'"
            if "overrides" in rollout
            else f"curl -si {proxy.url}/ -H 'cookie: uid={MOVES}'",
            f"curl -s http://127.0.0.1:{proxy.admin_port}/stats/prometheus | grep ^cohort_",
        ]
        for line in lines:
            self.show.console.print(f"   {line}", markup=False)
        self.say("")
        self.say(f"The live configuration of {' and '.join(versions)} is {proxy.filter_path}")
        self.say(
            f"Change a weight there with a tool that moves the file into place, such as sed -i, and ask as {MOVES}"
        )
        self.say("again:")
        live = f'sed -i \'s/"weight": [0-9.]*/"weight": 50/\' {proxy.filter_path}'
        self.show.console.print(f"   {live}", markup=False)
        while True:
            proxy.check_alive()
            await asyncio.sleep(1)


async def run(scenario: Scenario, *, keep: bool = False, show: Show | None = None) -> bool:
    """Plays a scenario from start to end; whether everything expected did hold."""
    stage = Stage(scenario, show)
    stage.show.title(f"{scenario.name}: {scenario.title}", *scenario.story.strip().splitlines())
    async with stage:
        services = ", ".join(f"{s.name} on port {s.address[1]}" for s in stage.services.values())
        stage.show.say()
        stage.say(f"Envoy {version()} on {stage.proxy.url} (admin on port {stage.proxy.admin_port})")
        stage.say(f"services: {services}")
        if keep and scenario.by_hand:
            async with scenario.by_hand(stage) as url:
                stage.step(f"open {url}")
                await stage.keep()
        await scenario.play(stage)
        good = await stage.close()
        if keep:
            await stage.keep()
        return good


__all__ = ["Moves", "Round", "Scenario", "Setup", "Stage", "bootstrap", "run"]
