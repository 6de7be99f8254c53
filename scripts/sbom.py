"""A bill of materials of the filter, in CycloneDX 1.6: `make release` writes it beside the module.

Lists what `cargo tree` finds inside the module and nothing else: no crate of the command, of the tests or
of the build. The same commit gives the same bytes: no time and no random serial number.

    python scripts/sbom.py [--module target/cohort.wasm] > target/cohort.cdx.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
TARGET = "wasm32-unknown-unknown"
#: The module without the command, as scripts/wasm.sh builds it.
FILTER = ("--target", TARGET, "--no-default-features")


def cargo(*arguments: str) -> str:
    return subprocess.run(["cargo", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def crates() -> list[str]:
    """`name version` of every crate inside the module, sorted."""
    lines = cargo("tree", "--locked", *FILTER, "-e", "normal", "--prefix", "none", "--format", "{p}").splitlines()
    found = {tuple(line.split()[:2]) for line in lines if line and not line.startswith("cohort ")}
    return [f"{name} {version.removeprefix('v')}" for name, version in sorted(found)]


def packages() -> dict[tuple[str, str], dict[str, Any]]:
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET))
    return {(one["name"], one["version"]): one for one in metadata["packages"]}


def checksums() -> dict[tuple[str, str], str]:
    """The SHA-256 of every crate's archive, from the lock file."""
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(one["name"], one["version"]): one["checksum"] for one in lock["package"] if "checksum" in one}


def purl(name: str, version: str) -> str:
    return f"pkg:cargo/{name}@{version}"


def licence(expression: str) -> list[dict[str, Any]]:
    # Older crates write a slash for OR.
    return [{"expression": expression.replace("/", " OR ")}]


def document(module: Path | None) -> dict[str, Any]:
    known, sums = packages(), checksums()
    ours = next(one for (name, _), one in known.items() if name == "cohort")
    inside = [tuple(line.split()) for line in crates()]
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl("cohort", ours["version"]),
        "name": "cohort",
        "version": ours["version"],
        "description": ours["description"],
        "licenses": licence(ours["license"]),
        "purl": purl("cohort", ours["version"]),
    }
    if module and module.exists():
        component["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(module.read_bytes()).hexdigest()}]
    components = [
        {
            "type": "library",
            "bom-ref": purl(name, version),
            "name": name,
            "version": version,
            "scope": "required",
            "licenses": licence(known[name, version]["license"]),
            "purl": purl(name, version),
            "hashes": [{"alg": "SHA-256", "content": sums[name, version]}],
        }
        for name, version in inside
    ]
    content = json.dumps([component, components], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": component},
        "components": components,
        "dependencies": edges(),
    }


def edges() -> list[dict[str, Any]]:
    """Which crate needs which, as `cargo tree` draws it."""
    text = cargo("tree", "--locked", *FILTER, "-e", "normal", "--prefix", "depth", "--no-dedupe", "--format", " {p}")
    path: list[str] = []
    needs: dict[str, set[str]] = {}
    for line in text.splitlines():
        depth, name, version, *_ = line.split()
        reference = purl(name, version.removeprefix("v"))
        path[int(depth) :] = [reference]
        needs.setdefault(reference, set())
        if len(path) > 1:
            needs[path[-2]].add(reference)
    return [{"ref": reference, "dependsOn": sorted(on)} for reference, on in sorted(needs.items())]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--module", type=Path, help="the built module, whose SHA-256 goes in")
    parser.add_argument("--crates", action="store_true", help="only `name version` of every crate")
    args = parser.parse_args()
    print("\n".join(crates()) if args.crates else json.dumps(document(args.module), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
