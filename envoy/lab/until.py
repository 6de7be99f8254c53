"""Waiting for an event, with a name and a deadline."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


class TooLate(AssertionError):
    """Something awaited did not happen before its deadline."""


async def until(
    ask: Callable[[], Any],
    what: str,
    *,
    holds: Callable[[Any], bool] = bool,
    timeout: float = 60.0,
    every: float = 0.02,
) -> Any:
    """What `ask` answers, as soon as `holds` is true of it.

    `ask` may be a coroutine function. It is asked every `every` seconds at first, then more slowly, so that
    many who wait leave the machine to those who work. Raises `TooLate` with `what` and the last answer: the deadline
    ends what hangs, and measures nothing.
    """
    deadline, pause = time.monotonic() + timeout, every
    while True:
        answer = ask()
        if inspect.isawaitable(answer):
            answer = await answer
        if holds(answer):
            return answer
        if time.monotonic() > deadline:
            raise TooLate(f"not within {timeout:g} s: {what} (last seen: {answer!r})")
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, max(every, 0.1))
