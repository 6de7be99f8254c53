"""What `cohort migrate` prints, read by another reader of YAML than its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(os.environ.get("COHORT") or ROOT / "target/release/cohort")

#: A source of every kind, with every key.
SOURCES = sorted((ROOT / "tests/cli/sources").iterdir())


def cohort(*args: str, text: str | None = None) -> str:
    done = subprocess.run([COMMAND, *args], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_another_reader_finds_the_same_configuration_and_routes(source: Path) -> None:
    page = cohort("migrate", str(source))
    config, *routes = yaml.safe_load_all(page)
    for document in routes:
        assert document.get("kind") in {"VirtualService", "HTTPRoute"} or document["virtual_hosts"]
    names = [one["name"] for one in config["rollouts"]]
    # As JSON, which has no two readings, it is the same to the filter.
    both = [page, json.dumps(config)]
    for text in both:
        good = cohort("validate", "-", text=text)
        assert all(name in good for name in names)
    ours, theirs = (cohort("simulate", "-", "--keys", "300", "--output", "json", text=text) for text in both)
    assert ours == theirs
