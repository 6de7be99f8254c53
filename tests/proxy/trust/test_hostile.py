"""Nothing that a client or an upstream sends kills the filter, and nothing is lost beside it.

The filter has everything configured that there is (`tests/cases/full.json`), on one worker, and with the
failure policy that never forgives: were its VM to die, every later request would be answered with 503.
After each case a plain request must get the answer it always gets.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import socket
from collections.abc import AsyncIterator

import h2.exceptions
import pytest
from conftest import Launch
from lab import bootstrap
from lab.bootstrap import ENVOY_DIR
from lab.envoy import Envoy
from lab.service import Service
from lab.until import until
from lab.wire import get, get_http2, request
from rude import ANSWERS, Http2, Rude, reset, say

SHOP = "shop.example.com"

#: How many mutated requests `test_mutated_requests` sends; more for a report.
MUTATIONS = int(os.environ.get("COHORT_HOSTILE", "300"))


def full() -> dict:
    """Everything configured. The guard watches and never trips, so that the answer after a case is known."""
    config = json.loads((ENVOY_DIR.parent / "tests" / "cases" / "full.json").read_text())
    config["rollouts"][0]["guard"]["minRequests"] = 1_000_000
    return config


def harden(boot: dict) -> None:
    """Lets more through than Envoy does by default: the filter sees what others would never let it see."""
    manager = bootstrap.connection_manager(boot)
    manager["max_request_headers_kb"] = 512
    manager["common_http_protocol_options"] = {"max_headers_count": 20_000}
    manager["http_protocol_options"] = {"accept_http_10": True, "enable_trailers": True}
    manager["upgrade_configs"] = [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]
    manager["normalize_path"] = False
    manager["delayed_close_timeout"] = "0.02s"
    manager["request_headers_timeout"] = "20s"
    local = [
        {"match": {"path": "/checkout/direct"}, "direct_response": {"status": 418}},
        {"match": {"path": "/checkout/redirect"}, "redirect": {"path_redirect": "/checkout"}},
        {"match": {"path": "/checkout/no-cluster"}, "route": {"cluster_header": "x-no-cluster"}},
        {"match": {"path": "/checkout/empty"}, "route": {"cluster": "empty"}},
        {"match": {"path": "/checkout/refused"}, "route": {"cluster": "refused"}},
        {"match": {"path": "/checkout/timeout/silent"}, "route": {"cluster": "rude", "timeout": "0.1s"}},
        {"match": {"path": "/checkout/timeout/hang-in-body"}, "route": {"cluster": "rude", "timeout": "0.1s"}},
        {"match": {"prefix": "/checkout/rude/"}, "route": {"cluster": "rude", "timeout": "30s"}},
        {"match": {"connect_matcher": {}}, "direct_response": {"status": 418}},
    ]
    routes = bootstrap.routes(boot)
    routes[:0] = local


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
async def hostile(launch: Launch) -> AsyncIterator[Envoy]:
    async with Rude() as rude:
        clusters = {"rude": rude.address, "refused": ("127.0.0.1", free_port()), "empty": []}
        yield await launch(config=full(), clusters=clusters, edit=harden, failure_policy="FAIL_CLOSED")


@pytest.fixture(autouse=True)
async def unharmed(hostile: Envoy) -> AsyncIterator[None]:
    """After every case: the same VMs, nothing in the log, and a plain request gets its answer."""
    before = await vms(hostile)
    yield
    employee = [("x-user-id", "u"), ("x-employee", "yes"), ("x-cohort-checkout", "stable")]
    for ask in (get, get_http2):
        reply = await ask(hostile.address, "/checkout", employee, host=SHOP)
        assert (reply.status, reply.one("x-cohort-checkout"), reply.one("x-cohort-reason")) == (200, "canary", "RULE")
        assert reply.told["service"] == "checkout-v2"
        assert reply.reached("x-cohort-checkout") == ["canary"]
    assert await vms(hostile) == before
    bad = [line for line in hostile.log().splitlines() if re.search(r"panic|Function: |wasm_fail|\[critical\]", line)]
    assert not bad


async def vms(proxy: Envoy) -> dict[str, int]:
    """Envoy's own count of VMs that it made, lost or made anew."""
    return await proxy.stats("^wasm[.].*(created|fail|reload)")


async def outcome(proxy: Envoy, data: bytes) -> int:
    """The status of the answer to some bytes; 0 if the connection was closed instead."""
    return (await say(proxy.address, data)).status


#: The upstream that takes whatever comes, and says what did.
ANY = "/checkout/rude/any"


# --- requests ------------------------------------------------------------------------------------------

#: Every byte that no text should have, some that are almost UTF-8, and a tab.
RAW = bytes(range(0x80, 0x100)) + b"\t\xc3(\xed\xa0\x80\xf5\x80\xc0\xaf"

#: Headers that the filter, Envoy or both read.
READ = [
    "x-user-id", "x-canary", "x-canary-secret", "x-employee", "x-country", "x-cohort-checkout", "x-cohort-cluster",
    "x-cohort-reason", "x-feature-new-cart", "cookie", "baggage", "accept", "user-agent", "x-forwarded-proto",
    "x-forwarded-for", "x-request-id", "content-type", "referer", "te", "traceparent", "x-envoy-original-path",
]  # fmt: skip


@pytest.mark.parametrize("name", READ)
async def test_raw_bytes_in_a_header(hostile: Envoy, name: str):
    for value in (RAW, b"a=" + RAW + b"; b", b"\xff", b"", b"%", b"%ff%00%", b"=", b";;,,==%%", b'"', b"canary\xff"):
        assert await outcome(hostile, request(ANY, [(name, value), (name, value)], host=SHOP)) not in (0, 503)
        assert await http2(hostile, [(name.encode(), value)]) != 503


@pytest.mark.parametrize("name", ["uid", "plan", "canary", "cohort-id", "cohort-checkout", "\xff", "", "other"])
async def test_raw_bytes_in_a_cookie(hostile: Envoy, name: str):
    values = [RAW, b"", b'"', b'""', b'"a', b"canary.2026-11-21." + RAW, b"canary." * 40, b"." * 500, b"\xff.\xfe.\xfd"]
    for value in values:
        line = name.encode("latin-1") + b"=" + value
        for lines in ([line], [line, line], [b"; ".join([line] * 20)], [b";" + line + b";;"]):
            cookies = [("cookie", one) for one in lines]
            assert await outcome(hostile, request(ANY, cookies, host=SHOP)) == 200


@pytest.mark.parametrize(
    "query",
    ["", "?", "?uid", "?uid=", "?uid=%ff%00", "?&&&=&uid=&uid=1", "?canary=%", "?" + "&".join(["uid=1"] * 5000)],
)
async def test_odd_queries(hostile: Envoy, query: str):
    assert await outcome(hostile, request(ANY + query, host=SHOP)) == 200
    assert await http2(hostile, [], pseudo(path=(ANY + query).encode())) == 200


#: Requests that no client should send, and what Envoy may answer (0: it closes the connection).
MALFORMED: dict[str, tuple[bytes, set[int]]] = {
    "no host": (b"GET /checkout/rude/ HTTP/1.1\r\n\r\n", {400}),
    "empty host": (b"GET /checkout/rude/ HTTP/1.1\r\nHost:\r\n\r\n", {200, 400}),
    "two hosts": (b"GET /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\nHost: b\r\n\r\n", {200, 400}),
    "raw host": (b"GET /checkout/rude/ HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n", {200, 400}),
    "host with ports": (b"GET /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com:1:2:\r\n\r\n", {200, 400}),
    "bracket host": (b"GET /checkout/rude/ HTTP/1.1\r\nHost: [::1\r\n\r\n", {200, 400}),
    "raw path": (b"GET /checkout/rude/\xff\xfe?\xff=\xff HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", {200, 400}),
    "raw method": (b"G\xff\xfe /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", {400}),
    "unknown method": (b"BREW /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", {200, 400}),
    "raw header name": (b"GET /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\nx-\xff: 1\r\n\r\n", {400}),
    "NUL in a value": (b"GET /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\nx-user-id: a\0b\r\n\r\n", {400}),
    "empty name": (b"GET /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\n: 1\r\n\r\n", {400}),
    "space before colon": (
        b"GET /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\nx-user-id : 1\r\n\r\n",
        {200, 400},
    ),
    "folded line": (
        b"GET /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\nx-user-id: a\r\n b\r\n\r\n",
        {200, 400},
    ),
    "bare LF": (b"GET /checkout/rude/ HTTP/1.1\nHost: shop.example.com\n\n", {200, 400}),
    "absolute form": (b"GET http://shop.example.com/checkout/rude/?uid=1 HTTP/1.1\r\nHost: b\r\n\r\n", {200}),
    "asterisk form": (b"OPTIONS * HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", {200, 400, 404}),
    "empty path": (b"GET  HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", {400}),
    "path without slash": (b"GET checkout HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", {400, 404}),
    "HTTP/1.0": (b"GET /checkout/rude/ HTTP/1.0\r\nHost: shop.example.com\r\n\r\n", {200}),
    "HTTP/1.0 without host": (b"GET /checkout/rude/ HTTP/1.0\r\n\r\n", {200, 400}),
    "HTTP/0.9": (b"GET /checkout/rude/\r\n\r\n", {0, 400}),
    "HTTP/9.9": (b"GET /checkout/rude/ HTTP/9.9\r\nHost: shop.example.com\r\n\r\n", {200, 400, 426, 505}),
    "connect": (b"CONNECT shop.example.com:443 HTTP/1.1\r\nHost: shop.example.com:443\r\n\r\n", {0, 404, 418}),
    "connect without port": (b"CONNECT / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", {0, 400, 404, 418}),
    "two lengths": (
        b"POST /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        {400},
    ),
    "length and chunked": (
        b"POST /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n",
        {200, 400},
    ),
    "negative length": (
        b"POST /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: -1\r\n\r\n",
        {400},
    ),
    "bad chunk": (
        b"POST /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        {400},
    ),
    "chunked with forged trailers": (
        b"POST /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\na\r\n0\r\nx-cohort-checkout: \xff\r\nx_cohort_checkout: canary\r\nbaggage: cohort-checkout=\xff\r\n\r\n",
        {200},
    ),
    "expect": (
        b"POST /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\nExpect: 100-continue\r\n"
        b"Content-Length: 1\r\n\r\na",
        {100, 200},
    ),
    "unknown upgrade": (
        b"GET /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\nConnection: upgrade\r\nUpgrade: \xff\r\n\r\n",
        {200, 400, 403, 426},
    ),
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), {0, 400}),
    "only line ends": (b"\r\n" * 50 + b"GET /checkout/rude/ HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", {200, 400}),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_requests(hostile: Envoy, name: str):
    data, allowed = MALFORMED[name]
    assert await outcome(hostile, data) in allowed


PSEUDO = {b":method": b"GET", b":scheme": b"http", b":authority": SHOP.encode(), b":path": ANY.encode()}


def pseudo(**changes: bytes | None) -> list[tuple[bytes, bytes]]:
    changed = {**PSEUDO, **{f":{name}".encode(): value for name, value in changes.items()}}
    return [(name, value) for name, value in changed.items() if value is not None]


async def http2(proxy: Envoy, more: list[tuple[bytes, bytes]], head: list[tuple[bytes, bytes]] | None = None) -> int:
    """The status of an HTTP/2 request; 0 if its stream or connection was closed instead."""
    async with Http2(proxy.address) as client:
        return await client.until_end(await client.begin((pseudo() if head is None else head) + more))


ODD_HTTP2: dict[str, list[tuple[bytes, bytes]]] = {
    "no method": pseudo(method=None),
    "no scheme": pseudo(scheme=None),
    "no authority": pseudo(authority=None),
    "no path": pseudo(path=None),
    "nothing at all": [(b"x-user-id", b"u")],
    "empty method": pseudo(method=b""),
    "empty scheme": pseudo(scheme=b""),
    "empty authority": pseudo(authority=b""),
    "empty path": pseudo(path=b""),
    "raw method": pseudo(method=b"\xff"),
    "raw scheme": pseudo(scheme=b"\xff"),
    "raw authority": pseudo(authority=b"\xff\xfe"),
    "raw path": pseudo(path=b"/checkout\xff?\xff"),
    "path without slash": pseudo(path=b"checkout"),
    "asterisk": pseudo(method=b"OPTIONS", path=b"*"),
    "connect": pseudo(method=b"CONNECT", scheme=None, path=None),
    "connect with a protocol": [*pseudo(method=b"CONNECT"), (b":protocol", b"websocket")],
    "unknown pseudo-header": [*pseudo(), (b":version", b"canary")],
    "path twice": [*pseudo(), (b":path", b"/elsewhere")],
    "authority and another host": [*pseudo(), (b"host", b"elsewhere.example.com")],
    "pseudo-header last": [*pseudo(path=None), (b"x-user-id", b"u"), (b":path", b"/checkout")],
    "upper case": [*pseudo(), (b"X-Cohort-Checkout", b"canary")],
    "connection header": [*pseudo(), (b"connection", b"x-cohort-checkout")],
    "te": [*pseudo(), (b"te", b"gzip")],
    "line end in a value": [*pseudo(), (b"x-user-id", b"a\r\nx-cohort-checkout: canary")],
    "NUL in a value": [*pseudo(), (b"x-user-id", b"a\0")],
    "raw name": [*pseudo(), (b"x-\xff", b"1")],
    "empty name": [*pseudo(), (b"", b"1")],
    "space in a name": [*pseudo(), (b"x-cohort-checkout ", b"canary")],
    "colon in a name": [*pseudo(), (b"x-cohort-checkout:", b"canary")],
}


@pytest.mark.parametrize("name", ODD_HTTP2)
async def test_odd_http2_requests(hostile: Envoy, name: str):
    assert await http2(hostile, [], ODD_HTTP2[name]) != 503


# --- size ----------------------------------------------------------------------------------------------

LARGE: dict[str, list[tuple[str, bytes]]] = {
    "64 KiB in one header": [("x-user-id", b"u" * 64 * 1024)],
    "64 KiB in sixty-four headers": [(f"x-h-{number}", b"v" * 1024) for number in range(64)],
    "10,000 headers": [(f"x-h-{number}", b"") for number in range(10_000)],
    "10,000 cookies in one line": [("cookie", b"; ".join(b"c%d=\xff" % number for number in range(10_000)))],
    "10,000 cookies of one name": [("cookie", b"; ".join([b"cohort-checkout=canary.2026-11-21.a"] * 10_000))],
    "10,000 cookie lines": [("cookie", b"c%d=1" % number) for number in range(10_000)],
    "10,000 baggage members": [("baggage", b",".join([b"cohort-checkout=canary"] * 10_000))],
    "10,000 foreign baggage members": [("baggage", b",".join(b"k%d=v;p" % number for number in range(10_000)))],
    "5,000 baggage lines": [("baggage", b"cohort%2Dcheckout=canary")] * 5000,
    "10,000 copies of our header": [("x-cohort-checkout", b"canary")] * 10_000,
    "every spelling of our header": [
        (f"x{one}cohort{two}checkout", b"canary") for one in "!#$%&'*+-.^_`|~" for two in "!#$%&'*+-.^_`|~"
    ],
    "contradictory headers": [("x-canary", b"always"), ("x-canary", b"never"), ("x-country", b"US"), ("x-country", b"")]
    * 1000,
    "a pin of 64 KiB": [("cookie", b"cohort-checkout=canary.2026-11-21." + b"A" * 65_536)],
    "a cookie line of separators": [("cookie", b";= " * 20_000)],
    "a baggage line of percents": [("baggage", b"%25" * 20_000)],
}


@pytest.mark.parametrize("name", LARGE)
async def test_large_requests(hostile: Envoy, name: str):
    headers = LARGE[name]
    said = await say(hostile.address, request(ANY, headers, host=SHOP))
    assert said.status == 200
    ours = [value for name, value in said.reached() if re.sub(b"[^a-z0-9]", b"-", name) == b"x-cohort-checkout"]
    assert len(ours) == 1 and ours[0] in (b"stable", b"canary")
    # Over HTTP/2 Envoy may find the frames too many; the filter must live either way.
    assert await http2(hostile, [(name.encode(), value) for name, value in headers]) in (0, 200, 431)


# --- answers and aborts --------------------------------------------------------------------------------

LOCAL = {
    "direct": 418, "redirect": 301, "no-cluster": 503, "empty": 503, "refused": 503,
    "timeout/silent": 504, "timeout/hang-in-body": 200,
}  # fmt: skip


@pytest.mark.parametrize("name", LOCAL)
async def test_answers_that_envoy_gives_itself(hostile: Envoy, name: str):
    data = request(f"/checkout/{name}", [("x-user-id", "u"), ("x-no-cluster", "nowhere")], host=SHOP)
    said = await say(hostile.address, data)
    assert said.status == LOCAL[name]
    assert b"x-cohort-checkout: " in said.head
    assert (
        await http2(hostile, [(b"x-no-cluster", b"nowhere")], pseudo(path=f"/checkout/{name}".encode())) == LOCAL[name]
    )


@pytest.mark.parametrize("name", sorted(set(ANSWERS) - {"silent", "hang-in-body", "websocket"}))
@pytest.mark.parametrize("kind", ["plain", "grpc"])
async def test_answers_of_a_rude_upstream(hostile: Envoy, name: str, kind: str):
    before = await at_rest(hostile)
    more = [(b"content-type", b"application/grpc"), (b"te", b"trailers")] if kind == "grpc" else []
    path = f"/checkout/rude/{name}".encode()
    await http2(hostile, more, pseudo(path=path, method=b"POST"))
    await say(hostile.address, request(path.decode(), [*more, ("Connection", "close")], host=SHOP))
    # Whatever came of it: both were requests with an outcome.
    await have_ended(hostile, before + 2)


async def in_flight(proxy: Envoy) -> float:
    active = "http.http.downstream_rq_active"
    return (await proxy.stats(f"^{active}$"))[active]


async def counts(proxy: Envoy) -> tuple[float, float]:
    """Requests, and outcomes of requests. A scrape while a request ends may find the one without the other."""
    metrics = await proxy.metrics()
    return metrics.sum("cohort_requests_total"), metrics.sum("cohort_responses_total")


async def at_rest(proxy: Envoy) -> float:
    """Requests counted, each with one outcome, once none is in flight."""
    await until(lambda: in_flight(proxy), "no request in flight", holds=lambda now: now == 0)
    requests, _ = await until(lambda: counts(proxy), "an outcome of every request", holds=lambda now: now[0] == now[1])
    return requests


async def have_ended(proxy: Envoy, count: float) -> None:
    """Returns once so many requests are counted, each with one outcome."""
    await until(lambda: counts(proxy), f"{count:g} requests counted", holds=lambda now: now == (count, count))


HEAD = request("/checkout/rude/silent", [("x-user-id", "u")], host=SHOP)
POST = b"POST /checkout/rude/silent HTTP/1.1\r\nHost: shop.example.com\r\nx-user-id: u\r\n"

#: What a client says before it goes away, and whether the filter has seen a request by then.
STAGES: dict[str, tuple[bytes, bool]] = {
    "nothing": (b"", False),
    "half a request line": (b"GET /check", False),
    "half the headers": (HEAD[: len(HEAD) // 2], False),
    "all but the last byte": (HEAD[:-1], False),
    "the request": (HEAD, True),
    "headers without their body": (POST + b"Content-Length: 100\r\n\r\n", True),
    "half a body": (POST + b"Content-Length: 100\r\n\r\nhalf", True),
    "half a chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n64\r\nhalf", True),
    "half the trailers": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-cohort-", True),
    "the answer's headers": (HEAD.replace(b"silent", b"hang-in-body"), True),
    "an upgrade": (
        b"GET /checkout/rude/websocket HTTP/1.1\r\nHost: shop.example.com\r\n"
        b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81",
        True,
    ),
}


@pytest.mark.parametrize("how", ["closed", "reset"])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_client_that_goes_away(hostile: Envoy, stage: str, how: str):
    data, seen = STAGES[stage]
    before, idle = await at_rest(hostile), "http.http.downstream_cx_active"
    connected = (await hostile.stats(f"^{idle}$"))[idle]
    reader, writer = await asyncio.open_connection(*hostile.address)
    writer.write(data)
    await writer.drain()
    await until(lambda: hostile.stats(f"^{idle}$"), "the connection", holds=lambda now: now[idle] > connected)
    if seen:
        await until(lambda: in_flight(hostile), "the request")
    if stage in ("the answer's headers", "an upgrade"):
        assert await reader.readuntil(b"\r\n\r\n")
    if how == "reset":
        reset(writer)
    else:
        writer.close()
    await until(lambda: hostile.stats(f"^{idle}$"), "the end", holds=lambda now: now[idle] <= connected)
    if seen:
        await have_ended(hostile, before + 1)
    else:
        assert await at_rest(hostile) == before


@pytest.mark.parametrize("path", ["silent", "hang-in-body"])
@pytest.mark.parametrize("how", ["reset stream", "close connection", "reset connection", "go away"])
async def test_an_http2_client_that_goes_away(hostile: Envoy, path: str, how: str):
    before = await at_rest(hostile)
    head = pseudo(path=b"/checkout/rude/" + path.encode(), method=b"POST")
    async with Http2(hostile.address) as client:
        streams = [await client.begin(head, end=number % 2 == 0) for number in range(6)]
        if path == "hang-in-body":
            assert [await client.until_answer(stream) for stream in streams] == [200] * 6
        await until(lambda: in_flight(hostile), "the requests", holds=lambda now: now == 6)
        if how == "reset stream":
            for stream in streams:
                await client.reset(stream)
        elif how == "go away":
            client.h2.close_connection()
            await client.flush()
        elif how == "reset connection":
            reset(client.writer)
        if how == "go away":
            client.writer.close()
    await have_ended(hostile, before + 6)


async def test_thousands_of_streams_reset_at_once(hostile: Envoy):
    """A rapid reset: each stream is counted once or never seen. Envoy closes a connection that overdoes it."""
    before = await at_rest(hostile)
    for _ in range(4):
        async with Http2(hostile.address) as client:
            try:
                for _ in range(10):
                    for stream in [await client.begin(pseudo(path=b"/checkout/rude/silent")) for _ in range(50)]:
                        await client.reset(stream)
            except (ConnectionError, h2.exceptions.ProtocolError):
                pass
    assert before < await at_rest(hostile) <= before + 2000
    # As many connections came and went at the upstream: it has to come back to its senses for what follows.
    answer = request(ANY, host=SHOP)
    await until(lambda: outcome(hostile, answer), "the upstream answers again", holds=lambda status: status == 200)


async def test_a_websocket_goes_through_and_is_counted_at_its_end(hostile: Envoy):
    before = await at_rest(hostile)
    reader, writer = await asyncio.open_connection(*hostile.address)
    writer.write(
        b"GET /checkout/rude/websocket HTTP/1.1\r\nHost: shop.example.com\r\nx-user-id: \xff\r\n"
        b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101") and b"x-cohort-checkout: " in head
    for number in range(100):
        frame = b"\x82\x7e\xff%d" % number
        writer.write(frame)
        assert await reader.readexactly(len(frame)) == frame
    writer.close()
    await have_ended(hostile, before + 1)


async def test_grpc_over_http2_with_every_status(hostile: Envoy, launch: Launch):
    """Statuses in real trailers, known ones and ones that no specification has."""
    async with Service("checkout-v1", http2=True) as service:

        def over_http2(boot: dict) -> None:
            kind = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
            options = {"@type": kind, "explicit_http_config": {"http2_protocol_options": {}}}
            for name in ("checkout-v1", "checkout-v2"):
                one = bootstrap.cluster(boot, name)
                one["typed_extension_protocol_options"] = {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
                }

        both = {"checkout-v1": service.address, "checkout-v2": service.address}
        config = full()
        del config["rollouts"][0]["health"]
        proxy = await launch(config=config, clusters=both, edit=over_http2, failure_policy="FAIL_CLOSED")
        statuses = [*range(18), 255, -1, 2**31, 2**63]
        for status in statuses:
            await service.behave(grpc_status=status)
            headers = [("content-type", "application/grpc"), ("te", "trailers")]
            reply = await get_http2(proxy.address, "/checkout", headers, method="POST", host=SHOP, body=b"\0\0\0\0\0")
            assert reply.status == 200
            assert dict(reply.trailers)["grpc-status"] == str(status)
        metrics = await proxy.metrics_when(
            lambda now: now.sum("cohort_requests_total") == len(statuses), "every call counted"
        )
        assert metrics.sum("cohort_failures_total") == 5, "UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS"


# --- at random -----------------------------------------------------------------------------------------


def mutated(seed: int) -> bytes:
    """A request that uses everything configured, with some of its bytes changed."""
    at_random = random.Random(seed)
    cookies = "plan=beta; uid=42; cohort-checkout=canary.2026-11-21.c2ln; cohort-id=0123456789abcdef; canary=always"
    data = bytearray(
        request(
            f"{ANY}?uid=7&canary=never",
            [
                ("x-user-id", "user-1"), ("cookie", cookies), ("baggage", "cohort-checkout=canary;p=1,tenant=blue"),
                ("x-canary", "always"), ("x-canary-secret", "open sesame"), ("x-country", "US"),
                ("x_cohort_checkout", "canary"), ("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https"),
                ("connection", "close"),
            ],
            host=SHOP,
        )
    )  # fmt: skip
    for _ in range(at_random.randint(1, 6)):
        at = at_random.randrange(len(data) - 4)
        kind = at_random.randrange(4)
        if kind == 0:
            data[at] = at_random.randrange(256)
        elif kind == 1:
            data[at:at] = bytes(at_random.randrange(128, 256) for _ in range(at_random.randint(1, 30)))
        elif kind == 2:
            del data[at : at + at_random.randint(1, 12)]
        else:
            other = at_random.randrange(len(data) - 4)
            data[at:at] = data[other : other + at_random.randint(1, 60)]
    # Whatever became of it, it ends.
    return bytes(data) + b"\r\n\r\n"


async def test_mutated_requests(hostile: Envoy):
    statuses: dict[int, int] = {}
    for first in range(0, MUTATIONS, 16):
        seeds = range(first, min(first + 16, MUTATIONS))
        answers = await asyncio.gather(*(outcome(hostile, mutated(seed)) for seed in seeds))
        for seed, status in zip(seeds, answers, strict=True):
            assert status != 503, f"seed {seed}"
            statuses[status] = statuses.get(status, 0) + 1
    assert statuses.get(200, 0) > MUTATIONS / 10 and statuses.get(400, 0) > 0, statuses
