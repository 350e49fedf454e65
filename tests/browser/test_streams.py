"""A page reads a stream while the server is killed and started again: no item is missing, and none comes twice."""

import asyncio
import re
import shutil
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.conftest import FLAGS
from tests.support.migrations import REPOSITORY

pytestmark = pytest.mark.console

DOCUMENT = (REPOSITORY / "docs" / "how-to" / "streams.md").read_text(encoding="utf-8")
(PAGE,) = re.findall(r"```html\n(.*?)```", DOCUMENT, re.DOTALL)

# The body appends 20 items, each once; then a step appends 40, as often as it is begun. It is killed in the middle.
SERVER = """
import asyncio, os
from collections.abc import AsyncIterator
from pathlib import Path
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi_durable import DurableModule, DurableOptions, WorkflowContext, app_scoped, current_step, step, workflow
from fastapi_durable.store.base import StateStore
from tests.support.new_stores import store_at

@step
async def speak() -> None:
    tokens = current_step().stream("tokens")
    for number in range(20, 60):
        await tokens.append({"text": str(number)})
        while number == 40 and not Path("killed").exists():
            await asyncio.sleep(0.05)

@workflow
async def answer(ctx: WorkflowContext) -> None:
    for number in range(20):
        await ctx.stream("tokens").append({"text": str(number)})
        await ctx.sleep("50ms")
    await ctx.step(speak)

@app_scoped
async def store() -> AsyncIterator[StateStore]:
    async with store_at(os.environ["STORE_URL"]) as opened:
        yield opened

durable = DurableModule.for_root_async(
    use_factory=lambda store: DurableOptions(store=store, lease="1s", poll_interval="50ms"),
    inject=[store],
    workflows=[answer],
)
app = FastAPI(lifespan=durable.lifespan)
app.include_router(durable.stream_router("tokens", prefix="/answers", allow_unauthenticated=True))

@app.post("/answers")
async def ask() -> str:
    service = durable.runtime(app).service
    return (await service.start(answer, run_id="told")).run_id

@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return Path("page.html").read_text()
"""

# What the page was sent, beside what it shows.
WATCHED = """
<script>
    window.offsets = [];
    source.addEventListener("item", (event) => window.offsets.push(JSON.parse(event.data).offset));
</script>
"""


@pytest.fixture(params=["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


class Server:
    """One uvicorn after the other, on one port and one database."""

    def __init__(self, folder: Path, store_url: str) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._environment = {"STORE_URL": store_url, "PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
        self._process: Process | None = None

    async def start(self) -> None:
        command = [sys.executable, "-m", "uvicorn", "served:app", "--host", "127.0.0.1", "--port", str(self.port)]
        self._process = await asyncio.create_subprocess_exec(
            *command, cwd=self._folder, env=self._environment, stdout=PIPE, stderr=STDOUT
        )
        async with asyncio.timeout(60), httpx.AsyncClient() as http:
            while True:
                with suppress(httpx.TransportError):
                    await http.get(self.url)
                    return
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.communicate()
            self._process = None


@pytest.fixture
async def server(tmp_path: Path, store_url: str) -> AsyncIterator[Server]:
    (tmp_path / "served.py").write_text(SERVER)
    (tmp_path / "page.html").write_text(f"<!doctype html><body>{PAGE}{WATCHED}</body>")
    server = Server(tmp_path, store_url)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Any]:
    from playwright.async_api import async_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        page = await browser.new_page()
        page.set_default_timeout(90_000)
        await page.goto(url)
        yield page
        await browser.close()


@pytest.mark.timeout(900)
async def test_a_page_misses_nothing_and_gets_nothing_twice_while_the_server_is_killed(
    server: Server, tmp_path: Path
) -> None:
    """Once while the body appends, and once in the middle of the step, whose first items the page drops then."""
    async with httpx.AsyncClient() as http:
        run_id = (await http.post(f"{server.url}/answers")).json()
    async with opened(f"{server.url}/?run={run_id}") as page:
        for shown in (8, 41):
            await page.wait_for_function(f"document.querySelectorAll('#answer span').length >= {shown}")
            await server.kill()
            if shown > 20:
                (tmp_path / "killed").touch()
            await server.start()
        await page.wait_for_selector("#answer[data-status=completed]")
        texts = await page.locator("#answer span").all_inner_texts()
        offsets = await page.evaluate("window.offsets")
    assert [text.strip() for text in texts] == [str(number) for number in range(60)]
    assert offsets == list(range(len(offsets)))
    # Twice in the step, if the body was quicker than the browser.
    assert len(offsets) >= 60 + 21
