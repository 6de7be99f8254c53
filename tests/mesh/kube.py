"""A Kubernetes API server on etcd, and those who ask it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from hosts import CONTROL, run
from lab.process import Process
from lab.until import until
from programs import BIN

TOKEN = "the-administrator-of-this-test"
#: Where a resource lives, by kind, as far as tests ask for it by itself.
PATHS = {
    "Namespace": "api/v1/namespaces/{name}",
    "Pod": "api/v1/namespaces/{ns}/pods/{name}",
    "Service": "api/v1/namespaces/{ns}/services/{name}",
    "ConfigMap": "api/v1/namespaces/{ns}/configmaps/{name}",
    "ServiceAccount": "api/v1/namespaces/{ns}/serviceaccounts/{name}",
    "Deployment": "apis/apps/v1/namespaces/{ns}/deployments/{name}",
    "WasmPlugin": "apis/extensions.istio.io/v1alpha1/namespaces/{ns}/wasmplugins/{name}",
    "TrafficExtension": "apis/extensions.istio.io/v1alpha1/namespaces/{ns}/trafficextensions/{name}",
    "VirtualService": "apis/networking.istio.io/v1/namespaces/{ns}/virtualservices/{name}",
    "EnvoyExtensionPolicy": "apis/gateway.envoyproxy.io/v1alpha1/namespaces/{ns}/envoyextensionpolicies/{name}",
    "EnvoyProxy": "apis/gateway.envoyproxy.io/v1alpha1/namespaces/{ns}/envoyproxies/{name}",
    "Canary": "apis/flagger.app/v1beta1/namespaces/{ns}/canaries/{name}",
    "Rollout": "apis/argoproj.io/v1alpha1/namespaces/{ns}/rollouts/{name}",
    "AnalysisRun": "apis/argoproj.io/v1alpha1/namespaces/{ns}/analysisruns/{name}",
}


class Refused(Exception):
    """The API server said no: its status and its words."""


class Kube:
    """``async with Kube(folder) as kube:`` runs etcd, an API server and a controller manager."""

    url = f"https://{CONTROL}:6443"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "kubeconfig"
        self.processes: dict[str, Process] = {}

    async def __aenter__(self) -> Kube:
        folder = self.folder
        (folder / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")
        run("openssl", "genrsa", "-out", str(folder / "accounts.key"), "2048")
        cluster = {"server": self.url, "insecure-skip-tls-verify": True}
        names = {"cluster": "test", "user": "admin"}
        self.config.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [{"name": "test", "cluster": cluster}],
                    "users": [{"name": "admin", "user": {"token": TOKEN}}],
                    "contexts": [{"name": "test", "context": names}],
                }
            )
        )
        await self.start("etcd", ["etcd", f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync"])
        await self.start(
            "kube-apiserver",
            [
                str(BIN / "kube-apiserver"),
                "--etcd-servers=http://127.0.0.1:2379",
                f"--cert-dir={folder / 'certificates'}",
                f"--advertise-address={CONTROL}",
                "--secure-port=6443",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-signing-key-file={folder / 'accounts.key'}",
                f"--service-account-key-file={folder / 'accounts.key'}",
                f"--token-auth-file={folder / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                # A pod's account is not looked for: nobody makes default ones.
                "--disable-admission-plugins=ServiceAccount",
            ],
        )
        self.http = aiohttp.ClientSession(
            headers={"authorization": f"Bearer {TOKEN}"}, connector=aiohttp.TCPConnector(ssl=False)
        )
        await until(self._ready, "the API server ready", timeout=120, every=0.2)
        controllers = (
            "endpointslice-controller,deployment-controller,replicaset-controller,garbage-collector-controller"
        )
        await self.start(
            "kube-controller-manager",
            [
                str(BIN / "kube-controller-manager"),
                f"--kubeconfig={self.config}",
                f"--controllers={controllers}",
                "--leader-elect=false",
                "--concurrent-gc-syncs=2",
                f"--cert-dir={folder / 'certificates'}",
            ],
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()
        for process in reversed(self.processes.values()):
            await process.stop()

    async def start(self, name: str, argv: list[str], env: dict[str, str] | None = None) -> Process:
        """Starts a program of the control plane; its log is in the folder."""
        log = self.folder / f"{name}.log"
        process = await Process.start(name, argv, log=log, stdout=log, env=env)
        self.processes[name] = process
        return process

    async def stop(self, name: str) -> None:
        await self.processes.pop(name).stop()

    async def _ready(self) -> bool:
        dead = [process.name for process in self.processes.values() if not process.alive]
        assert not dead, f"{dead} ended:\n" + "\n".join(self.processes[name].tail() for name in dead)
        try:
            async with self.http.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    # --- by kubectl, as the documents say ---------------------------------------------------------------

    async def kubectl(self, *argv: str, text: str | None = None) -> str:
        """What kubectl prints; `Refused` with what it complained of."""
        child = await asyncio.create_subprocess_exec(
            str(BIN / "kubectl"),
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(self.config), "HOME": str(self.folder)},
        )
        out, err = await child.communicate((text or "").encode())
        if child.returncode:
            raise Refused(err.decode() or out.decode())
        return out.decode()

    async def apply(self, *documents: dict[str, Any]) -> None:
        text = yaml.safe_dump_all(documents, sort_keys=False)
        await self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=text)

    # --- by the API -----------------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        data = None if body is None else json.dumps(body)
        headers = {"content-type": kind}
        async with self.http.request(method, f"{self.url}/{path}", data=data, headers=headers) as answer:
            told = await answer.json(content_type=None)
        if answer.status >= 300:
            raise Refused(told.get("message", str(told)))
        return told

    async def get(self, kind: str, name: str, ns: str = "shop") -> Any:
        return await self.ask("GET", PATHS[kind].format(ns=ns, name=name))

    async def list(self, kind: str, ns: str = "shop", selector: str = "") -> list[Any]:
        path = PATHS[kind].format(ns=ns, name="").rstrip("/")
        return (await self.ask("GET", f"{path}?labelSelector={selector}"))["items"]

    async def patch(self, kind: str, name: str, change: Any, ns: str = "shop", sub: str = "") -> Any:
        """A JSON merge patch, or a JSON patch where `change` is a list."""
        how = "application/json-patch+json" if isinstance(change, list) else "application/merge-patch+json"
        return await self.ask("PATCH", PATHS[kind].format(ns=ns, name=name) + sub, change, how)

    async def delete(self, kind: str, name: str, ns: str = "shop", **options: Any) -> None:
        await self.ask("DELETE", PATHS[kind].format(ns=ns, name=name), options or None)

    async def namespace(self, name: str) -> None:
        await self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    async def crds(self, *paths: Path) -> None:
        """Takes up the custom resources of these files or folders, and waits until they are served."""
        for path in paths:
            how = "-k" if (path / "kustomization.yaml").exists() else "-f"
            await self.kubectl("apply", "--server-side", how, str(path))
        await self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")

    # --- pods ------------------------------------------------------------------------------------------------

    async def pod(self, name: str, address: str, ns: str = "shop", **labels: str) -> None:
        """A pod that runs and is ready, as a kubelet would say."""
        meta = {"name": name, "namespace": ns, "labels": labels}
        spec = {"nodeName": "node", "containers": [{"name": "app", "image": "none"}]}
        await self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        await self.pod_status(name, address, ns, ready=True)

    async def pod_status(self, name: str, address: str, ns: str = "shop", *, ready: bool) -> None:
        state = "True" if ready else "False"
        conditions = [{"type": kind, "status": state} for kind in ("Ready", "ContainersReady")]
        conditions += [{"type": kind, "status": "True"} for kind in ("Initialized", "PodScheduled")]
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
        container = {"name": "app", "image": "none", "imageID": "none", "ready": ready, "restartCount": 0}
        status["containerStatuses"] = [{**container, "state": {"running": {}}}]
        await self.patch("Pod", name, {"status": status}, ns, "/status")

    async def token(self, account: str, ns: str, audience: str) -> str:
        body = {"spec": {"audiences": [audience], "expirationSeconds": 86400}}
        path = PATHS["ServiceAccount"].format(ns=ns, name=account) + "/token"
        return (await self.ask("POST", path, body))["status"]["token"]
