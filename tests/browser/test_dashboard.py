"""What an operator sees, and does with mouse and keyboard; pictures of it are kept."""

import re
from pathlib import Path

import pytest

from tests.browser.conftest import Open, post
from tests.browser.seeded import COMPLETED, TOTAL

pytestmark = pytest.mark.console


async def test_the_overview_shows_where_the_runs_stand(open_page: Open, screenshots: Path) -> None:
    """Counts by status, what failed and what waits, each a link."""
    page = await open_page()
    await page.get_by_role("heading", name="Recent failures").wait_for()
    await page.screenshot(path=screenshots / "overview.png")
    await page.get_by_role("link", name=re.compile(f"{COMPLETED}.*completed")).click()
    await page.wait_for_url("**/?page=runs&status=completed")
    await page.get_by_text(f"{COMPLETED} of {COMPLETED}").wait_for()


async def test_the_run_list_filters_in_the_address(open_page: Open, screenshots: Path) -> None:
    """A filtered list is a link to send to a colleague; the back button undoes a filter."""
    page = await open_page("?page=runs")
    await page.get_by_text(f"{TOTAL} of {TOTAL}").wait_for()
    await page.screenshot(path=screenshots / "runs.png")
    await page.get_by_role("button", name=re.compile("failed")).click()
    await page.wait_for_url("**/?page=runs&status=failed")
    # The address changes first, and the form with what is drawn next.
    await page.get_by_role("button", name=re.compile("failed"), pressed=True).wait_for()
    await page.get_by_role("link", name="delivery:2001").wait_for()
    await page.get_by_label("Attribute").fill("weight:gte:100")
    await page.get_by_label("Attribute").press("Enter")
    await page.get_by_text("No run matches").wait_for()
    await page.go_back()
    await page.get_by_role("link", name="delivery:2001").wait_for()


async def test_every_filter_narrows_the_list_and_one_click_clears_them(open_page: Open) -> None:
    """Together and by the Enter key, a hand-written address included."""
    page = await open_page("?page=runs&origin=example_app")
    await page.get_by_text(f"{TOTAL} of {TOTAL}").wait_for()
    for label, value, left in (("Workflow", "delivery", 14), ("Tag", "gate:1", 4), ("Attribute", "cold:eq:true", 0)):
        await page.get_by_label(label, exact=True).fill(value)
        await page.get_by_label(label, exact=True).press("Enter")
        await page.get_by_text(f"{left} of {left}").wait_for()
    await page.get_by_role("link", name="clear").click()
    await page.get_by_text(f"{TOTAL} of {TOTAL}").wait_for()
    await page.get_by_label("Created").select_option("1")
    await page.get_by_label("Namespace").fill("default")
    await page.get_by_role("button", name="Filter", exact=True).click()
    await page.wait_for_url(re.compile("(?=.*namespace=default)(?=.*created_from=)"))
    # The address changes first; the link is drawn with the form that has these filters.
    await page.get_by_role("link", name="clear").wait_for()
    await page.get_by_text(f"{TOTAL} of {TOTAL}").wait_for()
    await page.get_by_label("Namespace").fill("elsewhere")
    await page.get_by_role("button", name="Filter", exact=True).click()
    await page.get_by_text("No run matches").wait_for()


async def test_a_long_list_is_shown_page_by_page(open_page: Open) -> None:
    """And shows each run once, although it grows meanwhile."""
    page = await open_page("?page=runs&workflow=count-twice")
    for number in range(60):
        await post(page, "workflows/count-twice/runs", {"input": number, "run_id": f"count:{number}"})
    await page.get_by_text("50 of 63").wait_for()
    await page.get_by_role("button", name="Show more").click()
    await page.get_by_text("63 of 63").wait_for()
    shown = await page.locator("main tbody a").all_inner_texts()
    assert len(shown) == len(set(shown)) == 63


async def test_a_failed_run_shows_its_steps_and_its_error(open_page: Open, screenshots: Path) -> None:
    """The waterfall with attempts; a step opens to its input, output, error and stack."""
    page = await open_page("?run=delivery:2001")
    await page.get_by_text("no_shelf").first.wait_for()
    await page.get_by_role("button", name=re.compile("call_supplier.*3 attempts")).wait_for()
    last = page.get_by_role("button", name=re.compile("^put_away"))
    await last.focus()
    await page.keyboard.press("Enter")
    await page.get_by_text("Step id").wait_for()
    await page.screenshot(path=screenshots / "run-failed.png", full_page=True)


async def test_a_waiting_run_goes_on_before_ones_eyes(open_page: Open, screenshots: Path) -> None:
    """The signal is sent from the page, whose stream shows the end without a reload."""
    page = await open_page("?run=delivery:3001")
    await page.get_by_text("Waits for the signal").wait_for()
    await page.screenshot(path=screenshots / "run-waiting.png", full_page=True)
    await page.get_by_role("button", name="Send signal").click()
    await page.get_by_label("Payload").fill("not json")
    await page.get_by_role("button", name="Send", exact=True).click()
    await page.get_by_text("This is not JSON").wait_for()
    await page.screenshot(path=screenshots / "dialog.png")
    await page.get_by_label("Payload").fill("true")
    await page.get_by_role("button", name="Send", exact=True).click()
    await page.get_by_text("shelf-3001").first.wait_for()


async def test_a_run_is_continued_and_another_cancelled(open_page: Open) -> None:
    """Each after a confirmation, which the Escape key refuses."""
    page = await open_page("?run=price-change:lamp")
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_role("dialog").get_by_role("button", name="Continue").click()
    await page.get_by_text("lamp costs 4900 cents").wait_for()

    page = await open_page("?run=price-change:chair")
    await page.get_by_text("Continues by itself").wait_for()
    await page.get_by_role("button", name="Cancel").click()
    await page.keyboard.press("Escape")
    assert await page.locator(".head .status").inner_text() == "suspended"
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Cancel the run").click()
    await page.locator(".head .status", has_text="cancelled").wait_for()


async def test_a_workflow_is_started_from_its_schema(open_page: Open, screenshots: Path) -> None:
    """The dialog begins with the shape of the input, and shows what the model says against it."""
    page = await open_page("?page=workflows")
    await page.get_by_role("heading", name="delivery v2").wait_for()
    await page.screenshot(path=screenshots / "workflows.png")
    card = page.locator("section", has_text="delivery v2")
    await card.get_by_role("button", name="Start").click()
    field = page.get_by_role("textbox", name="Input")
    assert '"supplier"' in await field.input_value()
    await field.fill('{"id": "9", "supplier": "Grace", "parcels": 0}')
    start = page.get_by_role("dialog").get_by_role("button", name="Start")
    await start.click()
    await page.get_by_text("does not fit Delivery").wait_for()
    await field.fill('{"id": "9", "supplier": "Grace", "parcels": 5}')
    await page.get_by_label("Run id").fill("mine/9")
    await start.click()
    await page.get_by_text("shelf-9").first.wait_for()


async def test_a_signal_and_an_event_are_sent_to_whoever_waits(open_page: Open) -> None:
    """Without knowing the run: from the page of the workflows."""
    page = await open_page("?page=workflows")
    await page.get_by_role("button", name="Send a signal").click()
    await page.get_by_label("Token").fill("inspected:3001")
    await page.get_by_label("Payload").fill("true")
    await page.get_by_role("button", name="Send", exact=True).click()
    await page.get_by_role("dialog").wait_for(state="hidden")
    await page.get_by_role("button", name="Publish an event").click()
    await page.get_by_label("Name").fill("warehouse.closed")
    await page.get_by_role("button", name="Publish", exact=True).click()
    await page.get_by_text("Received by one run").wait_for()
    await page.get_by_role("link", name="Runs", exact=True).click()
    await page.get_by_text(f"{TOTAL} of {TOTAL}").wait_for()
    for run_id in ("delivery:3001", "stocktaking:2026-11"):
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name=run_id, exact=True))
        await row.locator(".status", has_text="completed").wait_for()


async def test_a_page_for_the_dark_and_for_a_phone(open_page: Open, screenshots: Path) -> None:
    """Nothing is wider than the screen."""
    page = await open_page("?run=delivery:2001", scheme="dark")
    await page.get_by_text("no_shelf").first.wait_for()
    await page.screenshot(path=screenshots / "run-dark.png")
    long = "import/" + "of-all-that-was-ordered-" * 18
    body = {"input": {"sku": "lamp", "cents": 1}, "run_id": long, "tags": ["x" * 180]}
    await post(page, "workflows/price-change/runs", body)
    for name, path, there in (
        ("overview", "", "delivery:3001"),
        ("runs", "?page=runs", long),
        ("run", "?run=delivery:3001", "delivery:3001"),
        ("long", f"?run={long}", long),
        ("graph", "?run=stocktaking:2026-11&view=graph", "warehouse.closed"),
        ("workflows", "?page=workflows", "price-change"),
        ("system", "?page=system", "price-list"),
    ):
        page = await open_page(path, width=390, height=844, scheme="dark" if name == "runs" else "light")
        await page.get_by_text(there).first.wait_for()
        await page.screenshot(path=screenshots / f"phone-{name}.png")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390, name


async def test_an_unknown_run_says_so(open_page: Open) -> None:
    """By the search field, which the slash key reaches."""
    page = await open_page()
    await page.get_by_role("heading", name="Overview").wait_for()
    await page.keyboard.press("/")
    await page.keyboard.type("delivery:1003")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="delivery:1003").wait_for()


async def test_what_a_run_holds_is_never_markup(open_page: Open) -> None:
    """A script in a name, an id or a value is text."""
    page = await open_page("?page=workflows")
    card = page.locator("section", has_text="price-change")
    await card.get_by_role("button", name="Start").click()
    await page.get_by_role("textbox", name="Input").fill('{"sku": "<img src=x onerror=alert(1)>", "cents": 1}')
    await page.get_by_label("Run id").fill("<b>bold</b>")
    await page.get_by_role("dialog").get_by_role("button", name="Start").click()
    await page.get_by_role("heading", name="<b>bold</b>").wait_for()
    assert await page.locator("main img, main b:text('bold')").count() == 0


async def test_failed_runs_are_retried_together_and_one_is_deleted(open_page: Open, screenshots: Path) -> None:
    """The answer counts what was done; a deleted run is gone from the list."""
    page = await open_page("?page=runs&status=failed")
    await page.get_by_text("1 of 1").wait_for()
    await page.get_by_role("button", name="Retry all").click()
    await page.screenshot(path=screenshots / "bulk.png")
    await page.get_by_role("dialog").get_by_role("button", name="Retry all").click()
    await page.get_by_text("1 of 1 done").wait_for()
    page = await open_page("?run=delivery:1003")
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Delete the run").click()
    await page.get_by_text("1 run was deleted").wait_for()
    await page.get_by_role("heading", name="Runs").wait_for()
    assert await page.get_by_role("link", name="delivery:1003").count() == 0


async def test_a_run_is_forked_from_a_step_and_done_again_with_other_input(open_page: Open) -> None:
    """Each leads to the page of the new run, which links back to the old one."""
    page = await open_page("?run=delivery:1004")
    await page.get_by_role("button", name=re.compile("^put_away")).click()
    await page.get_by_role("button", name="Fork from here put_away").click()
    await page.get_by_role("dialog").get_by_role("button", name="Fork").click()
    await page.get_by_role("heading", name=re.compile("delivery:1004~fork~")).wait_for()
    await page.get_by_role("link", name="delivery:1004", exact=True).click()
    # The fork's page has the same button until the other page is there.
    await page.get_by_role("heading", name=re.compile("delivery:1004(?!~)")).wait_for()
    await page.get_by_role("button", name="Retry with other input").click()
    await page.get_by_role("textbox", name="Input (JSON)").fill('{"id": "1004", "supplier": "Else", "parcels": 2}')
    await page.get_by_role("dialog").get_by_role("button", name="Start").click()
    await page.get_by_role("heading", name=re.compile("delivery:1004~retry~")).wait_for()
