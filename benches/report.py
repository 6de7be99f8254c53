"""How every measurement says where its figures come from, and leaves them."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

from lab.envoy import version


def command(what: str, **arguments: object) -> str:
    """The command that makes a report again; `arguments` are those that are not the default."""
    flags = " ".join(f"--{name} {value}" for name, value in arguments.items())
    return f"make bench WHAT={what}" + (f" ARGS='{flags}'" if flags else "")


def made_by(command: str, *about: str) -> str:
    """The first line below a report's heading."""
    said = ", ".join((f"Envoy {version()}", *about, f"{os.cpu_count()} cores shared with other work"))
    return f"Made by `{command}` on {datetime.now(timezone.utc):%Y-%m-%d}: {said}."


def leave(text: str, path: Path | None) -> None:
    """Prints a report, and writes it where a path is given."""
    print(text)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
