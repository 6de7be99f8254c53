"""The native module where it differs from the Wasm filter: loading, panics, changes of configuration and library.

Everything else is the same code: `make test-native` runs all of `tests/proxy` on it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import Launch, config, rollout
from lab import bootstrap
from lab.client import ask, users
from lab.envoy import REPOSITORY, ConfigRefused, Envoy, EnvoyFailed, library, version
from lab.wire import get

PANICS = REPOSITORY / "target" / "panics" / "libcohort.so"

pytestmark = pytest.mark.skipif(
    not (os.environ.get("COHORT_NATIVE") or (REPOSITORY / "target" / "libcohort.so").exists()),
    reason="no native module: make native",
)


def directly() -> list[dict]:
    return bootstrap.answer_directly("x-cohort-checkout", ["canary"], "stable")


async def test_ten_thousand_users_get_the_same_versions_on_both_edges(launch: Launch):
    """And what is counted has the same names, labels and values."""
    one, told = config(rollout(30)), {}
    for edge in ("wasm", "native"):
        proxy = await launch(edge=edge, config=one, routes=directly(), concurrency=2)
        answers = await ask(proxy.url, users(10_000), concurrency=16)
        versions = {user: (answer.version, answer.reason) for user, answer in answers.items()}
        metrics = await proxy.metrics_when(
            lambda metrics: metrics.sum("cohort_responses_total") == 10_000, "every answer counted"
        )
        counted = sorted(
            (name, tuple(sorted(labels.items())), value)
            for name, labels, value in metrics.samples
            if name.startswith(("cohort_requests", "cohort_responses", "cohort_failures", "cohort_version"))
        )
        told[edge] = (versions, counted)
    assert told["wasm"][0] == told["native"][0]
    assert {version for version, _ in told["native"][0].values()} == {"stable", "canary"}
    assert told["wasm"][1] == told["native"][1]


async def test_a_panic_costs_no_request_and_is_counted(launch: Launch):
    if not PANICS.exists():
        pytest.skip("no library that panics: make target/panics/libcohort.so")
    proxy = await launch(edge="native", native=PANICS, config=config(rollout()))
    for _ in range(3):
        reply = await get(proxy.address, headers=[("x-user-id", "user-1"), ("x-cohort-panic", "1")])
        assert reply.status == 200
    reply = await get(proxy.address, headers=[("x-user-id", "user-1")])
    assert (reply.status, reply.one("x-cohort-reason")) == (200, "HASH")
    await proxy.metrics_when(lambda metrics: metrics.sum("cohort_panics_total") == 3, "the panics counted")
    assert "asked for by x-cohort-panic" in proxy.log()


async def test_a_bad_first_configuration_is_taken_without_rollouts_and_a_bad_update_is_refused(launch: Launch):
    proxy = await launch(edge="native", config='{"rollouts": 1}')
    assert (await get(proxy.address, headers=[("x-cohort-checkout", "canary")])).status == 200
    await proxy.metrics_when(lambda metrics: metrics.sum("cohort_config_invalid") == 1, "said to be invalid")
    await proxy.configure(config(rollout()))
    await proxy.metrics_when(lambda metrics: metrics.sum("cohort_config_invalid") == 0, "valid again")
    with pytest.raises(ConfigRefused, match=r"\$\.rollouts: found"):
        await proxy.configure('{"rollouts": 2}')
    assert (await get(proxy.address, headers=[("x-user-id", "user-1")])).one("x-cohort-reason") == "HASH"


async def test_a_new_library_under_a_new_name_takes_over_without_a_lost_request(launch: Launch, tmp_path: Path):
    first, second = tmp_path / "libcohort-1.so", tmp_path / "libcohort-2.so"
    for name in (first, second):
        shutil.copy(library(), name)
    proxy = await launch(edge="native", native=first, config=config(rollout()), routes=directly())
    answers = await ask(proxy.url, users(300), concurrency=8)
    proxy.native = second
    await proxy.apply_filter()
    after = await ask(proxy.url, users(300), concurrency=8)
    assert {user: answer.version for user, answer in answers.items()} == {
        user: answer.version for user, answer in after.items()
    }
    assert str(second) in Path(f"/proc/{proxy.pid}/maps").read_text()


async def test_changes_under_load_fail_no_request(launch: Launch):
    proxy = await launch(edge="native", config=config(rollout()), routes=directly(), concurrency=2)
    for weight in (10, 20, 30, 40, 50):
        await proxy.configure(config(rollout(weight)))
        answers = await ask(proxy.url, users(500), concurrency=8)
        assert not [answer for answer in answers.values() if answer.failed]


async def test_an_envoy_that_is_too_old_says_what_it_lacks():
    old = [path for path in (REPOSITORY / "target" / "envoy").glob("1.38.*/envoy/_bin/envoy")]
    if not old:
        pytest.skip("no Envoy 1.38: scripts/envoy.sh 1.38.2")
    with pytest.raises(EnvoyFailed, match=r"needs Envoy 1\.39 or newer"):
        async with Envoy(edge="native", envoy=str(old[0]), config=config(rollout())):
            raise AssertionError(f"Envoy {version(str(old[0]))} took it")
