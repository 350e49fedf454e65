"""The run page: its timeline, its graph, and what an operator does there."""

import re
from pathlib import Path
from typing import Any

import pytest

from fastapi_durable import RunStatus
from tests.browser.conftest import Open, looking_at, serving, the_example
from tests.browser.seeded import TOTAL
from tests.console.desk import alone, desk
from tests.console.test_reading import stored

pytestmark = pytest.mark.console

LONG = 600


async def confirmed(page: Any, button: str, verb: str) -> None:
    """Press a button of the page, and the one that says yes in the dialog."""
    await page.get_by_role("button", name=button, exact=True).click()
    await page.get_by_role("dialog").get_by_role("button", name=verb, exact=True).click()


async def test_the_graph_shows_what_ran_side_by_side(open_page: Open, screenshots: Path) -> None:
    """Branches are lanes, children link to their runs, repetitions are one node; a node opens its step."""
    page = await open_page("?run=stocktaking:2026-11")
    await page.get_by_role("button", name="Graph").click()
    await page.wait_for_url("**view=graph")
    graph = page.locator(".graph")
    await graph.get_by_text(re.compile("scan . 6")).wait_for()
    assert await graph.locator(".node").count() == 12  # of them six in three lanes, two children side by side
    tops = [await node.evaluate("node => node.offsetTop") for node in await graph.locator(".node").all()]
    assert len(set(tops[1:7])) == 3
    await page.screenshot(path=screenshots / "run-graph.png", clip={"x": 0, "y": 0, "width": 1240, "height": 690})
    await graph.get_by_role("link", name="open").first.click()
    await page.get_by_role("heading", name="stocktaking:2026-11.child.1").wait_for()
    await page.go_back()
    await graph.get_by_role("button", name=re.compile("scan")).first.click()
    await page.get_by_text("take the picture").wait_for()
    assert "view=graph" not in page.url


async def test_a_child_and_the_parts_of_a_step_are_told_in_the_timeline(open_page: Open, screenshots: Path) -> None:
    """Without leaving the page: the child's own steps, and in a step what it did in parts and said."""
    page = await open_page("?run=stocktaking:2026-11")
    await page.locator(".step", has_text="count-twice").first.click()
    inside = page.locator(".inline-child")
    await inside.get_by_text("sleep").first.wait_for()
    await inside.locator(".step").first.click()
    await inside.get_by_text("Parts: 2 ok").wait_for()
    await inside.get_by_text('{"shelf":7}').wait_for()
    await page.screenshot(path=screenshots / "run-child.png", full_page=True)


async def test_a_long_timeline_is_shown_stretch_by_stretch(sqlite_url: str, tmp_path: Path) -> None:
    example = the_example(sqlite_url, tmp_path, EXAMPLE_STEP_SECONDS="0")
    async with example as address, looking_at(f"{address}/durable/") as open_page:
        page = await open_page("?page=workflows")
        card = page.locator("section", has_text="Count every shelf")
        await card.get_by_role("button", name="Start").click()
        await page.get_by_role("textbox", name="Input").fill(str(LONG))
        await page.get_by_role("dialog").get_by_role("button", name="Start").click()
        # As long as a busy machine takes for so many steps.
        await page.get_by_text("Waits for the event").wait_for(timeout=180_000)
        told = page.get_by_text(re.compile(r"steps 1 to 250 of \d+"))
        last = int((await told.inner_text()).rpartition(" ")[2])
        assert LONG < last < LONG + 30
        assert await page.get_by_role("button", name="Earlier").is_disabled()
        await page.get_by_role("button", name="Later").click()
        await page.get_by_text(f"steps 251 to 500 of {last}").wait_for()
        await page.get_by_role("button", name="Later").click()
        await page.get_by_text(f"steps 501 to {last} of {last}").wait_for()
        await page.locator(".step", has_text="warehouse.closed").wait_for()
        assert await page.get_by_role("button", name="Later").is_disabled()
        await page.get_by_role("button", name="Earlier").click()
        await page.get_by_text(f"steps 251 to 500 of {last}").wait_for()


async def test_a_failed_run_is_retried_forked_and_done_again_with_other_input(open_page: Open) -> None:
    page = await open_page("?run=delivery:2001")
    await confirmed(page, "Retry", "Retry")
    await page.get_by_text("The run is retried").wait_for()
    await page.locator(".head .status", has_text="failed").wait_for()

    await page.locator(".step", has_text="put_away").click()
    await confirmed(page, "Fork from here put_away", "Fork")
    await page.get_by_role("heading", name=re.compile("delivery:2001~fork~")).wait_for()
    await page.get_by_role("link", name="delivery:2001", exact=True).click()

    await page.get_by_role("button", name="Retry with other input").click()
    field = page.get_by_role("textbox", name="Input")
    await field.fill((await field.input_value()).replace("Nobody", "Somebody"))
    await page.get_by_role("dialog").get_by_role("button", name="Start").click()
    await page.get_by_role("heading", name=re.compile("delivery:2001~retry~")).wait_for()
    await page.get_by_text("shelf-2001").first.wait_for()


async def test_an_event_is_published_to_the_run_that_waits_for_it(open_page: Open) -> None:
    page = await open_page("?run=stocktaking:2026-11")
    await page.get_by_role("button", name="Publish event").click()
    assert await page.get_by_label("Name").input_value() == "warehouse.closed"
    await page.get_by_role("button", name="Publish", exact=True).click()
    await page.get_by_text("Received by one run").wait_for()
    await page.locator(".head .status", has_text="completed").wait_for()


async def test_a_run_is_cancelled_with_its_steps_undone_and_then_deleted(open_page: Open, screenshots: Path) -> None:
    page = await open_page("?run=delivery:3001")
    await page.get_by_role("button", name="Cancel", exact=True).click()
    await page.get_by_label("Undo its finished steps first").check()
    await page.get_by_role("button", name="Cancel the run").click()
    await page.get_by_text("Undoing: 2 of 2 done").wait_for()
    await page.locator(".head .status", has_text="cancelled").wait_for()
    await page.screenshot(path=screenshots / "run-undone.png", full_page=True)
    await confirmed(page, "Delete", "Delete the run")
    await page.get_by_text("1 run was deleted").wait_for()
    await page.get_by_text(f"{TOTAL - 1} of {TOTAL - 1}").wait_for()


async def test_a_run_that_is_alive_is_deleted_only_by_who_says_so(open_page: Open) -> None:
    page = await open_page("?run=delivery:3001")
    await confirmed(page, "Delete", "Delete the run")
    await page.get_by_role("dialog").get_by_role("alert").get_by_text("suspended").wait_for()
    await page.get_by_label("Cancel it first (it is alive)").check()
    await page.get_by_role("button", name="Delete the run").click()
    await page.get_by_text("1 run was deleted").wait_for()
    assert await page.get_by_role("link", name="delivery:3001").count() == 0


async def test_an_update_is_sent_and_what_refuses_it_is_told(open_page: Open) -> None:
    """Where it was typed, so that it can be mended."""
    page = await open_page("?run=price-change:lamp")
    await page.get_by_role("button", name="Send update").click()
    await page.get_by_label("Name").fill("cents")
    for value, told in (("0", "a price is above zero"), ("4500", "lamp costs 4500 cents")):
        await page.get_by_label("Value").fill(value)
        await page.get_by_role("button", name="Send", exact=True).click()
        await page.get_by_text(told).first.wait_for()


async def test_what_operators_did_is_no_undoing_and_each_death_has_its_letter() -> None:
    """A link leads to a letter that exists, and a run behind its singleton's leader does not go on by itself."""
    async with desk() as found, serving(found.app) as address, looking_at(f"{address}/durable/") as open_page:
        store, service = found.runtime.store, found.runtime.service
        await store.create_run(stored("unlucky", recovery_attempts=4, status=RunStatus.DEAD))
        page = await open_page("?run=unlucky")
        await page.get_by_role("heading", name="About").wait_for()
        assert await page.get_by_text("Dead letter").count() == 0
        await service.retry("unlucky")
        await store.update_run("unlucky", {"status": RunStatus.DEAD})
        for letter in ("dlq:unlucky", "dlq@2:unlucky"):
            await store.create_run(stored(letter, status=RunStatus.COMPLETED))
        page = await open_page("?run=unlucky")
        await page.get_by_role("heading", name="Operator actions").wait_for()
        await page.get_by_text("it was dead").wait_for()
        assert await page.get_by_text("Undoing").count() == 0
        await page.get_by_role("link", name="dlq:unlucky", exact=True).wait_for()
        await page.get_by_role("link", name="dlq@2:unlucky").click()
        await page.get_by_role("heading", name="dlq@2:unlucky").wait_for()
        leader = await service.start(alone, "key")
        await found.until(leader.run_id, RunStatus.SUSPENDED)
        follower = await service.start(alone, "key")
        await found.until(follower.run_id, RunStatus.SUSPENDED)
        page = await open_page(f"?run={follower.run_id}")
        await page.get_by_text("Waits for a slot of the singleton").wait_for()
        assert await page.get_by_text("Continues by itself").count() == 0
        assert await page.get_by_text("gives up").count() == 0
        await page.locator("section.waits").get_by_role("link", name="key").click()
        await page.get_by_text("waits for a slot of the singleton key").wait_for()
