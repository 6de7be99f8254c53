"""`envoy/docker-compose.yaml`: a good file, and every service's command run as the file has it.

No container is run here: there may be no Docker engine. What is left out is said in docs/observability.md.
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from composed import DOCKERFILE, FILE, ROOT, Composed, copies, document, order, stages
from lab.until import until

SERVICES = document()["services"]


# --- the file ----------------------------------------------------------------------------------------------


def test_the_file_keeps_to_the_compose_specification():
    specification = pytest.importorskip("compose_spec", reason="compose-spec has no wheel for this machine")
    read = specification.PyOptions(apply_merge=True).from_yaml
    read(FILE.read_text()).validate()
    for good, bad in [("command:", "comand:"), ("service_healthy", "service_wealthy"), ("live:\n", "dead:\n")]:
        assert good in FILE.read_text()
        with pytest.raises(Exception, match=r"."):
            read(FILE.read_text().replace(good, bad)).validate()


def test_what_is_depended_on_is_there_and_can_be_healthy():
    assert len(order(SERVICES)) == len(SERVICES)
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{name} awaits {other}"
    assert {name for name, one in SERVICES.items() if "healthcheck" not in one} == {"configuration"}


def test_every_image_is_pinned():
    images = {one["image"] for one in SERVICES.values() if "build" not in one}
    bases = {rest.split()[0] for parts in stages().values() for word, rest in parts if word == "FROM"}
    assert len(images) == 3 and len(bases) == 3
    for image in images | bases:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)*", image), image


def test_the_envoy_of_the_file_is_the_one_of_the_tests():
    [version] = re.findall(r"^ENVOY_VERSION \?= (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert SERVICES["envoy"]["image"] == f"envoyproxy/envoy:v{version}"


def test_no_port_is_open_to_other_machines_and_no_two_are_the_same():
    ports = [port for one in SERVICES.values() for port in one.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports) == 5


def test_names_and_ports_in_the_configurations_are_those_of_services():
    envoy = (ROOT / "envoy/envoy.yaml").read_text()
    asked = re.findall(r"address: ([a-z][\w-]*), port_value: (\d+)", envoy)
    scraped = yaml.safe_load((ROOT / "envoy/prometheus/prometheus.yaml").read_text())["scrape_configs"]
    asked += [target.split(":") for job in scraped for one in job["static_configs"] for target in one["targets"]]
    [source] = yaml.safe_load((ROOT / "envoy/grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    asked += re.findall(r"http://([\w-]+):(\d+)", source["url"])
    said = {"checkout-v1": {"8080"}, "checkout-v2": {"8080"}, "envoy": {"10000", "9901"}, "prometheus": {"9090"}}
    assert len(asked) == 4
    for name, port in asked:
        assert name in SERVICES and port in said[name]


def test_grafana_finds_its_dashboard_where_the_file_mounts_it():
    service = SERVICES["grafana"]
    mounts = {where: FILE.parent / source for source, where, _ in (one.split(":") for one in service["volumes"])}
    home = Path(service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert json.loads((mounts[str(home.parent)] / home.name).read_text())["title"] == "Cohort"
    provisioning = mounts["/etc/grafana/provisioning"]
    [provider] = yaml.safe_load((provisioning / "dashboards/cohort.yaml").read_text())["providers"]
    assert provider["options"]["path"] in mounts
    assert (provisioning / "datasources/prometheus.yaml").exists()


# --- the images --------------------------------------------------------------------------------------------


def test_a_build_finds_what_it_copies():
    ignore = [
        line
        for line in (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
        if line[:1] not in ("#", "")
    ]
    assert ignore[0] == "*"
    let_in = [line[1:] for line in ignore if line.startswith("!")]
    for stage in stages():
        for origin, what, _ in copies(stage):
            for one in what:
                if origin is None:
                    assert (ROOT / one).exists(), one
                    assert any(one == path or fnmatch.fnmatch(one, f"{path}/*") for path in let_in), one
                else:
                    assert any("cp " in rest and rest.endswith(one) for word, rest in stages()[origin] if word == "RUN")
    for service in SERVICES.values():
        if "build" in service:
            assert (FILE.parent / service["build"]["context"]).resolve() == ROOT
            assert service["build"]["target"] in stages()


def test_the_module_is_built_as_make_builds_it_from_files_that_suffice(tmp_path: Path):
    [built] = [rest for word, rest in stages()["module"] if word == "RUN" and "cargo" in rest]
    script = (ROOT / "scripts/wasm.sh").read_text()
    assert "with_library build --release --lib" in script and 'cargo "$1" --target $target' in script
    assert "cargo build --release --lib --locked --target wasm32-unknown-unknown" in " ".join(built.split())
    if not shutil.which("cargo"):
        pytest.skip("no cargo on PATH")
    for _, what, where in copies("module"):
        for one in what:
            into = tmp_path / (one if where.endswith("/") else where)
            (shutil.copytree if (ROOT / one).is_dir() else shutil.copy)(ROOT / one, into)
    # Reads the manifest and finds every target's file; compiles nothing.
    done = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version=1"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    kinds = {kind for one in json.loads(done.stdout)["packages"][0]["targets"] for kind in one["kind"]}
    assert "cdylib" in kinds


def test_the_lab_image_has_every_package_that_the_services_import_and_no_other():
    [line] = [rest for word, rest in stages()["lab"] if word == "RUN"]
    installed = {one.lower().replace("_", "-") for one in line.split("requirements.txt")[1].split()}
    code = (
        "import sys; before = set(sys.modules); import lab.page.__main__, lab.upstream; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "envoy", capture_output=True, text=True, check=True)
    homes = importlib.metadata.packages_distributions()
    imported = {home.lower().replace("_", "-") for name in done.stdout.split() for home in homes.get(name, [])}

    def needs(name: str) -> set[str]:
        lines = [one for one in importlib.metadata.requires(name) or [] if "extra ==" not in one]
        return {re.match(r"[\w.-]+", one)[0].lower().replace("_", "-") for one in lines}

    brought, todo = set(), set(installed)
    while todo:
        one = todo.pop()
        if one not in brought:
            brought.add(one)
            try:
                todo |= needs(one)
            except importlib.metadata.PackageNotFoundError:
                continue
    assert installed <= imported <= brought
    pinned = {
        one.lower().replace("_", "-")
        for one in re.findall(r"^([\w.-]+)==", (ROOT / "tests/proxy/requirements.txt").read_text(), re.MULTILINE)
    }
    assert installed <= pinned


# --- the services ------------------------------------------------------------------------------------------


async def test_the_services_run_as_the_file_has_them(tmp_path: Path):
    async with Composed(tmp_path) as composed:
        for name in composed.processes:
            if "healthcheck" in SERVICES[name]:
                await composed.healthy(name)
        live = tmp_path / "volumes/live/filter.yaml"

        async with aiohttp.ClientSession(base_url=composed.url("page", 8080)) as http:

            async def look() -> dict[str, Any]:
                async with http.get("/state") as answer:
                    return await answer.json()

            async with http.get("/") as answer:
                assert answer.status == 200 and "Who gets what" in await answer.text()
            async with http.post("/weight", json={"weight": 40}) as answer:
                told = await answer.json()
                assert answer.status == 200, told
            assert '"weight": 40' in live.read_text()
            now = await until(look, "everybody asked", holds=lambda s: s["sweeps"] >= told["sweeps"] + 2, timeout=60)
            assert {cell[0] for cell in now["sticky"]["cells"]} == {"stable", "canary"}
            assert {cell[4] for cell in now["sticky"]["cells"]} == {"checkout-v1", "checkout-v2"}
            assert now["sticky"]["failed"] == now["random"]["failed"] == 0
            # The links lead to ports that the file opens.
            opened = {port.split(":")[1] for one in SERVICES.values() for port in one.get("ports", [])}
            assert {re.search(r"localhost:(\d+)", link)[1] for link in now["links"].values()} <= opened

        async with aiohttp.ClientSession(base_url=composed.url("prometheus", 9090)) as http:

            async def weights() -> dict[str, float]:
                query = {"query": "cohort_version_weight"}
                async with http.get("/api/v1/query", params=query) as answer:
                    found = (await answer.json())["data"]["result"]
                return {one["metric"]["rollout_version"]: float(one["value"][1]) for one in found}

            wanted = {"stable": 60000, "canary": 40000}
            await until(weights, "the weights scraped", holds=lambda w: w == wanted, timeout=30, every=0.3)
            async with http.get("/api/v1/rules") as answer:
                groups = (await answer.json())["data"]["groups"]
            assert {group["name"] for group in groups} == {"cohort.alerts", "cohort.records"}
