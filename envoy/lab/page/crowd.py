"""The users: asked, counted, seen to move."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ..client import Answer, User

#: How many users there are. 240 fills rows of 24, 20, 16, 15 and 12.
USERS = 240
#: The number of the first. The buckets of these few are spread about evenly, as those of many users are.
FIRST = 2100
#: How many are asked at once, and how long it takes until everybody has been asked.
BATCH = 24
SWEEP_SECONDS = 1.5
#: In the place of an era, while a change is on its way to every worker of the proxy.
BETWEEN = -1
#: Coprime to USERS: neighbours in the grid are not asked together.
STRIDE = 97


def crowd() -> list[str]:
    """The users' names."""
    return [f"user-{number}" for number in range(FIRST, FIRST + USERS)]


@dataclass
class Cell:
    """What the last request of a user brought."""

    version: str | None = None
    reason: str | None = None
    served_by: str | None = None
    failed: bool = False
    moves: int = 0
    #: The era in which that request was sent.
    era: int = BETWEEN

    def told(self) -> list[object]:
        return [self.version, int(self.failed), self.moves, self.reason, self.served_by]


@dataclass
class Grid:
    """All users under one way to split."""

    cells: list[Cell] = field(default_factory=lambda: [Cell() for _ in range(USERS)])
    requests: int = 0
    failed: int = 0
    #: Times a user was seen to go from a version to another.
    moved: int = 0
    #: Those that nobody wanted: between two requests with no change of the release between them.
    back_and_forth: int = 0
    #: When the latest of those were seen; they count once the proxy, asked later, tells of no change.
    _unexplained: deque[float] = field(default_factory=deque)
    #: Those since it was last asked for, by direction.
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)

    def hear(self, number: int, answer: Answer, sent: int, now: int) -> None:
        """An answer to a request that was sent in one era and is heard in another, or in the same."""
        cell = self.cells[number]
        self.requests += 1
        self.failed += answer.failed
        cell.failed = answer.failed
        if answer.version:
            if cell.version and cell.version != answer.version:
                cell.moves += 1
                self.moved += 1
                self.moves[cell.version, answer.version] += 1
                if cell.era == sent == now != BETWEEN:
                    self._unexplained.append(time.monotonic())
            cell.version, cell.era = answer.version, sent
        cell.reason, cell.served_by = answer.reason, answer.served_by

    def explained(self) -> None:
        """A change has come: the latest moves are its."""
        self._unexplained.clear()

    def settle(self, asked: float) -> None:
        """Counts the moves before the proxy was `asked`, which then told of no change."""
        while self._unexplained and self._unexplained[0] < asked:
            self._unexplained.popleft()
            self.back_and_forth += 1

    def counters(self) -> dict[str, int]:
        return {
            "requests": self.requests,
            "moved": self.moved,
            "failed": self.failed,
            "back_and_forth": self.back_and_forth,
        }

    def told(self) -> dict[str, object]:
        return {**self.counters(), "cells": [cell.told() for cell in self.cells]}


class Crowd:
    """Asks for everybody through the proxy, batch by batch, for ever.

    Twice: once as who they are, and once under a name that nobody had before, which is what a split at
    random per request gives a user.
    """

    def __init__(self, url: str, rollout: str, batch: Callable[[list[int]], None], sweep: Callable[[], None]) -> None:
        self.names = crowd()
        self.sticky, self.random = Grid(), Grid()
        #: How many times everybody has been asked.
        self.sweeps = 0
        #: Grows with every change of the release, and with every one that the proxy makes by itself.
        self._changes = 0
        #: The sweep with which the latest change has reached every worker: each learns it by itself, a little later
        #: than the first of them. By then everybody has been asked once since.
        self._settled = 0
        self._url, self._rollout = url.rstrip("/"), rollout
        self._heard_batch, self._heard_sweep = batch, sweep

    def changed(self) -> None:
        """The release is another one from now on, so moves are wanted."""
        self._changes += 1
        self._settled = self.sweeps + 2
        for grid in (self.sticky, self.random):
            grid.explained()

    def unchanged(self, asked: float) -> None:
        """The release is what it was: so said the proxy, which was asked at this time (`time.monotonic`)."""
        for grid in (self.sticky, self.random):
            grid.settle(asked)

    def _era(self) -> int:
        return self._changes if self.sweeps >= self._settled else BETWEEN

    async def run(self) -> None:
        order = [number * STRIDE % USERS for number in range(USERS)]
        async with User.session(2 * BATCH) as http:
            user = User(http, self._url, rollout=self._rollout)

            async def one(grid: Grid, number: int, name: str) -> None:
                sent = self._era()
                grid.hear(number, await user.ask(name), sent, self._era())

            for start in itertools.cycle(range(0, USERS, BATCH)):
                began = time.monotonic()
                batch = order[start : start + BATCH]
                await asyncio.gather(
                    *(one(self.sticky, number, self.names[number]) for number in batch),
                    *(one(self.random, number, uuid.uuid4().hex) for number in batch),
                )
                self._heard_batch(batch)
                if start + BATCH >= USERS:
                    self.sweeps += 1
                    self._heard_sweep()
                # A pace, not a wait for something: a proxy that is slow is asked less.
                await asyncio.sleep(max(0.0, SWEEP_SECONDS * BATCH / USERS - (time.monotonic() - began)))
