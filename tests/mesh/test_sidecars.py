"""The overlay `sidecars`: the caller's sidecar decides, with Istio's real interception (iptables)."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from answers import as_recorded, concerning
from lab.client import ask, users
from lab.until import until
from mesh import Agent, Mesh
from shop import FORGED, SERVICE, Manifests, both_versions, reached, served, simulated

HOST = "checkout.shop:8080"


async def test_the_callers_sidecar_decides(mesh: Mesh, tmp_path: Path) -> None:
    kube, manifests = mesh.kube, Manifests(tmp_path)
    mesh.push("0.1.0")
    manifests.set(5)
    async with AsyncExitStack() as stack:
        await kube.apply(SERVICE)
        address = (await kube.get("Service", "checkout"))["spec"]["clusterIP"]
        await stack.enter_async_context(both_versions(kube, "side-checkout"))
        await kube.kubectl("apply", "-k", manifests.overlay("sidecars"))
        caller = await stack.enter_async_context(Agent(mesh, "caller", "shop", "sidecar", {"calls-checkout": "true"}))

        async def everybody(count: int, **headers: str) -> dict[str, str]:
            """As the caller's application asks: by the service's address, on which nobody listens."""
            url = f"http://{address}:8080"
            return served(await caller.host.do(lambda: ask(url, users(count), headers={"host": HOST, **headers})))

        async def there() -> bool:
            return "cohort_config_invalid" in await caller.stats()

        await until(there, "the plugin in the sidecar", timeout=60, every=0.2)
        address_url = f"http://{address}:8080"
        await caller.host.do(lambda: reached(address_url, HOST))
        as_recorded("sidecars", concerning(await mesh.sent(caller)))
        wanted = simulated(manifests.plugin(), users(2000), tmp_path)
        got = await everybody(2000)
        print(f"\n== sidecar: {list(got.values()).count('canary')} of {len(got)} users canary")
        assert got == wanted
        # With `early` here, the route header is nobody's, and what is inherited is the baggage.
        some = {user: wanted[user] for user in users(200)}
        assert await everybody(200, **FORGED) == some
        assert set((await everybody(200, baggage="a=1,cohort-checkout=canary")).values()) == {"canary"}
        # Without the plugin neither decides.
        await kube.kubectl("delete", "wasmplugin", "cohort", "-n", "shop")

        async def gone() -> bool:
            return set((await everybody(200)).values()) == {"stable"}

        await until(gone, "the plugin gone from the sidecar", timeout=30, every=0.2)
        brought = {**FORGED, "baggage": "cohort-checkout=canary"}
        assert set((await everybody(100, **brought)).values()) == {"stable"}
        await kube.kubectl("delete", "-k", manifests.overlay("sidecars"), "--ignore-not-found")
