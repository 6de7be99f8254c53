"""Istio on the API server, a registry, and pods with an agent and an Envoy."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from hosts import CONTROL, Host, names, run
from kube import Kube, Refused
from lab.process import Process
from lab.until import until
from programs import BIN, REPOSITORY, module_folder

#: The registry has the name that the manifests have, and a certificate of its own.
REGISTRY = "registry.example.com"
ISTIOD = "istiod.istio-system.svc"
#: The services of the example and the pods behind them; what stands in other people's clusters already.
NAMESPACES = ("istio-system", "istio-ingress", "shop")


async def kinds(kube: Kube) -> None:
    """The namespaces, and Istio's and Gateway API's kinds."""
    for name in NAMESPACES:
        await kube.namespace(name)
    # What pods are on: without one no service has endpoints.
    await kube.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}})
    await kube.crds(
        module_folder("istio", "istio.io/istio") / "manifests/charts/base/files/crd-all.gen.yaml",
        module_folder("istio", "sigs.k8s.io/gateway-api") / "config/crd/experimental",
    )


class Mesh:
    """``async with Mesh(kube, folder) as mesh:`` runs istiod and a registry on an API server."""

    def __init__(self, kube: Kube, folder: Path) -> None:
        self.kube, self.folder = kube, folder
        self.istio = module_folder("istio", "istio.io/istio")
        # Where a proxy that is not root can read both, for the repository may be where nobody else may look. And
        # without an extension of Istio's own for waypoints.
        self.envoy = folder / "envoy"
        shutil.copy(envoy(), self.envoy)
        self.bootstrap = folder / "envoy_bootstrap.json"
        template = (self.istio / "tools/packaging/common/envoy_bootstrap.json").read_text()
        self.bootstrap.write_text(template.replace("{{- if .metadata_discovery }}", "{{- if false }}"))
        self.agents: list[Agent] = []

    async def __aenter__(self) -> Mesh:
        names(self.folder, {ISTIOD: CONTROL, "prometheus.istio-system": CONTROL, REGISTRY: CONTROL})
        self.trust = self.folder / "registry.crt"
        run(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={REGISTRY}"),
            *("-addext", f"subjectAltName=DNS:{REGISTRY}"),
            *("-keyout", str(self.folder / "registry.key"), "-out", str(self.trust)),
        )
        await kinds(self.kube)
        for ns in NAMESPACES:
            await self.kube.apply(
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": ns}}
            )
        await self.start_registry()
        await self.start_istiod()
        return self

    async def __aexit__(self, *_: object) -> None:
        for agent in list(self.agents):
            await agent.stop()

    # --- the registry --------------------------------------------------------------------------------------

    async def start_registry(self) -> None:
        config = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "registry")}},
            "http": {
                "addr": f"{CONTROL}:443",
                "tls": {"certificate": str(self.trust), "key": str(self.folder / "registry.key")},
            },
        }
        path = self.folder / "registry.yaml"
        path.write_text(yaml.safe_dump(config))
        await self.kube.start("docker-registry", ["docker-registry", "serve", str(path)])
        await until(lambda: answers(f"https://{REGISTRY}/v2/"), "the registry", timeout=30, every=0.1)

    def another(self, tag: str) -> str:
        """Pushes the filter under other bytes: to a proxy, a new release of the plugin; its URL."""
        sys.path[:0] = [str(REPOSITORY / "scripts")]
        import image

        # A custom section (WebAssembly 1.0, 2.5.2) that nobody reads.
        content = bytes([len(tag)]) + tag.encode()
        module = (REPOSITORY / "target" / "cohort.wasm").read_bytes() + bytes([0, len(content)]) + content
        image.write(module, tag, self.folder / f"image-{tag}")
        return self.push(tag, image=self.folder / f"image-{tag}")

    def push(self, tag: str, form: str = "compat", image: Path | None = None) -> str:
        """Pushes an image of `make image`; its URL."""
        layout = (image or REPOSITORY / "target" / "image") / form
        run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}", f"docker://{REGISTRY}/cohort:{tag}")
        return f"oci://{REGISTRY}/cohort:{tag}"

    # --- istiod ------------------------------------------------------------------------------------------------

    async def start_istiod(self) -> None:
        mesh = self.folder / "mesh.yaml"
        mesh.write_text(
            yaml.safe_dump(
                {
                    # The Envoy of PyPI has no filter of Istio's own for these.
                    "defaultProviders": {"metrics": []},
                    "defaultConfig": {"discoveryAddress": f"{ISTIOD}:15012"},
                }
            )
        )
        env = {
            "POD_NAMESPACE": "istio-system",
            "POD_NAME": "istiod-1",
            "ENABLE_CA_SERVER": "true",
            "ISTIOD_CUSTOM_HOST": ISTIOD,
            "CLUSTER_ID": "Kubernetes",
            "PILOT_ENABLE_METADATA_EXCHANGE": "false",
            "PILOT_ENABLE_ALPN_FILTER": "false",
            "PILOT_ENABLE_ALPHA_GATEWAY_API": "true",
            # Waypoints are its.
            "PILOT_ENABLE_AMBIENT": "true",
            "ENABLE_DEBUG_ON_HTTP": "true",
        }
        await self.kube.start(
            "istiod",
            [
                str(BIN / "pilot-discovery"),
                "discovery",
                f"--kubeconfig={self.kube.config}",
                f"--secureGRPCAddr={CONTROL}:15012",
                "--grpcAddr=",
                "--httpsAddr=",
                f"--httpAddr={CONTROL}:8080",
                f"--monitoringAddr={CONTROL}:15014",
                f"--meshConfig={mesh}",
                "--networksConfig=/dev/null",
            ],
            env=env,
        )
        process = self.kube.processes["istiod"]

        async def ready() -> bool:
            assert process.alive, process.tail()
            return await answers(f"http://{CONTROL}:8080/ready")

        await until(ready, "istiod ready", timeout=120, every=0.2)

    async def istiod_metric(self, name: str, **labels: str) -> float:
        """A counter of istiod, summed over what is not named."""
        from prometheus_client.parser import text_string_to_metric_families

        async with aiohttp.ClientSession() as http, http.get(f"http://{CONTROL}:15014/metrics") as answer:
            text = await answer.text()
        samples = (one for family in text_string_to_metric_families(text) for one in family.samples)
        wanted = (
            one for one in samples if one.name in {name, f"{name}_total"} and labels.items() <= one.labels.items()
        )
        return sum(one.value for one in wanted)

    async def sent(self, agent: Agent) -> Any:
        """What istiod sent a proxy, by its own account; nothing while the proxy is not connected."""
        token = await self.kube.token("default", "istio-system", "istio-ca")
        url = f"http://{CONTROL}:8080/debug/config_dump?proxyID={agent.name}.{agent.ns}"
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {token}"}) as http:
            async with http.get(url) as answer:
                text = await answer.text()
        if "not connected" in text:
            return {}
        assert answer.status == 200, text
        return json.loads(text)


async def answers(url: str, status: int = 200) -> bool:
    try:
        # Whoever calls asks whether it is there, and of nothing secret.
        async with aiohttp.ClientSession() as http, http.get(url, ssl=False) as answer:
            return answer.status == status
    except (aiohttp.ClientError, OSError):
        return False


class Agent:
    """A pod with pilot-agent and the Envoy that it starts."""

    def __init__(
        self,
        mesh: Mesh,
        name: str,
        ns: str,
        kind: str,
        labels: Mapping[str, str],
        *,
        tags: str = "",
        proxy_config: Mapping[str, Any] | None = None,
    ) -> None:
        self.mesh, self.name, self.ns, self.kind, self.labels = mesh, name, ns, kind, dict(labels)
        self.tags, self.host = tags, Host(name)
        #: As in the annotation `proxy.istio.io/config`.
        self.proxy_config = dict(proxy_config or {})
        self.folder = mesh.folder / f"pod-{name}"

    @property
    def address(self) -> str:
        return self.host.address

    async def __aenter__(self) -> Agent:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, *, ready: float = 90) -> Agent:
        kube, folder = self.mesh.kube, self.folder
        await kube.pod(self.name, self.address, self.ns, **self.labels)
        secrets = folder / "var/run/secrets"
        (secrets / "tokens").mkdir(parents=True, exist_ok=True)
        (secrets / "istio").mkdir(exist_ok=True)
        (secrets / "tokens/istio-token").write_text(await kube.token("default", self.ns, "istio-ca"))

        async def root() -> str | None:
            try:
                return (await kube.get("ConfigMap", "istio-ca-root-cert", self.ns))["data"]["root-cert.pem"]
            except Refused:
                return None

        (secrets / "istio/root-cert.pem").write_text(await until(root, "Istio's root certificate", timeout=60))
        (folder / "data").mkdir(exist_ok=True)
        uid = 1337 if self.kind == "sidecar" else 0
        if uid:
            ports = ["-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-b", "*"]
            run(*self.host.argv([str(BIN / "pilot-agent"), "istio-iptables", *ports, "-d", "15090,15021,15020"]))
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o777 if path.is_dir() else 0o666)
        proxy_config = {
            "discoveryAddress": f"{ISTIOD}:15012",
            "binaryPath": str(self.mesh.envoy),
            "proxyBootstrapTemplatePath": str(self.mesh.bootstrap),
            "configPath": str(folder / "proxy"),
            "concurrency": 2,
            "terminationDrainDuration": "1s",
        }
        if self.tags:
            proxy_config["extraStatTags"] = self.tags.split(",")
        proxy_config.update(self.proxy_config)
        env = {
            "POD_NAME": self.name,
            "POD_NAMESPACE": self.ns,
            "INSTANCE_IP": self.address,
            "HOST_IP": CONTROL,
            "SERVICE_ACCOUNT": "default",
            "ISTIO_META_CLUSTER_ID": "Kubernetes",
            "ISTIO_META_MESH_ID": "cluster.local",
            "ISTIO_META_WORKLOAD_NAME": self.name,
            "ISTIO_META_INTERCEPTION_MODE": "REDIRECT" if uid else "NONE",
            "ISTIO_METAJSON_LABELS": json.dumps(self.labels),
            "PROXY_CONFIG": json.dumps(proxy_config),
            "SSL_CERT_FILE": str(self.mesh.trust),
            "CA_ADDR": f"{ISTIOD}:15012",
            "HOME": str(folder),
        }
        kind = "sidecar" if uid else self.kind
        argv = [str(BIN / "pilot-agent"), "proxy", kind, "--domain", f"{self.ns}.svc.cluster.local"]
        argv += ["--proxyLogLevel", "warning", "--proxyComponentLogLevel", "misc:error,wasm:info"]
        self.log = folder / "log"
        if uid:
            argv = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *argv]
        # What the agent fetched is its own, as in a pod.
        script = 'mount --bind "$0/data" /var/lib/istio/data && cd "$0" && exec "$@"'
        command = self.host.argv(["unshare", "--mount", "sh", "-c", script, str(folder), *argv])
        self.process = await Process.start(self.name, command, log=self.log, stdout=self.log, env=env)
        self.mesh.agents.append(self)
        if ready:
            await until(self.is_ready, f"{self.name} ready", timeout=ready, every=0.1)
        return self

    async def is_ready(self) -> bool:
        assert self.process.alive, self.process.tail(40)
        return await answers(f"http://{self.address}:15021/healthz/ready")

    async def stop(self) -> None:
        if self in self.mesh.agents:
            self.mesh.agents.remove(self)
            await self.process.stop()
            await self.mesh.kube.delete("Pod", self.name, self.ns, gracePeriodSeconds=0)
            shutil.rmtree(self.folder / "proxy", ignore_errors=True)
            self.host.remove()

    async def stats(self) -> str:
        """What a Prometheus gets from the agent."""
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://{self.address}:15020/stats/prometheus") as answer:
                return await answer.text()

    async def by_request(self) -> str:
        """What docs/istio.md has people run in the pod."""
        argv = [str(BIN / "pilot-agent"), "request", "GET", "stats/prometheus"]
        return run(*self.host.argv(argv))

    def filter_log(self) -> list[str]:
        return [line for line in self.log.read_text(errors="replace").splitlines() if "wasm log" in line]


def envoy() -> str:
    """The Envoy of the other tests."""
    return os.environ["ENVOY"]
