"""The overlay `waypoint`, as far as it goes without Istio's own Envoy.

A waypoint takes requests by HBONE, and Envoy's own build lacks the filters for that: no request is sent here. What
istiod sends a waypoint is looked at: the plugin in both chains, the early removal before them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from answers import as_recorded, concerning
from lab.until import until
from mesh import Agent, Mesh
from shop import SERVICE, Manifests

WAYPOINT = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "waypoint", "namespace": "shop", "labels": {"istio.io/waypoint-for": "service"}},
    "spec": {
        "gatewayClassName": "istio-waypoint",
        "addresses": [{"type": "Hostname", "value": "waypoint.shop.svc.cluster.local"}],
        "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
    },
}
WAYPOINT_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "waypoint", "namespace": "shop"},
    "spec": {
        "selector": {"gateway.networking.k8s.io/gateway-name": "waypoint"},
        "ports": [{"name": "mesh", "port": 15008}],
    },
}


def managers(node: Any) -> list[dict[str, Any]]:
    """Every connection manager in what istiod sent."""
    found = [node] if isinstance(node, dict) and "httpFilters" in node else []
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    return found + [one for child in below for one in managers(child)]


async def test_istiod_sends_the_waypoint_plugin_and_removal(mesh: Mesh, tmp_path: Path) -> None:
    kube, manifests = mesh.kube, Manifests(tmp_path)
    mesh.push("0.1.0")
    service = {**SERVICE, "metadata": {**SERVICE["metadata"], "labels": {"istio.io/use-waypoint": "waypoint"}}}
    await kube.apply(service, WAYPOINT, WAYPOINT_SERVICE)
    await kube.kubectl("apply", "-k", manifests.overlay("waypoint"))
    labels = {
        "gateway.networking.k8s.io/gateway-name": "waypoint",
        "gateway.istio.io/managed": "istio.io-mesh-controller",
    }
    agent = Agent(mesh, "waypoint", "shop", "waypoint", labels)
    await agent.start(ready=0)
    try:

        async def chains() -> list[dict[str, Any]]:
            found = managers(await mesh.sent(agent))
            return [one for one in found if "cohort" in json.dumps(one["httpFilters"])]

        both = await until(chains, "the plugin in the waypoint's chains", timeout=60, every=0.5)
        print(f"\n== waypoint: the plugin is in {len(both)} chains: {[one['statPrefix'] for one in both]}")
        assert len(both) >= 2
        for one in both:
            assert "x-cohort-checkout" in json.dumps(one.get("earlyHeaderMutationExtensions", [])), one["statPrefix"]
        # Of the service's chain, which `make test` plays to an Envoy.
        sent = concerning(await mesh.sent(agent))
        [listener] = [one for one in sent["listeners"] if one["name"] == "main_internal"]
        chains_of_services = [one for one in listener["filterChains"] if one["name"].startswith("inbound-vip|")]
        kept = {"@type": listener["@type"], "name": listener["name"], "filterChains": chains_of_services}
        as_recorded("waypoint", {"listeners": [kept], "routes": [], "ecds": []})
    finally:
        await agent.stop()
        await kube.kubectl("delete", "-k", manifests.overlay("waypoint"))
        await kube.kubectl("delete", "gateway.gateway.networking.k8s.io", "waypoint", "-n", "shop")
