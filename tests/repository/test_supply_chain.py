"""What is inside the module, and what says so."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from lab.envoy import REPOSITORY, module

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

GOLDEN = REPOSITORY / "tests" / "supply_chain" / "crates.txt"


def sbom(*arguments: str) -> str:
    script = REPOSITORY / "scripts" / "sbom.py"
    return subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True, text=True).stdout


def test_the_crates_inside_the_module_are_the_ones_agreed_on():
    """A new crate, or a new version of one, is a change that somebody has looked at:
    `make docs` writes the list."""
    found = sbom("--crates")
    if os.environ.get("COHORT_BLESS"):
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


def test_no_crate_inside_the_module_talks_to_a_system():
    """Nothing of the command comes along, and nothing that opens files, sockets or threads."""
    names = {line.split()[0] for line in GOLDEN.read_text().splitlines()}
    lock = tomllib.loads((REPOSITORY / "Cargo.lock").read_text())
    assert names <= {one["name"] for one in lock["package"]}
    assert not names & {
        "clap",
        "anstream",
        "libc",
        "getrandom",
        "rand",
        "tokio",
        "mio",
        "socket2",
        "rustix",
        "indicatif",
    }


def imports(wasm: bytes) -> set[str]:
    """What a module asks of its host, from its import section (WebAssembly core specification, 5.5.5)."""

    def number(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = wasm[at]
            value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
            if byte < 128:
                return value, at

    def name(at: int) -> tuple[str, int]:
        length, at = number(at)
        return wasm[at : at + length].decode(), at + length

    at, found = 8, set()
    while at < len(wasm):
        section = wasm[at]
        size, at = number(at + 1)
        if section == 2:
            count, here = number(at)
            for _ in range(count):
                space, here = name(here)
                field, here = name(here)
                assert wasm[here] == 0, "functions only"
                _, here = number(here + 1)
                found.add(f"{space}.{field}")
        at += size
    return found


def test_the_module_asks_its_host_for_proxy_wasm_a_clock_randomness_and_its_environment_only():
    asked = imports(module().read_bytes())
    assert {one for one in asked if not one.startswith("env.proxy_")} == {
        "wasi_snapshot_preview1.clock_time_get",
        "wasi_snapshot_preview1.random_get",
        "wasi_snapshot_preview1.environ_get",
        "wasi_snapshot_preview1.environ_sizes_get",
    }


def test_the_module_tells_nothing_of_the_machine_that_built_it():
    wasm = module().read_bytes()
    for path in {str(REPOSITORY), str(Path.home()), os.environ.get("CARGO_HOME", "/.cargo/registry/src")}:
        assert path.encode() not in wasm, path


def test_the_bill_of_materials_lists_every_crate_with_its_licence_and_digest():
    text = sbom("--module", str(module()))
    assert text == sbom("--module", str(module())), "the same bytes every time"
    bom = json.loads(text)
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    listed = [f"{one['name']} {one['version']}" for one in bom["components"]]
    assert listed == GOLDEN.read_text().splitlines()
    for one in bom["components"]:
        assert re.fullmatch("[0-9a-f]{64}", one["hashes"][0]["content"])
        assert re.search("MIT|Apache-2.0|Zlib|BSD-3-Clause", one["licenses"][0]["expression"])
    assert bom["metadata"]["component"]["hashes"][0]["content"] == hashlib.sha256(module().read_bytes()).hexdigest()
    references = {one["bom-ref"] for one in [*bom["components"], bom["metadata"]["component"]]}
    assert {edge["ref"] for edge in bom["dependencies"]} == references
    assert {on for edge in bom["dependencies"] for on in edge["dependsOn"]} < references


def test_no_crate_needs_a_newer_compiler_than_the_one_promised():
    """`scripts/msrv.sh` compiles with `rust-version`; this holds for the crates of the lock file where only a newer
    compiler is at hand."""

    def number(text: str) -> tuple[int, ...]:
        return (*(int(part) for part in text.split(".")), 0)[:3]

    metadata = json.loads(
        subprocess.run(
            ["cargo", "metadata", "--locked", "--format-version", "1"],
            cwd=REPOSITORY, check=True, capture_output=True, text=True,
        ).stdout
    )  # fmt: skip
    inside = subprocess.run(
        ["cargo", "tree", "--locked", "-e", "normal,build", "--prefix", "none", "--format", "{p}"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    shipped = {tuple(line.replace(" v", " ").split()[:2]) for line in inside.splitlines() if line}
    shipped |= {tuple(line.split()) for line in GOLDEN.read_text().splitlines()}
    needs = {
        f"{one['name']} {one['version']}": one["rust_version"]
        for one in metadata["packages"]
        if (one["name"], one["version"]) in shipped and one["rust_version"]
    }
    promised = next(version for name, version in needs.items() if name.startswith("cohort "))
    assert len(needs) > 10
    assert {name: version for name, version in needs.items() if number(version) > number(promised)} == {}
    assert f"Rust {promised} is the oldest compiler" in (REPOSITORY / "docs" / "compatibility.md").read_text()
    assert "scripts/msrv.sh" in (REPOSITORY / ".ci" / "run").read_text()
