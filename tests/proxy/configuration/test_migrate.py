"""`cohort migrate`: the configuration and the routes that it prints, on a real Envoy."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import yaml
from conftest import Launch
from lab.client import ask, users
from lab.envoy import COMMAND
from lab.wire import get

#: A virtual host that divides its users anew with every request, with testers in front.
HOST = {
    "name": "checkout",
    "domains": ["*"],
    "routes": [
        {
            "match": {"prefix": "/", "headers": [{"name": "x-tester", "string_match": {"exact": "yes"}}]},
            "route": {"cluster": "checkout-v2"},
        },
        {
            "match": {"prefix": "/"},
            "route": {
                "timeout": "5s",
                "weighted_clusters": {
                    "clusters": [{"name": "checkout-v1", "weight": 3}, {"name": "checkout-v2", "weight": 1}]
                },
                "hash_policy": [{"header": {"header_name": "x-user-id"}}],
            },
        },
    ],
}


def migrated(source: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The configuration, and the documents of routes behind it."""
    done = subprocess.run([COMMAND, "migrate", "-"], input=json.dumps(source), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    config, *routes = yaml.safe_load_all(done.stdout)
    return config, routes


async def test_envoy_takes_the_routes_and_they_divide_as_before_and_users_stay(launch: Launch) -> None:
    config, [table] = migrated({"virtual_hosts": [HOST]})
    [host] = table["virtual_hosts"]
    proxy = await launch(config=config, routes=host["routes"], early_removal=True)

    first, second = [await ask(proxy.url, users(400)) for _ in range(2)]
    served = {user: answer.served_by for user, answer in first.items()}
    assert served == {user: answer.served_by for user, answer in second.items()}
    canary = sum(name == "checkout-v2" for name in served.values())
    # A quarter of 400, within five standard deviations.
    assert 56 < canary < 144
    assert set(served.values()) == {"checkout-v1", "checkout-v2"}

    for user in users(20):
        reply = await get(proxy.address, "/", [("x-user-id", user), ("x-tester", "yes")])
        assert reply.one("x-served-by") == "checkout-v2"
