"""Hosts: network namespaces on one bridge, and code that runs in one of them.

`make test-mesh` starts pytest in a network, mount and process namespace of its own (unshare): what is made
here is seen by nobody else, and the kernel takes it away with the last process.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_Result = TypeVar("_Result")

#: The address of the host on which the control plane, the registry and the tests run.
CONTROL = "10.80.0.1"


def run(*argv: str, text: str | None = None) -> str:
    """What a command prints; raises with what it complained of."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr or done.stdout}"
    return done.stdout


def begin() -> None:
    """Makes the bridge, and folders that only this run sees."""
    outside = os.environ["COHORT_MESH_OUTSIDE"]
    assert os.readlink("/proc/self/ns/net") != outside, "run this by `make test-mesh`: it changes its host's network"
    Path("/run/netns").mkdir(exist_ok=True)
    Path("/var/lib/istio").mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
    run("mount", "-t", "tmpfs", "tmpfs", "/var/lib/istio")
    Path("/var/lib/istio/data").mkdir()
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "br0", "type", "bridge")
    run("ip", "address", "add", f"{CONTROL}/16", "dev", "br0")
    run("ip", "link", "set", "br0", "up")


def names(folder: Path, table: dict[str, str]) -> None:
    """Has these names, too, resolve to these addresses, for every process of this run."""
    path = folder / "hosts"
    if not path.exists():
        path.write_text("127.0.0.1 localhost\n")
        run("mount", "--bind", str(path), "/etc/hosts")
        # What is not in the table (or has no address of the other family) is not there: nobody waits for an answer.
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        run("mount", "--bind", str(folder / "resolv.conf"), "/etc/resolv.conf")
    with path.open("a") as file:  # the file that is mounted, not another in its place
        file.writelines(f"{address} {name}\n" for name, address in table.items())


class Host:
    """A host with an address of its own."""

    _last = 10

    def __init__(self, name: str) -> None:
        Host._last += 1
        number = Host._last
        self.name, self.address = name, f"10.80.{number // 250}.{number % 250 + 1}"
        self._veth = f"v{number}"
        run("ip", "netns", "add", name)
        run("ip", "link", "add", self._veth, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", self._veth, "master", "br0", "up")
        inside = ("ip", "-n", name)
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "address", "add", f"{self.address}/16", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        # A service's address leads nowhere; what catches it needs a way out all the same.
        run(*inside, "route", "add", "default", "via", CONTROL)

    @property
    def namespace(self) -> str:
        return f"/run/netns/{self.name}"

    def argv(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` on this host."""
        return ["nsenter", f"--net={self.namespace}", "--", *command]

    async def do(self, what: Callable[[], Awaitable[_Result]]) -> _Result:
        """Awaits `what()` in a thread whose sockets are this host's."""

        def enter() -> _Result:
            descriptor = os.open(self.namespace, os.O_RDONLY)
            try:
                if _LIBC.setns(descriptor, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {self.namespace}")
            finally:
                os.close(descriptor)
            return asyncio.run(what())  # type: ignore[arg-type]

        answer: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def thread() -> None:
            try:
                result = enter()
            except BaseException as error:
                loop.call_soon_threadsafe(answer.set_exception, error)
            else:
                loop.call_soon_threadsafe(answer.set_result, result)

        threading.Thread(target=thread, name=f"on {self.name}", daemon=True).start()
        return await answer

    def remove(self) -> None:
        run("ip", "netns", "delete", self.name)
        # Its end of the cable goes with the namespace, a moment later; nobody waits for it.
