"""A real Prometheus that scrapes the agents as `istio/metrics` says, with its rules and alerts."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from hosts import CONTROL
from kube import Kube
from lab.process import Process
from lab.until import until
from mesh import Agent, answers
from programs import READ, REPOSITORY, module_folder
from prometheus_client.parser import text_string_to_metric_families

URL = f"http://{CONTROL}:9090"


def series(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """The series of a page of metrics by this name: labels and value."""
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    return [(dict(one.labels), one.value) for one in samples if one.name in {name, f"{name}_total"}]


def total(text: str, name: str) -> float:
    return sum(value for _, value in series(text, name))


def has_labels(text: str) -> None:
    """Both versions have counted, under real labels."""
    found = series(text, "cohort_requests_total")
    assert {(one["plugin"], one["rollout"], one["rollout_version"]) for one, _ in found} >= {
        ("cohort", "checkout", "canary"),
        ("cohort", "checkout", "stable"),
    }


@asynccontextmanager
async def operators_kinds(kube: Kube) -> AsyncIterator[None]:
    """With the Prometheus operator's kinds that the manifests have; what is of them goes with them."""
    operator = module_folder("prometheus-operator", READ["prometheus-operator"])
    kinds = operator / "example/prometheus-operator-crd"
    names = ("podmonitors", "prometheusrules")
    await kube.crds(*(kinds / f"monitoring.coreos.com_{name}.yaml" for name in names))
    yield
    await kube.kubectl("delete", "crd", *(f"{name}.monitoring.coreos.com" for name in names))


def relabelings() -> list[dict[str, Any]]:
    """The PodMonitor's metricRelabelings, as the operator writes them for Prometheus."""
    monitor = yaml.safe_load((REPOSITORY / "istio/metrics/pod-monitor.yaml").read_text())
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return [{names.get(key, key): value for key, value in rule.items()} for rule in endpoint["metricRelabelings"]]


class Prometheus:
    """``async with Prometheus(folder, agents) as prometheus:``; `also` are other targets, all they tell is kept."""

    def __init__(
        self, folder: Path, agents: list[Agent], also: tuple[str, ...] = (), *, all_of_them: bool = False
    ) -> None:
        self.folder, self._agents, self._also = folder / "prometheus", agents, also
        #: Whether to keep what is not Cohort's, too.
        self._all = all_of_them

    async def __aenter__(self) -> Prometheus:
        self.folder.mkdir(exist_ok=True)
        rules = yaml.safe_load((REPOSITORY / "istio/metrics/prometheus-rule.yaml").read_text())["spec"]
        (self.folder / "rules.yaml").write_text(yaml.safe_dump(rules, sort_keys=False))
        targets = [
            {"targets": [f"{one.address}:15020"], "labels": {"namespace": one.ns, "pod": one.name}}
            for one in self._agents
        ]
        jobs = [
            {
                # What the operator calls the job of that PodMonitor.
                "job_name": "istio-system/cohort",
                "metrics_path": "/stats/prometheus",
                "static_configs": targets,
                "metric_relabel_configs": [] if self._all else relabelings(),
            }
        ]
        if self._also:
            jobs.append({"job_name": "istiod", "static_configs": [{"targets": list(self._also)}]})
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": jobs,
        }
        (self.folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        script = str(REPOSITORY / "scripts" / "prometheus.sh")
        found = subprocess.run([script], check=True, capture_output=True, text=True).stdout.strip()
        self.process = await Process.start(
            "prometheus",
            [
                f"{found}/prometheus",
                f"--config.file={self.folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address={CONTROL}:9090",
            ],
            log=self.folder / "log",
            stdout=self.folder / "log",
        )
        await until(lambda: answers(f"{URL}/-/ready"), "Prometheus ready", timeout=60, every=0.2)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.process.stop()

    async def query(self, text: str) -> list[tuple[dict[str, str], float]]:
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{URL}/api/v1/query", params={"query": text}) as answer:
                told = await answer.json()
        assert told["status"] == "success", f"{text}: {told}"
        return [(one["metric"], float(one["value"][1])) for one in told["data"]["result"]]

    async def alerts(self) -> set[str]:
        """The alerts that are pending or firing."""
        async with aiohttp.ClientSession() as http, http.get(f"{URL}/api/v1/alerts") as answer:
            return {one["labels"]["alertname"] for one in (await answer.json())["data"]["alerts"]}
