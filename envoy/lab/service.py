"""The handle on a service process (`upstream`)."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from .bootstrap import ENVOY_DIR, Address
from .process import Process


class Service:
    """A running service. ``async with Service("checkout-v1") as v1:`` starts and drains it."""

    def __init__(self, name: str, *, port: int = 0, http2: bool = False, drain: float = 0.0) -> None:
        self.name = name
        self._argv = [sys.executable, "-m", "lab.upstream", "--name", name, "--port", str(port)]
        self._argv += ["--drain", str(drain)] + (["--http2"] if http2 else [])
        self.process: Process | None = None
        #: Where it serves, once started.
        self.address: Address = ("127.0.0.1", 0)
        self._control: Address = self.address

    async def __aenter__(self) -> Service:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> Service:
        """Starts it, or starts it again on another port; returns when it listens."""
        with tempfile.NamedTemporaryFile(prefix=f"cohort-{self.name}-", suffix=".log", delete=False) as log:
            path = Path(log.name)
        env = {"PYTHONPATH": str(ENVOY_DIR), "PYTHONUNBUFFERED": "1"}
        self.process = await Process.start(self.name, self._argv, log=path, env=env)
        line = await asyncio.wait_for(self.process.child.stdout.readline(), 30)
        if not line:
            raise RuntimeError(f"service {self.name} did not start:\n{self.process.tail()}")
        told = json.loads(line)
        self.address = ("127.0.0.1", told["port"])
        self._control = ("127.0.0.1", told["control"])
        return self

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        """Where its behaviour and readiness are."""
        return f"http://127.0.0.1:{self._control[1]}"

    async def behave(self, **changes: Any) -> dict[str, Any]:
        """Changes its behaviour (see `upstream.Behaviour`); without arguments only asks."""
        async with aiohttp.ClientSession() as http:
            method = "PATCH" if changes else "GET"
            async with http.request(method, f"{self.url}/-/behaviour", json=changes or None) as answer:
                told = await answer.json()
                if answer.status != 200:
                    raise ValueError(told["error"])
                return told

    async def counts(self) -> dict[str, int]:
        """Requests it served, has in flight, answered with a failure, cut."""
        return (await self.behave())["counts"]

    def begin_stop(self) -> None:
        """SIGTERM, as a platform sends it; `stop` awaits the end."""
        self.process.begin_stop()

    async def stop(self, grace: float = 35.0) -> int:
        """SIGTERM and the end: its exit code. Does nothing the second time."""
        if self.process is None:
            return 0
        code = await self.process.stop(grace)
        self.process.log.unlink(missing_ok=True)
        return code

    async def kill(self) -> None:
        """SIGKILL: what a crash looks like."""
        self.process.send(signal.SIGKILL)
        await self.process.child.wait()
        self.process.log.unlink(missing_ok=True)
