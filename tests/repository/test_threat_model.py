"""docs/threat-model.md names a test for every threat, and the tests exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"


def test_every_test_that_the_threat_model_names_is_there():
    text = (ROOT / "docs" / "threat-model.md").read_text()
    python = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    rust = "\n".join(path.read_text() for path in TESTS.rglob("*.rs"))
    there = set(re.findall(r"def (test_\w+)", python)) | set(re.findall(r"fn (\w+)", rust))
    # Names of tests are sentences; what has fewer words is something else.
    named = set(re.findall(r"`(test_\w+|[a-z]\w*_\w*_\w*_\w+)`", text)) - {"xff_num_trusted_hops"}
    assert len(named) > 40 and named <= there, named - there
    for path in re.findall(r"`((?:tests|fuzz|scripts)/?[\w/]*(?:\.\w+)?)`", text):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`(test_\w+\.py)`", text):
        assert list(TESTS.rglob(name)), name
    for name in re.findall(r"fuzz target `(\w+)`", text):
        assert (ROOT / "fuzz" / "fuzz_targets" / f"{name}.rs").exists(), name
    for name in re.findall(r"`make (\w+)`", text):
        assert f"\n{name}: " in (ROOT / "Makefile").read_text(), name


def test_every_threat_has_its_test_or_says_why_there_is_none():
    lines = (ROOT / "docs" / "threat-model.md").read_text().splitlines()
    threats = [line.strip("|").split("|") for line in lines if line.startswith("| ") and "| test |" not in line]
    assert len(threats) > 30
    for threat, held, test in threats:
        assert threat.strip() and held.strip()
        assert re.search(r"`test_|tests/|`fuzz`|`make |`scripts/|none: ", test), threat
