"""`compose.yaml`, its Dockerfile and its build context, without an engine. `make test-compose` runs them on one."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.page.__main__ import arguments as page_arguments
from lab.upstream import arguments as upstream_arguments

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "compose.yaml"
DOCKERFILE = ROOT / "envoy/Dockerfile"
IGNORE = ROOT / ".dockerignore"

#: The variables of the ports, and what they are where nobody sets them.
PORTS = {
    "COHORT_ENVOY_PORT": 10000,
    "COHORT_ADMIN_PORT": 9901,
    "COHORT_PAGE_PORT": 8080,
    "COHORT_PROMETHEUS_PORT": 9090,
    "COHORT_GRAFANA_PORT": 3000,
}


#: The file as Compose reads it, with nothing set by anybody.
TEXT = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", FILE.read_text()).replace("$$", "$")
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]


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


def copies(stage: str) -> list[tuple[dict[str, str], list[str], str]]:
    """What a stage copies: its flags, what, and where to."""
    found = []
    for word, rest in stages()[stage]:
        if word == "COPY":
            parts = shlex.split(rest)
            flags = dict(part.removeprefix("--").split("=", 1) for part in parts if part.startswith("--"))
            names = [part for part in parts if not part.startswith("--")]
            found.append((flags, names[:-1], names[-1]))
    return found


# --- the build context ---------------------------------------------------------------------------------------


def pattern(rule: str) -> re.Pattern[str]:
    """A rule of .dockerignore: of a path, and of everything below it."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", rule.strip("/"))
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(words.get(part, re.escape(part)) for part in parts) + "(?:/.*)?")


def in_context(path: str, rules: str) -> bool:
    """Whether .dockerignore lets a path into the context: the last rule that fits decides."""
    let_in = True
    for rule in rules.splitlines():
        if rule and not rule.startswith("#") and pattern(rule.removeprefix("!")).fullmatch(path):
            let_in = rule.startswith("!")
    return let_in


def tracked() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in done.stdout.splitlines() if (ROOT / name).exists()]


def lay_down(stage: str, into: Path, rules: str) -> set[str]:
    """What the stage has of the repository after its COPYs, in a folder that stands for its working directory."""
    laid = set()
    context = [name for name in tracked() if in_context(name, rules)]
    for flags, sources, where in copies(stage):
        if "from" in flags:
            continue
        for source in sources:
            found = [name for name in context if name == source or name.startswith(f"{source}/")]
            assert found, f"COPY {source}: not in the context"
            for name in found:
                inner = name.removeprefix(source).lstrip("/") or (Path(name).name if where.endswith("/") else "")
                target = into / where / inner
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)
                laid.add(str(target.relative_to(into)))
    return laid


def fetch(folder: Path) -> subprocess.CompletedProcess[str]:
    """Has cargo read the manifest as a build does, and compiles nothing."""
    argv = ["cargo", "fetch", "--locked", "--offline"]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)


def test_cargo_takes_the_manifest_of_the_build_context(tmp_path: Path):
    lay_down("module", tmp_path, IGNORE.read_text())
    done = fetch(tmp_path)
    assert done.returncode == 0, done.stderr


def named() -> dict[str, bool]:
    """The files that Cargo.toml names, and whether cargo looks for each whatever it builds."""
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    folders = {"bench": "benches", "example": "examples", "test": "tests", "bin": "src/bin"}
    found = {manifest.get("lib", {}).get("path", "src/lib.rs"): True}
    if "build" in manifest["package"]:
        found[manifest["package"]["build"]] = True
    for kind, folder in folders.items():
        for one in manifest.get(kind, []):
            found[one.get("path", f"{folder}/{one['name']}.rs")] = "path" not in one
    return found


@pytest.mark.parametrize("name", named())
def test_a_file_that_the_manifest_names_is_in_the_build_context(tmp_path: Path, name: str):
    assert name in lay_down("module", tmp_path, IGNORE.read_text())
    if named()[name]:
        # Without it cargo refuses, so that the test above can fail. `cargo metadata` would pass.
        (tmp_path / name).unlink()
        assert fetch(tmp_path).returncode != 0


def test_everything_that_the_filter_was_compiled_from_is_in_the_build_context(tmp_path: Path):
    """Also what it includes from elsewhere: the compiler lists every file that it read."""
    laid = lay_down("module", tmp_path, IGNORE.read_text())
    listed = ROOT / "target/wasm32-unknown-unknown/release/cohort.d"
    read = listed.read_text().partition(": ")[2].replace("\\ ", " ").split()
    here = [Path(one).resolve() for one in read if Path(one).exists()]
    ours = {str(one.relative_to(ROOT)) for one in here if one.is_relative_to(ROOT)}
    assert "src/lib.rs" in ours
    assert ours <= laid


def test_the_context_leaves_out_what_is_large_or_nobodys_business():
    rules = IGNORE.read_text()
    for path in ("target/cohort.wasm", "target/debug/cohort", ".git/config", "docs/images/page.png", "fuzz/Cargo.toml"):
        assert not in_context(path, rules), path
    assert not in_context("envoy/lab/__pycache__/a.pyc", rules)


def test_the_image_builds_the_filter_by_the_script_of_make_build():
    [built] = [rest for word, rest in stages()["module"] if word == "RUN" and "wasm.sh" in rest]
    assert built.endswith("bash scripts/wasm.sh build")
    made = r"^target/cohort\.wasm:.*\n(\t.*\n)*\t@scripts/wasm\.sh build$"
    assert re.search(made, (ROOT / "Makefile").read_text(), re.MULTILINE)
    # Nothing else makes a module, and wasm-opt is there.
    assert not [rest for parts in stages().values() for _, rest in parts if "cargo build" in rest]
    assert any("binaryen" in rest for _, rest in stages()["module"])


# --- the images ----------------------------------------------------------------------------------------------


def test_every_image_is_pinned_and_says_its_registry():
    bases = [rest.split()[0] for parts in stages().values() for word, rest in parts if word == "FROM"]
    assert len(bases) == len(set(bases)) == 5
    for image in bases:
        assert re.fullmatch(r"docker\.io/[a-z]+/[a-z]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)*", image), image
    # All that runs is built here, so nothing is named that some registry might be asked for.
    assert all("image" not in service and service["build"]["target"] in stages() for service in SERVICES.values())
    assert {service["build"]["dockerfile"] for service in SERVICES.values()} == {"envoy/Dockerfile"}


def test_the_envoy_of_the_image_is_the_one_of_the_tests():
    [version] = re.findall(r"^ENVOY_VERSION \?= (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert stages()["envoy"][0] == ("FROM", f"docker.io/envoyproxy/envoy:v{version} AS envoy")


def test_what_a_container_reads_is_readable_whatever_umask_the_clone_had():
    for stage in ("envoy", "lab", "prometheus", "grafana"):
        for flags, sources, _ in copies(stage):
            if sources == ["tests/proxy/requirements.txt"]:
                continue  # Read by the build alone, as root.
            assert flags.get("chmod") in ("0644", "0755"), sources
            if any((ROOT / source).is_dir() for source in sources):
                assert flags["chmod"] == "0755", sources


def test_nothing_of_the_repository_is_mounted():
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            assert volume == "live:/etc/cohort/live", name
    # Volumes that an image declares would be nameless and outlive the container.
    assert SERVICES["prometheus"]["tmpfs"][0].startswith("/prometheus:")


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


# --- the services --------------------------------------------------------------------------------------------


def test_the_file_keeps_to_the_compose_specification():
    specification = pytest.importorskip("compose_spec", reason="compose-spec has no wheel for this machine")
    read = specification.PyOptions(apply_merge=True).from_yaml
    read(TEXT).validate()
    for good, bad in [("command:", "comand:"), ("depends_on: [page]", "depends_on: 5"), ("live:\n", "dead:\n")]:
        assert good in TEXT
        with pytest.raises(Exception, match=r"."):
            read(TEXT.replace(good, bad)).validate()


def test_the_services_programs_take_their_arguments():
    parsers = {"lab.page": page_arguments(), "lab.upstream": upstream_arguments()}
    seen = set()
    for service in SERVICES.values():
        if service["build"]["target"] == "lab":
            assert service["command"][:2] == ["python", "-m"]
            parsers[service["command"][2]].parse_args(service["command"][3:])
            seen.add(service["command"][2])
    assert seen == set(parsers)


def test_every_port_is_a_variable_with_a_default_and_open_to_this_machine_alone():
    as_written = yaml.safe_load(FILE.read_text())["services"]
    written = [port for one in as_written.values() for port in one.get("ports", [])]
    found = dict(re.fullmatch(r"127\.0\.0\.1:\$\{(\w+):-(\d+)\}:\d+", port).groups() for port in written)
    assert {name: int(port) for name, port in found.items()} == PORTS
    # What is said to a person follows the variables.
    said = re.findall(r"localhost:(\S+?)[/\s]", "\n".join(as_written["page"]["command"]))
    assert said and all(re.fullmatch(r"\$\{(\w+):-(\d+)\}", port) for port in said)
    assert {re.match(r"\$\{(\w+)", port)[1] for port in said} == set(PORTS) - {"COHORT_PAGE_PORT"}


def test_neither_grafana_nor_prometheus_is_a_condition_for_anything():
    def behind(name: str) -> set[str]:
        direct = set(SERVICES[name].get("depends_on", []))
        return direct.union(*(behind(one) for one in direct))

    assert behind("page") == {"envoy", "checkout-v1", "checkout-v2"}
    for name in SERVICES:
        assert not {"prometheus", "grafana"} & behind(name)
    # They start after the page, so that a port of theirs that is taken does not stop it from starting.
    assert "page" in behind("prometheus") & behind("grafana")


def test_every_log_is_bounded():
    for name, service in SERVICES.items():
        assert service["logging"]["driver"] == "json-file", name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name


def test_a_health_check_starts_no_interpreter_and_is_not_often():
    checked = {name: one["healthcheck"] for name, one in SERVICES.items() if "healthcheck" in one}
    assert set(checked) == {"envoy", "page", "prometheus", "grafana"}
    for name, check in checked.items():
        assert check["test"][1] in ("bash", "wget"), name
        assert int(check["interval"].removesuffix("s")) >= 10, name


def test_names_and_ports_in_the_configurations_are_those_of_services():
    envoy = (ROOT / "envoy/envoy.yaml").read_text()
    asked = re.findall(r"address: ([a-z][\w-]*), port_value: (\d+)", envoy)
    scraped = yaml.safe_load((ROOT / "envoy/prometheus/prometheus.yaml").read_text())["scrape_configs"]
    asked += [target.split(":") for job in scraped for one in job["static_configs"] for target in one["targets"]]
    sources = yaml.safe_load((ROOT / "envoy/grafana/provisioning/datasources/prometheus.yaml").read_text())
    [source] = sources["datasources"]
    asked += re.findall(r"http://([\w-]+):(\d+)", source["url"])
    asked += re.findall(r"=http://((?!localhost)[\w-]+):(\d+)", " ".join(SERVICES["page"]["command"]))
    said = {"checkout-v1": {"8080"}, "checkout-v2": {"8080"}, "envoy": {"10000", "9901"}, "prometheus": {"9090"}}
    assert len(asked) == 7
    for name, port in asked:
        assert name in SERVICES and port in said[name]


def test_grafana_finds_its_dashboard_where_the_image_has_it():
    placed = {where: ROOT / source for _, [source], where in copies("grafana")}
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert json.loads((placed[str(home.parent)] / home.name).read_text())["title"] == "Cohort"
    provisioning = placed["/etc/grafana/provisioning"]
    [provider] = yaml.safe_load((provisioning / "dashboards/cohort.yaml").read_text())["providers"]
    assert provider["options"]["path"] in placed
    assert (provisioning / "datasources/prometheus.yaml").exists()


# --- the first configuration ---------------------------------------------------------------------------------


def start(tmp_path: Path, shipped: str) -> str:
    """The live file after the Envoy container has started with that filter.yaml in its image."""
    (tmp_path / "live").mkdir(exist_ok=True)
    (tmp_path / "filter.yaml").write_text(shipped)
    script = (ROOT / "envoy/start.sh").read_text().replace("/etc/cohort", str(tmp_path))
    script = script.replace("/docker-entrypoint.sh", "echo started")
    done = subprocess.run(["sh", "-c", script, "start.sh", "envoy"], capture_output=True, text=True, umask=0o077)
    assert (done.returncode, done.stdout) == (0, "started envoy\n"), done.stderr
    live = tmp_path / "live/filter.yaml"
    assert live.stat().st_mode & 0o777 == 0o644
    return live.read_text()


def test_a_start_beside_a_running_one_keeps_the_live_file(tmp_path: Path):
    assert start(tmp_path, "weight: 5") == "weight: 5"
    (tmp_path / "live/filter.yaml").write_text("weight: 40")
    assert start(tmp_path, "weight: 5") == "weight: 40"
    # Another one in the repository is meant to come into force.
    assert start(tmp_path, "weight: 7") == "weight: 7"
    (tmp_path / "live/filter.yaml").unlink()
    assert start(tmp_path, "weight: 7") == "weight: 7"
