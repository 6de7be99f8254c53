"""The README's snippet for Envoy runs as it stands: only ports, addresses and the path of the module are replaced."""

from __future__ import annotations

import re
from typing import Any

import yaml
from conftest import Launch
from lab import arithmetic, bootstrap
from lab.client import ask, users
from lab.envoy import REPOSITORY
from lab.service import Service
from lab.wire import get


def snippets() -> tuple[dict[str, Any], dict[str, Any]]:
    """What the README puts into the connection manager, and into the bootstrap."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    found = [yaml.safe_load(block) for block in blocks if "kind:" not in block]
    manager = next(one for one in found if "http_filters" in one)
    return manager, next(one for one in found if "stats_config" in one)


async def test_the_snippet_decides_counts_with_labels_and_lets_nobody_choose(
    launch: Launch, v1: Service, v2: Service
) -> None:
    manager, below = snippets()
    plugin = manager["http_filters"][0]["typed_config"]["config"]
    rollout = yaml.safe_load(plugin["configuration"]["value"])["rollouts"][0]

    def as_in_the_readme(boot: dict[str, Any]) -> None:
        http = bootstrap.connection_manager(boot)
        for key in ("early_header_mutation_extensions", "route_config"):
            http[key] = manager[key]
        boot["stats_config"] = below["stats_config"]

    def plugin_as_in_the_readme(file: dict[str, Any]) -> None:
        code = bootstrap.wasm(file)["vm_config"]["code"]
        file["resources"][0]["typed_config"]["config"] = {
            **plugin,
            "vm_config": {**plugin["vm_config"], "code": code},
        }

    proxy = await launch(edit=as_in_the_readme, edit_filter=plugin_as_in_the_readme)
    people = users(400)
    wanted = arithmetic.versions(rollout, people)
    assert set(wanted.values()) == {"stable", "canary"}, "a weight with a fraction is in force"
    answers = await ask(proxy.url, people)
    served = {"stable": "checkout-v1", "canary": "checkout-v2"}
    assert {user: answer.served_by for user, answer in answers.items()} == {
        user: served[version] for user, version in wanted.items()
    }
    stable = next(user for user, version in wanted.items() if version == "stable")
    reply = await get(proxy.address, headers=[("x-user-id", stable), ("x-cohort-checkout", "canary")])
    assert reply.one("x-served-by") == "checkout-v1", "a client's own header chooses nothing"
    metrics = await proxy.metrics_when(
        lambda m: m.sum("cohort_requests_total", rollout="checkout") == len(people) + 1, "every request counted"
    )
    by_version = metrics.by("rollout_version", "cohort_requests_total", plugin="cohort", reason="HASH")
    assert by_version == {name: [*wanted.values(), "stable"].count(name) for name in served}
