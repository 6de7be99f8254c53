"""The overlay `ingress-gateway`, as docs/istio.md installs it, on a real control plane."""

from __future__ import annotations

import json
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
import yaml
from answers import as_recorded, concerning
from hosts import CONTROL, run
from installed import TAGS, Shop
from lab.client import Load, ask, users
from lab.until import until
from mesh import Agent
from programs import REPOSITORY
from scrape import Prometheus, operators_kinds, series, total
from shop import FORGED, SHOP, everybody, reached, served


async def test_steps_1_to_3_both_versions_run_and_the_configuration_is_good(shop: Shop) -> None:
    listed = await shop.reader.follow("istio.md", "kubectl -n shop get pods")
    assert [line.split()[-1] for line in listed.splitlines()[1:]] == ["v1", "v2"], listed
    await shop.reader.follow("istio.md", "kubectl kustomize istio/overlays/ingress-gateway")
    said = await shop.reader.follow("istio.md", "target/release/cohort validate")
    assert said.strip().endswith("good, 1 rollout: checkout"), said


async def test_the_early_removal_of_the_overlay_is_what_the_command_prints(shop: Shop) -> None:
    await shop.reader.follow("istio.md", "target/release/cohort early")
    path = "istio/early/ingress-gateway/envoy-filter.yaml"
    made, kept = [yaml.safe_load((folder / path).read_text()) for folder in (shop.folder, REPOSITORY)]
    assert made == kept


async def test_step_4_applied_and_nobody_moves(shop: Shop) -> None:
    """At weight 0, as the manifest has it."""
    assert set((await everybody(shop.url, 400)).values()) == {"stable"}
    assert any("rollout" in line and "in force" in line for line in shop.gateway.filter_log()), (
        shop.gateway.filter_log()
    )


async def test_step_5_every_user_gets_what_simulate_says(shop: Shop) -> None:
    shop.manifests.set(5)
    await shop.apply()
    await shop.settle()
    got = await everybody(shop.url)
    share = sum(version == "canary" for version in got.values()) / len(got)
    print(f"\n== ingress gateway: {share:.2%} canary of {len(got)} users")
    assert got == shop.wanted()


async def test_fractions_reach_the_filter_as_they_were_written(shop: Shop) -> None:
    """The API server and istiod keep `pluginConfig` as a Struct, whose numbers are doubles."""
    change = [{"op": "replace", "path": "/spec/pluginConfig/rollouts/0/guard/maxFailureRatio", "value": 0.2}]
    await shop.kube.patch("WasmPlugin", "cohort", change, "istio-ingress")
    await shop.weight(0.5)
    await shop.settle(2000)
    got = await everybody(shop.url)
    print(f"\n== weight 0.5 through istiod: {list(got.values()).count('canary')} of {len(got)} users canary")
    assert set(got.values()) == {"stable", "canary"}
    url = "127.0.0.1:15000/config_dump?resource=ecds_filters"
    [ecds] = json.loads(run(*shop.gateway.host.argv(["curl", "--silent", "--fail", url])))["configs"]
    config = json.loads(ecds["ecds_filter"]["typed_config"]["config"]["configuration"]["value"])
    [rollout] = config["rollouts"]
    assert (rollout["guard"]["maxFailureRatio"], rollout["versions"][1]["weight"]) == (0.2, 0.5)
    assert total(await shop.gateway.stats(), "cohort_config_invalid") == 0
    change[0]["value"] = 0.05
    await shop.kube.patch("WasmPlugin", "cohort", change, "istio-ingress")
    await shop.weight(5)
    await shop.settle()


async def test_istiod_sends_what_was_recorded(shop: Shop) -> None:
    """So that `make test`, which plays the record to an Envoy, still tests what istiod sends."""
    as_recorded("ingress-gateway", concerning(await shop.mesh.sent(shop.gateway)))


async def test_a_forged_header_is_worth_nothing(shop: Shop) -> None:
    wanted = shop.wanted(200)
    assert await everybody(shop.url, 200, **FORGED) == wanted


async def test_weights_and_an_image_change_under_load_and_nothing_is_lost(shop: Shop, record_property: Any) -> None:
    waits = []
    async with Load(shop.url, users(300), rate=100, headers=SHOP) as load:
        for weight in (20, 50, 80):
            began = time.monotonic()
            await shop.weight(weight)
            await shop.settle()
            waits.append(time.monotonic() - began)
        # The same module as an artifact, then another one: both forms of the image are pulled.
        for url in (shop.mesh.push("0.1.1", "artifact"), shop.mesh.another("0.1.2")):
            asked = f"tag {url.rpartition(':')[2]}"
            await shop.kube.patch("WasmPlugin", "cohort", {"spec": {"url": url}}, "istio-ingress")
            await until(
                lambda asked=asked: asked in shop.gateway.log.read_text(), f"the agent fetches {asked}", timeout=30
            )
        new = lambda: in_force_after(shop, asked)  # noqa: E731
        await until(new, "the other module in force", timeout=30, every=0.2)
        await load.more(200, "the load going on", timeout=30)
    moves: dict[str, int] = {}
    last: dict[str, str | None] = {}
    for _, answer in load.heard:
        if answer.user in last and last[answer.user] != answer.served_by:
            moves[answer.user] = moves.get(answer.user, 0) + 1
        last[answer.user] = answer.served_by
    print(
        f"\n== {load.answered} requests over three weights and an image, {load.failed} lost; decided anew after {waits}"
    )
    assert load.failures == []
    assert max(moves.values()) == 1, "each user changed version at most once"


async def test_istiod_and_registry_go_and_come_back_unseen(shop: Shop) -> None:
    wanted = shop.wanted(300)
    async with Load(shop.url, users(300), rate=100, headers=SHOP) as load:
        await shop.kube.stop("istiod")
        await shop.kube.stop("docker-registry")
        await load.more(200, "the load going on without them", timeout=30)
        await shop.mesh.start_istiod()
        await shop.mesh.start_registry()
        await load.more(200, "the load going on with them", timeout=30)
    assert load.failures == []
    assert await everybody(shop.url, 300) == wanted
    # And it is heard again.
    await shop.weight(5)
    await shop.settle()


async def test_a_refused_configuration_changes_nothing_and_is_counted(shop: Shop) -> None:
    wanted = shop.wanted(300)
    before = await shop.mesh.istiod_metric("pilot_total_xds_rejects", type="ecds")
    rejected = total(await shop.gateway.stats(), "cohort_config_rejected_total")
    bad = [{"op": "replace", "path": "/spec/pluginConfig/rollouts/0/versions/1/weight", "value": 180}]
    await shop.kube.patch("WasmPlugin", "cohort", bad, "istio-ingress")

    async def refused() -> bool:
        return await shop.mesh.istiod_metric("pilot_total_xds_rejects", type="ecds") > before

    await until(refused, "istiod hears of it", timeout=30, every=0.2)
    assert any("$.rollouts[0].versions[1].weight: found 180" in line for line in shop.gateway.filter_log())
    assert await everybody(shop.url, 300) == wanted
    text = await shop.gateway.stats()
    assert total(text, "cohort_config_invalid") == 0
    assert total(text, "cohort_config_rejected_total") > rejected
    await shop.weight(5)
    await shop.settle()


def in_force_after(shop: Shop, words: str) -> bool:
    """Whether a configuration has come into force since the log had these words."""
    return "in force" in shop.gateway.log.read_text(errors="replace").rpartition(words)[2]


async def test_a_proxy_with_the_tags_has_real_labels(shop: Shop) -> None:
    by_request = await shop.gateway.by_request()
    for text in (await shop.gateway.stats(), by_request):
        found = {
            (one["rollout"], one["rollout_version"], one["reason"]) for one, _ in series(text, "cohort_requests_total")
        }
        assert ("checkout", "canary", "HASH") in found
        # Whatever Istio calls the plugin's kind inside the proxy.
        assert {one["plugin"] for one, _ in series(text, "cohort_requests_total")} == {"istio-ingress.cohort"}


async def test_without_the_tags_the_names_have_the_labels(shop: Shop) -> None:
    bare = Agent(shop.mesh, "gw-7d4f-bbbbb", "istio-ingress", "router", {"istio": "ingressgateway"})
    async with bare:
        await reached(f"http://{bare.address}:8080")
        await everybody(f"http://{bare.address}:8080", 50)
        words = "rollout___checkout___rollout_version___stable___reason___HASH___"

        async def there() -> bool:
            return words in await bare.stats()

        await until(there, "a name with the labels in it", timeout=20, every=0.2)


async def test_step_7_the_operators_kinds_take_the_metrics(shop: Shop) -> None:
    """And without them `kubectl` says what is missing, as the table of symptoms has it."""
    with pytest.raises(AssertionError, match='no matches for kind "PodMonitor"'):
        await shop.reader.follow("istio.md", "kubectl apply -k istio/metrics")
    async with operators_kinds(shop.kube):
        await shop.reader.follow("istio.md", "kubectl apply -k istio/metrics")


async def test_authorization_sees_the_version_that_was_chosen(shop: Shop) -> None:
    """Phase AUTHN, as in the manifests: what is checked is what is routed."""
    wanted = shop.wanted(300)
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "no-canary", "namespace": "istio-ingress"},
        "spec": {
            "selector": {"matchLabels": {"istio": "ingressgateway"}},
            "action": "DENY",
            "rules": [{"when": [{"key": "request.headers[x-cohort-checkout]", "values": ["canary"]}]}],
        },
    }
    await shop.kube.apply(policy)
    try:

        async def denied() -> bool:
            answers = await ask(shop.url, users(300), headers=SHOP)
            return {user: one.status for user, one in answers.items()} == {
                user: 403 if version == "canary" else 200 for user, version in wanted.items()
            }

        await until(denied, "exactly the canary's users denied", timeout=30, every=0.2)
        # A client's own header changes nothing about it, either way.
        for value in ("stable", "canary"):
            forged = await ask(shop.url, users(300), headers={**SHOP, "x-cohort-checkout": value})
            assert sum(one.status == 403 for one in forged.values()) == list(wanted.values()).count("canary")
    finally:
        await shop.kube.kubectl("delete", "authorizationpolicy", "no-canary", "-n", "istio-ingress")
    await reached(shop.url)


async def test_somebody_elses_plugin_beside_ours(shop: Shop) -> None:
    """The same module under another name and with nothing to do: two plugins of one proxy, two series."""
    beside = {
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": "WasmPlugin",
        "metadata": {"name": "other", "namespace": "istio-ingress"},
        "spec": {
            "selector": {"matchLabels": {"istio": "ingressgateway"}},
            "url": shop.mesh.push("0.1.0"),
            "phase": "AUTHN",
            "priority": 10,
            "failStrategy": "FAIL_OPEN",
            "pluginConfig": {"rollouts": []},
        },
    }
    wanted = shop.wanted(300)
    await shop.kube.apply(beside)
    try:

        async def both() -> bool:
            found = series(await shop.gateway.stats(), "cohort_config_invalid")
            return {one["plugin"] for one, _ in found} >= {"istio-ingress.cohort", "istio-ingress.other"}

        await until(both, "both plugins in the proxy", timeout=30, every=0.2)
        assert await everybody(shop.url, 300) == wanted
    finally:
        await shop.kube.kubectl("delete", "wasmplugin", "other", "-n", "istio-ingress")


async def test_a_canary_that_breaks_is_out_and_again_after_a_change_of_its_weight(shop: Shop) -> None:
    """A changed weight is a changed rollout, which the guard tries anew (docs/guard.md)."""
    await shop.weight(50)
    await shop.settle()
    await shop.v2.behave(failure_ratio=1.0)
    try:
        async with Load(shop.url, users(300), rate=90, headers=SHOP) as load:
            for weight in (50, 60):
                if weight == 60:
                    await shop.weight(weight)
                failed, asked = load.failed, load.answered
                await until(lambda failed=failed: load.failed > failed, "the broken canary is met", timeout=30)
                await until(lambda: out(shop.gateway), "the canary held out", timeout=60, every=0.2)
                # Each worker follows within a second; then nobody meets it.
                quiet = lambda: load.failures[-1][0] < load.elapsed - 3  # noqa: E731
                await until(quiet, "nobody meets the canary", timeout=30, every=0.1)
                cost = load.failed - failed
                print(f"\n== a broken canary at weight {weight} cost {cost} of {load.answered - asked} requests")
                # How many is a matter of how busy the machine is; that it ends is the guard's.
                assert cost > 0
        assert set((await everybody(shop.url, 300)).values()) == {"stable"}
    finally:
        await shop.v2.behave(failure_ratio=0.0)


async def out(agent: Agent) -> bool:
    found = series(await agent.stats(), "cohort_version_held_out")
    return any(value == 1 for one, value in found if one.get("rollout_version") == "canary")


async def test_the_module_out_of_reach_leaves_no_door_open(shop: Shop) -> None:
    """A pod that starts while the registry is away: FAIL_OPEN lets everything pass, and says that it is ready."""
    await shop.weight(50)
    late = Agent(shop.mesh, "gw-7d4f-ccccc", "istio-ingress", "router", {"istio": "ingressgateway"}, tags=TAGS)
    agents = [shop.gateway, late]
    try:
        async with Prometheus(shop.folder, agents, (f"{CONTROL}:15014",)) as prometheus, AsyncExitStack() as stack:
            seen = lambda: prometheus.query("cohort_config_invalid")  # noqa: E731
            await until(seen, "Prometheus knows that the workload has the plugin", timeout=30, every=0.2)
            url = shop.mesh.another("0.1.3")
            await shop.kube.patch("WasmPlugin", "cohort", {"spec": {"url": url}}, "istio-ingress")
            await shop.kube.stop("docker-registry")
            await stack.enter_async_context(late)
            url = f"http://{late.address}:8080"
            await reached(url)
            assert total(await late.stats(), "cohort_config_invalid") == 0
            assert "cohort_config_invalid" not in await late.stats()
            forged = {"x-cohort-checkout": "canary"}
            got = served(await ask(url, users(50), headers={**SHOP, **forged}))
            assert set(got.values()) == {"stable"}, "the early removal is not there"

            async def alerted() -> bool:
                return "CohortMissingOnProxy" in await prometheus.alerts()

            await until(alerted, "the alert on a proxy without Cohort", timeout=30, every=0.5)
            # What closes the door is the early removal, and nothing else: without it, the header decides.
            await shop.kube.kubectl("delete", "envoyfilter", "cohort-early", "-n", "istio-ingress")

            async def open_door() -> bool:
                return set((await everybody(url, 20, **forged)).values()) == {"canary"}

            await until(open_door, "the header decides without the early removal", timeout=20, every=0.2)
            await shop.kube.kubectl(
                "apply", "-f", str(shop.manifests.folder / "early/ingress-gateway/envoy-filter.yaml")
            )
            await shop.mesh.start_registry()
            # The agent asks again when istiod sends the plugin again: any change does.
            await shop.reader.follow("istio-failures.md", "kubectl -n istio-ingress annotate wasmplugin")

            async def back() -> bool:
                return "cohort_config_invalid" in await late.stats()

            await until(back, "the plugin in the late proxy", timeout=60, every=0.2)
    finally:
        if "docker-registry" not in shop.kube.processes:
            await shop.mesh.start_registry()


async def test_removing_it_as_the_document_says(shop: Shop) -> None:
    """Weights to 0, the plugin, the routes' first rule, the early removal: nobody loses an answer, no door opens."""
    await shop.weight(0)
    await shop.settle()
    async with Load(shop.url, users(300), rate=60, headers={**SHOP, **FORGED}) as load:
        steps = (
            ("istio.md", "kubectl -n istio-ingress delete wasmplugin", lambda: gone_from(shop.gateway)),
            ("istio.md", "kubectl -n shop patch virtualservice", lambda: one_rule(shop)),
            ("istio.md", "kubectl -n istio-ingress delete envoyfilter", lambda: not_removing(shop)),
        )
        for page, command, done in steps:
            await shop.reader.follow(page, command)
            await until(done, f"in force at the gateway: {command}", timeout=30, every=0.2)
            await load.more(60, "the load going on", timeout=30)
    assert load.failures == []
    assert set(load.by_service) == {"checkout-stable"}


async def gone_from(agent: Agent) -> bool:
    """Whether no listener that Envoy has in force has the plugin."""
    url = "127.0.0.1:15000/config_dump?resource=dynamic_listeners"
    dump = json.loads(run(*agent.host.argv(["curl", "--silent", "--fail", url])))
    listeners = [one["active_state"]["listener"] for one in dump["configs"]]
    return len(listeners) > 0 and "istio-ingress.cohort" not in json.dumps(listeners)


async def one_rule(shop: Shop) -> bool:
    return "x-cohort-checkout" not in json.dumps(concerning(await shop.mesh.sent(shop.gateway))["routes"])


async def not_removing(shop: Shop) -> bool:
    return "x-cohort-checkout" not in json.dumps(await shop.mesh.sent(shop.gateway))
