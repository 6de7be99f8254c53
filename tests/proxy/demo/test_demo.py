"""The demo, left running: it stays until it is told to end, and leaves nothing behind (see test_scenarios)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from lab.bootstrap import ENVOY_DIR
from lab.process import Process
from lab.until import until


async def start(tmp_path: Path, *arguments: str) -> Process:
    env = {"PYTHONPATH": str(ENVOY_DIR), "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    argv = [sys.executable, "-m", "lab", *arguments]
    return await Process.start("demo", argv, log=tmp_path / "stderr", stdout=tmp_path / "stdout", env=env)


def left_behind(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.iterdir() if path.name.startswith("cohort-")]


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
async def test_a_kept_demo_stays_until_it_is_told_and_its_lines_work(tmp_path: Path, sig: signal.Signals):
    demo = await start(tmp_path, "canary", "--keep")

    def said() -> str:
        return (tmp_path / "stdout").read_text()

    try:
        await until(lambda: "sed -i" in said() or not demo.alive, "the demo left running", timeout=100)
        lines = [line.strip() for line in said().splitlines() if line.strip().startswith("curl ")]
        assert len(lines) == 3

        async def version() -> bytes:
            asked = await asyncio.create_subprocess_shell(lines[0], stdout=asyncio.subprocess.PIPE)
            return (await asked.communicate())[0]

        for line in lines:
            shell = await asyncio.create_subprocess_shell(line, stdout=asyncio.subprocess.PIPE)
            out, _ = await shell.communicate()
            assert shell.returncode == 0, line
            assert b"cohort" in out, line
        assert b"x-cohort-checkout: stable" in await version()
        change = next(line.strip() for line in said().splitlines() if line.strip().startswith("sed -i"))
        shell = await asyncio.create_subprocess_shell(change)
        assert await shell.wait() == 0
        await until(version, "the edited weight in force", holds=lambda out: b"x-cohort-checkout: canary" in out)
        children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children")
        pids = children.read_text().split() if children.exists() else []
        demo.send(sig)
        assert await asyncio.wait_for(demo.child.wait(), 30) == 0
        assert left_behind(tmp_path) == []
        assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    finally:
        await demo.stop()
