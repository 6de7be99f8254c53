"""The real Argo Rollouts with the overlay `argo-rollouts`: whole releases, with its intervals cut to seconds."""

from __future__ import annotations

import json
from pathlib import Path

from controllers import ROUTES, Release, argo_rollouts, deployment, image, images, released, three_images
from documents import Reader
from kube import Kube
from lab.client import Load, users
from lab.until import until
from mesh import Mesh
from shop import SERVICE, SHOP, reached

#: The guard is to be first, as it is where Argo Rollouts waits two minutes: with two canary requests a second it has
#: what it needs after five to ten seconds.
TIMES = {
    r"interval: 1m\b": "interval: 1s",
    r"interval: (15|30)s\b": "interval: 1s",
    r"initialDelay: 2m\b": "initialDelay: 25s",
    r"value: 2m\b": "value: 10s",
    r"count: 23\b": "count: 35",
    r"replicas: 5\b": "replicas: 2",
    r"checkout:2\.0\.0": "checkout:1",
}


async def status(kube: Kube) -> tuple[str, str]:
    """The phase of the Rollout, and of which image."""
    controller = kube.processes["rollouts-controller"]
    assert controller.alive, controller.tail()
    told = await kube.get("Rollout", "checkout")
    found = told.get("status", {})
    if str(told["metadata"]["generation"]) != str(found.get("observedGeneration")):
        return "Stale", ""
    tag = told["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]
    return found.get("phase", ""), tag


async def says(kube: Kube, phase: str, tag: str, timeout: float = 120) -> None:
    what = f"Argo Rollouts says {phase} of {tag}"
    await until(lambda: status(kube), what, holds=lambda now: now == (phase, tag), timeout=timeout, every=0.3)


async def test_releases_with_argo_rollouts(mesh: Mesh, tmp_path: Path) -> None:
    kube = mesh.kube
    async with released(mesh, tmp_path, "argo-rollouts", TIMES) as release, argo_rollouts(kube):
        try:
            await kube.kubectl("apply", "-k", release.manifests.overlay("argo-rollouts"))

            await says(kube, "Healthy", "1")
            async with Load(release.url, users(200), rate=40, headers=SHOP) as load:
                await until(lambda: load.by_service["1"] > 50, "users served", timeout=60)

                async def good(tag: str) -> None:
                    await says(kube, "Progressing", tag)
                    await says(kube, "Healthy", tag)

                await three_images(
                    "Argo Rollouts",
                    release,
                    load,
                    ship=lambda tag: kube.patch("Rollout", "checkout", image(tag)),
                    good=good,
                    bad=lambda tag: says(kube, "Degraded", tag),
                )
        finally:
            await kube.kubectl("delete", "-k", release.manifests.overlay("argo-rollouts"), "--ignore-not-found")


async def test_adoption_a_slow_update_and_removal(mesh: Mesh, tmp_path: Path) -> None:
    """From a Deployment to a Rollout and back, as docs/argo-rollouts.md says; pods are slow to become ready."""
    kube = mesh.kube
    (tmp_path / "clone").mkdir()
    reader = Reader(tmp_path / "clone", kube.config, mesh.trust)
    async with released(mesh, tmp_path, "argo-rollouts", TIMES) as release, argo_rollouts(kube):
        release.kubelet.slow = 5
        before = deployment("1")
        before["metadata"]["name"] = "checkout-before"
        await kube.apply(before, SERVICE, ROUTES)
        await reached(release.url)
        try:
            async with Load(release.url, users(200), rate=60, headers=SHOP) as load:

                async def go_on(what: str) -> None:
                    await load.more(300, f"users {what}", timeout=30)

                await go_on("before Argo Rollouts")
                await kube.kubectl("apply", "-k", release.manifests.overlay("argo-rollouts"))
                await says(kube, "Healthy", "1")
                await kube.kubectl("delete", "deployment", "checkout-before", "-n", "shop")
                await go_on("of the Rollout")
                print(f"\n== Argo Rollouts: a Deployment adopted: {load.answered} requests, {load.failed} failed")
                assert load.failed == 0

                asked = load.answered
                await kube.patch("Rollout", "checkout", image("2"))
                await says(kube, "Progressing", "2")
                await says(kube, "Healthy", "2")
                await go_on("on the new image")
                changes, returned = images(load)
                print(
                    f"== Argo Rollouts: a slow update: {load.answered - asked} requests, {load.failed} failed, "
                    f"{returned} of 200 users back and forth"
                )
                assert load.failed == 0 and returned == 0 and len(changes) == 200

                asked = load.answered
                after = deployment("2")
                await kube.apply(after)

                async def ready() -> bool:
                    told = await kube.get("Deployment", "checkout")
                    return told.get("status", {}).get("readyReplicas", 0) == after["spec"]["replicas"]

                await until(ready, "the Deployment ready", timeout=60, every=0.3)
                await reader.follow("argo-rollouts.md", "kubectl -n shop patch virtualservice")

                async def routed() -> bool:
                    dump = await mesh.sent(release.gateway)
                    routes = [one for part in dump["configs"] for one in part.get("dynamicRouteConfigs", [])]
                    return "outbound|8080||checkout.shop.svc.cluster.local" in json.dumps(routes)

                await until(routed, "the gateway sent the new route", timeout=30, every=0.3)
                await go_on("of both")
                await reader.follow("argo-rollouts.md", "kubectl -n shop delete rollout")
                await until(lambda: alone(release), "the Rollout's pods gone", timeout=60, every=0.3)
                await go_on("after the removal")
                print(f"== Argo Rollouts: removed: {load.answered - asked} requests, {load.failed} failed")
                assert load.failed == 0
        finally:
            await kube.kubectl("delete", "deployment", "--all", "-n", "shop")
            await kube.kubectl("delete", "-k", release.manifests.overlay("argo-rollouts"), "--ignore-not-found")


async def alone(release: Release) -> bool:
    """Whether the pods of the Rollout are gone."""
    return not await release.kube.list("Pod", selector="rollouts-pod-template-hash")
