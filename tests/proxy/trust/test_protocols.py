"""The same decisions over HTTP/1.1, HTTP/2 and HTTP/3, and for gRPC-web: what a client speaks changes nothing."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from authority import Authority
from conftest import Launch, config, rollout
from http3 import Http3, address, listen
from lab import arithmetic, bootstrap
from lab.envoy import Envoy
from lab.service import Service
from lab.until import until
from lab.wire import Reply, get, get_http2
from rude import Rude

ID = {"cookie": {"name": "cohort-id"}}


@dataclass
class Edge:
    """A proxy that speaks all three, and what its certificate is signed with."""

    proxy: Envoy
    authority: Authority

    def http3(self) -> Any:
        return Http3.open(address(self.proxy), self.authority.certificate)

    async def get_http3(self, path: str, headers: list[tuple[str, str]]) -> Reply:
        async with self.http3() as connection:
            return await connection.get(path, headers)

    @property
    def ways(self) -> dict[str, Callable[[str, list[tuple[str, str]]], Awaitable[Reply]]]:
        return {
            "HTTP/1.1": lambda path, headers: get(self.proxy.address, path, headers),
            "HTTP/2": lambda path, headers: get_http2(self.proxy.address, path, headers),
            "HTTP/3": self.get_http3,
        }


@pytest.fixture(scope="module")
async def edge(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    async with (
        Rude() as rude,
        Service("checkout-v1", http2=True) as v1,
        Service("checkout-v2", http2=True) as v2,
    ):

        def edit(boot: dict[str, Any]) -> None:
            bootstrap.clusters(boot).append({**bootstrap.cluster(boot, "checkout-v1"), "name": "rude"})
            bootstrap.speak_http2(boot, "checkout-v1", "checkout-v2")
            silent = {"match": {"path": "/silent"}, "route": {"cluster": "rude", "timeout": "30s"}}
            bootstrap.routes(boot)[:0] = [silent]
            listen(boot, authority)

        clusters = {"checkout-v1": v1.address, "checkout-v2": v2.address, "rude": rude.address}
        proxy = await launch(
            config=config(rollout(50)), clusters=clusters, edit=edit, concurrency=2, failure_policy="FAIL_CLOSED"
        )
        yield Edge(proxy, authority)


@pytest.fixture(autouse=True)
async def unharmed(edge: Edge) -> AsyncIterator[None]:
    """After every case: no VM was lost or made anew, and nothing is in the log."""
    vms = "^wasm[.].*(fail|reload)"
    before = await edge.proxy.stats(vms)
    yield
    assert await edge.proxy.stats(vms) == before
    assert not [line for line in edge.proxy.log().splitlines() if re.search(r"panic|wasm_fail|\[critical\]", line)]


async def test_a_user_has_one_version_whatever_the_client_speaks(edge: Edge):
    split = rollout(50)
    await edge.proxy.configure(config(split))
    for number in range(20):
        wanted = arithmetic.version(split, f"user-{number}")
        service = {"stable": "checkout-v1", "canary": "checkout-v2"}[wanted]
        for way, ask in edge.ways.items():
            reply = await ask("/", [("x-user-id", f"user-{number}")])
            assert (reply.status, reply.told["service"]) == (200, service), way
            assert (reply.one("x-cohort-checkout"), reply.one("x-cohort-reason")) == (wanted, "HASH"), way
            assert reply.reached("x-cohort-checkout") == [wanted], way


@pytest.mark.parametrize("way", ["HTTP/1.1", "HTTP/2", "HTTP/3"])
async def test_a_forged_header_chooses_no_version_and_reaches_nobody(edge: Edge, way: str):
    await edge.proxy.configure(config(rollout(0, output={"baggage": True})))
    forged = [(name, "canary") for name in ("x-cohort-checkout", "x_cohort_checkout", "x.cohort-checkout") * 2]
    forged += [("baggage", "a=1,cohort-checkout=canary"), ("baggage", "%63ohort-checkout=canary"), ("x-user-id", "u")]
    reply = await edge.ways[way]("/", forged)
    assert (reply.status, reply.told["service"]) == (200, "checkout-v1")
    names = [re.sub("[^a-z0-9]", "-", name.lower()) for name, _ in reply.told["headers"]]
    assert names.count("x-cohort-checkout") == 1
    assert reply.reached("x-cohort-checkout") == ["stable"]
    members = [one.strip() for line in reply.reached("baggage") for one in line.split(",")]
    assert sorted(members) == ["a=1", "cohort-checkout=stable"]


async def test_trailers_over_http3_are_cleaned_too(edge: Edge):
    await edge.proxy.configure(config(rollout(0)))
    async with edge.http3() as connection:
        stream = connection.begin(headers=[("te", "trailers")], method="POST", end=False)
        trailers = [("x-cohort-checkout", "canary"), ("x_cohort_checkout", "canary"), ("x-sum", "1")]
        connection.go_on(stream, b"a", trailers)
        reply = await connection.answer(stream)
    assert (reply.status, reply.told["service"]) == (200, "checkout-v1")
    assert reply.told["trailers"] == [["x-sum", "1"]]


async def test_a_new_visitor_s_parallel_requests_over_http3_are_one_visitor(edge: Edge):
    split = rollout(50, anonymousId=ID)
    await edge.proxy.configure(config(split))
    ids = set()
    for _ in range(20):
        async with edge.http3() as connection:
            streams = [connection.begin(f"/api/{number}") for number in range(6)]
            replies = await asyncio.gather(*(connection.answer(stream) for stream in streams))
        lines = {line for reply in replies for line in reply.all("set-cookie")}
        assert len(lines) == 1, lines
        # It came over QUIC, and so over TLS.
        value, _, attributes = lines.pop().partition("=")[2].partition(";")
        assert "; Secure" in attributes
        assert {reply.one("x-cohort-checkout") for reply in replies} == {arithmetic.version(split, value)}
        ids.add(value)
    assert len(ids) == 20


async def test_every_stream_over_http3_is_counted_once(edge: Edge):
    await edge.proxy.configure(config(rollout(50)))

    async def counted() -> dict[str, float]:
        metrics = await edge.proxy.metrics()
        classes = metrics.by("code_class", "cohort_responses_total")
        return {"requests": metrics.sum("cohort_requests_total"), "2xx": 0, "none": 0, **classes}

    active = "http.http3.downstream_rq_active"
    before = await counted()
    async with edge.http3() as connection:
        for number in range(30):
            assert (await connection.get("/", [("x-user-id", f"user-{number}")])).status == 200
        streams = [connection.begin("/silent", [("x-user-id", f"user-{number}")]) for number in range(20)]
        await until(lambda: edge.proxy.stats(f"^{active}$"), "all under way", holds=lambda now: now[active] == 20)
        for stream in streams[:10]:
            connection.reset(stream)
    # The connection is closed, and with it the other ten.
    wanted = {"requests": before["requests"] + 50, "2xx": before["2xx"] + 30, "none": before["none"] + 20}

    def streams(counts: dict[str, float]) -> dict[str, float]:
        """Without classes that had none, which may be there or not."""
        return {name: count for name, count in counts.items() if count}

    wanted = streams({**before, **wanted})
    await until(counted, "every stream counted", holds=lambda now: streams(now) == wanted)


# --- gRPC-web ------------------------------------------------------------------------------------------


def grpc_web(boot: dict[str, Any], *, after: bool) -> None:
    kind = "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"
    filters = bootstrap.connection_manager(boot)["http_filters"]
    filters.insert(1 if after else 0, {"name": "grpc_web", "typed_config": {"@type": kind}})


@pytest.mark.parametrize("ask", [get, get_http2], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("cohort", ["before", "after"])
async def test_grpc_web_is_decided_and_counted(launch: Launch, cohort: str, ask: Any):
    """Behind Envoy's translation the guard sees the status; before it, the status is already in the body."""
    split = rollout(50, guard={"minRequests": 1_000_000})
    async with Service("checkout-v1", http2=True) as v1, Service("checkout-v2", http2=True) as v2:

        def edit(boot: dict[str, Any]) -> None:
            bootstrap.speak_http2(boot, "checkout-v1", "checkout-v2")
            grpc_web(boot, after=cohort == "before")

        clusters = {"checkout-v1": v1.address, "checkout-v2": v2.address}
        proxy = await launch(config=config(split), clusters=clusters, edit=edit)
        statuses = [0, 5, 14]
        for status in statuses:
            for service in (v1, v2):
                await service.behave(grpc_status=status)
            for number in range(10):
                wanted = arithmetic.version(split, f"user-{number}")
                headers = [
                    ("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1"),
                    ("x-user-id", f"user-{number}"), ("x-cohort-checkout", "canary"), ("x_cohort_checkout", "canary"),
                ]  # fmt: skip
                reply = await ask(proxy.address, "/shop.Cart/Get", headers, method="POST", body=b"\0\0\0\0\0")
                assert (reply.status, reply.one("x-cohort-checkout")) == (200, wanted)
                told, end = json.JSONDecoder().raw_decode(reply.body.decode("latin-1"))
                assert told["service"] == {"stable": "checkout-v1", "canary": "checkout-v2"}[wanted]
                names = [name for name, _ in told["headers"]]
                assert names.count("x-cohort-checkout") == 1 and "x_cohort_checkout" not in names
                assert ["content-type", "application/grpc"] in told["headers"], "translated for the upstream"
                # A frame of trailers (gRPC-Web, PROTOCOL-WEB.md).
                frame = reply.body[end:].lstrip()
                assert frame[:1] == b"\x80" and f"grpc-status:{status}".encode() in frame
        metrics = await proxy.metrics_when(
            lambda now: now.sum("cohort_responses_total", code_class="2xx", source="upstream") == 30, "every call"
        )
        assert metrics.sum("cohort_requests_total") == 30
        assert metrics.sum("cohort_failures_total") == (10 if cohort == "after" else 0)
