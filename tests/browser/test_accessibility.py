"""The dashboard with a screen reader and with the keyboard alone, in every look.

The pictures that it takes are for people to judge.
"""

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI

from fastapi_durable import ConsoleLogin, DurableModule, DurableOptions, LoginCredentialsDep, MemoryStateStore
from tests.browser.conftest import Open, looking_at, mounted, post, serving, the_example
from tests.support.migrations import REPOSITORY

pytestmark = pytest.mark.console

AXE: Final = (REPOSITORY / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {},
    "dark": {"scheme": "dark"},
    "phone": {"width": 390, "height": 844},
    "phone-dark": {"width": 390, "height": 844, "scheme": "dark"},
}
looks = pytest.mark.parametrize("look", LOOKS)

_FINDINGS = """async () => (await axe.run()).violations.flatMap(({ id, nodes }) =>
    nodes.map((node) => `${id}: ${node.html.slice(0, 200)} ${node.failureSummary}`))"""


async def findings(page: Any) -> list[str]:
    """What axe-core finds, with all its rules: those of WCAG, and its best practices."""
    await page.evaluate(AXE)
    found: list[str] = await page.evaluate(_FINDINGS)
    return found


class Looker:
    """Takes a picture of each page in one look and collects what axe-core finds there."""

    def __init__(self, look: str, screenshots: Path) -> None:
        self._look = look
        self._screenshots = screenshots
        self.found: dict[str, list[str]] = {}

    async def look_at(self, name: str, page: Any) -> None:
        await page.screenshot(path=self._screenshots / f"{name}-{self._look}.png", full_page=True)
        if of_page := await findings(page):
            self.found[name] = of_page
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            f"{name} is wider than the screen"
        )


async def press(page: Any, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def _first_step(page: Any) -> None:
    await page.locator(".step").first.click()
    await page.get_by_text("Step id").first.wait_for()


async def _failed_step(page: Any) -> None:
    await page.get_by_role("button", name=re.compile("^put_away")).click()
    await page.get_by_role("button", name=re.compile("call_supplier.*attempts")).click()
    await page.get_by_text("Step id").nth(1).wait_for()


async def _child(page: Any) -> None:
    await page.locator(".step", has_text="count-twice").first.click()
    inside = page.locator(".inline-child")
    await inside.get_by_text("sleep").first.wait_for()
    await inside.locator(".step").first.click()
    await inside.get_by_text("Parts: 2 ok").wait_for()


async def _refused_payload(page: Any) -> None:
    await press(page, "Send signal")
    await page.get_by_label("Payload").fill("not json")
    await press(page, "Send")
    await page.get_by_text("This is not JSON").wait_for()


async def _undone(page: Any) -> None:
    await press(page, "Cancel")
    await page.get_by_label("Undo its finished steps first").check()
    await press(page, "Cancel the run")
    await page.get_by_text("Undoing: 2 of 2 done").wait_for()
    await page.locator(".head .status", has_text="cancelled").wait_for()


def pressing(button: str) -> Callable[[Any], Awaitable[None]]:
    async def act(page: Any) -> None:
        await press(page, button)
        await page.get_by_role("dialog").wait_for()

    return act


async def _schema(page: Any) -> None:
    await page.locator("summary").first.click()


# Name, address, what is there when the page is complete, and what its user does first.
PAGES: Final[list[tuple[str, str, str, Callable[[Any], Awaitable[None]] | None]]] = [
    ("overview", "", "delivery:3001", None),
    ("runs", "?page=runs", "delivery:3001", None),
    ("runs-none", "?page=runs&workflow=nothing", "No run matches", None),
    ("run-completed", "?run=delivery:1001", "call_supplier", _first_step),
    ("run-failed", "?run=delivery:2001", "no_shelf", _failed_step),
    ("run-waiting", "?run=delivery:3001", "Waits for the signal", None),
    ("run-sleeping", "?run=price-change:chair", "Continues by itself", None),
    ("run-child", "?run=stocktaking:2026-11", "warehouse.closed", _child),
    ("run-graph", "?run=stocktaking:2026-11&view=graph", "warehouse.closed", None),
    ("run-unknown", "?run=nothing", "Not found", None),
    ("workflows", "?page=workflows", "price-change", _schema),
    ("system", "?page=system", "price-list", None),
    ("dialog-signal", "?run=delivery:3001", "Waits for the signal", _refused_payload),
    ("dialog-cancel", "?run=delivery:3001", "Waits for the signal", pressing("Cancel")),
    ("dialog-start", "?page=workflows", "price-change", pressing("Start delivery")),
    ("dialog-bulk", "?page=runs", "delivery:3001", pressing("Retry all")),
    ("run-undone", "?run=delivery:3001", "Waits for the signal", _undone),
]


@looks
async def test_axe_finds_nothing_on_any_page(open_page: Open, screenshots: Path, look: str) -> None:
    looker = Looker(look, screenshots)
    for name, path, there, act in PAGES:
        page = await open_page(path, **LOOKS[look])
        await page.get_by_text(there).first.wait_for()
        if act is not None:
            await act(page)
        await looker.look_at(name, page)
        await page.context.close()
    assert looker.found == {}


@looks
async def test_axe_finds_nothing_where_there_is_nothing_yet(screenshots: Path, look: str) -> None:
    """A new application: each page says what appears there, and how to make it appear."""
    looker = Looker(look, screenshots)
    durable = DurableModule.for_root(DurableOptions(store=MemoryStateStore(), role="api"), workflows=[])
    app = FastAPI(lifespan=durable.lifespan)
    app.include_router(durable.router(allow_unauthenticated=True), prefix="/durable")
    async with serving(app) as address, looking_at(f"{address}/durable/") as open_page:
        for name, there in (
            ("home", "No worker is running"),
            ("runs", "No runs yet"),
            ("workflows", "No workflows"),
            ("system", "No schedules"),
        ):
            page = await open_page("" if name == "home" else f"?page={name}", **LOOKS[look])
            await page.get_by_text(there).first.wait_for()
            await looker.look_at(f"empty-{name}", page)
    assert looker.found == {}


@looks
async def test_axe_finds_nothing_on_a_run_that_no_worker_has_begun(
    sqlite_url: str, tmp_path: Path, screenshots: Path, look: str
) -> None:
    looker = Looker(look, screenshots)
    example = the_example(sqlite_url, tmp_path, DURABLE_ROLE="api")
    async with example as address, looking_at(f"{address}/durable/") as open_page:
        page = await open_page("?page=workflows", **LOOKS[look])
        await press(page, "Start count-twice")
        await press(page, "Start")
        await page.get_by_text("No steps yet").wait_for()
        await looker.look_at("run-not-begun", page)
    assert looker.found == {}


async def nobody(credentials: LoginCredentialsDep) -> None:
    """Refuse everybody."""


@looks
async def test_axe_finds_nothing_on_the_login_page(
    seeded_url: str, monkeypatch: pytest.MonkeyPatch, screenshots: Path, look: str
) -> None:
    """Before and after a wrong password."""
    looker = Looker(look, screenshots)
    login = ConsoleLogin(authenticate=nobody, secret="a secret that is longer than it has to be", secure=False)
    async with mounted(seeded_url, monkeypatch, login=login) as open_page:
        page = await open_page("", **LOOKS[look])
        await page.get_by_label("Name").wait_for()
        await looker.look_at("login", page)
        await page.get_by_label("Name").fill("vera")
        await page.get_by_label("Password").fill("wrong")
        await page.keyboard.press("Enter")
        await page.get_by_role("alert").wait_for()
        await looker.look_at("login-refused", page)
    assert looker.found == {}


# The control that has the focus, as its user sees it; nothing if the focus is lost, or not shown.
_FOCUS = """() => {
    const element = document.activeElement;
    if (!element || element === document.body || !element.matches(":focus-visible")) return "";
    const { outlineStyle, outlineWidth } = getComputedStyle(element);
    const { width, top, bottom } = element.getBoundingClientRect();
    if (outlineStyle === "none" || parseFloat(outlineWidth) < 2 || !width || bottom < 0 || top > innerHeight) return "";
    return (element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent ?? element.textContent).trim();
}"""


class Keyboard:
    """Operates a page with the keyboard alone. After each key the focus must be somewhere, and be seen."""

    def __init__(self, page: Any) -> None:
        self._page = page

    async def focused(self) -> str:
        handle = await self._page.wait_for_function(_FOCUS, timeout=5_000)
        found: str = await handle.json_value()
        return found

    async def press(self, *keys: str) -> str:
        for key in keys:
            await self._page.keyboard.press(key)
        return await self.focused()

    async def tab_to(self, name: str, *, back: bool = False) -> None:
        """Press Tab until the control of this name has the focus."""
        passed = []
        for _ in range(120):
            passed.append(await self.press("Shift+Tab" if back else "Tab"))
            if passed[-1].startswith(name):
                return
        raise AssertionError(f"Tab does not reach {name!r}: {passed}")


async def test_a_run_is_opened_looked_through_and_paused_with_the_keyboard_alone(open_page: Open) -> None:
    """The focus is seen at every step, and is never lost: not by a view, a dialog, or a page that is drawn again."""
    page = await open_page("?page=runs")
    await page.get_by_text("delivery:3001").first.wait_for()
    keyboard = Keyboard(page)
    assert await keyboard.press("Tab") == "Skip to content"
    await page.keyboard.press("Enter")
    await keyboard.tab_to("delivery:3001")
    await page.keyboard.press("Enter")
    await page.get_by_text("Waits for the signal").wait_for()
    assert await keyboard.focused() == "delivery:3001"
    assert await page.title() == "delivery:3001 · Durable runs"

    await keyboard.tab_to("Graph")
    assert await keyboard.press("Enter") == "Graph"
    await page.locator(".node").first.wait_for()
    await keyboard.tab_to("▸call_supplier")
    assert (await keyboard.press("Enter")).startswith("call_supplier"), "a node opens its step in the timeline"
    step = page.locator(".step", has_text="call_supplier")
    for expanded in ("true", "false", "true"):
        assert await step.get_attribute("aria-expanded") == expanded
        assert (await keyboard.press("Enter")).startswith("call_supplier")

    await keyboard.tab_to("Send signal", back=True)
    assert await keyboard.press("Enter") == "Token"
    assert await keyboard.press("Escape") == "Send signal"

    for verb, successor in (("Pause", "Resume"), ("Resume", "Pause")):
        await keyboard.tab_to(verb)
        assert await keyboard.press("Enter") == "Not now"
        await keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name=successor, exact=True).wait_for()
        await page.get_by_role("dialog").wait_for(state="hidden")
        assert await keyboard.focused() == successor
        await keyboard.press("Shift+Tab")

    await post(page, "signals", {"token": "inspected:3001", "payload": True})
    await page.locator(".head .status", has_text="completed").wait_for()
    assert await keyboard.focused()


async def test_a_workflow_is_started_with_the_keyboard_alone(open_page: Open) -> None:
    """What is wrong is said in the dialog, which keeps the focus; then the new run's heading gets it."""
    page = await open_page("?page=workflows")
    keyboard = Keyboard(page)
    await keyboard.tab_to("Start count-twice")
    assert await keyboard.press("Enter") == "Input (JSON)"
    await page.keyboard.type("nothing")
    await keyboard.tab_to("Start")
    assert await keyboard.press("Enter") == "Start"
    await page.get_by_text("This is not JSON").wait_for()
    assert await keyboard.focused() == "Start"
    await keyboard.tab_to("Input", back=True)
    await keyboard.press("Control+a")
    await page.keyboard.type("5")
    await keyboard.tab_to("Run id")
    await page.keyboard.type("by-hand")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="by-hand").wait_for()
    await page.get_by_role("dialog").wait_for(state="hidden")
    assert await keyboard.focused() == "by-hand"


async def test_filters_pages_and_pages_drawn_again_keep_the_focus(open_page: Open) -> None:
    """A choice that changes the address, more of a long list, and a page that is read again every few seconds."""
    page = await open_page("?page=runs")
    keyboard = Keyboard(page)
    await keyboard.tab_to("failed")
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="failed", pressed=True).wait_for()
    assert (await keyboard.focused()).startswith("failed")
    for number in range(60):
        await post(page, "workflows/count-twice/runs", {"input": number, "run_id": f"count:{number}"})
    await page.goto(page.url.split("?")[0] + "?page=runs&workflow=count-twice")
    await page.get_by_text("50 of 63").wait_for()
    await keyboard.tab_to("Show more")
    await page.keyboard.press("Enter")
    await page.get_by_text("63 of 63").wait_for()
    assert await keyboard.focused()
    await page.goto(page.url.split("?")[0] + "?page=system")
    await keyboard.tab_to("Pause")
    seen = await page.evaluate_handle("document.activeElement")
    await page.wait_for_function("seen => !seen.isConnected", arg=seen)
    assert (await keyboard.focused()).startswith("Pause")


async def test_times_are_those_of_the_readers_zone(open_page: Open) -> None:
    """The same run for readers in two zones, half an hour apart from the full one: each time names its zone."""
    told = {}
    for zone in ("America/Los_Angeles", "Asia/Kolkata"):
        page = await open_page("?run=delivery:3001", zone=zone)
        created = page.locator("dl.facts dd").first
        await created.wait_for()
        moment = await created.locator("time").get_attribute("datetime")
        told[zone] = await created.inner_text(), await created.locator("time").get_attribute("title")
        shown = datetime.fromisoformat(moment).astimezone(ZoneInfo(zone))
        assert f"{shown:%-d %b %Y, %H:%M:%S} " in told[zone][0].replace(" at ", ", ")
    (there, title), (here, _) = told.values()
    assert "GMT-8" in there
    assert "GMT+5:30" in here
    assert title in there
