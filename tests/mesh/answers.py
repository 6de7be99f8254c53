"""What a living istiod sends, reduced as `tests/proxy/istio/answers` is, so that the two can be compared."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from programs import REPOSITORY

RECORDED = REPOSITORY / "tests" / "proxy" / "istio" / "answers"
#: How a dump calls what is in force, by the key of an answer: where its list is, the way down to one, and what is in
#: one that concerns the plugin (its name, or the header).
PARTS = {
    "listeners": ("dynamicListeners", ("activeState", "listener"), ".cohort"),
    "routes": ("dynamicRouteConfigs", ("routeConfig",), "x-cohort-"),
    "ecds": ("ecdsFilters", ("ecdsFilter",), ".cohort"),
}
#: What belongs to a run: addresses, the image, the resource's version, the weight at that moment.
OF_THE_RUN = {
    r"oci://[^\"]*": "IMAGE",
    r"(RESOURCE_VERSION\": \")[0-9]+": r"\1VERSION",
    r"\b10\.(?:80|96)\.[0-9]+\.[0-9]+": "ADDRESS",
    r"(\\\"weight\\\":)[0-9.]+": r"\1WEIGHT",
}


def concerning(dump: Any) -> dict[str, list[Any]]:
    """Of a dump of istiod's the listeners with the plugin, the routes by its header, and the plugin."""
    found: dict[str, list[Any]] = {}
    for key, (where, way, word) in PARTS.items():
        found[key] = []
        for one in (one for part in dump["configs"] for one in part.get(where, [])):
            for step in way:
                one = one[step]
            if word not in json.dumps(one):
                continue
            if key == "routes":  # other services of the cluster are nothing to us
                hosts = [host for host in one["virtualHosts"] if word in json.dumps(host)]
                one = {**one, "virtualHosts": hosts}
            found[key].append(one)
        found[key].sort(key=lambda one: one.get("name", ""))
    return found


def of_any_run(answer: Any) -> Any:
    """An answer without what belongs to its run."""
    text = json.dumps(answer, sort_keys=True)
    for pattern, word in OF_THE_RUN.items():
        text = re.sub(pattern, word, text)
    return json.loads(text)


def as_recorded(name: str, found: dict[str, list[Any]]) -> None:
    """Asserts that istiod sends what it sent when it was recorded, but for what belongs to a run.

    Where it has to be recorded anew: COHORT_BLESS=1 make test-mesh ARGS='-k "recorded or decides or simulate_says or
    waypoint"', and then `make test`.
    """
    path = RECORDED / f"{name}.istiod.json"
    if os.environ.get("COHORT_BLESS"):
        path.write_text(json.dumps(found, indent=1) + "\n")
    assert of_any_run(found) == of_any_run(json.loads(path.read_text()))
