"""The lab tells the truth: its arithmetic, its services, its waiting."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from conftest import Launch, config, rollout
from lab import arithmetic, wire
from lab.client import Load, ask, users
from lab.envoy import Envoy, EnvoyFailed
from lab.process import listens
from lab.service import Service
from lab.until import TooLate, until
from lab.upstream import Share


def test_the_hash_is_the_published_one():
    assert arithmetic.murmur3("abc") == 0xB3DD93FA
    assert arithmetic.murmur3(b"") == 0


def test_buckets_are_spread_evenly():
    tenths = [0] * 10
    for number in range(100_000):
        tenths[arithmetic.bucket("salt", f"user-{number}") // 10_000] += 1
    assert all(9_500 < count < 10_500 for count in tenths), tenths


def test_versions_grow_from_both_ends():
    versions = [("a", 10), ("s", None), ("b", 5), ("c", 0.5)]
    edges = {0: "a", 9_999: "a", 10_000: "b", 14_999: "b", 15_000: "s", 99_499: "s", 99_500: "c", 99_999: "c"}
    assert {place: arithmetic.owner(versions, place) for place in edges} == edges


def test_a_share_is_exact_and_spread():
    share = Share()
    due = [share.due(0.25) for _ in range(100)]
    assert sum(due) == 25
    assert due[:8] == [False, False, False, True] * 2


async def test_waiting_ends_with_the_name_of_what_did_not_happen():
    with pytest.raises(TooLate, match="the moon"):
        await until(lambda: 0, "the moon", timeout=0.05)


async def test_a_service_does_as_it_is_told():
    async with Service("s") as service:
        assert (await wire.get(service.address, "/ready")).status == 200
        await service.behave(ready=False, failure_ratio=0.5, failure_status=500)
        assert (await wire.get(service.address, "/ready")).status == 503
        answers = await ask(f"http://127.0.0.1:{service.address[1]}", users(20))
        assert sorted(answer.status for answer in answers.values()) == [200] * 10 + [500] * 10
        await service.behave(failure_ratio=0.0, reset_ratio=1.0)
        with pytest.raises(ConnectionError):
            await wire.get(service.address)
        with pytest.raises(ValueError):
            await service.behave(nonsense=1)


async def test_a_service_ends_only_after_the_answer_in_flight():
    async with Service("s") as service:
        await service.behave(delay_ms=700)
        slow = asyncio.create_task(wire.get(service.address))

        async def in_flight() -> bool:
            return (await service.counts())["in_flight"] == 1

        await until(in_flight, "a request in flight")
        service.begin_stop()
        reply = await slow
        assert reply.status == 200
        assert await service.stop() == 0


async def test_endpoints_change_while_envoy_runs(launch: Launch):
    proxy = await launch(config=config(rollout(0)))
    async with Service("checkout-v3") as v3:
        async with Load(proxy.url, users(50), rate=200) as load:
            await proxy.set_endpoints("checkout-v1", [v3.address])
            assert (await wire.get(proxy.address)).told["service"] == "checkout-v3"
            await until(lambda: load.by_service["checkout-v3"] > 5, "the load on the new endpoint")
        assert load.failed == 0
        assert load.answered == load.sent


async def test_a_port_belongs_to_the_process_that_listens_there(launch: Launch):
    proxy = await launch(config=config(rollout(0)))
    assert listens(proxy.pid, proxy.port)
    assert not listens(os.getpid(), proxy.port)


async def test_an_envoy_that_ends_by_itself_is_noticed(launch: Launch):
    def broken(boot: dict) -> None:
        boot["static_resources"]["clusters"][0]["lb_policy"] = "NO_SUCH_POLICY"

    with pytest.raises(EnvoyFailed, match="NO_SUCH_POLICY"):
        async with Envoy(config=config(rollout(0)), edit=broken):
            pass

    async with Envoy(config=config(rollout(0))) as proxy:
        os.kill(proxy.pid, signal.SIGKILL)
        with pytest.raises(EnvoyFailed):
            await until(proxy.check_alive, "the end", timeout=5)
