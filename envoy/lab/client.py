"""Users: everybody asked once, or a steady load."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
import httpx

from .until import until


@dataclass(frozen=True)
class Key:
    """How a user says who they are: in which header, cookie or query parameter."""

    kind: str
    name: str

    def headers(self, user: str) -> dict[str, str]:
        if self.kind == "header":
            return {self.name: user}
        if self.kind == "cookie":
            return {"cookie": f"{self.name}={user}"}
        return {}

    def path(self, path: str, user: str) -> str:
        if self.kind != "query":
            return path
        return f"{path}{'&' if '?' in path else '?'}{self.name}={user}"


USER_ID = Key("header", "x-user-id")


@dataclass(frozen=True)
class Answer:
    """What one request brought."""

    user: str
    #: 0 where there was no answer.
    status: int
    #: The version that the filter says on the response.
    version: str | None = None
    #: Who really answered (`x-served-by`).
    served_by: str | None = None
    reason: str | None = None
    seconds: float = 0.0
    #: Why there was no answer.
    error: str | None = None

    @property
    def failed(self) -> bool:
        return self.status == 0 or self.status >= 500


Answers = dict[str, Answer]


def users(count: int, prefix: str = "user-") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def always_others(size: int, start: int = 0, prefix: str = "user-") -> Iterator[list[str]]:
    """So many users at a time, each only once: of a user the guard counts the first answer in ten seconds."""
    for first in itertools.count(start, size):
        yield [f"{prefix}{number}" for number in range(first, first + size)]


def _answer(user: str, status: int, headers: Mapping[str, str], rollout: str, began: float) -> Answer:
    return Answer(
        user,
        status,
        headers.get(f"x-cohort-{rollout}"),
        headers.get("x-served-by"),
        headers.get("x-cohort-reason"),
        time.monotonic() - began,
    )


async def ask(
    url: str,
    who: Iterable[str],
    *,
    rollout: str = "checkout",
    key: Key = USER_ID,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    concurrency: int = 32,
    fresh: bool = False,
    http2: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Answers:
    """Asks once for every user and returns the answers by user.

    `fresh`: a new connection for every request. `progress` hears of every finished request.
    """
    pending = deque(who)
    answers: Answers = {}

    async def worker(get: Callable[[str], object]) -> None:
        while pending:
            user = pending.popleft()
            answers[user] = await get(user)  # type: ignore[misc]
            if progress:
                progress(1)

    if http2:
        async with httpx.AsyncClient(http1=False, http2=True, base_url=url, timeout=30) as http:

            async def get2(user: str) -> Answer:
                began = time.monotonic()
                try:
                    told = await http.get(key.path(path, user), headers={**(headers or {}), **key.headers(user)})
                except httpx.HTTPError as error:
                    return Answer(user, 0, error=repr(error))
                return _answer(user, told.status_code, told.headers, rollout, began)

            await asyncio.gather(*(worker(get2) for _ in range(concurrency)))
        return answers

    async with User.session(concurrency, fresh=fresh) as http:
        asker = User(http, url, rollout=rollout, key=key, path=path, headers=headers)
        await asyncio.gather(*(worker(asker.ask) for _ in range(concurrency)))
    return answers


@dataclass
class User:
    """Asks for a user at a time over a session's connections."""

    http: aiohttp.ClientSession
    url: str
    rollout: str = "checkout"
    key: Key = USER_ID
    path: str = "/"
    headers: Mapping[str, str] | None = None

    @staticmethod
    def session(connections: int = 32, *, fresh: bool = False) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, force_close=fresh),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=60),
            auto_decompress=False,
        )

    async def ask(self, user: str) -> Answer:
        began = time.monotonic()
        headers = {**(self.headers or {}), **self.key.headers(user)}
        try:
            async with self.http.get(
                self.url + self.key.path(self.path, user), headers=headers, allow_redirects=False
            ) as told:
                await told.read()
                return _answer(user, told.status, told.headers, self.rollout, began)
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            return Answer(user, 0, error=repr(error), seconds=time.monotonic() - began)


@dataclass
class Moves:
    """Who went from where to where, between two times everybody was asked."""

    #: Users by (from, to).
    by_direction: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def between(cls, before: Answers, after: Answers) -> Moves:
        moves = cls()
        for user, answer in after.items():
            was, now = before[user].version if user in before else None, answer.version
            if was and now and was != now:
                moves.by_direction[was, now] += 1
        return moves

    @property
    def total(self) -> int:
        return sum(self.by_direction.values())

    def count(self, was: str, now: str) -> int:
        return self.by_direction[was, now]

    def __str__(self) -> str:
        if not self.total:
            return "nobody"
        return ", ".join(f"{n} {was} → {now}" for (was, now), n in sorted(self.by_direction.items()))


class Load:
    """A steady load in the background: users one after the other, again and again.

    ``async with Load(url, users(500), rate=150) as load:``. Counts from its start to its end, whatever
    is done to the proxy meanwhile.
    """

    def __init__(
        self,
        url: str,
        who: Sequence[str],
        *,
        rate: float = 150.0,
        rollout: str = "checkout",
        key: Key = USER_ID,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        connections: int = 64,
    ) -> None:
        self._url, self._who, self._rate = url, list(who), rate
        self._about = {"rollout": rollout, "key": key, "path": path, "headers": headers}
        self._connections = connections
        self.sent = 0
        self.answered = 0
        #: Every failed answer, with the seconds since the start.
        self.failures: list[tuple[float, Answer]] = []
        self.by_version: Counter[str | None] = Counter()
        self.by_service: Counter[str | None] = Counter()
        #: Answers by (version, status).
        self.by_outcome: Counter[tuple[str | None, int]] = Counter()
        #: Times a user was seen to go from a version to another.
        self.moves: Counter[tuple[str, str]] = Counter()
        self.slowest = 0.0
        self.last: dict[str, str] = {}
        #: Every answer, with the seconds since the start.
        self.heard: list[tuple[float, Answer]] = []
        #: The newest answers, for whoever waits for a change to show.
        self.recent: deque[Answer] = deque(maxlen=500)

    async def __aenter__(self) -> Load:
        self._session = User.session(self._connections)
        self._asker = User(self._session, self._url, **self._about)  # type: ignore[arg-type]
        self.began = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()
        self._pump = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Sends no more and awaits what is in flight."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        await self._pump
        if self._tasks:
            await asyncio.gather(*self._tasks)
        await self._session.close()

    async def more(self, count: int, what: str | None = None, *, timeout: float = 60) -> None:
        """Awaits so many more answers."""
        so_far = self.answered
        what = what or f"{count} more answers"
        await until(lambda: self.answered - so_far >= count, what, timeout=timeout)

    @property
    def failed(self) -> int:
        return len(self.failures)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    async def _run(self) -> None:
        """Open loop: a slow answer does not slow down the sending of the next."""
        number = 0
        while not self._stopped.is_set():
            wait = self.began + number / self._rate - time.monotonic()
            if wait > 0:
                try:
                    await asyncio.wait_for(self._stopped.wait(), wait)
                    return
                except asyncio.TimeoutError:
                    pass
            task = asyncio.create_task(self._one(self._who[number % len(self._who)]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            number += 1

    async def _one(self, user: str) -> None:
        self.sent += 1
        answer = await self._asker.ask(user)
        self.answered += 1
        self.heard.append((self.elapsed, answer))
        if answer.failed:
            self.failures.append((self.elapsed, answer))
        self.by_version[answer.version] += 1
        self.by_service[answer.served_by] += 1
        self.by_outcome[answer.version, answer.status] += 1
        self.slowest = max(self.slowest, answer.seconds)
        self.recent.append(answer)
        if answer.version:
            was = self.last.get(user)
            if was and was != answer.version:
                self.moves[was, answer.version] += 1
            self.last[user] = answer.version
