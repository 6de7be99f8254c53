"""The plugin delivered as istiod delivers it, on every Envoy that Istio's releases carry.

`ENVOY_VERSIONS="1.36.4 1.37.0 1.38.2 1.39.3 1.40.0"` runs all of it on each; without, the pinned one.
"""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from answering import answering, answers, failing
from guarded import held_out
from istiod import MANIFESTS, Istiod, Refused, built, manifest, plugin_name, proxy, settled, wasm_spec
from lab import bootstrap as boots
from lab.client import Answers, Load, always_others, ask, users
from lab.envoy import Envoy, module, version
from lab.until import until
from plugins import assemble, mortal, neighbour, with_custom_section

REPOSITORY = Path(__file__).resolve().parents[3]

WASM_PLUGIN = "plugin/wasm-plugin/wasm-plugin.yaml"
TRAFFIC_EXTENSION = "plugin/traffic-extension/traffic-extension.yaml"

#: The host that the manifests' rollout is about.
SHOP = {"host": "shop.example.com"}


def versions() -> list[str]:
    return os.environ.get("ENVOY_VERSIONS", "").split() or ["pinned"]


@pytest.fixture(scope="module", params=versions())
def envoy(request: pytest.FixtureRequest) -> str | None:
    """The Envoy to run; fetched the first time."""
    if request.param == "pinned":
        return None
    script = REPOSITORY / "scripts" / "envoy.sh"
    done = subprocess.run([str(script), request.param], check=True, capture_output=True, text=True)
    path = done.stdout.strip()
    assert version(path) == request.param
    return path


def plugin(
    path: str = WASM_PLUGIN, *, config: Any = None, fail: str | None = None, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A committed plugin; `config` replaces the rollout's keys that it names, or all if it is not a mapping."""
    one = copy.deepcopy(manifest(path))
    spec = wasm_spec(one)
    if isinstance(config, Mapping):
        spec["pluginConfig"]["rollouts"][0].update(config)
    elif config is not None:
        spec["pluginConfig"] = {"rollouts": config}
    if fail:
        spec["failStrategy"] = fail
    if env:
        spec["vmConfig"] = {"env": [{"name": name, "value": value} for name, value in env.items()]}
    return one


def half(weight: float = 50, **more: Any) -> dict[str, Any]:
    """The rollout's keys for a canary of this weight."""
    return {"versions": [{"name": "stable"}, {"name": "canary", "weight": weight}], **more}


@asynccontextmanager
async def delivered(
    one: Mapping[str, Any], envoy: str | None, *beside: tuple[Mapping[str, Any], Path], **options: Any
) -> AsyncIterator[tuple[Istiod, Envoy]]:
    """An Envoy with this plugin from an istiod, others before it."""
    async with Istiod() as istiod:
        for other, path in beside:
            await istiod.apply(other, path)
        await istiod.apply(one, module())
        options.setdefault("concurrency", 2)
        async with proxy(istiod, [*(other for other, _ in beside), one], envoy=envoy, **options) as running:
            yield istiod, running


async def everybody(running: Envoy, count: int = 400, **headers: str) -> Answers:
    return await ask(running.url, users(count), headers={**SHOP, **headers})


def served(answers: Answers) -> dict[str, str | None]:
    assert {answer.status for answer in answers.values()} == {200}
    return {user: answer.served_by for user, answer in answers.items()}


async def gauge(running: Envoy, name: str, **labels: str) -> float | None:
    """What a gauge of the filter says, once it is there: it is set at the first tick."""
    metrics = await running.metrics_when(lambda now: now.series(name, **labels), name)
    return metrics.value(name, **labels)


async def config_invalid(running: Envoy) -> float | None:
    return await gauge(running, "cohort_config_invalid")


async def becomes_good(running: Envoy) -> None:
    """Until the first tick of a good configuration the gauge is that of the bad one before."""
    await until(lambda: config_invalid(running), "said to be good", holds=lambda now: now == 0)


# --- in good order -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fail", ["FAIL_OPEN", "FAIL_RELOAD"])
@pytest.mark.parametrize("path", [WASM_PLUGIN, TRAFFIC_EXTENSION], ids=["WasmPlugin", "TrafficExtension"])
async def test_the_committed_plugin_keeps_users_on_their_version(envoy: str | None, path: str, fail: str) -> None:
    one = plugin(path, config=half(5), fail=fail)
    async with delivered(one, envoy) as (_, running):
        first = served(await everybody(running, 4000))
        again = served(await everybody(running, 4000))
        share = sum(version == "canary" for version in first.values()) / len(first)
        assert first == again
        assert 0.035 < share < 0.065  # 5 % wanted; five standard deviations of 4,000 users are 1.7

        metrics = await running.metrics()
        counted = metrics.by("rollout_version", "cohort_requests_total", rollout="checkout", reason="HASH")
        canary = sum(version == "canary" for version in first.values())
        assert counted == {"canary": 2 * canary, "stable": 8000 - 2 * canary}
        assert metrics.value("cohort_config_invalid") == 0
        weight = {"rollout": "checkout", "rollout_version": "canary"}
        assert metrics.value("cohort_version_weight", **weight) == 5000
        # The plugin's name inside the proxy stands in the log, so that one finds it among others.
        assert any("wasm log cohort: " in line for line in running.filter_log()), running.filter_log()


async def test_a_client_cannot_choose_its_version_by_the_header(envoy: str | None) -> None:
    async with delivered(plugin(config=half(0)), envoy) as (_, running):
        forged = {"X-Cohort-Checkout": "canary", "x_cohort_checkout": "canary"}
        answers = served(await everybody(running, 50, **forged))
        assert set(answers.values()) == {"stable"}


async def test_doubles_and_another_order_of_keys_are_the_same_configuration(envoy: str | None) -> None:
    """What the manifest says is what the rollout does, though every number has become a double."""
    config = half(12.5, guard={"minRequests": 50, "maxFailureRatio": 1, "retryAfter": "5m"})
    async with delivered(plugin(config=config), envoy) as (_, running):
        await everybody(running, 10)
        weight = {"rollout": "checkout", "rollout_version": "canary"}
        assert await gauge(running, "cohort_version_weight", **weight) == 12500


async def test_a_new_weight_moves_only_the_users_it_must(envoy: str | None) -> None:
    one = plugin(config=half(10))
    async with delivered(one, envoy) as (istiod, running):
        before = served(await everybody(running, 1000))
        await istiod.apply(plugin(config=half(30)), module())
        await settled(running, one, 2)
        after = served(await everybody(running, 1000))
    moved = {user: (before[user], after[user]) for user in before if before[user] != after[user]}
    assert set(moved.values()) == {("stable", "canary")}
    assert 0.15 < len(moved) / len(before) < 0.25


@pytest.mark.parametrize("brought", [{"x-cohort-checkout": "canary"}, {"baggage": "a=1,cohort-checkout=canary"}])
async def test_only_a_sidecar_takes_over_a_decision_that_its_caller_brings(
    envoy: str | None, brought: dict[str, str]
) -> None:
    """A service behind the gateway passes on what it got, the user's X-Forwarded-For included."""

    def as_istio_sets_it(boot: dict[str, Any]) -> None:
        boots.connection_manager(boot)["use_remote_address"] = False

    headers = {**SHOP, "host": "checkout.shop:8080", "x-forwarded-for": "203.0.113.7"}
    for place, takes_over in (("sidecars", True), ("ingress-gateway", False)):
        [one] = [it for it in built(MANIFESTS / "overlays" / place) if it["kind"] == "WasmPlugin"]
        async with delivered(one, envoy, edit=as_istio_sets_it, early_removal=False) as (_, running):
            own = served(await ask(running.url, users(200), headers=headers))
            told = served(await ask(running.url, users(200), headers={**headers, **brought}))
            assert told == ({user: "canary" for user in own} if takes_over else own)


# --- bad configurations --------------------------------------------------------------------------------------

BAD = half(105)
BAD_LINE = "$.rollouts[0].versions[1].weight: found 105"


async def test_bad_then_good_then_bad_again(envoy: str | None) -> None:
    one = plugin(config=BAD)
    async with delivered(one, envoy) as (istiod, running):
        # Bad at first: everybody gets the default, and a client's own header does not get through.
        answers = served(await everybody(running, 100, **{"x-cohort-checkout": "canary"}))
        assert set(answers.values()) == {"stable"}
        assert await config_invalid(running) == 1
        assert any(BAD_LINE in line and "error" in line for line in running.filter_log())

        # Then good.
        await istiod.apply(plugin(config=half(50)), module())
        await settled(running, one, 2)
        good = served(await everybody(running))
        assert set(good.values()) == {"stable", "canary"}
        await becomes_good(running)

        # Then bad in another way: the proxy says no, and what was good stays.
        with pytest.raises(Refused):
            await istiod.apply(plugin(config=half(-1)), module())
        assert served(await everybody(running)) == good
        assert await config_invalid(running) == 0

        # And good again.
        await istiod.apply(plugin(config=half(100)), module())
        await settled(running, one, 3)
        assert set(served(await everybody(running)).values()) == {"canary"}


@pytest.mark.parametrize("fail", ["FAIL_OPEN", "FAIL_RELOAD", "FAIL_CLOSE"])
async def test_the_very_same_bad_configuration_again_costs_no_request_either(envoy: str | None, fail: str) -> None:
    """The proxy remembers that it took these bytes once, and gives them to its workers unasked."""
    one = plugin(config=BAD, fail=fail)
    async with delivered(one, envoy) as (istiod, running):
        await istiod.apply(plugin(config=half(50), fail=fail), module())
        await settled(running, one, 2)
        good = served(await everybody(running))
        await becomes_good(running)
        await istiod.apply(one, module())
        await settled(running, one, 3)
        forged = {"x-cohort-checkout": "canary"}
        assert served(await everybody(running, **forged)) == good
        assert await config_invalid(running) == 0
        assert not any("VM failed" in line for line in running.log().splitlines())
        await istiod.apply(plugin(config=half(100), fail=fail), module())
        await settled(running, one, 4)
        assert set(served(await everybody(running)).values()) == {"canary"}


async def test_a_plugin_without_configuration_lets_everything_pass(envoy: str | None) -> None:
    one = plugin()
    del wasm_spec(one)["pluginConfig"]  # istiod then sends no configuration at all
    async with delivered(one, envoy) as (_, running):
        answers = served(await everybody(running, 20, **{"x-cohort-checkout": "canary"}))
        assert set(answers.values()) == {"stable"}
        assert await config_invalid(running) == 1


async def test_a_strict_start_refuses_a_bad_first_configuration(envoy: str | None) -> None:
    one = plugin(config=BAD, env={"COHORT_STRICT_START": "1"})
    async with delivered(one, envoy) as (istiod, running):
        answers = await everybody(running, 20)
        assert {answer.status for answer in answers.values()} == {500}
        good = plugin(config=half(50), env={"COHORT_STRICT_START": "1"})
        await istiod.apply(good, module())
        await settled(running, one, 1)
        assert set(served(await everybody(running)).values()) == {"stable", "canary"}


# --- beside another plugin -----------------------------------------------------------------------------------


def other(name: str, fail: str = "FAIL_OPEN") -> dict[str, Any]:
    return {
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": "WasmPlugin",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"url": f"oci://registry.example.com/{name}:1", "failStrategy": fail},
    }


#: A canary that fails always, and a guard that sees it soon. `x-served-by` still tells who answered.
FAILING = failing(answers())
GUARD = {"window": "10s", "maxFailureRatio": 0.1}


async def trip(running: Envoy) -> None:
    """Asks until the guard has taken the canary out."""
    others = always_others(200)

    async def fails() -> bool:
        await ask(running.url, next(others), headers=SHOP)
        return held_out(await running.metrics())

    await until(fails, "the canary held out")

    async def failed() -> int:
        return sum(answer.failed for answer in (await everybody(running, 200)).values())

    # Each worker follows within a second.
    await until(failed, "no worker sends users to the canary", holds=lambda count: not count)


async def test_a_neighbour_that_writes_shared_data_does_not_get_in_the_way(envoy: str | None, tmp_path: Path) -> None:
    keys = [b"", b"alive", b"cohort", b"checkout", b"guard", b"health", b"config", b"version", b"state", b"lock"]
    beside = assemble(neighbour(keys), tmp_path / "neighbour.wasm")
    one = plugin(config=half(50, guard=GUARD))
    neighbours = ((other("neighbour"), beside),)
    async with answering(FAILING) as there, delivered(one, envoy, *neighbours, **there) as (istiod, running):
        await trip(running)
        assert set(served(await everybody(running)).values()) == {"stable"}
        with pytest.raises(Refused):
            await istiod.apply(plugin(config=BAD), module())


async def test_a_neighbour_that_overwrites_our_keys_costs_no_request(envoy: str | None, tmp_path: Path) -> None:
    one = plugin(config=half(50))
    keys = [f"cohort/{plugin_name(one)}/cohort/alive".encode()]
    for value in (b"", b"?", b"\xff" * 8, b"x" * 4096):
        beside = assemble(neighbour(keys, value), tmp_path / "neighbour.wasm")
        async with delivered(one, envoy, (other("neighbour"), beside)) as (_, running):
            assert set(served(await everybody(running, 200)).values()) == {"stable", "canary"}


async def test_a_neighbour_that_dies_takes_only_itself_along(envoy: str | None, tmp_path: Path) -> None:
    beside = assemble(mortal(), tmp_path / "mortal.wasm")
    one = plugin(config=half(50))
    async with delivered(one, envoy, (other("mortal"), beside), concurrency=1) as (_, running):
        before = served(await everybody(running))
        trapped = await ask(running.url, users(1), headers={**SHOP, "x-trap": "1"})
        assert {answer.status for answer in trapped.values()} == {503}
        assert served(await everybody(running)) == before


# --- upgrades ------------------------------------------------------------------------------------------------


def another_module(tmp_path: Path) -> Path:
    """The filter under other bytes: to a proxy, a new release of the plugin."""
    path = tmp_path / "upgrade.wasm"
    path.write_bytes(with_custom_section(module().read_bytes(), b"release-2"))
    return path


async def test_an_upgrade_of_the_plugin_loses_no_request_and_moves_nobody(envoy: str | None, tmp_path: Path) -> None:
    one = plugin(config=half(50))
    answered = boots.answer_directly("x-cohort-checkout", ["canary"], "stable")
    async with delivered(one, envoy, routes=answered) as (istiod, running):
        async with Load(running.url, users(300), rate=300, headers=SHOP) as load:
            await until(lambda: load.answered >= 600, "a load under way")
            before = served(await everybody(running, 300))
            for reload, path in enumerate([another_module(tmp_path), module(), another_module(tmp_path)], 2):
                await istiod.apply(one, path)
                await settled(running, one, reload)
                await load.more(300, "the load going on")
            assert served(await everybody(running, 300)) == before
        assert load.failures == []
        assert load.answered == load.sent
        services = set(load.by_service)
        assert services == {"stable", "canary"}


async def test_a_version_held_out_stays_out_over_an_upgrade(envoy: str | None, tmp_path: Path) -> None:
    one = plugin(config=half(50, guard=GUARD))
    async with answering(FAILING) as there, delivered(one, envoy, **there) as (istiod, running):
        await trip(running)
        await istiod.apply(one, another_module(tmp_path))
        await settled(running, one, 2)
        assert set(served(await everybody(running)).values()) == {"stable"}
        await running.metrics_when(held_out, "the gauge of the new release")


# --- failStrategy --------------------------------------------------------------------------------------------


async def statuses(running: Envoy, count: int = 5) -> set[int]:
    return {answer.status for answer in (await ask(running.url, users(count), headers=SHOP)).values()}


@pytest.mark.parametrize(
    ("strategy", "right_after", "later"),
    [("FAIL_CLOSE", 503, 503), ("FAIL_OPEN", 200, 200), ("FAIL_RELOAD", 503, 200)],
)
async def test_what_a_plugin_that_dies_costs(
    envoy: str | None, tmp_path: Path, strategy: str, right_after: int, later: int
) -> None:
    """The table of docs/istio-failures.md, on a plugin that can be killed: Cohort itself cannot, by request."""
    beside = assemble(mortal(), tmp_path / "mortal.wasm")
    one = other("mortal", strategy)
    async with Istiod() as istiod:
        await istiod.apply(one, beside)
        async with proxy(istiod, [one], envoy=envoy, concurrency=1) as running:
            assert await statuses(running) == {200}
            dying = await ask(running.url, users(1), headers={**SHOP, "x-trap": "1"})
            assert {answer.status for answer in dying.values()} == {503}
            assert await statuses(running, 1) == {right_after}
            if right_after != later:
                await until(lambda: statuses(running), "a new VM", holds=lambda seen: seen == {later}, every=0.1)
            assert await statuses(running) == {later}

            # Any change to the plugin brings it back.
            one["spec"]["pluginConfig"] = {"changed": True}
            await istiod.apply(one, beside)
            await settled(running, one, 2)
            assert await statuses(running) == {200}
            again = await ask(running.url, users(1), headers={**SHOP, "x-trap": "1"})
            assert {answer.status for answer in again.values()} == {503}, "it does not run"


# --- a Struct ------------------------------------------------------------------------------------------------


async def test_a_struct_is_read_like_the_text_that_istio_makes_of_it(envoy: str | None) -> None:
    """Envoy hands a Struct to the filter as protobuf bytes: a map in any order, every number a double."""
    one, seen = plugin(config=half(12.5)), []
    for as_struct in (True, False):
        async with Istiod(as_struct=as_struct) as istiod:
            await istiod.apply(one, module())
            async with proxy(istiod, [one], envoy=envoy) as running:
                seen.append(served(await everybody(running)))
                assert await config_invalid(running) == 0
                weight = {"rollout": "checkout", "rollout_version": "canary"}
                assert await gauge(running, "cohort_version_weight", **weight) == 12500
                with pytest.raises(Refused):
                    await istiod.apply(plugin(config=BAD), module())
                assert any(BAD_LINE in line for line in running.filter_log())
    assert seen[0] == seen[1]


async def test_a_fraction_in_a_struct_in_a_yaml_file_is_a_text_to_envoy_and_a_number_to_the_filter(
    envoy: str | None,
) -> None:
    config = {"rollouts": [{"name": "checkout", **half(12.5), "hashKey": [{"header": "x-user-id"}]}]}

    def as_struct(file: dict[str, Any]) -> None:
        struct = "type.googleapis.com/google.protobuf.Struct"
        boots.wasm(file)["configuration"] = {"@type": struct, "value": config}

    async with Envoy(envoy=envoy, edit_filter=as_struct) as running:
        assert await config_invalid(running) == 0
