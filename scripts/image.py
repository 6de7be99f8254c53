#!/usr/bin/env python3
"""Writes the OCI images that Istio and Envoy Gateway pull, without a Docker daemon.

    python3 scripts/image.py [--module target/cohort.wasm] [--out target/image] [--version 0.1.0]

It leaves in the folder:

    compat/                an OCI image layout; the last layer is a tar with plugin.wasm
    cohort-VERSION.tar     the same as one file
    artifact/              an OCI image layout; two layers, one of them the module as it is
    cohort-VERSION-artifact.tar
    plugin.wasm            the module, for `docker build -f Dockerfile target/image`

and prints the digest of each. Equal modules give equal digests, whatever machine, clock or zlib: nothing
that is written depends on them. For that reason the layer's gzip holds stored blocks.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import shutil
import struct
import tarfile
import zlib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
EPOCH = "1970-01-01T00:00:00Z"

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
TAR_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
WASM_CONFIG = "application/vnd.module.wasm.config.v1+json"
WASM_LAYER = "application/vnd.module.wasm.content.layer.v1+wasm"


def to_json(value: object) -> bytes:
    """JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def to_tar(files: dict[str, bytes]) -> bytes:
    """A tar of these files, in order of name: mode 0644, owner 0, time 0."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(files[name]))
    return buffer.getvalue()


def to_gzip(data: bytes) -> bytes:
    """Gzip (RFC 1952) with stored blocks only (RFC 1951, 3.2.4), so that no compressor has a say in the bytes."""
    out = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]
    step = 0xFFFF
    for start in range(0, len(data) or 1, step):
        block = data[start : start + step]
        last = start + step >= len(data)
        out += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    out.append(struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))
    return b"".join(out)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """An OCI image layout: its files by path."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"oci-layout": to_json({"imageLayoutVersion": "1.0.0"})}

    def blob(self, media_type: str, data: bytes, **annotations: str) -> dict[str, object]:
        """Keeps a blob; its descriptor."""
        name = digest(data)
        self.files[f"blobs/sha256/{name.removeprefix('sha256:')}"] = data
        descriptor: dict[str, object] = {"mediaType": media_type, "digest": name, "size": len(data)}
        if annotations:
            descriptor["annotations"] = {key.replace("_", "."): value for key, value in annotations.items()}
        return descriptor

    def image(
        self, tag: str, config: dict[str, object], layers: list[dict[str, object]], annotations: dict[str, str]
    ) -> str:
        """Closes the layout over one image; the image's digest."""
        manifest = to_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": config,
                "layers": layers,
                "annotations": annotations,
            }
        )
        descriptor = self.blob(MANIFEST, manifest, org_opencontainers_image_ref_name=tag)
        self.files["index.json"] = to_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]})
        return str(descriptor["digest"])


def about(version: str) -> dict[str, str]:
    """What both images say of themselves."""
    return {
        "org.opencontainers.image.title": "cohort",
        "org.opencontainers.image.description": "Sticky, weighted, self-healing releases for Envoy and Istio",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }


def compat(module: bytes, version: str) -> tuple[Layout, str]:
    """The image as `FROM scratch` with `COPY plugin.wasm ./` would make it."""
    layout = Layout()
    layer = to_tar({"plugin.wasm": module})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": EPOCH,
        "config": {"Labels": about(version)},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        "history": [{"created": EPOCH, "created_by": "COPY plugin.wasm ./"}],
    }
    name = layout.image(
        version,
        layout.blob(IMAGE_CONFIG, to_json(config)),
        [layout.blob(TAR_LAYER, to_gzip(layer))],
        {**about(version), "module.wasm.image/variant": "compat"},
    )
    return layout, name


def artifact(module: bytes, version: str) -> tuple[Layout, str]:
    """The artifact of two layers: the module as it is, and what it is for."""
    layout = Layout()
    config = to_json({"type": "envoy_proxy", "config": {"rootIds": ["cohort"]}})
    name = layout.image(
        version,
        layout.blob(WASM_CONFIG, config),
        [
            layout.blob(WASM_LAYER, module, org_opencontainers_image_title="plugin.wasm"),
            layout.blob(WASM_CONFIG, config, org_opencontainers_image_title="runtime-config.json"),
        ],
        {**about(version), "module.wasm.image/variant": "oci"},
    )
    return layout, name


def package_version() -> str:
    """The version in Cargo.toml."""
    found = re.search(r'^version = "([^"]+)"', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)
    if not found:
        raise SystemExit("no version in Cargo.toml")
    return found.group(1)


def write(module: bytes, version: str, out: Path) -> dict[str, str]:
    """Writes everything into the folder, which is emptied first; digests by form."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / "plugin.wasm").write_bytes(module)
    digests = {}
    for form, make, suffix in (("compat", compat, ""), ("artifact", artifact, "-artifact")):
        layout, digests[form] = make(module, version)
        for path, data in layout.files.items():
            target = out / form / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        (out / f"cohort-{version}{suffix}.tar").write_bytes(to_tar(layout.files))
    return digests


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the OCI images of the filter.")
    parser.add_argument("--module", type=Path, default=REPOSITORY / "target" / "cohort.wasm")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "target" / "image")
    parser.add_argument("--version", default=None, help="default: the version in Cargo.toml")
    options = parser.parse_args()
    if not options.module.exists():
        raise SystemExit(f"no filter at {options.module}: run `make build`")
    version = options.version or package_version()
    for form, name in write(options.module.read_bytes(), version, options.out).items():
        print(f"{form:8} {version} {name} {options.out / form}")


if __name__ == "__main__":
    main()
