"""The dashboard acts on what its user saw, and shows what is there now."""

import re
from typing import Any

import pytest

from tests.browser.conftest import Open, post

pytestmark = pytest.mark.console


async def test_a_breakpoint_that_somebody_else_passed_is_not_passed_again(open_page: Open) -> None:
    """The run may stand at the next one, which the operator never saw: nothing is done, and the page says so."""
    page = await open_page("?run=price-change:lamp")
    await page.get_by_role("button", name="Continue").click()
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request) if request.method == "POST" else None)
    await post(page, "runs/price-change:lamp/continue", {})
    await page.get_by_role("dialog").get_by_role("button", name="Continue").click()
    await page.get_by_text("has changed since you opened it").wait_for()
    assert (await sent[-1].all_headers())["if-match"]
    assert await page.get_by_role("dialog").count() == 0


async def test_a_signal_goes_to_the_wait_that_was_seen_or_nowhere(open_page: Open) -> None:
    """Not into the buffer for whoever waits next."""
    page = await open_page("?run=delivery:3001")
    await page.get_by_role("button", name="Send signal").click()
    token = await page.get_by_label("Token").input_value()
    assert (await post(page, "signals", {"token": token, "payload": True}))["received"]
    await page.get_by_label("Payload").fill("false")
    await page.get_by_role("button", name="Send", exact=True).click()
    await page.get_by_text("has changed since you opened it").wait_for()


async def test_a_page_whose_stream_was_refused_becomes_live_again(open_page: Open) -> None:
    """A browser gives up after an answer that is no stream: while a server restarts, or has no place left."""
    page = await open_page("?page=workflows")
    refused = re.compile("/stream")
    await page.route(refused, lambda route: route.fulfill(status=429, body=""))
    await page.goto(page.url.replace("workflows", "runs"))
    await page.locator("#live", has_text="paused").wait_for()
    await page.unroute(refused)
    await page.locator("#live", has_text="live").wait_for()


async def test_what_is_created_while_a_dialog_is_open_is_not_meant(open_page: Open) -> None:
    """The dialog counts the runs that it acts on."""
    page = await open_page("?page=runs&workflow=stocktaking")
    await page.get_by_role("button", name="Cancel all").click()
    await page.get_by_role("dialog").get_by_text("one run is selected").wait_for()
    await post(page, "workflows/stocktaking/runs", {"input": 1, "run_id": "stocktaking:now"})
    await page.get_by_role("dialog").get_by_role("button", name="Cancel all").click()
    await page.get_by_text("1 of 1 done").wait_for()
    await page.goto(page.url.split("?")[0] + "?run=stocktaking:now")
    await page.locator(".head .status", has_text="suspended").wait_for()


async def test_names_that_every_object_has_are_names_like_others(open_page: Open) -> None:
    """In the address, and of a step."""
    page = await open_page("?page=constructor&window=toString")
    await page.get_by_role("heading", name="Recent failures").wait_for()
    call = 'import(new URL("assets/names.js", location)).then((all) => all.named({ name: "toString", kind: "local" }))'
    assert await page.evaluate(call) == {"kind": "step", "label": "toString"}
