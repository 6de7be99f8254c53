"""Who gets what, on a page in a browser."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from .. import arithmetic
from ..bootstrap import ENVOY_DIR
from ..envoy import Envoy
from ..process import Process
from ..service import Service
from ..stage import Scenario, Setup, Stage
from ..until import until

STORY = """
A page shows 240 users as cells in their version's colour, asked through Envoy again and again,
and beside it the same users split at random. Its sliders and buttons rewrite the live filter.yaml.
This plays a few changes through it and ends; `make page` leaves it to you, in a browser.
"""


@asynccontextmanager
async def served(proxy: Envoy, canary: Service) -> AsyncIterator[str]:
    """The page's address while `python -m lab.page` serves it for this Envoy."""
    admin = f"http://127.0.0.1:{proxy.admin_port}"
    argv = [sys.executable, "-m", "lab.page", "--envoy", proxy.url, "--admin", admin]
    argv += ["--filter", str(proxy.filter_path), "--canary", canary.url]
    argv += ["--link", f"metrics={admin}/stats/prometheus?filter=cohort_"]
    with tempfile.TemporaryDirectory(prefix="cohort-page-") as folder:
        env = {"PYTHONPATH": str(ENVOY_DIR), "PYTHONUNBUFFERED": "1"}
        process = await Process.start("page", argv, log=Path(folder) / "log", env=env)
        try:
            line = await asyncio.wait_for(process.child.stdout.readline(), 30)
            if not line:
                raise RuntimeError(f"the page did not start:\n{process.tail()}")
            yield json.loads(line)["url"]
        finally:
            await process.stop()


@asynccontextmanager
async def page(stage: Stage) -> AsyncIterator[str]:
    """The page of this stage."""
    async with served(stage.proxy, stage.services["checkout-v2"]) as url:
        yield url


async def play(stage: Stage) -> None:
    async with page(stage) as url, aiohttp.ClientSession(base_url=url) as http:
        stage.step(f"the page: {url}")
        await press_all(stage, http)


async def press_all(stage: Stage, http: aiohttp.ClientSession) -> None:
    """Presses what the page has to press, and looks at its cells."""

    async def look() -> dict[str, Any]:
        async with http.get("/state") as answer:
            return await answer.json()

    async def press(button: str, **value: Any) -> dict[str, Any]:
        """Presses, and looks when everybody has been asked since."""
        async with http.post(f"/{button}", json=value) as answer:
            told = await answer.json()
            assert answer.status == 200, told
        stage.say(f"in force on every worker after {told['milliseconds']:.0f} ms")
        seen = told["sweeps"]
        return await until(look, "everybody asked", holds=lambda now: now["sweeps"] >= seen + 2, every=0.1)

    def right(told: dict[str, Any]) -> bool:
        """Whether every cell is where the arithmetic puts its user."""
        edge = told["state"]["weight"] * arithmetic.BUCKETS / 100
        return all(
            cell[0] == ("canary" if bucket < edge else "stable")
            for bucket, cell in zip(told["buckets"], told["sticky"]["cells"], strict=True)
        )

    await until(look, "everybody asked", holds=lambda now: now["sweeps"] >= 1, every=0.1)
    for weight in (10, 30, 100, 10):
        stage.step(f"the slider to {weight} %")
        before = await look()
        told = await press("weight", weight=weight)
        moved = told["sticky"]["moved"] - before["sticky"]["moved"]
        stage.expect(f"every cell has its user's version; {moved} of {len(told['users'])} users moved", right(told))
    stage.step("the kill switch, and back")
    told = await press("enabled", enabled=False)
    stage.expect("every cell is stable", {cell[0] for cell in told["sticky"]["cells"]} == {"stable"})
    told = await press("enabled", enabled=True)
    stage.expect("every cell is back where it was", right(told))
    failed = sum(told[name]["failed"] for name in ("sticky", "random"))
    stage.expect(f"failed requests on the page: {failed}", failed == 0)
    for name in ("sticky", "random"):
        counts = told[name]
        stage.figure(f"moved on the page, {name}", f"{counts['moved']:,} in {counts['requests']:,} requests")


SCENARIO = Scenario("page", "who gets what, in a browser", Setup(load_rate=20), play, STORY, by_hand=page)
