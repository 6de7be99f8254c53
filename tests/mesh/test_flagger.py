"""The real Flagger with the overlay `flagger`: whole releases, with its intervals cut to seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from controllers import deployment, image, images, released
from kube import Refused
from lab.client import Load, users
from lab.until import until
from mesh import Mesh
from programs import BIN, module_folder
from shop import SHOP

#: Minutes become seconds: Flagger looks every ten seconds at the most often. What a metric looks back at stays several
#: scrapes long.
TIMES = {r"interval: 1m\b": "interval: 10s", r"interval: 2m\b": "interval: 10s", r"iterations: 10\b": "iterations: 3"}


@pytest.mark.timeout(900)
async def test_releases_with_flagger(mesh: Mesh, tmp_path: Path) -> None:
    kube = mesh.kube
    await kube.crds(module_folder("flagger", "github.com/fluxcd/flagger") / "artifacts/flagger/crd.yaml")
    async with released(mesh, tmp_path, "flagger", TIMES) as release:
        await kube.apply(deployment("1"))
        await kube.start(
            "flagger",
            [
                str(BIN / "flagger"),
                f"-kubeconfig={kube.config}",
                "-mesh-provider=istio",
                "-metrics-server=http://prometheus.istio-system:9090",
                "-enable-leader-election=false",
                "-port=8095",
            ],
        )
        try:
            await kube.kubectl("apply", "-k", release.manifests.overlay("flagger"))

            async def phase() -> str:
                assert kube.processes["flagger"].alive, kube.processes["flagger"].tail()
                return (await kube.get("Canary", "checkout")).get("status", {}).get("phase", "")

            await until(phase, "Flagger initialized", holds=lambda now: now == "Initialized", timeout=90, every=0.3)
            async with Load(release.url, users(200), rate=40, headers=SHOP) as load:
                await until(lambda: load.by_service["1"] > 50, "users served by the primary", timeout=60)
                first = load.failed

                # A good image.
                release.kubelet.behaviour["bad"] = {"failure_ratio": 1.0}
                await kube.patch("Deployment", "checkout", image("good"))
                await until(
                    phase, "the good image promoted", holds=lambda now: now == "Succeeded", timeout=120, every=0.3
                )
                seen = load.by_service["good"]
                await until(lambda: load.by_service["good"] > seen + 100, "everybody on it", timeout=30)
                good = load.failed - first
                _, returned = images(load)
                print(
                    f"\n== Flagger: a good image promoted: {load.answered} requests, {good} failed, "
                    f"{returned} users back and forth"
                )
                assert good == 0

                # One that always fails.
                asked, failed = load.answered, load.failed
                await kube.patch("Deployment", "checkout", image("bad"))
                await until(
                    phase, "the bad image taken back", holds=lambda now: now == "Failed", timeout=120, every=0.3
                )
                cost = load.failed - failed
                print(f"== Flagger: an image that always fails: {load.answered - asked} requests, {cost} failed")
                assert 0 < cost < 60

                # And a good one right after it: the revision says that it is another.
                failed = load.failed
                await release.revision("better")
                await kube.patch("Deployment", "checkout", image("better"))
                await until(
                    phase, "the next image promoted", holds=lambda now: now == "Succeeded", timeout=120, every=0.3
                )
                print(f"== Flagger: a good image right after it: {load.failed - failed} failed")
                assert load.failed == failed

                # Removing it: revertOnDeletion gives the target its pods and the routes back.
                failed = load.failed
                await kube.kubectl("delete", "canary", "checkout", "-n", "shop")
                asked = load.answered
                await until(lambda: load.answered > asked + 200, "users after the removal", timeout=30)
                print(f"== Flagger: removed: {load.failed - failed} of {load.answered - asked} failed")
                # The target is scaled up while the primary goes: a few requests may fall between. Then all is well.
                failed, asked = load.failed, load.answered
                await until(lambda: load.answered > asked + 200, "users a while after the removal", timeout=30)
                assert load.failed == failed
        finally:
            await kube.stop("flagger")
            for kind in ("canary", "deployment", "virtualservice", "service"):
                try:
                    await kube.kubectl("delete", kind, "--all", "-n", "shop")
                except Refused:
                    pass
            await kube.kubectl("delete", "-k", release.manifests.overlay("flagger"), "--ignore-not-found")
