"""Users land exactly where an independent computation of the frozen arithmetic puts them."""

from __future__ import annotations

from collections import Counter

import pytest
from conftest import Launch, config, rollout
from lab import arithmetic, bootstrap
from lab.client import Answers, Key, ask, users
from lab.envoy import Envoy
from lab.wire import Connection, get, get_http2

EVERYBODY = users(10_000)


def chosen(answers: Answers) -> dict[str, str | None]:
    """The version of every user, by what the route table did with it."""
    assert {answer.status for answer in answers.values()} == {200}
    for answer in answers.values():
        assert answer.version == answer.served_by, answer
    return {user: answer.served_by for user, answer in answers.items()}


async def test_ten_thousand_users_land_where_the_arithmetic_says_again_and_again(direct: Envoy, launch: Launch):
    split = rollout(12.345)
    expected = arithmetic.versions(split, EVERYBODY)
    await direct.configure(config(split))

    assert chosen(await ask(direct.url, EVERYBODY)) == expected
    assert chosen(await ask(direct.url, EVERYBODY, concurrency=8)) == expected

    workers = await direct.stats(r"worker_\d.downstream_cx_total")
    assert len(workers) >= 2
    assert all(count > 0 for name, count in workers.items() if name.startswith("listener.")), workers

    after_restart = await launch(
        config=config(split),
        routes=bootstrap.answer_directly("x-cohort-checkout", ["canary"], "stable"),
        concurrency=2,
    )
    assert chosen(await ask(after_restart.url, EVERYBODY)) == expected


async def test_a_user_keeps_a_version_over_new_connections(direct: Envoy):
    split = rollout(50)
    await direct.configure(config(split))
    everybody = EVERYBODY[:2000]
    assert chosen(await ask(direct.url, everybody, fresh=True)) == arithmetic.versions(split, everybody)


async def test_a_user_keeps_a_version_over_http2(direct: Envoy):
    split = rollout(50)
    await direct.configure(config(split))
    everybody = EVERYBODY[:1000]
    assert chosen(await ask(direct.url, everybody, http2=True)) == arithmetic.versions(split, everybody)


@pytest.mark.parametrize("weight", [0, 0.001, 0.05, 0.999, 99.999, 100])
async def test_a_weight_means_that_many_buckets_and_no_other(direct: Envoy, weight: float):
    split = rollout(weight)
    await direct.configure(config(split))
    edge = arithmetic.thousandths(weight)
    # Users beside the edge, found by the arithmetic: the only ones a wrong edge would show on.
    wanted = {place for place in range(edge - 3, edge + 3) if 0 <= place < arithmetic.BUCKETS}
    found: dict[int, str] = {}
    number = 0
    while len(found) < len(wanted):
        user = f"edge-{number}"
        place = arithmetic.bucket("checkout", user)
        if place in wanted:
            found.setdefault(place, user)
        number += 1
    answers = chosen(await ask(direct.url, found.values()))
    assert answers == {user: "canary" if place < edge else "stable" for place, user in found.items()}


async def test_three_versions_grow_from_both_ends(direct: Envoy):
    split = rollout(versions=[{"name": "canary", "weight": 20}, {"name": "stable"}, {"name": "green", "weight": 10.5}])
    everybody = EVERYBODY[:3000]
    await direct.configure(config(split))
    before = chosen(await ask(direct.url, everybody))
    assert before == arithmetic.versions(split, everybody)
    assert set(before.values()) == {"canary", "stable", "green"}

    split["versions"][0]["weight"] = 35
    await direct.configure(config(split))
    after = chosen(await ask(direct.url, everybody))
    moves = Counter((was, after[user]) for user, was in before.items() if after[user] != was)
    assert set(moves) == {("stable", "canary")}


async def test_a_raised_weight_moves_nobody_out_and_a_lowered_one_nobody_in(direct: Envoy):
    everybody = EVERYBODY[:2000]
    canary: set[str] = set()
    for weight in (0, 5, 25, 100):
        await direct.configure(config(rollout(weight)))
        answers = chosen(await ask(direct.url, everybody))
        now = {user for user, version in answers.items() if version == "canary"}
        assert canary <= now
        canary = now
    await direct.configure(config(rollout(5)))
    answers = chosen(await ask(direct.url, everybody))
    assert {u for u, version in answers.items() if version == "canary"} < canary


async def test_a_salt_of_its_own_places_users_anew_and_two_rollouts_of_one_salt_alike(direct: Envoy):
    salted = rollout(50, salt="another")
    await direct.configure(config(salted))
    everybody = EVERYBODY[:1000]
    answers = chosen(await ask(direct.url, everybody))
    assert answers == arithmetic.versions(salted, everybody)
    assert answers != arithmetic.versions(rollout(50), everybody)


@pytest.mark.parametrize(
    ("key", "source"),
    [
        (Key("header", "x-account"), {"header": "x-account"}),
        (Key("cookie", "uid"), {"cookie": "uid"}),
        (Key("query", "uid"), {"query": "uid"}),
    ],
    ids=["header", "cookie", "query"],
)
async def test_the_key_is_read_where_the_configuration_says(direct: Envoy, key: Key, source: dict):
    split = rollout(50, hashKey=[source])
    await direct.configure(config(split))
    everybody = EVERYBODY[:500]
    assert chosen(await ask(direct.url, everybody, key=key)) == arithmetic.versions(split, everybody)


async def test_the_client_address_is_a_key_without_its_port(direct: Envoy):
    split = rollout(50, hashKey=[{"address": True}])
    await direct.configure(config(split))
    for last in range(2, 22):
        address = f"127.0.0.{last}"
        for _ in range(2):  # from two ports
            reply = await get(direct.address, source=address)
            assert reply.one("x-served-by") == arithmetic.version(split, address)
            assert reply.one("x-cohort-reason") == "HASH"


async def test_behind_a_trusted_proxy_the_address_is_the_clients(launch: Launch):
    split = rollout(50, hashKey=[{"address": True}])

    def one_hop(boot: dict) -> None:
        bootstrap.connection_manager(boot)["xff_num_trusted_hops"] = 1

    edge = await launch(config=config(split), edit=one_hop)
    for client in ("203.0.113.7", "198.51.100.23", "2001:db8::7", "2001:db8::42"):
        reply = await get(edge.address, headers=[("x-forwarded-for", client)])
        assert reply.one("x-cohort-checkout") == arithmetic.version(split, client), client


async def test_the_first_source_with_a_value_is_the_key(direct: Envoy):
    sources = [{"header": "x-user-id"}, {"cookie": "uid"}, {"query": "uid"}]
    split = rollout(50, hashKey=sources)
    await direct.configure(config(split))
    for number in range(20):
        header, cookie, query = f"h{number}", f"c{number}", f"q{number}"
        both = [("cookie", f"a=b; uid={cookie}"), ("x-user-id", header)]
        reply = await get(direct.address, f"/?uid={query}", both)
        assert reply.one("x-served-by") == arithmetic.version(split, header)
        # Present and empty is not a value.
        reply = await get(direct.address, f"/?uid={query}", [("x-user-id", ""), ("cookie", f"uid={cookie}")])
        assert reply.one("x-served-by") == arithmetic.version(split, cookie)
        reply = await get(direct.address, f"/?uid={query}", [("cookie", "uid=")])
        assert reply.one("x-served-by") == arithmetic.version(split, query)


async def test_a_key_is_bytes_that_need_not_be_utf8(direct: Envoy):
    split = rollout(50)
    await direct.configure(config(split))
    for number in range(64):
        key = bytes([0x80 + number, 0xFF, 0x41, 0xC3])
        for ask_once in (get, get_http2):
            reply = await ask_once(direct.address, headers=[("x-user-id", key)])
            assert reply.status == 200
            assert reply.one("x-served-by") == arithmetic.version(split, key), (key, ask_once)


async def test_a_cookie_is_found_over_several_lines_and_the_first_of_duplicates_counts(direct: Envoy):
    split = rollout(50, hashKey=[{"cookie": "uid"}])
    await direct.configure(config(split))
    for number in range(20):
        lines = [
            ("cookie", "a=1"),
            ("cookie", f"xuid=no; uid=first-{number}; uid=second"),
            ("cookie", "uid=third"),
        ]
        expected = arithmetic.version(split, f"first-{number}")
        assert (await get(direct.address, headers=lines)).one("x-served-by") == expected
        assert (await get_http2(direct.address, headers=lines)).one("x-served-by") == expected


async def test_an_open_connection_sees_a_new_weight_on_its_next_request(direct: Envoy):
    await direct.configure(config(rollout(0)))
    async with await Connection.open(direct.address) as connection:
        for weight, version in ((0, "stable"), (100, "canary"), (0, "stable")):
            await direct.configure(config(rollout(weight)))
            reply = await connection.get(headers=[("x-user-id", "u")])
            assert reply.one("x-served-by") == version
