"""A small service whose behaviour can be changed while it runs.

Every answer is JSON: who served it, and what reached it. ``python -m lab.upstream --name checkout-v1
--port 8080`` runs one. Beside the service itself:

- ``GET /ready``: 200 or 503; what a readiness probe or Cohort's health check asks.
- ``GET /-/behaviour``: the behaviour in force and what was counted; ``PATCH`` changes it.
- ``GET /login``: begins a session, which lives in this process; ``x-session`` on later answers says ``kept``,
  or ``lost`` if another process began it.
- ``?delay-ms=500`` on any path: this request is answered after that time.
- ``?status=503`` on any path: this request is answered with that status.

On SIGTERM it turns unready, closes connections after their next answer, goes on serving for
``--drain`` seconds, lets requests in flight end, and exits with 0.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import secrets
import signal
import sys
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web


@dataclass
class Behaviour:
    """What the service does to a request. Ratios are kept exactly, not at random: 0.25 is every fourth."""

    #: Share of requests answered with `failure_status`.
    failure_ratio: float = 0.0
    failure_status: int = 503
    #: Share of requests answered only after `delay_ms`.
    delay_ratio: float = 1.0
    delay_ms: float = 0.0
    #: Share of requests whose connection is cut instead of an answer.
    reset_ratio: float = 0.0
    #: Share of requests whose connection is cut after the headers and a part of the body.
    cut_ratio: float = 0.0
    #: Whether the service says it is ready.
    ready: bool = True
    #: A URL that has to answer 200 for the service to be ready.
    dependency: str | None = None
    #: A URL that is called for every request, with its `baggage`; its answer becomes a part of ours.
    calls: str | None = None
    #: Answer with this grpc-status: as a header (HTTP/1.1), in the trailers (HTTP/2).
    grpc_status: int | None = None
    #: Headers on every answer.
    headers: dict[str, str] = field(default_factory=dict)
    #: Bytes of padding in the body.
    padding: int = 0

    def change(self, changes: dict[str, Any]) -> None:
        """Sets what `changes` names; raises KeyError or TypeError and changes nothing if that is wrong."""
        for name, value in changes.items():
            kind = type(getattr(Behaviour(), name, None)) if hasattr(self, name) else None
            if kind is None:
                raise KeyError(name)
            if kind is not type(None) and value is not None and not isinstance(value, (kind, int)):
                raise TypeError(name)
        for name, value in changes.items():
            setattr(self, name, value)


class Share:
    """Lets a share of calls through: exactly, and spread evenly."""

    def __init__(self) -> None:
        self._owed = 0.0

    def due(self, ratio: float) -> bool:
        self._owed += ratio
        if self._owed < 1.0 - 1e-9:
            return False
        self._owed -= 1.0
        return True


@dataclass
class Fate:
    """What becomes of one request."""

    status: int = 200
    delay: float = 0.0
    reset: bool = False
    cut: bool = False


class App:
    """One service: its behaviour, its counters, its answers. The servers below put it on the wire."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.behaviour = Behaviour()
        self.draining = False
        #: For calls to the next service; there while the servers run.
        self.http: aiohttp.ClientSession
        self.counts = {"requests": 0, "in_flight": 0, "failed": 0, "reset": 0}
        #: The sessions begun here, by the value of their cookie.
        self.sessions: set[str] = set()
        self._failures, self._delays, self._resets, self._cuts = Share(), Share(), Share(), Share()

    def fate(self) -> Fate:
        now = self.behaviour
        self.counts["requests"] += 1
        reset = self._resets.due(now.reset_ratio)
        failed = not reset and self._failures.due(now.failure_ratio)
        late = now.delay_ms and self._delays.due(now.delay_ratio)
        self.counts["reset"] += reset
        self.counts["failed"] += failed
        cut = self._cuts.due(now.cut_ratio)
        return Fate(now.failure_status if failed else 200, now.delay_ms / 1000 if late else 0.0, reset, cut)

    async def ready(self) -> bool:
        if self.draining or not self.behaviour.ready:
            return False
        if self.behaviour.dependency is None:
            return True
        try:
            timeout = aiohttp.ClientTimeout(total=0.5)
            async with aiohttp.ClientSession(timeout=timeout) as http:
                async with http.get(self.behaviour.dependency) as answer:
                    return answer.status == 200
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return False

    def body(self, method: str, path: str, headers: list[tuple[bytes, bytes]], **more: Any) -> bytes:
        """The answer: bytes of headers as text, one character a byte."""
        seen = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]
        told = {"service": self.name, "method": method, "path": path, "headers": seen, **more}
        if self.behaviour.padding:
            told["padding"] = "." * self.behaviour.padding
        return json.dumps(told).encode() + b"\n"

    def answer_headers(self) -> dict[str, str]:
        return {"content-type": "application/json", "x-served-by": self.name, **self.behaviour.headers}

    def session_headers(self, path: str, cookie: str | None) -> dict[str, str]:
        """Begins a session, or says what became of the one that a request brought."""
        if path == "/login":
            session = secrets.token_hex(8)
            self.sessions.add(session)
            return {"set-cookie": f"session={session}; Path=/", "x-session": "begun"}
        if cookie is None:
            return {}
        return {"x-session": "kept" if cookie in self.sessions else "lost"}

    async def call(self, request: web.Request) -> tuple[int, Any]:
        """Calls the next service, as an application does that hands on the baggage of a request."""
        headers = {"baggage": request.headers["baggage"]} if "baggage" in request.headers else {}
        try:
            async with self.http.get(self.behaviour.calls, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as problem:
            return 0, repr(problem)

    def told(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "behaviour": dataclasses.asdict(self.behaviour),
            "counts": self.counts,
            "draining": self.draining,
        }


# --- HTTP/1.1 --------------------------------------------------------------------------------------


def http1(app: App) -> web.Application:
    async def ready(_: web.Request) -> web.Response:
        good = await app.ready()
        return web.Response(status=200 if good else 503, text="ready\n" if good else "not ready\n")

    async def behaviour(request: web.Request) -> web.Response:
        if request.method == "PATCH":
            try:
                app.behaviour.change(await request.json())
            except (KeyError, TypeError, ValueError) as problem:
                return web.json_response({"error": repr(problem)}, status=400)
        return web.json_response(app.told())

    async def serve(request: web.Request) -> web.StreamResponse:
        fate = app.fate()
        app.counts["in_flight"] += 1
        try:
            delay = fate.delay + float(request.query.get("delay-ms", 0)) / 1000
            if delay:
                await asyncio.sleep(delay)
            if fate.reset:
                request.transport.abort()
            await request.read()
            fate.status = int(request.query.get("status", fate.status))
            called = await app.call(request) if app.behaviour.calls else None
        finally:
            app.counts["in_flight"] -= 1
        headers = app.answer_headers() | app.session_headers(request.path, request.cookies.get("session"))
        if app.behaviour.grpc_status is not None:
            headers |= {"content-type": "application/grpc", "grpc-status": str(app.behaviour.grpc_status)}
        more = {} if called is None else {"called": called[1]}
        if called and called[0] != 200:
            fate.status = 502
        body = app.body(request.method, request.raw_path, list(request.raw_headers), **more)
        if fate.cut:
            part = web.StreamResponse(status=fate.status, headers={**headers, "content-length": str(len(body))})
            await part.prepare(request)
            await part.write(body[: len(body) // 2])
            # What is written still goes out; an abort would take it back.
            request.transport.close()
            return part
        answer = web.Response(status=fate.status, body=body, headers=headers)
        if app.draining:
            answer.force_close()
        return answer

    site = web.Application(client_max_size=64 * 1024 * 1024)
    site.router.add_get("/ready", ready)
    site.router.add_route("*", "/-/behaviour", behaviour)
    site.router.add_route("*", "/{path:.*}", serve)
    return site


# --- running it --------------------------------------------------------------------------------------


async def run(name: str, host: str, port: int, drain: float, http2: bool) -> None:
    app = App(name)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    runner = web.AppRunner(http1(app), access_log=None, shutdown_timeout=30, keepalive_timeout=3600)
    await runner.setup()
    # The service over HTTP/2 has its behaviour and readiness on a second port, over HTTP/1.1.
    site = web.TCPSite(runner, host, 0 if http2 else port)
    await site.start()
    ports = [runner.addresses[0][1]]
    server = None
    if http2:
        from .upstream_http2 import serve

        server = await serve(app, host, port)
        ports.insert(0, server.sockets[0].getsockname()[1])
    app.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
    print(json.dumps({"port": ports[0], "control": ports[-1]}), flush=True)
    await stop.wait()
    app.draining = True
    if drain:
        await asyncio.sleep(drain)
    if server:
        server.close()
    await runner.cleanup()
    await app.http.close()


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.upstream", description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True, help="what the service says it is, such as checkout-v1")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (0.0.0.0 in a container)")
    parser.add_argument("--port", type=int, default=0, help="0: one the kernel chooses, printed as JSON")
    parser.add_argument("--drain", type=float, default=0.0, help="seconds between SIGTERM and closing")
    parser.add_argument("--http2", action="store_true", help="serve HTTP/2 without TLS")
    return parser


def main() -> None:
    args = arguments().parse_args()
    asyncio.run(run(args.name, args.host, args.port, args.drain, args.http2))


if __name__ == "__main__":
    sys.exit(main())
