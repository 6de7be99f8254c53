"""The page of who gets what, in a real browser, over a real Envoy."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
from browser import browser
from lab import arithmetic
from lab.bootstrap import ENVOY_DIR
from lab.envoy import Envoy
from lab.page.crowd import crowd
from lab.page.live import Config, Live
from lab.page.server import GUARD
from lab.process import Process
from lab.scenarios.page import served
from lab.service import Service
from lab.until import until
from playwright.async_api import CDPSession, Page, Route

EVERYBODY = crowd()
ROLLOUT = {"name": "checkout", "versions": [{"name": "stable"}, {"name": "canary", "weight": 10}]}

PHONE = {"width": 360, "height": 780}
DESK = {"width": 1280, "height": 800}


def canaries(weight: float) -> set[str]:
    """Who has the canary at this weight, computed without Cohort's code."""
    return {user for user in EVERYBODY if arithmetic.bucket("checkout", user) < weight * 1000}


@dataclass
class Stage:
    url: str
    page: Page
    envoy: Envoy
    canary: Service
    devtools: CDPSession
    #: What the page asked for beyond its own address, and what went wrong in it.
    strange: list[str]

    async def open(self) -> None:
        await self.page.goto(self.url)
        await self.drawn()

    async def drawn(self) -> None:
        await until(
            lambda: self.page.evaluate("document.querySelector('#sticky .cell[data-version]') !== null"),
            "cells drawn",
            timeout=30,
            every=0.1,
        )

    async def press(self, selector: str, *keys: str) -> None:
        """Focuses an element and presses keys, as a person without a mouse does."""
        await self.page.evaluate(f"document.querySelector({selector!r}).focus()")
        for key in keys:
            await self.page.keyboard.press(key)

    async def text(self, selector: str) -> str:
        return await self.page.evaluate(f"document.querySelector({selector!r}).innerText")

    async def named(self) -> set[tuple[str, str]]:
        """Role and name of everything, as a screen reader gets them."""
        tree = await self.devtools.send("Accessibility.getFullAXTree")
        nodes = [node for node in tree["nodes"] if not node["ignored"] and "name" in node]
        return {(node["role"]["value"], node["name"]["value"]) for node in nodes}

    async def sweeps(self) -> int:
        return int(await self.page.evaluate("document.documentElement.dataset.sweeps"))

    async def asked_again(self) -> None:
        """Everybody has been asked from now on, and the page shows it."""
        seen = await self.sweeps()
        await until(self.sweeps, "everybody asked", holds=lambda now: now >= seen + 2, timeout=60, every=0.1)

    async def cells(self, grid: str = "sticky") -> dict[str, str]:
        """What every user's cell shows: `stable`, `canary` or `failed`."""
        return dict(
            await self.page.evaluate(
                f"[...document.querySelectorAll('#{grid} .cell')]"
                ".map(c => [c.dataset.user, c.hasAttribute('data-failed') ? 'failed' : c.dataset.version])"
            )
        )

    async def users_of(self, version: str) -> set[str]:
        return {user for user, shown in (await self.cells()).items() if shown == version}

    async def colour(self, user: str) -> str:
        """The colour that is drawn, as CSS writes it."""
        number = EVERYBODY.index(user)
        return await self.page.evaluate(f"getComputedStyle(document.getElementById('sticky-{number}')).backgroundColor")

    async def count(self, name: str, grid: str = "sticky") -> int:
        return int((await self.text(f"#{grid} [data-count={name}]")).replace(",", ""))

    async def weight(self, weight: int) -> None:
        """Moves the slider, as a keyboard does, and awaits that everybody has been asked since."""
        now = int(await self.page.evaluate("document.querySelector('#weight').value"))
        await self.press("#weight", *["ArrowRight" if weight > now else "ArrowLeft"] * abs(weight - now))
        await self.in_force(weight)

    async def in_force(self, weight: int) -> None:
        def written() -> float:
            versions = self.file()["versions"]
            return next(one["weight"] for one in versions if "weight" in one)

        await until(written, f"{weight} % in the live file", holds=lambda now: now == weight, every=0.1)
        await self.asked_again()

    def config(self) -> Config:
        """The configuration in the live filter.yaml, as it stands on disk."""
        return Live(self.envoy.filter_path, "", None).config()  # type: ignore[arg-type]

    def file(self) -> Mapping[str, object]:
        """Its rollout."""
        return self.config()["rollouts"][0]

    async def news(self) -> list[str]:
        return await self.page.evaluate("[...document.querySelectorAll('#news li span')].map(e => e.innerText)")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(v1: Service, v2: Service) -> AsyncIterator[Stage]:
    clusters = {"checkout-v1": v1.address, "checkout-v2": v2.address}
    async with Envoy(clusters=clusters, concurrency=2) as envoy, served(envoy, v2) as url, browser() as chromium:
        page = chromium.pages[0] if chromium.pages else await chromium.new_page()
        strange: list[str] = []
        own = urlsplit(url).netloc
        page.on("request", lambda r: strange.append(r.url) if urlsplit(r.url).netloc not in (own, "") else None)
        page.on("pageerror", lambda problem: strange.append(str(problem)))
        page.on("console", lambda said: strange.append(said.text) if said.type in ("error", "warning") else None)
        stage = Stage(url, page, envoy, v2, await chromium.new_cdp_session(page), strange)
        await page.set_viewport_size(DESK)
        await stage.open()
        yield stage


async def test_every_cell_has_the_version_that_the_arithmetic_gives_its_user(stage: Stage):
    await stage.weight(10)
    shown = await stage.cells()
    assert {user for user, version in shown.items() if version == "canary"} == canaries(10)
    assert set(shown) == set(EVERYBODY)
    assert set(shown.values()) == {"stable", "canary"}
    # Drawn in two colours, all cells of a version in the same.
    colours = {
        version: {await stage.colour(u) for u in list(shown) if shown[u] == version} for version in ("stable", "canary")
    }
    assert [len(found) for found in colours.values()] == [1, 1]
    assert colours["stable"] != colours["canary"]


async def test_cells_keep_their_colour_over_reloads(stage: Stage):
    before, moved = await stage.cells(), await stage.count("moved")
    for _ in range(2):
        await stage.page.reload()
        await stage.drawn()
        await stage.asked_again()
        assert await stage.cells() == before
    assert await stage.count("moved") == moved


async def test_a_split_at_random_moves_people_all_the_time_and_cohort_nobody(stage: Stage):
    sticky, random = await stage.count("moved"), await stage.count("moved", "random")
    await stage.asked_again()
    assert await stage.count("moved") == sticky
    assert await stage.count("moved", "random") > random + 10
    # The headline, in the largest type of the page.
    assert await stage.count("back_and_forth") == 0
    assert await stage.count("back_and_forth", "random") > 10
    sizes = "s => [...document.querySelectorAll(s)].map(e => parseFloat(getComputedStyle(e).fontSize))"
    figures = await stage.page.evaluate(sizes, ".figure b")
    assert min(figures) == max(await stage.page.evaluate(sizes, "body *"))


async def test_a_raise_from_10_to_30_turns_only_stable_cells(stage: Stage):
    before, moved, said = await stage.cells(), await stage.count("moved"), len(await stage.news())
    await stage.weight(30)
    after = await stage.cells()
    turned = Counter((before[user], after[user]) for user in EVERYBODY if before[user] != after[user])
    expected = len(canaries(30)) - len(canaries(10))
    assert turned == {("stable", "canary"): expected}
    assert await stage.users_of("canary") == canaries(30)
    assert await stage.count("moved") == moved + expected
    # They were wanted.
    assert await stage.count("back_and_forth") == 0
    # Newest first; those asked before and after the end of a round are told of in two lines.
    news = await stage.news()
    told = [re.match(r"(\d+) users? moved: (.+)\.$", line) for line in news[: len(news) - said]]
    moves = [(int(found[1]), found[2]) for found in told if found]
    assert {direction for _, direction in moves} == {"stable → canary"}
    assert sum(count for count, _ in moves) == expected


async def test_the_line_that_changed_is_marked_and_in_sight(stage: Stage):
    await stage.weight(31)
    inside = """() => {
      const pane = document.querySelector("#configuration").getBoundingClientRect();
      return [...document.querySelectorAll("#configuration .changed")].map((line) => {
        const at = line.getBoundingClientRect();
        return [line.textContent.trim(), at.top >= pane.top && at.bottom <= pane.bottom];
      });
    }"""
    assert await stage.page.evaluate(inside) == [['"weight": 31', True]]


async def test_the_slider_stays_the_persons_until_the_server_has_answered(stage: Stage):
    """Word of another change, from elsewhere, comes while the answer to this one is on its way."""
    await stage.weight(10)
    asked, answered = asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        asked.set()
        await answered.wait()
        await route.continue_()

    await stage.page.route("**/weight", late)
    try:
        await stage.press("#weight", "ArrowRight")
        await asyncio.wait_for(asked.wait(), 20)
        async with aiohttp.ClientSession(base_url=stage.url) as http:
            async with http.post("/broken", json={"broken": False}) as answer:
                assert answer.status == 200
        await until(stage.news, "word of it", holds=lambda news: news[0] == "canary is repaired.", timeout=20)
        await stage.press("#weight", *["ArrowRight"] * 3)
        assert await stage.page.evaluate("document.querySelector('#weight').value") == "14"
        answered.set()
        await stage.in_force(14)
    finally:
        answered.set()
        await stage.page.unroute("**/weight")


#: Counts what begins to move by itself, and the longest time between two frames, from now on.
WATCH = """
() => {
  window.seen = { moving: 0, gap: 0 };
  for (const kind of ["animationstart", "transitionrun"]) {
    document.addEventListener(kind, () => (window.seen.moving += 1), true);
  }
  let last = performance.now();
  const frame = (now) => {
    window.seen.gap = Math.max(window.seen.gap, now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}
"""


async def test_everybody_is_switched_at_once_and_back_and_the_page_does_not_freeze(stage: Stage):
    assert {("button", "All canary"), ("button", "All stable")} <= await stage.named()
    await stage.page.evaluate(WATCH)
    await stage.press("#all-canary", "Enter")
    await stage.in_force(100)
    assert await stage.users_of("canary") == set(EVERYBODY)
    await stage.press("#all-stable", "Space")
    await stage.in_force(0)
    assert await stage.users_of("stable") == set(EVERYBODY)
    assert await stage.count("failed") == 0
    # Drawn in software on a machine with other work. Animations of all cells took seconds for a frame.
    seen = await stage.page.evaluate("window.seen")
    assert seen["moving"] == 0
    assert seen["gap"] < 1000, seen


async def test_a_broken_canary_without_weight_is_said_to_have_nobody(stage: Stage):
    await stage.weight(0)
    await stage.press("#break", "Enter")
    said = "canary is broken, and nobody is on it: asked 0 %, in force 0 %. No request fails."
    await until(lambda: stage.text("#standing"), "the banner", holds=lambda text: text == said, timeout=20)
    await until(stage.news, "the news", holds=lambda news: "Nobody is on it" in news[0], timeout=20)
    await stage.press("#break", "Enter")
    well = "canary: asked 0 %, in force 0 %. stable has the others."
    await until(lambda: stage.text("#standing"), "the banner", holds=lambda text: text == well, timeout=20)
    assert await stage.count("failed") == 0


async def test_one_vocabulary_and_the_name_and_a_link_to_the_readme(stage: Stage):
    names = {name for role, name in await stage.named() if role in ("button", "switch", "slider", "heading")}
    assert not [name for name in names if re.search("blue|green", name, re.IGNORECASE)]
    assert await stage.text("h1") == "Cohort"
    links = await stage.page.evaluate("[...document.querySelectorAll('#readme')].map(a => a.href)")
    async with aiohttp.ClientSession() as http, http.get(links[0]) as answer:
        assert (await answer.text()).startswith("# Cohort")
    assert len(links) == 1


async def test_the_curl_of_the_page_asks_as_a_user(stage: Stage):
    words = shlex.split(await stage.text("#ask"))
    assert words[:2] == ["curl", "-i"] and words[3] == "-H"
    header, _, value = words[4].partition(": ")
    # Who is on stable at 5 % and on the canary at 30 %.
    assert value in canaries(30) - canaries(5)
    async with aiohttp.ClientSession() as http, http.get(words[2], headers={header: value}) as answer:
        assert answer.headers[await stage.text("#ask-header")] in ("stable", "canary")


async def test_what_happened_is_in_sight_without_scrolling(stage: Stage):
    assert stage.page.viewport_size == {"width": 1280, "height": 800}
    await stage.page.evaluate("scrollTo(0, 0)")
    for selector in ("#standing", "#sticky .cells", "#random .cells", "#order", "#news", "#configuration"):
        bottom = await stage.page.evaluate(f"document.querySelector({selector!r}).getBoundingClientRect().bottom")
        assert bottom <= DESK["height"], selector


async def test_what_the_page_needs_is_put_back_where_somebody_wrote_the_file(stage: Stage):
    """A filter.yaml without a guard that was moved into place: the next change has the guard again."""
    config = stage.config()
    del config["rollouts"][0]["guard"]
    await stage.envoy.configure(config)
    assert "guard" not in stage.file()
    await stage.weight(7)
    assert stage.file()["guard"] == GUARD


async def test_the_kill_switch_gives_everybody_stable_and_keeps_the_weight(stage: Stage):
    await stage.weight(50)
    assert ("switch", "Kill switch") in await stage.named()
    await stage.press("#kill", "Space")
    await until(
        lambda: stage.file().get("enabled", True), "the kill switch in the live file", holds=lambda e: e is False
    )
    await stage.asked_again()
    assert await stage.page.evaluate("document.querySelector('#kill').ariaChecked") == "true"
    assert await stage.users_of("stable") == set(EVERYBODY)
    assert "Kill switch on: everybody gets stable. canary: asked 50 %" in await stage.text("#standing")
    await stage.press("#kill", "Space")
    await until(lambda: stage.file().get("enabled", True), "the kill switch off again")
    await stage.asked_again()
    assert await stage.users_of("canary") == canaries(50)


async def test_a_user_is_told_of_by_keyboard(stage: Stage):
    await stage.press("#sticky .cells", "Home", "ArrowRight")
    about = await stage.text("#about")
    place = arithmetic.bucket("checkout", EVERYBODY[1])
    assert f"{EVERYBODY[1]}, bucket {place:,}: " in about
    assert "by HASH" in about and "from checkout-v" in about
    await stage.page.keyboard.press("ArrowDown")
    assert f"{EVERYBODY[25]}," in await stage.text("#about")
    # In the order of buckets, the first is who is first in.
    await stage.press("#order", "Space")
    await stage.press("#sticky .cells", "Home")
    first = min(EVERYBODY, key=lambda user: arithmetic.bucket("checkout", user))
    assert f"{first}," in await stage.text("#about")
    await stage.press("#order", "Space")


async def test_everything_that_can_be_pressed_is_reached_by_tab(stage: Stage):
    await stage.open()
    reached = []
    for _ in range(20):
        await stage.page.keyboard.press("Tab")
        reached.append(
            await stage.page.evaluate(
                "((e) => e.id || e.className || e.dataset.weight || e.tagName)(document.activeElement)"
            )
        )
    assert reached[:5] == ["readme", "weight", "5", "10", "30"]
    wanted = {"all-stable", "all-canary", "break", "kill", "cells", "order", "news", "configuration", "A"}
    assert wanted <= set(reached)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_it_is_readable_on_a_desk_and_on_a_phone_light_and_dark(stage: Stage, size: dict[str, int], scheme: str):
    page = stage.page
    await page.emulate_media(color_scheme=scheme)
    await page.set_viewport_size(size)
    try:
        await stage.open()
        await stage.asked_again()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
        # Text and what it stands on: WCAG's 4.5 to 1.
        assert await page.evaluate(CONTRAST) == []
        # What a finger presses is big enough, and cells are drawn square.
        small = await page.evaluate(
            "[...document.querySelectorAll('button')].filter(b => b.getBoundingClientRect().height < 32).map(b => b.id)"
        )
        assert small == []
        width, height = await page.evaluate(
            "(({ width, height }) => [width, height])(document.querySelector('#sticky-0').getBoundingClientRect())"
        )
        assert width == pytest.approx(height, abs=0.5)
        assert width >= 9
        # What the page is for stands there, and the state stays in sight.
        assert "How often did one of them go back and forth" in await stage.text("header p")
        await page.evaluate("scrollTo(0, document.querySelector('#random').offsetTop)")
        if size is PHONE:
            top = await page.evaluate("document.querySelector('#standing').getBoundingClientRect().top")
            assert top == 0
        hint = "Tap a user." if size is PHONE else "Point at a user, or use the arrow keys."
        assert await stage.text("#about") == hint
    finally:
        await page.set_viewport_size(DESK)
        await page.emulate_media(color_scheme="light")


#: Every text whose contrast with its ground is below 4.5.
CONTRAST = """
() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility() || element.closest("noscript")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${walk.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
  }
  return poor;
}
"""


async def test_breaking_the_canary_empties_it_and_repairing_brings_it_back(stage: Stage):
    """Late: it leaves failures in the counters."""
    await stage.weight(30)
    assert await stage.users_of("canary") == canaries(30)
    assert ("button", "Break the canary") in await stage.named()
    await stage.press("#break", "Enter")

    async def failing() -> set[str]:
        return await stage.users_of("failed")

    seen = await until(failing, "a failed cell", timeout=20, every=0.05)
    assert seen <= canaries(30)
    held_out = "canary is held out by its guard: asked 30 %, in force 0 %. Its users get stable."
    await until(lambda: stage.text("#standing"), "the guard", holds=lambda s: s == held_out, timeout=20)
    # All of them at once: now and then a tenth of its users are let through, to see whether it is repaired.
    everybody = set(EVERYBODY)
    await until(
        lambda: stage.users_of("stable"), "every cell stable", holds=lambda u: u == everybody, timeout=60, every=0.1
    )
    assert any("The guard took canary out (failures)" in line for line in await stage.news())
    failed = await stage.count("failed")
    assert failed > 0

    assert ("button", "Repair the canary") in await stage.named()
    await stage.press("#break", "Enter")
    await until(
        lambda: stage.text("#standing"),
        "the canary back",
        holds=lambda said: said == "canary: asked 30 %, in force 30 %. stable has the others.",
        timeout=60,
        every=0.1,
    )
    # One worker says it in the gauge, and the other learns it with its next tick.
    back = canaries(30)
    await until(lambda: stage.users_of("canary"), "every canary cell back", holds=lambda u: u == back, every=0.1)
    await stage.asked_again()
    assert await stage.users_of("canary") == back


async def test_a_weight_that_is_none_is_not_written(stage: Stage):
    before = stage.envoy.filter_path.read_text()
    async with aiohttp.ClientSession(base_url=stage.url) as http:
        for told in ({"weight": 101}, {"weight": -1}, {"weight": "5"}, {"weight": True}, {}, []):
            async with http.post("/weight", json=told) as answer:
                assert answer.status == 400, told
        # Four decimals: a number to the page, refused by the filter, and the file is what it was.
        async with http.post("/weight", json={"weight": 1.0005}) as answer:
            assert answer.status == 409
        # A form on another site cannot press anything.
        async with http.post("/weight", data={"weight": "50"}) as answer:
            assert answer.status == 415
    assert stage.envoy.filter_path.read_text() == before


async def test_the_page_asks_nobody_but_its_own_server_and_says_no_error(stage: Stage):
    """Last: of all that was done before."""
    assert stage.strange == []
    assert stage.file()["guard"] == GUARD


async def test_make_page_leaves_it_to_a_person_until_it_is_told_to_end(tmp_path: Path):
    env = {"PYTHONPATH": str(ENVOY_DIR), "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    argv = [sys.executable, "-m", "lab", "page", "--keep"]
    demo = await Process.start("demo", argv, log=tmp_path / "stderr", stdout=tmp_path / "stdout", env=env)
    try:
        said = await until(
            lambda: (tmp_path / "stdout").read_text(),
            "the page's address, and that it is left running",
            holds=lambda text: "open http://localhost:" in text and "sed -i" in text,
            timeout=60,
        )
        url = re.search(r"open (http://localhost:\d+/)", said)[1]
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            assert "<h1>Cohort</h1>" in await answer.text()
    finally:
        demo.begin_stop()
        code = await demo.stop(30)
    assert code == 0, demo.tail()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith("cohort-")]
