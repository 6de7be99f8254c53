"""The lab's Prometheus for tests, which are skipped with the reason where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from lab import prometheus as lab


def tool(name: str) -> str:
    """The path of `prometheus` or `promtool`."""
    try:
        return lab.tool(name)
    except lab.PrometheusMissing as why:
        pytest.skip(str(why))


def scrape_rules(endpoint: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The metricRelabelings of a PodMonitor as the operator writes them for Prometheus."""
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return [{names.get(key, key): value for key, value in rule.items()} for rule in endpoint["metricRelabelings"]]


class Prometheus(lab.Prometheus):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        tool("prometheus")
        super().__init__(*arguments, **options)
