"""Envoy chooses a first route before any filter runs: a client's own route header must not be there by then.

What hangs on a route (here: who may pass) is taken from that first route by every filter before Cohort, and for
upgrades by the connection manager itself.
"""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Launch, config, rollout
from lab import bootstrap
from lab.envoy import Envoy
from lab.service import Service
from lab.wire import get

RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3"
#: Nobody in particular, and everybody.
CLOSED = {"action": "ALLOW", "policies": {}}
OPEN = {"action": "ALLOW", "policies": {"all": {"permissions": [{"any": True}], "principals": [{"any": True}]}}}

FORGED = [("x-cohort-checkout", "canary"), ("x-user-id", "u")]


def guarded_stable(boot: dict[str, Any]) -> None:
    """An access filter before Cohort: closed, but open on the canary's route."""
    filters = bootstrap.connection_manager(boot)["http_filters"]
    filters.insert(0, {"name": "rbac", "typed_config": {"@type": f"{RBAC}.RBAC", "rules": CLOSED}})
    [canary] = [route for route in bootstrap.routes(boot) if route.get("name") == "canary"]
    canary["typed_per_filter_config"] = {"rbac": {"@type": f"{RBAC}.RBACPerRoute", "rbac": {"rules": OPEN}}}


def upgrading_canary(boot: dict[str, Any]) -> None:
    """WebSockets on the canary's route alone."""
    [canary] = [route for route in bootstrap.routes(boot) if route.get("name") == "canary"]
    canary["route"]["upgrade_configs"] = [{"upgrade_type": "websocket"}]


#: Everybody has stable.
NOBODY = config(rollout(0))


@pytest.mark.parametrize("name", ["x-cohort-checkout", "X-COHORT-CHECKOUT"])
async def test_a_forged_route_header_opens_no_route(launch: Launch, name: str):
    proxy = await launch(config=NOBODY, edit=guarded_stable, early_removal=True)
    assert (await get(proxy.address, headers=[("x-user-id", "u")])).status == 403
    for lines in ([(name, "canary")], [(name, "stable"), (name, "canary")], [(name, "canary"), (name, "canary")]):
        assert (await get(proxy.address, headers=[*lines, ("x-user-id", "u")])).status == 403


async def test_without_the_early_removal_it_does(launch: Launch):
    """What docs/threat-model.md says of such a proxy; and the test above can fail."""
    proxy = await launch(config=NOBODY, edit=guarded_stable)
    reply = await get(proxy.address, headers=FORGED)
    assert (reply.status, reply.told["service"]) == (200, "checkout-v1")


async def test_a_forged_route_header_allows_no_upgrade(launch: Launch):
    upgrade = [("connection", "upgrade"), ("upgrade", "websocket")]
    for early_removal, status in ((False, 200), (True, 403)):
        proxy = await launch(config=NOBODY, edit=upgrading_canary, early_removal=early_removal)
        assert (await get(proxy.address, headers=[*FORGED, *upgrade])).status == status
        assert (await get(proxy.address, headers=[("x-user-id", "u"), *upgrade])).status == 403


def test_the_committed_proxy_removes_what_the_committed_configuration_writes():
    [extension] = bootstrap.connection_manager(bootstrap.bootstrap())["early_header_mutation_extensions"]
    removed = [one["remove"] for one in extension["typed_config"]["mutations"]]
    assert removed == ["x-cohort-checkout", "x-cohort-cluster"]
    assert removed == bootstrap.output_headers(bootstrap.committed_config())


async def test_a_decision_that_is_taken_over_passes(v1: Service, v2: Service):
    """A rollout with `inherit` needs the header; the headers of others beside it go."""
    clusters = {"checkout-v1": v1.address, "checkout-v2": v2.address}
    both = config(rollout(0, inherit={"addresses": ["127.0.0.0/8"]}), rollout(0, name="search", output={}))
    async with Envoy(clusters=clusters, config=both) as proxy:
        [extension] = bootstrap.connection_manager(proxy.bootstrap)["early_header_mutation_extensions"]
        assert extension["typed_config"]["mutations"] == [{"remove": "x-cohort-search"}]
        reply = await get(proxy.address, headers=[*FORGED, ("x-cohort-search", "canary")])
        assert (reply.told["service"], reply.one("x-cohort-reason")) == ("checkout-v2", "INHERITED")
        assert reply.reached("x-cohort-search") == ["stable"]
