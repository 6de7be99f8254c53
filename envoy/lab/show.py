"""What a person sees: colours and a moving progress bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

#: One colour a version, in the order of a rollout's list.
COLOURS = ("green", "yellow", "cyan", "magenta", "blue", "red")


class Show:
    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, soft_wrap=True, width=110)

    def title(self, text: str, *lines: str) -> None:
        self.console.print()
        self.console.print(f"[bold]{escape(text)}[/bold]")
        for line in lines:
            self.console.print(escape(line))

    def step(self, text: str) -> None:
        self.console.print()
        self.console.print(f"[bold blue]──[/bold blue] [bold]{escape(text)}[/bold]")

    def say(self, text: str = "") -> None:
        self.console.print(f"   {escape(text)}" if text else "")

    def verdict(self, good: bool, text: str) -> None:
        mark = "[green]✓[/green]" if good else "[bold red]✗[/bold red]"
        self.console.print(f"   {mark} {escape(text)}")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, left: int = 1) -> None:
        """Rows under column heads; the first `left` columns and the last one are text, the others numbers."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        table.add_column("  ")
        for index, column in enumerate(columns):
            text = index < left or column == ""
            table.add_column(column, justify="left" if text else "right", no_wrap=True)
        for row in rows:
            table.add_row("  ", *(cell if isinstance(cell, str) else number(cell) for cell in row))
        self.console.print(table)

    @contextmanager
    def progress(self, text: str, total: int) -> Iterator[Any]:
        """A bar for `total` things; yields a function to call with how many were done."""
        if not self.console.is_terminal:
            yield lambda _: None
            return
        columns = (TextColumn("   {task.description}"), BarColumn(30), MofNCompleteColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(escape(text), total=total)
            yield lambda done: bar.advance(task, done)


def number(value: float) -> str:
    """12,345 or 4.95."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def bar(percent: float, colour: str, width: int = 30) -> str:
    """A bar `width` wide at 100 percent; anything above nothing shows."""
    cells = max(round(percent / 100 * width), 1 if percent > 0 else 0)
    return f"[{colour}]{'█' * cells}[/{colour}]"
