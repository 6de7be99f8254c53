"""What the example's cluster has before Cohort comes: the service `checkout` in two versions, and a gateway."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from hosts import Host
from kube import Kube
from lab.client import Answers, ask, users
from lab.process import Process
from lab.until import until
from mesh import answers
from programs import REPOSITORY

#: The host that the manifests' rollout is about.
SHOP = {"host": "shop.example.com"}
#: Of another user's mind: the client's own word.
FORGED = {"x-cohort-checkout": "canary"}
COHORT = Path(os.environ["COHORT"])

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "checkout", "namespace": "shop"},
    "spec": {
        "selector": {"app": "checkout"},
        "ports": [{"name": "http", "port": 8080, "targetPort": 8080, "appProtocol": "http"}],
    },
}

#: A gateway of Istio's own kind, as its chart's users write it.
GATEWAY = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "public", "namespace": "istio-ingress"},
    "spec": {
        "selector": {"istio": "ingressgateway"},
        "servers": [{"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
    },
}


#: The one listener of a gateway of the Gateway API.
LISTENERS = [{"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}]


def virtual_service(*http: dict[str, Any]) -> dict[str, Any]:
    """The shop's routes at Istio's gateway."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"hosts": ["shop.example.com"], "gateways": ["istio-ingress/public"], "http": list(http)},
    }


class App:
    """A pod of the application: `lab.upstream` on a host of its own."""

    def __init__(self, kube: Kube, name: str, says: str, labels: Mapping[str, str], ns: str = "shop") -> None:
        self.kube, self.name, self.says, self.labels, self.ns = kube, name, says, dict(labels), ns
        self.host = Host(name)

    async def __aenter__(self) -> App:
        await self.start()
        await self.kube.pod(self.name, self.host.address, self.ns, **self.labels)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kube.delete("Pod", self.name, self.ns, gracePeriodSeconds=0)
        await self.stop()

    async def start(self, drain: float = 0) -> None:
        """Starts the program; returns when it listens."""
        argv = [sys.executable, "-m", "lab.upstream", "--name", self.says, "--host", "0.0.0.0", "--port", "8080"]
        log = self.kube.folder / f"app-{self.name}.log"
        env = {"PYTHONPATH": str(REPOSITORY / "envoy"), "PYTHONUNBUFFERED": "1"}
        command = self.host.argv([*argv, "--drain", str(drain)])
        self.process = await Process.start(self.name, command, log=log, stdout=log, env=env)
        await until(lambda: answers(f"{self.url}/ready"), f"{self.name} serving", timeout=30, every=0.05)

    async def stop(self) -> None:
        await self.process.stop()
        self.host.remove()

    @property
    def url(self) -> str:
        return f"http://{self.host.address}:8080"

    async def behave(self, **changes: Any) -> None:
        async with aiohttp.ClientSession() as http:
            async with http.patch(f"{self.url}/-/behaviour", json=changes) as answer:
                assert answer.status == 200, await answer.text()


@asynccontextmanager
async def both_versions(kube: Kube, prefix: str = "checkout") -> AsyncIterator[list[App]]:
    """A pod of each version of the service `checkout`: stable, then canary."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                App(kube, f"{prefix}-{version}", f"checkout-{name}", {"app": "checkout", "version": version})
            )
            for version, name in (("v1", "stable"), ("v2", "canary"))
        ]


class Manifests:
    """A copy of `istio/`, in which tests set what the documents say is the reader's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "istio"
        if not self.folder.exists():
            shutil.copytree(REPOSITORY / "istio", self.folder)

    def plugin(self, kind: str = "wasm-plugin") -> Path:
        return self.folder / "plugin" / kind / f"{kind}.yaml"

    def set(self, weight: float, kind: str = "wasm-plugin") -> None:
        """A new weight in the plugin's file, as docs/istio.md has people change it."""
        path = self.plugin(kind)
        path.write_text(re.sub(r"(- name: canary\n(?:\s+#.*\n)?\s+weight: )\S+", rf"\g<1>{weight:g}", path.read_text()))

    def overlay(self, name: str) -> str:
        return str(self.folder / "overlays" / name)

    def configuration(self, kind: str = "wasm-plugin") -> Path:
        return self.plugin(kind)


def simulated(file: Path, keys: Iterable[str], folder: Path) -> dict[str, str]:
    """Who gets which version by `cohort simulate --list`."""
    names = folder / "keys"
    names.write_text("\n".join(keys))
    command = [str(COHORT), "simulate", str(file), "--keys-from", str(names), "--list", "--output", "json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {one["key"]: one["version"] for one in map(json.loads, done.stdout.splitlines())}


def served(found: Answers) -> dict[str, str]:
    """Which version answered each user; everybody has to have got an answer."""
    bad = {one.user: (one.status, one.error) for one in found.values() if one.status != 200}
    assert not bad, f"{len(bad)} of {len(found)} failed, such as {next(iter(bad.items()))}"
    return {user: (one.served_by or "").removeprefix("checkout-") for user, one in found.items()}


async def reached(url: str, host: str = SHOP["host"]) -> None:
    """Awaits that the gateway has heard of routes and of pods: that both versions answer."""

    async def both() -> bool:
        plain = await ask(url, users(40), headers={"host": host})
        return all(one.status == 200 for one in plain.values())

    await until(both, f"{url} answers for {host}", timeout=60, every=0.2)


async def everybody(url: str, count: int = 2000, host: str = SHOP["host"], **headers: str) -> dict[str, str]:
    return served(await ask(url, users(count), headers={"host": host, **headers}))
