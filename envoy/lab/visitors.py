"""People with browsers: they keep their cookies, log in once, and come back again and again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import aiohttp

from .client import USER_ID, Key, User


class Visitors:
    """``async with Visitors(url, names, rollout="checkout") as people:`` lets everybody log in and come back.

    `key`: how they say who they are; None: they do not, and the filter gives each an id.
    """

    def __init__(
        self, url: str, names: Sequence[str], *, rollout: str, key: Key | None = USER_ID, rate: float = 50.0
    ) -> None:
        self._url, self._rollout, self._key, self._rate = url, rollout, key, rate
        #: Everybody's cookies.
        self.cookies: dict[str, dict[str, str]] = {name: {} for name in names}
        #: The newest version and reason of each, and what every other rollout gave them.
        self.version: dict[str, str | None] = {}
        self.reason: dict[str, str | None] = {}
        self.given: dict[str, dict[str, str]] = {}
        #: Times somebody went from a version to another.
        self.moves: Counter[tuple[str, str]] = Counter()
        self.sent = self.failed = self.lost_sessions = 0

    async def __aenter__(self) -> Visitors:
        self._http = User.session(32)
        await self.everybody("/login")
        self._stopped = asyncio.Event()
        self._coming = asyncio.create_task(self._come_back())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Nobody comes any more; returns when the last one has an answer."""
        self._stopped.set()
        await self._coming
        await self._http.close()

    async def everybody(self, path: str = "/") -> dict[str, str | None]:
        """Everybody comes once: their versions."""
        names = list(self.cookies)
        for first in range(0, len(names), 32):
            await asyncio.gather(*(self.visit(name, path) for name in names[first : first + 32]))
        return dict(self.version)

    def users_of(self, version: str) -> list[str]:
        return [name for name, now in self.version.items() if now == version]

    def log_out(self) -> None:
        """Everybody drops the session and the pin: whoever comes next begins anew."""
        for name in self.cookies:
            self.cookies[name] = {}

    async def visit(self, name: str, path: str = "/") -> None:
        jar = self.cookies[name]
        headers = self._key.headers(name) if self._key else {}
        if jar:
            own = [headers["cookie"]] if "cookie" in headers else []
            headers = {**headers, "cookie": "; ".join([*own, *(f"{n}={v}" for n, v in jar.items())])}
        self.sent += 1
        try:
            async with self._http.get(self._url + path, headers=headers) as answer:
                await answer.read()
        except (aiohttp.ClientError, asyncio.TimeoutError):
            self.failed += 1
            return
        self.failed += answer.status >= 500
        if self.cookies[name] is not jar:  # logged out meanwhile
            return
        self.lost_sessions += answer.headers.get("x-session") == "lost"
        jar.update({cookie.key: cookie.value for cookie in answer.cookies.values()})
        now, was = answer.headers.get(f"x-cohort-{self._rollout}"), self.version.get(name)
        if was and now and was != now:
            self.moves[was, now] += 1
        self.version[name], self.reason[name] = now, answer.headers.get("x-cohort-reason")
        self.given[name] = {n: v for n, v in answer.headers.items() if n.startswith("x-cohort-")}

    async def _come_back(self) -> None:
        """One after the other, so that nobody has two requests under way."""
        began, number, names = time.monotonic(), 0, list(self.cookies)
        while not self._stopped.is_set():
            await self.visit(names[number % len(names)])
            number += 1
            # Whoever is late does not hurry: the next one comes at the next turn.
            wait = began + number / self._rate - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
