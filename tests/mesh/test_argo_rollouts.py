"""The real Argo Rollouts with the overlay `argo-rollouts`: whole releases, with its intervals cut to seconds."""

from __future__ import annotations

from pathlib import Path

from controllers import image, images, released
from lab.client import Load, users
from lab.until import until
from mesh import Mesh
from programs import BIN, module_folder
from shop import SHOP

TIMES = {
    r"interval: 1m\b": "interval: 1s",
    r"interval: (15|30)s\b": "interval: 1s",
    r"initialDelay: 2m\b": "initialDelay: 8s",
    r"value: 2m\b": "value: 10s",
    r"count: 23\b": "count: 17",
    r"replicas: 5\b": "replicas: 2",
    r"checkout:2\.0\.0": "checkout:1",
}


async def test_releases_with_argo_rollouts(mesh: Mesh, tmp_path: Path) -> None:
    kube = mesh.kube
    folder = module_folder("argo-rollouts", "github.com/argoproj/argo-rollouts") / "manifests/crds"
    for path in sorted(folder.glob("*-crd.yaml")):
        await kube.crds(path)
    await kube.namespace("argo-rollouts")
    async with released(mesh, tmp_path, "argo-rollouts", TIMES) as release:
        await kube.start(
            "rollouts-controller",
            [
                str(BIN / "rollouts-controller"),
                f"--kubeconfig={kube.config}",
                "--leader-elect=false",
                "--metricsPort=8093",
                "--healthzPort=8094",
            ],
            env={"POD_NAMESPACE": "argo-rollouts", "HOME": str(kube.folder)},
        )
        try:
            await kube.kubectl("apply", "-k", release.manifests.overlay("argo-rollouts"))

            async def status() -> tuple[str, str]:
                assert kube.processes["rollouts-controller"].alive, kube.processes["rollouts-controller"].tail()
                told = await kube.get("Rollout", "checkout")
                found = told.get("status", {})
                if str(told["metadata"]["generation"]) != str(found.get("observedGeneration")):
                    return "Stale", ""
                tag = told["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]
                return found.get("phase", ""), tag

            async def reached(phase: str, tag: str, timeout: float = 120) -> None:
                what = f"Argo Rollouts says {phase} of {tag}"
                await until(status, what, holds=lambda now: now == (phase, tag), timeout=timeout, every=0.3)

            await reached("Healthy", "1")
            async with Load(release.url, users(200), rate=40, headers=SHOP) as load:
                await until(lambda: load.by_service["1"] > 50, "users served", timeout=60)
                first = load.failed
                release.kubelet.behaviour["bad"] = {"failure_ratio": 1.0}

                await kube.patch("Rollout", "checkout", image("good"))
                await reached("Progressing", "good")
                await reached("Healthy", "good")
                good = load.failed - first
                _, returned = images(load)
                print(
                    f"\n== Argo Rollouts: a good image promoted: {load.answered} requests, {good} failed, "
                    f"{returned} users back and forth"
                )
                assert good == 0

                asked, failed = load.answered, load.failed
                await kube.patch("Rollout", "checkout", image("bad"))
                await reached("Degraded", "bad")
                cost = load.failed - failed
                print(f"== Argo Rollouts: an image that always fails: {load.answered - asked} requests, {cost} failed")
                assert 0 < cost < 60

                # A good one right after it: with the revision nothing waits and nothing aborts.
                failed = load.failed
                await release.revision("better")
                await kube.patch("Rollout", "checkout", image("better"))
                await reached("Healthy", "better")
                print(f"== Argo Rollouts: a good image right after it: {load.failed - failed} failed")
                assert load.failed == failed
        finally:
            await kube.kubectl("delete", "-k", release.manifests.overlay("argo-rollouts"), "--ignore-not-found")
            await kube.stop("rollouts-controller")
