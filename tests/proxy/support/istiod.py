"""Delivers plugins to an Envoy as istiod and the agent beside the proxy do.

What is reproduced, all of it as Istio does it:

- Filters come by delta ADS over gRPC, as ECDS resources with `initial_fetch_timeout: 0s`, which means no
  timeout: a listener does not open before each of its filters has been answered for, well or badly.
- A resource is named after the plugin's kind, namespace and name; the plugin's own name is `ns.name`; the
  VM has no vm_id, so that all plugins of a proxy share one namespace of shared data.
- `pluginConfig` has been through a protobuf Struct: keys in order, every number a double. It reaches Envoy as
  JSON in a StringValue; an empty one reaches it as nothing at all.
- The agent has fetched the module, put a local file in the URL's place, and taken out the variables that are
  for itself.

`answers/` holds what a real istiod sent for the overlays of `istio/`; `test_istio_answers.py` holds this module
against it, and plays it to an Envoy as it is.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

# Its handlers around a fork end the child now and then; a child here becomes an Envoy at once and needs none.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

import grpc
import pytest
from envoy.config.core.v3 import extension_pb2
from envoy.extensions.filters.http.wasm.v3 import wasm_pb2 as http_wasm_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import any_pb2, struct_pb2, wrappers_pb2
from google.protobuf.message import Message
from lab import bootstrap as boots
from lab.envoy import Envoy
from lab.until import until

REPOSITORY = Path(__file__).resolve().parents[3]
MANIFESTS = REPOSITORY / "istio"

WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
EXTENSION_CONFIG = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"

#: Istio's words for what happens when a plugin fails, and Envoy's.
FAILURE_POLICY = {"FAIL_CLOSE": "FAIL_CLOSED", "FAIL_OPEN": "FAIL_OPEN", "FAIL_RELOAD": "FAIL_RELOAD"}


def manifest(path: str) -> dict[str, Any]:
    """A manifest of `istio/`."""
    return yaml.safe_load((MANIFESTS / path).read_text())


def built(overlay: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    ours = REPOSITORY / "target" / "mesh" / "bin" / "kubectl"  # where `make test-mesh` has built one
    for name, argv in (("kustomize", ["build"]), ("kubectl", ["kustomize"]), (str(ours), ["kustomize"])):
        found = shutil.which(name)
        if found:
            done = subprocess.run([found, *argv, str(overlay)], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return [one for one in yaml.safe_load_all(done.stdout) if one]
    pytest.skip("neither kustomize nor kubectl is on PATH")


def resource_name(plugin: Mapping[str, Any]) -> str:
    """The name of the ECDS resource, and of the filter in the listener."""
    return f"extensions.istio.io/trafficextension/{plugin_name(plugin)}"


def plugin_name(plugin: Mapping[str, Any]) -> str:
    """What the plugin is called inside the proxy: in its log, and to itself."""
    meta = plugin["metadata"]
    suffix = "~istio-translated-wasmplugin" if plugin["kind"] == "WasmPlugin" else ""
    return f"{meta['namespace']}.{meta['name']}{suffix}"


def wasm_spec(plugin: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a WasmPlugin or a TrafficExtension that says what to run."""
    return plugin["spec"] if plugin["kind"] == "WasmPlugin" else plugin["spec"]["wasm"]


def as_istiod_writes_it(value: Any) -> str:
    """JSON as istiod makes it of a Struct: keys in order, no spaces, a whole double without its point."""

    def whole(node: Any) -> Any:
        if isinstance(node, Mapping):
            return {key: whole(one) for key, one in node.items()}
        if isinstance(node, list):
            return [whole(one) for one in node]
        return int(node) if isinstance(node, float) and node.is_integer() else node

    return json.dumps(whole(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def extension_config(plugin: Mapping[str, Any], *, as_struct: bool = False) -> extension_pb2.TypedExtensionConfig:
    """The ECDS resource for a plugin, as istiod sends it to the agent.

    `as_struct`: leaves the configuration a Struct, as a control plane may that is not Istio's.
    """
    spec = wasm_spec(plugin)
    wasm = http_wasm_pb2.Wasm()
    config = wasm.config
    config.name = plugin_name(plugin)
    config.root_id = spec.get("pluginName", "")
    config.failure_policy = (
        config.DESCRIPTOR.fields_by_name["failure_policy"]
        .enum_type.values_by_name[FAILURE_POLICY[spec.get("failStrategy", "FAIL_CLOSE")]]
        .number
    )
    config.vm_config.runtime = "envoy.wasm.runtime.v8"
    remote = config.vm_config.code.remote
    remote.http_uri.uri, remote.http_uri.cluster = spec.get("url", ""), "_"
    remote.http_uri.timeout.FromSeconds(30)
    if "sha256" in spec:
        remote.sha256 = spec["sha256"]
    for_agent = {
        "ISTIO_META_WASM_IMAGE_PULL_POLICY": spec.get("imagePullPolicy", "UNSPECIFIED_POLICY"),
        "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION": plugin["metadata"].get("resourceVersion", "1"),
    }
    for name, value in for_agent.items():
        config.vm_config.environment_variables.key_values[name] = value
    for env in spec.get("vmConfig", {}).get("env", []):
        config.vm_config.environment_variables.key_values[env["name"]] = env["value"]
    if spec.get("pluginConfig"):
        struct = struct_pb2.Struct()
        struct.update(spec["pluginConfig"])
        text = wrappers_pb2.StringValue(value=as_istiod_writes_it(spec["pluginConfig"]))
        config.configuration.Pack(struct if as_struct else text)
    typed = extension_pb2.TypedExtensionConfig(name=resource_name(plugin))
    typed.typed_config.Pack(wasm)
    return typed


def fetched(typed: extension_pb2.TypedExtensionConfig, module: Path) -> extension_pb2.TypedExtensionConfig:
    """The same once the agent has fetched the module: what reaches the proxy."""
    wasm = http_wasm_pb2.Wasm()
    assert typed.typed_config.Unpack(wasm)
    machine = wasm.config.vm_config
    for name in [one for one in machine.environment_variables.key_values if one.startswith("ISTIO_META_WASM_")]:
        del machine.environment_variables.key_values[name]
    if not machine.environment_variables.key_values and not machine.environment_variables.host_env_keys:
        machine.ClearField("environment_variables")
    machine.code.local.filename = str(module)
    found = extension_pb2.TypedExtensionConfig(name=typed.name)
    found.typed_config.Pack(wasm)
    return found


class Refused(Exception):
    """The proxy did not take a plugin. Carries what it answered."""


class Istiod(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    """A control plane that knows plugins and nothing else.

    ``async with Istiod() as istiod:`` serves; `apply` keeps or replaces a plugin, and, where a proxy has
    asked for it, pushes it and returns when the proxy has taken it or raises `Refused`.
    """

    def __init__(self, *, as_struct: bool = False) -> None:
        self._as_struct = as_struct
        self._resources: dict[tuple[str, str], tuple[int, any_pb2.Any]] = {}
        self._wanted: set[tuple[str, str]] = set()
        self._streams: set[Any] = set()
        self._answers: dict[str, asyncio.Future[str]] = {}
        self._version = 0
        self.port = 0

    async def __aenter__(self) -> Istiod:
        self._server = grpc.aio.server()
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    async def DeltaAggregatedResources(self, requests: Any, context: Any) -> None:
        self._streams.add(context)
        try:
            async for request in requests:
                if request.response_nonce:
                    waiter = self._answers.pop(request.response_nonce, None)
                    if waiter and not waiter.done():
                        waiter.set_result(request.error_detail.message)
                names = list(request.resource_names_subscribe) + list(request.initial_resource_versions)
                self._wanted.update((request.type_url, name) for name in names)
                known = [name for name in names if (request.type_url, name) in self._resources]
                if known:
                    await self._push(context, request.type_url, known)
        finally:
            self._streams.discard(context)

    async def _push(self, context: Any, kind: str, names: list[str]) -> asyncio.Future[str]:
        """Sends these resources; the answer is empty, or why they were refused."""
        self._version += 1
        nonce = str(self._version)
        waiter = self._answers[nonce] = asyncio.get_running_loop().create_future()
        response = discovery_pb2.DeltaDiscoveryResponse(system_version_info=nonce, type_url=kind, nonce=nonce)
        for name in names:
            version, resource = self._resources[kind, name]
            response.resources.append(discovery_pb2.Resource(name=name, version=str(version), resource=resource))
        await context.write(response)
        return waiter

    async def apply(self, plugin: Mapping[str, Any], module: Path) -> None:
        """`kubectl apply` of a plugin whose module the agent fetches."""
        typed = fetched(extension_config(plugin, as_struct=self._as_struct), module)
        await self.serve(EXTENSION_CONFIG, typed.name, typed)

    async def serve(self, kind: str, name: str, message: Message) -> None:
        """Keeps or replaces a resource of any kind, and pushes it to those who have asked for it."""
        packed = any_pb2.Any()
        packed.Pack(message)
        self._resources[kind, name] = (self._resources.get((kind, name), (0, None))[0] + 1, packed)
        if (kind, name) not in self._wanted:
            return
        for context in list(self._streams):
            refused = await asyncio.wait_for(await self._push(context, kind, [name]), 60)
            if refused:
                raise Refused(refused)


def ask_by_ads(boot: dict[str, Any]) -> None:
    """Has an Envoy ask the cluster `xds-grpc` for what it discovers, as the agent's bootstrap does."""
    boots.clusters(boot).append(
        {
            "name": "xds-grpc",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                }
            },
        }
    )
    boot["dynamic_resources"] = {
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
        }
    }


def proxy(istiod: Istiod, plugins: list[Mapping[str, Any]], **options: Any) -> Envoy:
    """An Envoy whose listener names these plugins' filters, in this order, and asks `istiod` for them.

    It answers by itself: `x-served-by` is the name of the route that was chosen, as a VirtualService with
    one header match and a default would be written out.
    """

    def edit(boot: dict[str, Any]) -> None:
        ask_by_ads(boot)
        manager = boots.connection_manager(boot)
        router = manager["http_filters"][-1]
        manager["http_filters"] = [
            {
                "name": resource_name(plugin),
                "config_discovery": {
                    "config_source": {
                        "ads": {},
                        "resource_api_version": "V3",
                        "initial_fetch_timeout": "0s",
                    },
                    "type_urls": [WASM, RBAC],
                },
            }
            for plugin in plugins
        ] + [router]
        also = options_edit
        if also:
            also(boot)

    options_edit = options.pop("edit", None)
    options.setdefault("routes", boots.answer_directly("x-cohort-checkout", ["canary"], "stable"))
    clusters = {"xds-grpc": ("127.0.0.1", istiod.port), **options.pop("clusters", {})}
    return Envoy(clusters=clusters, edit=edit, **options)


async def settled(envoy: Envoy, plugin: Mapping[str, Any], reloads: int) -> None:
    """Awaits that every worker has taken the plugin's configuration this many times."""
    pattern = f"extension_config_discovery.*{resource_name(plugin)}.config_reload"

    async def count() -> int:
        stats = await envoy.stats("extension_config_discovery")
        return sum(v for k, v in stats.items() if k.endswith(f"{resource_name(plugin)}.config_reload"))

    await until(count, pattern, holds=lambda seen: seen >= reloads)
