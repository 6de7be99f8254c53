"""A canary that fails too seldom for any proxy's guard leaves all of them: they ask the Prometheus of the fleet."""

from __future__ import annotations

from contextlib import AsyncExitStack

from ..client import Load, users
from ..envoy import Envoy
from ..prometheus import Prometheus
from ..stage import Scenario, Setup, Stage
from ..until import until

WEIGHT, RATE, ONE_IN, PROXIES, INTERVAL = 50, 50, 200, 3, 5

CANARY = 'rollout="checkout",rollout_version="canary"'
QUERY = f"sum(rate(cohort_failures_total{{{CANARY}}}[20s])) / sum(rate(cohort_responses_total{{{CANARY}}}[20s]))"

CONFIG = {
    "rollouts": [
        {
            "name": "checkout",
            "versions": [{"name": "stable"}, {"name": "canary", "weight": WEIGHT}],
            "hashKey": [{"header": "x-user-id"}],
            "guard": {"maxFailureRatio": 0.05},
            "analysis": [
                {
                    "name": "failures",
                    "version": "canary",
                    "cluster": "prometheus",
                    "query": QUERY,
                    "max": 0.001,
                    "interval": f"{INTERVAL}s",
                    "failures": 2,
                }
            ],
            "output": {"responseHeader": "x-cohort-checkout", "reasonHeader": "x-cohort-reason"},
        }
    ]
}

STORY = f"""
{PROXIES} proxies, {RATE} requests a second on each, half of the users on the canary, and one Prometheus that scrapes
them all. Then the canary fails for one request in {ONE_IN}: far below what the guard minds. Each proxy asks Prometheus
every {INTERVAL} seconds. There is no controller.
"""

LABELS = {"rollout": "checkout", "rollout_version": "canary"}


async def value(proxy: Envoy, name: str, **labels: str) -> float | None:
    return (await proxy.metrics()).value(name, **LABELS, **labels)


async def questions(proxy: Envoy) -> int:
    return (await proxy.stats("^cluster.prometheus."))["cluster.prometheus.upstream_rq_total"]


async def play(stage: Stage) -> None:
    canary, clusters = stage.services["checkout-v2"], {name: one.address for name, one in stage.services.items()}
    async with AsyncExitStack() as stack:
        more = [
            await stack.enter_async_context(
                Envoy(clusters={**clusters, "prometheus": []}, config=CONFIG, concurrency=2)
            )
            for _ in range(PROXIES - 1)
        ]
        proxies = [stage.proxy, *more]
        loads = [
            stage.load,
            *[await stack.enter_async_context(Load(one.url, users(600, "load-"), rate=RATE)) for one in more],
        ]
        targets = [f"127.0.0.1:{one.admin_port}" for one in proxies]
        job = {"job_name": "proxies", "metrics_path": "/stats/prometheus", "static_configs": [{"targets": targets}]}
        prometheus = await stack.enter_async_context(Prometheus(jobs=[job]))
        for proxy in proxies:
            await proxy.set_endpoints("prometheus", [prometheus.address])

        async def fleet() -> float | None:
            return next(iter(await prometheus.values(QUERY)), None)

        stage.step(f"{PROXIES} proxies ask one Prometheus; the canary is well")
        await until(fleet, "the fleet's share of failures", holds=lambda share: share == 0)
        began = stage.load.elapsed
        asked = [await questions(proxy) for proxy in proxies]
        for proxy, before in zip(proxies, asked, strict=True):
            await until(
                lambda proxy=proxy: questions(proxy), "a question", holds=lambda now, before=before: now > before
            )
        held = [await value(proxy, "cohort_version_held_out") for proxy in proxies]
        stage.expect(f"proxies that hold the canary out: {sum(held):.0f}", not any(held))

        stage.step(f"the canary fails for one request in {ONE_IN}")
        await canary.behave(failure_ratio=1 / ONE_IN)
        await until(lambda: any(load.failures for load in loads), "an error")
        first = stage.load.elapsed
        nobody = dict.fromkeys(stage.users, "stable")
        for proxy in proxies:
            await until(lambda proxy=proxy: value(proxy, "cohort_version_held_out"), "held out", timeout=120)
            await until(lambda proxy=proxy: stage.arrived(nobody, url=proxy.url), "held out by every worker")
        out = stage.load.elapsed - first
        for number, proxy in enumerate(proxies, 1):
            [line] = [line for line in proxy.filter_log() if "held out of traffic" in line]
            stage.say(f"proxy {number}: {line[line.index('version canary') :]}")
        stage.figure("first error to out on every proxy", f"{out:.1f} s")
        stage.expect("out of all proxies within a minute of the first error", out < 60)

        stage.step("who did it")
        trips = {
            cause: sum([await value(proxy, "cohort_guard_trips_total", cause=cause) or 0 for proxy in proxies])
            for cause in ("analysis", "failures")
        }
        stage.expect(f"trips by analysis: {trips['analysis']:.0f} of {PROXIES}", trips["analysis"] == PROXIES)
        stage.expect(f"trips by a guard: {trips['failures']:.0f}", trips["failures"] == 0)
        failures = [len(load.failures) for load in loads]
        stage.figure("errors, by proxy", ", ".join(map(str, failures)))
        others = [answer for load in loads for _, answer in load.failures if answer.version != "canary"]
        stage.expect(f"errors of users of stable: {len(others)}", not others)
        elapsed = stage.load.elapsed - began
        counts = [await questions(proxy) - before for proxy, before in zip(proxies, asked, strict=True)]
        sent = sum(load.sent for load in loads)
        stage.figure("questions to Prometheus, by proxy", f"{', '.join(map(str, counts))} in {elapsed:.0f} s")
        most = elapsed / INTERVAL + 2
        stage.expect(f"one question every {INTERVAL} s, whatever of {sent:,} requests", all(n <= most for n in counts))
        now = await stage.everybody(expected={})
        stage.expect(f"users served by the canary: {len(now.users_of('canary'))}", not now.users_of("canary"))


SCENARIO = Scenario(
    "fleet",
    "a canary fails too seldom for one proxy to see, and leaves all of them",
    Setup(
        config=CONFIG,
        later=["prometheus"],
        load_rate=RATE,
        load_users=600,
        users=500,
        may_fail=frozenset({"canary"}),
    ),
    play,
    STORY,
)
