"""The image that `make image` writes, unpacked as Istio's agent unpacks it and run in Envoy."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from lab import bootstrap as boots
from lab.client import ask, users
from lab.envoy import Envoy, module

REPOSITORY = Path(__file__).resolve().parents[3]

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
TAR_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
WASM_LAYER = "application/vnd.module.wasm.content.layer.v1+wasm"


def make_image(folder: Path) -> str:
    """Runs the script that `make image` runs; what it printed."""
    script = [sys.executable, str(REPOSITORY / "scripts" / "image.py")]
    done = subprocess.run(
        [*script, "--module", str(module()), "--out", str(folder)], check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image") / "out"
    make_image(folder)
    return folder


class Layout:
    """An OCI image layout on disk, read as a registry would serve it: by digest, and checked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = json.loads((folder / "index.json").read_text())
        [self.descriptor] = index["manifests"]
        self.manifest: dict[str, Any] = json.loads(self.blob(self.descriptor))

    def blob(self, descriptor: dict[str, Any]) -> bytes:
        algorithm, _, name = descriptor["digest"].partition(":")
        data = (self.folder / "blobs" / algorithm / name).read_bytes()
        assert hashlib.new(algorithm, data).hexdigest() == name
        assert len(data) == descriptor["size"]
        return data


def plugin_of_tar_layer(layers: list[dict[str, Any]], layout: Layout, media_type: str) -> bytes | None:
    """The last layer must be of this type; the first file in it whose base name is plugin.wasm counts."""
    if not layers or layers[-1]["mediaType"] != media_type:
        return None
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layout.blob(layers[-1])))) as tar:
        for member in tar:
            if Path(member.name).name == "plugin.wasm":
                return tar.extractfile(member).read()  # type: ignore[union-attr]
    return None


def pulled_by_istio(layout: Layout) -> bytes | None:
    """What Istio's agent finds in an image: by its rules, and in their order."""
    layers = layout.manifest["layers"]
    if layout.manifest.get("mediaType") == DOCKER_MANIFEST:
        return plugin_of_tar_layer(layers, layout, DOCKER_LAYER)
    found = plugin_of_tar_layer(layers, layout, TAR_LAYER)
    if found is None and len(layers) == 2:
        for layer in layers:
            if layer["mediaType"] == WASM_LAYER:
                return layout.blob(layer)
    return found


@pytest.mark.parametrize("form", ["compat", "artifact"])
async def test_what_istio_finds_in_the_image_runs_in_envoy(image: Path, tmp_path: Path, form: str) -> None:
    found = pulled_by_istio(Layout(image / form))
    assert found == module().read_bytes()

    plugin = tmp_path / "plugin.wasm"
    plugin.write_bytes(found)
    config = {
        "rollouts": [
            {
                "name": "checkout",
                "versions": [{"name": "stable"}, {"name": "canary", "weight": 50}],
                "hashKey": [{"header": "x-user-id"}],
            }
        ]
    }
    routes = boots.answer_directly("x-cohort-checkout", ["canary"], "stable")
    async with Envoy(config=config, wasm=plugin, routes=routes) as proxy:
        answers = await ask(proxy.url, users(200))
    served = {answer.served_by for answer in answers.values()}
    assert served == {"stable", "canary"}
    assert not any(answer.failed for answer in answers.values())


def test_the_same_module_gives_the_same_digests(image: Path, tmp_path: Path) -> None:
    again = make_image(tmp_path / "again")
    for form in ("compat", "artifact"):
        first, second = Layout(image / form), Layout(tmp_path / "again" / form)
        assert first.descriptor == second.descriptor
        assert first.descriptor["digest"] in again
    files = {path.relative_to(image): path.read_bytes() for path in image.rglob("*") if path.is_file()}
    others = {
        path.relative_to(tmp_path / "again"): path.read_bytes()
        for path in (tmp_path / "again").rglob("*")
        if path.is_file()
    }
    assert files == others


def test_another_module_gives_another_digest(image: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.wasm"
    other.write_bytes(module().read_bytes() + b"\0\1\0")
    script = REPOSITORY / "scripts" / "image.py"
    subprocess.run([sys.executable, str(script), "--module", str(other), "--out", str(tmp_path / "out")], check=True)
    for form in ("compat", "artifact"):
        assert Layout(tmp_path / "out" / form).descriptor != Layout(image / form).descriptor


def test_the_image_is_what_a_docker_build_would_describe(image: Path) -> None:
    layout = Layout(image / "compat")
    config = json.loads(layout.blob(layout.manifest["config"]))
    layer = gzip.decompress(layout.blob(layout.manifest["layers"][-1]))
    # A container runtime compares the unpacked layer with this.
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest()]
    assert (config["os"], config["architecture"]) == ("linux", "amd64")


@pytest.mark.parametrize(("form", "suffix"), [("compat", ""), ("artifact", "-artifact")])
def test_the_tar_holds_the_layout(image: Path, form: str, suffix: str) -> None:
    [archive] = [path for path in image.glob("cohort-*.tar") if path.stem.endswith("-artifact") == bool(suffix)]
    folder = image / form
    with tarfile.open(archive) as tar:
        packed = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    loose = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert packed == loose


def test_the_dockerfile_copies_the_file_that_the_image_has(image: Path) -> None:
    lines = (REPOSITORY / "Dockerfile").read_text().split("\n")
    assert lines == ["FROM scratch", "COPY plugin.wasm ./", ""]
    assert (image / "plugin.wasm").read_bytes() == module().read_bytes()
