"""The recipes of docs/observability.md for the access log and for traces, word for word, on a real Envoy."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import yaml
from aiohttp import web
from conftest import Launch, config, rollout
from lab import arithmetic, bootstrap
from lab.bootstrap import Address
from lab.client import ask, users
from lab.envoy import binary, version
from lab.service import Service
from lab.until import until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from queries import ROOT

PAGE = ROOT / "docs/observability.md"
EVERYBODY = users(40)


def recipes(key: str) -> list[Any]:
    """What the page's YAML fences have under a top-level key."""
    fences = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [found[key] for found in map(yaml.safe_load, fences) if key in found]


def with_recipe(key: str, recipe: Any) -> Any:
    def edit(boot: dict[str, Any]) -> None:
        bootstrap.connection_manager(boot)[key] = recipe

    return edit


def expected() -> dict[str, str]:
    return arithmetic.versions(rollout(30), EVERYBODY)


async def test_the_access_log_says_version_and_reason(launch: Launch):
    recipe = recipes("access_log")[0]
    envoy = await launch(config=config(rollout(30)), edit=with_recipe("access_log", recipe))
    for user in EVERYBODY:
        await ask(envoy.url, [user], path=f"/{user}")
    await ask(envoy.url, ["nobody"], path="/nobody", headers={"x-cohort-checkout": "forged"})
    lines = await until(envoy.access_log, "every line", holds=lambda told: len(told) == len(EVERYBODY) + 1)
    told = {line["path"].strip("/"): line for line in map(json.loads, lines)}
    assert {user: told[user]["checkout"] for user in EVERYBODY} == expected()
    assert {told[user]["reason"] for user in EVERYBODY} == {"HASH"}
    clusters = {"stable": "checkout-v1", "canary": "checkout-v2"}
    assert all(line["cluster"] == clusters[line["checkout"]] for line in told.values())
    assert all(line["status"] == 200 and line["method"] == "GET" for line in told.values())


async def test_the_access_log_of_what_failed_on_the_canary_has_that_and_no_more(
    launch: Launch, v1: Service, v2: Service
):
    recipe = recipes("access_log")[1]
    envoy = await launch(config=config(rollout(30)), edit=with_recipe("access_log", recipe))
    await ask(envoy.url, EVERYBODY)
    await v1.behave(failure_ratio=1.0)
    await v2.behave(failure_ratio=1.0)
    try:
        await ask(envoy.url, EVERYBODY)
    finally:
        await v1.behave(failure_ratio=0.0)
        await v2.behave(failure_ratio=0.0)
    canaries = sum(version == "canary" for version in expected().values())
    lines = await until(envoy.access_log, "a line for each failure", holds=lambda told: len(told) >= canaries)
    await ask(envoy.url, EVERYBODY)
    assert envoy.access_log() == lines == ["canary failed: GET / 503 via_upstream reason=HASH"] * canaries


@asynccontextmanager
async def collector(spans: list[dict[str, str]]) -> AsyncIterator[Address]:
    """What receives spans over OTLP, and keeps their attributes."""

    async def receive(request: web.Request) -> web.Response:
        told = ExportTraceServiceRequest.FromString(await request.read())
        for resource in told.resource_spans:
            # xds-protos has the older name of this field; on the wire it is the same.
            for scope in resource.instrumentation_library_spans:
                spans.extend({one.key: one.value.string_value for one in span.attributes} for span in scope.spans)
        return web.Response(content_type="application/x-protobuf")

    site = web.Application()
    site.router.add_post("/v1/traces", receive)
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield ("127.0.0.1", runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def test_spans_say_version_and_reason(launch: Launch):
    [recipe] = recipes("tracing")
    # The page says from which Envoy on a tag may be a format.
    formats = tuple(map(int, version(binary()).split(".")))[:2] >= (1, 37)
    if not formats:
        recipe["custom_tags"] = [tag for tag in recipe["custom_tags"] if "value" not in tag]
    spans: list[dict[str, str]] = []
    async with collector(spans) as address:
        envoy = await launch(
            config=config(rollout(30)),
            clusters={"otel-collector": address},
            edit=with_recipe("tracing", recipe),
        )
        for user in EVERYBODY:
            await ask(envoy.url, [user], path=f"/{user}")
        await until(lambda: len(spans), "every span", holds=lambda count: count >= len(EVERYBODY))
        found = {span["http.url"].rpartition("/")[2]: span for span in spans}
        assert {user: found[user]["cohort.checkout"] for user in EVERYBODY} == expected()
        assert {span.get("cohort.reason") for span in spans} == ({"HASH"} if formats else {None})


def test_the_recipe_for_istio_is_a_resource_that_istio_knows():
    telemetry = pytest.importorskip("cloudcoil.models.istio.telemetry.v1")
    fences = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    [document] = [found for found in map(yaml.safe_load, fences) if found.get("kind") == "Telemetry"]
    read = telemetry.Telemetry.model_validate(document)
    [tracing] = read.spec.tracing
    assert tracing.custom_tags["cohort.checkout"].header.name == "x-cohort-checkout"


def test_the_documented_alerts_are_those_of_the_rules():
    rules = yaml.safe_load((ROOT / "envoy/prometheus/rules.yaml").read_text())
    alerts = {r["alert"]: r.get("for", "at once") for g in rules["groups"] for r in g["rules"] if "alert" in r}
    said = dict(re.findall(r"^\| `(Cohort\w+)` \|.*\| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE))
    assert said == alerts
