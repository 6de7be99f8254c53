"""Every configuration on docs/deciding.md loads into a real Envoy, and every row of its tables is what Envoy does, and
what the command says."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import Launch, config, rollout
from lab.bootstrap import connection_manager
from lab.envoy import COMMAND, REPOSITORY, Envoy
from lab.wire import get, get_http2
from upstream import as_asked, upstream


@dataclass
class Row:
    """A request in words, and the version and reason that it gets."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    host: str
    version: str
    reason: str
    #: The status and the headers of the upstream's answer, and the cookies that go out with it, where the row says.
    answer: tuple[str, list[str]] | None = None
    cookies: list[str] | None = None


@dataclass
class Example:
    """A configuration with the requests that the page tells of it."""

    config: dict[str, Any]
    rows: list[Row] = field(default_factory=list)


def row(line: str) -> Row:
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    request, answer, version, reason, cookies = cells if len(cells) == 5 else [cells[0], None, *cells[1:], None]
    first, *others = re.findall("`([^`]+)`", request)
    method, path = first.split(" ")
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
    found = Row(method, path, headers, host, version, reason)
    if answer is not None:
        status, *lines = re.findall("`([^`]+)`", answer)
        found.answer = (status, lines)
        found.cookies = [
            name + "; Domain=example.com" * (after == " with its domain")
            for name, after in re.findall("`([^`]+)`([^`,]*)", cookies)
        ]
    return found


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


#: The headings of the tables without and with the upstream's answer.
DECIDING = [heading for heading, example in EXAMPLES.items() if not example.rows or example.rows[0].answer is None]
ANSWERED = [heading for heading in EXAMPLES if heading not in DECIDING]


@pytest.fixture(scope="module")
async def edge(launch: Launch) -> Envoy:
    def behind_a_proxy(boot: dict[str, Any]) -> None:
        connection_manager(boot)["xff_num_trusted_hops"] = 1

    return await launch(config=config(), edit=behind_a_proxy)


def test_the_page_has_an_example_for_each_step():
    steps = {row.reason for example in EXAMPLES.values() for row in example.rows}
    assert steps == {"DISABLED", "OVERRIDE", "INHERITED", "RULE", "PINNED", "HASH", "DEFAULT"}
    assert sum(len(example.rows) for example in EXAMPLES.values()) >= 30
    assert sum(row.cookies is not None for example in EXAMPLES.values() for row in example.rows) >= 10


@pytest.mark.parametrize("heading", DECIDING)
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


def outgoing(line: str) -> str:
    """What the page says of a `set-cookie` line: the cookie's name, and its domain."""
    pair, *attributes = line.split("; ")
    domain = [attribute for attribute in attributes if attribute.startswith("Domain=")]
    return "; ".join([pair.partition("=")[0], *domain])


@pytest.fixture(scope="module")
async def before_an_application(launch: Launch) -> AsyncIterator[Envoy]:
    """An Envoy before an upstream that answers as the request says; `/followed` is a redirect that Envoy follows."""
    async with upstream(as_asked) as address:
        to = {"cluster": "app"}
        policy = {"redirect_response_codes": [302], "max_internal_redirects": 1}
        followed = {"match": {"path": "/followed"}, "route": {**to, "internal_redirect_policy": policy}}
        # The second pass is to get a page.
        page = {"match": {"path": "/page"}, "route": to, "request_headers_to_remove": ["x-status", "x-answer"]}
        routes = [followed, page, {"match": {"prefix": "/"}, "route": to}]
        yield await launch(config=config(rollout()), routes=routes, clusters={"app": address})


@pytest.mark.parametrize("ask", [get, get_http2], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("heading", ANSWERED)
async def test_the_cookies_go_out_as_the_page_says(before_an_application: Envoy, heading: str, ask: Any):
    example = EXAMPLES[heading]
    for one in example.config["rollouts"]:
        one.setdefault("output", {}).update(responseHeader="x-version", reasonHeader="x-reason")
    await before_an_application.configure(example.config)
    for row in example.rows:
        status, lines = row.answer
        wanted = [("x-status", status), *(("x-answer", line) for line in lines)]
        reply = await ask(
            before_an_application.address, row.path, [*row.headers, *wanted], host=row.host, method=row.method
        )
        assert (reply.one("x-version"), reply.one("x-reason")) == (row.version, row.reason), row
        assert sorted(map(outgoing, reply.all("set-cookie"))) == sorted(row.cookies), row


def explained(example: Example, row: Row, directory: Path, *more: str) -> str:
    arguments = ["--method", row.method, "--url", f"http://{row.host}{row.path}"]
    for name, value in row.headers:
        arguments += ["--address", value] if name == "x-forwarded-for" else ["-H", f"{name}: {value}"]
    command = [COMMAND, "explain", written(example, directory), *arguments, *more]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("heading", ANSWERED)
def test_explain_hands_out_the_cookies_of_the_page(tmp_path: Path, heading: str):
    """It knows no answer: the cookies are those of an answer that no shared cache may keep, and it says so."""
    example = EXAMPLES[heading]
    for row in example.rows:
        text = explained(example, row, tmp_path)
        lines = re.findall("^response  set-cookie: (.*)$", text, re.MULTILINE)
        cookies = sorted(map(outgoing, lines))
        if row.cookies or row.answer == ("200", []):
            assert cookies == sorted(row.cookies), row
        assert ("only on an answer that no shared cache may keep" in text) == bool(cookies)


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
    for row in example.rows:
        decision = json.loads(explained(example, row, tmp_path, "--output", "json"))
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
