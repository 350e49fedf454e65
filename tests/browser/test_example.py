"""The example as `make run` serves it: a process of its own, on a migrated database."""

from pathlib import Path

import pytest

from tests.acceptance.processes import processes
from tests.browser.conftest import looking_at

pytestmark = pytest.mark.console

ORDER = {"id": "7", "customer": "ada", "items": [{"sku": "lamp", "quantity": 1}], "total_cents": 9900}


async def test_an_order_is_seen_approved_and_shipped_from_the_dashboard(
    sqlite_url: str, tmp_path: Path, screenshots: Path
) -> None:
    """Placed by a customer over HTTP, stopped by its amount, and sent on its way by an operator."""
    with processes(sqlite_url, tmp_path, EXAMPLE_STEP_SECONDS="0.1") as started:
        web = started.web()
        await web.ready()
        async with web.client() as customer:
            (await customer.post("/orders", json=ORDER)).raise_for_status()
            async with looking_at(f"http://127.0.0.1:{web.port}/durable/") as open_page:
                page = await open_page("?page=runs&status=suspended")
                await page.get_by_text("waits for signal approval:7").wait_for()
                await page.get_by_role("link", name="checkout:7").click()
                await page.get_by_role("button", name="Send signal").click()
                await page.get_by_label("Payload").fill('{"approved": true}')
                await page.get_by_role("button", name="Send", exact=True).click()
                await page.locator(".head .status", has_text="completed").wait_for()
                await page.get_by_text('"shipped"').wait_for()
                await page.screenshot(path=screenshots / "example.png", full_page=True)
            assert (await customer.get("/orders/7")).json()["status"] == "shipped"
