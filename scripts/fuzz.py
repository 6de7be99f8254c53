"""Runs every fuzz target for a stated time and makes docs/reports/fuzz.md of it: `make fuzz`.

Exits with 1 if a target found something; the input is then in fuzz/artifacts.

    python scripts/fuzz.py [--seconds 60] [--out docs/reports/fuzz.md] [TARGET...]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"


@dataclass
class Run:
    target: str
    executions: int
    #: Inputs in fuzz/corpus that each reach code or counts which no other does.
    kept: int
    seeds: int
    failed: bool

    @property
    def found(self) -> str:
        if not self.failed:
            return "nothing"
        return "**something**" if self.executions else "**it did not run**"


def run(target: str, seconds: int) -> Run:
    done = subprocess.run(
        [FUZZ / "run.sh", target],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "SECONDS_EACH": str(seconds), "CARGO_TERM_COLOR": "never"},
    )
    print(done.stdout, end="", flush=True)

    def stat(name: str) -> int:
        found = re.search(rf"stat::{name}:\s*(\d+)", done.stdout)
        return int(found.group(1)) if found else 0

    executions = stat("number_of_executed_units")
    # A target that never ran found nothing, which is no good news.
    failed = done.returncode != 0 or executions == 0
    # There is no such folder where the target could not be built.
    kept = len(list((FUZZ / "corpus" / target).glob("*")))
    return Run(target, executions, kept, len(list((FUZZ / "seeds" / target).iterdir())), failed)


def about(target: str) -> str:
    """The first line of a target's own description."""
    lines = (FUZZ / "fuzz_targets" / f"{target}.rs").read_text().splitlines()
    text = []
    for line in lines:
        if not line.startswith("//!") or line == "//!":
            break
        text.append(line.removeprefix("//! "))
    return " ".join(text).split(". ")[0].rstrip(".")


def page(runs: list[Run], seconds: int) -> str:
    nightly = subprocess.run(["rustc", "+nightly", "--version"], capture_output=True, text=True).stdout.strip()
    lines = [
        "# A fuzz session",
        "",
        f"Made by `make fuzz FUZZ_SECONDS={seconds}`, {datetime.now(timezone.utc):%Y-%m-%d}: {nightly}, libFuzzer "
        f"with the address sanitizer, one process, {seconds} s for each target, on {os.cpu_count()} cores shared with "
        "other work.",
        "",
        "| target | what | seeds | executions | inputs kept for what they reach | found |",
        "|---|---|---|---|---|---|",
        *[
            f"| `{one.target}` | {about(one.target)} | {one.seeds} | {one.executions:,} | {one.kept:,} | {one.found} |"
            for one in runs
        ],
        "",
        f"{sum(one.executions for one in runs):,} executions; "
        f"{sum(one.failed for one in runs)} of {len(runs)} targets found something.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--out", type=Path)
    parser.add_argument("targets", nargs="*")
    args = parser.parse_args()
    targets = args.targets or sorted(path.stem for path in (FUZZ / "fuzz_targets").glob("*.rs"))
    runs = [run(target, args.seconds) for target in targets]
    text = page(runs, args.seconds)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)
    return 1 if any(one.failed for one in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
