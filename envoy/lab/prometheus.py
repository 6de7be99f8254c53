"""A real Prometheus that scrapes Envoys once a second."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from .bootstrap import ENVOY_DIR, Address
from .process import Process
from .until import until


class PrometheusMissing(Exception):
    """There is no Prometheus, and it cannot be fetched. Carries the reason."""


def tool(name: str) -> str:
    """The path of `prometheus` or `promtool`."""
    script = ENVOY_DIR.parent / "scripts" / "prometheus.sh"
    done = subprocess.run([str(script)], capture_output=True, text=True)
    if done.returncode:
        raise PrometheusMissing(done.stderr.strip())
    return str(Path(done.stdout.strip()) / name)


class Prometheus:
    """``async with Prometheus(port, path, relabelings, rules) as prometheus:`` scrapes 127.0.0.1:`port`.

    `jobs`: scrape configurations instead.
    """

    def __init__(
        self,
        port: int = 0,
        path: str = "",
        relabelings: Sequence[dict[str, Any]] = (),
        rules: Mapping[str, Any] | None = None,
        *,
        jobs: list[dict[str, Any]] | None = None,
    ) -> None:
        self._binary = tool("prometheus")
        self._config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": jobs
            or [
                {
                    "job_name": "proxy",
                    "metrics_path": path,
                    "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
                    "metric_relabel_configs": list(relabelings),
                }
            ],
        }
        self._rules = rules or {"groups": []}

    async def __aenter__(self) -> Prometheus:
        self._folder = Path(tempfile.mkdtemp(prefix="cohort-prometheus-"))
        (self._folder / "prometheus.yaml").write_text(yaml.safe_dump(self._config))
        (self._folder / "rules.yaml").write_text(yaml.safe_dump(self._rules, sort_keys=False))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address: Address = free.getsockname()
        port = self.address[1]
        self.process = await Process.start(
            "prometheus",
            [
                self._binary,
                f"--config.file={self._folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            log=self._folder / "log",
            stdout=self._folder / "out",
        )
        self._http = aiohttp.ClientSession(base_url=f"http://127.0.0.1:{port}")
        await until(self._ready, "Prometheus ready", every=0.1)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        await self.process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _ready(self) -> bool:
        assert self.process.alive, self.process.tail()
        try:
            async with self._http.get("/-/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def query(self, text: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
        """Labels and value of every element of an instant vector, now or at an instant."""
        params = {"query": text, **({} if at is None else {"time": str(at)})}
        async with self._http.get("/api/v1/query", params=params) as answer:
            told = await answer.json()
        assert told["status"] == "success", f"{text}: {told}"
        return [(one["metric"], float(one["value"][1])) for one in told["data"]["result"]]

    async def values(self, text: str) -> list[float]:
        return [value for _, value in await self.query(text)]

    async def alerts(self) -> set[str]:
        """The alerts that are pending or firing."""
        async with self._http.get("/api/v1/alerts") as answer:
            return {one["labels"]["alertname"] for one in (await answer.json())["data"]["alerts"]}
