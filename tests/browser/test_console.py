"""The other pages of the dashboard, and who may use it."""

import re
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import Depends, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from fastapi_durable import ConsoleLogin, ConsoleUser, LoginCredentialsDep
from tests.browser.conftest import PLAIN_HOST, PREFIX, Open, looking_at, mounted, post, the_example
from tests.browser.seeded import COMPLETED, TOTAL

pytestmark = pytest.mark.console


async def test_charts_are_read_with_the_keyboard_and_over_other_stretches(open_page: Open) -> None:
    page = await open_page()
    throughput = page.locator("section", has=page.get_by_role("heading", name="Throughput"))
    await throughput.get_by_text(f"{TOTAL} started, {COMPLETED + 1} ended").wait_for()
    await throughput.locator("svg").focus()
    await page.keyboard.press("ArrowLeft")
    told = throughput.get_by_text(re.compile(r"completed \d+, failed \d+, cancelled 0"))
    for _ in range(30):
        # So many minutes may have begun since the runs ended.
        if "completed 0" not in await told.inner_text():
            break
        await page.keyboard.press("ArrowLeft")
    await throughput.get_by_text(re.compile(r"completed [1-9]\d*, failed \d, cancelled 0")).wait_for()
    await page.get_by_label("Time range").select_option("24h")
    await page.wait_for_url("**/?window=24h")
    await page.get_by_role("heading", name="Latency").wait_for()


async def test_many_runs_are_acted_on_at_once(open_page: Open) -> None:
    """What is selected by the filters, with honest counts."""
    page = await open_page("?page=runs&workflow=delivery")
    await page.get_by_role("button", name="Cancel all").click()
    await page.get_by_text("14 runs are selected").wait_for()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel all").click()
    await page.get_by_text("1 of 1 done").wait_for()
    await page.get_by_role("button", name="Delete all").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete all").click()
    await page.get_by_text("14 of 14 done").wait_for()
    await page.get_by_text("No run matches").wait_for()


async def test_a_schedule_is_paused_resumed_and_run_now(open_page: Open) -> None:
    page = await open_page("?page=system")
    await page.get_by_role("cell", name="0 of 32").wait_for()
    for label, told in (("Pause", "is paused"), ("Resume", "is resumed")):
        await page.get_by_role("button", name=label).click()
        await page.get_by_role("dialog").get_by_role("button", name=label).click()
        await page.get_by_text(told).wait_for()
    await page.get_by_role("button", name="Run now").click()
    await page.get_by_role("dialog").get_by_role("button", name="Start").click()
    await page.get_by_role("heading", name=re.compile("^sched:stocktaking")).wait_for()


async def test_queues_show_what_runs_what_waits_and_when_it_goes_on(open_page: Open, screenshots: Path) -> None:
    """Of five runs on a queue that lets three begin in an hour, two wait; a run's page names its queue."""
    page = await open_page()
    for number in range(5):
        options = {"run_id": f"price:{number}", "queue": "price-list", "fairness_key": "ada"}
        await post(page, "workflows/price-change/runs", {"input": {"sku": "lamp", "cents": 1}, **options})
    await page.get_by_role("link", name="System").click()
    row = page.get_by_role("row", name=re.compile("price-list.*up to 1 on each worker"))
    await row.get_by_text("0 more of 3 in 1 h").wait_for()
    await row.get_by_role("cell", name="2", exact=True).wait_for()
    await row.get_by_text(re.compile("^next in")).wait_for()
    await page.screenshot(path=screenshots / "system.png")
    await page.goto(page.url.replace("page=system", "run=price:4"))
    await page.get_by_text("price-list", exact=True).wait_for()
    await page.get_by_text("ada", exact=True).wait_for()


async def test_what_became_of_earlier_attempts_is_told(open_page: Open) -> None:
    """When each was made, and why it failed, although the step succeeded in the end."""
    page = await open_page("?run=delivery:1001")
    step = page.get_by_role("button", name=re.compile("call_supplier.*3 attempts"))
    assert await step.locator(".track [data-status=failed]").count() == 2
    await step.click()
    await page.get_by_text("Earlier attempts").wait_for()
    await page.get_by_text("ConnectionError: the supplier hung up").nth(1).wait_for()


async def test_times_go_on_while_nobody_touches_the_page(open_page: Open) -> None:
    page = await open_page("?run=delivery:1001")
    created = page.locator("dl.facts time").first
    before = await created.inner_text()
    changed = "before => document.querySelector('dl.facts time').textContent !== before"
    # Once the run is older than a minute, its age is shown in minutes.
    await page.wait_for_function(changed, arg=before, timeout=90_000)


async def test_an_application_without_runs_says_what_to_do(sqlite_url: str, tmp_path: Path, screenshots: Path) -> None:
    async with the_example(sqlite_url, tmp_path) as address, looking_at(f"{address}/durable/") as open_page:
        page = await open_page()
        await page.get_by_text("No runs yet. Start a workflow").wait_for()
        await page.get_by_text("No run failed in this time").wait_for()
        await page.screenshot(path=screenshots / "empty.png", full_page=True)


async def test_where_no_worker_lives_the_overview_says_so(sqlite_url: str, tmp_path: Path, screenshots: Path) -> None:
    """And a run says what it waits for."""
    example = the_example(sqlite_url, tmp_path, DURABLE_ROLE="api")
    async with example as address, looking_at(f"{address}/durable/") as open_page:
        page = await open_page()
        await page.get_by_text("No worker is running.").wait_for()
        await page.get_by_role("link", name="Workflows").click()
        await page.locator("section", has_text="count-twice").get_by_role("button", name="Start").click()
        await page.get_by_role("dialog").get_by_role("button", name="Start").click()
        await page.get_by_role("link", name="Overview").click()
        await page.get_by_text("waits for a worker").wait_for()
        await page.screenshot(path=screenshots / "no-worker.png")


def signed_in(given: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> None:
    if (given.username, given.password) != ("operator", "secret"):
        raise HTTPException(401)


async def test_every_page_works_under_another_prefix_and_behind_the_applications_own_login(
    seeded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With links, pictures, live streams and what changes runs."""
    async with mounted(seeded_url, monkeypatch, dependencies=[Depends(signed_in)]) as open_page:
        page = await open_page()
        for link, there in (("Runs", "delivery:3001"), ("Workflows", "delivery v2"), ("System", "price-list")):
            await page.get_by_role("link", name=link, exact=True).click()
            await page.get_by_text(there).first.wait_for()
        await page.get_by_role("link", name="Runs", exact=True).click()
        await page.locator("#live", has_text="live").wait_for()
        await page.get_by_role("link", name="delivery:3001").click()
        await page.get_by_role("button", name="Send signal").click()
        await page.get_by_label("Payload").fill("true")
        await page.get_by_role("button", name="Send", exact=True).click()
        await page.get_by_text("shelf-3001").first.wait_for()
        assert f"{PREFIX}/?run=delivery" in page.url


def authenticate(credentials: LoginCredentialsDep) -> ConsoleUser | None:
    if credentials.matches("otto", "otto's word"):
        return ConsoleUser(name="otto", role="operate")
    return ConsoleUser(name="vera") if credentials.matches("vera", "vera's word") else None


@pytest.mark.parametrize("host", ["127.0.0.1", PLAIN_HOST])
async def test_a_user_signs_in_sees_what_the_role_allows_and_signs_out(
    seeded_url: str, monkeypatch: pytest.MonkeyPatch, screenshots: Path, host: str
) -> None:
    """With the console's own login: back to the view that was wanted, and no actions for who may only look.

    The same over plain HTTP in a network, where browsers say less of where a form comes from.
    """
    login = ConsoleLogin(authenticate=authenticate, secret="a secret that is longer than it has to be", secure=False)
    async with mounted(seeded_url, monkeypatch, host=host, login=login) as open_page:
        for name in ("vera", "otto"):
            page = await open_page("?run=delivery:2001")
            await page.screenshot(path=screenshots / "login.png")
            await page.get_by_label(re.compile("name", re.IGNORECASE)).fill(name)
            await page.get_by_label(re.compile("password", re.IGNORECASE)).fill(f"{name}'s word")
            await page.keyboard.press("Enter")
            await page.get_by_role("heading", name="delivery:2001").wait_for()
            assert await page.get_by_role("button", name="Retry", exact=True).count() == (name == "otto")
            await page.get_by_text(name, exact=True).wait_for()
            await page.get_by_role("button", name="Sign out").click()
            await page.get_by_label(re.compile("password", re.IGNORECASE)).wait_for()
