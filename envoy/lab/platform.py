"""What a platform does around a release, as Kubernetes would: it starts processes, asks whether they are ready,
keeps a cluster's endpoints to the ready ones, and ends processes with SIGTERM.

Endpoints come with readiness and go with the SIGTERM; the process serves a while longer (`drain`), because a
proxy hears of it a moment later. A process whose probe fails for two and a half seconds is taken out; Kubernetes
takes thirty by default.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp

from .envoy import Envoy
from .service import Service
from .until import until

#: Seconds between two probes, and how many bad answers in a row take a process out.
PERIOD, FAILURES = 0.25, 10
#: Seconds for which a process serves after SIGTERM.
DRAIN = 0.7


class Platform:
    """``async with Platform(proxy, [v1, v2]) as platform:`` takes over services that run already."""

    def __init__(self, proxy: Envoy, running: list[Service]) -> None:
        self._proxy = proxy
        #: Every process by the cluster that it belongs to, those ending no longer.
        self.members: dict[str, list[Service]] = {}
        for one in running:
            self.members.setdefault(one.name, []).append(one)
        self._ready = {one: True for one in running}
        self._bad: Counter[Service] = Counter()
        self._written = {name: [one.address for one in ones] for name, ones in self.members.items()}
        self._started: list[Service] = []
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Platform:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2))
        self._probing = asyncio.create_task(self._probe_all())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._probing.cancel()
        await asyncio.gather(self._probing, return_exceptions=True)
        await self._http.close()
        await asyncio.gather(*(one.stop() for one in self._started))

    def check(self) -> None:
        """Raises what ended the probing, should anything have."""
        if self._probing.done():
            self._probing.result()

    async def deploy(self, name: str) -> Service:
        """Starts a process; returns when it is ready and takes requests."""
        service = Service(name, drain=DRAIN)
        await service.start()
        self._started.append(service)
        self._ready[service] = False
        self.members.setdefault(name, []).append(service)
        await until(lambda: self.check() or service.address in self._written.get(name, []), f"{name} ready")
        return service

    async def retire(self, service: Service) -> int:
        """SIGTERM; its endpoint goes, what it has in flight ends. Its exit code."""
        service.begin_stop()
        self.members[service.name].remove(service)
        await self._write_endpoints()
        return await service.stop()

    async def until_out(self, service: Service) -> None:
        """Returns when a process that is unready no longer gets requests."""
        gone = lambda: self.check() or service.address not in self._written[service.name]  # noqa: E731
        await until(gone, f"{service.name} out of the endpoints")

    async def _probe_all(self) -> None:
        while True:
            await asyncio.gather(*(self._probe(one) for ones in self.members.values() for one in ones))
            await self._write_endpoints()
            await asyncio.sleep(PERIOD)

    async def _probe(self, service: Service) -> None:
        try:
            async with self._http.get(f"{service.url}/ready") as answer:
                good = answer.status == 200
        except (aiohttp.ClientError, asyncio.TimeoutError):
            good = False
        self._bad[service] = 0 if good else self._bad[service] + 1
        if not service.process.alive:
            self._bad[service] = FAILURES
        if good or self._bad[service] >= FAILURES:
            self._ready[service] = good

    async def _write_endpoints(self) -> None:
        async with self._lock:
            for name, ones in self.members.items():
                wanted = [one.address for one in ones if self._ready[one]]
                if wanted != self._written.get(name):
                    await self._proxy.set_endpoints(name, wanted)
                    self._written[name] = wanted
