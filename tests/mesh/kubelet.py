"""A stand-in for a kubelet: runs the pods that controllers make, each on a host of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from kube import Kube, Refused
from shop import App


class Kubelet:
    """``async with Kubelet(kube) as kubelet:`` starts the application in every pod of `shop` that has no node.

    A pod serves under its image's tag as name, and is ready when it listens. One that is deleted goes on serving for
    `linger` seconds, as a pod does whose end not every proxy has heard of. `behaviour` says, by tag, how a version
    behaves.
    """

    def __init__(self, kube: Kube, *, linger: float = 3.0, slow: float = 0.0) -> None:
        self.kube, self.linger, self.slow = kube, linger, slow
        self.behaviour: dict[str, dict[str, Any]] = {}
        self.apps: dict[str, App] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: set[str] = set()

    async def __aenter__(self) -> Kubelet:
        self._loop = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop.cancel()
        await asyncio.gather(self._loop, *self._tasks, return_exceptions=True)
        for app in list(self.apps.values()):
            await app.stop()

    def _do(self, work: Callable[[], Any]) -> None:
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        while True:
            for pod in await self.kube.list("Pod"):
                name, owned = pod["metadata"]["name"], pod["metadata"].get("ownerReferences")
                if not owned:
                    continue  # somebody else runs it
                if pod["metadata"].get("deletionTimestamp"):
                    if name not in self._ending:
                        self._ending.add(name)
                        self._do(lambda name=name: self._end(name))
                elif name not in self.apps:
                    tag = pod["spec"]["containers"][0]["image"].rpartition(":")[2]
                    # A host's name has room for fifteen characters of its cable.
                    self.apps[name] = App(self.kube, name, tag, {})
                    self._do(lambda name=name, tag=tag: self._begin(name, tag))
            await asyncio.sleep(0.2)  # how often it looks

    async def _begin(self, name: str, tag: str) -> None:
        app = self.apps[name]
        bind = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"kind": "Node", "name": "node"},
        }
        try:
            await self.kube.ask("POST", f"api/v1/namespaces/shop/pods/{name}/binding", bind)
            await app.start()
            if tag in self.behaviour:
                await app.behave(**self.behaviour[tag])
            if self.slow:
                await asyncio.sleep(self.slow)  # an application that is slow to become ready
            await self.kube.pod_status(name, app.host.address, ready=True)
        except Refused:
            pass  # it was deleted meanwhile

    async def _end(self, name: str) -> None:
        app = self.apps.get(name)
        if app:
            try:
                await self.kube.pod_status(name, app.host.address, ready=False)
            except Refused:
                pass
            await asyncio.sleep(self.linger)
        try:
            await self.kube.delete("Pod", name, gracePeriodSeconds=0)
        except Refused:
            pass
        if app:
            await app.stop()
            del self.apps[name]
