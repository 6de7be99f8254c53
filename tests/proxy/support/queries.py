"""Every PromQL expression of the repository, by where it is written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
DASHBOARD = ROOT / "envoy/grafana/dashboards/cohort.json"
RULES = ROOT / "envoy/prometheus/rules.yaml"
ISTIO_RULES = ROOT / "istio/metrics/prometheus-rule.yaml"

#: A fence of a document that holds queries, one to each paragraph.
FENCE = re.compile(r"^```promql\n(.*?)^```$", re.DOTALL | re.MULTILINE)

ANY_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")

#: A function of one of Cohort's metrics.
PROMQL = re.compile(
    r"(?:rate|increase|changes|sum|max|min|avg|absent|histogram_quantile)\s*(?:by \([^)]*\)\s*)?"
    r"\(\s*[(\w]*\(?\s*cohort_"
)
#: One of them by its labels or compared with a number, or a recorded one.
PLAIN = re.compile(r"cohort_\w+(?:\{[^}]*[^.}]\}| [=<>!]=? [\d.]+)|cohort:\w+:\w+")


def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def rules() -> dict[str, Any]:
    return yaml.safe_load(RULES.read_text())


def panels() -> dict[str, str]:
    """The queries of the panels, by title and letter."""
    return {
        f"{panel['title']} {one['refId']}": one["expr"] for panel in dashboard()["panels"] for one in panel["targets"]
    }


def annotations() -> dict[str, str]:
    return {one["name"]: one["expr"] for one in dashboard()["annotations"]["list"]}


def records() -> dict[str, str]:
    return {rule["record"]: rule["expr"] for group in rules()["groups"] for rule in group["rules"] if "record" in rule}


def alerts() -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for group in rules()["groups"] for rule in group["rules"] if "alert" in rule}


def documents() -> dict[str, str]:
    """The queries in the documents, by page and number: of their fences, and those in a line of text."""
    found = {}
    for page in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]):
        text = page.read_text()
        queries = [part for fence in FENCE.findall(text) for part in re.split(r"\n\s*\n", fence.strip())]
        queries += [span for span in SPAN.findall(ANY_FENCE.sub("", text)) if PROMQL.search(span) or PLAIN.match(span)]
        found |= {f"{page.relative_to(ROOT)} {number}": query for number, query in enumerate(queries)}
    return found


def grafana(query: str, rollout: str = "checkout", span: str = "20s") -> str:
    """A query as Grafana sends it."""
    return query.replace("$__rate_interval", span).replace("$__range", "5m").replace("$rollout", rollout)
