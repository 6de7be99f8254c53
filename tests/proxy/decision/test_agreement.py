"""`hashScheme`: the same user in the same place as the flag services' own SDKs put them.

Held against the SDKs themselves, offline: UnleashClient with its features in a bootstrap, and flagd's
evaluator as its in-process providers run it. Thousands of random groups, users and percentages go through
`cohort simulate`, which asks the filter's own code; hundreds go through the filter in a real Envoy.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from conftest import Launch, config
from lab import bootstrap
from lab.envoy import COMMAND, Envoy
from lab.wire import get
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from UnleashClient import UnleashClient
from UnleashClient.cache import FileCache

#: Every run asks about others; a failure names the seed, and SEED=... asks about the same again.
SEED = int(os.environ.get("SEED") or random.randrange(2**32))


class Service(Protocol):
    """What a flag service says of a user."""

    def version(self, rollout: dict[str, Any], user: str) -> str: ...


# --- populations -------------------------------------------------------------------------------------


def words(dice: random.Random, count: int) -> list[str]:
    """Names as people give them to groups and users: short, long, of digits, not of ASCII."""
    kinds = [
        lambda: str(dice.randrange(10**9)),
        lambda: str(uuid.UUID(int=dice.getrandbits(128))),
        lambda: f"{dice.choice('abcxyz')}.{dice.randrange(10**5)}@example.com",
        lambda: "".join(dice.choices("abcdefghijklmnopqrstuvwxyz-_:.", k=dice.randint(1, 60))),
        lambda: f"Jürgen-{dice.randrange(10**4)}-日本",
        lambda: f"user {dice.randrange(10**4)} x",
    ]
    return [dice.choice(kinds)() for _ in range(count)]


def rollout(name: str, scheme: str, salt: str, versions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "versions": versions,
        "hashKey": [{"header": "x-user-id"}],
        "hashScheme": scheme,
        "salt": salt,
        "output": {"responseHeader": f"x-cohort-{name}"},
    }


def unleash_rollouts(dice: random.Random, count: int) -> list[dict[str, Any]]:
    """One version with a weight, as a gradual rollout has; every percentage there is, then random ones."""
    weights = [*range(101), *(dice.randint(0, 100) for _ in range(count))][:count]
    dice.shuffle(weights)
    return [
        rollout(f"u{n}", "unleash", salt, [{"name": "off"}, {"name": "on", "weight": weight}])
        for n, (salt, weight) in enumerate(zip(words(dice, count), weights, strict=True))
    ]


def flagd_rollouts(dice: random.Random, count: int) -> list[dict[str, Any]]:
    """Two to five versions, stable anywhere among them with what the others leave."""
    rollouts = []
    for number, salt in enumerate(words(dice, count)):
        edges = sorted(dice.randint(0, 100) for _ in range(dice.randint(1, 4)))
        weights = [high - low for low, high in zip([0, *edges], edges, strict=False)]
        versions: list[dict[str, Any]] = [{"name": f"v{n}", "weight": weight} for n, weight in enumerate(weights)]
        versions.insert(dice.randint(0, len(versions)), {"name": "stable"})
        rollouts.append(rollout(f"f{number}", "flagd", salt, versions))
    return rollouts


# --- the services ------------------------------------------------------------------------------------


class Unleash:
    """UnleashClient with a flag for each rollout, offline."""

    def __init__(self, rollouts: list[dict[str, Any]], directory: Path) -> None:
        features = [
            {
                "name": one["name"],
                "enabled": True,
                "strategies": [
                    {
                        "name": "flexibleRollout",
                        "parameters": {
                            "rollout": str(sum(version.get("weight", 0) for version in one["versions"])),
                            "stickiness": "userId",
                            "groupId": one["salt"],
                        },
                    }
                ],
            }
            for one in rollouts
        ]
        cache = FileCache("cohort", directory=str(directory))
        cache.bootstrap_from_dict({"version": 2, "features": features})
        # Nothing listens at port 1, and nothing is fetched.
        self._client = UnleashClient(
            "http://127.0.0.1:1/api", "cohort", cache=cache, disable_metrics=True, disable_registration=True
        )
        self._client.initialize_client(fetch_toggles=False)

    def __enter__(self) -> Unleash:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.destroy()

    def version(self, rollout: dict[str, Any], user: str) -> str:
        return "on" if self._client.is_enabled(rollout["name"], {"userId": user}) else "off"


class Flagd:
    """flagd's evaluator with a flag for each rollout, whose key is the salt."""

    def __init__(self, rollouts: list[dict[str, Any]]) -> None:
        self._core = FlagdCore()
        self._core.set_flags({"flags": {one["salt"]: self._flag(one) for one in rollouts}})

    @staticmethod
    def _flag(rollout: dict[str, Any]) -> dict[str, Any]:
        rest = 100 - sum(version.get("weight", 0) for version in rollout["versions"])
        split = [[version["name"], version.get("weight", rest)] for version in rollout["versions"]]
        return {
            "state": "ENABLED",
            "variants": {name: name for name, _ in split},
            "defaultVariant": "stable",
            "targeting": {"fractional": split},
        }

    def version(self, rollout: dict[str, Any], user: str) -> str:
        told = self._core.resolve_string_value(rollout["salt"], "none", EvaluationContext(user))
        assert told.reason == "TARGETING_MATCH", told
        return told.value


@pytest.fixture
def dice() -> random.Random:
    return random.Random(SEED)


def unique(rollouts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without those whose salt came twice: a flag's key is a flag's key."""
    return list({one["salt"]: one for one in rollouts}.values())


def simulated(rollouts: list[dict[str, Any]], keys: list[str], directory: Path) -> Iterator[tuple[str, str, str]]:
    """Rollout, key and version, as `cohort simulate --list` says them."""
    directory.joinpath("config.json").write_text(json.dumps(config(*rollouts)))
    directory.joinpath("keys").write_text("".join(f"{key}\n" for key in keys))
    argv = [str(COMMAND), "simulate", "config.json", "--keys-from", "keys", "--list", "--output", "json"]
    told = subprocess.run(argv, cwd=directory, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    for line in told.stdout.splitlines():
        one = json.loads(line)
        yield one["rollout"], one["key"], one["version"]


def compare(service: Service, rollouts: list[dict[str, Any]], directory: Path, keys: list[str]) -> None:
    by_name = {one["name"]: one for one in rollouts}
    asked, differ, versions = 0, [], set()
    for name, key, version in simulated(rollouts, keys, directory):
        expected = service.version(by_name[name], key)
        asked += 1
        versions.add(version)
        if version != expected:
            differ.append((by_name[name]["salt"], key, version, expected))
    assert not differ, f"seed {SEED}: {len(differ)} of {asked} differ, such as {differ[:3]}"
    assert asked == len(rollouts) * len(keys) >= 10_000
    assert len(versions) > 1


def test_ten_thousand_users_are_where_unleash_puts_them(dice: random.Random, tmp_path: Path):
    rollouts, keys = unique(unleash_rollouts(dice, 120)), sorted(set(words(dice, 110)))
    with Unleash(rollouts, tmp_path) as service:
        compare(service, rollouts, tmp_path, keys)


def test_ten_thousand_users_are_where_flagd_puts_them(dice: random.Random, tmp_path: Path):
    rollouts, keys = unique(flagd_rollouts(dice, 120)), sorted(set(words(dice, 110)))
    compare(Flagd(rollouts), rollouts, tmp_path, keys)


def test_several_versions_under_unleash_follow_each_other(dice: random.Random, tmp_path: Path):
    """Unleash knows in and out; of two versions the first has the users of its own percentage, and both
    together those of the sum."""
    first, both, mixed = [], [], []
    for number, salt in enumerate(sorted(set(words(dice, 60)))):
        low, high = sorted((dice.randint(0, 100), dice.randint(0, 100)))
        versions = [{"name": "a", "weight": low}, {"name": "off"}, {"name": "b", "weight": high - low}]
        mixed.append(rollout(f"m{number}", "unleash", salt, versions))
        first.append(rollout(f"first{number}", "unleash", salt, [{"name": "off"}, {"name": "on", "weight": low}]))
        both.append(rollout(f"both{number}", "unleash", salt, [{"name": "off"}, {"name": "on", "weight": high}]))
    with Unleash([*first, *both], tmp_path) as service:
        for name, key, version in simulated(mixed, sorted(set(words(dice, 40))), tmp_path):
            number = int(name[1:])
            in_first = service.version(first[number], key) == "on"
            in_both = service.version(both[number], key) == "on"
            assert version == ("a" if in_first else "b" if in_both else "off"), (SEED, name, key)


async def test_hundreds_of_users_are_there_in_a_real_envoy(launch: Launch, dice: random.Random, tmp_path: Path):
    unleash, flagd = unique(unleash_rollouts(dice, 20)), unique(flagd_rollouts(dice, 20))
    routes = bootstrap.answer_directly("x-cohort-u0", ["on"], "off")
    proxy: Envoy = await launch(config=config(*unleash, *flagd), routes=routes)
    asked = 0
    with Unleash(unleash, tmp_path) as service:
        services: list[tuple[Service, list[dict[str, Any]]]] = [(service, unleash), (Flagd(flagd), flagd)]
        for user in sorted(set(words(dice, 25))):
            reply = await get(proxy.address, headers=[("x-user-id", user.encode())])
            for asks, rollouts in services:
                for one in rollouts:
                    found = reply.one(f"x-cohort-{one['name']}")
                    assert found == asks.version(one, user), (SEED, one, user)
                    asked += 1
            # The route table did what the header says.
            if any(one["name"] == "u0" for one in unleash):
                assert reply.one("x-served-by") == reply.one("x-cohort-u0")
    assert asked > 700


async def test_weights_that_are_not_whole_are_refused(launch: Launch):
    """As both services do, rather than put a user somewhere else than they would."""
    good = rollout("r", "unleash", "s", [{"name": "off"}, {"name": "on", "weight": 5}])
    for scheme in ("unleash", "flagd"):
        bad = rollout("r", scheme, "s", [{"name": "off"}, {"name": "on", "weight": 2.5}])
        proxy = await launch(config=config(bad))
        assert "a whole percentage" in "\n".join(proxy.filter_log())
        await proxy.configure(config(good))
