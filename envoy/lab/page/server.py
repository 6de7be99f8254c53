"""The page itself, its buttons and its stream of events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from .. import arithmetic
from ..until import until
from .crowd import Crowd
from .live import Config, Live, Refused
from .watch import Standing, standings

STATIC = Path(__file__).parent / "static"
README = Path(__file__).resolve().parents[3] / "README.md"
FILES = ("page.css", "page.js")

#: What takes a broken canary out while one looks. Added to a rollout that has none.
GUARD = {"maxFailureRatio": 0.05, "window": "5s", "retryAfter": "10s"}

#: No script, style or picture from elsewhere, and no request to elsewhere.
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"


class Page:
    """One rollout, two versions, one crowd, and whoever looks."""

    def __init__(
        self,
        *,
        envoy: str,
        admin: str,
        file: Path,
        canary: str,
        links: Mapping[str, str],
        tour: Mapping[str, str | None],
    ) -> None:
        self._envoy, self._admin, self._file, self._canary = envoy, admin, file, canary.rstrip("/")
        self._links = dict(links)
        #: Where a person asks, and what stops and starts the canary's service.
        self._tour = dict(tour)
        self._watchers: set[asyncio.Queue[bytes]] = set()
        self._standings: dict[str, Standing] = {}
        self._news: deque[dict[str, Any]] = deque(maxlen=40)
        self._probing: set[str] = set()
        #: What the canary's service says of itself, and whether it says anything.
        self._broken, self._serving = False, True

    # --- life ----------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[web.Application]:
        """The crowd asks and the proxy is watched as long as this lasts."""
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as self._http:
            # They may be started together.
            await until(self._envoy_is_ready, "Envoy, and the file that it watches", timeout=120, every=0.2)
            self.live = Live(self._file, self._admin, self._http)
            self.rollout = self.live.config()["rollouts"][0]["name"]
            await self.live.change(self._make_ready)
            self.crowd = Crowd(self._envoy, self.rollout, self._batch, self._sweep)
            jobs = (self.crowd.run(), self._watch(), self._watch_canary())
            tasks = [asyncio.create_task(job) for job in jobs]
            try:
                yield self._site()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _envoy_is_ready(self) -> bool:
        try:
            async with self._http.get(f"{self._admin}/ready") as answer:
                return answer.status == 200 and self._file.exists()
        except aiohttp.ClientError:
            return False

    def _make_ready(self, config: Config) -> None:
        """What the page needs: a guard, and the version and the reason on the answer."""
        rollout = self._rollout_of(config)
        rollout.setdefault("guard", GUARD)
        output = rollout.setdefault("output", {})
        output["responseHeader"] = f"x-cohort-{self.rollout}"
        output["reasonHeader"] = "x-cohort-reason"

    def _rollout_of(self, config: Config) -> dict[str, Any]:
        return next(one for one in config["rollouts"] if one["name"] == self.rollout)

    def _key_header(self) -> str:
        """The header by which a user says who they are."""
        keys = self._rollout_of(self.live.config())["hashKey"]
        return next((key["header"] for key in keys if "header" in key), "x-user-id")

    @staticmethod
    def _weighted(rollout: dict[str, Any]) -> dict[str, Any]:
        """The version whose weight the page moves."""
        return next(one for one in rollout["versions"] if "weight" in one)

    # --- what happens --------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
                asked = time.monotonic()
                now = await standings(self._admin, self.rollout, self._http)
                if now == self._standings:
                    self.crowd.unchanged(asked)
                else:
                    before, self._standings = self._standings, now
                    self.crowd.changed()
                    self._tell_standings(before, now)
                    self._send("state", self.state())
            await asyncio.sleep(0.25)

    async def _watch_canary(self) -> None:
        """Its service may be stopped, started anew and broken by others than the page."""
        timeout = aiohttp.ClientTimeout(total=1)
        while True:
            broken, serving = self._broken, True
            try:
                async with self._http.get(f"{self._canary}/-/behaviour", timeout=timeout) as told:
                    broken = (await told.json())["behaviour"]["failure_ratio"] > 0
            except (aiohttp.ClientError, asyncio.TimeoutError):
                serving = False
            if (broken, serving) != (self._broken, self._serving):
                if serving != self._serving:
                    canary = self.state()["canary"]
                    self.tell("fault", f"{canary}'s service {'answers again' if serving else 'does not answer'}.")
                self._broken, self._serving = broken, serving
                self._send("state", self.state())
            await asyncio.sleep(0.5)

    def _tell_standings(self, before: dict[str, Standing], now: dict[str, Standing]) -> None:
        for name, one in now.items():
            was = before.get(name)
            if was is None:
                continue
            if one.trips > was.trips:
                self.tell("guard", f"The guard took {name} out ({one.cause}). Its users get stable.")
            elif was.held_out and not one.held_out:
                # A version that is tried again has a tenth of its weight.
                if one.in_force < self.state()["weight"]:
                    self._probing.add(name)
                    self.tell("guard", f"{name} is tried again with a tenth of its users.")
                else:
                    self.tell("guard", f"{name} is back.")
            elif name in self._probing and one.in_force >= self.state()["weight"]:
                self._probing.discard(name)
                self.tell("guard", f"{name} proved itself: all of its users have it again.")
            if one.held_out:
                self._probing.discard(name)

    def _batch(self, batch: list[int]) -> None:
        def cells(grid: Any) -> list[list[Any]]:
            return [[number, *grid.cells[number].told()] for number in batch]

        sticky, random = self.crowd.sticky, self.crowd.random
        self._send(
            "answers",
            {
                "sticky": {**sticky.counters(), "cells": cells(sticky)},
                "random": {**random.counters(), "cells": cells(random)},
            },
        )

    def _sweep(self) -> None:
        moves = self.crowd.sticky.moves
        for (was, now), count in sorted(moves.items()):
            self.tell("moved", f"{count} {'user' if count == 1 else 'users'} moved: {was} → {now}.")
        moves.clear()
        self.crowd.random.moves.clear()
        self._send("sweep", {"sweeps": self.crowd.sweeps})

    def tell(self, kind: str, text: str) -> None:
        """A line of news for people."""
        news = {"at": time.time(), "kind": kind, "text": text}
        self._news.append(news)
        self._send("news", news)

    def state(self) -> dict[str, Any]:
        """The configuration, and what of it is in force."""
        rollout = self._rollout_of(self.live.config())
        canary = self._weighted(rollout)["name"]
        return {
            "rollout": self.rollout,
            "versions": [one["name"] for one in rollout["versions"]],
            "stable": next(one["name"] for one in rollout["versions"] if "weight" not in one),
            "canary": canary,
            "weight": self._weighted(rollout)["weight"],
            "in_force": self._standings[canary].in_force if canary in self._standings else None,
            "enabled": rollout.get("enabled", True),
            "broken": self._broken,
            "serving": self._serving,
            "probing": bool(self._probing),
            "standings": {name: asdict(one) for name, one in self._standings.items()},
            "configuration": json.dumps(rollout, indent=2),
        }

    # --- HTTP ----------------------------------------------------------------------------------------

    def _site(self) -> web.Application:
        site = web.Application(middlewares=[_strict])
        site.router.add_get("/", self._index)
        for name in FILES:
            site.router.add_get(f"/{name}", self._asset)
        site.router.add_get("/readme", self._readme)
        site.router.add_get("/ready", self._ready)
        site.router.add_get("/state", self._whole)
        site.router.add_get("/events", self._events)
        site.router.add_post("/weight", self._set_weight)
        site.router.add_post("/enabled", self._set_enabled)
        site.router.add_post("/broken", self._set_broken)
        return site

    async def _index(self, _: web.Request) -> web.StreamResponse:
        return web.FileResponse(STATIC / "index.html")

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(STATIC / request.path.lstrip("/"))

    async def _readme(self, _: web.Request) -> web.StreamResponse:
        return web.Response(text=README.read_text(), content_type="text/plain", charset="utf-8")

    async def _ready(self, _: web.Request) -> web.Response:
        good = self.crowd.sweeps > 0
        return web.Response(status=200 if good else 503, text="ready\n" if good else "nobody was asked yet\n")

    def _snapshot(self) -> dict[str, Any]:
        salt = self._rollout_of(self.live.config()).get("salt", self.rollout)
        return {
            "state": self.state(),
            "users": self.crowd.names,
            "buckets": [arithmetic.bucket(salt, name) for name in self.crowd.names],
            "sticky": self.crowd.sticky.told(),
            "random": self.crowd.random.told(),
            "sweeps": self.crowd.sweeps,
            "news": list(self._news),
            "links": self._links,
            "tour": {**self._tour, "header": self._key_header(), "answer": f"x-cohort-{self.rollout}"},
        }

    async def _whole(self, _: web.Request) -> web.Response:
        return web.json_response(self._snapshot())

    async def _events(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-store"})
        await answer.prepare(request)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        queue.put_nowait(_event("all", self._snapshot()))
        self._watchers.add(queue)
        try:
            while True:
                await answer.write(await queue.get())
        except ConnectionError:
            return answer
        finally:
            self._watchers.discard(queue)

    def _send(self, kind: str, data: Any) -> None:
        event = _event(kind, data)
        for queue in list(self._watchers):
            # A browser that does not read for a minute begins anew when it does.
            if queue.qsize() > 500:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(_event("all", self._snapshot()))
            else:
                queue.put_nowait(event)

    async def _set_weight(self, request: web.Request) -> web.Response:
        weight = (await request.json()).get("weight")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 100:
            return web.json_response({"error": "a weight is a number from 0 to 100"}, status=400)
        before = self.state()["weight"]

        def edit(config: Config) -> None:
            self._weighted(self._rollout_of(config))["weight"] = weight

        return await self._change(edit, f"{self.state()['canary']}: {before:g} % → {weight:g} %")

    async def _set_enabled(self, request: web.Request) -> web.Response:
        enabled = (await request.json()).get("enabled")
        if not isinstance(enabled, bool):
            return web.json_response({"error": "enabled is true or false"}, status=400)

        def edit(config: Config) -> None:
            self._rollout_of(config)["enabled"] = enabled

        return await self._change(
            edit, "Kill switch off: the weights hold again" if enabled else "Kill switch on: everybody gets stable"
        )

    async def _change(self, edit: Any, text: str) -> web.Response:
        def whole(config: Config) -> None:
            """Others may have written the file since: what the page needs may be gone from it."""
            self._make_ready(config)
            edit(config)

        self.crowd.changed()
        try:
            took = await self.live.change(whole)
        except Refused as refusal:
            self.tell("refused", str(refusal))
            return web.json_response({"error": str(refusal)}, status=409)
        finally:
            self.crowd.changed()
        self._send("state", self.state())
        self.tell("change", f"{text}. In force on every worker after {took * 1000:.0f} ms.")
        return web.json_response({"milliseconds": took * 1000, "sweeps": self.crowd.sweeps, "state": self.state()})

    async def _set_broken(self, request: web.Request) -> web.Response:
        broken = (await request.json()).get("broken")
        if not isinstance(broken, bool):
            return web.json_response({"error": "broken is true or false"}, status=400)
        behaviour = {"failure_ratio": 1.0 if broken else 0.0}
        async with self._http.patch(f"{self._canary}/-/behaviour", json=behaviour) as told:
            told.raise_for_status()
        self._broken = broken
        now = self.state()
        text = f"{now['canary']} answers every request with 503." if broken else f"{now['canary']} is repaired."
        if broken and (now["weight"] == 0 or not now["enabled"]):
            text += " Nobody is on it, so no request fails."
        self._send("state", now)
        self.tell("fault", text)
        return web.json_response({"state": now})


@web.middleware
async def _strict(request: web.Request, handler: Any) -> web.StreamResponse:
    """Changes come from this page only: another site's form cannot send JSON."""
    if request.method == "POST" and request.content_type != "application/json":
        return web.json_response({"error": "send application/json"}, status=415)
    try:
        answer = await handler(request)
    except (json.JSONDecodeError, AttributeError):
        return web.json_response({"error": "send a JSON object"}, status=400)
    except (aiohttp.ClientError, asyncio.TimeoutError) as problem:
        return web.json_response({"error": f"no answer from behind: {problem}"}, status=502)
    if not answer.prepared:
        answer.headers["content-security-policy"] = POLICY
        answer.headers["cache-control"] = "no-cache"
    return answer


def _event(kind: str, data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
