"""docs/native.md, where a control plane delivers the configuration: in the proxies of Istio and of Envoy Gateway."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from controllers import images
from documents import Reader
from gateway import CLASS, EnvoyGateway
from gateway import GATEWAY as PUBLIC
from hosts import CONTROL
from lab.client import Load, users
from lab.until import until
from mesh import Agent, Mesh, answers
from programs import REPOSITORY
from scrape import has_labels, total
from shop import FORGED, GATEWAY, SERVICE, SHOP, both_versions, everybody, reached, simulated

LIBRARY = REPOSITORY / "target" / "libcohort.so"
#: What the manifests have in the place of one's own.
MOUNTED, MODULES = "/usr/lib/cohort/libcohort-0.1.0.so", "http://modules.example.com/libcohort-0.1.0.so"
#: Of the overlay `ingress-gateway`, what stays as it is.
BESIDE = (
    "routes/virtual-service/virtual-service.yaml",
    "routes/virtual-service/destination-rule.yaml",
    "early/ingress-gateway/envoy-filter.yaml",
)

Weigh = Callable[[float], Awaitable[None]]


@pytest.fixture(scope="module")
async def versions(mesh: Mesh) -> AsyncIterator[None]:
    async with both_versions(mesh.kube, "native"):
        yield


def put(file: Path, *changes: tuple[str, str]) -> None:
    """What the documents say is the reader's own."""
    text = file.read_text()
    for old, new in changes:
        assert old in text, f"{file} has no {old}"
        text = text.replace(old, new)
    file.write_text(text)


async def holds(url: str, config: Any, folder: Path, weigh: Weigh) -> None:
    """The filter decides as the command says, at a weight that changes under load too."""
    for weight in (0.5, 25):
        config["rollouts"][0]["versions"][1]["weight"] = weight
        (folder / "config.json").write_text(json.dumps(config))
        wanted = simulated(folder / "config.json", users(2000), folder)
        async with Load(url, users(400), rate=120, headers=SHOP) as load:
            await load.more(100, "a load", timeout=30)
            await weigh(weight)
            in_force = lambda: everybody(url)  # noqa: E731
            got = await until(in_force, f"{weight} %", holds=lambda got: got == wanted, timeout=60, every=0.2)  # noqa: B023
            await load.more(200, "the load at the new weight", timeout=30)
        canary, lost = list(got.values()).count("canary"), load.failed
        print(f"\n== native, {weight} %: {canary} of 2,000 users canary; {load.answered} requests, {lost} lost")
        assert load.failures == []
        changes, returned = images(load)
        assert returned == 0 and set(changes.values()) <= {1}
    assert await everybody(url, 2000, **FORGED) == wanted


def measures(stats: str) -> None:
    has_labels(stats)
    assert total(stats, "cohort_config_invalid") == 0


async def test_istio_delivers_it_by_an_envoy_filter(mesh: Mesh, versions: None, tmp_path: Path) -> None:
    reader = Reader(tmp_path, mesh.kube.config, mesh.trust)
    library = mesh.folder / "libcohort-0.1.0.so"
    shutil.copy(LIBRARY, library)
    manifest = tmp_path / "istio" / "native" / "envoy-filter.yaml"
    put(manifest, (MOUNTED, str(library)))
    values = yaml.safe_load((tmp_path / "istio/mesh/native-gateway-values.yaml").read_text())
    proxy_config = yaml.safe_load(values["podAnnotations"]["proxy.istio.io/config"])
    await mesh.kube.apply(SERVICE, GATEWAY)
    beside = [tmp_path / "istio" / name for name in BESIDE]
    for path in beside:
        await mesh.kube.kubectl("apply", "-f", str(path))
    said = await reader.follow("native.md", "target/release/cohort validate istio/native")
    assert said.strip().endswith("good, 1 rollout: checkout"), said
    await reader.follow("native.md", "kubectl apply -k istio/native")

    async def weigh(weight: float) -> None:
        await reader.run(f"target/release/cohort set {manifest} checkout canary={weight:g}")
        await mesh.kube.kubectl("apply", "-f", str(manifest))

    labels = {"istio": "ingressgateway"}
    async with Agent(mesh, "gw-native", "istio-ingress", "router", labels, proxy_config=proxy_config) as gateway:
        url = f"http://{gateway.address}:8080"
        await reached(url)
        [patch] = [
            one
            for one in yaml.safe_load(manifest.read_text())["spec"]["configPatches"]
            if one["applyTo"] == "EXTENSION_CONFIG"
        ]
        config = json.loads(patch["patch"]["value"]["typed_config"]["filter_config"]["value"])
        assert set((await everybody(url, 400)).values()) == {"stable"}
        await holds(url, config, tmp_path, weigh)
        measures(await gateway.stats())
    for path in (manifest, *beside):
        await mesh.kube.kubectl("delete", "-f", str(path))


async def test_envoy_gateway_has_the_proxy_fetch_it(mesh: Mesh, versions: None, tmp_path: Path) -> None:
    kube, reader = mesh.kube, Reader(tmp_path, mesh.kube.config, mesh.trust)
    served = tmp_path / "modules"
    served.mkdir()
    shutil.copy(LIBRARY, served / "libcohort-0.1.0.so")
    argv = [sys.executable, "-m", "http.server", "--bind", CONTROL, "--directory", str(served), "8099"]
    await kube.start("modules", argv)
    url = f"http://{CONTROL}:8099/libcohort-0.1.0.so"
    await until(lambda: answers(url), "the library on a server", timeout=30, every=0.1)
    folder = tmp_path / "envoy-gateway"
    put(
        folder / "native" / "envoy-proxy.yaml",
        (MODULES, url),
        ("0" * 64, hashlib.sha256(LIBRARY.read_bytes()).hexdigest()),
    )

    async def weigh(weight: float) -> None:
        path = "/spec/dynamicModule/0/config/rollouts/0/versions/1/weight"
        await kube.patch("EnvoyExtensionPolicy", "cohort", [{"op": "replace", "path": path, "value": weight}])

    async with EnvoyGateway(mesh) as controller:
        await kube.kubectl("apply", "-k", str(folder))
        said = await reader.follow(
            "native.md", "target/release/cohort validate envoy-gateway/native/extension-policy.yaml"
        )
        assert said.strip().endswith("good, 1 rollout: checkout"), said
        await reader.follow("native.md", "kubectl apply -k envoy-gateway/native")
        await kube.apply(CLASS, PUBLIC)
        proxy = await controller.proxy()
        await reached(proxy.url)
        policy = await kube.get("EnvoyExtensionPolicy", "cohort")
        assert "wasm" not in policy["spec"]
        [module] = policy["spec"]["dynamicModule"]
        await holds(proxy.url, module["config"], tmp_path, weigh)
        measures(await proxy.stats())
        for path in (folder / "native", folder):
            await kube.kubectl("delete", "-k", str(path), "--ignore-not-found")
        await kube.kubectl("delete", "gateway.gateway.networking.k8s.io", "public", "-n", "gateways")
        await kube.kubectl("delete", "gatewayclass", "eg")
    await kube.stop("modules")
