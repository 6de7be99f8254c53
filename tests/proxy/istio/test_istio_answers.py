"""What a real istiod sent for the overlays of `istio/`, played to a real Envoy.

`answers/*.istiod.json` is a real istiod's own dump of a proxy's configuration (Istio 1.32 development, August
2026), reduced to what concerns the plugin; `*.envoy.json` is what was in that proxy's Envoy after the agent.
`make test-mesh` asks a living istiod, holds its answers against these and records them (`tests/mesh/answers.py`);
this needs neither Go nor root.
"""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2 as _cors
from envoy.extensions.filters.http.fault.v3 import fault_pb2 as _fault
from envoy.extensions.filters.http.grpc_stats.v3 import config_pb2 as _grpc_stats
from envoy.extensions.filters.http.router.v3 import router_pb2 as _router
from envoy.extensions.filters.http.wasm.v3 import wasm_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2 as _http_inspector
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as _manager
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2 as _tcp_proxy
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2 as _early
from envoy.extensions.request_id.uuid.v3 import uuid_pb2 as _uuid
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2 as _previous_hosts
from google.protobuf import json_format
from istiod import EXTENSION_CONFIG, MANIFESTS, Istiod, ask_by_ads, built, extension_config, fetched, wasm_spec
from lab.client import ask, users
from lab.envoy import COMMAND, Envoy, module
from lab.service import Service

ANSWERS = Path(__file__).parent / "answers"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

#: The types that stand in the answers as Any: protobuf reads those that were imported.
KNOWN = (_cors, _early, _fault, _grpc_stats, _router, _http_inspector, _manager, _tcp_proxy, _uuid, _previous_hosts)

#: Each answer: its overlay, the host that users ask for, and what its clusters are called.
CASES = {
    "ingress-gateway": ("shop.example.com", "outbound|8080|{}|checkout.shop.svc.cluster.local"),
    "gateway-api": ("shop.example.com", "outbound|8080||checkout-{}.shop.svc.cluster.local"),
    "sidecars": ("checkout.shop:8080", "outbound|8080|{}|checkout.shop.svc.cluster.local"),
}

#: What only Istio's own Envoy has, in the chain of a waypoint.
ISTIOS_OWN = {"waypoint_upstream_peer_metadata"}
#: Those that are played to an Envoy: also the chain that a waypoint has for the service, without what is Istio's own.
PLAYED = {**CASES, "waypoint": ("checkout.shop:8080", "outbound|8080||checkout-{}.shop.svc.cluster.local")}


def answer(name: str, kind: str = "istiod") -> dict[str, Any]:
    return json.loads((ANSWERS / f"{name}.{kind}.json").read_text())


def plugin_sent(name: str) -> wasm_pb2.Wasm:
    if name == "waypoint":  # asks for its plugins after it has taken the listener, which takes Istio's own Envoy
        [plugin] = [one for one in built(MANIFESTS / "overlays" / name) if one["kind"] == "TrafficExtension"]
        plugin = copy.deepcopy(plugin)
        wasm_spec(plugin)["pluginConfig"]["rollouts"][0]["versions"][1]["weight"] = 5
        wasm = wasm_pb2.Wasm()
        assert extension_config(plugin).typed_config.Unpack(wasm)
        return wasm
    [one] = answer(name)["ecds"]
    one.pop("@type")
    return json_format.ParseDict(one, wasm_pb2.Wasm())


def filter_name(name: str) -> str:
    """What the listener calls the plugin's filter, and so its ECDS resource."""
    [chain] = answer(name)["listeners"][0]["filterChains"]
    manager = chain["filters"][-1]
    [found] = [one["name"] for one in manager["typedConfig"]["httpFilters"] if "configDiscovery" in one]
    return found


@pytest.mark.parametrize("name", CASES)
def test_our_istiod_sends_what_the_real_one_sent(name: str) -> None:
    sent = plugin_sent(name)
    [plugin] = [
        one for one in built(MANIFESTS / "overlays" / name) if one["kind"] in {"WasmPlugin", "TrafficExtension"}
    ]
    # What belongs to the run, and the weight that it had.
    plugin = copy.deepcopy(plugin)
    machine = sent.config.vm_config
    plugin["metadata"]["resourceVersion"] = machine.environment_variables.key_values[
        "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION"
    ]
    wasm_spec(plugin)["url"] = machine.code.remote.http_uri.uri
    told = json.loads(json_format.MessageToDict(sent.config.configuration)["value"])
    weight = told["rollouts"][0]["versions"][1]["weight"]
    wasm_spec(plugin)["pluginConfig"]["rollouts"][0]["versions"][1]["weight"] = weight
    ours = extension_config(plugin)
    assert ours.name == filter_name(name)
    wasm = wasm_pb2.Wasm()
    assert ours.typed_config.Unpack(wasm)
    assert wasm == sent


def test_our_agent_hands_on_what_the_real_one_did() -> None:
    [after] = answer("ingress-gateway", "envoy")["ecds"]
    wanted = json_format.ParseDict(after["typed_config"]["config"], wasm_pb2.Wasm().config)
    before = plugin_sent("ingress-gateway")
    before.config.configuration.CopyFrom(wanted.configuration)  # taken at another weight
    typed = fetched(packed("x", before), Path(wanted.vm_config.code.local.filename))
    ours = wasm_pb2.Wasm()
    assert typed.typed_config.Unpack(ours)
    assert ours.config == wanted


def test_istiod_merges_the_early_removal_that_we_have_it_merge() -> None:
    [chain] = answer("ingress-gateway")["listeners"][0]["filterChains"]
    sent = chain["filters"][0]["typedConfig"]["earlyHeaderMutationExtensions"]
    [ours] = [one for one in built(MANIFESTS / "overlays" / "ingress-gateway") if one["kind"] == "EnvoyFilter"]
    [patch] = ours["spec"]["configPatches"]
    wanted = patch["patch"]["value"]["typed_config"]["early_header_mutation_extensions"]
    assert [{"name": one["name"], "typedConfig": one["typed_config"]} for one in wanted] == sent


def packed(name: str, wasm: wasm_pb2.Wasm) -> Any:
    typed = extension_config(
        {"kind": "TrafficExtension", "metadata": {"namespace": "", "name": name}, "spec": {"wasm": {}}}
    )
    typed.name = name
    typed.typed_config.Pack(wasm)
    return typed


def snake(message: Any) -> dict[str, Any]:
    # By way of text, which leaves plain objects and no ordered ones.
    return json.loads(json_format.MessageToJson(message, preserving_proto_field_name=True))


@pytest.mark.parametrize("name", PLAYED)
async def test_an_envoy_that_gets_it_decides_as_the_command_says(name: str, tmp_path: Path) -> None:
    host, cluster = PLAYED[name]
    sent = plugin_sent(name)
    [listener] = answer(name)["listeners"]
    listener.pop("@type")
    # Behind Istio's interception, or inside a waypoint, it has no port of its own; here it needs one.
    listener.pop("bindToPort", None)
    listener.setdefault("address", {"socketAddress": {"address": "0.0.0.0", "portValue": 8080}})
    manager = listener["filterChains"][0]["filters"][-1]["typedConfig"]
    manager["httpFilters"] = [one for one in manager["httpFilters"] if one["name"] not in ISTIOS_OWN]

    def edit(boot: dict[str, Any]) -> None:
        ask_by_ads(boot)
        boot["static_resources"]["listeners"] = [snake(json_format.ParseDict(listener, listener_pb2.Listener()))]

    config = tmp_path / "config.json"
    text = json_format.MessageToDict(sent.config.configuration)["value"]
    config.write_text(text)
    async with Istiod() as istiod, Service("stable") as stable, Service("canary") as canary:
        await istiod.serve(EXTENSION_CONFIG, filter_name(name), fetched(packed(filter_name(name), sent), module()))
        for one in answer(name)["routes"]:
            one.pop("@type")
            routes = json_format.ParseDict(one, route_pb2.RouteConfiguration())
            await istiod.serve(ROUTES, routes.name, routes)
        clusters = {
            "xds-grpc": ("127.0.0.1", istiod.port),
            "PassthroughCluster": stable.address,
            cluster.format("stable"): stable.address,
            cluster.format("canary"): canary.address,
        }
        async with Envoy(clusters=clusters, edit=edit) as envoy:
            url = f"http://127.0.0.1:{next(iter(envoy.ports.values()))}"
            answers = await ask(url, users(1000), headers={"host": host})
            forged = await ask(url, users(100), headers={"host": host, "x-cohort-checkout": "canary"})
            baggage = await ask(url, users(100), headers={"host": host, "baggage": "cohort-checkout=canary"})
    assert {one.status for one in answers.values()} == {200}
    keys = tmp_path / "keys"
    keys.write_text("\n".join(users(1000)))
    command = [str(COMMAND), "simulate", str(config), "--keys-from", str(keys)]
    told = subprocess.run([*command, "--list", "--output", "json"], check=True, capture_output=True, text=True)
    wanted = {one["key"]: one["version"] for one in map(json.loads, told.stdout.splitlines())}
    assert {user: one.served_by for user, one in answers.items()} == wanted
    assert {"stable", "canary"} == set(wanted.values())
    # The early removal takes the header of whoever brings it. The sidecars' rollout inherits the baggage of the
    # workload in its own pod; elsewhere nobody brings a decision.
    some = {user: wanted[user] for user in forged}
    assert {user: one.served_by for user, one in forged.items()} == some
    brought = {user: one.served_by for user, one in baggage.items()}
    assert brought == (dict.fromkeys(some, "canary") if name == "sidecars" else some)
