"""The manifests of `istio/`: well formed, valid, consistent with each other and with the command."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cloudcoil.models.istio.extensions.v1alpha1 import WasmPlugin
from cloudcoil.models.istio.networking.v1 import DestinationRule, VirtualService
from cloudcoil.models.kubernetes.core.v1 import Service
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule
from istiod import built
from lab.envoy import COMMAND
from prometheus import tool

REPOSITORY = Path(__file__).resolve().parents[2]
MANIFESTS = REPOSITORY / "istio"
ENVOY_GATEWAY = REPOSITORY / "envoy-gateway"

KUSTOMIZE = {"Kustomization", "Component"}

#: Typed resources of a maintained package, by kind. The package for this Python knows no TrafficExtension:
#: that is held against WasmPlugin, whose fields it shares.
TYPED = {
    "WasmPlugin": WasmPlugin,
    "VirtualService": VirtualService,
    "DestinationRule": DestinationRule,
    "Service": Service,
    "PodMonitor": PodMonitor,
    "PrometheusRule": PrometheusRule,
}


def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def committed() -> Iterator[Any]:
    for path in sorted(MANIFESTS.rglob("*.yaml")):
        if path.parent.name == "mesh":
            continue
        for position, document in enumerate(documents(path)):
            if document["kind"] not in KUSTOMIZE:
                name = f"{path.relative_to(MANIFESTS)}#{position}"
                yield pytest.param(document, id=name)


def kustomizations() -> list[Path]:
    return sorted(path.parent for path in MANIFESTS.rglob("kustomization.yaml"))


def overlays() -> list[Any]:
    return [pytest.param(path, id=path.name) for path in sorted((MANIFESTS / "overlays").iterdir())]


def schemas() -> Path:
    """The closed schemas of the custom resources, which lie beside a checkout of the project's own."""
    wanted = os.environ.get("COHORT_CRDS")
    candidates = [Path(wanted)] if wanted else []
    candidates += [parent / "shared" / "crds" / "jsonschema" for parent in REPOSITORY.parents]
    found = next((path for path in candidates if path.is_dir()), None)
    if found is None:
        pytest.skip("no JSON Schemas of the custom resources here (set COHORT_CRDS to a folder of them)")
    return found


def schema_file(document: Mapping[str, Any]) -> str:
    group, _, version = document["apiVersion"].rpartition("/")
    return f"{document['kind'].lower()}-{group.split('.')[0]}-{version}.json"


def hold_against_schema(document: Mapping[str, Any]) -> None:
    folder = schemas()
    path = folder / schema_file(document)
    if not path.exists():
        known = {"Service", "AnalysisTemplate", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
        assert document["kind"] in known, f"no schema {path.name}"
        return
    jsonschema.Draft202012Validator(json.loads(path.read_text())).validate(document)


def plugins_of(all_documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in all_documents if one["kind"] in {"WasmPlugin", "TrafficExtension"}]


def plugin_config(plugin: Mapping[str, Any]) -> dict[str, Any]:
    spec = plugin["spec"]
    return spec["wasm"]["pluginConfig"] if plugin["kind"] == "TrafficExtension" else spec["pluginConfig"]


# --- valid ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", list(committed()))
def test_every_manifest_holds_against_the_schema_of_its_kind(document: dict[str, Any]) -> None:
    hold_against_schema(document)


@pytest.mark.parametrize("overlay", overlays())
def test_what_an_overlay_builds_holds_against_the_schemas(overlay: Path) -> None:
    for document in built(overlay):
        hold_against_schema(document)


def as_wasm_plugin(extension: Mapping[str, Any]) -> dict[str, Any]:
    """A TrafficExtension in the words of the WasmPlugin that it supersedes."""
    spec = {key: value for key, value in extension["spec"].items() if key != "wasm"}
    return {**extension, "kind": "WasmPlugin", "spec": {**spec, **extension["spec"]["wasm"]}}


@pytest.mark.parametrize("document", list(committed()))
def test_every_manifest_is_a_resource_of_its_type_and_nothing_more(document: dict[str, Any]) -> None:
    if document["kind"] == "TrafficExtension":
        document = as_wasm_plugin(document)
    model = TYPED.get(document["kind"])
    if model is None:
        assert document["kind"] in {
            "HTTPRoute",
            "Canary",
            "MetricTemplate",
            "Rollout",
            "AnalysisTemplate",
            "EnvoyFilter",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        }
        pytest.skip(f"no package for this Python has a type for {document['kind']}")
    typed = model.model_validate(document)
    # A model ignores what it does not know; what comes back out tells.
    again = typed.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert again == document


def test_a_misspelt_field_does_not_pass_for_a_typed_resource() -> None:
    [document] = documents(MANIFESTS / "plugin" / "wasm-plugin" / "wasm-plugin.yaml")
    document["spec"]["failStrategi"] = document["spec"].pop("failStrategy")
    again = WasmPlugin.model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert again != document


#: The keys of an AnalysisTemplate that are used here, as Argo Rollouts names them: there is no schema of it.
ANALYSIS_METRIC = {
    "name",
    "initialDelay",
    "interval",
    "count",
    "failureLimit",
    "inconclusiveLimit",
    "consecutiveSuccessLimit",
    "successCondition",
    "failureCondition",
    "provider",
}


def test_the_analysis_template_uses_no_key_that_argo_rollouts_does_not_have() -> None:
    folder = MANIFESTS / "controllers" / "argo-rollouts"
    for template in [*documents(folder / "analysis-template.yaml"), *documents(folder / "wait-template.yaml")]:
        assert set(template["spec"]) == {"args", "metrics"}
        args = {arg["name"] for arg in template["spec"]["args"]}
        for metric in template["spec"]["metrics"]:
            assert set(metric) <= ANALYSIS_METRIC
            assert set(metric["provider"]) == {"prometheus"}
            prometheus = metric["provider"]["prometheus"]
            assert set(prometheus) == {"address", "query"}
            used = set(re.findall(r"\{\{args\.([a-z]+)\}\}", prometheus["query"] + prometheus["address"]))
            assert used <= args


@pytest.mark.parametrize("kind", ["wasm-plugin", "traffic-extension"])
def test_the_command_finds_no_problem_in_a_plugin(kind: str) -> None:
    path = MANIFESTS / "plugin" / kind / f"{kind}.yaml"
    done = subprocess.run([str(COMMAND), "validate", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("overlay", overlays())
def test_the_command_finds_no_problem_in_what_an_overlay_builds(overlay: Path, tmp_path: Path) -> None:
    [plugin] = plugins_of(built(overlay))
    path = tmp_path / "plugin.yaml"
    path.write_text(yaml.safe_dump(plugin))
    done = subprocess.run([str(COMMAND), "validate", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_finds_the_problem_in_a_spoilt_manifest(tmp_path: Path) -> None:
    [plugin] = documents(MANIFESTS / "plugin" / "traffic-extension" / "traffic-extension.yaml")
    plugin_config(plugin)["rollouts"][0]["versions"][1]["weight"] = 105
    path = tmp_path / "plugin.yaml"
    path.write_text(yaml.safe_dump(plugin))
    done = subprocess.run([str(COMMAND), "validate", str(path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "$.rollouts[0].versions[1].weight: found 105" in done.stderr


def test_the_manifests_for_envoy_gateway_hold_together(tmp_path: Path) -> None:
    """There is no schema of its kinds here: their keys are held against those of its API that are used."""
    everything = built(ENVOY_GATEWAY)
    [policy] = [one for one in everything if one["kind"] == "EnvoyExtensionPolicy"]
    assert set(policy["spec"]) == {"targetRefs", "wasm"}
    [wasm] = policy["spec"]["wasm"]
    assert set(wasm) <= {"name", "rootID", "code", "config", "failOpen"}
    assert set(wasm["code"]) == {"type", "image"} and wasm["code"]["type"] == "Image"
    assert set(wasm["code"]["image"]) <= {"url", "sha256", "pullSecretRef"}
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump_all(everything))
    done = subprocess.run([str(COMMAND), "validate", str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run([str(COMMAND), "early", str(path)], capture_output=True, text=True, check=True)
    [early] = [one for one in everything if one["kind"] == "ClientTrafficPolicy"]
    assert yaml.safe_load(done.stdout) == early
    [route] = [one for one in everything if one["kind"] == "HTTPRoute"]
    [rollout] = wasm["config"]["rollouts"]
    assert routed(route) == [(f"x-cohort-{rollout['name']}", "canary", "canary"), (None, None, "stable")]
    assert policy["spec"]["targetRefs"][0]["name"] == route["metadata"]["name"]


def test_the_native_module_is_configured_as_the_plugin_is() -> None:
    """And delivered: each proxy knows the library and shows its metrics under their names."""
    [plugin] = documents(MANIFESTS / "plugin" / "wasm-plugin" / "wasm-plugin.yaml")
    [filter_] = documents(MANIFESTS / "native" / "envoy-filter.yaml")
    inserted, added = [one["patch"]["value"] for one in filter_["spec"]["configPatches"]]
    assert inserted["name"] == added["name"]
    typed = added["typed_config"]
    assert inserted["config_discovery"]["type_urls"] == [typed["@type"]]
    assert json.loads(typed["filter_config"]["value"]) == plugin_config(plugin)
    [values] = documents(MANIFESTS / "mesh" / "native-gateway-values.yaml")
    annotations = values["podAnnotations"]
    [mount] = json.loads(annotations["sidecar.istio.io/userVolumeMount"])
    assert Path(typed["dynamic_module_config"]["module"]["local"]["filename"]).parent == Path(mount["mountPath"])
    [wasm] = documents(ENVOY_GATEWAY / "extension-policy.yaml")
    native, proxy = built(ENVOY_GATEWAY / "native")
    [module] = native["spec"].pop("dynamicModule")
    assert module["config"] == wasm["spec"].pop("wasm")[0]["config"]
    assert native == wasm
    [library] = proxy["spec"]["dynamicModules"]
    assert module["name"] == library["name"]
    assert module["filterName"] == typed["filter_name"]
    flag = "envoy.reloadable_features.dynamic_modules_strip_custom_stat_prefix"
    runtime, buckets = proxy["spec"]["bootstrap"]["jsonPatches"]
    assert runtime["path"].rpartition("/")[2] == flag
    assert flag in yaml.safe_load(annotations["proxy.istio.io/config"])["runtimeValues"]
    bootstrap = yaml.safe_load((REPOSITORY / "envoy" / "envoy.yaml").read_text())
    [own], [plain] = buckets["value"], bootstrap["stats_config"]["histogram_bucket_settings"]
    assert own["buckets"] == plain["buckets"]


def test_the_proxies_of_envoy_gateway_have_the_tags_and_buckets_of_plain_envoy() -> None:
    bootstrap = yaml.safe_load((REPOSITORY / "envoy" / "envoy.yaml").read_text())
    [proxy] = documents(ENVOY_GATEWAY / "proxy" / "envoy-proxy.yaml")
    assert yaml.safe_load(proxy["spec"]["bootstrap"]["value"]) == {"stats_config": bootstrap["stats_config"]}
    [istio] = documents(MANIFESTS / "metrics" / "pod-monitor.yaml")
    [gateway] = documents(ENVOY_GATEWAY / "metrics" / "pod-monitor.yaml")
    [one], [other] = istio["spec"]["podMetricsEndpoints"], gateway["spec"]["podMetricsEndpoints"]
    assert one["metricRelabelings"] == other["metricRelabelings"]


@pytest.mark.parametrize("page", ["istio", "istio-failures", "envoy-gateway", "flagger", "argo-rollouts", "native"])
def test_every_path_that_a_page_names_is_there(page: str) -> None:
    text = (REPOSITORY / "docs" / f"{page}.md").read_text()
    named = set(re.findall(r"`((?:istio|envoy|envoy-gateway|tests|docs|plugin)/[A-Za-z0-9_./*-]+)`", text))
    assert named
    for path in named:
        folder = MANIFESTS if path.startswith("plugin/") else REPOSITORY
        assert list(folder.glob(path.rstrip("/"))), path
    for link in re.findall(r"\]\(([a-z-]+\.md)\)", text):
        assert (REPOSITORY / "docs" / link).exists(), link


def test_the_page_shows_flaggers_canary_as_it_is() -> None:
    text = (REPOSITORY / "docs" / "flagger.md").read_text()
    block, *_ = re.findall(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    [canary] = documents(MANIFESTS / "controllers" / "flagger" / "canary.yaml")
    shown = yaml.safe_load(block)["analysis"]
    assert shown == {key: canary["spec"]["analysis"][key] for key in shown}


# --- consistent ------------------------------------------------------------------------------------------


def test_both_kinds_of_plugin_say_the_same() -> None:
    [old] = documents(MANIFESTS / "plugin" / "wasm-plugin" / "wasm-plugin.yaml")
    [new] = documents(MANIFESTS / "plugin" / "traffic-extension" / "traffic-extension.yaml")
    assert as_wasm_plugin(new) == old


def routed(document: Mapping[str, Any]) -> list[tuple[str | None, str | None, str]]:
    """Header, its value and the destination of every route, in order."""
    found: list[tuple[str | None, str | None, str]] = []
    if document["kind"] == "VirtualService":
        for rule in document["spec"]["http"]:
            [[header, value]] = [
                [name, text["exact"]] for match in rule.get("match", []) for name, text in match["headers"].items()
            ] or [[None, None]]
            destinations = [one for one in rule["route"] if one.get("weight", 100)]
            [destination] = destinations
            target = destination["destination"]
            found.append((header, value, target.get("subset") or target["host"].removeprefix("checkout-")))
    elif document["kind"] == "HTTPRoute":
        for rule in document["spec"]["rules"]:
            [[header, value]] = [
                [one["name"], one["value"]] for match in rule.get("matches", []) for one in match["headers"]
            ] or [[None, None]]
            [backend] = rule["backendRefs"]
            found.append((header, value, backend["name"].removeprefix("checkout-")))
    return found


@pytest.mark.parametrize("overlay", overlays())
def test_a_request_without_the_header_goes_to_stable(overlay: Path) -> None:
    routes = [routed(one) for one in built(overlay) if one["kind"] in {"VirtualService", "HTTPRoute"}]
    for route in routes:
        assert route[-1] == (None, None, "stable")
        assert all(header for header, _, _ in route[:-1])
    assert len(routes) == (0 if overlay.name == "flagger" else 1)  # Flagger writes its own


@pytest.mark.parametrize("overlay", overlays())
def test_routes_and_controllers_speak_of_the_rollout_that_the_plugin_has(overlay: Path) -> None:
    everything = built(overlay)
    [plugin] = plugins_of(everything)
    [rollout] = plugin_config(plugin)["rollouts"]
    versions = {version["name"] for version in rollout["versions"]}
    [stable] = [version["name"] for version in rollout["versions"] if "weight" not in version]
    header = f"x-cohort-{rollout['name']}"
    seen = set()
    for document in everything:
        for name, value, destination in routed(document):
            assert (name in {None, header}) and (value is None or value == destination)
            assert destination in versions
        if document["kind"] == "Canary":
            analysis = document["spec"]["analysis"]
            assert analysis["match"] == [{"headers": {header: {"exact": "canary"}}}]
            templates = {one["metadata"]["name"] for one in everything if one["kind"] == "MetricTemplate"}
            assert {metric["templateRef"]["name"] for metric in analysis["metrics"]} == templates
            for metric in analysis["metrics"]:
                variables = metric["templateVariables"]
                assert variables == {"rollout": rollout["name"], "version": "canary", "stable": stable}
            seen.add("canary")
        if document["kind"] == "Rollout":
            strategy = document["spec"]["strategy"]["canary"]
            managed = {route["name"] for route in strategy["trafficRouting"]["managedRoutes"]}
            [step] = [one["setHeaderRoute"] for one in strategy["steps"] if "setHeaderRoute" in one]
            assert step["name"] in managed
            assert step["match"] == [{"headerName": header, "headerValue": {"exact": "canary"}}]
            assert not any("setWeight" in one for one in strategy["steps"])
            seen.add("rollout")
    wanted = {"flagger": {"canary"}, "argo-rollouts": {"rollout"}}.get(overlay.name, set())
    assert seen == wanted


@pytest.mark.parametrize("overlay", overlays())
def test_an_overlay_removes_early_what_the_command_says(overlay: Path, tmp_path: Path) -> None:
    """`istio/early` is what `cohort early` prints, and `cohort validate` of the whole misses nothing."""
    everything = built(overlay)
    path = tmp_path / "rollout.yaml"
    path.write_text(yaml.safe_dump_all(everything))
    done = subprocess.run([str(COMMAND), "early", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    [filter_] = [one for one in everything if one["kind"] == "EnvoyFilter"]
    assert yaml.safe_load(done.stdout) == filter_
    done = subprocess.run([str(COMMAND), "validate", str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    without = [one for one in everything if one["kind"] != "EnvoyFilter"]
    path.write_text(yaml.safe_dump_all(without))
    done = subprocess.run([str(COMMAND), "validate", str(path)], capture_output=True, text=True)
    assert (done.returncode == 0 and "no EnvoyFilter here removes x-cohort-checkout" in done.stderr) or (
        overlay.name == "flagger" and done.stderr == ""  # Flagger makes the route itself
    )


def test_an_overlay_needs_no_operator_for_its_metrics() -> None:
    for overlay in (MANIFESTS / "overlays").iterdir():
        assert not {"PodMonitor", "PrometheusRule"} & {one["kind"] for one in built(overlay)}
    assert {one["kind"] for one in built(MANIFESTS / "metrics")} == {"PodMonitor", "PrometheusRule"}


def test_the_admission_policy_is_the_one_that_the_command_prints() -> None:
    done = subprocess.run([str(COMMAND), "schema", "--admission-policy"], capture_output=True, text=True, check=True)
    assert (MANIFESTS / "admission" / "policy.yaml").read_text() == done.stdout


@pytest.mark.parametrize("overlay", overlays())
def test_each_place_says_which_proxies_run_the_plugin(overlay: Path) -> None:
    [plugin] = plugins_of(built(overlay))
    spec = plugin["spec"]
    assert ("selector" in spec) != ("targetRefs" in spec), "exactly one of the two"
    if overlay.name == "sidecars":
        assert [match["mode"] for match in spec["match"]] == ["CLIENT"]
    else:
        assert "match" not in spec
    gateways = {"ingress-gateway", "gateway-api", "flagger", "argo-rollouts"}
    assert plugin["metadata"]["namespace"] == ("istio-ingress" if overlay.name in gateways else "shop")
    # A gateway meets the world: who is inherited from is decided inside.
    assert ("inherit" in plugin_config(plugin)["rollouts"][0]) == (overlay.name == "sidecars")


@pytest.mark.parametrize("folder", [pytest.param(p, id=str(p.relative_to(MANIFESTS))) for p in kustomizations()])
def test_every_building_block_says_when_to_use_it(folder: Path) -> None:
    text = (folder / "kustomization.yaml").read_text()
    assert text.startswith("# When: ")


def test_every_manifest_belongs_to_a_building_block() -> None:
    named = set()
    for folder in kustomizations():
        [block] = documents(folder / "kustomization.yaml")
        for entry in [*block.get("resources", []), *block.get("components", [])]:
            target = (folder / entry).resolve()
            assert target.exists(), f"{folder}: {entry}"
            named.add(target)
    loose = {
        path for path in MANIFESTS.rglob("*.yaml") if path.name != "kustomization.yaml" and path.parent.name != "mesh"
    }
    assert loose <= named


def test_the_tags_are_the_labels_of_the_metrics_everywhere() -> None:
    """The proxies' tag rules of Istio, of plain Envoy, and the relabelings for proxies without any."""
    bootstrap = yaml.safe_load((REPOSITORY / "envoy" / "envoy.yaml").read_text())
    plain = [tag["tag_name"] for tag in bootstrap["stats_config"]["stats_tags"]]
    [mesh] = documents(MANIFESTS / "mesh" / "istiod-values.yaml")
    [gateway] = documents(MANIFESTS / "mesh" / "gateway-values.yaml")
    [monitor] = documents(MANIFESTS / "metrics" / "pod-monitor.yaml")
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    relabelled = [one["targetLabel"] for one in endpoint["metricRelabelings"] if "targetLabel" in one]
    assert mesh["meshConfig"]["defaultConfig"]["extraStatTags"] == plain
    assert gateway["podAnnotations"]["sidecar.istio.io/extraStatTags"].split(",") == plain
    assert relabelled == [*plain, "__name__"]


# --- alerts ----------------------------------------------------------------------------------------------


def promtool() -> str:
    return tool("promtool")


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    [document] = documents(MANIFESTS / "metrics" / "prometheus-rule.yaml")
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(document["spec"], sort_keys=False))
    return path


def test_prometheus_takes_the_rules(rules: Path) -> None:
    done = subprocess.run([promtool(), "check", "rules", str(rules)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


#: What each alert needs to fire, after that many minutes, and the labels it fires with.
FIRING = {
    "CohortConfigInvalid": (
        {'cohort_config_invalid{namespace="istio-ingress",pod="gw-1",instance="a:1"}': "1x20"},
        5,
        [{"namespace": "istio-ingress", "pod": "gw-1", "instance": "a:1", "severity": "critical"}],
    ),
    "CohortConfigRejected": (
        {
            'cohort_config_rejected_total{namespace="shop",pod="a",instance="a:1",plugin="shop.cohort"}': "0x9 1x20",
            'cohort_config_rejected_total{namespace="shop",pod="b",instance="b:1",plugin="shop.cohort"}': "_x9 1x20",
            'cohort_config_rejected_total{namespace="shop",pod="c",instance="c:1",plugin="shop.cohort"}': "2x30",
        },
        12,
        [
            {"namespace": "shop", "pod": pod, "instance": f"{pod}:1", "plugin": "shop.cohort", "severity": "warning"}
            for pod in ("a", "b")
        ],
    ),
    "CohortMissing": ({}, 10, [{"severity": "critical"}]),
    "CohortMissingOnProxy": (
        {
            'cohort_config_invalid{namespace="istio-ingress",pod="gw-7d4f-abcde"}': "0x20",
            'up{job="istio-system/cohort",namespace="istio-ingress",pod="gw-7d4f-abcde"}': "1x20",
            'up{job="istio-system/cohort",namespace="istio-ingress",pod="gw-7d4f-fghij"}': "1x20",
            # Of a workload that never had it, and one that cannot be asked.
            'up{job="istio-system/cohort",namespace="istio-ingress",pod="other-77-abcde"}': "1x20",
            'up{job="istio-system/cohort",namespace="istio-ingress",pod="gw-7d4f-klmno"}': "0x20",
        },
        10,
        [
            {
                "job": "istio-system/cohort",
                "namespace": "istio-ingress",
                "pod": "gw-7d4f-fghij",
                "workload": "gw",
                "severity": "critical",
            }
        ],
    ),
    "CohortConfigRejectedByProxies": (
        {'pilot_total_xds_rejects{type="ecds"}': "0x2 1x20"},
        5,
        [{"severity": "warning"}],
    ),
    "CohortVersionFailing": (
        {
            'cohort_responses_total{rollout="r",rollout_version="canary",code_class="2xx"}': "0+90x20",
            'cohort_responses_total{rollout="r",rollout_version="canary",code_class="5xx"}': "0+10x20",
            'cohort_failures_total{rollout="r",rollout_version="canary"}': "0+10x20",
            'cohort_responses_total{rollout="r",rollout_version="stable",code_class="2xx"}': "0+900x20",
            'cohort_failures_total{rollout="r",rollout_version="stable"}': "0+9x20",
        },
        10,
        [{"rollout": "r", "rollout_version": "canary", "severity": "warning"}],
    ),
    "CohortVersionHeldOut": (
        {
            'cohort_version_held_out{rollout="r",rollout_version="canary",pod="a"}': "0x20",
            'cohort_version_held_out{rollout="r",rollout_version="canary",pod="b"}': "1x20",
        },
        5,
        [{"rollout": "r", "rollout_version": "canary", "severity": "warning"}],
    ),
    "CohortGuardTripped": (
        {'cohort_guard_trips_total{rollout="r",rollout_version="canary",cause="failures"}': "0x2 1x20"},
        5,
        [{"rollout": "r", "rollout_version": "canary", "cause": "failures", "severity": "info"}],
    ),
    "CohortShareOffWeight": (
        {
            'cohort_requests_total{rollout="r",rollout_version="canary",reason="HASH"}': "0+120x30",
            'cohort_requests_total{rollout="r",rollout_version="stable",reason="HASH"}': "0+880x30",
            'cohort_version_weight{rollout="r",rollout_version="canary"}': "5000x30",
            'cohort_version_weight{rollout="r",rollout_version="stable"}': "95000x30",
        },
        20,
        [{"rollout": "r", "rollout_version": version, "severity": "warning"} for version in ("canary", "stable")],
    ),
    "CohortProxiesDisagree": (
        {
            'cohort_version_weight{rollout="r",rollout_version="canary",pod="a"}': "5000x30",
            'cohort_version_weight{rollout="r",rollout_version="canary",pod="b"}': "25000x30",
            'cohort_version_held_out{rollout="r",rollout_version="canary",pod="a"}': "0x30",
        },
        15,
        [{"rollout": "r", "rollout_version": "canary", "severity": "warning"}],
    ),
}

#: A proxy in good order: nothing fires.
HEALTHY = {
    'cohort_config_invalid{namespace="istio-ingress",pod="gw-1"}': "0x30",
    'up{job="istio-system/cohort",namespace="istio-ingress",pod="gw-1"}': "1x30",
    'up{job="istio-system/cohort",namespace="shop",pod="cart-1-2"}': "1x30",
    'cohort_config_rejected_total{namespace="istio-ingress",pod="gw-1"}': "4x30",
    'pilot_total_xds_rejects{type="ecds"}': "4x30",
    'pilot_total_xds_rejects{type="lds"}': "0+1x30",
    'cohort_responses_total{rollout="r",rollout_version="canary",code_class="2xx"}': "0+100x30",
    'cohort_failures_total{rollout="r",rollout_version="canary"}': "0+1x30",
    'cohort_version_held_out{rollout="r",rollout_version="canary"}': "0x30",
    'cohort_version_weight{rollout="r",rollout_version="canary",pod="a"}': "5000x30",
    'cohort_version_weight{rollout="r",rollout_version="canary",pod="b"}': "5000x30",
    'cohort_requests_total{rollout="r",rollout_version="canary",reason="HASH"}': "0+100x30",
    'cohort_requests_total{rollout="r",rollout_version="canary",reason="OVERRIDE"}': "0+1000x30",
    'cohort_requests_total{rollout="r",rollout_version="stable",reason="HASH"}': "0+1900x30",
    'cohort_guard_trips_total{rollout="r",rollout_version="canary",cause="failures"}': "3x30",
}

#: Much went wrong, but of ten answers only: too few to say.
FEW = {
    'cohort_responses_total{rollout="r",rollout_version="canary",code_class="5xx"}': "0+2x30",
    'cohort_failures_total{rollout="r",rollout_version="canary"}': "0+2x30",
}

#: One proxy holds the version out, and so has another weight in force.
HELD = {
    'cohort_version_weight{rollout="r",rollout_version="canary",pod="a"}': "0x30",
    'cohort_version_weight{rollout="r",rollout_version="canary",pod="b"}': "5000x30",
    'cohort_version_held_out{rollout="r",rollout_version="canary",pod="a"}': "1x30",
    'cohort_version_held_out{rollout="r",rollout_version="canary",pod="b"}': "0x30",
}


def rule_test(rules: Path, series: Mapping[str, str], minutes: int, alerts: Mapping[str, Any]) -> None:
    """Holds that exactly these alerts fire."""
    test = {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {
                        "eval_time": f"{minutes}m",
                        "alertname": name,
                        "exp_alerts": [{"exp_labels": labels} for labels in expected],
                    }
                    for name, expected in alerts.items()
                ],
            }
        ],
    }
    # promtool compares annotations too; what is under test is which alerts fire, and with which labels.
    bare = yaml.safe_load(rules.read_text())
    for group in bare["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations", None)
    rules.write_text(yaml.safe_dump(bare, sort_keys=False))
    path = rules.with_name("test.yaml")
    path.write_text(yaml.safe_dump(test, sort_keys=False))
    done = subprocess.run([promtool(), "test", "rules", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test() -> None:
    [document] = documents(MANIFESTS / "metrics" / "prometheus-rule.yaml")
    alerts = {rule["alert"] for group in document["spec"]["groups"] for rule in group["rules"] if "alert" in rule}
    assert alerts == set(FIRING)


@pytest.mark.parametrize("alert", FIRING)
def test_an_alert_fires_when_it_should(rules: Path, alert: str) -> None:
    series, minutes, expected = FIRING[alert]
    rule_test(rules, series, minutes, {alert: expected})


@pytest.mark.parametrize("alert", FIRING)
def test_no_alert_fires_over_a_mesh_in_good_order(rules: Path, alert: str) -> None:
    rule_test(rules, HEALTHY, 25, {alert: []})


def test_few_answers_are_no_reason_to_wake_anybody(rules: Path) -> None:
    rule_test(rules, FEW, 25, {"CohortVersionFailing": []})


def test_proxies_may_disagree_while_one_holds_a_version_out(rules: Path) -> None:
    rule_test(
        rules,
        HELD,
        25,
        {
            "CohortProxiesDisagree": [],
            "CohortVersionHeldOut": [{"rollout": "r", "rollout_version": "canary", "severity": "warning"}],
        },
    )
