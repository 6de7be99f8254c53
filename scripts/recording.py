"""Records `cohort status --watch` on a terminal while a scenario plays on a real Envoy, as a picture that moves.

    PYTHONPATH=envoy python scripts/recording.py --scenario guard --out docs/images/status-guard.svg

The picture is an SVG of what the terminal showed, one frame for each look, twice as fast as it was.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import fcntl
import os
import pty
import struct
import termios
import time
from collections.abc import AsyncIterator
from pathlib import Path
from xml.sax.saxutils import escape

from lab import stage
from lab.envoy import COMMAND
from lab.scenarios import all_scenarios
from rich.color import ColorType
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

COLUMNS, ROWS = 110, 10
#: What the command writes before it draws anew.
REDRAW = "\x1b[H\x1b[J"
#: Of one character, and of the margin, in the picture's units.
WIDTH, HEIGHT, MARGIN = 8.4, 19, 14
FASTER = 2
#: Seconds that the last frame stays.
LAST = 4.0
CONSOLE = Console(width=COLUMNS, color_system="truecolor", force_terminal=True)
#: A picture joins plain ones.
SPACE = "\u00a0"
#: Of the picture.
GROUND, WRITING = "#1e1e1e", "#d9d9d9"


@dataclasses.dataclass
class Frame:
    #: Seconds since the recording began.
    at: float
    text: str


class Terminal:
    """A terminal of which every redraw becomes a frame."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._began = time.monotonic()
        self._pending = ""

    @contextlib.asynccontextmanager
    async def shows(self, *argv: str) -> AsyncIterator[None]:
        """Runs a command on the terminal, and ends it."""
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        loop = asyncio.get_running_loop()
        env = {**os.environ, "TERM": "xterm-256color"}
        process = await asyncio.create_subprocess_exec(*argv, stdin=its, stdout=its, stderr=its, env=env)
        os.close(its)
        loop.add_reader(ours, self._read, ours)
        try:
            yield
        finally:
            process.terminate()
            await process.wait()
            loop.remove_reader(ours)
            os.close(ours)

    def _read(self, terminal: int) -> None:
        with contextlib.suppress(OSError):
            self._pending += os.read(terminal, 65536).decode(errors="replace")
        # What follows a redraw is whole once the next one begins.
        *whole, self._pending = self._pending.split(REDRAW)
        self.frames += [Frame(time.monotonic() - self._began, text) for text in whole if text.strip()]


def line(text: Text, row: int) -> str:
    """A row of the terminal."""
    words = []
    for span in text.render(CONSOLE):
        style, told = span.style, span.text
        if not told.strip():
            words.append((len(told), ""))
            continue
        color = style.color if style else None
        fill = WRITING
        if color and color.type != ColorType.DEFAULT:
            fill = color.get_truecolor(MONOKAI).hex
        faint = ' opacity="0.6"' if style and style.dim else ""
        bold = ' font-weight="bold"' if style and style.bold else ""
        words.append((len(told), f'fill="{fill}"{faint}{bold}>{escape(told).replace(" ", SPACE)}'))
    column, out = 0, ""
    for length, word in words:
        if word:
            x, y = MARGIN + column * WIDTH, MARGIN + (row + 0.75) * HEIGHT
            out += f'<text x="{x:.1f}" y="{y:.1f}" textLength="{length * WIDTH:.1f}" {word}</text>'
        column += length
    return out


def drawn(frames: list[Frame]) -> str:
    """The frames as one picture that moves and begins again at its end."""
    begins = [(frame.at - frames[0].at) / FASTER for frame in frames]
    ends = [*begins[1:], begins[-1] + LAST]
    whole = ends[-1]
    width, height = COLUMNS * WIDTH + 2 * MARGIN, ROWS * HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">',
        "<title>cohort status --watch, twice as fast as it was</title>",
        f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>',
    ]
    for frame, begin, end in zip(frames, begins, ends, strict=True):
        rows = "".join(
            line(Text.from_ansi(row.rstrip("\r")), number)
            for number, row in enumerate(frame.text.split("\n")[:ROWS])
            if row.strip()
        )
        times = f"0;{begin / whole:.4f};{end / whole:.4f}" if begin else f"0;{end / whole:.4f}"
        values = "0;1;0" if begin else "1;0"
        # Without animation the last frame is seen.
        shown = 1 if frame is frames[-1] else 0
        parts.append(
            f'<g opacity="{shown}"><animate attributeName="opacity" calcMode="discrete" dur="{whole:.2f}s" '
            f'repeatCount="indefinite" keyTimes="{times}" values="{values}"/>{rows}</g>'
        )
    return "\n".join([*parts, "</svg>\n"])


def differing(frames: list[Frame]) -> list[Frame]:
    """Without those that show what the one before showed."""
    return [
        frame for before, frame in zip([None, *frames], frames, strict=False) if not before or before.text != frame.text
    ]


async def record(name: str) -> list[Frame]:
    """Plays a scenario under the eyes of the command."""
    scenario, terminal = all_scenarios()[name], Terminal()

    async def watched(on: stage.Stage) -> None:
        admin = f"http://127.0.0.1:{on.proxy.admin_port}"
        async with terminal.shows(str(COMMAND), "status", admin, "--watch"):
            await scenario.play(on)

    if not await stage.run(dataclasses.replace(scenario, play=watched)):
        raise SystemExit(f"{name} did not go as it should: nothing is written")
    return differing(terminal.frames)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenario", default="guard")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    frames = asyncio.run(record(args.scenario))
    args.out.write_text(drawn(frames))
    print(f"{args.out}: {len(frames)} frames of {frames[-1].at - frames[0].at:.0f} s")


if __name__ == "__main__":
    main()
