"""`compose.yaml` on a real engine: brought up, used, broken, and taken down with nothing left.

`make test-compose` runs it. The tests are one story, in the order of the file. The repository is a copy made under a
umask that lets nobody else read it, the ports are free ones, and the project has a name of its own, so that a demo
that runs already is left alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from lab import arithmetic
from lab.client import Answer, ask, users
from lab.until import until

ROOT = Path(__file__).resolve().parents[2]
PROJECT = f"cohort-test-{os.getpid()}"
PORTS = ["ENVOY", "ADMIN", "PAGE", "PROMETHEUS", "GRAFANA"]
SERVICES = {"envoy", "checkout-v1", "checkout-v2", "page", "prometheus", "grafana"}
#: The first build fetches and compiles everything.
pytestmark = pytest.mark.timeout(1800)

EVERYBODY = users(200)


def run(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False, **options)


def docker(*argv: str) -> list[str]:
    """The lines that the engine answers with."""
    done = run("docker", *argv)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@dataclass
class Demo:
    #: A private copy of the repository.
    folder: Path
    #: What the engine had before.
    before: dict[str, set[str]]
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in PORTS})

    def compose(self, *argv: str, **ports: int) -> subprocess.CompletedProcess[str]:
        chosen = {f"COHORT_{name}_PORT": str(port) for name, port in {**self.ports, **ports}.items()}
        return run("docker", "compose", "-p", PROJECT, *argv, cwd=self.folder, env={**os.environ, **chosen})

    def good(self, *argv: str) -> str:
        done = self.compose(*argv)
        assert done.returncode == 0, f"{argv}:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    async def get(self, name: str, path: str) -> Any:
        async with aiohttp.ClientSession() as http, http.get(self.url(name) + path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json(content_type=None) if "json" in answer.content_type else await answer.text()

    async def press(self, button: str, **value: Any) -> None:
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{self.url('PAGE')}/{button}", json=value) as answer:
                assert answer.status == 200, await answer.text()

    async def state(self) -> dict[str, Any]:
        return (await self.get("PAGE", "/state"))["state"]

    def live(self) -> str:
        """The live filter.yaml, as Envoy's container has it."""
        return self.good("exec", "-T", "envoy", "cat", "/etc/cohort/live/filter.yaml")

    async def others(self, weight: float) -> list[Answer]:
        """Answers but for good ones of the version that the arithmetic gives the user at that weight."""
        split = {"name": "checkout", "versions": [{"name": "stable"}, {"name": "canary", "weight": weight}]}
        wanted = arithmetic.versions(split, EVERYBODY)
        homes = {"stable": "checkout-v1", "canary": "checkout-v2"}

        def is_right(answer: Answer) -> bool:
            version = wanted[answer.user]
            return (answer.version, answer.served_by, answer.failed) == (version, homes[version], False)

        answers = await ask(self.url("ENVOY"), EVERYBODY, rollout="checkout")
        assert answers.keys() == wanted.keys()
        return [answer for answer in answers.values() if not is_right(answer)]

    async def expect(self, weight: float) -> None:
        """Everybody gets the version that the arithmetic gives them at that weight, from its service."""
        assert await self.others(weight) == []

    async def arrived(self, weight: float) -> None:
        """Returns once that is so: each worker learns by itself, with its next tick, that a version is out or back."""
        await until(lambda: self.others(weight), f"{weight} % on every worker", holds=lambda others: not others)

    async def held_out(self) -> None:
        def out(state: dict[str, Any]) -> bool:
            canary = state["standings"]["canary"]
            return canary["held_out"] and canary["in_force"] == 0

        await until(self.state, "the canary held out", holds=out, timeout=60, every=0.1)
        await self.arrived(0)

    async def in_force(self, weight: float) -> None:
        def back(state: dict[str, Any]) -> bool:
            return state["in_force"] == weight and not state["standings"]["canary"]["held_out"]

        await until(self.state, f"{weight} % in force", holds=back, timeout=180, every=0.2)
        await self.arrived(weight)


def engine_has() -> dict[str, set[str]]:
    """Containers, networks and volumes of the engine, those without a name too, and the project's images."""
    return {
        "containers": set(docker("ps", "-aq")),
        "networks": set(docker("network", "ls", "-q")),
        "volumes": set(docker("volume", "ls", "-q")),
        "images": {name for name in docker("images", "--format", "{{.Repository}}") if name.startswith("cohort-test-")},
    }


def private_copy(into: Path) -> None:
    """The repository as a clone under umask 077 has it."""
    names = run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).stdout.splitlines()
    for name in filter(lambda one: (ROOT / one).exists(), names):
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
        target.chmod(0o700 if os.access(ROOT / name, os.X_OK) else 0o600)
    for folder in [into, *(one for one in into.rglob("*") if one.is_dir())]:
        folder.chmod(0o700)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Demo]:
    folder = tmp_path_factory.mktemp("repository")
    private_copy(folder)
    demo = Demo(folder, engine_has())
    try:
        yield demo
    finally:
        demo.compose("down", "--volumes", "--remove-orphans")
        if left := engine_has()["images"] - demo.before["images"]:
            docker("image", "rm", *left)
        shutil.rmtree(folder)


async def test_a_port_that_is_taken_keeps_its_own_service_away_and_not_the_page(demo: Demo):
    """Grafana's, which every Node developer has taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = demo.compose("up", "--build", "--wait", GRAFANA=port)
    assert done.returncode != 0
    assert f"127.0.0.1:{port}" in done.stderr, done.stderr[-3000:]

    async def ready() -> bool:
        try:
            return await demo.get("PAGE", "/ready") == "ready\n"
        except (aiohttp.ClientError, AssertionError):
            return False

    await until(ready, "the page ready", timeout=120, every=0.5)


async def test_one_command_brings_it_up_and_returns_when_all_of_it_is_healthy(demo: Demo):
    demo.good("up", "--build", "--wait")
    found = [json.loads(line) for line in demo.good("ps", "-a", "--format", "json").splitlines()]
    found = found[0] if found and isinstance(found[0], list) else found
    assert {one["Service"] for one in found} == SERVICES
    assert {one["State"] for one in found} == {"running"}
    assert {one["Health"] for one in found} == {"healthy", ""}
    page = await demo.get("PAGE", "/")
    assert "<h1>Cohort</h1>" in page
    assert (await demo.get("PAGE", "/readme")).startswith("# Cohort")
    await demo.expect(5)


def test_the_image_has_the_bytes_of_make_build(demo: Demo, tmp_path: Path):
    for name in ("cohort.wasm", "built-with.txt"):
        demo.good("cp", f"envoy:/etc/cohort/{name}", str(tmp_path / name))
    here = "".join(run(tool, "--version").stdout for tool in ("rustc", "wasm-opt") if shutil.which(tool))
    there = (tmp_path / "built-with.txt").read_text()
    if here != there:
        pytest.skip(f"not compared, other tools: the image has {there.split()}, this machine {here.split()}")
    digests = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "cohort.wasm", ROOT / "target/cohort.wasm")
    ]
    assert digests[0] == digests[1]


async def test_a_weight_is_changed_and_a_second_up_keeps_it(demo: Demo):
    await demo.press("weight", weight=40)
    await demo.expect(40)
    before = demo.live()
    assert '"weight": 40' in before and '"guard"' in before
    demo.good("up", "--build", "--wait")
    demo.good("up", "--wait", "--force-recreate", "envoy")
    assert demo.live() == before
    await demo.in_force(40)
    await demo.expect(40)


async def test_prometheus_sees_the_weight_in_force_and_the_rules(demo: Demo):
    async def weights() -> dict[str, float]:
        told = await demo.get("PROMETHEUS", "/api/v1/query?query=sum+by+(rollout_version)+(cohort_version_weight)")
        return {one["metric"]["rollout_version"]: float(one["value"][1]) for one in told["data"]["result"]}

    wanted = {"stable": 60000, "canary": 40000}
    await until(weights, "the weights scraped", holds=lambda seen: seen == wanted, timeout=60, every=0.5)
    groups = (await demo.get("PROMETHEUS", "/api/v1/rules"))["data"]["groups"]
    assert {group["name"] for group in groups} == {"cohort.alerts", "cohort.records"}
    await demo.get("GRAFANA", "/api/health")


async def test_a_broken_canary_is_held_out_and_comes_back(demo: Demo):
    await demo.press("broken", broken=True)
    await demo.held_out()
    await demo.expect(0)
    await demo.press("broken", broken=False)
    await demo.in_force(40)
    await demo.expect(40)


async def test_a_canary_whose_container_is_stopped_is_held_out_and_comes_back(demo: Demo):
    await demo.press("weight", weight=30)
    await demo.in_force(30)
    demo.good("stop", "checkout-v2")
    await demo.held_out()
    await demo.expect(0)
    assert (await demo.state())["serving"] is False
    demo.good("start", "checkout-v2")
    await demo.in_force(30)
    await demo.expect(30)
    news = [one["text"] for one in (await demo.get("PAGE", "/state"))["news"]]
    assert "canary's service does not answer." in news and "canary's service answers again." in news


async def test_all_green_loses_no_request(demo: Demo):
    failed = (await demo.get("PAGE", "/state"))["sticky"]["failed"]
    await demo.press("weight", weight=100)
    await demo.expect(100)
    told = await demo.get("PAGE", "/state")
    assert told["sticky"]["failed"] == failed
    # Nobody ever went back and forth but by a change; at random, many did.
    assert told["sticky"]["back_and_forth"] == 0 < told["random"]["back_and_forth"]


def test_logs_are_bounded_and_no_interpreter_checks_health(demo: Demo):
    for container in demo.good("ps", "-aq").split():
        [told] = json.loads("\n".join(docker("inspect", container)))
        assert told["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}
        assert not [mount for mount in told["Mounts"] if mount["Type"] == "bind"]
        assert "python" not in json.dumps(told["Config"].get("Healthcheck", {}))


async def test_down_keeps_the_weights_and_down_with_volumes_leaves_nothing(demo: Demo):
    volume = f"{PROJECT}_live"
    demo.good("down")
    assert engine_has()["volumes"] - demo.before["volumes"] == {volume}
    await asyncio.to_thread(demo.good, "up", "--wait")
    assert '"weight": 100' in demo.live()
    demo.good("down", "--volumes", "--rmi", "local")
    assert engine_has() == demo.before
