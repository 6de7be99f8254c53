"""One cluster for a run: an API server, istiod, a registry."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "envoy")]

import hosts  # noqa: E402
from installed import Shop, installed  # noqa: E402
from kube import Kube  # noqa: E402
from mesh import Mesh  # noqa: E402


def pytest_configure() -> None:
    if os.environ.get("COHORT_MESH_OUTSIDE"):
        hosts.begin()


@pytest.fixture(scope="session")
def folder() -> AsyncIterator[Path]:
    kept = os.environ.get("COHORT_MESH_KEEP")
    path = Path(tempfile.mkdtemp(prefix="cohort-mesh-"))
    path.chmod(0o755)
    yield path
    if kept:
        print(f"\n== logs: {path}")
    else:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
async def kube(folder: Path) -> AsyncIterator[Kube]:
    async with Kube(folder) as running:
        yield running


@pytest.fixture(scope="session")
async def mesh(kube: Kube, folder: Path) -> AsyncIterator[Mesh]:
    async with Mesh(kube, folder) as running:
        yield running


@pytest.fixture(scope="module")
async def shop(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with installed(mesh, tmp_path_factory.mktemp("ingress")) as running:
        yield running
