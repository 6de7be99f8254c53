"""Child processes that end with us."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """In the child, before exec: the kernel sends SIGTERM when the parent dies, however it dies."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """A child process, started by `start`, ended by `stop`."""

    def __init__(self, child: asyncio.subprocess.Process, name: str, log: Path) -> None:
        self.child = child
        self.name = name
        #: Where its standard error goes.
        self.log = log
        self._told_to_end = False

    @classmethod
    async def start(
        cls,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        stdout: Path | None = None,
    ) -> Process:
        """Starts `argv`. Standard output is a pipe unless a file is given for it.

        The child is in a session of its own, so that a Ctrl-C in the terminal reaches only us and we
        stop our children in order.
        """
        out = stdout.open("ab") if stdout else asyncio.subprocess.PIPE
        with log.open("ab") as err:
            child = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        if stdout:
            out.close()
        return cls(child, name, log)

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def alive(self) -> bool:
        return self.child.returncode is None

    def send(self, sig: signal.Signals) -> None:
        """A signal to this process; nothing happens if it has ended."""
        if self.alive:
            self.child.send_signal(sig)

    def begin_stop(self) -> None:
        """SIGTERM, once: a second one might meet a process that no longer handles it."""
        if not self._told_to_end:
            self._told_to_end = True
            self.send(signal.SIGTERM)

    async def stop(self, grace: float = 10.0) -> int:
        """SIGTERM, then SIGKILL after `grace` seconds. Its exit code."""
        self.begin_stop()
        try:
            return await asyncio.wait_for(self.child.wait(), grace)
        except asyncio.TimeoutError:
            self.send(signal.SIGKILL)
            return await self.child.wait()

    def tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def listens(pid: int, port: int) -> bool:
    """Whether process `pid` holds a socket on `port` that takes connections: a listening one of TCP, or one of UDP.

    Two Envoys can listen on one port, and a leftover one would answer silently. Elsewhere than on
    Linux there is no /proc to ask: true.
    """
    if sys.platform != "linux":
        return True
    inodes = set()
    for table, listening in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        for fields in map(str.split, lines):
            if fields[3] == listening and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return False
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(fd) in inodes:
                return True
        except FileNotFoundError:  # closed meanwhile
            continue
    return False


def resident(pid: int) -> float:
    """Memory of a process that is resident, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def cpu_seconds(pid: int) -> float:
    """CPU time of a process since its start, all of its threads together, by its own clock.

    Nanoseconds, where /proc has hundredths of a second. The clock's number is that of Linux'
    clock_getcpuclockid.
    """
    return time.clock_gettime((~pid << 3) | 2)


def thread_seconds(pid: int, name: str) -> dict[int, float]:
    """CPU time since their start of those threads whose names begin with `name`, by thread."""
    spent = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        if (thread / "comm").read_text().startswith(name):
            spent[int(thread.name)] = int((thread / "schedstat").read_text().split()[0]) / 1e9
    return spent
