"""What a test with a controller starts from: an overlay with its times cut, pods, users, Prometheus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from installed import TAGS
from kube import Kube
from kubelet import Kubelet
from lab.client import Load
from mesh import Agent, Mesh
from scrape import Prometheus
from shop import GATEWAY, Manifests


@dataclass
class Release:
    mesh: Mesh
    kube: Kube
    kubelet: Kubelet
    manifests: Manifests
    gateway: Agent

    @property
    def url(self) -> str:
        return f"http://{self.gateway.address}:8080"

    async def revision(self, text: str) -> None:
        """What a pipeline does together with the image: says what runs under the canary's name."""
        change = [{"op": "add", "path": "/spec/pluginConfig/rollouts/0/versions/1/revision", "value": text}]
        await self.kube.patch("WasmPlugin", "cohort", change, "istio-ingress")


def shorten(folder: Path, times: dict[str, str]) -> None:
    """Cuts the times in the manifests of a controller: minutes to seconds, so that a release takes one."""
    for path in folder.rglob("*.yaml"):
        text = path.read_text()
        for long, short in times.items():
            text = re.sub(long, short, text)
        path.write_text(text)


@asynccontextmanager
async def released(mesh: Mesh, folder: Path, overlay: str, times: dict[str, str]) -> AsyncIterator[Release]:
    """The overlay's plugin at a gateway, a kubelet, and Prometheus; the controller is the caller's."""
    kube, manifests = mesh.kube, Manifests(folder)
    mesh.push("0.1.0")
    shorten(manifests.folder / "controllers" / overlay, times)
    # The guard tries a version again after minutes; in a test of minutes it stays out.
    async with AsyncExitStack() as stack:
        await kube.apply(GATEWAY)
        kubelet = await stack.enter_async_context(Kubelet(kube))
        labels = {"istio": "ingressgateway"}
        gateway = Agent(mesh, f"gw-{overlay}", "istio-ingress", "router", labels, tags=TAGS)
        await stack.enter_async_context(gateway)
        await stack.enter_async_context(Prometheus(folder, [gateway]))
        yield Release(mesh, kube, kubelet, manifests, gateway)


def images(load: Load) -> tuple[Counter[str], int]:
    """How many users changed image how often, and how many went back to one that they had left."""
    left: dict[str, set[str]] = {}
    last: dict[str, str] = {}
    changes: Counter[str] = Counter()
    returned: set[str] = set()
    for _, answer in load.heard:
        if answer.failed:
            continue
        image, user = answer.served_by or "", answer.user
        if user in last and last[user] != image:
            changes[user] += 1
            left.setdefault(user, set()).add(last[user])
            if image in left[user]:
                returned.add(user)
        last[user] = image
    return changes, len(returned)


def deployment(tag: str, replicas: int = 2) -> dict[str, Any]:
    """The application's own Deployment."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "checkout"}},
            "template": {
                "metadata": {"labels": {"app": "checkout"}},
                "spec": {
                    "containers": [
                        {
                            "name": "checkout",
                            "image": f"registry.example.com/checkout:{tag}",
                            "ports": [{"name": "http", "containerPort": 8080}],
                        }
                    ]
                },
            },
        },
    }


def image(tag: str) -> list[dict[str, Any]]:
    """The patch that a pipeline makes for a new image."""
    return [
        {
            "op": "replace",
            "path": "/spec/template/spec/containers/0/image",
            "value": f"registry.example.com/checkout:{tag}",
        }
    ]
