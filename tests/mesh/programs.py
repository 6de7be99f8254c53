"""Builds the programs of a Kubernetes cluster and of Istio from Go modules, once, into target/mesh/bin, and fetches
the modules of which the tests read files, so that no test needs the network.

    python3 tests/mesh/programs.py [GROUP... | --missing]

Prints one line for each that it builds. Where something is missing that only the machine can give (root, Go,
a Debian package) it says so in one line and ends with 1; with --missing it does no more than that.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
BIN = REPOSITORY / "target" / "mesh" / "bin"

#: By group, which is a folder with a go.mod: the packages to build, and flags for the linker.
GROUPS: dict[str, tuple[list[str], str]] = {
    "istio": (
        [
            "istio.io/istio/pilot/cmd/pilot-discovery",
            "istio.io/istio/pilot/cmd/pilot-agent",
            "istio.io/istio/istioctl/cmd/istioctl",
        ],
        "",
    ),
    "kubernetes": (
        [
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kubectl",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
        ],
        # Clients ask the API server for its version, and cannot read "v0.0.0-master".
        "-X k8s.io/component-base/version.gitVersion=v1.36.3",
    ),
    "flagger": (["github.com/fluxcd/flagger/cmd/flagger"], ""),
    "argo-rollouts": (["github.com/argoproj/argo-rollouts/cmd/rollouts-controller"], ""),
    "envoy-gateway": (["github.com/envoyproxy/gateway/cmd/envoy-gateway"], ""),
}

#: By group: the module that is read, and not built.
READ = {"prometheus-operator": "github.com/prometheus-operator/prometheus-operator"}

#: Programs of the machine, and the Debian package that has each.
MACHINE = {
    "etcd": "etcd-server",
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "curl": "curl",
    "openssl": "openssl",
}


def missing(find: object = shutil.which, uid: int | None = None) -> str | None:
    """What stands in the way, in words; `None` if nothing does."""
    if (os.getuid() if uid is None else uid) != 0:
        return "it makes network namespaces, which takes root"
    if not find("go"):  # type: ignore[operator]
        return "there is no Go to build istiod and the API server with"
    absent = sorted({package for name, package in MACHINE.items() if not find(name)})  # type: ignore[operator]
    if absent:
        return f"there is no {', no '.join(absent)} (Debian: apt install {' '.join(absent)})"
    return None


def module_folder(group: str, module: str) -> Path:
    """Where the source of a module lies that a group needs."""
    command = ["go", "mod", "download", "-json", module]
    done = subprocess.run(command, cwd=HERE / group, stdout=subprocess.PIPE, text=True)
    told = json.loads(done.stdout or "{}")
    if done.returncode != 0:
        # Go says on standard output why it could not fetch a module, and on standard error all else.
        raise RuntimeError(f"{' '.join(command)}: {told.get('Error', 'see above')}")
    return Path(told["Dir"])


def versions(group: str) -> dict[str, str]:
    """The version of every module that a group needs, by path."""
    done = subprocess.run(["go", "mod", "edit", "-json"], cwd=HERE / group, check=True, capture_output=True, text=True)
    return {one["Path"]: one["Version"] for one in json.loads(done.stdout)["Require"]}


def build(group: str) -> None:
    """Builds what is not there or is older than the group's go.mod; Go's own cache makes a second time quick."""
    packages, flags = GROUPS[group]
    made = [BIN / package.rsplit("/", 1)[1] for package in packages]
    wanted = max((HERE / group / name).stat().st_mtime for name in ("go.mod", "go.sum"))
    if all(path.exists() and path.stat().st_mtime >= wanted for path in made):
        return
    print(f"== building {', '.join(path.name for path in made)}", flush=True)
    BIN.mkdir(parents=True, exist_ok=True)
    command = ["go", "build", "-trimpath=false", f"-ldflags=-s -w {flags}", "-o", f"{BIN}/", *packages]
    subprocess.run(command, cwd=HERE / group, env={**os.environ, "CGO_ENABLED": "0"}, check=True)
    for path in made:
        os.utime(path)


def main() -> int:
    why = missing()
    if why:
        print(f"== NOT tested on a mesh: {why}", file=sys.stderr)
        return 1
    if sys.argv[1:] != ["--missing"]:
        for group in sys.argv[1:] or [*GROUPS, *READ]:
            if group in READ:
                module_folder(group, READ[group])
            else:
                build(group)
    return 0


if __name__ == "__main__":
    sys.exit(main())
