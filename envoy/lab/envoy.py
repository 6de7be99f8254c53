"""A running Envoy: its ports, its configuration in force, its metrics, its log."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from . import bootstrap as boots
from .bootstrap import Address
from .process import Process, listens
from .until import until

REPOSITORY = boots.ENVOY_DIR.parent

#: The command `cohort`: what the variable COHORT names, else what `make build` leaves.
COMMAND = Path(os.environ.get("COHORT") or REPOSITORY / "target" / "release" / "cohort")

Config = Mapping[str, Any] | str | bytes | None

#: Stands for the configuration of the committed `filter.yaml`.
COMMITTED = object()

#: Seconds within which a native module has told Envoy what it counted (docs/native.md), with room for a busy machine.
NATIVE_TELLS = 0.1


class EnvoyFailed(Exception):
    """Envoy did not start, or ended by itself. Carries the end of its log."""


class ConfigRefused(Exception):
    """Envoy kept the configuration it had. Carries what the log says of the new one."""


def binary() -> str:
    """The Envoy to run: what the variable ENVOY names, else the one on PATH, else one that make fetched."""
    fetched = sorted((REPOSITORY / "target" / "envoy").glob("*/envoy/_bin/envoy"))
    found = os.environ.get("ENVOY") or shutil.which("envoy") or (str(fetched[-1]) if fetched else None)
    if not found:
        raise EnvoyFailed("no Envoy: run `make demo` or `make test` (they fetch it), or set ENVOY")
    return found


def version(path: str | None = None) -> str:
    """The version of an Envoy binary, such as `1.40.0`."""
    told = subprocess.run([path or binary(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"/(\d+\.\d+\.\d+)/", told)
    return found.group(1) if found else "unknown"


def module() -> Path:
    """The filter to load: what the variable COHORT_WASM names, else `target/cohort.wasm`."""
    path = Path(os.environ.get("COHORT_WASM") or REPOSITORY / "target" / "cohort.wasm").resolve()
    if not path.exists():
        raise EnvoyFailed(f"no filter at {path}: run `make build`")
    return path


def runs_native() -> bool:
    """Whether there is a native module, and the Envoy can load it: 1.39 and later."""
    return _library().exists() and [int(part) for part in re.findall(r"\d+", version())] >= [1, 39]


def _library() -> Path:
    return Path(os.environ.get("COHORT_NATIVE") or REPOSITORY / "target" / "libcohort.so").resolve()


def library() -> Path:
    """The native module to load: what the variable COHORT_NATIVE names, else `target/libcohort.so`."""
    path = _library()
    if not path.exists():
        raise EnvoyFailed(f"no native module at {path}: run `make native`")
    return path


def edge() -> str:
    """What stands between Envoy and the filter: `wasm`, or `native` where the variable COHORT_EDGE says so."""
    name = os.environ.get("COHORT_EDGE") or "wasm"
    if name not in ("wasm", "native"):
        raise EnvoyFailed(f"COHORT_EDGE: found {name}, allowed: wasm or native")
    return name


class Metrics:
    """What one scrape of `/stats/prometheus`, or of a part of it, says: one time series was read after the other."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: list[tuple[str, dict[str, str], float]] = [
            (sample.name, dict(sample.labels), sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def series(self, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of every time series of this name that has these labels, and maybe others."""
        return [
            (found, value)
            for sample, found, value in self.samples
            if sample == name and labels.items() <= found.items()
        ]

    def sum(self, name: str, **labels: str) -> float:
        """The sum over every time series that has these labels; 0 where there is none."""
        return sum(value for _, value in self.series(name, **labels))

    def value(self, name: str, **labels: str) -> float | None:
        """The time series with exactly these labels beside `plugin`; None where there is none."""
        return next(
            (
                value
                for found, value in self.series(name, **labels)
                if found.keys() - {"plugin"} == labels.keys() - {"plugin"}
            ),
            None,
        )

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Sums by the values of one label."""
        sums: dict[str, float] = {}
        for found, value in self.series(name, **labels):
            key = found.get(label, "")
            sums[key] = sums.get(key, 0.0) + value
        return sums

    def ticked(self, **labels: str) -> bool:
        """Whether the filter has set its gauges, which it does at the first tick; or those with these labels."""
        return bool(self.series("cohort_version_weight", **labels))

    def names(self, prefix: str = "cohort_") -> set[str]:
        return {name for name, _, _ in self.samples if name.startswith(prefix)}

    def quantile(self, q: float, name: str, **labels: str) -> float | None:
        """A quantile of a histogram, by Prometheus' own rule (linear within a bucket)."""
        buckets: dict[float, float] = {}
        for found, value in self.series(f"{name}_bucket", **labels):
            edge = float(found["le"])
            buckets[edge] = buckets.get(edge, 0.0) + value
        edges = sorted(buckets)
        if not edges or not buckets[edges[-1]]:
            return None
        rank, low, below = q * buckets[edges[-1]], 0.0, 0.0
        for edge in edges:
            if buckets[edge] >= rank:
                if edge == float("inf"):
                    return low
                return low + (edge - low) * (rank - below) / max(buckets[edge] - below, 1e-9)
            low, below = edge, buckets[edge]
        return None


class Envoy:
    """A real Envoy running the committed `envoy.yaml` with the Cohort filter.

    ``async with Envoy(clusters={"checkout-v1": service.address}, config={...}) as proxy:`` starts it
    on ports that the kernel chooses and stops it at the end.

    - `config`: the plugin configuration (see `bootstrap.set_config`); default: the committed one.
    - `clusters`: addresses by cluster; one address or a list. Unknown names become clusters.
    - `routes`: replace those of the virtual host for every domain.
    - `edit`, `edit_filter`: functions that change the bootstrap and the filter file in place.
    - `env`: the VM's environment, such as ``{"COHORT_STRICT_START": "1"}``.
    - `failure_policy`, `vm_id`: as in a PluginConfig.
    - `early_removal`: whether the connection manager removes what `config` writes before it chooses a first route.
    - `stats_matcher`: as in a bootstrap's `stats_config`.
    - `concurrency`: workers.
    - `edge`: `wasm` or `native`; default: what COHORT_EDGE says, else `wasm`.
    - `native`: the native module to load in place of `library()`.
    - `hot_restart`: the arguments that say whose child the process is, or may become parent; default: none.
    - `log_level`: of Envoy; the filter's own log (component `wasm`) is kept from `wasm_log_level` up.
    """

    def __init__(
        self,
        *,
        config: Config | object = COMMITTED,
        clusters: Mapping[str, Address | Iterable[Address]] | None = None,
        routes: list[dict[str, Any]] | None = None,
        edit: Callable[[dict[str, Any]], None] | None = None,
        edit_filter: Callable[[dict[str, Any]], None] | None = None,
        env: Mapping[str, str] | None = None,
        failure_policy: str | None = None,
        vm_id: str | None = None,
        early_removal: bool = True,
        stats_matcher: Mapping[str, Any] | None = None,
        concurrency: int = 1,
        envoy: str | None = None,
        wasm: Path | None = None,
        edge: str | None = None,
        native: Path | None = None,
        log_level: str = "warning",
        wasm_log_level: str = "info",
        hot_restart: Iterable[str] = ("--disable-hot-restart",),
        extra_args: Iterable[str] = (),
    ) -> None:
        self._hot_restart = list(hot_restart)
        self._binary = envoy
        self._wasm = wasm
        #: The native module to load, to change before `apply_filter`.
        self.native = native
        self.edge = edge or globals()["edge"]()
        self._concurrency = concurrency
        self._log_levels = (log_level, wasm_log_level)
        self._extra_args = list(extra_args)
        self._clusters = {
            name: [where] if isinstance(where, tuple) else list(where) for name, where in (clusters or {}).items()
        }
        self.bootstrap = boots.bootstrap()
        self.filter = boots.filter_file()
        if routes is not None:
            boots.routes(self.bootstrap)[:] = routes
        if stats_matcher is not None:
            self.bootstrap["stats_config"]["stats_matcher"] = dict(stats_matcher)
        plugin = boots.wasm(self.filter)
        #: Of the process: the native module has no VM with an environment of its own.
        self._environment = env if self.edge == "native" else None
        if env:
            plugin["vm_config"]["environment_variables"] = {"key_values": dict(env)}
        if vm_id is not None:
            plugin["vm_config"]["vm_id"] = vm_id
        if failure_policy is not None:
            plugin["failure_policy"] = failure_policy
            plugin.pop("reload_config", None)
        if config is not COMMITTED:
            boots.set_config(self.filter, config)  # type: ignore[arg-type]
        if not early_removal:
            boots.remove_early(self.bootstrap, [])
        elif isinstance(config, Mapping):
            boots.remove_early(self.bootstrap, boots.output_headers(config))
        if edit:
            edit(self.bootstrap)
        if edit_filter:
            edit_filter(self.filter)
        self.process: Process | None = None
        #: Ports by listener name, once started.
        self.ports: dict[str, int] = {}
        self.admin_port = 0

    # --- life --------------------------------------------------------------------------------------

    async def __aenter__(self) -> Envoy:
        self.directory = Path(tempfile.mkdtemp(prefix="cohort-envoy-"))
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if getattr(self, "_http", None):
            await self._http.close()
        if self.process:
            await self.process.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    async def _start(self) -> None:
        self.watched = self.directory / "config"
        (self.watched / "endpoints").mkdir(parents=True)
        if self.edge == "wasm":
            boots.wasm(self.filter)["vm_config"]["code"] = {"local": {"filename": str(self._wasm or module())}}
        else:
            boots.allow_native(self.bootstrap)
        boots.relocate(self.bootstrap, self.watched, self._clusters)
        for one in boots.clusters(self.bootstrap):
            self._write_endpoints(one["name"], self._clusters.get(one["name"], []))
        self._write_filter()
        config_path = self.directory / "envoy.yaml"
        config_path.write_text(boots.dump(self.bootstrap))
        admin_path = self.directory / "admin-address"
        self.log_path = self.directory / "envoy.log"
        self.access_log_path = self.directory / "access.log"
        level, wasm_level = self._log_levels
        self.process = await Process.start(
            "envoy",
            [
                self._binary or binary(),
                *("-c", str(config_path)),
                *("--admin-address-path", str(admin_path)),
                *("--log-path", str(self.log_path)),
                *("--log-level", level),
                *("--component-log-level", f"wasm:{wasm_level},dynamic_modules:{wasm_level}"),
                *("--file-flush-interval-msec", "20"),
                *("--concurrency", str(self._concurrency)),
                *self._hot_restart,
                *self._extra_args,
            ],
            log=self.directory / "stderr.log",
            stdout=self.access_log_path,
            env=self._environment,
        )
        await self._await(lambda: admin_path.exists() and admin_path.read_text(), "an admin address")
        self.admin_port = int(admin_path.read_text().rpartition(":")[2])
        self._http = aiohttp.ClientSession(
            base_url=f"http://127.0.0.1:{self.admin_port}",
            timeout=aiohttp.ClientTimeout(total=30),
        )
        await self._await(self._ready, "ready")
        await self._await(self._listeners, "listeners")
        # The first configuration has been taken or refused before a listener takes requests, but the
        # counters come a moment later.
        if self._has_discovery:
            await self._await(self._config_seen, "the first filter configuration")

    async def _await(self, ask: Callable[[], Any], what: str) -> Any:
        """Awaits something of Envoy's start, or its end."""

        async def alive_and() -> Any:
            self.check_alive()
            answer = ask()
            return await answer if hasattr(answer, "__await__") else answer

        return await until(alive_and, f"Envoy: {what}")

    def check_alive(self) -> None:
        """Raises `EnvoyFailed` if our process has ended."""
        if self.process is None or not self.process.alive:
            code = self.process.child.returncode if self.process else None
            raise EnvoyFailed(f"Envoy ended with {code}:\n{self.log()[-4000:]}\n{self.process.tail()}")

    async def _ready(self) -> bool:
        try:
            async with self._http.get("/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def _listeners(self) -> bool:
        told = json.loads(await self.admin("/listeners?format=json"))
        ports = {
            one["name"]: one["local_address"]["socket_address"]["port_value"]
            for one in told.get("listener_statuses", [])
        }
        wanted = {one["name"] for one in self.bootstrap["static_resources"]["listeners"]}
        if set(ports) != wanted or 0 in ports.values():
            return False
        for port in [*ports.values(), self.admin_port]:
            if not listens(self.process.pid, port):
                raise EnvoyFailed(f"port {port} is held by another process")
        self.ports = ports
        return True

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return next(iter(self.ports.values()))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> Address:
        return ("127.0.0.1", self.port)

    # --- the configuration in force ----------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """The plugin configuration last written, to change and hand to `configure`."""
        return json.loads(boots.wasm(self.filter)["configuration"]["value"])

    @property
    def _has_discovery(self) -> bool:
        filters = boots.connection_manager(self.bootstrap)["http_filters"]
        return any("config_discovery" in one for one in filters)

    @property
    def filter_path(self) -> Path:
        """The live filter file. Whoever edits it by hand moves the new one into place."""
        return self.watched / "filter.yaml"

    def for_edge(self, file: dict[str, Any]) -> dict[str, Any]:
        """A filter file of the Wasm filter as this Envoy's edge has it."""
        return boots.native(file, self.native or library()) if self.edge == "native" else file

    def _write_filter(self) -> bool:
        """Whether the file says what it said before."""
        before = self.filter_path.read_text() if self.filter_path.exists() else None
        _replace(self.filter_path, self.for_edge(self.filter))
        return before == self.filter_path.read_text()

    def _write_endpoints(self, name: str, addresses: list[Address]) -> None:
        assignment = boots.endpoints(name, addresses)
        kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
        _replace(self.watched / "endpoints" / f"{name}.yaml", {"resources": [{"@type": kind, **assignment}]})

    async def _discovery(self) -> dict[str, int]:
        """The counters of the filter's discovery, summed over listeners."""
        sums: dict[str, int] = {}
        for name, value in (await self.stats("extension_config_discovery")).items():
            key = name.rpartition(".")[2]
            sums[key] = sums.get(key, 0) + value
        return sums

    async def _config_seen(self) -> bool:
        seen = await self._discovery()
        return seen.get("config_reload", 0) + seen.get("config_fail", 0) >= 1

    async def configure(self, config: Config) -> float:
        """Replaces the plugin configuration; returns when every worker has it, after that many seconds.

        Raises `ConfigRefused` if Envoy kept the one it had.
        """
        boots.set_config(self.filter, config)
        return await self.apply_filter()

    async def apply_filter(self) -> float:
        """Like `configure`, after changing `self.filter` itself."""
        before, mark, began = await self._discovery(), len(self.log()), time.monotonic()
        # Envoy does not take a file again that says what the last one said, be it refused or in force.
        same = self._write_filter()

        def grew(now: Mapping[str, int], counter: str) -> bool:
            return now.get(counter, 0) > before.get(counter, 0)

        async def outcome() -> str | None:
            self.check_alive()
            now = await self._discovery()
            if grew(now, "update_rejected"):
                return "refused"
            # The reload is counted when the last worker has taken it.
            if grew(now, "update_success") and (same or grew(now, "config_reload")):
                return "taken"
            return None

        if await until(outcome, "the new filter configuration in force") == "refused":
            raise ConfigRefused(await self._log_of_refusal(mark))
        return time.monotonic() - began

    async def _log_of_refusal(self, mark: int) -> str:
        """The log from `mark` to Envoy's own last word on the refusal (it writes its log late).

        The filter's lines are there once for each text: Envoy remembers what was refused, and does not
        ask the filter again.
        """

        def said() -> bool:
            return "config update rejected" in self.log()[mark:]

        await until(said, "the refusal in the log")
        return self.log()[mark:]

    async def set_endpoints(self, name: str, addresses: Iterable[Address]) -> None:
        """Replaces the endpoints of a cluster; returns when Envoy has them."""
        wanted = list(addresses)
        stat = f"cluster.{name}.membership_total"
        attempts = f"cluster.{name}.update_success"
        before = (await self.stats(f"^cluster.{re.escape(name)}."))[attempts]
        self._write_endpoints(name, wanted)

        async def taken() -> bool:
            stats = await self.stats(f"^cluster.{re.escape(name)}.")
            return stats[attempts] > before and stats[stat] == len(wanted)

        await until(taken, f"{len(wanted)} endpoints in cluster {name}")

    # --- what it says --------------------------------------------------------------------------------

    async def admin(self, path: str, method: str = "GET") -> str:
        async with self._http.request(method, path) as answer:
            answer.raise_for_status()
            return await answer.text()

    async def stats(self, pattern: str = "") -> dict[str, int]:
        """Counters and gauges whose name matches a regular expression, as Envoy names them."""
        async with self._http.get("/stats", params={"filter": pattern} if pattern else {}) as answer:
            lines = (await answer.text()).splitlines()
        pairs = (line.rpartition(": ") for line in lines)
        return {name: int(value) for name, _, value in pairs if value.isdigit()}

    async def metrics(self) -> Metrics:
        """What Prometheus would scrape of the filter now; of a native module once it has told Envoy its counts."""
        if self.edge == "native":
            await asyncio.sleep(NATIVE_TELLS)
        return await self._scrape()

    async def _scrape(self) -> Metrics:
        return Metrics(await self.admin("/stats/prometheus?filter=cohort"))

    async def metrics_when(self, holds: Callable[[Metrics], bool], what: str) -> Metrics:
        """What a scrape says once `holds` is true of it: Envoy counts just after the answer has gone out.

        It is the scrape after the first of which it is true. A request that ended while that one was made may be in
        some of its time series and not in others.
        """
        await until(self._scrape, what, holds=holds)
        return await until(self._scrape, what, holds=holds)

    def log(self) -> str:
        """Envoy's own log, the filter's lines included."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def filter_log(self) -> list[str]:
        """The lines that the filter wrote."""
        mark = "wasm log" if self.edge == "wasm" else "[dynamic_modules]"
        return [line for line in self.log().splitlines() if mark in line]

    def access_log(self) -> list[str]:
        return self.access_log_path.read_text(errors="replace").splitlines()


def _replace(path: Path, document: Any) -> None:
    """Writes a document beside `path` and moves it into place, which is what Envoy watches for."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(boots.dump(document))
    os.replace(beside, path)
