"""The full example of the documentation: every line of it has an effect that a real Envoy shows.

`LINES` has an entry for each value in `tests/cases/full.json`: what is looked at, what is seen with the
example as it is, and another value with which something else is seen. A test holds that no line is left
out.

No line depends on the day. A line of the ramp is looked at with a start that is so many minutes ago. A line that
the ramp would hide is looked at with its start far ahead, where the weights of `versions` hold.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import hashlib
import hmac
import itertools
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from aiohttp import web
from conftest import Launch
from lab import arithmetic, bootstrap
from lab.client import ask, users
from lab.envoy import COMMAND, REPOSITORY, Envoy, Metrics
from lab.service import Service
from lab.until import TooLate, until
from lab.wire import Reply, get
from upstream import upstream

EXAMPLE = json.loads((REPOSITORY / "tests" / "cases" / "full.json").read_text())
Document = dict[str, Any]


# --- users by their place ----------------------------------------------------------------------------


def user(low: int, high: int) -> str:
    """One whose bucket is from `low` to below `high` thousandths of a percent."""
    return next(u for u in users(5000) if low <= arithmetic.bucket("checkout", u) < high)


def address(low: int, high: int) -> str:
    """A client, outside 10.0.0.0/8, whose address is such a key."""
    wanted = (f"203.0.{a}.{b}" for a in range(256) for b in range(256))
    return next(one for one in wanted if low <= arithmetic.bucket("checkout", one) < high)


#: In the canary at 5 percent; from 25 percent; from 50 percent; only at 100.
IN_5, IN_25, IN_50, IN_100 = user(3500, 5000), user(15_000, 25_000), user(30_000, 50_000), user(60_000, 100_000)
#: Clients in the canary at 5 percent, and in stable whatever comes short of 100.
CLIENT_5, CLIENT_100 = address(0, 5000), address(60_000, 100_000)
INSIDE = "10.1.2.3"
SECRET = "secret"


# --- the stage ---------------------------------------------------------------------------------------


class Prober:
    """A service that remembers how its health was asked for, and a metrics server that remembers its questions."""

    def __init__(self) -> None:
        self.good, self.delay = True, 0.0
        self.asked: list[tuple[str, str]] = []
        self.times: list[float] = []
        self.answers: list[bool] = []
        #: Host and query.
        self.questions: list[tuple[str, str]] = []

    async def _query(self, request: web.Request) -> web.Response:
        query = request.query["query"]
        self.questions.append((request.headers["host"], query))
        await asyncio.sleep(1.5 if query == "slow" else 0)
        result = [] if query == "nothing" else [{"metric": {}, "value": [1, "0.01"]}]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})

    async def serve(self, request: web.Request) -> web.Response:
        if (request.method, request.path) == ("GET", "/api/v1/query"):
            return await self._query(request)
        self.asked.append((request.headers["host"], request.path))
        self.times.append(time.monotonic())
        await asyncio.sleep(self.delay)
        self.answers.append(self.good)
        return web.Response(status=200 if self.good else 503)

    def reset(self, *, good: bool = True, delay: float = 0.0) -> None:
        self.good, self.delay = good, delay
        self.asked.clear()
        self.times.clear()
        self.answers.clear()
        self.questions.clear()


@dataclass
class Shop:
    proxy: Envoy
    v1: Service
    v2: Service
    prober: Prober
    #: Whether what is looked for now should happen. If it should, there is time enough for a busy machine.
    should: bool = False

    async def happens(self, ask: Callable[[], Any], what: str, *, within: float) -> bool:
        """Whether something happens; `within` seconds are waited if it should not."""
        try:
            await until(ask, what, timeout=60 if self.should else within)
            return True
        except TooLate:
            return False

    async def ask(
        self,
        *headers: tuple[str, str],
        path: str = "/checkout/cart",
        host: str = "shop.example.com",
        method: str = "GET",
        address: str = CLIENT_100,
    ) -> Reply:
        """A request of a client that the proxy in front of this one vouches for."""
        came = [("x-forwarded-for", address), *headers]
        reply = await get(self.proxy.address, path, came, host=host, method=method)
        assert reply.status == 200
        return reply

    async def held_out(self, version: str = "canary") -> bool:
        # A native worker looks at what it saw before its next request.
        if self.proxy.edge == "native":
            await ask(self.proxy.url, itertools.islice(OTHERS, 4), concurrency=4, **ABOUT)
        metrics = await self.proxy.metrics()
        return metrics.sum("cohort_version_held_out", rollout="checkout", rollout_version=version) == 1

    async def is_in_traffic(self) -> None:
        """Returns once the canary is: until the first tick of a configuration the gauge is that of the one before."""
        await until(self.held_out, "the canary in traffic", holds=lambda out: not out)


@pytest.fixture(scope="module")
async def shop(launch: Launch, v1: Service, v2: Service) -> AsyncIterator[Shop]:
    prober = Prober()

    def edge(boot: dict[str, Any]) -> None:
        bootstrap.connection_manager(boot)["xff_num_trusted_hops"] = 1
        by_cluster = {"match": {"prefix": "/checkout/by-cluster"}, "route": {"cluster_header": "x-cohort-cluster"}}
        bootstrap.routes(boot).insert(0, by_cluster)

    async with upstream(prober.serve) as address:
        proxy = await launch(config=EXAMPLE, edit=edge, clusters={"prober": address})
        yield Shop(proxy, v1, v2, prober)


# --- what is looked at -------------------------------------------------------------------------------

Look = Callable[[Shop], Awaitable[Any]]


def decided(*headers: tuple[str, str], **more: Any) -> Look:
    """Version, reason, and the service that answered."""

    async def look(shop: Shop) -> Any:
        reply = await shop.ask(*headers, **more)
        return reply.one("x-cohort-checkout"), reply.one("x-cohort-reason"), reply.told["service"]

    return look


def by_user(who: str, *headers: tuple[str, str], **more: Any) -> Look:
    return decided(("x-user-id", who), *headers, **more)


def overridden(*headers: tuple[str, str], address: str = INSIDE, **more: Any) -> Look:
    """Like `by_user`, of one who may override and is in stable."""
    return by_user(IN_100, ("x-canary-secret", SECRET), *headers, address=address, **more)


def reached(header: str, *headers: tuple[str, str], **more: Any) -> Look:
    """The values of a request header that came to the service."""

    async def look(shop: Shop) -> list[str]:
        return (await shop.ask(*headers, **more)).reached(header)

    return look


def answered(header: str, *headers: tuple[str, str]) -> Look:
    """The values of a header of the answer."""

    async def look(shop: Shop) -> list[str]:
        return (await shop.ask(*headers)).all(header)

    return look


async def pin(shop: Shop) -> dict[str, str]:
    """The cookie that pins a new user of the canary: name, value and attributes."""
    (line,) = (await shop.ask(("x-user-id", IN_5))).all("set-cookie")
    first, *attributes = line.split("; ")
    name, _, value = first.partition("=")
    parts = (attribute.partition("=") for attribute in attributes)
    return {"name": name, "value": value, **{name: value for name, _, value in parts}}


def pin_has(name: str) -> Look:
    async def look(shop: Shop) -> str | None:
        return (await pin(shop)).get(name)

    return look


async def pin_from_before(shop: Shop) -> str | None:
    """The reason for a user of the canary who was pinned under the example as it is."""
    return (await shop.ask(("x-user-id", IN_5), ("cookie", f"cohort-checkout={PINNED}"))).one("x-cohort-reason")


#: The pin of IN_5 under the example as it is: HMAC-SHA-256 of rollout, version, generation and key.
def _pinned() -> str:
    key = base64.b64decode(EXAMPLE["rollouts"][0]["pin"]["signingKey"])
    parts = [b"checkout", b"canary", b"2026-11-21", IN_5.encode()]
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    mac = base64.urlsafe_b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode().rstrip("=")
    return f"canary.2026-11-21.{mac}"


PINNED = _pinned()


def new_id(part: int) -> Look:
    """A part of the cookie that a visitor without a key is given: name, or an attribute."""

    async def look(shop: Shop) -> str | None:
        lines = (await shop.ask()).all("set-cookie")
        ids = [line for line in lines if not line.startswith("cohort-checkout=")]
        if not ids:
            return None
        return [ids[0].partition("=")[0], *ids[0].split("; ")[1:]][part]

    return look


async def told(shop: Shop, *args: str) -> dict[str, Any]:
    """What the command says of a request, of the configuration that is in force."""
    argv = [str(COMMAND), "explain", "-", "--url", "http://shop.example.com/checkout", "--output", "json", *args]
    text = json.dumps(shop.proxy.config)
    done = await asyncio.to_thread(subprocess.run, argv, input=text, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def explained(*args: str) -> Look:
    """The rule that decided, as the command says it: the filter itself tells no rule's name."""

    async def look(shop: Shop) -> str | None:
        return (await told(shop, *args))["rule"]

    return look


#: A workload by its certificate.
PEER = "spiffe://cluster.local/ns/shop/sa/web"


def explained_of(principal: str, *headers: tuple[str, str]) -> Look:
    """The reason for a request of a workload: certificates are shown in `test_principals.py`."""

    async def look(shop: Shop) -> str:
        args = [part for name, value in headers for part in ("-H", f"{name}: {value}")]
        return (await told(shop, "--principal", principal, *args))["reason"]

    return look


#: Users whom the weights give the canary, and the others: round and round, for of each user only the first answer
#: in ten seconds counts.
CANARIES, OTHERS = (
    itertools.cycle([u for u in users(20_000) if (arithmetic.bucket("checkout", u) < 5000) is inside])
    for inside in (True, False)
)


#: What a request for the rollout checkout is like.
ABOUT = {"path": "/checkout", "headers": {"host": "shop.example.com", "x-forwarded-for": CLIENT_100}}


def tripped(
    *, canary: dict[str, Any], stable: dict[str, Any] | None = None, batch: int = 60, batches: int = 4, pause: float = 0
) -> Look:
    """Whether the guard takes the canary out when the services behave like this."""

    async def look(shop: Shop) -> bool:
        await shop.is_in_traffic()
        await shop.v2.behave(**canary)
        await shop.v1.behave(**(stable or {}))
        try:
            for batch_number in range(batches):
                # Side by side, so that every moment has seen as much of the one as of the other.
                some = itertools.chain(*itertools.islice(zip(OTHERS, CANARIES, strict=False), batch))
                await ask(shop.proxy.url, some, concurrency=64, **ABOUT)
                if batch_number < batches - 1:
                    with contextlib.suppress(TooLate):
                        await until(shop.held_out, "held out", timeout=pause or 1.0)
                        return True
            return await shop.happens(shop.held_out, "held out", within=pause or 1.0)
        finally:
            for service in (shop.v1, shop.v2):
                await service.behave(failure_ratio=0.0, delay_ms=0.0)

    return look


FAILING = {"failure_ratio": 0.3}
SLOW = {"delay_ms": 600.0}


async def after_the_trip(shop: Shop) -> Any:
    """What users of the canary get once it is out."""
    shop.should = True
    assert await tripped(canary=FAILING)(shop)
    reply = await shop.ask(("x-user-id", IN_5))
    return reply.one("x-cohort-checkout"), reply.one("x-cohort-reason")


async def remembered_trip(shop: Shop) -> str | None:
    """The reason for a user of the canary, once it was taken out under the first configuration."""
    if shop.should:
        assert await tripped(canary=FAILING)(shop)
    return (await shop.ask(("x-user-id", IN_5))).one("x-cohort-reason")


async def tried_again(shop: Shop) -> bool:
    """Whether the canary is tried again soon after being taken out."""
    should, shop.should = shop.should, True
    mark = len(shop.proxy.log())
    assert await tripped(canary=FAILING)(shop)
    shop.should = should
    said = "version canary is tried again"
    return await shop.happens(lambda: said in shop.proxy.log()[mark:], said, within=3)


async def unready_goes_out(shop: Shop) -> bool:
    """Whether a user of the canary gets another version while checkout-v2 says that it is not ready."""
    await shop.is_in_traffic()
    await shop.v2.behave(ready=False)
    try:
        return await goes_out(shop)
    finally:
        await shop.v2.behave(ready=True)


async def polled(shop: Shop) -> tuple[str, str]:
    """Host and path of a health check."""
    shop.prober.reset()
    return (await until(lambda: shop.prober.asked, "a health check"))[0]


async def checks(shop: Shop) -> set[str]:
    """The checks that the metrics tell of."""

    async def there() -> set[str]:
        return set((await shop.proxy.metrics()).by("check", "cohort_analysis_errors_total"))

    name = shop.proxy.config["rollouts"][0]["analysis"][0]["name"]
    return await until(there, f"the series of {name}", holds=lambda found: name in found)


#: Host and query of what `asking` has the prober asked.
QUESTION = ("prometheus.monitoring", "x")


async def is_asked(shop: Shop) -> bool:
    """Whether the prober is asked that."""
    return await shop.happens(lambda: QUESTION in shop.prober.questions, "a question", within=3)


async def question(shop: Shop) -> tuple[str, str]:
    """Host and query of a question."""
    await until(lambda: shop.prober.questions, "a question")
    return next(iter(shop.prober.questions))


async def asks_again(shop: Shop) -> bool:
    return await shop.happens(lambda: len(shop.prober.questions) > 1, "two questions", within=8)


async def goes_out(shop: Shop) -> bool:
    async def out() -> bool:
        return (await shop.ask(("x-user-id", IN_5))).one("x-cohort-reason") == "FALLBACK"

    return await shop.happens(out, "held out", within=4)


async def polls_at_once(shop: Shop) -> bool:
    """Whether the second poll comes within three seconds of the first, by the clock of who is polled."""
    await until(lambda: len(shop.prober.times) > 1, "two health checks")
    first, second = shop.prober.times[:2]
    return second - first < 3


async def slow_to_be_ready(shop: Shop) -> bool:
    """Whether a cluster that takes one and a half seconds to say that it is ready is held out."""
    await shop.is_in_traffic()
    shop.prober.reset(delay=1.5)
    try:
        return await shop.happens(shop.held_out, "held out", within=4)
    finally:
        shop.prober.reset()


async def answers_until(shop: Shop, held_out: bool) -> int:
    """How many answers of a kind in a row took the canary out, or brought it back: the proxy's log says it."""
    shop.prober.reset(good=held_out)
    await until(lambda: len(shop.prober.times) > 3, "some answers")
    await until(shop.held_out, "the state to begin with", holds=lambda now: now is not held_out)
    mark = len(shop.proxy.log())
    shop.prober.reset(good=not held_out)
    said = re.compile(("held out of traffic" if held_out else "is back in traffic") + r".*?(\d+) in a row")
    return int((await until(lambda: said.search(shop.proxy.log()[mark:]), "the other state"))[1])


# --- changes -----------------------------------------------------------------------------------------

Change = Callable[[Document], None]


def at(document: Document, path: str) -> tuple[Any, Any]:
    """The object or list that holds a path's value, and the key or position of it there."""
    place: Any = {"$": document}
    steps = [step for step in path.replace("]", "").replace("[", "/").split("/") if step]
    for step in ["$", *steps][:-1]:
        place = place[int(step) if isinstance(place, list) else step]
    return place, int(steps[-1]) if isinstance(place, list) else steps[-1]


def put(**changes: Any) -> Change:
    """Sets values of the rollout, by path with `__` for `/`."""

    def change(document: Document) -> None:
        for path, value in changes.items():
            place, key = at(document, "rollouts[0]/" + path.replace("__", "/"))
            place[key] = value

    return change


def renamed(old: str, new: str) -> Change:
    """Another name for a version, wherever the example speaks of it."""

    def change(document: Document) -> None:
        text = json.dumps(document).replace(f'"{old}"', f'"{new}"')
        document.clear()
        document.update(json.loads(text))

    return change


def without(path: str) -> Change:
    def change(document: Document) -> None:
        place, key = at(document, path)
        del place[key]

    return change


def both(*changes: Change) -> Change:
    def change(document: Document) -> None:
        for one in changes:
            one(document)

    return change


def since(**ago: float) -> Change:
    """The ramp began that long ago, and the versions' own weight is another one than its steps'."""

    def change(document: Document) -> None:
        start = datetime.now(timezone.utc) - timedelta(**ago)
        put(ramp__start=start.strftime("%Y-%m-%dT%H:%M:%SZ"), versions__1__weight=1)(document)

    return change


def a_rule_for(segment: str) -> Change:
    def change(document: Document) -> None:
        document["rollouts"][0]["rules"].insert(0, {"name": "first", "segment": segment, "version": "canary"})

    return change


def a_third_version(document: Document) -> None:
    document["rollouts"][0]["versions"].append({"name": "green", "weight": 0, "cluster": "checkout-v1"})


#: A guard remembers an unchanged rollout, and a health check an unchanged check: each test has its own.
FRESH = itertools.count()


def not_yet(document: Document) -> None:
    """The ramp begins in the next century, at another instant each time."""
    put(ramp__start=f"2100-01-01T00:00:00.{next(FRESH):03}Z")(document)


def unasked(document: Document) -> None:
    """A health check of which nothing is known yet."""
    put(health__canary__path=f"/ready?{next(FRESH)}")(document)


#: No address to fall back on, so that a visitor can be without a key.
NO_ADDRESS = without("rollouts[0]/hashKey[3]")
PROBER = both(unasked, put(health__canary__cluster="prober"))
OFTEN = put(health__canary__interval="500ms", health__canary__timeout="500ms")
PROBED_OFTEN = both(PROBER, OFTEN)


def asking(query: str = "x", **check: Any) -> Change:
    """The prober is the metrics server, and one bad look is enough."""
    check = {"cluster": "prober", "query": query, "interval": "5s", "failures": 1, **check}
    return both(not_yet, put(**{f"analysis__0__{key}": value for key, value in check.items()}))


@dataclass(frozen=True)
class Line:
    """How the effect of one line shows."""

    look: Look
    #: What is seen with the line as it is.
    sees: Any
    #: The value with which something else is seen, or how to change the document.
    other: Any
    #: What else is changed in both documents, so that it shows at all.
    given: Change = not_yet


CANARY, STABLE = ("canary", "HASH", "checkout-v2"), ("stable", "HASH", "checkout-v1")
RULE, OVERRIDE = ("canary", "RULE", "checkout-v2"), ("canary", "OVERRIDE", "checkout-v2")
#: What is seen where something did happen.
HAPPENED = (True, "FALLBACK")

INHERITED = ("canary", "INHERITED", "checkout-v2")
BY_CLUSTER = {"path": "/checkout/by-cluster"}
IN_US, IN_CA = ("x-country", "US"), ("x-country", "CA")
WARY = {"failure_ratio": 0.1}

LINES: dict[str, Line] = {
    # A segment that no rule of the example names shows through a rule that does.
    "segments/beta[0]/cookie/plan/exact": Line(
        by_user(IN_100, ("cookie", "plan=beta")), RULE, "gold", both(not_yet, a_rule_for("beta"))
    ),
    "segments/internal[0]/header/x-employee/present": Line(by_user(IN_100, ("x-employee", "")), RULE, False),
    "segments/internal[1]/address[0]": Line(by_user(IN_100, address=INSIDE), RULE, "10.2.0.0/16"),
    "rollouts[0]/name": Line(
        reached("baggage", ("x-user-id", IN_5)), ["cohort-checkout=canary"], both(put(name="till"))
    ),
    "rollouts[0]/enabled": Line(by_user(IN_5), CANARY, False),
    "rollouts[0]/mode": Line(by_user(IN_5), CANARY, "shadow"),
    "rollouts[0]/match[0]/host/exact": Line(by_user(IN_5), CANARY, "example.com"),
    "rollouts[0]/match[0]/path/prefix": Line(by_user(IN_5), CANARY, "/till"),
    "rollouts[0]/match[0]/method[0]": Line(by_user(IN_5, method="GET"), CANARY, "PUT"),
    "rollouts[0]/match[0]/method[1]": Line(by_user(IN_5, method="POST"), CANARY, "PUT"),
    "rollouts[0]/versions[0]/name": Line(
        reached("x-cohort-checkout", ("x-user-id", IN_100)), ["stable"], renamed("stable", "old")
    ),
    "rollouts[0]/versions[0]/cluster": Line(by_user(IN_100, **BY_CLUSTER), STABLE, "checkout-v2"),
    "rollouts[0]/versions[1]/name": Line(
        reached("x-cohort-checkout", ("x-user-id", IN_5)), ["canary"], renamed("canary", "new")
    ),
    "rollouts[0]/versions[1]/weight": Line(by_user(IN_25), STABLE, 25),
    "rollouts[0]/versions[1]/cluster": Line(by_user(IN_5, **BY_CLUSTER), CANARY, "checkout-v1"),
    "rollouts[0]/versions[1]/drain": Line(pin_from_before, "HASH", True, both(not_yet, put(versions__1__weight=0))),
    "rollouts[0]/versions[1]/revision": Line(remembered_trip, "FALLBACK", "2.4.2"),
    "rollouts[0]/versions[1]/requestHeaders/x-feature-new-cart": Line(
        reached("x-feature-new-cart", ("x-user-id", IN_5)), ["on"], "maybe"
    ),
    "rollouts[0]/hashKey[0]/header": Line(by_user(IN_5, ("cookie", f"uid={IN_100}")), CANARY, "x-account"),
    "rollouts[0]/hashKey[1]/cookie": Line(decided(("cookie", f"uid={IN_5}")), CANARY, "account"),
    "rollouts[0]/hashKey[2]/query": Line(decided(path=f"/checkout?uid={IN_5}"), CANARY, "account"),
    "rollouts[0]/hashKey[3]/address": Line(
        decided(address=CLIENT_5), CANARY, both(without("rollouts[0]/hashKey[3]"), without("rollouts[0]/anonymousId"))
    ),
    "rollouts[0]/salt": Line(
        by_user(next(u for u in users(999) if arithmetic.bucket("till", u) >= 5000 > arithmetic.bucket("checkout", u))),
        CANARY,
        "till",
    ),
    "rollouts[0]/hashScheme": Line(
        by_user(
            next(
                u
                for u in users(999)
                if not arithmetic.unleash("checkout", u, 5) and arithmetic.bucket("checkout", u) < 5000
            )
        ),
        CANARY,
        "unleash",
    ),
    # Every client has an address, which is the last of the keys: without that one, ids are issued.
    "rollouts[0]/anonymousId/cookie/name": Line(new_id(0), "cohort-id", "visitor", both(not_yet, NO_ADDRESS)),
    "rollouts[0]/anonymousId/cookie/maxAge": Line(new_id(2), "Max-Age=31536000", "1d", both(not_yet, NO_ADDRESS)),
    "rollouts[0]/anonymousId/cookie/sameSite": Line(new_id(4), "SameSite=Lax", "Strict", both(not_yet, NO_ADDRESS)),
    "rollouts[0]/pin/cookie/name": Line(pin_has("name"), "cohort-checkout", "remembered"),
    "rollouts[0]/pin/cookie/path": Line(pin_has("Path"), "/", "/checkout"),
    "rollouts[0]/pin/cookie/domain": Line(pin_has("Domain"), "example.com", "shop.example.com"),
    "rollouts[0]/pin/cookie/maxAge": Line(pin_has("Max-Age"), "86400", "2d"),
    "rollouts[0]/pin/cookie/secure": Line(pin_has("Secure"), "", False),
    "rollouts[0]/pin/cookie/httpOnly": Line(pin_has("HttpOnly"), "", False),
    "rollouts[0]/pin/cookie/sameSite": Line(pin_has("SameSite"), "Lax", "None"),
    "rollouts[0]/pin/cookie/partitioned": Line(pin_has("Partitioned"), None, True),
    "rollouts[0]/pin/versions[0]": Line(pin_from_before, "PINNED", "stable"),
    "rollouts[0]/pin/generation": Line(pin_from_before, "PINNED", "2026-11-22"),
    "rollouts[0]/pin/signingKey": Line(pin_from_before, "PINNED", "YW5vdGhlciBzaXh0ZWVuIGJ5dGVz"),
    "rollouts[0]/overrides/header": Line(overridden(("x-canary", "canary")), OVERRIDE, "x-look"),
    "rollouts[0]/overrides/cookie": Line(overridden(("cookie", "canary=canary")), OVERRIDE, "look"),
    "rollouts[0]/overrides/query": Line(overridden(path="/checkout?canary=canary"), OVERRIDE, "look"),
    "rollouts[0]/overrides/values/always": Line(overridden(("x-canary", "always")), OVERRIDE, "stable"),
    "rollouts[0]/overrides/values/never": Line(
        overridden(("x-canary", "never")), ("stable", "OVERRIDE", "checkout-v1"), "canary"
    ),
    "rollouts[0]/overrides/require/addresses[0]": Line(overridden(("x-canary", "canary")), OVERRIDE, "172.16.0.0/12"),
    "rollouts[0]/overrides/require/secretHeader": Line(overridden(("x-canary", "canary")), OVERRIDE, "x-other-secret"),
    "rollouts[0]/overrides/require/secretSha256": Line(
        overridden(("x-canary", "canary")), OVERRIDE, hashlib.sha256(b"another").hexdigest()
    ),
    "rollouts[0]/inherit/addresses[0]": Line(
        decided(("x-cohort-checkout", "canary"), address=INSIDE), INHERITED, "172.16.0.0/12"
    ),
    "rollouts[0]/inherit/principals[0]": Line(
        explained_of(PEER, ("x-cohort-checkout", "canary")), "INHERITED", "spiffe://cluster.local/ns/other/"
    ),
    "rollouts[0]/inherit/baggage": Line(
        decided(("baggage", "cohort-checkout=canary"), address=INSIDE), INHERITED, False
    ),
    "rollouts[0]/rules[0]/name": Line(explained("--address", INSIDE), "employees", "staff"),
    "rollouts[0]/rules[0]/segment": Line(by_user(IN_100, address=INSIDE), RULE, "beta"),
    "rollouts[0]/rules[0]/version": Line(by_user(IN_100, address=INSIDE), RULE, "stable"),
    "rollouts[0]/rules[1]/name": Line(explained("--address", CLIENT_100, "-H", "x-country: US"), "beta-users", "north"),
    "rollouts[0]/rules[1]/match[0]/header/x-country/in[0]": Line(by_user(IN_50, IN_US), RULE, "MX"),
    "rollouts[0]/rules[1]/match[0]/header/x-country/in[1]": Line(by_user(IN_50, IN_CA), RULE, "MX"),
    "rollouts[0]/rules[1]/match[0]/not/path/suffix": Line(
        by_user(IN_50, IN_US, path="/checkout/cart.js"), STABLE, ".css"
    ),
    "rollouts[0]/rules[1]/weights/canary": Line(by_user(IN_50, IN_US), RULE, 25),
    "rollouts[0]/ramp/start": Line(by_user(IN_100), CANARY, "2100-01-01T00:00:00Z", since(hours=2)),
    "rollouts[0]/ramp/steps[0]/after": Line(by_user(IN_5), CANARY, "5m", since(minutes=2)),
    "rollouts[0]/ramp/steps[0]/weights/canary": Line(by_user(IN_5), CANARY, 2, since(minutes=2)),
    "rollouts[0]/ramp/steps[1]/after": Line(by_user(IN_25), CANARY, "40m", since(minutes=20)),
    "rollouts[0]/ramp/steps[1]/weights/canary": Line(by_user(IN_25), CANARY, 10, since(minutes=20)),
    "rollouts[0]/ramp/steps[2]/after": Line(by_user(IN_100), CANARY, "4h", since(hours=2)),
    "rollouts[0]/ramp/steps[2]/weights/canary": Line(by_user(IN_100), CANARY, 50, since(hours=2)),
    # Groups of 20 that come 1.2 s apart: half a minute sees the 50 that are wanted, one second at most 40, also
    # where a look that should come every quarter of a second comes a second late.
    "rollouts[0]/guard/window": Line(
        tripped(canary={"failure_ratio": 0.5}, batch=20, batches=4, pause=1.2), True, "1s"
    ),
    "rollouts[0]/guard/minRequests": Line(tripped(canary=FAILING), True, 500),
    "rollouts[0]/guard/maxFailureRatio": Line(tripped(canary=FAILING), True, 0.5),
    "rollouts[0]/guard/timesWorseThanStable": Line(tripped(canary={"failure_ratio": 0.5}, stable=WARY), True, 20),
    "rollouts[0]/guard/slowerThan": Line(tripped(canary=SLOW), True, "3s"),
    "rollouts[0]/guard/maxSlowRatio": Line(tripped(canary=SLOW), True, 1),
    "rollouts[0]/guard/retryAfter": Line(tried_again, False, "1s"),
    "rollouts[0]/guard/fallback": Line(after_the_trip, ("stable", "FALLBACK"), "green", both(not_yet, a_third_version)),
    "rollouts[0]/analysis[0]/name": Line(checks, {"orders"}, "sales"),
    "rollouts[0]/analysis[0]/version": Line(goes_out, True, "green", both(asking(), a_third_version)),
    "rollouts[0]/analysis[0]/cluster": Line(is_asked, True, "checkout-v1", asking()),
    "rollouts[0]/analysis[0]/host": Line(question, QUESTION, "other", asking()),
    "rollouts[0]/analysis[0]/query": Line(question, QUESTION, "y", asking()),
    "rollouts[0]/analysis[0]/min": Line(goes_out, True, 0.001, asking()),
    "rollouts[0]/analysis[0]/interval": Line(asks_again, True, "30s", asking()),
    "rollouts[0]/analysis[0]/timeout": Line(goes_out, True, "1s", asking("slow")),
    "rollouts[0]/analysis[0]/failures": Line(goes_out, True, 1000, asking()),
    "rollouts[0]/analysis[0]/onNoData": Line(goes_out, True, "ignore", asking("nothing", onNoData="fail")),
    "rollouts[0]/health/canary/cluster": Line(unready_goes_out, True, "checkout-v1", both(not_yet, unasked, OFTEN)),
    "rollouts[0]/health/canary/path": Line(polled, ("checkout", "/ready"), "/healthz", both(not_yet, PROBER)),
    "rollouts[0]/health/canary/host": Line(polled, ("checkout", "/ready"), "other", both(not_yet, PROBER)),
    "rollouts[0]/health/canary/interval": Line(
        polls_at_once, False, "1s", both(not_yet, PROBER, put(health__canary__timeout="900ms"))
    ),
    "rollouts[0]/health/canary/timeout": Line(slow_to_be_ready, True, "3s", both(not_yet, PROBER)),
    "rollouts[0]/health/canary/unhealthyThreshold": Line(
        lambda shop: answers_until(shop, held_out=True), 3, 1, both(not_yet, PROBED_OFTEN)
    ),
    "rollouts[0]/health/canary/healthyThreshold": Line(
        lambda shop: answers_until(shop, held_out=False), 2, 1, both(not_yet, PROBED_OFTEN)
    ),
    "rollouts[0]/output/routeHeader": Line(reached("x-cohort-checkout", ("x-user-id", IN_5)), ["canary"], "x-version"),
    "rollouts[0]/output/clusterHeader": Line(
        reached("x-cohort-cluster", ("x-user-id", IN_5)), ["checkout-v2"], "x-cluster"
    ),
    "rollouts[0]/output/responseHeader": Line(
        answered("x-cohort-checkout", ("x-user-id", IN_5)), ["canary"], "x-version"
    ),
    "rollouts[0]/output/reasonHeader": Line(answered("x-cohort-reason", ("x-user-id", IN_5)), ["HASH"], "x-why"),
    "rollouts[0]/output/baggage": Line(reached("baggage", ("x-user-id", IN_5)), ["cohort-checkout=canary"], False),
}


def leaves(value: Any, path: str = "") -> list[str]:
    """The path of every value that is neither an object nor a list."""
    if isinstance(value, dict):
        return [leaf for key, one in value.items() for leaf in leaves(one, f"{path}/{key}" if path else key)]
    if isinstance(value, list):
        return [leaf for position, one in enumerate(value) for leaf in leaves(one, f"{path}[{position}]")]
    return [path]


def test_the_table_has_every_line_of_the_example():
    assert list(LINES) == leaves(EXAMPLE)


async def test_the_example_loads_as_it_is(shop: Shop):
    await shop.proxy.configure(EXAMPLE)
    metrics = await shop.proxy.metrics_when(Metrics.ticked, "gauges")
    assert metrics.value("cohort_config_invalid") == 0


@pytest.mark.clock
async def test_the_ramp_of_the_example_reaches_its_last_step(shop: Shop):
    document = copy.deepcopy(EXAMPLE)
    since(hours=2)(document)
    await shop.proxy.configure(document)
    canary = {"rollout": "checkout", "rollout_version": "canary"}
    await shop.proxy.metrics_when(lambda now: now.value("cohort_version_weight", **canary) == 100_000, "the last step")
    assert await by_user(IN_100)(shop) == CANARY


def marked(path: str) -> Any:
    """A line; those of ramps, cookies and retries look at the clock."""
    clocked = any(
        part in path for part in ("/ramp/", "/pin/", "/anonymousId/", "/retryAfter", "/health/canary/interval")
    )
    return pytest.param(path, marks=[pytest.mark.clock] if clocked else [])


@pytest.mark.parametrize("path", [marked(path) for path in LINES])
async def test_a_line_has_an_effect(shop: Shop, path: str):
    line = LINES[path]
    document = copy.deepcopy(EXAMPLE)
    line.given(document)
    changed = copy.deepcopy(document)
    if callable(line.other):
        line.other(changed)
    else:
        place, key = at(changed, path)
        assert place[key] != line.other
        place[key] = line.other
    shop.prober.reset()
    await shop.proxy.configure(document)
    shop.should = line.sees in HAPPENED
    assert await line.look(shop) == line.sees
    shop.prober.reset()
    await shop.proxy.configure(changed)
    shop.should = line.sees not in HAPPENED
    assert await line.look(shop) != line.sees
