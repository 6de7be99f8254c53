"""A release by `cohort set` alone, on the file that a running Envoy watches: blue-green, back, the kill switch."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

from conftest import Launch
from lab import bootstrap
from lab.client import ask, users
from lab.envoy import Envoy
from lab.until import until

EXAMPLE = Path(__file__).parents[3] / "examples" / "blue-green.json"
WHO = users(60)


async def cohort(*arguments: str) -> str:
    """What the command prints; it has to end well."""
    command = [os.environ["COHORT"], *arguments]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def served(proxy: Envoy) -> set[str | None]:
    return {answer.version for answer in (await ask(proxy.url, WHO)).values()}


async def updates(proxy: Envoy) -> int:
    """How often Envoy has taken the file."""
    stats = await proxy.stats("extension_config_discovery.*config_reload")
    return sum(stats.values())


async def test_a_blue_green_release_and_the_way_back_are_one_command_each(launch: Launch):
    routes = bootstrap.answer_directly("x-cohort-checkout", ["green"], "blue")
    proxy = await launch(config=json.loads(EXAMPLE.read_text()), routes=routes, concurrency=2)
    file = str(proxy.filter_path)
    assert await served(proxy) == {"blue"}
    for what, version in (
        (["green=100"], "green"),
        (["green=0"], "blue"),
        (["blue=0", "green=100", "--revision", "green=2.4.1"], "green"),
        (["--disable"], "blue"),
        (["--enable"], "green"),
    ):
        before = await updates(proxy)
        said = await cohort("set", file, "checkout", *what)
        assert "of 10,000 move" in said, said
        await until(lambda: served(proxy), f"everybody on {version}", holds=lambda seen, v=version: seen == {v})
        # The file was renamed into place once, and each listener took it once.
        assert await updates(proxy) == before + 1, what
    assert not [line for line in proxy.filter_log() if "[error]" in line]


async def test_what_the_proxy_would_refuse_never_reaches_it(launch: Launch):
    routes = bootstrap.answer_directly("x-cohort-checkout", ["green"], "blue")
    proxy = await launch(config=json.loads(EXAMPLE.read_text()), routes=routes)
    before = proxy.filter_path.read_text()
    command = [os.environ["COHORT"], "set", str(proxy.filter_path), "checkout", "green=105"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert done.returncode == 2 and "allowed: a percentage from 0 to 100" in done.stderr
    assert proxy.filter_path.read_text() == before
    assert await served(proxy) == {"blue"}


async def test_status_shows_the_proxy(launch: Launch):
    routes = bootstrap.answer_directly("x-cohort-checkout", ["green"], "blue")
    proxy = await launch(config=json.loads(EXAMPLE.read_text()), routes=routes)
    await cohort("set", str(proxy.filter_path), "checkout", "green=25")
    await until(lambda: served(proxy), "green users", holds=lambda seen: seen == {"blue", "green"})
    admin = f"http://127.0.0.1:{proxy.admin_port}"
    lines = [json.loads(line) for line in (await cohort("status", admin, "--output", "json")).splitlines()]
    [green] = [line for line in lines if line.get("version") == "green"]
    assert (green["asked"], green["weight"], green["held_out"]) == (25.0, 25.0, False)
    assert green["requests"] > 0 and 0 < green["share"] < 100
    assert all(line["valid"] for line in lines if line["kind"] == "plugin")
    watched = await cohort("status", admin, "--watch", "--count", "2")
    assert watched.count("configuration: valid") == 2, watched
