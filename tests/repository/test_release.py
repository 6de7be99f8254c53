"""The release recipe: the tag is the version, archives depend on nothing but their content, the workflow runs it."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))


@pytest.fixture
def release(tmp_path: Path) -> ModuleType:
    """scripts/release.py over a repository of its own, version 1.2.3."""
    spec = importlib.util.spec_from_file_location("release", ROOT / "scripts" / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "cohort"\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2027-01-01\n")
    module.ROOT, module.DIST = tmp_path, tmp_path / "dist"
    module.DIST.mkdir()
    return module


def test_a_tag_is_the_version_and_has_a_heading_in_the_changelog(release: ModuleType, tmp_path: Path):
    release.tag("v1.2.3")
    for wrong in ("v1.2.4", "1.2.3", "v1.2.3-rc1"):
        with pytest.raises(SystemExit, match=re.escape(f"the tag is {wrong}")):
            release.tag(wrong)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [1.2.30]\n")
    with pytest.raises(SystemExit, match="no heading"):
        release.tag("v1.2.3")


def test_an_archive_has_one_folder_a_program_and_no_trace_of_when_and_who(release: ModuleType):
    files = {"cohort": b"program", "man/cohort.1": b"manual"}
    packed = release.archive("cohort-1.2.3-here", files)
    assert packed == release.archive("cohort-1.2.3-here", dict(reversed(files.items())))
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        entries = {entry.name: entry for entry in tar.getmembers()}
        assert {name: tar.extractfile(name).read() for name in entries} == {
            "cohort-1.2.3-here/cohort": b"program",
            "cohort-1.2.3-here/man/cohort.1": b"manual",
        }
    assert entries["cohort-1.2.3-here/cohort"].mode == 0o755
    assert entries["cohort-1.2.3-here/man/cohort.1"].mode == 0o644
    assert {(one.mtime, one.uid, one.gid) for one in entries.values()} == {(0, 0, 0)}


def test_the_checksums_are_of_every_file_but_their_own(release: ModuleType):
    (release.DIST / "a.wasm").write_bytes(b"a")
    (release.DIST / "b.tar").write_bytes(b"b")
    release.checksums()
    release.checksums()
    lines = (release.DIST / "SHA256SUMS").read_text().splitlines()
    assert lines == [
        f"{hashlib.sha256(b'a').hexdigest()}  a.wasm",
        f"{hashlib.sha256(b'b').hexdigest()}  b.tar",
    ]


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_what_is_in_the_repository_and_pins_what_is_not(path: Path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step
        for script in re.findall(r"(?:python3 |^)((?:scripts|\.ci)/\S+)", step.get("run", "")):
            assert (ROOT / script).exists(), script
        for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", "")):
            assert target in targets, target


def test_the_release_workflow_builds_each_part_from_a_tag(release: ModuleType):
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yaml").read_text())
    # YAML 1.1 reads the key `on` as true.
    assert workflow[True] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}
    said = "\n".join(step.get("run", "") for step in steps(workflow))
    for part in ("tag", "module", "command", "checksums"):
        assert f"scripts/release.py {part}" in said, part
