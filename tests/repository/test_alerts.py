"""When alerts must keep quiet, and when they must stay. That each alert fires is in test_manifests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from prometheus import tool
from queries import ROOT, RULES, dashboard
from test_manifests import rule_test


def requests(version: str, reason: str, values: str) -> dict[str, str]:
    return {f'cohort_requests_total{{rollout="r",rollout_version="{version}",reason="{reason}"}}': values}


def weights(stable: str, canary: str) -> dict[str, str]:
    name = 'cohort_version_weight{{rollout="r",rollout_version="{}"}}'
    return {name.format("stable"): stable, name.format("canary"): canary}


#: What is no reason to wake anybody, minute by minute.
QUIET = {
    "the weight was raised": {
        **weights("95000x10 50000x30", "5000x10 50000x30"),
        **requests("stable", "HASH", "0+950x10 10000+500x30"),
        **requests("canary", "HASH", "0+50x10 1000+500x30"),
    },
    "the canary is held out, and its users get stable": {
        **weights("100000x40", "0x40"),
        **requests("stable", "HASH", "0+700x40"),
        **requests("stable", "FALLBACK", "0+300x40"),
    },
    "testers override": {
        **weights("95000x40", "5000x40"),
        **requests("stable", "HASH", "0+950x40"),
        **requests("canary", "HASH", "0+50x40"),
        **requests("canary", "OVERRIDE", "0+5000x40"),
    },
    "there are few requests": {
        **weights("95000x40", "5000x40"),
        **requests("stable", "HASH", "0+80x40"),
        **requests("canary", "HASH", "0+20x40"),
    },
}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES.read_text())
    return path


@pytest.mark.parametrize("why", QUIET)
@pytest.mark.parametrize("minutes", [12, 21, 35])
def test_a_share_is_not_said_to_be_off_its_weight_when(rules: Path, why: str, minutes: int):
    rule_test(rules, QUIET[why], minutes, {"CohortShareOffWeight": []})


def test_it_is_when_many_are_off(rules: Path):
    """The last one above with ten times as many requests."""
    many = {
        name: values.replace("+80x", "+800x").replace("+20x", "+200x")
        for name, values in QUIET["there are few requests"].items()
    }
    labels = [{"rollout": "r", "rollout_version": version, "severity": "warning"} for version in ("canary", "stable")]
    rule_test(rules, many, 35, {"CohortShareOffWeight": labels})


def test_prometheus_takes_the_configuration_of_the_compose_file():
    config = ROOT / "envoy/prometheus/prometheus.yaml"
    done = subprocess.run([tool("promtool"), "check", "config", str(config)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 rules found" in done.stdout


def test_the_alert_on_a_version_held_out_stays_while_it_is_tried_again_and_ends_when_it_is_back(rules: Path):
    """Out, tried again and thrown out, until it stays in after half an hour."""
    tries = "0x4 " + " ".join(["1x4 0x1"] * 4) + " 0x40"
    series = {'cohort_version_held_out{rollout="r",rollout_version="canary",pod="a"}': tries}
    firing = [{"rollout": "r", "rollout_version": "canary", "severity": "warning"}]
    # Of which these are minutes in which it is tried again.
    for minutes in (10, 11, 17, 18, 24, 25, 33):
        rule_test(rules, series, minutes, {"CohortVersionHeldOut": firing})
    rule_test(rules, series, 45, {"CohortVersionHeldOut": []})


def test_answers_that_are_not_the_versions_own_do_not_hide_its_failures(rules: Path):
    """Denials of another filter beside few real answers, all of them failures."""
    answers = 'cohort_responses_total{{rollout="r",rollout_version="canary",code_class="{}",source="{}"}}'
    series = {
        answers.format("4xx", "proxy"): "0+2400x20",
        answers.format("5xx", "upstream"): "0+100x20",
        'cohort_failures_total{rollout="r",rollout_version="canary"}': "0+100x20",
    }
    firing = [{"rollout": "r", "rollout_version": "canary", "severity": "warning"}]
    rule_test(rules, series, 10, {"CohortVersionFailing": firing})


def test_two_plugins_with_a_rollout_of_one_name_do_not_disagree(rules: Path):
    weight = 'cohort_version_weight{{plugin="{}",rollout="r",rollout_version="canary",pod="a"}}'
    series = {weight.format("shop.cohort"): "5000x30", weight.format("search.cohort"): "25000x30"}
    rule_test(rules, series, 20, {"CohortProxiesDisagree": []})


def test_a_colour_that_warns_is_not_overridden_by_a_versions_own():
    """In Grafana an override of the colour wins over thresholds."""
    warning = [
        panel for panel in dashboard()["panels"] if panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps")
    ]
    assert {panel["title"] for panel in warning} == {"Held out", "Trips", "Without a valid configuration"}
    for panel in warning:
        field = panel["fieldConfig"]
        assert field["defaults"]["color"] == {"mode": "thresholds"}
        assert field["defaults"]["thresholds"]["steps"][-1]["color"] == "red"
        assert panel["options"]["colorMode"] == "background"
        overridden = {one["id"] for override in field["overrides"] for one in override["properties"]}
        assert not overridden & {"color", "thresholds"}, panel["title"]
