"""A change of the configuration loses no request and closes no connection, however many come.

Two workers under load over HTTP/1.1 and HTTP/2 on connections that stay open, with slow requests in flight.
COHORT_RELOADS says how many changes (docs/reports/reload.md has the larger run).
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from by_file import ByFile
from conftest import config, native_module, rollout
from lab import arithmetic, bootstrap
from lab.bootstrap import Address
from lab.envoy import ConfigRefused, Envoy, edge, library, module, version
from lab.service import Service
from lab.until import until
from lab.wire import Connection
from plugins import with_custom_section
from rude import Http2

RELOADS = int(os.environ.get("COHORT_RELOADS", "60"))
#: Seconds that a slow request takes in the upstream.
SLOW = 1.0
SLOW_KINDS = ("HTTP/1.1, slow", "HTTP/2, slow")


@dataclass
class Epoch:
    """A configuration, from when it may have been in force until when it may still have been."""

    weight: float
    since: float
    until: float = float("inf")


@dataclass
class Sent:
    """What one request brought."""

    kind: str
    user: str
    began: float
    ended: float
    status: int
    version: str | None
    served_by: str | None


@dataclass
class Traffic:
    """Clients that ask again and again, each on a connection that it keeps."""

    address: Address
    sent: Counter[str] = field(default_factory=Counter)
    #: Requests without their answer yet, by kind.
    under_way: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    #: Connections on which the proxy asked for no more requests, by kind.
    drained: Counter[str] = field(default_factory=Counter)
    answers: list[Sent] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Traffic:
        clients = [
            (self._http1, "HTTP/1.1", "/", 8),
            (self._http1, "HTTP/1.1, slow", "/slow", 4),
            (self._http2, "HTTP/2", "/", 2),
            (self._http2, "HTTP/2, slow", "/slow", 1),
        ]
        for client, kind, path, count in clients:
            self._tasks += [asyncio.create_task(client(kind, path, number)) for number in range(count)]
        kinds = {kind for _, kind, _, _ in clients}
        await until(lambda: set(self.sent), "an answer to every kind of client", holds=lambda seen: seen == kinds)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    def note(self, kind: str, user: str, began: float, status: int, version: str | None, by: str | None) -> None:
        self.sent[kind] += 1
        self.under_way[kind] -= 1
        self.answers.append(Sent(kind, user, began, time.monotonic(), status, version, by))

    async def _http1(self, kind: str, path: str, seed: int) -> None:
        at_random = random.Random(seed)
        connection = await Connection.open(self.address)
        while not self._stop.is_set():
            user, began = f"user-{at_random.randrange(500)}", time.monotonic()
            self.under_way[kind] += 1
            try:
                reply = await connection.get(path, [("x-user-id", user)])
            except (ConnectionError, asyncio.TimeoutError, OSError) as error:
                self.under_way[kind] -= 1
                self.wrong.append(f"{kind}: {error!r}")
                connection = await Connection.open(self.address)
                continue
            self.note(kind, user, began, reply.status, reply.one("x-cohort-checkout"), reply.one("x-served-by"))
            if (reply.one("connection") or "").lower() == "close":
                self.drained[kind] += 1
                await connection.__aexit__()
                connection = await Connection.open(self.address)
            await asyncio.sleep(0.01)
        await connection.__aexit__()

    async def _http2(self, kind: str, path: str, seed: int) -> None:
        at_random = random.Random(-seed - 1)

        async def ask(client: Http2) -> None:
            user, began = f"user-{at_random.randrange(500)}", time.monotonic()
            head = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"lab"), (b":path", path.encode())]
            self.under_way[kind] += 1
            stream = await client.begin([*head, (b"x-user-id", user.encode())])
            status = await client.until_end(stream)
            told = {name: value.decode() for name, value in client.headers.get(stream, {}).items()}
            self.note(kind, user, began, status, told.get(b"x-cohort-checkout"), told.get(b"x-served-by"))

        while not self._stop.is_set():
            async with Http2(self.address) as client:
                while not self._stop.is_set() and client.last is None and not client.closed:
                    await asyncio.gather(*(ask(client) for _ in range(4)))
                    await asyncio.sleep(0.02)
                # What was under way has its answer by now, or `ask` has noted that it has none.
                if client.last is not None:
                    self.drained[kind] += 1
                elif client.closed:
                    self.wrong.append(f"{kind}: the connection was closed")

    async def slow_in_flight(self) -> None:
        """Waits until slow requests are under way over both protocols."""
        await until(lambda: all(self.under_way[kind] for kind in SLOW_KINDS), "slow requests in flight")

    async def everyone(self, holds: Callable[[Sent], bool]) -> None:
        """Waits until a client of every kind had such an answer."""
        kinds = set(self.sent)
        await until(
            lambda: {one.kind for one in self.answers if holds(one)},
            "the change for every kind of client",
            holds=lambda seen: seen == kinds,
        )

    def check_crossed(self, changes: list[float]) -> None:
        """Every change met slow requests in flight, over both protocols."""
        for at in changes:
            assert {one.kind for one in self.answers if one.began < at < one.ended} >= set(SLOW_KINDS)

    def check(self, epochs: list[Epoch]) -> None:
        """Nothing failed, and everybody had a version that a configuration of the time gives."""
        assert not self.wrong, self.wrong[:5]
        for one in self.answers:
            assert one.status == 200, one
            weights = {epoch.weight for epoch in epochs if epoch.since <= one.ended and epoch.until >= one.began}
            bucket = arithmetic.bucket("checkout", one.user)
            allowed = {"canary" if bucket < arithmetic.thousandths(weight) else "stable" for weight in weights}
            assert one.version in allowed, (one, weights)
            assert one.version == (one.served_by or "").replace("checkout-v1", "stable").replace(
                "checkout-v2", "canary"
            )


def slow_routes() -> list[dict[str, Any]]:
    """`/slow` goes to a service by version; Envoy answers anything else itself."""
    slow = bootstrap.route_by_header("x-cohort-checkout", {"canary": "checkout-v2"}, "checkout-v1", timeout="20s")
    for route, cluster in zip(slow, ("checkout-v2", "checkout-v1"), strict=True):
        route["match"]["prefix"] = "/slow"
        route["route"]["cluster"] = cluster
    return [*slow, *bootstrap.answer_directly("x-cohort-checkout", ["canary"], "stable")]


@asynccontextmanager
async def under_load(
    weight: float = 30, kind: type[Envoy] = Envoy, **more: Any
) -> AsyncIterator[tuple[Envoy, Traffic]]:
    """Two workers and their clients."""
    async with Service("checkout-v1") as v1, Service("checkout-v2") as v2:
        for service in (v1, v2):
            await service.behave(delay_ms=SLOW * 1000)
        clusters = {"checkout-v1": v1.address, "checkout-v2": v2.address}
        options = {"routes": slow_routes(), "concurrency": 2, "failure_policy": "FAIL_CLOSED", **more}
        async with kind(config=config(rollout(weight)), clusters=clusters, **options) as proxy:
            async with Traffic(proxy.address) as traffic:
                yield proxy, traffic


async def closed(proxy: Envoy) -> dict[str, int]:
    """Connections that Envoy ended, and requests that it ended or answered with an error."""
    names = "downstream_cx_destroy_local|downstream_cx_drain_close|downstream_rq_rx_reset|downstream_rq_tx_reset"
    return await proxy.stats(f"^http[.]http[.]({names}|downstream_rq_5xx|downstream_cx_destroy)$")


#: Configurations that are refused, another text each time: Envoy asks once about each text.
BAD = [
    lambda number: config(rollout(101 + number)),
    lambda number: '{"rollouts": [' + " " * number,
    lambda number: {**config(rollout()), f"unknown{number}": 1},
    lambda number: config(rollout(), rollout(name="checkout", salt=f"s{number}")),
]


@pytest.mark.edges
async def test_hundreds_of_changes_good_bad_good_lose_nothing_and_close_nothing():
    at_random = random.Random(1)
    async with under_load(30) as (proxy, traffic):
        epochs, before = [Epoch(30, 0.0)], await closed(proxy)
        refused = 0
        for number in range(RELOADS):
            if number % 3 == 1:
                # A bad one changes nothing at all: no epoch.
                try:
                    await proxy.configure(BAD[number // 3 % len(BAD)](number))
                except ConfigRefused:
                    refused += 1
                continue
            weight = at_random.choice([0, 1.5, 10, 30, 50, 99.999, 100])
            others = [rollout(50, name=f"other-{n}", output={}) for n in range(at_random.randrange(3))]
            epochs.append(Epoch(weight, time.monotonic()))
            await proxy.configure(config(rollout(weight), *others))
            epochs[-2].until = time.monotonic()
        after = await closed(proxy)
    assert refused == len(range(1, RELOADS, 3))
    assert after == before, "connections closed or requests reset while the configuration changed"
    traffic.check(epochs)
    seen = {one.version for one in traffic.answers}
    assert seen == {"stable", "canary"} and min(traffic.sent.values()) > 0
    if "COHORT_REPORT" in os.environ:
        seconds = traffic.answers[-1].ended - traffic.answers[0].began
        Path(os.environ["COHORT_REPORT"]).write_text(report(RELOADS, refused, seconds, traffic, after))


def report(changes: int, refused: int, seconds: float, traffic: Traffic, after: dict[str, int]) -> str:
    """docs/reports/reload.md."""
    command = f"make test-proxy ARGS='-k hundreds' COHORT_RELOADS={changes} COHORT_REPORT=docs/reports/reload.md"
    lines = [
        "# Changes of the configuration under load",
        "",
        f"Made by `{command}`: Envoy {version()}, two workers. `tests/proxy/configuration/test_reload.py` is the run, "
        "and fails on any failed request, closed connection or version that no configuration of the time gives.",
        "",
        f"{changes} changes in {seconds:.0f} s, one after the other as fast as Envoy takes them: "
        f"{changes - refused} good ones taken, {refused} bad ones refused.",
        "",
        "| requests | answered with 200 | failed |",
        "|---|---|---|",
        *[f"| {kind} | {count:,} | 0 |" for kind, count in sorted(traffic.sent.items())],
        "",
        f"A slow request takes {SLOW:g} s in the upstream, so that configurations change many times below it.",
        "",
        "| Envoy's own count | |",
        "|---|---|",
        *[f"| `{name}` | {value} |" for name, value in sorted(after.items())],
    ]
    return "\n".join(lines) + "\n"


async def test_another_build_of_the_module_takes_over_and_loses_nothing(tmp_path: Path):
    """The same code under other bytes in another file: to Envoy a new module, with new VMs. The old ones go
    with their last stream."""
    if edge() != "wasm":
        pytest.skip("of VMs; the native module's counterpart is the next test")
    build = tmp_path / "cohort-2.wasm"
    build.write_bytes(with_custom_section(module().read_bytes(), b"build-2"))
    async with under_load(30) as (proxy, traffic):

        async def vms(what: str) -> int:
            return sum((await proxy.stats(f"^wasm[.]envoy[.]wasm[.]runtime[.]v8[.]{what}$")).values())

        before, made, active, changes = await closed(proxy), await vms("created"), await vms("active"), []
        for path in (build, module(), build):
            await traffic.slow_in_flight()
            changes.append(time.monotonic())
            bootstrap.wasm(proxy.filter)["vm_config"]["code"]["local"]["filename"] = str(path)
            await proxy.apply_filter()
            await traffic.everyone(lambda one, since=changes[-1]: one.began > since)
            made, earlier = await vms("created"), made
            assert made > earlier, "new VMs"
        await until(lambda: vms("active"), "the old VMs gone", holds=lambda now: now <= active)
        after = await closed(proxy)
    assert after == before
    traffic.check([Epoch(30, 0.0)])
    traffic.check_crossed(changes)


@native_module
async def test_another_build_of_the_native_module_takes_over_and_loses_nothing(tmp_path: Path):
    """The same library under another name is another one to Envoy, and runs beside the old one until that has
    ended its last stream."""
    builds = [tmp_path / f"libcohort-{number}.so" for number in range(3)]
    for build in builds:
        shutil.copy(library(), build)
    async with under_load(30, edge="native", native=builds[0]) as (proxy, traffic):
        before, changes = await closed(proxy), []
        for build in builds[1:]:
            await traffic.slow_in_flight()
            changes.append(time.monotonic())
            assert str(build) not in Path(f"/proc/{proxy.pid}/maps").read_text()
            proxy.native = build
            await proxy.apply_filter()
            assert str(build) in Path(f"/proc/{proxy.pid}/maps").read_text(), "the new library is loaded"
            await traffic.everyone(lambda one, since=changes[-1]: one.began > since)
        after = await closed(proxy)
    assert after == before
    traffic.check([Epoch(30, 0.0)])
    traffic.check_crossed(changes)


async def test_the_plugin_is_removed_and_added_again_without_losing_a_request():
    """Without the plugin everybody goes by the route table's default. A listener's own change drains its
    connections: over the drain time Envoy asks more and more of them for no more requests (`connection:
    close`, GOAWAY). What is under way on them, over HTTP/1.1 and HTTP/2, is answered all the same."""
    async with under_load(100, ByFile, extra_args=("--drain-time-s", "20")) as (proxy, traffic):
        changes = []
        for present in (False, True, False, True):
            await traffic.slow_in_flight()
            changes.append(time.monotonic())
            await proxy.with_filter(present)
            version = "canary" if present else None
            await traffic.everyone(lambda one, since=changes[-1], v=version: one.began > since and one.version == v)
        metrics = await proxy.metrics_when(
            lambda now: now.ticked() and now.sum("cohort_requests_total") > 0, "gauges, and requests counted"
        )
        assert metrics.value("cohort_config_invalid") == 0
    assert not traffic.wrong, traffic.wrong[:5]
    assert {one.status for one in traffic.answers} == {200}
    # Who had the plugin was canary and served as such; who had not went by the default.
    served = {(one.version, one.served_by) for one in traffic.answers}
    assert served == {("canary", "canary"), ("canary", "checkout-v2"), (None, "stable"), (None, "checkout-v1")}
    traffic.check_crossed(changes)
    assert set(traffic.drained) == set(traffic.sent)
