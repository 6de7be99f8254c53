"""What a test with a controller starts from: an overlay with its times cut, pods, users, Prometheus."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from installed import TAGS
from kube import Kube
from kubelet import Kubelet
from lab.client import Load
from mesh import Agent, Mesh
from programs import BIN, module_folder
from scrape import Prometheus, total
from shop import GATEWAY, Manifests, virtual_service


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
        await self._set("revision", text)

    async def weight(self, weight: float) -> None:
        await self._set("weight", weight)

    async def _set(self, key: str, value: Any) -> None:
        change = [{"op": "add", "path": f"/spec/pluginConfig/rollouts/0/versions/1/{key}", "value": value}]
        await self.kube.patch("WasmPlugin", "cohort", change, "istio-ingress")


@asynccontextmanager
async def flagger(kube: Kube) -> AsyncIterator[None]:
    """With Flagger and its kinds."""
    await kube.crds(module_folder("flagger", "github.com/fluxcd/flagger") / "artifacts/flagger/crd.yaml")
    argv = [
        str(BIN / "flagger"),
        f"-kubeconfig={kube.config}",
        "-mesh-provider=istio",
        "-metrics-server=http://prometheus.istio-system:9090",
        "-enable-leader-election=false",
        "-port=8095",
    ]
    process = await kube.start("flagger", argv)
    try:
        yield
        assert process.alive, process.tail()
    finally:
        await kube.stop("flagger")


@asynccontextmanager
async def argo_rollouts(kube: Kube) -> AsyncIterator[None]:
    """With Argo Rollouts and its kinds."""
    folder = module_folder("argo-rollouts", "github.com/argoproj/argo-rollouts") / "manifests/crds"
    for path in sorted(folder.glob("*-crd.yaml")):
        await kube.crds(path)
    await kube.namespace("argo-rollouts")
    argv = [
        str(BIN / "rollouts-controller"),
        f"--kubeconfig={kube.config}",
        "--leader-elect=false",
        "--metricsPort=8093",
        "--healthzPort=8094",
    ]
    process = await kube.start(
        "rollouts-controller", argv, env={"POD_NAMESPACE": "argo-rollouts", "HOME": str(kube.folder)}
    )
    try:
        yield
        assert process.alive, process.tail()
    finally:
        await kube.stop("rollouts-controller")


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


#: What a service has before a controller comes.
ROUTES = virtual_service({"route": [{"destination": {"host": "checkout", "port": {"number": 8080}}}]})


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


async def three_images(
    controller: str,
    release: Release,
    load: Load,
    ship: Callable[[str], Awaitable[None]],
    good: Callable[[str], Awaitable[None]],
    bad: Callable[[str], Awaitable[None]],
) -> None:
    """Ships a good image, one that always fails, and a good one right after it, and says what each cost the users.

    `ship` asks the controller for an image, `good` awaits that it is everybody's, `bad` that it was taken back.
    """
    release.kubelet.behaviour["bad"] = {"failure_ratio": 1.0}
    first = load.failed
    await ship("good")
    await good("good")
    failed = load.failed - first
    _, returned = images(load)
    print(
        f"\n== {controller}: a good image promoted: {load.answered} requests, {failed} failed, "
        f"{returned} users back and forth"
    )
    assert failed == 0

    asked, first = load.answered, load.failed
    await ship("bad")
    await bad("bad")
    cost = load.failed - first
    print(f"== {controller}: an image that always fails: {load.answered - asked} requests, {cost} failed")
    assert cost > 0
    # How many is a matter of how busy the machine is; that it is out before the controller says so is the guard's.
    assert total(await release.gateway.stats(), "cohort_guard_trips_total") > 0

    # With the revision nothing waits and nothing aborts: it says that this is another image.
    first = load.failed
    await release.revision("better")
    await ship("better")
    await good("better")
    print(f"== {controller}: a good image right after it: {load.failed - first} failed")
    assert load.failed == first
