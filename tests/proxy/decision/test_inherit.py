"""A decision at the edge holds at the next hop: two Envoys with an application between them.

The application does what OpenTelemetry does for it and no more: the SDK's own propagator reads `baggage`
from the request and writes it on the next. Nothing else of the request goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from conftest import Launch, config, rollout
from lab import arithmetic
from lab.bootstrap import Address
from lab.client import users
from lab.envoy import Envoy
from lab.wire import Reply, get
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context

OVERRIDES = {"header": "x-canary"}
#: The client comes from 127.0.0.1 like the application does, so the two differ by address alone: the
#: application calls from here.
APPLICATION = "127.0.0.9"


class Application:
    """Answers with what the second proxy answers, to which only `baggage` goes on."""

    def __init__(self) -> None:
        self.next: Address = ("127.0.0.1", 0)
        #: The headers of the last request that came, and the baggage that went on.
        self.came: list[tuple[str, str]] = []
        self.sent: str | None = None

    async def __aenter__(self) -> Application:
        site = web.Application()
        site.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(site, access_log=None, max_field_size=65536)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address: Address = self._runner.addresses[0]
        connector = aiohttp.TCPConnector(local_addr=(APPLICATION, 0))
        self._http = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        self.came = [(name.decode().lower(), value.decode("latin-1")) for name, value in request.raw_headers]
        propagator = W3CBaggagePropagator()
        carrier = {name: value for name, value in reversed(self.came)}
        context = propagator.extract(carrier, Context())
        onward: dict[str, str] = {}
        propagator.inject(onward, context)
        self.sent = onward.get("baggage")
        async with self._http.get(f"http://127.0.0.1:{self.next[1]}/", headers=onward) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower().startswith("x-")}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


@dataclass
class Chain:
    edge: Envoy
    application: Application
    inner: Envoy

    async def get(self, *headers: tuple[str, str]) -> Reply:
        """Through all of it."""
        return await get(self.edge.address, headers=headers)

    def came(self, name: str) -> list[str]:
        """The values of a header that the application saw."""
        return [value for found, value in self.application.came if found == name]


def edge_rollout(weight: float = 30, **more: Any) -> dict[str, Any]:
    """What the edge does: whoever has a key is decided, and baggage goes on."""
    return rollout(weight, overrides=OVERRIDES, output={"baggage": True}, **more)


def inner_rollout(weight: float = 0, **more: Any) -> dict[str, Any]:
    """What the second hop does: it has no key to decide by."""
    return rollout(weight, **{"inherit": {"addresses": [f"{APPLICATION}/32"], "baggage": True}, **more})


@pytest.fixture(scope="module")
async def application() -> AsyncIterator[Application]:
    async with Application() as application:
        yield application


@pytest.fixture(scope="module")
async def chain(launch: Launch, application: Application) -> Chain:
    there = {"checkout-v1": application.address, "checkout-v2": application.address}
    edge = await launch(config=config(edge_rollout()), clusters=there)
    inner = await launch(config=config(inner_rollout()))
    application.next = inner.address
    return Chain(edge, application, inner)


@pytest.fixture(autouse=True)
async def as_configured(chain: Chain) -> None:
    await chain.edge.configure(config(edge_rollout()))
    await chain.inner.configure(config(inner_rollout()))


def decision(reply: Reply) -> tuple[str | None, str | None, str]:
    """Version and reason as the second proxy says them, and who answered it."""
    assert reply.status == 200
    return reply.one("x-cohort-checkout"), reply.one("x-cohort-reason"), reply.told["service"]


SERVICE = {"stable": "checkout-v1", "canary": "checkout-v2"}


async def test_every_user_has_the_version_of_the_edge_at_the_next_hop(chain: Chain):
    seen = set()
    for user in users(100):
        version = arithmetic.version(rollout(30), user)
        reply = await chain.get(("x-user-id", user))
        assert chain.came("x-cohort-checkout") == [version]
        assert decision(reply) == (version, "INHERITED", SERVICE[version]), user
        seen.add(version)
    assert seen == {"stable", "canary"}


async def test_an_override_at_the_edge_holds_at_the_next_hop(chain: Chain):
    for version in SERVICE:
        reply = await chain.get(("x-canary", version))
        assert decision(reply) == (version, "INHERITED", SERVICE[version])


async def test_a_second_hop_passes_the_decision_on_only_where_it_is_told_to(chain: Chain):
    """What came from a trusted peer and was followed stays, also where this hop writes no baggage."""
    reply = await chain.get(("x-canary", "canary"))
    assert reply.reached("baggage") == ["cohort-checkout=canary"]
    # Where this hop decides otherwise, the old word goes.
    await chain.inner.configure(config(inner_rollout(enabled=False)))
    reply = await chain.get(("x-canary", "canary"))
    assert decision(reply) == ("stable", "DISABLED", "checkout-v1")
    assert reply.reached("baggage") == []
    await chain.inner.configure(config(inner_rollout(enabled=False, output={"baggage": True})))
    reply = await chain.get(("x-canary", "canary"))
    assert reply.reached("baggage") == ["cohort-checkout=stable"]


async def test_without_inherit_the_next_hop_decides_for_itself(chain: Chain):
    own = inner_rollout()
    del own["inherit"]
    await chain.inner.configure(config(own))
    reply = await chain.get(("x-canary", "canary"))
    assert reply.status == 200
    assert chain.came("baggage") == ["cohort-checkout=canary"]
    assert reply.told["service"] == "checkout-v1"
    assert reply.reached("baggage") == []


async def test_without_baggage_in_inherit_only_the_route_header_counts(chain: Chain):
    header_only = {"addresses": [f"{APPLICATION}/32"]}
    await chain.inner.configure(config(inner_rollout(inherit=header_only)))
    reply = await chain.get(("x-canary", "canary"))
    assert decision(reply) == ("stable", "DEFAULT", "checkout-v1")
    reply = await get(chain.inner.address, headers=[("x-cohort-checkout", "canary")], source=APPLICATION)
    assert decision(reply) == ("canary", "INHERITED", "checkout-v2")


async def test_the_route_header_comes_before_baggage(chain: Chain):
    both = [("x-cohort-checkout", "stable"), ("baggage", "cohort-checkout=canary")]
    reply = await get(chain.inner.address, headers=both, source=APPLICATION)
    assert decision(reply) == ("stable", "INHERITED", "checkout-v1")


async def test_a_peer_outside_the_addresses_cannot_choose(chain: Chain):
    labels = {"rollout": "checkout", "what": "inherit"}
    before = (await chain.inner.metrics()).sum("cohort_ignored_total", **labels)
    for brought in (("x-cohort-checkout", "canary"), ("baggage", "tenant=blue,cohort-checkout=canary")):
        reply = await get(chain.inner.address, headers=[brought], source="127.0.0.8")
        assert decision(reply) == ("stable", "DEFAULT", "checkout-v1")
        assert reply.reached("baggage") in ([], ["tenant=blue"])
    # Nor by saying that it is somebody else.
    claim = [("x-forwarded-for", APPLICATION), ("x-cohort-checkout", "canary")]
    reply = await get(chain.inner.address, headers=claim, source="127.0.0.8")
    assert decision(reply) == ("stable", "DEFAULT", "checkout-v1")
    await chain.inner.metrics_when(
        lambda m: m.sum("cohort_ignored_total", **labels) == before + 3, "three ignored decisions"
    )


async def test_a_version_that_there_is_not_is_ignored(chain: Chain):
    for brought in (
        ("x-cohort-checkout", "red"),
        ("baggage", "cohort-checkout=red"),
        ("baggage", "cohort-checkout"),
    ):
        reply = await get(chain.inner.address, headers=[brought], source=APPLICATION)
        assert decision(reply) == ("stable", "DEFAULT", "checkout-v1")
        assert reply.reached("x-cohort-checkout") == ["stable"]


#: Keys that some reader down the line might take for `cohort-checkout`. OpenTelemetry's propagator
#: percent-decodes keys, reads `+` as a space, takes Unicode's white space off both ends and writes the
#: result down: the first proxy has to see through all of it.
LAUNDERED = [
    "cohort-checkout",
    "cohort%2Dcheckout",
    "cohort%2dcheckout",
    "%63ohort-checkout",
    "%63%6F%68%6F%72%74%2D%63%68%65%63%6B%6F%75%74",
    "cohort%252Dcheckout",
    "cohort%25252Dcheckout",
    "+cohort-checkout",
    "cohort-checkout+",
    "++cohort-checkout++",
    "%20cohort-checkout",
    "%2Bcohort-checkout",
    "%09cohort-checkout%0A",
    "%1Fcohort-checkout",
    "%C2%A0cohort-checkout",
    "cohort-checkout%C2%85",
    "%E2%80%83cohort-checkout%E3%80%80",
    "%E2%80%83+cohort%2Dcheckout",
]


@pytest.mark.parametrize("key", LAUNDERED)
async def test_a_forged_member_does_not_come_clean_through_the_application(chain: Chain, key: str):
    reply = await chain.get(("baggage", f"tenant=blue,{key}=canary"), ("baggage", f"{key}=canary"))
    assert decision(reply) == ("stable", "INHERITED", "checkout-v1")
    assert chain.came("baggage") == ["tenant=blue,cohort-checkout=stable"]
    # Also at an edge that writes no baggage of its own, where nothing else says what holds.
    await chain.edge.configure(config(rollout(0)))
    reply = await chain.get(("baggage", f"tenant=blue,{key}=canary,region=eu"))
    assert decision(reply) == ("stable", "DEFAULT", "checkout-v1")
    assert chain.application.sent == "tenant=blue,region=eu"


async def test_a_member_hidden_in_somebody_elses_stays_theirs(chain: Chain):
    await chain.edge.configure(config(rollout(0)))
    for member in (
        "note=a%2Ccohort-checkout%3Dcanary",
        "note=a;cohort-checkout=canary",
        "cohort-checkouts=canary",
        "xcohort-checkout=canary",
        "cohort-search=canary",
        "Cohort-Checkout=canary",
    ):
        reply = await chain.get(("baggage", member))
        assert chain.came("baggage") == [member]
        assert decision(reply) == ("stable", "DEFAULT", "checkout-v1"), member


async def test_baggage_of_others_goes_through_as_it_is(chain: Chain):
    lines = ["tenant=blue;ttl=3 , region=eu", "key%20one=a%2Cb"]
    reply = await chain.get(("x-canary", "canary"), *(("baggage", line) for line in lines))
    assert chain.came("baggage") == ["tenant=blue;ttl=3,region=eu,key%20one=a%2Cb,cohort-checkout=canary"]
    assert decision(reply)[:2] == ("canary", "INHERITED")
    (line,) = reply.reached("baggage")
    assert "region=eu" in line.split(",") and "cohort-checkout=canary" in line.split(",")


def members(count: int) -> str:
    return ",".join(f"k{number}=v" for number in range(count))


@pytest.mark.parametrize(
    ("theirs", "fits"),
    [
        (members(63), True),
        (members(64), False),
        ("a=" + "x" * (8192 - len(",cohort-checkout=stable") - 2), True),
        ("a=" + "x" * (8192 - len(",cohort-checkout=stable") - 1), False),
    ],
    ids=["63 members", "64 members", "8,192 bytes", "8,193 bytes"],
)
async def test_ours_is_left_out_where_it_would_pass_the_limits_and_theirs_stay(chain: Chain, theirs: str, fits: bool):
    await chain.get(("x-canary", "stable"), ("baggage", theirs))
    assert chain.came("baggage") == [f"{theirs},cohort-checkout=stable" if fits else theirs]


async def test_a_forged_member_goes_also_where_there_is_no_room_for_ours(chain: Chain):
    await chain.get(("x-canary", "stable"), ("baggage", f"{members(64)},cohort-checkout=canary"))
    assert chain.came("baggage") == [members(64)]
