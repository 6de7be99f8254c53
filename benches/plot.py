"""Plots as SVG files: the same figures give the same bytes, and they can be read on light and on dark pages."""

from __future__ import annotations

import io
import re
from pathlib import Path

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: What stands in a figure for a colour, and what it is on a light and on a dark page.
INK, FAINT, GRID, LINE, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
COLOURS = {
    INK: ("ink", "#24292f", "#e6edf3"),
    FAINT: ("faint", "#57606a", "#9198a1"),
    GRID: ("grid", "#d8dee4", "#30363d"),
    LINE: ("line", "#0969da", "#58a6ff"),
    SECOND: ("second", "#bc4c00", "#f0883e"),
}

matplotlib.use("svg")
pyplot.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "cohort",
        # Text stays text: a reader's own font, whose widths nobody here knows.
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": FAINT,
        "axes.titlecolor": INK,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.edgecolor": GRID,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "grid.color": GRID,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.major.size": 0,
        "lines.linewidth": 2,
        "lines.markersize": 5,
    }
)


def panels(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    figure, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    return figure, list(axes.flat)


def save(figure: Figure, path: Path, title: str) -> None:
    """Writes the figure; `title` is what a screen reader says."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Title": title})
    pyplot.close(figure)
    text = re.sub(r"#0([1-5])(?:0\1){2}", lambda found: f"var(--{COLOURS[found[0]][0]})", out.getvalue())
    light = "; ".join(f"--{name}: {colour}" for name, colour, _ in COLOURS.values())
    dark = "; ".join(f"--{name}: {colour}" for name, _, colour in COLOURS.values())
    style = f"<style>svg {{ {light} }} @media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}</style>"
    # The first style element is matplotlib's own.
    text = text.replace("<defs>", f"<defs>\n  {style}", 1)
    fonts = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
    text = re.sub(r"(font: [^;\"]*?px) [^;\"]+", rf"\1 {fonts}", text)
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")
