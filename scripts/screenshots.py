"""Makes the pictures of docs/images anew, from the page over a real Envoy in a real Chromium.

    PYTHONPATH=envoy:tests/proxy/support python scripts/screenshots.py --out docs/images

It also prints how smoothly the page draws, in software, while everybody moves at once.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

import aiohttp
from browser import browser
from lab.envoy import Envoy
from lab.scenarios.page import served
from lab.service import Service
from lab.until import until
from playwright.async_api import Page

DESK = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 780}

#: Frames drawn within two seconds from a press of "All canary", and the longest time between two.
FRAMES = """
() => new Promise((resolve) => {
  const times = [];
  const began = performance.now();
  document.getElementById("all-canary").click();
  const frame = (now) => {
    times.push(now);
    if (now - began < 2000) return requestAnimationFrame(frame);
    const gaps = times.slice(1).map((time, index) => time - times[index]);
    resolve([(1000 * gaps.length) / (times.at(-1) - times[0]), Math.max(...gaps)]);
  };
  requestAnimationFrame(frame);
})
"""


class Demo:
    """The page in a browser, and its own server to press what it has."""

    def __init__(self, page: Page, http: aiohttp.ClientSession, out: Path) -> None:
        self.page, self._http, self._out = page, http, out

    async def press(self, button: str, **value: Any) -> None:
        async with self._http.post(f"/{button}", json=value) as answer:
            assert answer.status == 200, await answer.text()

    async def asked(self, times: int) -> None:
        """Everybody was asked so often from now on, and the page shows it."""
        sweeps = "Number(document.documentElement.dataset.sweeps)"
        seen = await self.page.evaluate(sweeps)
        enough = lambda: self.page.evaluate(f"{sweeps} >= {seen + times}")  # noqa: E731
        await until(enough, f"everybody asked {times} times", timeout=120, every=0.1)

    async def mood(self, mood: str) -> None:
        """The banner is of that kind."""
        shown = lambda: self.page.evaluate("document.getElementById('standing').dataset.mood")  # noqa: E731
        await until(shown, f"the banner says {mood}", holds=lambda now: now == mood, timeout=120, every=0.05)

    async def shot(self, name: str, size: dict[str, int], scheme: str = "light", whole: bool = False) -> None:
        await self.page.emulate_media(color_scheme=scheme)
        await self.page.set_viewport_size(size)
        await self.page.evaluate("scrollTo(0, 0)")
        await self.page.screenshot(path=self._out / f"{name}.png", full_page=whole)


async def run(out: Path) -> None:
    async with (
        Service("checkout-v1") as v1,
        Service("checkout-v2") as v2,
        Envoy(clusters={"checkout-v1": v1.address, "checkout-v2": v2.address}, concurrency=2) as envoy,
        served(envoy, v2) as url,
        browser() as chromium,
        aiohttp.ClientSession(base_url=url) as http,
    ):
        page = chromium.pages[0] if chromium.pages else await chromium.new_page()
        await page.set_viewport_size(DESK)
        await page.goto(url)
        demo = Demo(page, http, out)
        await until(lambda: page.evaluate("'sweeps' in document.documentElement.dataset"), "the page drawn", every=0.1)
        await demo.asked(3)
        await demo.press("weight", weight=30)
        await demo.asked(6)
        await demo.shot("page", DESK)
        await demo.shot("page-dark", DESK, "dark")
        await demo.shot("page-phone", PHONE)
        await page.emulate_media(color_scheme="light")
        await page.set_viewport_size(DESK)

        await demo.press("broken", broken=True)
        await demo.mood("out")
        await demo.asked(2)
        await demo.mood("out")
        await demo.shot("page-held-out", DESK)
        await demo.press("broken", broken=False)
        await demo.mood("well")

        await demo.press("weight", weight=0)
        await demo.asked(2)
        frames, gap = await page.evaluate(FRAMES)
        print(f"while everybody moves to canary: {frames:.0f} frames a second, at most {gap:.0f} ms between two")


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the screenshots of the page anew.")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the pictures")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    asyncio.run(run(out))


if __name__ == "__main__":
    main()
