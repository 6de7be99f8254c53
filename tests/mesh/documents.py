"""The commands that the documents tell people to run, run as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path

from programs import BIN, REPOSITORY


def commands(page: str) -> list[str]:
    """The commands of a page's `sh` blocks, without the remarks behind them."""
    text = (REPOSITORY / "docs" / page).read_text()
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    lines = (line for block in blocks for line in block.replace("\\\n", " ").splitlines())
    return [found for line in lines if (found := re.sub(r"\s+# .*", "", line).strip())]


class Reader:
    """Somebody in a clone of the repository, with kubectl for the cluster of the tests.

    The folder has a copy of `istio/`, in which they may set what the documents say is theirs, and what `make build`
    and `make image` made.
    """

    def __init__(self, folder: Path, kubeconfig: Path, trust: Path) -> None:
        self.folder, self._kubeconfig, self._trust = folder, kubeconfig, trust
        for name in ("istio", "envoy-gateway"):
            shutil.copytree(REPOSITORY / name, folder / name)
        (folder / "target" / "release").mkdir(parents=True)
        (folder / "target" / "release" / "cohort").symlink_to(os.environ["COHORT"])
        (folder / "target" / "image").symlink_to(REPOSITORY / "target" / "image")

    async def follow(self, page: str, begins: str) -> str:
        """Runs the one command of a page that is or begins like this; what it printed. It has to end with 0."""
        found = {one for one in commands(page) if one == begins} or {
            one for one in commands(page) if one.startswith(begins)
        }
        assert len(found) == 1, f"docs/{page} has these commands that begin with {begins!r}: {found}"
        [command] = found
        return await self.run(command)

    async def run(self, command: str) -> str:
        child = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", command),
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ,
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "KUBECONFIG": str(self._kubeconfig),
                "HOME": str(self._kubeconfig.parent),
                "SSL_CERT_FILE": str(self._trust),
            },
        )
        out, _ = await child.communicate()
        assert child.returncode == 0, f"$ {command}\n{out.decode()}"
        return out.decode()
