"""Every way to release runs on a real Envoy as `make demo SCENARIO=...` plays it, and its closing figures hold."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lab import bootstrap
from lab.envoy import COMMAND
from lab.scenarios import all_scenarios
from lab.stage import Scenario, example
from test_demo import left_behind, start

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "examples").rglob("*.json"))

#: What the closing figures of a scenario are, beside 0 failed requests. `users moved` are exactly these: the users
#: and their buckets are the same in every run.
FIGURES = {
    "blue-green": {
        "users moved": {"2000 blue → green", "1000 green → blue"},
        "in flight at checkout-v1's SIGTERM": {"5, answered: 5"},
        "sessions lost": {"0"},
    },
    "canary": {
        "users moved": {"1899 stable → canary", "1899 canary → stable"},
        "in flight at checkout-v2's SIGTERM": {"5, answered: 5"},
    },
    "canary-clock": {
        "users moved": {"500 stable → canary", "500 canary → stable"},
        "same version on a proxy started in mid-ramp": {"500 of 500 users"},
        "in flight at checkout-v2's SIGTERM": {"5, answered: 5"},
    },
    "automated-canary": {"users moved": {"72 stable → canary", "144 canary → stable"}},
    "feature-flags": {
        "users moved": {"nobody"},
        "new-cart on for employees": {"1,000 of 1,000 users (100.0 %)"},
        "new-cart on for beta users": {"78 of 1,000 users (7.8 %)"},
        "new-cart on for premium users": {"504 of 1,000 users (50.4 %)"},
        "new-cart on for everybody else": {"0 of 1,000 users (0.0 %)"},
        "wallet on for users in Spain": {"0 of 1,000 users (0.0 %)"},
        "in flight at checkout-v1's SIGTERM": {"5, answered: 5"},
    },
    "ab-test": {
        "pinned visitors moved by the new weights": {"0"},
        "in flight at checkout-v1's SIGTERM": {"5, answered: 5"},
    },
    "rolling-update": {
        "users moved": {"664 v1 → v2", "164 v2 → v1"},
        "in flight at checkout-v1's SIGTERM": {"5, answered: 5"},
    },
    "full-link": {
        "users moved": {"192 canary → stable", "192 stable → canary"},
        "users on one version through both services": {"300 of 300"},
        "in flight at checkout-v2's SIGTERM": {"5, answered: 5"},
    },
    "dark-launch": {"users moved": {"nobody"}},
    "fleet": {"users moved": {"nobody"}},
}

#: Milliseconds that the way back may take on a machine that does other work: a file taken into force, or a guard that
#: has to see it first.
SLOWEST_WAY_BACK = {"automated-canary": 30_000}


def figures(said: str) -> dict[str, set[str]]:
    """The closing figures by name; a line without a name belongs to the one before."""
    found: dict[str, set[str]] = {}
    name = ""
    for line in said.partition("closing figures")[2].partition("✓ failed requests")[0].splitlines():
        cells = re.match(r"    (\S.*?)?\s{2,}(\S.*?)\s*$", line)
        if cells:
            name = cells[1] or name
            found.setdefault(name, set()).add(cells[2])
    return found


def marked(name: str, scenario: Scenario) -> Any:
    """A scenario; those with a ramp look at the clock."""
    played = scenario.setup.example
    ramps = played and any("ramp" in rollout for rollout in example(played)["rollouts"])
    return pytest.param(name, marks=[pytest.mark.clock] if ramps else [])


@pytest.mark.parametrize("name", [marked(*one) for one in sorted(all_scenarios().items())])
async def test_a_scenario_ends_by_itself_with_these_figures(tmp_path: Path, name: str):
    demo = await start(tmp_path, name)
    try:
        code = await asyncio.wait_for(demo.child.wait(), 280)
    finally:
        await demo.stop()
    said = (tmp_path / "stdout").read_text()
    assert code == 0, said + demo.tail()
    assert "✗" not in said
    assert left_behind(tmp_path) == []
    told = figures(said)
    assert told["failed requests"] == {"0"}
    for figure, value in FIGURES.get(name, {}).items():
        assert told[figure] == value, figure
    if all_scenarios()[name].setup.example:
        (back,) = told["time to roll back"]
        assert int(back.split(" ms")[0]) < SLOWEST_WAY_BACK.get(name, 10_000)


def test_every_scenario_has_a_page_and_every_page_names_its_command():
    pages = {page.stem: page.read_text() for page in (ROOT / "docs/releases").glob("*.md")}
    ways = {name for name, scenario in all_scenarios().items() if scenario.setup.example}
    assert ways <= FIGURES.keys()
    for name in ways:
        assert f"make demo SCENARIO={name}\n" in pages[name], name


def test_every_example_is_a_good_configuration():
    assert len(EXAMPLES) >= 10
    done = subprocess.run([COMMAND, "validate", *EXAMPLES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_canary_by_hand_is_the_configuration_of_the_demo():
    assert json.loads((ROOT / "examples/canary.json").read_text()) == bootstrap.committed_config()


def test_every_example_is_played_by_a_scenario():
    played = {scenario.setup.example for scenario in all_scenarios().values()}
    names = {file.stem for file in EXAMPLES} - {"minimal", "full-link-inner"}
    assert names == played - {None}
