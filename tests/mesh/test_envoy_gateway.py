"""docs/envoy-gateway.md, on the real Envoy Gateway."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from controllers import images
from documents import Reader
from gateway import CLASS, GATEWAY, EnvoyGateway, Proxy
from kube import Kube, Refused
from lab.client import Key, Load, ask, users
from lab.until import until
from mesh import REGISTRY, Mesh
from scrape import has_labels, operators_kinds, series, total
from shop import FORGED, SHOP, both_versions, everybody, reached, simulated
from tokens import ISSUER, Issuer

IMAGE = f"{REGISTRY}/cohort:0.1.0"
CONFIG = "/spec/wasm/0/config/rollouts/0/versions/1/weight"


@dataclass
class Public:
    """The Gateway `public` with everything that the page has people apply."""

    kube: Kube
    controller: EnvoyGateway
    reader: Reader
    proxy: Proxy
    folder: Path
    mesh: Mesh

    @property
    def url(self) -> str:
        return self.proxy.url

    async def policy(self) -> Any:
        return await self.kube.get("EnvoyExtensionPolicy", "cohort")

    async def wanted(self, count: int = 300) -> dict[str, str]:
        """What the command says of the configuration that the API server has."""
        [wasm] = (await self.policy())["spec"]["wasm"]
        path = self.folder / "config.json"
        path.write_text(json.dumps(wasm["config"]))
        return simulated(path, users(count), self.folder)

    async def change(self, path: str, value: Any) -> None:
        await self.kube.patch("EnvoyExtensionPolicy", "cohort", [{"op": "replace", "path": path, "value": value}])

    async def weight(self, weight: float, count: int = 300) -> None:
        """A new weight; returns when so many users are decided by it."""
        await self.change(CONFIG, weight)
        wanted = await self.wanted(count)
        await self.agreed(wanted, f"the weight {weight:g} in force")

    async def agreed(self, wanted: dict[str, str], what: str, **headers: str) -> None:
        async def same() -> bool:
            return await everybody(self.url, len(wanted), **headers) == wanted

        await until(same, what, timeout=60, every=0.1)

    async def loses_the_filter(self) -> None:
        async def gone() -> bool:
            return "envoyextensionpolicy" not in json.dumps(self.listeners())

        await until(gone, "the proxy without the filter", timeout=60, every=0.2)

    def listeners(self) -> Any:
        dump = self.proxy.dump()["configs"]
        [found] = [one for one in dump if one["@type"].endswith("ListenersConfigDump")]
        return [one["active_state"] for one in found["dynamic_listeners"] if "active_state" in one]


@pytest.fixture(scope="module")
async def public(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Public]:
    kube, folder = mesh.kube, tmp_path_factory.mktemp("envoy-gateway")
    reader = Reader(folder, kube.config, mesh.trust)
    await reader.follow("istio.md", "skopeo copy")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(both_versions(kube, "eg-checkout"))
        controller = await stack.enter_async_context(EnvoyGateway(mesh))
        # Labels and log level: a proxy reads them at its start.
        await reader.follow("envoy-gateway.md", "kubectl apply -k envoy-gateway/proxy")
        await kube.apply(CLASS, GATEWAY)
        await reader.follow("envoy-gateway.md", "kubectl apply -k envoy-gateway")
        running = Public(kube, controller, reader, await controller.proxy(), folder, mesh)
        await reached(running.url)
        yield running
        for path in ("envoy-gateway", "envoy-gateway/proxy"):
            await kube.kubectl("delete", "-k", str(folder / path))
        await kube.kubectl("delete", "gateway.gateway.networking.k8s.io", "public", "-n", "gateways")
        await kube.kubectl("delete", "gatewayclass", "eg")


def conditions(resource: Any) -> dict[str, str]:
    """What the controller says of a policy."""
    ancestors = resource.get("status", {}).get("ancestors", [])
    return {one["type"]: one["status"] for ancestor in ancestors for one in ancestor["conditions"]}


async def test_steps_2_to_4_applied_and_nobody_moves(public: Public) -> None:
    await public.reader.follow("envoy-gateway.md", "kubectl kustomize")
    said = await public.reader.follow("envoy-gateway.md", "target/release/cohort validate")
    assert said.strip().endswith("good, 1 rollout: checkout") and "warning" not in said, said

    async def in_force() -> bool:
        return "cohort_config_invalid" in await public.proxy.stats()

    await until(in_force, "the filter in the proxy", timeout=60, every=0.2)
    told = yaml.safe_load(await public.reader.follow("envoy-gateway.md", "kubectl -n shop get envoyextensionpolicy"))
    assert conditions(told) == {"Accepted": "True"}
    assert total(await public.proxy.stats(), "cohort_config_invalid") == 0
    # EnvoyProxy sets `wasm: info`.
    assert any("in force" in line for line in public.proxy.log.read_text().splitlines() if "wasm log" in line)
    assert set((await everybody(public.url, 400)).values()) == {"stable"}


@pytest.mark.parametrize("weight", [0.5, 5, 25])
async def test_step_5_every_user_gets_what_simulate_says(public: Public, weight: float) -> None:
    await public.weight(weight, 2000)
    got = await everybody(public.url)
    wanted = await public.wanted(2000)
    differ = sum(got[user] != version for user, version in wanted.items())
    share = sum(version == "canary" for version in got.values()) / len(got)
    print(f"\n== Envoy Gateway at {weight:g} %: {share:.2%} canary of {len(got)} users, {differ} differ from simulate")
    assert got == wanted
    assert await everybody(public.url, 300, **FORGED) == await public.wanted()


async def test_step_6_the_metrics_have_labels(public: Public) -> None:
    has_labels(await public.proxy.stats())
    async with operators_kinds(public.kube):
        await public.reader.follow("envoy-gateway.md", "kubectl apply -k envoy-gateway/metrics")


async def test_a_weight_changes_under_load_and_nothing_is_lost(public: Public) -> None:
    await public.weight(5)
    async with Load(public.url, users(400), rate=120, headers=SHOP) as load:
        await until(lambda: load.answered > 200, "a load", timeout=30)
        began = time.monotonic()
        await public.weight(25)
        took = time.monotonic() - began
        await load.more(400, "the load at the new weight", timeout=30)
    print(f"\n== Envoy Gateway, weight 5 to 25: {load.answered} requests, {load.failed} lost, in force in {took:.1f} s")
    assert load.failures == []
    changes, returned = images(load)
    assert returned == 0 and set(changes.values()) == {1}, "each user changed version at most once"


async def test_there_and_back_within_the_drain_says_what_is_in_force(public: Public) -> None:
    """Each change replaces the listener; the old one's filter goes on for as long as it drains."""
    for weight in (25, 10, 25):
        await public.weight(weight)

    async def said() -> list[float]:
        found = series(await public.proxy.stats(), "cohort_version_weight")
        return [value for one, value in found if one["rollout_version"] == "canary"]

    await until(said, "the gauge with the weight in force", holds=lambda now: now == [25_000.0], timeout=30, every=0.2)


async def test_a_bad_configuration_is_refused_at_the_door(public: Public) -> None:
    await public.reader.follow("envoy-gateway.md", "kubectl apply --server-side -k istio/admission")

    async def refused() -> str:
        try:
            await public.change(CONFIG, 180)
        except Refused as why:
            return str(why)
        await public.change(CONFIG, 25)
        return ""

    said = await until(refused, "a weight of 180 refused by kubectl", timeout=30, every=0.2)
    assert "allowed: a percentage from 0 to 100" in said
    await public.kube.kubectl("delete", "-k", str(public.folder / "istio" / "admission"))


async def test_a_refused_configuration_changes_nothing_and_is_counted(public: Public) -> None:
    """Without the admission policy: Envoy Gateway takes it, and Envoy does not."""
    await public.weight(25)
    wanted = await public.wanted()
    before = await public.proxy.stats()
    name, rejected = "envoy_listener_manager_lds_update_rejected", "cohort_config_rejected_total"

    async def taken() -> bool:
        """The policy of the test before is gone a moment after it was deleted."""
        try:
            # Of a plugin that failed with this very configuration Envoy says so again without asking it.
            await public.change(CONFIG, 190)
        except Refused:
            return False
        return True

    await until(taken, "a bad weight taken by the API server", timeout=30, every=0.2)
    async with Load(public.url, users(300), rate=100, headers=SHOP) as load:

        async def counted() -> bool:
            now = await public.proxy.stats()
            return all(total(now, one) > total(before, one) for one in (name, rejected))

        await until(counted, "the proxy counts what it refused", timeout=60, every=0.2)
        await load.more(300, "the load going on", timeout=30)
        assert await everybody(public.url, 300) == wanted
    print(f"\n== Envoy Gateway, a refused configuration: {load.answered} requests, {load.failed} lost")
    assert load.failures == []
    assert conditions(await public.policy()) == {"Accepted": "True"}
    assert total(await public.proxy.stats(), "cohort_config_invalid") == 0
    await public.weight(50)


# --- authentication -----------------------------------------------------------------------------------------


@asynccontextmanager
async def authenticated(public: Public, issuer: Issuer, rule: str | None) -> AsyncIterator[dict[str, Any]]:
    """With jwt on one rule of the route, or on all of it."""
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "checkout"}
    provider: dict[str, Any] = {
        "name": "accounts",
        "issuer": ISSUER,
        "localJWKS": {"type": "Inline", "inline": issuer.keys},
    }
    if rule is None:  # a header of a claim is removed from whoever brings no token
        provider["claimToHeaders"] = [{"claim": "sub", "header": "x-user-id"}]
    policy = {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "SecurityPolicy",
        "metadata": {"name": "staff", "namespace": "shop"},
        "spec": {
            "targetRefs": [{**target, **({"sectionName": rule} if rule else {})}],
            "jwt": {"providers": [provider]},
        },
    }

    def there() -> bool:
        return "jwt_authn" in json.dumps(public.listeners())

    await public.kube.apply(policy)
    await until(there, "jwt in the proxy", timeout=60, every=0.2)
    yield policy
    await public.kube.kubectl("delete", "securitypolicy", "staff", "-n", "shop")
    await until(lambda: not there(), "jwt gone from the proxy", timeout=60, every=0.2)


@asynccontextmanager
async def without_early_removal(public: Public) -> AsyncIterator[None]:
    """The state in which the client's header is there when a route is chosen first."""
    path = public.folder / "envoy-gateway" / "client-traffic-policy.yaml"

    def removing() -> bool:
        return "early_header_mutation" in json.dumps(public.listeners())

    await public.kube.kubectl("delete", "-f", str(path))
    await until(lambda: not removing(), "no early removal in the proxy", timeout=60, every=0.2)
    yield
    await public.kube.kubectl("apply", "-f", str(path))
    await until(removing, "the early removal in the proxy", timeout=60, every=0.2)


async def told(public: Public, **headers: str) -> dict[str, str]:
    """Who answers each of 200 users, or the status where nobody does."""
    answers = await ask(public.url, users(200), headers={**SHOP, **headers})
    return {
        user: (one.served_by or "").removeprefix("checkout-") if one.status == 200 else str(one.status)
        for user, one in answers.items()
    }


async def becomes(public: Public, wanted: dict[str, str], what: str, **headers: str) -> None:
    async def same() -> bool:
        return await told(public, **headers) == wanted

    await until(same, what, timeout=60, every=0.2)


@pytest.fixture(scope="module")
async def issuer(public: Public, tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    """Half of the users are the canary's from here on."""
    await public.weight(50)
    return Issuer(tmp_path_factory.mktemp("issuer"))


async def test_authentication_on_one_rule_is_passed_by(public: Public, issuer: Issuer) -> None:
    wanted = await public.wanted(200)
    assert set(wanted.values()) == {"stable", "canary"}
    async with authenticated(public, issuer, "canary") as policy:
        # The canary's users come without a token, and are served by the canary.
        await becomes(public, wanted, "everybody served without a token")
        # The command sees it.
        path = public.folder / "gateway.yaml"
        await public.reader.follow("envoy-gateway.md", "kubectl kustomize")
        path.write_text(path.read_text() + "---\n" + yaml.safe_dump(policy))
        said = await public.reader.run(f"target/release/cohort validate {path} 2>&1 || true")
        assert "SecurityPolicy staff binds jwt to the rule canary of checkout" in said, said
    async with authenticated(public, issuer, "stable"):
        # The early removal has everybody on `stable` while jwt looks.
        await becomes(public, dict.fromkeys(wanted, "401"), "everybody refused without a token", **FORGED)
        async with without_early_removal(public):
            await becomes(public, wanted, "a header in a token's place, at stable too", **FORGED)


async def test_the_filter_before_jwt_makes_one_rule_safe(public: Public, issuer: Issuer) -> None:
    wanted = await public.wanted(200)
    assert set(wanted.values()) == {"stable", "canary"}
    refused = {user: "401" if version == "canary" else version for user, version in wanted.items()}
    async with authenticated(public, issuer, "canary"):
        order = [{"name": "envoy.filters.http.wasm", "before": "envoy.filters.http.jwt_authn"}]
        await public.kube.patch("EnvoyProxy", "cohort", {"spec": {"filterOrder": order}}, "gateways")
        await becomes(public, refused, "exactly the canary's users refused without a token")
        assert await told(public, **FORGED) == refused
        one = issuer.token("anybody")
        assert await told(public, authorization=f"Bearer {one}") == wanted
        await public.kube.patch("EnvoyProxy", "cohort", {"spec": {"filterOrder": None}}, "gateways")
        await becomes(public, wanted, "the default order again")


async def test_authentication_on_the_whole_route_and_a_key_from_the_token(public: Public, issuer: Issuer) -> None:
    wanted = await public.wanted(200)
    bearer = {f"Bearer {issuer.token(user)}": user for user in users(200)}

    async def by_token(**headers: str) -> dict[str, str]:
        key = Key("header", "authorization")
        answers = await ask(public.url, bearer, key=key, headers={**SHOP, **headers})
        return {
            bearer[token]: (one.served_by or str(one.status)).removeprefix("checkout-")
            for token, one in answers.items()
        }

    async with authenticated(public, issuer, None):
        await until(by_token, "the split by the token", holds=lambda got: got == wanted, timeout=60, every=0.2)
        assert await by_token(**{"x-user-id": "user-1"}) == wanted
        assert set((await told(public)).values()) == {"401"}
        assert set((await told(public, **FORGED)).values()) == {"401"}


# --- what breaks --------------------------------------------------------------------------------------------


async def test_a_module_that_cannot_be_fetched_leaves_no_door_open(public: Public) -> None:
    """A tag that is not there takes the filter out of a running proxy."""
    await public.change("/spec/wasm/0/code/image/url", f"{REGISTRY}/cohort:9.9.9")
    await public.loses_the_filter()
    stable = dict.fromkeys(users(200), "stable")
    await becomes(public, stable, "everybody on stable")
    assert await told(public, **FORGED) == stable
    async with without_early_removal(public):
        await becomes(public, dict.fromkeys(stable, "canary"), "the door that the early removal closes", **FORGED)
    await public.change("/spec/wasm/0/failOpen", False)
    await becomes(public, dict.fromkeys(stable, "500"), "without failOpen nobody is answered")
    await public.kube.patch(
        "EnvoyExtensionPolicy",
        "cohort",
        [
            {"op": "replace", "path": "/spec/wasm/0/failOpen", "value": True},
            {"op": "replace", "path": "/spec/wasm/0/code/image/url", "value": IMAGE},
        ],
    )
    await becomes(public, await public.wanted(200), "the filter back after the mended policy")


async def test_a_controller_that_starts_while_the_registry_is_away(public: Public) -> None:
    await public.kube.stop("docker-registry")
    try:
        await public.kube.stop("envoy-gateway")
        await public.controller.start()
        await public.loses_the_filter()
        stable = dict.fromkeys(users(200), "stable")
        await becomes(public, stable, "everybody on stable")
        assert await told(public, **FORGED) == stable
    finally:
        await public.mesh.start_registry()
    # It does not heal by itself; the page says what to touch.
    await public.reader.follow("envoy-gateway.md", "kubectl -n shop annotate httproute")
    await public.agreed(await public.wanted(), "the filter back")


async def test_a_policy_of_a_gateway_in_another_namespace_does_nothing(public: Public) -> None:
    """And says nothing: no status, no filter."""
    policy = await public.policy()
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public"}
    elsewhere = {
        "apiVersion": policy["apiVersion"],
        "kind": policy["kind"],
        "metadata": {"name": "elsewhere", "namespace": "shop"},
        "spec": {**policy["spec"], "targetRefs": [target]},
    }
    await public.kube.apply(elsewhere)
    # A change that comes after it is in force: by then the controller has looked at it.
    await public.weight(40)
    assert conditions(await public.kube.get("EnvoyExtensionPolicy", "elsewhere")) == {}
    assert "elsewhere" not in json.dumps(public.listeners())
    await public.kube.kubectl("delete", "envoyextensionpolicy", "elsewhere", "-n", "shop")
