"""docs/reports/growth.md and growth.svg from what `cargo bench --bench growth` prints: `make bench WHAT=growth`.

python benches/growth.py --module target/cohort.wasm --out docs/reports < lines
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import plot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

#: What one thousand rollouts of other hosts may cost a request, as a multiple of what one does.
GOAL = 1.2


@dataclass(frozen=True)
class Cost:
    size: int
    fuel: int
    calls: int


@dataclass(frozen=True)
class Series:
    """What grows: the name of its lines, its heading, what one more of it is called, what is said of it."""

    name: str
    title: str
    one_more: str
    about: str
    #: Sizes above it are in the table alone.
    plotted_to: int = 1_000_000
    logarithmic: bool = False


SERIES = [
    Series(
        "rollouts of other hosts",
        "Rollouts, each for another host",
        "rollout",
        "The request is for the host of the last one. Hosts are looked up in an index.",
        logarithmic=True,
    ),
    Series(
        "rollouts of every host",
        "Rollouts that all match",
        "rollout",
        "No rollout says for which host it is: every one of them is decided, writes its header and is counted.",
        plotted_to=20,
    ),
    Series(
        "versions",
        "Versions of one rollout",
        "version",
        "They share the weight: 50 for the one beside stable, 5 for each of nineteen.",
    ),
    Series(
        "rules",
        "Rules that do not hold",
        "rule",
        "Each compares a header that the request does not have; after the last one the hash decides.",
    ),
    Series(
        "bytes of cookies",
        "Length of the cookie header",
        "byte",
        "The key is the last cookie of the line. With 0 bytes there is no key, and the user gets stable.",
    ),
]
LOADING = Series(
    "rollouts to load",
    "Loading: rollouts, each for another host",
    "rollout",
    "No request, but the configuration itself in a machine that has run nothing yet. "
    "[loading.md](loading.md) has what a configuration of 1 MiB costs a real Envoy.",
)


def read(lines: list[str]) -> dict[str, list[Cost]]:
    """Costs by what grows, in the order they came."""
    costs: dict[str, list[Cost]] = {}
    for line in lines:
        name, size, fuel, calls = line.rstrip("\n").split("\t")
        costs.setdefault(name, []).append(Cost(int(size), int(fuel), int(calls)))
    if set(costs) != {series.name for series in [*SERIES, LOADING]}:
        raise SystemExit(f"measured {sorted(costs)}, which is not what this page is about")
    return costs


def table(series: Series, costs: list[Cost]) -> list[str]:
    lines = [
        f"## {series.title}",
        "",
        series.about,
        "",
        f"| {'bytes' if series.one_more == 'byte' else f'{series.one_more}s'} | fuel | times the first "
        f"| fuel for one more {series.one_more} | host calls |",
        "|---:|---:|---:|---:|---:|",
    ]
    for before, cost in zip([None, *costs], costs, strict=False):
        more = f"{(cost.fuel - before.fuel) / (cost.size - before.size):,.1f}" if before else ""
        lines.append(f"| {cost.size:,} | {cost.fuel:,} | {cost.fuel / costs[0].fuel:.2f} | {more} | {cost.calls:,} |")
    return [*lines, ""]


def page(costs: dict[str, list[Cost]], module: bytes) -> str:
    others = costs["rollouts of other hosts"]
    ratio = others[-1].fuel / others[0].fuel
    lines = [
        "# How a request's cost grows",
        "",
        f"Made by `make bench WHAT=growth`, without a clock: the units of fuel that the interpreter wasmi charges "
        f"a whole request (all of its callbacks), and its host calls, in a worker that is warm, in the very "
        f"module that ships ({len(module):,} bytes, SHA-256 `{hashlib.sha256(module).hexdigest()[:16]}…`). "
        f"The same module gives the same page, byte for byte. One unit is about one instruction, so that fuel says how "
        f"the filter's own work grows, and nothing of what the proxy does for a host call.",
        "",
        f"**{others[-1].size:,} rollouts cost a request {ratio:.2f} times what one does** (the goal is at most "
        f"{GOAL}; `tests/costs.rs` holds it).",
        "",
        "![Fuel by rollouts, versions, rules and bytes of cookies, and host calls by rollouts that match](growth.svg)",
        "",
    ]
    for series in [*SERIES, LOADING]:
        lines += table(series, costs[series.name])
    lines += [
        "## The request",
        "",
        "A GET with 14 headers, pseudo-headers included, answered 200. The configurations are in "
        "[`tests/support/growth.rs`](../../tests/support/growth.rs). `cargo bench --bench decide` has one decision "
        "for the same kinds in nanoseconds.",
    ]
    return "\n".join(lines) + "\n"


def draw(axes: Axes, series: Series, costs: list[Cost], of: str) -> None:
    shown = [cost for cost in costs if cost.size <= series.plotted_to]
    sizes, values = [cost.size for cost in shown], [getattr(cost, of) for cost in shown]
    axes.plot(sizes, values, marker="o", color=plot.LINE, clip_on=False)
    if series.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 2.5, 4, 5, 10]))
    if series.one_more == "byte":
        axes.set_xticks(range(0, 4097, 1024))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    # The first label is below where the line rises, so that it does not cross it.
    below = values[-1] > 2 * values[0]
    for at, up, side in ((0, -15 if below else 7, "left"), (-1, 7, "right")):
        text = f"{values[at] / 1000:.1f}k" if of == "fuel" else f"{values[at]:,}"
        axes.annotate(text, (sizes[at], values[at]), (0, up), textcoords="offset points", ha=side, color=plot.INK)


def picture(costs: dict[str, list[Cost]], path: Path) -> None:
    figure, axes = plot.panels(2, 3, (10, 6))
    top = max(cost.fuel for series in SERIES for cost in costs[series.name] if cost.size <= series.plotted_to)
    for panel, series in zip(axes, SERIES, strict=False):
        draw(panel, series, costs[series.name], "fuel")
        panel.set_title(series.title)
        panel.set_ylim(0, top * 1.1)
        panel.yaxis.set_major_formatter(FuncFormatter(lambda fuel, _: f"{fuel / 1000:,.0f}k" if fuel else "0"))
        unit = {"byte": "bytes"}.get(series.one_more, f"{series.one_more}s")
        panel.set_xlabel(f"{unit}, logarithmic" if series.logarithmic else unit)
    for panel in axes[::3]:
        panel.set_ylabel("units of fuel per request")
    calls = next(series for series in SERIES if series.name == "rollouts of every host")
    draw(axes[5], calls, costs[calls.name], "calls")
    axes[5].set_title(f"{calls.title}: host calls")
    axes[5].set_ylim(0, 1.1 * max(cost.calls for cost in costs[calls.name] if cost.size <= calls.plotted_to))
    axes[5].set_yticks(range(0, 81, 20))
    axes[5].set_xlabel("rollouts")
    axes[5].set_ylabel("host calls per request")
    plot.save(figure, path, "How a request's cost grows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--module", type=Path, required=True, help="the module that was measured")
    parser.add_argument("--out", type=Path, required=True, help="the folder of growth.md and growth.svg")
    args = parser.parse_args()
    costs = read(sys.stdin.readlines())
    args.out.mkdir(parents=True, exist_ok=True)
    text = page(costs, args.module.read_bytes())
    (args.out / "growth.md").write_text(text)
    picture(costs, args.out / "growth.svg")
    print(text)


if __name__ == "__main__":
    main()
