"""A visitor is one person: first visit, login, caches, several hops. On a real Envoy."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from aiohttp import web
from conftest import Launch, config, rollout
from lab import arithmetic, bootstrap
from lab.bootstrap import Address
from lab.envoy import Envoy
from lab.wire import Connection, Reply, get, get_http2
from upstream import as_asked, upstream

ID = {"cookie": {"name": "cohort-id", "maxAge": "365d"}}
PIN = {"cookie": {"name": "cohort-checkout", "maxAge": "1d"}}
BOTH = {**PIN, "versions": ["stable", "canary"]}
SECRET = {"signingKey": base64.b64encode(b"sixteen bytes or more of random").decode()}


async def parallel(to: Address, paths: list[str], headers: list[tuple[str, str]], host: str = "lab") -> list[Reply]:
    """Requests in parallel on one HTTP/2 connection: all are sent before any answer is read."""
    reader, writer = await asyncio.open_connection(*to)
    http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
    http.initiate_connection()
    replies: dict[int, Reply] = {}
    for number, path in enumerate(paths):
        pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", host), (":path", path)]
        http.send_headers(2 * number + 1, [*pseudo, *headers], end_stream=True)
        replies[2 * number + 1] = Reply(0)

    async def read() -> None:
        ended = 0
        while ended < len(paths):
            writer.write(http.data_to_send())
            data = await reader.read(65536)
            if not data:
                raise ConnectionError("closed without an answer")
            for event in http.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    reply = replies[event.stream_id]
                    reply.status = int(dict(event.headers)[b":status"])
                    reply.headers = [(n.decode(), v.decode("latin-1")) for n, v in event.headers]
                elif isinstance(event, h2.events.DataReceived):
                    replies[event.stream_id].body += event.data
                    http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    ended += 1
                elif isinstance(event, h2.events.StreamReset):
                    raise ConnectionError(f"stream reset, code {event.error_code}")

    try:
        await asyncio.wait_for(read(), 30)
    finally:
        writer.close()
    return list(replies.values())


@dataclass
class Person:
    """One browser, whose page loads are six requests at once, then one each."""

    to: Address
    cookies: dict[str, str] = field(default_factory=dict)
    user: str | None = None

    def headers(self) -> list[tuple[str, str]]:
        sent = [("x-user-id", self.user)] if self.user else []
        if self.cookies:
            sent.append(("cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        return sent

    def keep(self, reply: Reply) -> None:
        for line in reply.all("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value

    async def load(self) -> set[str | None]:
        replies = await parallel(self.to, [f"/api/{n}" for n in range(6)], self.headers())
        for reply in replies:
            self.keep(reply)
        return {reply.one("x-cohort-checkout") for reply in replies}

    async def visit(self) -> str | None:
        reply = await get(self.to, "/", self.headers())
        self.keep(reply)
        return reply.one("x-cohort-checkout")


@pytest.fixture(scope="module")
async def chain(launch: Launch) -> tuple[Envoy, Envoy]:
    """Two proxies in a row: what the first decides and what the second decides is on the answer."""
    inner = await launch(
        config=config(rollout()),
        routes=bootstrap.answer_directly("x-cohort-checkout", ["canary"], "stable"),
    )
    clusters = {"inner": inner.address}
    outer = await launch(
        config=config(rollout()), routes=[{"match": {"prefix": "/"}, "route": {"cluster": "inner"}}], clusters=clusters
    )
    return outer, inner


async def chained(chain: tuple[Envoy, Envoy], **more: Any) -> Envoy:
    """Both proxies with the same rollout, but each says on a header of its own what it decided."""
    outer, inner = chain
    await outer.configure(config(rollout(50, **more)))
    # The header of the first would be forged by the second.
    output = {"responseHeader": "x-second", "reasonHeader": "x-second-reason"}
    await inner.configure(config(rollout(50, **more, output=output)))
    return outer


async def test_of_400_new_visitors_nobody_meets_two_versions_over_two_proxies(chain: tuple[Envoy, Envoy]):
    outer = await chained(chain, anonymousId=ID)
    ids, seen = set(), {"canary": 0, "stable": 0}
    for _ in range(400):
        replies = await parallel(outer.address, [f"/api/{n}" for n in range(6)], [("user-agent", "tests")])
        versions = {reply.one(name) for reply in replies for name in ("x-cohort-checkout", "x-second", "x-served-by")}
        lines = {line.partition(";")[0] for reply in replies for line in reply.all("set-cookie")}
        assert len(versions) == 1 and len(lines) == 1, (versions, lines)
        ids |= lines
        seen[versions.pop()] += 1
    assert len(ids) == 400
    assert abs(seen["canary"] - 200) < 50, "five standard deviations"


@pytest.mark.parametrize("signed", [{}, SECRET], ids=["unsigned", "signed"])
@pytest.mark.parametrize("way", ["both pinned", "the default pin", "the id first"])
async def test_at_the_login(direct: Envoy, way: str, signed: dict[str, str]):
    more: dict[str, Any] = {"anonymousId": ID, "pin": {**(BOTH if way == "both pinned" else PIN), **signed}}
    if way == "the id first":
        more["hashKey"] = [{"cookie": "cohort-id"}, {"header": "x-user-id"}]
    await direct.configure(config(rollout(50, **more)))
    left, changed = 0, 0
    for number in range(60):
        person = Person(direct.address)
        (before,) = await person.load()
        assert await person.visit() == before
        person.user = f"user-{number}"
        after = {await person.visit() for _ in range(2)} | await person.load()
        assert len(after) == 1, "a user meets one version"
        if after != {before}:
            changed += 1
            left += before == "canary"
    assert left == 0
    if way != "the default pin":
        assert changed == 0
    else:
        assert changed > 5, "about half of stable's visitors go where their own key says"


async def test_a_signed_pin_is_signed_anew_and_is_worth_nothing_without_the_id(direct: Envoy):
    await direct.configure(config(rollout(50, anonymousId=ID, pin={**BOTH, **SECRET})))
    person = Person(direct.address)
    before = await person.visit()
    theirs = person.cookies["cohort-checkout"]
    user = next(name for name in (f"u{n}" for n in range(99)) if arithmetic.version(rollout(50), name) != before)
    thief = [("x-user-id", user), ("cookie", f"cohort-checkout={theirs}")]
    assert (await get(direct.address, "/", thief)).one("x-cohort-reason") == "HASH"
    person.user = user
    assert await person.visit() == before
    assert person.cookies["cohort-checkout"] != theirs
    # From now on it holds without the id, and nothing more is set.
    del person.cookies["cohort-id"]
    reply = await get(direct.address, "/", person.headers())
    assert (reply.one("x-cohort-checkout"), reply.one("x-cohort-reason")) == (before, "PINNED")
    assert reply.all("set-cookie") == []


async def test_a_balancer_with_many_people_on_one_connection_is_not_one_person(launch: Launch):
    def one_hop(boot: dict[str, Any]) -> None:
        bootstrap.connection_manager(boot)["xff_num_trusted_hops"] = 1

    routes = bootstrap.answer_directly("x-cohort-checkout", ["canary"], "stable")
    edge = await launch(config=config(rollout(50, anonymousId=ID)), routes=routes, edit=one_hop)

    async def one(connection: Connection, *headers: tuple[str, str]) -> str:
        (line,) = (await connection.get("/", headers)).all("set-cookie")
        return line.partition(";")[0]

    async with await Connection.open(edge.address) as connection:
        people = [
            [("x-forwarded-for", address), ("user-agent", agent)]
            for address in ("203.0.113.7", "203.0.113.8", "198.51.100.1, 203.0.113.8")
            for agent in ("a", "b")
        ]
        ids = [await one(connection, *person) for person in people]
        assert len(set(ids)) == len(people)
        assert [await one(connection, *person) for person in people] == ids, "each again"
    async with await Connection.open(edge.address) as another:
        assert await one(another, *people[0]) not in ids


async def test_the_id_goes_on_in_the_requests_own_cookie(proxy: Envoy):
    await proxy.configure(config(rollout(50, anonymousId=ID)))
    for ask in (get, get_http2):
        reply = await ask(proxy.address, "/", [("cookie", "a=1"), ("cookie", "cohort-id=; b=2")])
        (line,) = reply.all("set-cookie")
        assert reply.reached("cookie") == [f"a=1; b=2; {line.partition(';')[0]}"]


async def test_an_internal_redirect_is_the_same_visitor(launch: Launch):
    async def serve(request: web.Request) -> web.Response:
        if request.path == "/start":
            raise web.HTTPFound("http://lab/end")
        return web.Response(text="{}", headers={"x-got": request.headers.get("cookie", "")})

    async with upstream(serve) as address:
        policy = {"redirect_response_codes": [302], "max_internal_redirects": 1}
        routes = [{"match": {"prefix": "/"}, "route": {"cluster": "app", "internal_redirect_policy": policy}}]
        split = rollout(50, anonymousId=ID)
        edge = await launch(config=config(split), routes=routes, clusters={"app": address})
        for _ in range(40):
            reply = await get(edge.address, "/start")
            assert reply.status == 200
            # What the second pass decided by is what the browser is given.
            (line,) = reply.all("set-cookie")
            pair = line.partition(";")[0]
            assert reply.one("x-got") == pair
            assert reply.one("x-cohort-checkout") == arithmetic.version(split, pair.partition("=")[2])
            again = await get(edge.address, "/end", [("cookie", pair)])
            assert again.all("set-cookie") == []


@pytest.fixture(scope="module")
async def answering(launch: Launch) -> AsyncIterator[Envoy]:
    """An Envoy before an upstream that answers with the status and the headers that the request names."""
    async with upstream(as_asked) as address:
        redirect = {"match": {"path": "/moved"}, "redirect": {"path_redirect": "/"}}
        routes = [redirect, {"match": {"prefix": "/"}, "route": {"cluster": "app"}}]
        yield await launch(config=config(rollout(100)), routes=routes, clusters={"app": address})


SHARED = [
    ("200", ["cache-control: public, max-age=31536000"]),
    ("200", ["cache-control: S-MaxAge=60"]),
    ("200", ["cache-control: max-age=60, Immutable"]),
    ("200", ["cache-control: no-transform", "cache-control: public"]),
    ("200", ["cache-control: max-age=60"]),
    ("304", []),
]
OTHERS = [
    ("200", []),
    ("200", ["cache-control: private, max-age=60"]),
    ("200", ["cache-control: no-cache"]),
    ("302", ["location: /"]),
    ("404", []),
]


@pytest.mark.parametrize("ask", [get, get_http2], ids=["HTTP/1.1", "HTTP/2"])
async def test_no_cookie_on_an_answer_that_a_shared_cache_may_keep(answering: Envoy, ask: Any):
    await answering.configure(config(rollout(100, anonymousId=ID, pin=PIN)))
    for cases, count in ((SHARED, 0), (OTHERS, 2)):
        for status, lines in cases:
            headers = [("x-status", status), *(("x-answer", line) for line in lines)]
            reply = await ask(answering.address, "/", headers)
            assert reply.status == int(status)
            assert len(reply.all("set-cookie")) == count, (status, lines)
            assert reply.one("x-cohort-checkout") == "canary"
    assert (await ask(answering.address, "/moved")).all("set-cookie") == [], "the proxy's own 301"


async def test_a_preflight_is_no_visitor(answering: Envoy):
    await answering.configure(config(rollout(100, anonymousId=ID, pin=PIN)))
    preflight = [("origin", "https://shop.example.com"), ("access-control-request-method", "PUT")]
    reply = await get(answering.address, "/", preflight, method="OPTIONS")
    assert (reply.one("x-cohort-checkout"), reply.one("x-cohort-reason")) == ("stable", "DEFAULT")
    assert reply.all("set-cookie") == []
    # With a key it has a version, and keeps nothing.
    reply = await get(answering.address, "/", [*preflight, ("x-user-id", "u")], method="OPTIONS")
    assert (reply.one("x-cohort-checkout"), reply.all("set-cookie")) == ("canary", [])
    reply = await get(answering.address, "/", preflight[:1], method="OPTIONS")
    assert len(reply.all("set-cookie")) == 2, "an OPTIONS that is no preflight"


async def test_a_cookie_has_no_domain_that_the_host_is_not_in(direct: Envoy):
    cookie = {"cookie": {"name": "cohort-id", "domain": "example.com"}}
    await direct.configure(config(rollout(50, anonymousId=cookie)))
    for host, fits in {
        "shop.example.com": True,
        "EXAMPLE.com:8080": True,
        "shop.example.de": False,
        "badexample.com": False,
        "10.0.0.1": False,
    }.items():
        (line,) = (await get(direct.address, host=host)).all("set-cookie")
        assert ("; Domain=example.com" in line) == fits, (host, line)


async def test_many_pins_come_in_bounded_numbers(direct: Envoy):
    pins = [rollout(100, name=f"r{n}", pin={"cookie": {"name": f"p{n}"}}, output={}, anonymousId=ID) for n in range(50)]
    await direct.configure(config(*pins))
    person, rounds = Person(direct.address), []
    for _ in range(4):
        reply = await get(direct.address, "/", person.headers())
        person.keep(reply)
        rounds.append(len(reply.all("set-cookie")))
    assert rounds == [20, 20, 11, 0], "one id and 50 pins"
    said = [line for line in direct.filter_log() if "cookies were to go out on one answer" in line]
    assert len(said) <= 2, "once for each worker"
    assert said and "51 cookies" in said[0]


async def test_the_host_and_parts_are_keys_over_both_protocols(direct: Envoy):
    key = [{"all": [{"host": True}, {"header": "x-user-id", "capture": "^u-([0-9]+)"}]}]
    split = rollout(50, hashKey=key)
    await direct.configure(config(split))
    for number in range(20):
        wanted = arithmetic.version(split, f"t{number}.example.com\0{number}")
        for ask in (get, get_http2):
            reply = await ask(direct.address, "/", [("x-user-id", f"u-{number}-x")], host=f"T{number}.example.com:80")
            assert (reply.one("x-cohort-checkout"), reply.one("x-cohort-reason")) == (wanted, "HASH")
    assert (await get(direct.address, "/", [("x-user-id", "u-")])).one("x-cohort-reason") == "DEFAULT"
