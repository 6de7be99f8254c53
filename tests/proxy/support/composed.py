"""The services of `envoy/docker-compose.yaml` as processes of this machine.

There is no Docker engine here, so each command is run as the file has it: in the file's order, with the files
that the Dockerfile copies and the volumes that the file mounts. What is rewritten is what belongs to a container:
its paths become folders, its names and ports become ports of 127.0.0.1.
"""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from lab import envoy as envoys
from lab.process import Process
from lab.until import until
from prometheus import tool

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "envoy/docker-compose.yaml"
DOCKERFILE = ROOT / "envoy/Dockerfile"

#: What an image runs before a service's `command`, where that is not the command itself.
ENTRYPOINTS = {"prom/prometheus": ["prometheus"]}
#: What an image's program listens on unless it is told otherwise.
DEFAULT_PORTS = {"prometheus": 9090}


def document() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of the Dockerfile by stage, FROM first."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            name = rest.split(" AS ")[1]
            found[name] = []
        found[name].append((word, rest.strip()))
    return found


def copies(stage: str) -> list[tuple[str | None, list[str], str]]:
    """What a stage copies: from which stage (None: the repository), what, and where to."""
    found = []
    for word, rest in stages()[stage]:
        if word == "COPY":
            parts = shlex.split(rest)
            origin = parts.pop(0).removeprefix("--from=") if parts[0].startswith("--from=") else None
            found.append((origin, parts[:-1], parts[-1]))
    return found


def order(services: dict[str, Any]) -> list[str]:
    """Services, each after those it depends on."""
    done: list[str] = []

    def visit(name: str) -> None:
        for one in services[name].get("depends_on", {}):
            visit(one)
        if name not in done:
            done.append(name)

    for name in services:
        visit(name)
    return done


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@dataclass
class Composed:
    folder: Path
    #: Services that are not run, for there is no such program here.
    without: tuple[str, ...] = ("grafana",)
    processes: dict[str, Process] = field(default_factory=dict)
    #: Ports of 127.0.0.1 by service and port in the container.
    ports: dict[tuple[str, int], int] = field(default_factory=dict)
    #: Folders that were laid down, by service.
    _laid: dict[str, dict[str, Path]] = field(default_factory=dict)

    async def __aenter__(self) -> Composed:
        self.services = document()["services"]
        for port in ({"page": 8080, "checkout-v1": 8080, "checkout-v2": 8080}).items():
            self.ports[port] = free_port()
        for port in (("envoy", 10000), ("envoy", 9901), ("prometheus", 9090)):
            self.ports[port] = free_port()
        try:
            for name in order(self.services):
                if name not in self.without:
                    await self._await_dependencies(name)
                    await self._start(name)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            await process.stop()

    async def _await_dependencies(self, name: str) -> None:
        for other, how in self.services[name].get("depends_on", {}).items():
            if other in self.without:
                continue
            process = self.processes[other]
            if how["condition"] == "service_completed_successfully":
                assert await process.child.wait() == 0, process.tail()
            else:
                assert how["condition"] == "service_healthy"
                await self.healthy(other)

    async def healthy(self, name: str) -> None:
        """Runs a service's health check until it succeeds."""
        check = self.services[name]["healthcheck"]["test"]
        assert check[0] == "CMD"
        argv = self._argv(name, check[1:])

        async def good() -> bool:
            assert self.processes[name].alive, self.processes[name].tail()
            log = self.folder / f"{name}.health"
            return await (await Process.start("health", argv, log=log, stdout=log)).child.wait() == 0

        await until(good, f"{name} healthy", timeout=60, every=0.3)

    # --- rewriting -----------------------------------------------------------------------------------

    def _paths(self, name: str) -> dict[str, Path]:
        """Folders by path in the container: volumes, and what the image copies."""
        if name in self._laid:
            return self._laid[name]
        service = self.services[name]
        found: dict[str, Path] = {}
        target = service.get("build", {}).get("target")
        if target:
            for origin, what, where in copies(target):
                # Each service has its own, as containers do.
                root = self.folder / "images" / name
                for one in what:
                    source = envoys.module() if origin == "module" else ROOT / one
                    into = root / where.lstrip("/")
                    put(source, into / source.name if where.endswith("/") else into)
                found[f"/{where.strip('/').split('/')[0]}"] = root / where.strip("/").split("/")[0]
        for volume in service.get("volumes", []):
            source, where = volume.split(":")[:2]
            if source.startswith("./"):
                # A copy, in which names and ports can be rewritten.
                folder = self.folder / "bind" / source[2:]
                put(FILE.parent / source, folder)
                for file in folder.rglob("*.yaml"):
                    file.write_text(self.rewritten(name, file.read_text(), {}))
            else:
                assert source in document()["volumes"]
                folder = self.folder / "volumes" / source
                folder.mkdir(parents=True, exist_ok=True)
            found[where] = folder
        self._laid[name] = found
        return found

    def rewritten(self, name: str, text: str, paths: dict[str, Path]) -> str:
        for path, folder in sorted(paths.items(), key=lambda one: -len(one[0])):
            text = re.sub(rf"(?<![\w/.]){re.escape(path)}(?![\w-])", str(folder), text)
        for (service, port), here in self.ports.items():
            text = re.sub(rf"\b{service}:{port}\b", f"127.0.0.1:{here}", text)
            text = re.sub(rf"address: {service}, port_value: {port}\b", f"address: 127.0.0.1, port_value: {here}", text)
            if service == name:
                text = re.sub(rf"\b(127\.0\.0\.1[:/]|0\.0\.0\.0, port_value: ){port}\b", rf"\g<1>{here}", text)
                text = re.sub(rf"^(--port=)?{port}$", rf"\g<1>{here}", text)
        return text.replace("0.0.0.0", "127.0.0.1")

    def _argv(self, name: str, argv: Iterable[str]) -> list[str]:
        paths = self._paths(name)
        rewritten = [self.rewritten(name, one, paths) for one in argv]
        programs = {"python": sys.executable, "envoy": envoys.binary()}
        if rewritten[0] == "prometheus":
            rewritten[0] = tool("prometheus")
        return [programs.get(rewritten[0], rewritten[0]), *rewritten[1:]]

    async def _start(self, name: str) -> None:
        service = self.services[name]
        image = service["image"].partition(":")[0]
        argv = self._argv(name, [*ENTRYPOINTS.get(image, []), *service["command"]])
        if name in DEFAULT_PORTS:
            argv.append(f"--web.listen-address=127.0.0.1:{self.ports[name, DEFAULT_PORTS[name]]}")
            # Its own data folder is a volume of the image.
            data = self.folder / "data"
            argv = [one.replace("=/prometheus", f"={data}") for one in argv]
        if name == "envoy":
            argv += ["--disable-hot-restart"]
            for file in ("envoy.yaml", "filter.yaml"):
                live = self.folder / "volumes/live" / file
                live.write_text(self.rewritten(name, live.read_text(), self._paths(name)))
        environment = {
            key: self.rewritten(name, value, self._paths(name))
            for word, rest in stages().get(service.get("build", {}).get("target"), [])
            if word == "ENV"
            for key, _, value in [pair.partition("=") for pair in rest.split()]
        }
        self.processes[name] = await Process.start(
            name, argv, log=self.folder / f"{name}.log", stdout=self.folder / f"{name}.out", env=environment
        )

    def url(self, name: str, port: int) -> str:
        return f"http://127.0.0.1:{self.ports[name, port]}"


def put(source: Path, into: Path) -> None:
    into.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, into)
