"""What customers and the warehouse do over HTTP, and an operator in the console: on both databases."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.browser.conftest import looking_at, the_example
from tests.browser.seeded import ORDER

pytestmark = pytest.mark.console


@pytest.fixture(params=["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.postgres)])
async def example(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    url = request.getfixturevalue(request.param)
    async with the_example(url, tmp_path) as address, httpx.AsyncClient(base_url=address, timeout=20) as http:
        yield http


async def test_an_order_is_seen_approved_and_shipped_from_the_dashboard(
    example: httpx.AsyncClient, screenshots: Path
) -> None:
    """Placed by a customer over HTTP, stopped by its amount, and sent on its way by an operator."""
    (await example.post("/orders", json=ORDER)).raise_for_status()
    async with looking_at(f"{example.base_url}/durable/") as open_page:
        page = await open_page("?page=runs&status=suspended")
        await page.get_by_text("waits for signal approval:7").wait_for()
        await page.get_by_role("link", name="checkout:7").click()
        await page.get_by_role("button", name="Send signal").click()
        await page.get_by_label("Payload").fill('{"approved": true}')
        await page.get_by_role("button", name="Send", exact=True).click()
        await page.locator(".head .status", has_text="completed").wait_for()
        await page.get_by_text('"shipped"').wait_for()
        await page.screenshot(path=screenshots / "example.png", full_page=True)
    assert (await example.get("/orders/7")).json()["status"] == "shipped"


async def test_what_the_warehouse_does_is_seen_as_it_happens(example: httpx.AsyncClient) -> None:
    """Deliveries from a queue, and stocktaking that goes on when the doors are closed; on pages that nobody reloads."""
    async with looking_at(f"{example.base_url}/durable/") as open_page:
        deliveries, count = await open_page("?page=runs&workflow=delivery"), await open_page("?page=workflows")
        for number in range(6):
            delivery = {"id": f"d-{number}", "supplier": "Grace"}
            (await example.post("/warehouse/deliveries", json=delivery)).raise_for_status()
        await count.locator("section", has_text="Count every shelf").get_by_role("button", name="Start").click()
        await count.get_by_role("textbox", name="Input").fill("2")
        await count.get_by_role("dialog").get_by_role("button", name="Start").click()
        await count.get_by_text("Waits for the event").wait_for()
        closed = await example.post("/warehouse/closing")
        assert closed.json() == {"runs": 1}
        await count.get_by_text('"12 shelves"').wait_for()
        await deliveries.locator("tbody tr .status", has_text="completed").nth(5).wait_for()
