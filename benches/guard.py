"""The picture of the guard's evidence, from what `guard_report evidence` prints: `make bench WHAT=guard`.

python benches/guard.py --out docs/reports/guard.svg < lines
"""

from __future__ import annotations

import argparse
import sys
from itertools import groupby
from pathlib import Path

import plot

#: What happens, and how it is drawn.
LINES = {
    "every answer of the version fails": (plot.SECOND, "-"),
    "a fifth of the version's answers fails": (plot.SECOND, "--"),
    "half of the answers of both versions fails": (plot.LINE, "-"),
    "both versions stay well": (plot.LINE, "--"),
}


def picture(lines: list[str], path: Path) -> None:
    figure, [axes] = plot.panels(1, 1, (8, 3.6))
    rows = [line.rstrip("\n").split("\t") for line in lines]
    for name, points in groupby(rows, key=lambda row: row[0]):
        seconds, evidence = zip(*((float(second), int(near)) for _, second, near in points), strict=True)
        colour, style = LINES[name]
        axes.plot(seconds, evidence, color=colour, linestyle=style, label=name, clip_on=False)
    axes.axvline(5, color=plot.FAINT, linewidth=1, linestyle=":")
    axes.annotate("it begins", (5, 1000), (-4, -10), textcoords="offset points", ha="right", color=plot.FAINT)
    axes.set_title("The guard's evidence: at 1000 the version goes")
    axes.set_xlabel("seconds; 200 requests a second, of which the version has a tenth")
    axes.set_ylabel("cohort_guard_evidence")
    axes.set_xlim(0, 12)
    axes.set_xticks(range(0, 13, 1))
    axes.set_ylim(-15, 1000)
    axes.legend(frameon=False, loc="center left")
    plot.save(figure, path, "How the guard's evidence grows when only the version fails, and not when both do")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the picture")
    picture(sys.stdin.readlines(), parser.parse_args().out)


if __name__ == "__main__":
    main()
