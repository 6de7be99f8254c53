"""What the documents say is so: their configurations load, their links lead somewhere, their tables are whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from lab.envoy import COMMAND

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "tests").rglob("README.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *kinds: str) -> list[str]:
    return [text for kind, text in FENCE.findall(page.read_text()) if kind in kinds]


def validate(text: str, ending: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / f"block.{ending}"
    file.write_text(text)
    return subprocess.run([COMMAND, "validate", file], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_configuration_in_a_page_is_a_good_one(page: Path, tmp_path: Path):
    for text in blocks(page, "json"):
        json.loads(text)
        if '"rollouts"' in text:
            done = validate(text, "json", tmp_path)
            assert done.returncode == 0, f"{done.stderr}\n{text}"
    for text in blocks(page, "yaml"):
        list(yaml.safe_load_all(text))
        if re.search(r"^\s*-?\s*\"?rollouts\"?:", text, re.MULTILINE):
            done = validate(text, "yaml", tmp_path)
            assert done.returncode == 0, f"{done.stderr}\n{text}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file(page: Path):
    dead = [
        link
        for link in LINK.findall(FENCE.sub("", page.read_text()))
        if not link.startswith(("http:", "https:", "mailto:")) and not (page.parent / link).exists()
    ]
    assert not dead, f"{name(page)}: {dead}"


def test_the_page_of_the_configuration_is_made_from_the_schema():
    made = subprocess.run(
        [sys.executable, ROOT / "scripts/configuration_page.py"], capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs/configuration.md").read_text() == made.stdout, "run `make docs`"


def test_the_commands_of_the_readme_are_targets_of_the_makefile():
    said = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= said <= targets


def test_the_map_of_changes_names_at_most_four_files_each_and_all_are_there():
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| change | files |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1:3] for row in table.splitlines()[2:]]
    assert len(rows) >= 12
    for change, files in rows:
        places = re.findall(r"`((?:\w[\w.-]*/)[\w./-]+|Makefile)`", files)
        assert len(places) <= 4, change
        assert [place for place in places if not (ROOT / place).exists()] == [], change
