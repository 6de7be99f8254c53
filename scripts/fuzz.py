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
#: Native code under test is safe Rust: the sanitizer would find nothing, and halve the speed.
CARGO = ["cargo", "+nightly", "fuzz"]
SANITIZER = ["--sanitizer", "none"]


@dataclass
class Run:
    target: str
    seconds: float
    executions: int
    #: Edges reached, and inputs that reach them.
    coverage: int
    corpus: int
    failed: bool
    artifact: str


def number(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def run(target: str, seconds: int) -> Run:
    corpus = FUZZ / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    print(f"== {target}: {seconds} s", flush=True)
    limits = [
        f"-max_total_time={seconds}",
        "-max_len=16384",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ]
    done = subprocess.run(
        [*CARGO, "run", *SANITIZER, target, str(corpus), str(FUZZ / "seeds" / target), "--", *limits],
        cwd=FUZZ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "CARGO_TERM_COLOR": "never"},
    )
    log = FUZZ.parent / "target" / f"fuzz-{target}.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text(done.stdout)
    artifact = re.search(r"Test unit written to (\S+)", done.stdout)
    one = Run(
        target,
        number(r"Done \d+ runs in (\d+) second", done.stdout),
        number(r"stat::number_of_executed_units:\s*(\d+)", done.stdout),
        number(r"cov: (\d+)", done.stdout),
        number(r"corp: (\d+)", done.stdout),
        done.returncode != 0,
        artifact.group(1) if artifact else "",
    )
    print(
        f"   {one.executions:,} runs, {one.coverage} edges" + (f", FAILED: see {log}" if one.failed else ""), flush=True
    )
    return one


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
        f"Made by `make fuzz FUZZ_SECONDS={seconds}`, {datetime.now(timezone.utc):%Y-%m-%d}: {nightly}, libFuzzer, one "
        f"process, on {os.cpu_count()} cores shared with other work. Debug assertions and overflow checks are on.",
        "",
        "| target | what | seconds | executions | edges | inputs kept | found |",
        "|---|---|---|---|---|---|---|",
        *[
            f"| `{one.target}` | {about(one.target)} | {one.seconds} | {one.executions:,} | {one.coverage:,} "
            f"| {one.corpus:,} | {'**' + (one.artifact or 'failed') + '**' if one.failed else 'nothing'} |"
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
    built = subprocess.run([*CARGO, "build", *SANITIZER], cwd=FUZZ)
    if built.returncode:
        return built.returncode
    runs = [run(target, args.seconds) for target in targets]
    text = page(runs, args.seconds)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)
    return 1 if any(one.failed for one in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
