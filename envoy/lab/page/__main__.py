"""``python -m lab.page``: serves the page until it is told to end."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from aiohttp import web

from .server import Page


async def run(args: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    page = Page(
        envoy=args.envoy,
        admin=args.admin,
        file=args.filter,
        canary=args.canary,
        links=dict(link.split("=", 1) for link in args.link),
        tour={"ask": args.public or args.envoy, "stop": args.stop, "start": args.start},
    )
    async with page.running() as site:
        # Streams of events never end by themselves.
        runner = web.AppRunner(site, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, args.host, args.port).start()
            port = runner.addresses[0][1]
            print(json.dumps({"port": port, "url": f"http://localhost:{port}/"}), flush=True)
            await stop.wait()
        finally:
            await runner.cleanup()


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.page", description="Serves the page of who gets what.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (0.0.0.0 in a container)")
    parser.add_argument("--port", type=int, default=0, help="0: one the kernel chooses, printed as JSON")
    parser.add_argument("--envoy", required=True, metavar="URL", help="where users ask")
    parser.add_argument("--admin", required=True, metavar="URL", help="that Envoy's admin")
    parser.add_argument("--filter", required=True, type=Path, metavar="FILE", help="the filter file it watches")
    parser.add_argument("--canary", required=True, metavar="URL", help="the canary's service, to break it")
    parser.add_argument("--public", metavar="URL", help="where a person asks that Envoy; default: --envoy")
    parser.add_argument("--stop", metavar="COMMAND", help="what stops the canary's service, for the tour")
    parser.add_argument("--start", metavar="COMMAND", help="what starts it again")
    parser.add_argument("--link", action="append", default=[], metavar="NAME=URL", help="a link at the page's foot")
    return parser


def main() -> None:
    asyncio.run(run(arguments().parse_args()))


if __name__ == "__main__":
    sys.exit(main())
