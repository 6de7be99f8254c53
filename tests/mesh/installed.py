"""The overlay `ingress-gateway` in a cluster, as docs/istio.md installs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from documents import Reader
from kube import Kube
from lab.client import users
from lab.until import until
from mesh import Agent, Mesh
from shop import GATEWAY, SERVICE, App, Manifests, both_versions, everybody, reached, simulated

#: The labels that istio/mesh/gateway-values.yaml has proxies take out of the names.
TAGS = "plugin,rollout,rollout_version,reason,code_class,source,cause,what,check"


@dataclass
class Shop:
    mesh: Mesh
    kube: Kube
    manifests: Manifests
    reader: Reader
    gateway: Agent
    v1: App
    v2: App
    folder: Path

    @property
    def url(self) -> str:
        return f"http://{self.gateway.address}:8080"

    async def apply(self) -> str:
        """Step 4 of docs/istio.md."""
        return await self.reader.follow("istio.md", "kubectl apply -k istio/overlays/ingress-gateway")

    def wanted(self, count: int = 2000) -> dict[str, str]:
        return simulated(self.manifests.plugin(), users(count), self.folder)

    async def weight(self, weight: float) -> None:
        change = [{"op": "replace", "path": "/spec/pluginConfig/rollouts/0/versions/1/weight", "value": weight}]
        await self.kube.patch("WasmPlugin", "cohort", change, "istio-ingress")
        self.manifests.set(weight)

    async def settle(self, count: int = 300) -> None:
        """Awaits that the gateway decides by the weight that was asked for."""
        wanted = self.wanted(count)

        async def agreed() -> bool:
            return await everybody(self.url, count) == wanted

        await until(agreed, "the gateway decides by the new weight", timeout=20, every=0.05)


@asynccontextmanager
async def installed(mesh: Mesh, folder: Path) -> AsyncIterator[Shop]:
    kube = mesh.kube
    reader = Reader(folder, kube.config, mesh.trust)
    await reader.follow("istio.md", "skopeo copy")
    manifests = Manifests(folder)
    async with AsyncExitStack() as stack:
        await kube.apply(SERVICE, GATEWAY)
        v1, v2 = await stack.enter_async_context(both_versions(kube))
        await reader.follow("istio.md", "kubectl apply -k istio/overlays/ingress-gateway")
        labels = {"istio": "ingressgateway"}
        gateway = Agent(mesh, "gw-7d4f-aaaaa", "istio-ingress", "router", labels, tags=TAGS)
        await stack.enter_async_context(gateway)
        await reached(f"http://{gateway.address}:8080")
        yield Shop(mesh, kube, manifests, reader, gateway, v1, v2, folder)
        await kube.kubectl("delete", "-k", manifests.overlay("ingress-gateway"), "--ignore-not-found")
