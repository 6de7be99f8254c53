"""Every manifest against the kinds of those who read it: no field that they do not know, and what istioctl says."""

from __future__ import annotations

from pathlib import Path

import pytest
from documents import Reader
from kube import Kube
from mesh import kinds
from programs import BIN, READ, REPOSITORY, module_folder

#: Where the kinds lie of what is not Istio and not Gateway API: the group, its module, the files.
OTHERS = (
    ("flagger", "github.com/fluxcd/flagger", "artifacts/flagger/crd.yaml"),
    ("argo-rollouts", "github.com/argoproj/argo-rollouts", "manifests/crds/*-crd.yaml"),
    (
        "envoy-gateway",
        "github.com/envoyproxy/gateway",
        "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_*.yaml",
    ),
    (
        "prometheus-operator",
        READ["prometheus-operator"],
        "example/prometheus-operator-crd/monitoring.coreos.com_p*s.yaml",
    ),
)
APPLIED = [
    *(f"istio/overlays/{path.name}" for path in sorted((REPOSITORY / "istio" / "overlays").iterdir())),
    "istio/metrics",
    "istio/admission",
    "envoy-gateway",
    "envoy-gateway/metrics",
    "envoy-gateway/proxy",
]


@pytest.fixture(scope="module")
async def reader(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    await kinds(kube)
    for name in ("gateways", "envoy-gateway-system"):
        await kube.namespace(name)
    for group, module, files in OTHERS:
        found = sorted(module_folder(group, module).glob(files))
        assert found, (group, files)
        await kube.crds(*found)
    return Reader(tmp_path_factory.mktemp("clone"), kube.config, kube.config)


@pytest.mark.parametrize("path", APPLIED)
async def test_the_api_server_knows_every_field(reader: Reader, path: str) -> None:
    said = await reader.run(f"kubectl apply --server-side --dry-run=server --validate=strict -k {path}")
    assert said and all(line.endswith("(server dry run)") for line in said.splitlines()), said


async def test_a_field_that_nobody_knows_is_refused(reader: Reader) -> None:
    """So that the test above can fail."""
    path = reader.folder / "istio/plugin/wasm-plugin/wasm-plugin.yaml"
    text = path.read_text()
    path.write_text(text.replace("  phase: AUTHN\n", "  fase: AUTHN\n"))
    with pytest.raises(AssertionError, match=r"\.spec\.fase"):
        await reader.run("kubectl apply --server-side --dry-run=server --validate=strict -k istio/overlays/sidecars")
    path.write_text(text)


@pytest.mark.parametrize("overlay", [Path(path).name for path in APPLIED if path.startswith("istio/overlays/")])
async def test_istioctl_warns_of_the_envoy_filter_alone(reader: Reader, overlay: str) -> None:
    said = await reader.run(
        f"kubectl kustomize istio/overlays/{overlay} > {overlay}.yaml && {BIN}/istioctl validate -f {overlay}.yaml"
    )
    [warning] = [line for line in said.splitlines() if line.lstrip().startswith("*")]
    # What it says of every EnvoyFilter.
    assert "/cohort-early: EnvoyFilter exposes internal implementation details" in warning
