"""Every configuration on docs/deciding.md loads into a real Envoy, and every row of its tables is what Envoy does, and
what the command says."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import Launch, config
from lab.bootstrap import connection_manager
from lab.envoy import COMMAND, REPOSITORY, Envoy
from lab.wire import get


@dataclass
class Row:
    """A request in words, and the version and reason that it gets."""

    path: str
    headers: list[tuple[str, str]]
    host: str
    version: str
    reason: str


@dataclass
class Example:
    """A configuration with the requests that the page tells of it."""

    config: dict[str, Any]
    rows: list[Row] = field(default_factory=list)


def row(line: str) -> Row:
    request, version, reason = (cell.strip() for cell in line.strip("|").split("|"))
    first, *others = re.findall("`([^`]+)`", request)
    method, path = first.split(" ")
    assert method == "GET"
    headers, host = [], "lab"
    for part in others:
        if part.startswith("from "):
            headers.append(("x-forwarded-for", part.removeprefix("from ")))
        else:
            name, _, value = part.partition(": ")
            if name == "host":
                host = value
            else:
                headers.append((name, value))
    return Row(path, headers, host, version, reason)


def examples() -> dict[str, Example]:
    """The examples of the page by the heading that they stand under."""
    found: dict[str, Example] = {}
    heading = text = None
    for line in (REPOSITORY / "docs" / "deciding.md").read_text().splitlines():
        if line == "```json":
            text = ""
        elif line == "```" and text is not None:
            found[heading] = Example(json.loads(text))
            text = None
        elif text is not None:
            text += line
        elif line.startswith("## "):
            heading = line.removeprefix("## ")
        elif line.startswith("| `"):
            found[heading].rows.append(row(line))
    return found


EXAMPLES = examples()


@pytest.fixture(scope="module")
async def edge(launch: Launch) -> Envoy:
    def behind_a_proxy(boot: dict[str, Any]) -> None:
        connection_manager(boot)["xff_num_trusted_hops"] = 1

    return await launch(config=config(), edit=behind_a_proxy)


def test_the_page_has_an_example_for_each_step():
    steps = {row.reason for example in EXAMPLES.values() for row in example.rows}
    assert steps == {"DISABLED", "OVERRIDE", "INHERITED", "RULE", "PINNED", "HASH", "DEFAULT"}
    assert sum(len(example.rows) for example in EXAMPLES.values()) >= 30


@pytest.mark.parametrize("heading", EXAMPLES)
async def test_an_example_does_what_the_page_says(edge: Envoy, heading: str):
    example = EXAMPLES[heading]
    await edge.configure(example.config)
    for one in example.config["rollouts"]:
        # The page leaves out what only tells a test about a decision.
        one.setdefault("output", {}).update(responseHeader="x-version", reasonHeader="x-reason")
    await edge.configure(example.config)
    for row in example.rows:
        reply = await get(edge.address, row.path, row.headers, host=row.host)
        assert (reply.one("x-version"), reply.one("x-reason")) == (row.version, row.reason), row
        service = "checkout-v2" if row.version == "canary" else "checkout-v1"
        assert reply.told["service"] == service, row


def told(*arguments: str) -> list[dict[str, Any]]:
    run = subprocess.run([COMMAND, *arguments, "--output", "json"], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def written(example: Example, directory: Path) -> str:
    file = directory / "config.json"
    file.write_text(json.dumps(example.config))
    return str(file)


@pytest.mark.parametrize("heading", EXAMPLES)
def test_explain_says_what_the_page_says(tmp_path: Path, heading: str):
    example = EXAMPLES[heading]
    file = written(example, tmp_path)
    for row in example.rows:
        arguments = ["--url", f"http://{row.host}{row.path}"]
        for name, value in row.headers:
            arguments += ["--address", value] if name == "x-forwarded-for" else ["-H", f"{name}: {value}"]
        [decision] = told("explain", file, *arguments)
        assert (decision["version"], decision["reason"]) == (row.version, row.reason), row


def value(row: Row, source: dict[str, str]) -> str | None:
    """What a request has at a plain source of a key."""
    [(kind, name)] = source.items()
    cookies = "; ".join(line for header, line in row.headers if header == "cookie").split("; ")
    found = {
        "header": dict(row.headers),
        "cookie": dict(cookie.split("=", 1) for cookie in cookies if cookie),
        "query": dict(part.split("=", 1) for part in row.path.partition("?")[2].split("&") if part),
    }
    return found[kind].get(name)


def test_simulate_puts_every_key_of_the_page_where_the_page_says(tmp_path: Path):
    simulated = 0
    for example in EXAMPLES.values():
        [first, *_] = example.config["rollouts"][0].get("hashKey", [{}])
        sources = first.get("all", [first])
        wanted = {}
        for row in example.rows:
            values = [value(row, source) for source in sources]
            if row.reason == "HASH" and all(values):
                wanted["\t".join(values)] = row.version
        if not wanted:
            continue
        keys = tmp_path / "keys.txt"
        keys.write_text("\n".join(wanted))
        # Of several sources it takes the simplest: here the one that these rows have a value at.
        [one] = example.config["rollouts"]
        only = Example({**example.config, "rollouts": [{**one, "hashKey": [first]}]})
        lines = told("simulate", written(only, tmp_path), "--keys-from", str(keys), "--list")
        assert {line["key"]: line["version"] for line in lines} == wanted
        simulated += len(lines)
    assert simulated >= 8, "the page has that many keys"
