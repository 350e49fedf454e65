"""The code of docs/how-to/streams.md runs as it stands there."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fastapi_durable.engine.core.config import EngineConfig

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "streams.md").read_text(encoding="utf-8")
PRINTED = "0 You\n1 asked:\n2 why?\n"


@pytest.fixture
async def page() -> AsyncIterator[dict[str, Any]]:
    """What the page defines, with its application started, and `http` to ask it."""
    found: dict[str, Any] = {"__name__": __name__}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(block, found)  # noqa: S102 (the repository's own document)
    app = found["app"]
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        found["http"] = http
        found["service"] = found["durable"].runtime(app).service
        yield found


async def asked(page: dict[str, Any]) -> str:
    answered = await page["http"].post("/answers", params={"question": "why?"})
    run_id: str = answered.json()
    return run_id


async def test_the_answer_is_printed_as_the_page_says(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert f"```\n{PRINTED}```" in TEXT
    async with asyncio.timeout(60):
        run_id = await asked(page)
        await page["print_answer"](page["service"], run_id)
    assert PRINTED in capsys.readouterr().out
    assert await page["current_text"](page["service"], run_id) == "You asked: why?"


async def test_a_browser_gets_the_events_of_the_table(page: dict[str, Any]) -> None:
    async with asyncio.timeout(60):
        run_id = await asked(page)
        refused = await page["http"].get(f"/answers/{run_id}/tokens", headers={"customer": "stranger"})
        assert refused.status_code == 403
        text = (await page["http"].get(f"/answers/{run_id}/tokens")).text
    named = re.findall(r"^event: (\w+)$", text, re.MULTILINE)
    assert set(named) <= set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    first = json.loads(re.findall(r"^event: item\ndata: (.*)$", text, re.MULTILINE)[0])
    assert set(first) == {"offset", "step", "attempt", "at", "data"}
    assert named[-1] == "end"


async def test_events_of_the_applications_own_are_sent_by_fastapi(page: dict[str, Any]) -> None:
    async with asyncio.timeout(60):
        run_id = await asked(page)
        text = (await page["http"].get(f"/answers/{run_id}/words", headers={"last-event-id": "0"})).text
    assert re.findall(r"^data: (.*)$", text, re.MULTILINE) == ['"asked:"', '"why?"']


async def test_the_body_appends_and_closes(page: dict[str, Any]) -> None:
    from fastapi_durable import DurableModule, DurableOptions, MemoryStateStore

    durable = DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[page["import_files"]])
    async with asyncio.timeout(60), durable.running() as runtime:
        handle = await runtime.service.start(page["import_files"], ["a.csv"])
        assert await handle.result() == 1
        items = [item.data async for item in runtime.service.read_stream(handle.run_id, "log", str)]
    assert items == ["a.csv: You asked: a.csv", "one transaction", "for many items"]


def test_the_limits_are_those_of_the_settings() -> None:
    for name in ("stream_max_items", "stream_max_item_size"):
        assert f"{EngineConfig.model_fields[name].default:,}" in TEXT
