"""An upstream whose answers a test writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from lab.bootstrap import Address


@asynccontextmanager
async def upstream(serve: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[Address]:
    """Where somebody answers every request as `serve` says."""
    site = web.Application()
    site.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0]
    finally:
        await runner.cleanup()


async def as_asked(request: web.Request) -> web.Response:
    """The status that the request names in `x-status`, and a header for each of its `x-answer: name: value`."""
    answer = web.Response(status=int(request.headers.get("x-status", "200")))
    for line in request.headers.getall("x-answer", []):
        name, _, value = line.partition(": ")
        answer.headers.add(name, value)
    return answer
