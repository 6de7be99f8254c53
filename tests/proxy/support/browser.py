"""A real headless Chromium, or a skip with the reason."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, async_playwright

REPOSITORY = Path(__file__).resolve().parents[3]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    done = subprocess.run([str(REPOSITORY / "scripts" / "chromium.sh")], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(done.stderr.strip())
    return done.stdout.split()[-1]


@asynccontextmanager
async def browser() -> AsyncIterator[BrowserContext]:
    """A Chromium with an empty profile. Whatever it asks for beyond this machine is cut off."""
    path = chromium()
    with tempfile.TemporaryDirectory(prefix="cohort-chromium-", ignore_cleanup_errors=True) as profile:
        async with async_playwright() as playwright:
            context = await playwright.chromium.launch_persistent_context(
                profile, executable_path=path, headless=True, args=FLAGS, viewport={"width": 1280, "height": 900}
            )
            context.set_default_timeout(30_000)
            try:
                yield context
            finally:
                await context.close()
