"""The native module where it differs from the Wasm filter: loading, panics, changes of configuration and library.

Everything else is the same code: `make test-native` runs all of `tests/proxy` on it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Launch, config, native_module, rollout
from lab import bootstrap
from lab.client import ask, users
from lab.envoy import REPOSITORY, ConfigRefused, Metrics, library
from lab.wire import get

PANICS = REPOSITORY / "target" / "panics" / "libcohort.so"

pytestmark = native_module


def directly() -> list[dict]:
    return bootstrap.answer_directly("x-cohort-checkout", ["canary"], "stable")


#: Defines every metric there is.
ALL = rollout(
    30,
    guard={"maxFailureRatio": 0.2, "slowerThan": "500ms", "maxSlowRatio": 0.2},
    health={"canary": {"cluster": "checkout-v2", "path": "/ready"}},
    analysis=[{"name": "errors", "version": "canary", "cluster": "checkout-v1", "query": "up", "max": 1}],
    overrides={"header": "x-canary"},
    pin={"cookie": {"name": "cohort-checkout", "maxAge": "1d"}},
    inherit={"addresses": ["192.0.2.1"]},
)


def of_cohort(metrics: Metrics) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Name and labels of each of Cohort's time series, but for panics, which only the native module catches."""
    series = ((name, tuple(sorted(labels.items()))) for name, labels, _ in metrics.samples)
    return sorted(one for one in series if one[0].startswith("cohort_") and one[0] != "cohort_panics_total")


async def test_ten_thousand_users_get_the_same_versions_on_both_edges(launch: Launch):
    """And what is counted has the same names, types, labels and values."""
    told = {}
    for edge in ("wasm", "native"):
        proxy = await launch(edge=edge, config=config(rollout(30)), routes=directly(), concurrency=2)
        answers = await ask(proxy.url, users(10_000), concurrency=16)
        versions = {user: (answer.version, answer.reason) for user, answer in answers.items()}
        metrics = await proxy.metrics_when(
            lambda now: (
                now.ticked()
                and now.sum("cohort_responses_total") == now.sum("cohort_request_duration_milliseconds_count") == 10_000
            ),
            "every answer counted and timed",
        )
        counted = sorted(
            (name, tuple(sorted(labels.items())), value)
            for name, labels, value in metrics.samples
            if name.startswith(("cohort_requests", "cohort_responses", "cohort_failures", "cohort_version"))
        )
        types = sorted(line for line in metrics.text.splitlines() if line.startswith("# TYPE cohort_"))
        told[edge] = (versions, counted, types)
    assert told["wasm"][0] == told["native"][0]
    assert {version for version, _ in told["native"][0].values()} == {"stable", "canary"}
    assert told["wasm"][1] == told["native"][1]
    assert [line for line in told["native"][2] if "cohort_panics_total" not in line] == told["wasm"][2]


async def test_every_metric_has_the_same_name_and_labels_on_both_edges(launch: Launch):
    documented = set(re.findall(r"^\| `(cohort_\w+)`", (REPOSITORY / "docs/metrics.md").read_text(), re.MULTILINE))
    told = {}
    for edge in ("wasm", "native"):
        proxy = await launch(edge=edge, config=config(ALL))
        for headers in ([("x-user-id", "user-1")], [("x-user-id", "user-2"), ("x-canary", "canary")]):
            assert (await get(proxy.address, headers=headers)).status == 200
        bad = json.dumps(config(rollout(101)))
        with pytest.raises(ConfigRefused):
            await proxy.configure(bad)
        metrics = await proxy.metrics_when(
            lambda now: (
                now.sum("cohort_request_duration_milliseconds_count") == 2
                and now.series("cohort_config_rejected_total")
                and now.series("cohort_analysis_value")
            ),
            "every metric",
        )
        told[edge] = of_cohort(metrics)
    assert told["native"] == told["wasm"]
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in told["native"]}
    assert names == documented, names ^ documented


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


def fetched(wanted: str) -> str:
    """An Envoy of another version, where one was fetched."""
    path = REPOSITORY / "target" / "envoy" / wanted / "envoy" / "_bin" / "envoy"
    if not path.exists():
        pytest.skip(f"no Envoy {wanted}: make test-native fetches it")
    return str(path)


async def test_the_oldest_envoy_that_has_the_interface_decides_counts_and_takes_changes(launch: Launch):
    proxy = await launch(edge="native", envoy=fetched("1.39.3"), config=config(rollout(0)), routes=directly())
    assert {answer.version for answer in (await ask(proxy.url, users(50))).values()} == {"stable"}
    await proxy.configure(config(rollout(100)))
    assert {answer.version for answer in (await ask(proxy.url, users(50))).values()} == {"canary"}
    counted = await proxy.metrics_when(lambda now: now.sum("cohort_requests_total") == 100, "every request counted")
    assert counted.by("rollout_version", "cohort_requests_total") == {"stable": 50, "canary": 50}
    await proxy.metrics_when(
        lambda now: now.value("cohort_version_weight", rollout="checkout", rollout_version="canary") == 100_000,
        "the gauge of what is in force",
    )


async def test_an_envoy_that_is_too_old_does_not_load_it_and_says_what_it_lacks(launch: Launch):
    proxy = await launch(edge="native", envoy=fetched("1.38.2"), config=config(rollout()))
    [line] = [line for line in proxy.log().splitlines() if "cohort:" in line]
    assert "not loaded: this Envoy has no http_filter_config_" in line
    assert "Cohort's native module needs Envoy 1.39 or newer" in line
    # What Envoy does with any filter whose first configuration it refuses.
    assert (await get(proxy.address, headers=[("x-user-id", "user-1")])).status == 500


def elf(*asked: str) -> str:
    return subprocess.run(["readelf", *asked, str(library())], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not shutil.which("readelf"), reason="no readelf (Debian: binutils)")
def test_the_library_needs_only_glibc_and_none_newer_than_the_documents_say():
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", elf("-d", "-W")))
    # The loader that makes a process of an executable is a part of glibc, and there in every one.
    loaders = {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
    assert "libc.so.6" in needed
    assert needed - loaders == {"libc.so.6"}
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_(\d[\d.]+)", elf("-V", "-W"))}
    said = re.search(r"needs glibc (\d+)\.(\d+) or newer", (REPOSITORY / "docs/native.md").read_text())
    assert max(versions) <= tuple(map(int, said.groups()))
