"""Where a user belongs, computed without Cohort's code (design: "Arithmetic, frozen").

The hash is mmh3, an implementation in C that has nothing to do with the one in the filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import mmh3

BUCKETS = 100_000


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def murmur3(data: str | bytes) -> int:
    """murmur3_x86_32, seed 0, unsigned."""
    return mmh3.hash(_bytes(data), 0, signed=False)


def bucket(salt: str | bytes, key: str | bytes) -> int:
    """A user's place, 0 to 99,999."""
    return murmur3(_bytes(salt) + b":" + _bytes(key)) * BUCKETS >> 32


def thousandths(weight: float | int | str) -> int:
    """A weight in thousandths of a percent, exactly."""
    exact = Decimal(str(weight)) * 1000
    assert exact == int(exact), f"more than three decimals: {weight}"
    return int(exact)


def owner(versions: Sequence[tuple[str, float | None]], place: int) -> str:
    """Who owns a bucket: `versions` are names and weights in order, stable's weight is None."""
    stable = next(name for name, weight in versions if weight is None)
    weighted = [(name, thousandths(weight)) for name, weight in versions if weight is not None]
    if len(weighted) > 1:
        last, width = weighted.pop()
        if place >= BUCKETS - width:
            return last
    end = 0
    for name, width in weighted:
        end += width
        if place < end:
            return name
    return stable


def versions_of(rollout: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    return [(one["name"], one.get("weight")) for one in rollout["versions"]]


def version(rollout: Mapping[str, Any], key: str | bytes) -> str:
    """The version of a user in a rollout of a configuration, by weights alone."""
    place = bucket(rollout.get("salt", rollout["name"]), key)
    return owner(versions_of(rollout), place)


def versions(rollout: Mapping[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """The version of every user."""
    split, salt = versions_of(rollout), rollout.get("salt", rollout["name"])
    return {key: owner(split, bucket(salt, key)) for key in keys}


def wanted(rollout: Mapping[str, Any]) -> dict[str, float]:
    """Percent of users by version, stable's remainder included."""
    split = versions_of(rollout)
    rest = 100 - sum(thousandths(w) for _, w in split if w is not None) / 1000
    return {name: rest if weight is None else float(weight) for name, weight in split}


def unleash(group: str, key: str, weight: int) -> bool:
    """Whether an Unleash SDK's gradual rollout takes a user in."""
    return murmur3(f"{group}:{key}") % 100 + 1 <= weight


def flagd(salt: str, key: str, split: Sequence[tuple[str, int]]) -> str:
    """The variant of flagd's `fractional` (core v0.15 and later); `split` states every weight, in order."""
    total = sum(weight for _, weight in split)
    place, end = murmur3(salt + key) * total >> 32, 0
    for name, weight in split:
        end += weight
        if place < end:
            return name
    raise AssertionError("a bucket past the end")
