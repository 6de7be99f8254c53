"""`overrides.require`: who may override, and the secret that no upstream sees."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from conftest import Launch, config, rollout
from lab import bootstrap
from lab.envoy import Envoy
from lab.service import Service
from lab.wire import Reply, get, get_http2

SECRET = "open sesame"
NAME = "x-canary-secret"
ASK = ("x-canary", "canary")
RIGHT = (NAME, SECRET)
#: What a client is told of an override that counts, and of one that does not.
HELD = ("canary", "OVERRIDE")
REFUSED = ("stable", "DEFAULT")


def sha256(secret: str | bytes) -> str:
    return hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).hexdigest()


def guarded(secret: str | bytes = SECRET, *, addresses: list[str] | None = None, **more: Any) -> dict[str, Any]:
    """A rollout whose canary is only for those who know the secret, and come from `addresses`."""
    require: dict[str, Any] = {"secretHeader": "X-Canary-Secret", "secretSha256": sha256(secret)}
    if addresses:
        require["addresses"] = addresses
    overrides = {"header": "x-canary", "query": "canary", "cookie": "canary", "require": require}
    return config(rollout(0, overrides=overrides, **more))


def decision(reply: Reply) -> tuple[str | None, str | None]:
    assert reply.status == 200
    return reply.one("x-cohort-checkout"), reply.one("x-cohort-reason")


async def test_an_override_by_header_query_or_cookie_needs_the_secret(proxy: Envoy):
    await proxy.configure(guarded())
    for path, asking in (("/", [ASK]), ("/?canary=canary", []), ("/", [("cookie", "canary=canary")])):
        assert decision(await get(proxy.address, path, [*asking, RIGHT])) == HELD
        assert decision(await get(proxy.address, path, asking)) == REFUSED
        for wrong in ("", "open", "open sesame!", "Open sesame", sha256(SECRET), b"\xff"):
            assert decision(await get(proxy.address, path, [*asking, (NAME, wrong)])) == REFUSED, wrong


async def test_the_secret_alone_asks_for_nothing(proxy: Envoy):
    await proxy.configure(guarded())
    reply = await get(proxy.address, headers=[RIGHT])
    assert decision(reply) == REFUSED
    assert NAME not in reply.reached_names


async def test_a_secret_that_is_not_utf8_is_a_secret(proxy: Envoy):
    await proxy.configure(guarded(b"\xff\xfe secret"))
    assert decision(await get(proxy.address, headers=[ASK, (NAME, b"\xff\xfe secret")])) == HELD
    assert decision(await get(proxy.address, headers=[ASK, (NAME, b"\xff\xff secret")])) == REFUSED


async def test_of_several_lines_the_first_counts_and_none_goes_on(proxy: Envoy):
    await proxy.configure(guarded())
    for lines, expected in (([RIGHT, (NAME, "x")], HELD), ([(NAME, "x"), RIGHT], REFUSED)):
        reply = await get(proxy.address, headers=[ASK, *lines])
        assert decision(reply) == expected
        assert SECRET.encode() not in reply.body


async def test_the_hash_of_nothing_lets_nobody_in(proxy: Envoy):
    """What a script writes whose variable for the secret was not set."""
    await proxy.configure(guarded(""))
    for headers in ([], [(NAME, "")], [(NAME, " ")], [(NAME, "guess")]):
        assert decision(await get(proxy.address, headers=[ASK, *headers])) == REFUSED, headers


async def test_everything_that_is_required_must_hold(proxy: Envoy):
    await proxy.configure(guarded(addresses=["127.0.0.7/32", "10.0.0.0/8", "::1"]))
    assert decision(await get(proxy.address, headers=[ASK, RIGHT], source="127.0.0.7")) == HELD
    assert decision(await get(proxy.address, headers=[ASK, RIGHT], source="127.0.0.8")) == REFUSED
    assert decision(await get(proxy.address, headers=[ASK], source="127.0.0.7")) == REFUSED
    # Where the peer's own address counts, nobody can say that it is another.
    claim = ("x-forwarded-for", "127.0.0.7")
    assert decision(await get(proxy.address, headers=[ASK, RIGHT, claim], source="127.0.0.8")) == REFUSED


async def test_addresses_alone_are_enough_where_nothing_else_is_required(proxy: Envoy):
    overrides = {"header": "x-canary", "require": {"addresses": ["127.0.0.7/32"]}}
    await proxy.configure(config(rollout(0, overrides=overrides)))
    assert decision(await get(proxy.address, headers=[ASK], source="127.0.0.7")) == HELD
    assert decision(await get(proxy.address, headers=[ASK], source="127.0.0.8")) == REFUSED


async def test_an_override_that_is_not_allowed_is_counted(proxy: Envoy):
    await proxy.configure(guarded())
    labels = {"rollout": "checkout", "what": "override"}
    before = (await proxy.metrics()).sum("cohort_ignored_total", **labels)
    for headers in ([ASK], [ASK, (NAME, "wrong")]):
        await get(proxy.address, headers=headers)
    await proxy.metrics_when(
        lambda metrics: metrics.sum("cohort_ignored_total", **labels) == before + 2, "two ignored overrides"
    )


SPELLINGS = [NAME, "X-Canary-Secret", "X-CANARY-SECRET", "x_canary_secret", "X_Canary-Secret", "x.canary.secret"]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"enabled": False},
        {"mode": "shadow"},
        {"match": [{"path": {"exact": "/elsewhere"}}]},
        {"inherit": {"addresses": ["127.0.0.0/8"], "baggage": True}},
    ],
    ids=["enforced", "disabled", "shadow", "no match", "a trusted peer"],
)
async def test_the_secret_reaches_no_upstream_in_any_spelling(proxy: Envoy, how: dict):
    await proxy.configure(guarded(**how))
    for ask in (get, get_http2):
        for spelling in SPELLINGS:
            name = spelling.lower() if ask is get_http2 else spelling
            reply = await ask(proxy.address, headers=[ASK, (name, SECRET), ("x-other", "kept"), (name, SECRET)])
            assert reply.status == 200
            assert SECRET.encode() not in reply.body, spelling
            assert SECRET not in str(reply.headers)
            assert reply.reached("x-other") == ["kept"]
    assert SECRET not in proxy.log()


async def test_the_secret_reaches_no_upstream_in_trailers(launch: Launch):
    async with Service("checkout-v1", http2=True) as service:

        def over_http2(boot: dict) -> None:
            kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
            options = {"explicit_http_config": {"http2_protocol_options": {}}}
            cluster = bootstrap.cluster(boot, "checkout-v1")
            cluster["typed_extension_protocol_options"] = {kind: {"@type": f"type.googleapis.com/{kind}", **options}}

        proxy = await launch(config=guarded(), clusters={"checkout-v1": service.address}, edit=over_http2)
        trailers = [(name.lower(), SECRET) for name in SPELLINGS] + [("x-checksum", "abc")]
        reply = await get_http2(proxy.address, body=b"hello", trailers=trailers)
        assert reply.told["trailers"] == [["x-checksum", "abc"]]
        assert SECRET.encode() not in reply.body


async def test_the_secret_is_in_no_error_and_no_metric(launch: Launch):
    bad = guarded()
    bad["rollouts"][0]["overrides"]["require"]["secretSha256"] = SECRET
    proxy = await launch(config=bad)
    assert "secretSha256" in proxy.log()
    assert SECRET not in proxy.log()
    assert SECRET not in await proxy.admin("/stats/prometheus")
