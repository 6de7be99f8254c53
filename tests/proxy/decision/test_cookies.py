"""What a browser remembers for us: anonymous ids and pins, on a real Envoy."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from conftest import Launch, config, rollout
from lab import arithmetic
from lab.bootstrap import Address, connection_manager
from lab.client import users
from lab.envoy import Envoy
from lab.wire import Reply, get, get_http2
from upstream import upstream

ID = {"cookie": {"name": "cohort-id", "maxAge": "365d"}}
PIN = {"cookie": {"name": "cohort-checkout", "maxAge": "1d"}, "versions": ["stable", "canary"]}
SECRET = b"sixteen bytes or more of random"
SIGNED = {**PIN, "signingKey": base64.b64encode(SECRET).decode()}

STABLE = next(f"u{n}" for n in range(99) if arithmetic.version(rollout(30), f"u{n}") == "stable")
CANARY = next(f"u{n}" for n in range(99) if arithmetic.version(rollout(30), f"u{n}") == "canary")


@dataclass
class Browser:
    """One visitor: keeps cookies by name until they expire and sends them back."""

    to: Address
    user: str | None = None
    #: Value and end by name.
    cookies: dict[str, tuple[str, float]] = field(default_factory=dict)
    #: What its clock says, in seconds: expiry is the browser's business alone.
    now: float = 0.0

    async def get(self, *headers: tuple[str, str | bytes], ask: Any = get) -> Reply:
        sent = [("x-user-id", self.user)] if self.user else []
        live = "; ".join(f"{name}={value}" for name, (value, end) in self.cookies.items() if self.now < end)
        if live:
            sent.append(("cookie", live))
        reply = await ask(self.to, headers=[*sent, *headers])
        assert reply.status == 200
        for line in reply.all("set-cookie"):
            pair, *attributes = line.split("; ")
            name, _, value = pair.partition("=")
            age = next((float(a[8:]) for a in attributes if a.startswith("Max-Age=")), float("inf"))
            self.cookies[name] = (value, self.now + age)
        return reply

    async def decided(self, *headers: tuple[str, str | bytes]) -> tuple[str | None, str | None, list[str]]:
        """Version, reason, and the names of the cookies that were set."""
        reply = await self.get(*headers)
        assert reply.one("x-cohort-checkout") == reply.one("x-served-by")
        names = [line.partition("=")[0] for line in reply.all("set-cookie")]
        return reply.one("x-cohort-checkout"), reply.one("x-cohort-reason"), names

    def value(self, name: str) -> str:
        return self.cookies[name][0]


# --- anonymous ids -----------------------------------------------------------------------------------


async def test_of_400_new_visitors_nobody_changes_between_the_first_request_and_the_next(direct: Envoy):
    split = rollout(50, anonymousId=ID)
    await direct.configure(config(split))
    moved, seen = 0, {"canary": 0, "stable": 0}
    ids = set()
    for _ in range(400):
        visitor = Browser(direct.address)
        first = await visitor.decided()
        second = await visitor.decided()
        assert first[1:] == ("HASH", ["cohort-id"])
        assert second[1:] == ("HASH", [])
        moved += first[0] != second[0]
        seen[first[0]] += 1
        ids.add(visitor.value("cohort-id"))
        assert first[0] == arithmetic.version(split, visitor.value("cohort-id"))
    assert moved == 0
    assert abs(seen["canary"] - 200) < 50, "five standard deviations"
    assert len(ids) == 400
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    # Random in each of its 128 bits: what comes from a clock or a counter has bits that hardly change.
    numbers = [int(one, 16) for one in ids]
    for bit in range(128):
        ones = sum(number >> bit & 1 for number in numbers)
        assert abs(ones - 200) < 60, (bit, ones)


async def test_an_id_serves_every_rollout_that_names_its_cookie(direct: Envoy):
    first = rollout(50, anonymousId=ID)
    second = rollout(50, name="second", anonymousId=ID, output={"responseHeader": "x-second"})
    await direct.configure(config(first, second))
    for _ in range(20):
        visitor = Browser(direct.address)
        replies = [await visitor.get() for _ in range(2)]
        assert [len(reply.all("set-cookie")) for reply in replies] == [1, 0]
        one = visitor.value("cohort-id")
        for reply in replies:
            assert reply.one("x-cohort-checkout") == arithmetic.version(first, one)
            assert reply.one("x-second") == arithmetic.version(second, one)


async def test_a_visitor_with_a_key_gets_no_id(direct: Envoy):
    await direct.configure(config(rollout(50, anonymousId=ID)))
    assert (await Browser(direct.address, "u1").decided())[2] == []


async def test_an_empty_id_is_none(direct: Envoy):
    await direct.configure(config(rollout(50, anonymousId=ID)))
    visitor = Browser(direct.address, cookies={"cohort-id": ("", float("inf"))})
    assert (await visitor.decided())[2] == ["cohort-id"]
    assert len(visitor.value("cohort-id")) == 32


async def test_no_id_is_issued_where_nothing_asks_for_a_key(direct: Envoy):
    everybody = [{"name": "all", "match": [{"path": {"prefix": "/"}}], "version": "canary"}]
    elsewhere = [{"path": {"exact": "/elsewhere"}}]
    for more in ({"enabled": False}, {"rules": everybody}, {"match": elsewhere}, {"mode": "shadow"}):
        await direct.configure(config(rollout(50, anonymousId=ID, **more)))
        reply = await get(direct.address)
        assert reply.all("set-cookie") == [], more


async def test_the_id_is_the_same_over_http2(direct: Envoy):
    split = rollout(50, anonymousId=ID)
    await direct.configure(config(split))
    visitor = Browser(direct.address)
    for _ in range(3):
        reply = await visitor.get(ask=get_http2)
        assert reply.one("x-cohort-checkout") == arithmetic.version(split, visitor.value("cohort-id"))


# --- the cookies themselves --------------------------------------------------------------------------

#: Attributes as the configuration states them; the line over http; over https where that differs.
ATTRIBUTES: list[tuple[Mapping[str, Any], str, str]] = [
    ({}, "Path=/; HttpOnly; SameSite=Lax", "Path=/; Secure; HttpOnly; SameSite=Lax"),
    (
        {"path": "/shop", "domain": "example.com", "maxAge": "1d"},
        "Path=/shop; Domain=example.com; Max-Age=86400; HttpOnly; SameSite=Lax",
        "Path=/shop; Domain=example.com; Max-Age=86400; Secure; HttpOnly; SameSite=Lax",
    ),
    ({"maxAge": "365d"}, "Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax", ""),
    ({"secure": True}, "Path=/; Secure; HttpOnly; SameSite=Lax", "Path=/; Secure; HttpOnly; SameSite=Lax"),
    ({"secure": False}, "Path=/; HttpOnly; SameSite=Lax", "Path=/; HttpOnly; SameSite=Lax"),
    ({"httpOnly": False}, "Path=/; SameSite=Lax", "Path=/; Secure; SameSite=Lax"),
    ({"sameSite": "Strict"}, "Path=/; HttpOnly; SameSite=Strict", ""),
    # Browsers refuse these two without Secure, whatever the request came over.
    ({"sameSite": "None"}, "Path=/; Secure; HttpOnly; SameSite=None", ""),
    ({"partitioned": True}, "Path=/; Secure; HttpOnly; SameSite=Lax; Partitioned", ""),
    (
        {
            **{"path": "/", "domain": "example.com", "maxAge": "90s", "secure": True},
            **{"httpOnly": True, "sameSite": "None", "partitioned": True},
        },
        "Path=/; Domain=example.com; Max-Age=90; Secure; HttpOnly; SameSite=None; Partitioned",
        "Path=/; Domain=example.com; Max-Age=90; Secure; HttpOnly; SameSite=None; Partitioned",
    ),
]


@pytest.fixture(scope="module")
async def behind_tls(launch: Launch) -> Envoy:
    """An Envoy behind a proxy of one's own that ends TLS: x-forwarded-proto is believed."""

    def one_hop(boot: dict[str, Any]) -> None:
        connection_manager(boot)["xff_num_trusted_hops"] = 1

    return await launch(config=config(rollout()), edit=one_hop)


@pytest.mark.parametrize(("attributes", "http", "https"), ATTRIBUTES, ids=lambda v: str(v) if v else "")
async def test_a_cookie_has_the_attributes_that_the_configuration_states(
    behind_tls: Envoy, attributes: dict, http: str, https: str
):
    both = {
        "anonymousId": {"cookie": {"name": "an-id", **attributes}},
        "pin": {"cookie": {"name": "a-pin", **attributes}},
    }
    await behind_tls.configure(config(rollout(100, **both)))
    reply = await get(behind_tls.address, host="shop.example.com")
    pin, one = reply.all("set-cookie")
    assert pin == f"a-pin=canary; {http}"
    assert re.fullmatch(f"an-id=[0-9a-f]{{32}}; {re.escape(http)}", one)
    if https:
        over_tls = [("x-forwarded-proto", "https"), ("x-forwarded-for", "203.0.113.7")]
        reply = await get(behind_tls.address, headers=[*over_tls, ("x-user-id", "u")], host="shop.example.com")
        assert reply.all("set-cookie") == [f"a-pin=canary; {https}"]


async def test_a_client_cannot_say_that_it_came_over_https(proxy: Envoy):
    await proxy.configure(config(rollout(100, pin=PIN)))
    reply = await get(proxy.address, headers=[("x-user-id", "u"), ("x-forwarded-proto", "https")])
    assert "Secure" not in str(reply.all("set-cookie"))


@pytest.fixture
async def with_cookies() -> AsyncIterator[Address]:
    """A service that sets three cookies of its own, one of them named like ours."""

    async def serve(_: web.Request) -> web.Response:
        answer = web.Response(text="{}")
        for line in ("session=1; Path=/", "cohort-checkout=theirs", "theme=dark; HttpOnly"):
            answer.headers.add("Set-Cookie", line)
        return answer

    async with upstream(serve) as address:
        yield address


async def test_the_cookies_of_an_application_survive(launch: Launch, with_cookies: Address):
    both = {"pin": PIN, "anonymousId": ID}
    proxy = await launch(config=config(rollout(0, **both)), clusters={"checkout-v1": with_cookies})
    theirs = ["session=1; Path=/", "cohort-checkout=theirs", "theme=dark; HttpOnly"]
    lines = (await get(proxy.address)).all("set-cookie")
    assert lines[:3] == theirs
    assert [line.partition("=")[0] for line in lines[3:]] == ["cohort-checkout", "cohort-id"]
    # And alone where we have nothing to set.
    await proxy.configure(config(rollout(0)))
    assert (await get(proxy.address)).all("set-cookie") == theirs


# --- pins --------------------------------------------------------------------------------------------


async def test_a_pin_is_set_once_and_then_holds(direct: Envoy):
    await direct.configure(config(rollout(30, pin=PIN)))
    for user, version in ((STABLE, "stable"), (CANARY, "canary")):
        browser = Browser(direct.address, user)
        assert await browser.decided() == (version, "HASH", ["cohort-checkout"])
        assert browser.value("cohort-checkout") == version
        for _ in range(2):
            assert await browser.decided() == (version, "PINNED", [])


async def test_a_pin_survives_a_change_of_weights_while_its_version_has_weight(direct: Envoy):
    await direct.configure(config(rollout(30, pin=PIN)))
    browsers = {user: Browser(direct.address, user) for user in users(60)}
    before = {user: (await browser.decided())[0] for user, browser in browsers.items()}
    assert set(before.values()) == {"stable", "canary"}
    for weight in (99.999, 0.001, 50):
        await direct.configure(config(rollout(weight, pin=PIN)))
        for user, browser in browsers.items():
            assert await browser.decided() == (before[user], "PINNED", []), (user, weight)


async def test_a_pin_is_released_at_once_when_its_version_loses_its_weight(direct: Envoy):
    await direct.configure(config(rollout(30, pin=PIN)))
    browser = Browser(direct.address, CANARY)
    await browser.decided()
    await direct.configure(config(rollout(0, pin=PIN)))
    assert await browser.decided() == ("stable", "HASH", ["cohort-checkout"])
    assert await browser.decided() == ("stable", "PINNED", [])
    # The new pin holds from now on, while stable has anything left.
    await direct.configure(config(rollout(99.999, pin=PIN)))
    assert await browser.decided() == ("stable", "PINNED", [])
    await direct.configure(config(rollout(100, pin=PIN)))
    assert await browser.decided() == ("canary", "HASH", ["cohort-checkout"])


async def test_a_pin_is_kept_while_its_version_drains(direct: Envoy):
    await direct.configure(config(rollout(30, pin=PIN)))
    browser = Browser(direct.address, CANARY)
    await browser.decided()
    drained = rollout(versions=[{"name": "stable"}, {"name": "canary", "weight": 0, "drain": True}], pin=PIN)
    await direct.configure(config(drained))
    assert await browser.decided() == ("canary", "PINNED", [])
    assert await Browser(direct.address, CANARY).decided() == ("stable", "HASH", ["cohort-checkout"])


async def test_a_blue_green_switch_drains_blue(direct: Envoy):
    """New users to green; who has a session stays on blue until the pin expires."""
    pin = {"cookie": {"name": "colour", "maxAge": "1h"}, "versions": ["blue", "green"]}
    blue = {"name": "blue", "drain": True}
    output = {"responseHeader": "x-cohort-checkout", "reasonHeader": "x-cohort-reason"}

    def switched(green: float) -> dict[str, Any]:
        versions = [blue, {"name": "green", "weight": green}]
        return config(rollout(versions=versions, pin=pin, output=output))

    async def decided(browser: Browser) -> tuple[str | None, str | None]:
        reply = await browser.get()
        # The route table knows green; blue is its default.
        assert reply.one("x-served-by") == {"green": "green", "blue": "stable"}[reply.one("x-cohort-checkout")]
        return reply.one("x-cohort-checkout"), reply.one("x-cohort-reason")

    await direct.configure(switched(0))
    old = [Browser(direct.address, user) for user in users(20)]
    for browser in old:
        assert await decided(browser) == ("blue", "HASH")
    await direct.configure(switched(100))
    for browser in old:
        assert await decided(browser) == ("blue", "PINNED")
    for user in users(20, "new-"):
        assert await decided(Browser(direct.address, user)) == ("green", "HASH")
    for browser in old:
        browser.now += 3599
        assert await decided(browser) == ("blue", "PINNED")
        browser.now += 1
        assert await decided(browser) == ("green", "HASH")
    # And back: a green user is released at once, for green does not drain.
    await direct.configure(switched(0))
    assert await decided(old[0]) == ("blue", "HASH")


async def test_a_new_generation_ends_all_pins(direct: Envoy):
    await direct.configure(config(rollout(30, pin=PIN)))
    browser = Browser(direct.address, CANARY)
    await browser.decided()
    for generation in ("one", "2026-11-21"):
        await direct.configure(config(rollout(1, pin={**PIN, "generation": generation})))
        assert await browser.decided() == ("stable", "HASH", ["cohort-checkout"])
        assert browser.value("cohort-checkout") == f"stable.{generation}"
        assert await browser.decided() == ("stable", "PINNED", [])


async def test_rules_and_overrides_come_before_a_pin_and_leave_it_alone(direct: Envoy):
    rules = [{"name": "bots", "match": [{"header": {"x-bot": {"present": True}}}], "version": "stable"}]
    await direct.configure(config(rollout(30, pin=PIN, rules=rules, overrides={"header": "x-canary"})))
    browser = Browser(direct.address, CANARY)
    await browser.decided()
    assert await browser.decided(("x-bot", "1")) == ("stable", "RULE", [])
    assert await browser.decided(("x-canary", "stable")) == ("stable", "OVERRIDE", [])
    assert await browser.decided() == ("canary", "PINNED", [])


async def test_only_a_users_own_bucket_is_pinned(direct: Envoy):
    """What a rule, a person or the want of a key decided is not remembered."""
    rules = [{"name": "bots", "match": [{"header": {"x-bot": {"present": True}}}], "version": "canary"}]
    await direct.configure(config(rollout(30, pin=PIN, rules=rules, overrides={"header": "x-canary"})))
    user = Browser(direct.address, STABLE)
    assert await user.decided(("x-bot", "1")) == ("canary", "RULE", [])
    assert await user.decided(("x-canary", "canary")) == ("canary", "OVERRIDE", [])
    assert await Browser(direct.address).decided() == ("stable", "DEFAULT", [])


async def test_a_pin_that_means_nothing_is_ignored_counted_and_replaced(direct: Envoy):
    await direct.configure(config(rollout(30, name="pins", pin=PIN, output={})))
    labels = {"rollout": "pins", "what": "pin"}
    worthless = ["", "red", "canary.x.y", ".", "Canary", "canary ", b"canary\xff", b"\xff", "x" * 4000]
    worthless.remove("canary ")  # White space around a cookie's value is not part of it.
    for value in worthless:
        line = value if isinstance(value, bytes) else value.encode()
        cookie = ("cookie", b"cohort-checkout=" + line)
        reply = await get(direct.address, headers=[("x-user-id", STABLE), cookie])
        assert reply.status == 200
        assert reply.all("set-cookie") == ["cohort-checkout=stable; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"]
    await direct.metrics_when(
        lambda metrics: metrics.sum("cohort_ignored_total", **labels) == len(worthless),
        f"{len(worthless)} ignored pins",
    )


def signed(version: str, user: str, *, rollout: str = "checkout", generation: str = "", secret: bytes = SECRET) -> str:
    """A pin, computed without Cohort's code: each part goes into the HMAC behind its length."""
    parts = (part.encode() for part in (rollout, version, generation, user))
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    mac = hmac.new(secret, message, hashlib.sha256).digest()
    return f"{version}.{generation}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


async def test_a_signed_pin_is_an_hmac_over_rollout_version_generation_and_key(direct: Envoy):
    for generation in ("", "g-1"):
        pin = {**SIGNED, **({"generation": generation} if generation else {})}
        await direct.configure(config(rollout(30, pin=pin)))
        for user, version in ((STABLE, "stable"), (CANARY, "canary")):
            browser = Browser(direct.address, user)
            assert await browser.decided() == (version, "HASH", ["cohort-checkout"])
            assert browser.value("cohort-checkout") == signed(version, user, generation=generation)
            assert await browser.decided() == (version, "PINNED", [])


async def test_neither_an_edited_pin_nor_somebody_elses_is_worth_anything(direct: Envoy):
    generation = "g1"
    await direct.configure(config(rollout(30, pin={**SIGNED, "generation": generation})))
    good = signed("canary", CANARY, generation=generation)
    _, _, mac = signed("canary", STABLE, generation=generation).split(".")
    mine = signed("stable", STABLE, generation=generation)
    flipped = mac[:-2] + ("A" if mac[-2] != "A" else "B") + mac[-1]
    forged = {
        "another version on my own signature": "canary." + mine.partition(".")[2],
        "somebody else's": good,
        "no signature": f"canary.{generation}",
        "a version alone": "canary",
        "an empty signature": f"canary.{generation}.",
        "a short signature": signed("canary", STABLE, generation=generation)[:-3],
        "a long signature": signed("canary", STABLE, generation=generation) + "AAAA",
        "one character changed": f"canary.{generation}.{flipped}",
        "not base64": f"canary.{generation}.{'!' * 43}",
        "of another rollout": signed("canary", STABLE, rollout="search", generation=generation),
        "of another key": signed("canary", STABLE, generation=generation, secret=b"another sixteen bytes"),
        "of nobody": signed("canary", "", generation=generation),
        "parts moved": signed("canary", generation + STABLE, generation=""),
    }
    labels = {"rollout": "checkout", "what": "pin"}
    before = (await direct.metrics()).sum("cohort_ignored_total", **labels)
    for what, value in forged.items():
        browser = Browser(direct.address, STABLE, {"cohort-checkout": (value, float("inf"))})
        assert await browser.decided() == ("stable", "HASH", ["cohort-checkout"]), what
        assert browser.value("cohort-checkout") == mine
    await direct.metrics_when(
        lambda metrics: metrics.sum("cohort_ignored_total", **labels) == before + len(forged),
        f"{len(forged)} ignored pins",
    )
    # A good one of a generation that is over is no forgery.
    over = Browser(direct.address, STABLE, {"cohort-checkout": (signed("canary", STABLE, generation="g0"), 1e99)})
    assert await over.decided() == ("stable", "HASH", ["cohort-checkout"])
    # And the real one holds for whom it was made.
    browser = Browser(direct.address, STABLE, {"cohort-checkout": (signed("canary", STABLE, generation="g1"), 1e99)})
    assert await browser.decided() == ("canary", "PINNED", [])
    assert (await direct.metrics()).sum("cohort_ignored_total", **labels) == before + len(forged)


async def test_a_pin_of_one_rollout_is_worth_nothing_in_another(direct: Envoy):
    """Two rollouts with one cookie name for both: each signs for itself."""
    first = rollout(30, pin={**SIGNED, "cookie": {"name": "first"}})
    other = {"responseHeader": "x-second", "reasonHeader": "x-second-reason"}
    second = rollout(30, name="second", pin={**SIGNED, "cookie": {"name": "second"}}, output=other)
    await direct.configure(config(first, second))
    browser = Browser(direct.address, CANARY)
    await browser.get()
    moved = Browser(direct.address, CANARY, {"second": browser.cookies["first"]})
    assert (await moved.get()).one("x-second-reason") == "HASH"
    assert (await browser.get()).one("x-second-reason") == "PINNED"


async def test_a_visitor_without_a_key_is_pinned_by_the_id(direct: Envoy):
    split = rollout(30, anonymousId=ID, pin=SIGNED)
    await direct.configure(config(split))
    for _ in range(10):
        visitor = Browser(direct.address)
        version, reason, cookies = await visitor.decided()
        assert (reason, sorted(cookies)) == ("HASH", ["cohort-checkout", "cohort-id"])
        assert visitor.value("cohort-checkout") == signed(version, visitor.value("cohort-id"))
        assert await visitor.decided() == (version, "PINNED", [])
        # Without the id the pin is somebody else's.
        del visitor.cookies["cohort-id"]
        assert (await visitor.decided())[1:] == ("HASH", ["cohort-checkout", "cohort-id"])
