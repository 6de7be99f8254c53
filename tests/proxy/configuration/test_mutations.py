"""The filter in a real Envoy refuses what `cohort validate` refuses: every mistake of tests/mutations."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from lab.envoy import ConfigRefused, Envoy

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "target/mutations.jsonl"


@pytest.fixture(scope="module")
def mutations() -> list[dict[str, str]]:
    """What tests/mutations makes of the full example; `make test` writes them beforehand."""
    if not FILE.exists():
        command = ["cargo", "test", "--quiet", "--test", "mutations", "written_to_a_file"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "COHORT_MUTATIONS": str(FILE)}, check=True)
    return [json.loads(line) for line in FILE.read_text().splitlines()]


@pytest.mark.timeout(300)
async def test_every_mistake_in_the_full_example_is_refused_where_it_is(proxy: Envoy, mutations: list[dict[str, str]]):
    assert len(mutations) >= 200
    good = (ROOT / "tests/cases/full.json").read_text()
    await proxy.configure(good)
    for mutation in mutations:
        with pytest.raises(ConfigRefused) as refused:
            await proxy.configure(mutation["document"])
        assert f"{mutation['path']}: found " in str(refused.value), f"{mutation['kind']} {mutation['path']}"
    await proxy.configure(good.replace('"checkout"', '"basket"', 1))
