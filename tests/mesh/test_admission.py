"""The admission policy on a real API server: what `validate` refuses is refused by `kubectl apply`."""

from __future__ import annotations

import copy
import json
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import Reader
from kube import Kube, Refused
from lab.until import until
from mesh import kinds
from programs import REPOSITORY, module_folder
from shop import COHORT, Manifests

FULL = REPOSITORY / "tests" / "cases" / "full.json"
MUTATIONS = REPOSITORY / "target" / "mutations.jsonl"

#: Kinds of mistakes that CEL cannot see, by what the message of `validate` says.
BEYOND = [
    # YAML and JSON readers keep the last of two equal keys: Kubernetes never sees the first.
    "found a duplicate key",
    "a regular expression of at most 1000 characters",
    "an instant in RFC 3339",
    "a host without a port",
    "a path that starts with /",
    "an address or a network in CIDR notation",
    "that neither HTTP nor the proxy needs for itself",
    "a header of its own",
    "a cookie of its own",
]

PLURAL = {
    "WasmPlugin": "wasmplugins",
    "TrafficExtension": "trafficextensions",
    "EnvoyExtensionPolicy": "envoyextensionpolicies",
}


def plugin(config: Any, kind: str = "WasmPlugin", name: str = "tried") -> dict[str, Any]:
    url = "oci://registry.example.com/cohort:0.1.0"
    spec: dict[str, Any] = {"url": url, "pluginConfig": config}
    return {
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"wasm": spec} if kind == "TrafficExtension" else spec,
    }


async def tried(kube: Kube, document: dict[str, Any]) -> str | None:
    """Why the API server refuses a resource, in a dry run; `None` if it takes it."""
    path = f"apis/{document['apiVersion']}/namespaces/shop/{PLURAL[document['kind']]}"
    try:
        await kube.ask("POST", f"{path}?dryRun=All", document)
    except Refused as refused:
        return str(refused)
    return None


@pytest.fixture(scope="module")
async def policy(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kube]:
    await kinds(kube)
    folder = tmp_path_factory.mktemp("admission")
    await Reader(folder, kube.config, kube.config).follow("istio.md", "kubectl apply --server-side -k istio/admission")
    told = json.loads(await kube.kubectl("get", "validatingadmissionpolicy", "cohort", "-o", "json"))
    assert not told.get("status", {}).get("typeChecking", {}).get("expressionWarnings"), told["status"]
    await in_force(kube)
    yield kube
    await kube.kubectl("delete", "-k", str(REPOSITORY / "istio" / "admission"), "--ignore-not-found")


async def in_force(kube: Kube) -> None:
    """The policy is that a moment after the API server has taken it."""
    bad = plugin({"rollouts": 7})
    await until(lambda: tried(kube, bad), "the policy in force", timeout=30, every=0.2)


def mutations() -> list[dict[str, str]]:
    """The documents of tests/mutations, which `make test-mesh` has it write."""
    return [json.loads(line) for line in MUTATIONS.read_text().splitlines()]


def complaint(document: Any, folder: Path) -> str:
    """What `validate` says of it."""
    path = folder / "tried.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return subprocess.run([str(COHORT), "validate", str(path)], capture_output=True, text=True).stderr


async def test_every_mistake_of_the_tests_is_refused_or_known_to_be_beyond_cel(policy: Kube, tmp_path: Path) -> None:
    count: Counter[str] = Counter()
    passed = []
    for mutation in mutations():
        config = json.loads(mutation["document"])
        why = await tried(policy, plugin(config))
        if why is None:
            said = complaint(mutation["document"], tmp_path)
            if not any(words in said for words in BEYOND):
                passed.append((mutation["kind"], mutation["path"], said.strip()))
            count["beyond CEL"] += 1
        else:
            assert "ValidatingAdmissionPolicy 'cohort'" in why, why
            count["in our words" if "allowed: " in why else "by an error of an expression"] += 1
            if "allowed: " not in why:
                passed.append((mutation["kind"], mutation["path"], why))
    print(f"\n== admission: of {sum(count.values())} mistakes {dict(count)}")
    assert not passed, f"{len(passed)}: " + "\n".join(map(str, passed[:40]))
    assert count["in our words"] > 300


def good() -> list[tuple[str, Any]]:
    """Everything in the repository that `validate` takes."""
    found = [(str(path), json.loads(path.read_text())) for path in sorted((REPOSITORY / "examples").glob("*.json"))]
    found += [(str(path), json.loads(path.read_text())) for path in (FULL, FULL.with_name("minimal.json"))]
    for kind in ("wasm-plugin", "traffic-extension"):
        one = yaml.safe_load((REPOSITORY / "istio" / "plugin" / kind / f"{kind}.yaml").read_text())
        found.append((kind, one["spec"].get("pluginConfig") or one["spec"]["wasm"]["pluginConfig"]))
    return found


async def test_nothing_that_is_good_is_refused(policy: Kube, tmp_path: Path) -> None:
    tests = good()
    weights = [0, 5, 12.5, 0.001, 99.999, 33.333, 100, 50.0]
    base = json.loads(FULL.with_name("minimal.json").read_text())
    for weight in weights:
        one = copy.deepcopy(base)
        one["rollouts"][0]["versions"][1]["weight"] = weight
        tests.append((f"weight {weight}", one))
    tests.append(("nothing", {"rollouts": []}))
    many = {"rollouts": [{**base["rollouts"][0], "name": f"r{number}"} for number in range(100)]}
    tests.append(("a hundred rollouts", many))
    for name, config in tests:
        assert complaint(config, tmp_path).count(": found ") == 0, name
        for kind in ("WasmPlugin", "TrafficExtension"):
            assert await tried(policy, plugin(config, kind)) is None, name


async def test_other_peoples_plugins_pass(policy: Kube) -> None:
    others = [None, {}, {"limit": 1}, {"rules": [1, 2]}, {"roll": "outs"}]
    for config in others:
        for kind in ("WasmPlugin", "TrafficExtension"):
            one = plugin(config, kind)
            spec = one["spec"]["wasm"] if kind == "TrafficExtension" else one["spec"]
            spec["url"] = "oci://registry.example.com/team/limiter:3"
            if config is None:
                del spec["pluginConfig"]
            assert await tried(policy, one) is None, (kind, config)
    lua = plugin({}, "TrafficExtension")
    lua["spec"] = {"lua": {"inlineCode": "function envoy_on_request(handle) end"}}
    assert await tried(policy, lua) is None


async def test_envoy_gateways_policies_too(policy: Kube) -> None:
    gateway = module_folder("envoy-gateway", "github.com/envoyproxy/gateway")
    kinds_of_it = gateway / "charts/gateway-helm/charts/crds/crds/generated"
    await policy.crds(kinds_of_it / "gateway.envoyproxy.io_envoyextensionpolicies.yaml")
    for folder, key in (("envoy-gateway", "wasm"), ("envoy-gateway/native", "dynamicModule")):
        good = yaml.safe_load((REPOSITORY / folder / "extension-policy.yaml").read_text())
        assert await tried(policy, good) is None
        bad = copy.deepcopy(good)
        bad["spec"][key][0]["config"]["rollouts"][0]["versions"][1]["weight"] = 180

        async def refused(bad: Any = bad) -> str | None:
            """The API server takes up a new kind's name a moment later."""
            return await tried(policy, bad)

        said = await until(refused, "a weight of 180 refused", timeout=30, every=0.2)
        assert "$.rollouts[*].versions[*].weight: allowed: a percentage from 0 to 100" in said, said
        other = copy.deepcopy(good)
        [filter_] = other["spec"][key]
        filter_["config"] = {"limit": 180}
        if key == "wasm":
            filter_["code"]["image"]["url"] = "registry.example.com/team/limiter:3"
        else:
            filter_["filterName"] = "limiter"
        assert await tried(policy, other) is None


async def test_ours_without_a_configuration_is_refused(policy: Kube) -> None:
    one = plugin({})
    del one["spec"]["pluginConfig"]
    assert "$: found nothing" in (await tried(policy, one) or "")


async def test_kubectl_says_why_and_what_was_bad_before_may_still_get_a_label(policy: Kube, tmp_path: Path) -> None:
    manifests = Manifests(tmp_path)
    manifests.set(180)
    with pytest.raises(
        Refused, match=r"\$\.rollouts\[\*\]\.versions\[\*\]\.weight: allowed: a percentage from 0 to 100"
    ):
        await policy.kubectl("apply", "-f", str(manifests.plugin()))
    await policy.kubectl("delete", "validatingadmissionpolicybinding", "cohort")

    async def taken() -> bool:
        try:
            await policy.kubectl("apply", "-f", str(manifests.plugin()))
        except Refused:
            return False
        return True

    await until(taken, "the binding out of force", timeout=30, every=0.2)
    await policy.kubectl("apply", "--server-side", "-k", str(REPOSITORY / "istio" / "admission"))
    await in_force(policy)
    await policy.kubectl("label", "wasmplugin", "cohort", "-n", "shop", "seen=yes")
    await policy.kubectl("delete", "wasmplugin", "cohort", "-n", "shop")
