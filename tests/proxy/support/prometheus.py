"""The lab's Prometheus for tests, which are skipped with the reason where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from lab import prometheus as lab


@contextmanager
def or_skipped() -> Iterator[None]:
    """Skips the test where there is no Prometheus."""
    try:
        yield
    except lab.PrometheusMissing as why:
        pytest.skip(str(why))


def tool(name: str) -> str:
    """The path of `prometheus` or `promtool`."""
    with or_skipped():
        return lab.tool(name)


def scrape_rules(endpoint: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The metricRelabelings of a PodMonitor as the operator writes them for Prometheus."""
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return [{names.get(key, key): value for key, value in rule.items()} for rule in endpoint["metricRelabelings"]]


class Prometheus(lab.Prometheus):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        with or_skipped():
            super().__init__(*arguments, **options)
