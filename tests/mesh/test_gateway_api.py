"""The overlay `gateway-api`: a TrafficExtension on a Gateway API gateway, routes by HTTPRoute."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from answers import as_recorded, concerning
from lab.client import users
from lab.until import until
from mesh import Agent, Mesh
from shop import FORGED, LISTENERS, Manifests, both_versions, everybody, reached, simulated

#: The Gateway that docs/istio.md takes for granted. With an address of its own Istio makes no Deployment for it.
GATEWAY = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "public", "namespace": "istio-ingress"},
    "spec": {
        "gatewayClassName": "istio",
        "addresses": [{"type": "Hostname", "value": "public-istio.istio-ingress.svc.cluster.local"}],
        "listeners": LISTENERS,
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "public-istio", "namespace": "istio-ingress"},
    "spec": {
        "selector": {"gateway.networking.k8s.io/gateway-name": "public"},
        "ports": [{"name": "http", "port": 80, "targetPort": 80}],
    },
}


async def test_every_user_gets_what_simulate_says(mesh: Mesh, tmp_path: Path) -> None:
    kube, manifests = mesh.kube, Manifests(tmp_path)
    mesh.push("0.1.0")
    manifests.set(5, "traffic-extension")
    async with AsyncExitStack() as stack:
        await kube.apply(GATEWAY, SERVICE)
        await stack.enter_async_context(both_versions(kube, "api-checkout"))
        await kube.kubectl("apply", "-k", manifests.overlay("gateway-api"))
        labels = {
            "gateway.networking.k8s.io/gateway-name": "public",
            "gateway.istio.io/managed": "istio.io-gateway-controller",
        }
        gateway = await stack.enter_async_context(Agent(mesh, "api-gw", "istio-ingress", "router", labels))
        url = f"http://{gateway.address}:80"
        wanted = simulated(manifests.plugin("traffic-extension"), users(2000), tmp_path)

        async def routed() -> bool:
            return "cohort_config_invalid" in await gateway.stats()

        await until(routed, "the plugin in the gateway", timeout=60, every=0.2)
        await reached(url)
        as_recorded("gateway-api", concerning(await mesh.sent(gateway)))
        got = await everybody(url)
        print(f"\n== Gateway API gateway: {list(got.values()).count('canary')} of {len(got)} users canary")
        assert got == wanted
        assert await everybody(url, 200, **FORGED) == {user: wanted[user] for user in users(200)}
        await kube.kubectl("delete", "-k", manifests.overlay("gateway-api"))
        await kube.kubectl("delete", "gateway.gateway.networking.k8s.io", "public", "-n", "istio-ingress")
