"""Writes buckets.json: buckets computed by an independent murmur3 (mmh3, a binding of the C++ original).

Usage: pip install mmh3==5.2.0 && python tests/vectors/make.py > tests/vectors/buckets.json
"""

import json
import random

import mmh3

SALTS = ["checkout", "", "a", "search-v2", "group:1", "ünïcode", "x" * 200]
TEXTS = ["", "a", "ab", "abc", "abcd", "abcde", "user-42", "user@example.com", "10.0.0.1", "2001:db8::1", "日本語"]


def keys():
    yield from (text.encode() for text in TEXTS)
    yield from (bytes([byte]) for byte in range(0, 256, 15))
    rng = random.Random(20261121)
    yield from (rng.randbytes(rng.randrange(1, 64)) for _ in range(200))


def entry(salt: str, key: bytes) -> dict:
    separated = mmh3.hash(salt.encode() + b":" + key, 0, signed=False)
    joined = mmh3.hash(salt.encode() + key, 0, signed=False)
    return {
        "salt": salt,
        "keyHex": key.hex(),
        "hash": separated,
        "cohort": (separated * 100_000) >> 32,
        "unleash": separated % 100 + 1,
        "flagd": (joined * 100) >> 32,
    }


def main() -> None:
    entries = [entry(salt, key) for salt in SALTS for key in keys()]
    print("[")
    print(",\n".join(json.dumps(e, ensure_ascii=False) for e in entries))
    print("]")


if __name__ == "__main__":
    main()
