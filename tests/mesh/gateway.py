"""The real Envoy Gateway on the API server, and the proxies of the Deployments that it makes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from hosts import Host, names, run
from kube import Kube, Refused
from lab.process import Process
from lab.until import until
from mesh import Mesh, answers, envoy
from programs import BIN, module_folder
from shop import LISTENERS

SYSTEM = "envoy-gateway-system"
CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
#: The name by which proxies ask for it. They write it with the dot at its end.
NAME = f"envoy-gateway.{SYSTEM}.svc.cluster.local"
#: The Gateway that docs/envoy-gateway.md takes for granted, with the EnvoyProxy that it tells to name.
GATEWAY = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "public", "namespace": "gateways"},
    "spec": {
        "gatewayClassName": "eg",
        "infrastructure": {"parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "cohort"}},
        "listeners": LISTENERS,
    },
}
CLASS = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "GatewayClass",
    "metadata": {"name": "eg"},
    "spec": {"controllerName": CONTROLLER},
}

#: Gives a program a root of its own, as a container has one: the machine's folders, and what volumes bring. Takes the
#: folder with `certs` and `sds`, and a command.
ROOT = """
mount -t tmpfs tmpfs "$0/tree"
for one in /*; do
    if [ -L "$one" ]; then cp -P "$one" "$0/tree$one"
    elif [ -d "$one" ]; then mkdir "$0/tree$one"; mount --rbind "$one" "$0/tree$one"
    fi
done
mount -t tmpfs tmpfs "$0/tree/var/lib"
for one in certs sds; do
    [ ! -d "$0/$one" ] || { mkdir "$0/tree/$one"; mount --bind "$0/$one" "$0/tree/$one"; }
done
exec chroot "$0/tree" "$@"
"""


def rooted(folder: Path, argv: list[str]) -> list[str]:
    """The command line that runs `argv` with a root of its own."""
    (folder / "tree").mkdir(parents=True, exist_ok=True)
    return ["unshare", "--mount", "sh", "-euc", ROOT, str(folder), *argv]


async def secret(kube: Kube, name: str, ns: str) -> dict[str, bytes]:
    told = await kube.ask("GET", f"api/v1/namespaces/{ns}/secrets/{name}")
    return {key: base64.b64decode(value) for key, value in told["data"].items()}


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


class EnvoyGateway:
    """``async with EnvoyGateway(mesh) as gateway:`` runs the controller; `proxy` runs what it deploys."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.kube, self.folder = mesh, mesh.kube, mesh.folder / "envoy-gateway"
        self.proxies: list[Proxy] = []

    async def __aenter__(self) -> EnvoyGateway:
        # istiod has taken the port of its metrics on the host of the control plane.
        self.host = Host("eg-controller")
        names(self.mesh.folder, {NAME: self.host.address, f"{NAME}.": self.host.address})
        module = module_folder("envoy-gateway", "github.com/envoyproxy/gateway")
        await self.kube.crds(module / "charts/gateway-helm/charts/crds/crds/generated")
        for ns in (SYSTEM, "gateways"):
            await self.kube.namespace(ns)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._env = {
            "KUBECONFIG": str(self.kube.config),
            "ENVOY_GATEWAY_NAMESPACE": SYSTEM,
            "KUBERNETES_CLUSTER_DOMAIN": "cluster.local",
            "SSL_CERT_FILE": str(self.mesh.trust),
            "HOME": str(self.folder),
        }
        program = str(BIN / "envoy-gateway")
        made = await Process.start(
            "certgen",
            [program, "certgen", "--disable-topology-injector"],
            log=self.folder / "certgen.log",
            stdout=self.folder / "certgen.log",
            env=self._env,
        )
        assert await made.child.wait() == 0, made.tail()
        write(self.folder / "certs", await secret(self.kube, "envoy-gateway", SYSTEM))
        config = self.folder / "envoy-gateway.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "gateway.envoyproxy.io/v1alpha1",
                    "kind": "EnvoyGateway",
                    "gateway": {"controllerName": CONTROLLER},
                    "provider": {
                        "type": "Kubernetes",
                        "kubernetes": {
                            "leaderElection": {"disable": True},
                            "proxyTopologyInjector": {"disabled": True},
                        },
                    },
                }
            )
        )
        await self.start()
        return self

    async def start(self) -> None:
        argv = [str(BIN / "envoy-gateway"), "server", f"--config-path={self.folder / 'envoy-gateway.yaml'}"]
        process = await self.kube.start("envoy-gateway", self.host.argv(rooted(self.folder, argv)), env=self._env)

        async def ready() -> bool:
            assert process.alive, process.tail()
            return await answers(f"http://{self.host.address}:8081/readyz")

        await until(ready, "Envoy Gateway ready", timeout=120, every=0.2)

    async def __aexit__(self, *_: object) -> None:
        for proxy in list(self.proxies):
            await proxy.stop()
        await self.kube.stop("envoy-gateway")
        self.host.remove()

    async def proxy(self) -> Proxy:
        """Runs the next pod of a Deployment of Envoy Gateway's that nobody runs yet; returns when it is ready."""
        known = {proxy.name for proxy in self.proxies}

        async def waiting() -> Any:
            pods = await self.kube.list("Pod", SYSTEM, "app.kubernetes.io/component=proxy")
            found = [pod for pod in pods if pod["metadata"]["name"] not in known]
            return next((pod for pod in found if "deletionTimestamp" not in pod["metadata"]), None)

        pod = await until(waiting, "a pod for a proxy", timeout=60, every=0.2)
        proxy = Proxy(self, pod)
        self.proxies.append(proxy)
        await proxy.start()
        return proxy


class Proxy:
    """A pod of Envoy Gateway's, with its own arguments, variables and volumes, and the Envoy of the tests."""

    def __init__(self, gateway: EnvoyGateway, pod: Any) -> None:
        self.gateway, self.pod, self.name = gateway, pod, pod["metadata"]["name"]
        self.host = Host(f"eg-{len(gateway.proxies)}")
        self.folder = gateway.folder / self.name
        self.log = self.folder / "log"

    async def start(self) -> None:
        kube = self.gateway.kube
        for volume in self.pod["spec"]["volumes"]:
            if "secret" in volume:
                write(self.folder / volume["name"], await secret(kube, volume["secret"]["secretName"], SYSTEM))
            else:
                found = await kube.get("ConfigMap", volume["configMap"]["name"], SYSTEM)
                write(self.folder / volume["name"], {key: text.encode() for key, text in found["data"].items()})
        [container] = [one for one in self.pod["spec"]["containers"] if one["name"] == "envoy"]
        values = {"ENVOY_POD_NAMESPACE": SYSTEM, "ENVOY_POD_NAME": self.name, "ENVOY_SERVICE_ZONE": ""}
        assert {one["name"] for one in container["env"]} == set(values)
        argv = [envoy(), *container["args"], "--concurrency", "2"]
        for name, value in values.items():
            argv = [one.replace(f"$({name})", value) for one in argv]
        self.process = await Process.start(
            self.name, self.host.argv(rooted(self.folder, argv)), log=self.log, stdout=self.log
        )

        async def ready() -> bool:
            assert self.process.alive, self.process.tail(40)
            return await answers(f"http://{self.host.address}:19003/ready")

        await until(ready, f"{self.name} ready", timeout=60, every=0.1)
        await kube.pod_status(self.name, self.host.address, SYSTEM, ready=True)

    @property
    def url(self) -> str:
        """Port 80 of the Gateway is 10080 in its pods."""
        return f"http://{self.host.address}:10080"

    async def stats(self) -> str:
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://{self.host.address}:19001/stats/prometheus") as answer:
                return await answer.text()

    def dump(self) -> Any:
        """What Envoy has in force."""
        url = "127.0.0.1:19000/config_dump?include_eds"
        return json.loads(run(*self.host.argv(["curl", "--silent", "--fail", url])))

    async def stop(self) -> None:
        self.gateway.proxies.remove(self)
        await self.process.stop()
        try:
            await self.gateway.kube.delete("Pod", self.name, SYSTEM, gracePeriodSeconds=0)
        except Refused:
            pass  # its Deployment is gone, and it with it
        self.host.remove()
