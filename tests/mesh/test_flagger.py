"""The real Flagger with the overlay `flagger`: whole releases, with its intervals cut to seconds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from controllers import ROUTES, Release, deployment, flagger, image, images, released, three_images
from kube import Kube, Refused
from lab.client import Load, users
from lab.until import until
from mesh import Mesh
from shop import SERVICE, SHOP, reached

#: Minutes become seconds: Flagger looks every ten seconds at the most often. What a metric looks back at stays several
#: scrapes long.
TIMES = {r"interval: 1m\b": "interval: 10s", r"interval: 2m\b": "interval: 10s", r"iterations: 10\b": "iterations: 3"}


Phase = Callable[[], Awaitable[str]]


async def away(kube: Kube, release: Release) -> None:
    """Deletes what Flagger made and what it was told."""
    for kind in ("canary", "deployment", "virtualservice", "service"):
        try:
            await kube.kubectl("delete", kind, "--all", "-n", "shop")
        except Refused:
            pass
    await kube.kubectl("delete", "-k", release.manifests.overlay("flagger"), "--ignore-not-found")


async def test_releases_with_flagger(mesh: Mesh, tmp_path: Path) -> None:
    kube = mesh.kube
    async with released(mesh, tmp_path, "flagger", TIMES) as release, flagger(kube):
        await kube.apply(deployment("1"))
        try:
            await kube.kubectl("apply", "-k", release.manifests.overlay("flagger"))

            async def phase() -> str:
                assert kube.processes["flagger"].alive, kube.processes["flagger"].tail()
                return (await kube.get("Canary", "checkout")).get("status", {}).get("phase", "")

            await until(phase, "Flagger initialized", holds=lambda now: now == "Initialized", timeout=90, every=0.3)
            async with Load(release.url, users(200), rate=40, headers=SHOP) as load:
                await until(lambda: load.by_service["1"] > 50, "users served by the primary", timeout=60)

                async def ended(wanted: str, what: str) -> None:
                    await until(phase, what, holds=lambda now: now == wanted, timeout=120, every=0.3)

                async def good(tag: str) -> None:
                    await ended("Succeeded", f"{tag} promoted")
                    seen = load.by_service[tag]
                    await until(lambda: load.by_service[tag] > seen + 100, f"everybody on {tag}", timeout=30)

                await three_images(
                    "Flagger",
                    release,
                    load,
                    ship=lambda tag: kube.patch("Deployment", "checkout", image(tag)),
                    good=good,
                    bad=lambda tag: ended("Failed", f"{tag} taken back"),
                )

                # Removing it: revertOnDeletion gives the target its pods and the routes back.
                failed = load.failed
                await kube.kubectl("delete", "canary", "checkout", "-n", "shop")
                asked = load.answered
                await load.more(200, "users after the removal", timeout=30)
                print(f"== Flagger: removed: {load.failed - failed} of {load.answered - asked} failed")
                # The target is scaled up while the primary goes: a few requests may fall between. Then all is well.
                failed = load.failed
                await load.more(200, "users a while after the removal", timeout=30)
                assert load.failed == failed
        finally:
            await away(kube, release)


async def served_by(load: Load, phase: Phase, tag: str) -> None:
    """Awaits that Flagger has promoted an image, and that it is everybody's."""
    await until(phase, f"{tag} promoted", holds=lambda now: now == "Succeeded", timeout=240, every=0.3)
    seen = load.by_service[tag]
    await until(lambda: load.by_service[tag] > seen + 200, f"everybody on {tag}", timeout=30)


async def test_adoption_and_updates_that_are_slow(mesh: Mesh, tmp_path: Path) -> None:
    """A service that is there already comes under Flagger; its pods are slow to become ready."""
    kube = mesh.kube
    async with released(mesh, tmp_path, "flagger", TIMES) as release, flagger(kube):
        release.kubelet.slow = 5
        await kube.apply(deployment("1", replicas=3), SERVICE, ROUTES)
        await reached(release.url)
        try:
            async with Load(release.url, users(400), rate=80, headers=SHOP) as load:
                await until(lambda: load.answered > 100, "users served before Flagger", timeout=30)
                await kube.kubectl("apply", "-k", release.manifests.overlay("flagger"))

                async def phase() -> str:
                    return (await kube.get("Canary", "checkout")).get("status", {}).get("phase", "")

                await until(phase, "adopted", holds=lambda now: now == "Initialized", timeout=120, every=0.3)
                await load.more(400, "users served by the primary", timeout=30)
                print(f"\n== Flagger: a service adopted: {load.answered} requests, {load.failed} failed")
                assert load.failed == 0

                # During the promotion the primary's old and new pods serve side by side.
                asked = load.answered
                await kube.patch("Deployment", "checkout", image("2"))
                await served_by(load, phase, "2")
                _, returned = images(load)
                print(
                    f"== Flagger: a slow update: {load.answered - asked} requests, {load.failed} failed, "
                    f"{returned} of 400 users back and forth"
                )
                assert load.failed == 0 and returned > 0

                # What docs/flagger.md says against it: everybody on the canary while the primary changes.
                load.heard.clear()
                asked = load.answered
                await kube.patch("Deployment", "checkout", image("3"))

                await until(phase, "3 looked at", holds=lambda now: now == "Progressing", timeout=60, every=0.3)

                async def iterations() -> int:
                    return (await kube.get("Canary", "checkout"))["status"].get("iterations", 0)

                await until(iterations, "the last iteration", holds=lambda now: now >= 2, timeout=120, every=0.3)
                await release.weight(100)
                await until(phase, "3 promoted", holds=lambda now: now == "Succeeded", timeout=240, every=0.3)
                await release.weight(5)
                await served_by(load, phase, "3")
                changes, returned = images(load)
                print(
                    f"== Flagger: a slow update with everybody on the canary: {load.answered - asked} requests, "
                    f"{load.failed} failed, {returned} back and forth, {len(changes)} users changed, "
                    f"{max(changes.values())} time at most"
                )
                assert load.failed == 0 and returned == 0 and set(changes.values()) == {1}
        finally:
            await away(kube, release)
