"""Of everything that may decide a request, the first in the design's order does: always, and everywhere.

Random configurations and random requests, which carry several grounds for a decision at once. Each goes
through the filter in a real Envoy, through the command natively, and through a model of the order that is
written here and knows nothing of Cohort's code.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
from collections import Counter
from typing import Any

from conftest import Launch, config
from lab import arithmetic
from lab.bootstrap import connection_manager
from lab.envoy import COMMAND, Envoy
from lab.wire import Connection

#: Every run asks about others; a failure names the seed, and SEED=... asks about the same again.
SEED = int(os.environ.get("SEED") or random.randrange(2**32))
CONFIGURATIONS, REQUESTS = 30, 40
INSIDE, OUTSIDE = "10.1.2.3", "203.0.113.7"
NAMES = ["stable", "canary", "green"]


def maybe(dice: random.Random, value: Any, share: float = 0.6) -> Any:
    return value if dice.random() < share else None


def configuration(dice: random.Random) -> dict[str, Any]:
    """A rollout with a random choice of everything that decides."""
    weights = {"canary": dice.choice([0, 0, 20, 40]), "green": dice.choice([0, 30, 50])}
    versions: list[dict[str, Any]] = [{"name": "stable"}]
    for name, weight in weights.items():
        versions.append({"name": name, "weight": weight, **({"drain": dice.random() < 0.5} if not weight else {})})
    kinds = [
        {"match": [{"header": {"x-a": {"exact": "1"}}}], "version": dice.choice(NAMES)},
        {"segment": "b", "version": dice.choice(NAMES)},
        {
            "match": [{"not": {"header": {"x-a": {"present": True}}}, "query": {"q": {"present": True}}}],
            "version": "green",
        },
        {"segment": "b", "match": [{"address": ["10.0.0.0/8"]}], "weights": {"green": dice.choice([0, 50, 100])}},
    ]
    rules = [{"name": f"r{n}", **rule} for n, rule in enumerate(dice.sample(kinds, dice.randint(0, 3)))]
    require = maybe(dice, {"addresses": ["10.0.0.0/8"]}, 0.5)
    parts = {
        "enabled": dice.random() > 0.1,
        "hashKey": maybe(dice, [{"header": "x-user-id"}, {"cookie": "uid"}], 0.9),
        "overrides": maybe(
            dice,
            {
                **{"header": "x-canary", "query": "canary", "cookie": "canary", "values": {"always": "canary"}},
                **({"require": require} if require else {}),
            },
        ),
        "inherit": maybe(dice, {"addresses": ["10.0.0.0/8"], "baggage": dice.random() < 0.5}),
        "rules": rules or None,
        "pin": maybe(dice, {"cookie": {"name": "pin"}}),
        "salt": dice.choice([None, "a", "b", "c"]),
    }
    one = {"name": "checkout", "versions": versions, **{k: v for k, v in parts.items() if v is not None}}
    one["output"] = {"responseHeader": "x-version", "reasonHeader": "x-reason"}
    segments = {"b": [{"header": {"x-b": {"exact": "1"}}}, {"cookie": {"b": {"exact": "1"}}}]}
    return config(one, segments=segments)


def request(dice: random.Random) -> dict[str, Any]:
    """What a client may bring, each thing or not."""
    who = maybe(dice, f"user-{dice.randrange(10_000)}", 0.8)
    by_cookie = dice.random() < 0.3
    named = [*NAMES, "always", "nothing"]
    found = {
        "address": dice.choice([INSIDE, OUTSIDE]),
        "headers": {
            "x-user-id": None if by_cookie else who,
            "x-canary": maybe(dice, dice.choice(named), 0.15),
            "x-cohort-checkout": maybe(dice, dice.choice(named), 0.2),
            "baggage": maybe(dice, f"cohort-checkout={dice.choice(named)}", 0.2),
            "x-a": maybe(dice, dice.choice(["1", "2"]), 0.25),
            "x-b": maybe(dice, "1", 0.2),
        },
        "cookies": {
            "uid": who if by_cookie else None,
            "canary": maybe(dice, dice.choice(named), 0.15),
            "pin": maybe(dice, dice.choice(named), 0.4),
            "b": maybe(dice, "1", 0.15),
        },
        "query": {"canary": maybe(dice, dice.choice(named), 0.15), "q": maybe(dice, "", 0.2)},
    }
    return {k: {n: v for n, v in p.items() if v is not None} if isinstance(p, dict) else p for k, p in found.items()}


# --- the model ---------------------------------------------------------------------------------------


def by_weight(one: dict[str, Any], key: str | None, weights: dict[str, float]) -> str:
    if key is None:
        return "stable"
    split = [(v["name"], None if v["name"] == "stable" else weights.get(v["name"], 0)) for v in one["versions"]]
    return arithmetic.owner(split, arithmetic.bucket(one.get("salt", one["name"]), key))


def rule_holds(rule: dict[str, Any], ask: dict[str, Any]) -> bool:
    headers = ask["headers"]
    if "segment" in rule and not (headers.get("x-b") == "1" or ask["cookies"].get("b") == "1"):
        return False
    for condition in rule.get("match", []):
        if "address" in condition:
            return ask["address"] == INSIDE
        if "query" in condition:
            return "x-a" not in headers and "q" in ask["query"]
        return headers.get("x-a") == "1"
    return True


def expected(one: dict[str, Any], ask: dict[str, Any]) -> tuple[str, str]:
    """The version and the reason by the order of design.md, section 3."""
    inside, headers, cookies = ask["address"] == INSIDE, ask["headers"], ask["cookies"]
    key = None
    if "hashKey" in one:
        key = headers.get("x-user-id") or cookies.get("uid")
    if not one["enabled"]:
        return "stable", "DISABLED"
    if "overrides" in one:
        for value in (headers.get("x-canary"), ask["query"].get("canary"), cookies.get("canary")):
            value = one["overrides"]["values"].get(value, value)
            if value in NAMES and ("require" not in one["overrides"] or inside):
                return value, "OVERRIDE"
    if "inherit" in one and inside:
        member = headers.get("baggage", "=").partition("=")[2] if one["inherit"]["baggage"] else None
        value = headers.get("x-cohort-checkout", member)
        if value in NAMES:
            return value, "INHERITED"
    for rule in one.get("rules", []):
        if rule_holds(rule, ask):
            return rule.get("version") or by_weight(one, key, rule["weights"]), "RULE"
    own = {version["name"]: version.get("weight", 0) for version in one["versions"]}
    if "pin" in one and cookies.get("pin") in NAMES:
        version = next(v for v in one["versions"] if v["name"] == cookies["pin"])
        weight = version.get("weight", 100 - sum(own.values()))
        # Where the pin does not say otherwise it keeps nobody on stable, the version without a weight.
        if "weight" in version and (weight > 0 or version.get("drain")):
            return version["name"], "PINNED"
    if key is not None:
        return by_weight(one, key, own), "HASH"
    return "stable", "DEFAULT"


# --- the two that are asked --------------------------------------------------------------------------


def lines(ask: dict[str, Any]) -> list[tuple[str, str]]:
    cookie = "; ".join(f"{name}={value}" for name, value in ask["cookies"].items())
    return [*ask["headers"].items(), *([("cookie", cookie)] if cookie else [])]


def path(ask: dict[str, Any]) -> str:
    query = "&".join(f"{name}={value}" if value else name for name, value in ask["query"].items())
    return f"/?{query}" if query else "/"


def natively(text: str, ask: dict[str, Any]) -> tuple[str, str]:
    argv = [str(COMMAND), "explain", "-", "--output", "json", "--address", ask["address"]]
    argv += ["--url", f"http://lab{path(ask)}"]
    argv += [word for name, value in lines(ask) for word in ("-H", f"{name}: {value}")]
    told = json.loads(subprocess.run(argv, input=text, capture_output=True, text=True, check=True).stdout)
    return told["version"], told["reason"]


async def test_the_first_ground_in_order_decides_in_envoy_natively_and_in_the_model(launch: Launch):
    def behind_a_proxy(boot: dict[str, Any]) -> None:
        connection_manager(boot)["xff_num_trusted_hops"] = 1

    proxy: Envoy = await launch(config=config(), edit=behind_a_proxy)
    dice, seen = random.Random(SEED), Counter()
    async with await Connection.open(proxy.address) as connection:
        for number in range(CONFIGURATIONS):
            document = configuration(dice)
            one = document["rollouts"][0]
            # The dice may leave every rollout on.
            one["enabled"] &= number > 0
            text = json.dumps(document)
            await proxy.configure(document)
            for _ in range(REQUESTS):
                ask = request(dice)
                reply = await connection.get(path(ask), [("x-forwarded-for", ask["address"]), *lines(ask)])
                found = reply.one("x-version"), reply.one("x-reason")
                wanted = expected(one, ask)
                assert found == wanted, (SEED, text, ask)
                assert await asyncio.to_thread(natively, text, ask) == wanted, (SEED, text, ask)
                seen[wanted[1]] += 1
    assert set(seen) == {"DISABLED", "OVERRIDE", "INHERITED", "RULE", "PINNED", "HASH", "DEFAULT"}, (SEED, seen)
