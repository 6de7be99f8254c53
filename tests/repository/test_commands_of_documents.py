"""Every command that the pages on Istio and Envoy Gateway tell is run on a mesh by a test, or has a reason here."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MESH = REPOSITORY / "tests" / "mesh"
PAGES = ("istio.md", "istio-failures.md", "flagger.md", "argo-rollouts.md", "envoy-gateway.md")

#: What no test runs, by how it begins, and why.
NOT_RUN = {
    ("istio.md", "make image"): "make test-mesh runs its recipe before the tests",
    ("istio.md", "oras "): "oras is no Debian package",
    ("istio.md", "docker build"): "needs a Docker daemon; tests/proxy/istio/test_image.py holds the image's layout",
    ("istio.md", "kubectl -n istio-ingress logs"): "needs a kubelet; the tests read the proxy's log as a file",
    ("istio.md", "kubectl -n istio-ingress exec"): "needs a kubelet; the tests run that pilot-agent request in the pod",
}


def documents() -> ModuleType:
    """tests/mesh/documents.py, with which the tests on a mesh read the pages."""
    os.sys.path.insert(0, str(MESH))
    try:
        spec = importlib.util.spec_from_file_location("mesh_documents", MESH / "documents.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        os.sys.path.remove(str(MESH))
    return module


def followed() -> set[tuple[str, str]]:
    """The commands that the tests on a mesh run: the page, and how each begins."""
    text = "".join(path.read_text() for path in MESH.glob("*.py"))
    return set(re.findall(r'"([a-z-]+\.md)", "([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_run_or_has_a_reason(page: str) -> None:
    known = {begins for where, begins in {*followed(), *NOT_RUN} if where == page}
    commands = documents().commands(page)
    missing = [one for one in commands if not any(one.startswith(begins) for begins in known)]
    assert not missing, f"docs/{page}: no test on a mesh runs {missing}"
    idle = [begins for begins in known if not any(one.startswith(begins) for one in commands)]
    assert not idle, f"docs/{page} has no command that begins with {idle}"
