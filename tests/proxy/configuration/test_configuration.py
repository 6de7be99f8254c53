"""A bad configuration never costs a request."""

from __future__ import annotations

import pytest
from conftest import Launch, config, rollout
from lab import bootstrap
from lab.envoy import ConfigRefused, Envoy
from lab.until import until
from lab.wire import get

#: What no proxy may take, and what its log has to say.
BAD = {
    "absent": (None, "$"),
    "empty": ("", "$"),
    "no JSON": ('{"rollouts": [', "$"),
    "not an object": ("[]", "$"),
    "unknown key": ('{"rollouts": [], "rollout": 1}', "$.rollout"),
    "key twice": ('{"rollouts": [], "rollouts": []}', "$.rollouts"),
    "weight": (config(rollout(105)), "$.rollouts[0].versions[1].weight: found 105, allowed: "),
    "two stable": (
        config(rollout(versions=[{"name": "blue"}, {"name": "green"}])),
        "$.rollouts[0].versions: found two versions without a weight (blue, green), allowed: ",
    ),
    "hashkey": (config(rollout(hashkey=[])), "$.rollouts[0].hashkey: found an unknown key"),
}


async def invalid(proxy: Envoy) -> float | None:
    return (await proxy.metrics()).value("cohort_config_invalid")


@pytest.mark.parametrize("name", BAD)
async def test_a_first_configuration_that_is_bad_starts_without_rollouts(launch: Launch, name: str):
    bad, says = BAD[name]
    proxy = await launch(config=bad)
    reply = await get(proxy.address, headers=[("x-user-id", "u"), ("X-Cohort-Checkout", "canary"), ("x_cohort_y", "z")])
    assert reply.status == 200
    assert reply.told["service"] == "checkout-v1", "the route table's default"
    assert not [n for n in reply.reached_names if n.replace("_", "-").startswith("x-cohort")]
    await until(lambda: invalid(proxy), "the gauge", holds=lambda now: now == 1)
    assert any("[error]" in line and says in line for line in proxy.filter_log()), proxy.log()

    await proxy.configure(config(rollout(100)))
    reply = await get(proxy.address, headers=[("x-user-id", "u")])
    assert reply.told["service"] == "checkout-v2"
    await until(lambda: invalid(proxy), "the gauge", holds=lambda now: now == 0)


@pytest.mark.parametrize("name", BAD)
async def test_an_update_that_is_bad_is_refused_and_the_last_good_one_stays(proxy: Envoy, name: str):
    bad, says = BAD[name]
    await proxy.configure(config(rollout(100)))
    with pytest.raises(ConfigRefused):
        await proxy.configure(bad)
    # In the whole log: Envoy asks the filter once for each text, and "absent" is the same text as "empty".
    assert any("[error]" in line and says in line for line in proxy.filter_log()), proxy.log()
    reply = await get(proxy.address, headers=[("x-user-id", "u")])
    assert (reply.status, reply.told["service"]) == (200, "checkout-v2")
    await until(lambda: invalid(proxy), "the gauge", holds=lambda now: now == 0)


async def test_a_bad_configuration_that_was_the_first_one_does_no_harm_when_it_comes_again(launch: Launch):
    """Envoy asks a throw-away VM whether a configuration is good, and remembers the answer for each text.
    What was taken as the first configuration is therefore handed to every worker without being asked
    about again; a worker that refused it would lose its VM, and the proxy every later configuration."""
    bad, good = '{"rollouts": 1}', config(rollout(100))
    proxy = await launch(config=bad, concurrency=2)
    for _ in range(2):
        await proxy.configure(good)
        assert (await get(proxy.address, headers=[("x-user-id", "u")])).told["service"] == "checkout-v2"
        try:
            await proxy.configure(bad)
        except ConfigRefused:
            pass  # as good as keeping the last good one itself
        for _ in range(8):
            reply = await get(proxy.address, headers=[("x-user-id", "u"), ("x-cohort-checkout", "stable")])
            assert (reply.status, reply.told["service"]) == (200, "checkout-v2")
        await until(lambda: "the last good one stays" in proxy.log(), "the log of it")


async def test_strict_start_refuses_a_bad_first_configuration(launch: Launch):
    proxy = await launch(config='{"rollouts": 1}', env={"COHORT_STRICT_START": "1"})
    stats = await proxy.stats("extension_config_discovery.http_filter.cohort")
    assert stats["extension_config_discovery.http_filter.cohort.config_fail"] >= 1
    assert (await get(proxy.address)).status == 500, "Envoy has no filter to run"
    await proxy.configure(config(rollout(100)))
    assert (await get(proxy.address, headers=[("x-user-id", "u")])).told["service"] == "checkout-v2"


async def test_no_rollouts_is_a_good_configuration_that_does_nothing(proxy: Envoy):
    await proxy.configure({"rollouts": []})
    reply = await get(proxy.address, headers=[("x-user-id", "u")])
    assert (reply.status, reply.told["service"]) == (200, "checkout-v1")
    assert not [name for name in reply.reached_names if "cohort" in name]
    await until(lambda: invalid(proxy), "the gauge", holds=lambda now: now == 0)


async def test_numbers_may_come_as_protobuf_writes_them(proxy: Envoy):
    text = (
        '{"rollouts":[{"name":"checkout","versions":[{"name":"stable"},{"name":"canary","weight":100.0}],'
        '"hashKey":[{"header":"x-user-id"}]}]}'
    )
    await proxy.configure(text)
    assert (await get(proxy.address, headers=[("x-user-id", "u")])).told["service"] == "checkout-v2"


async def test_every_problem_is_named_at_once_in_document_order(proxy: Envoy):
    await proxy.configure(config(rollout()))
    bad = config(rollout(105), rollout(-1, name="Second!"))
    with pytest.raises(ConfigRefused) as refused:
        await proxy.configure(bad)
    said = str(refused.value)
    places = [
        said.index(path)
        for path in (
            "$.rollouts[0].versions[1].weight:",
            "$.rollouts[1].name:",
            "$.rollouts[1].versions[1].weight:",
        )
    ]
    assert places == sorted(places)


async def test_a_listener_beside_shares_counters_but_not_configurations(launch: Launch):
    proxy = await launch(config=config(rollout(100)), edit=lambda boot: bootstrap.add_listener(boot, "second"))
    for port in proxy.ports.values():
        reply = await get(("127.0.0.1", port), headers=[("x-user-id", "u")])
        assert reply.told["service"] == "checkout-v2"
    await proxy.metrics_when(lambda m: m.sum("cohort_requests_total") == 2, "two requests in one counter")
