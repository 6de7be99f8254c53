#!/usr/bin/env python3
"""Builds what a release consists of, into target/dist.

    release.py tag v0.1.0     is this the tag of what Cargo.toml and CHANGELOG.md say?
    release.py module         cohort.wasm, its bill of materials, the OCI images
    release.py command        the command, with manual page and completions, for one machine (--target TRIPLE)
    release.py checksums      SHA256SUMS over everything in target/dist

`make release` does the last three. Equal inputs give equal archives: no time and no owner is written.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "target" / "dist"
SHELLS = ("bash", "fish", "zsh")


def version() -> str:
    """The version in Cargo.toml."""
    return re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.M).group(1)


def run(*command: str, **more: str) -> str:
    return subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **more}
    ).stdout


def tag(name: str) -> None:
    """Ends with a message unless the tag fits Cargo.toml, and CHANGELOG.md has a heading for it."""
    if name != f"v{version()}":
        sys.exit(f"the tag is {name}, and Cargo.toml says {version()}: the tag must be v{version()}")
    if not re.search(rf"^## \[{re.escape(version())}\]", (ROOT / "CHANGELOG.md").read_text(), re.M):
        sys.exit(f"CHANGELOG.md has no heading ## [{version()}]")
    print(f"{name} is what Cargo.toml and CHANGELOG.md say")


def module() -> None:
    """The filter, what is inside it, and the images that Istio pulls."""
    run("scripts/wasm.sh", "build")
    shutil.copy(ROOT / "target" / "cohort.wasm", DIST / f"cohort-{version()}.wasm")
    bill = run(sys.executable, "scripts/sbom.py", "--module", "target/cohort.wasm")
    (DIST / f"cohort-{version()}.cdx.json").write_text(bill)
    run(sys.executable, "scripts/image.py", "--module", "target/cohort.wasm", "--out", "target/image")
    for image in sorted((ROOT / "target" / "image").glob(f"cohort-{version()}*.tar")):
        shutil.copy(image, DIST)


def host() -> str:
    return re.search(r"^host: (.+)$", run("rustc", "-vV"), re.M).group(1)


def command(target: str) -> None:
    """The command for one machine. Manual and completions come from the binary, so it must run here."""
    run("cargo", "build", "--release", "--locked", "--bin", "cohort", "--target", target)
    binary = ROOT / "target" / target / "release" / "cohort"
    files = {
        "cohort": binary.read_bytes(),
        "LICENSE": (ROOT / "LICENSE").read_bytes(),
        "README.md": (ROOT / "README.md").read_bytes(),
        "man/cohort.1": run(str(binary), "man").encode(),
        **{f"completions/cohort.{shell}": run(str(binary), "completions", shell).encode() for shell in SHELLS},
    }
    name = f"cohort-{version()}-{target}"
    (DIST / f"{name}.tar.gz").write_bytes(archive(name, files))


def archive(folder: str, files: dict[str, bytes]) -> bytes:
    """A tar.gz of these files below a folder."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mode = len(content), 0o755 if name == "cohort" else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def checksums() -> None:
    """One line for each file, as `sha256sum --check SHA256SUMS` reads it."""
    files = sorted(path for path in DIST.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (DIST / "SHA256SUMS").write_text("".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("tag").add_argument("name")
    parts.add_parser("module")
    parts.add_parser("command").add_argument("--target", default=None)
    parts.add_parser("checksums")
    args = parser.parse_args()
    DIST.mkdir(parents=True, exist_ok=True)
    if args.part == "tag":
        tag(args.name)
    elif args.part == "module":
        module()
    elif args.part == "command":
        command(args.target or host())
    else:
        checksums()


if __name__ == "__main__":
    main()
