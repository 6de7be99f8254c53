"""The committed `envoy.yaml` and `filter.yaml` with other ports, addresses and paths.

What the demo and the tests run is what a reader finds in `envoy/`: nothing here writes a configuration
of its own, it only replaces what belongs to a machine, and offers the few changes that tests need.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

ENVOY_DIR = Path(__file__).resolve().parents[1]

#: A host and a port.
Address = tuple[str, int]

_STRING = "type.googleapis.com/google.protobuf.StringValue"


def bootstrap() -> dict[str, Any]:
    """`envoy/envoy.yaml`."""
    return yaml.safe_load((ENVOY_DIR / "envoy.yaml").read_text())


def filter_file() -> dict[str, Any]:
    """`envoy/filter.yaml`."""
    return yaml.safe_load((ENVOY_DIR / "filter.yaml").read_text())


def committed_config() -> dict[str, Any]:
    """The plugin configuration of `envoy/filter.yaml`."""
    return json.loads(wasm(filter_file())["configuration"]["value"])


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as a block, as a person would."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)
_Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]


def dump(document: Any) -> str:
    """A document as YAML that a person can edit."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


# --- finding one's way -------------------------------------------------------------------------------


def listener(boot: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return boot["static_resources"]["listeners"][index]


def connection_manager(boot: dict[str, Any], index: int = 0) -> dict[str, Any]:
    """The HttpConnectionManager of a listener."""
    return listener(boot, index)["filter_chains"][0]["filters"][0]["typed_config"]


def clusters(boot: dict[str, Any]) -> list[dict[str, Any]]:
    return boot["static_resources"]["clusters"]


def cluster(boot: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c for c in clusters(boot) if c["name"] == name)


def routes(boot: dict[str, Any], index: int = 0) -> list[dict[str, Any]]:
    """The routes of the virtual host for every domain."""
    hosts = connection_manager(boot, index)["route_config"]["virtual_hosts"]
    return next(host for host in hosts if host["domains"] == ["*"])["routes"]


def wasm(file: dict[str, Any]) -> dict[str, Any]:
    """The PluginConfig in a filter file."""
    return file["resources"][0]["typed_config"]["config"]


_NATIVE = "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"
_WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"


def native(file: Mapping[str, Any], library: Path) -> dict[str, Any]:
    """A filter file of the Wasm filter as one of the native module, with the same name and configuration."""
    resource = file["resources"][0]
    plugin = wasm(dict(file))
    told = {
        "@type": _NATIVE,
        "dynamic_module_config": {"module": {"local": {"filename": str(library)}}, "do_not_close": True},
        "filter_name": plugin["name"],
    }
    if "configuration" in plugin:
        told["filter_config"] = plugin["configuration"]
    return {"resources": [{**resource, "typed_config": told}]}


def allow_native(boot: dict[str, Any]) -> None:
    """Lets a bootstrap discover the native module, its metrics under their own names."""
    for index in range(len(boot["static_resources"]["listeners"])):
        for one in connection_manager(boot, index)["http_filters"]:
            types = one.get("config_discovery", {}).get("type_urls", [])
            types[:] = [_NATIVE if name == _WASM else name for name in types]
    buckets = boot["stats_config"]["histogram_bucket_settings"]
    prefix = "dynamicmodulescustom.cohort_request_duration_milliseconds"
    buckets.append({**copy.deepcopy(buckets[0]), "match": {"prefix": prefix}})
    flag = {"envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix": True}
    layers = boot.setdefault("layered_runtime", {}).setdefault("layers", [])
    layers.append({"name": "native", "static_layer": flag})


# --- changes -----------------------------------------------------------------------------------------


def set_config(file: dict[str, Any], config: Mapping[str, Any] | str | bytes | None) -> None:
    """Puts a plugin configuration into a filter file.

    A mapping goes as JSON; a text goes to the filter byte for byte; None leaves the configuration out.
    """
    plugin = wasm(file)
    if config is None:
        plugin.pop("configuration", None)
        return
    if isinstance(config, Mapping):
        config = json.dumps(config, indent=2)
    text = config.decode() if isinstance(config, bytes) else config
    plugin["configuration"] = {"@type": _STRING, "value": text}


def output_headers(config: Mapping[str, Any]) -> list[str]:
    """The request headers that a configuration writes and takes over from nobody, in its own order.

    Of what is no rollout: none. Tests start proxies with configurations that cannot be honoured.
    """
    found: dict[str, None] = {}
    rollouts = config.get("rollouts")
    for one in rollouts if isinstance(rollouts, list) else []:
        output = one.get("output", {}) if isinstance(one, Mapping) and "name" in one else None
        if not isinstance(output, Mapping):
            continue
        if "inherit" not in one:
            found[output.get("routeHeader", f"x-cohort-{one['name']}")] = None
        if "clusterHeader" in output:
            found[output["clusterHeader"]] = None
    return list(found)


def remove_early(boot: dict[str, Any], headers: Iterable[str]) -> None:
    """Has every connection manager remove these headers before Envoy chooses a first route; none: no removal."""
    mutations = [{"remove": name} for name in headers]
    for index in range(len(boot["static_resources"]["listeners"])):
        manager = connection_manager(boot, index)
        if mutations:
            [extension] = manager["early_header_mutation_extensions"]
            extension["typed_config"]["mutations"] = mutations
        else:
            manager.pop("early_header_mutation_extensions", None)


def route_by_header(header: str, to: Mapping[str, str], default: str, **route: Any) -> list[dict[str, Any]]:
    """Routes from the values of a header to clusters, the default last.

    `route` goes into every route action (timeout, retry_policy, ...).
    """
    return [
        {
            "name": value,
            "match": {"prefix": "/", "headers": [{"name": header, "string_match": {"exact": value}}]},
            "route": {"cluster": name, **route},
        }
        for value, name in to.items()
    ] + [{"name": "default", "match": {"prefix": "/"}, "route": {"cluster": default, **route}}]


def answer_directly(header: str, values: Iterable[str], default: str) -> list[dict[str, Any]]:
    """Routes that Envoy answers itself, with the route's name in `x-served-by`: for large populations."""

    def direct(value: str, match: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": value,
            "match": {"prefix": "/", **match},
            "direct_response": {"status": 200},
            "response_headers_to_add": [{"header": {"key": "x-served-by", "value": value}}],
        }

    matches = [direct(v, {"headers": [{"name": header, "string_match": {"exact": v}}]}) for v in values]
    return [*matches, direct(default, {})]


def failing_by_header(answered: list[dict[str, Any]], header: str) -> list[dict[str, Any]]:
    """Routes of `answer_directly`, each behind a twin that answers 503 to requests with that header."""
    routes = []
    for route in answered:
        failing = copy.deepcopy(route)
        failing["match"].setdefault("headers", []).append({"name": header, "present_match": True})
        failing["direct_response"]["status"] = 503
        routes += [failing, route]
    return routes


def speak_http2(boot: dict[str, Any], *names: str) -> None:
    """Has Envoy speak HTTP/2 with these clusters."""
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {"@type": f"type.googleapis.com/{kind}", "explicit_http_config": {"http2_protocol_options": {}}}
    for name in names:
        cluster(boot, name)["typed_extension_protocol_options"] = {kind: options}


def add_listener(boot: dict[str, Any], name: str) -> dict[str, Any]:
    """A second listener like the first."""
    another = copy.deepcopy(listener(boot))
    another["name"] = name
    connection_manager({"static_resources": {"listeners": [another]}})["stat_prefix"] = name
    boot["static_resources"]["listeners"].append(another)
    return another


def endpoints(name: str, addresses: Iterable[Address]) -> dict[str, Any]:
    """A ClusterLoadAssignment."""
    return {
        "cluster_name": name,
        "endpoints": [
            {
                "lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
                    for host, port in addresses
                ]
            }
        ],
    }


def relocate(boot: dict[str, Any], directory: Path, to: Mapping[str, list[Address]]) -> None:
    """Every port chosen by the kernel, the watched file in `directory`, clusters at the addresses given.

    A cluster in `to` that the bootstrap does not have is added, like the first one. Endpoints come from
    a watched file each (EDS), so that they can change while Envoy runs.
    """
    boot["admin"]["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
    for one in boot["static_resources"]["listeners"]:
        # A listener for HTTP/3 has its protocol there, too.
        one["address"]["socket_address"] |= {"address": "127.0.0.1", "port_value": 0}
    for index in range(len(boot["static_resources"]["listeners"])):
        for http_filter in connection_manager(boot, index)["http_filters"]:
            source = http_filter.get("config_discovery", {}).get("config_source")
            if source and "path_config_source" in source:
                name = Path(source["path_config_source"]["path"]).name
                source["path_config_source"] = {
                    "path": str(directory / name),
                    "watched_directory": {"path": str(directory)},
                }
    for name in to:
        if all(one["name"] != name for one in clusters(boot)):
            clusters(boot).append({**copy.deepcopy(clusters(boot)[0]), "name": name})
    for one in clusters(boot):
        one["type"] = "EDS"
        one.pop("load_assignment", None)
        one["eds_cluster_config"] = {
            "eds_config": {
                "resource_api_version": "V3",
                "path_config_source": {
                    "path": str(directory / "endpoints" / f"{one['name']}.yaml"),
                    "watched_directory": {"path": str(directory / "endpoints")},
                },
            }
        }
    # Histograms would otherwise show only every five seconds.
    boot["stats_flush_on_admin"] = True
