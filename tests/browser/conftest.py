"""The example with runs worth looking at, and a browser that takes no error for an answer."""

import asyncio
import os
import shutil
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from example_app.durable import durable
from tests.acceptance.processes import processes
from tests.browser.seeded import seed

PREFIX = "/internal/durable"
PLAIN_HOST = "console.test"
"""A name of the server that is not this machine's own: over HTTP a browser does not count it as safe."""
SETTINGS = {"EXAMPLE_STEP_SECONDS": "0.05", "DURABLE_POLL_INTERVAL": "20ms"}
FLAGS = [
    "--no-sandbox",  # there is none for root, as whom CI runs; the only pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {PLAIN_HOST} 127.0.0.1",
]


@pytest.fixture(scope="session")
def screenshots() -> Path:
    folder = Path(os.environ.get("DURABLE_SCREENSHOTS", ".make/screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """The application on a port of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(60):
            while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
                await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await asyncio.wait_for(task, 20)


def _complains(message: Any) -> bool:
    """Chromium reports every answer of 400 and more, those that the page shows to its user included.

    It also reports that a policy of the page counts over HTTPS only.
    """
    expected = ("status of 4", "Cross-Origin-Opener-Policy header has been ignored")
    return message.type == "error" and not any(text in message.text for text in expected)


Open = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def looking_at(console: str) -> AsyncIterator[Open]:
    """A browser on the dashboard of that address."""
    from playwright.async_api import async_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert executable, "no Chromium is installed: make test-console says what to do"
    complaints: list[str] = []
    async with AsyncExitStack() as stack:
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        stack.push_async_callback(browser.close)

        async def open_page(
            path: str = "", *, width: int = 1240, height: int = 860, scheme: Any = "light", zone: str = "UTC"
        ) -> Any:
            context = await browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                timezone_id=zone,
                locale="en-GB",
                http_credentials={"username": "operator", "password": "secret"},
            )
            stack.push_async_callback(context.close)
            page = await context.new_page()
            page.set_default_timeout(60_000)
            page.on("console", lambda message: complaints.append(message.text) if _complains(message) else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(f"{console}{path}")
            await page.wait_for_selector("main > *, main.login > *")
            return page

        yield open_page
    assert complaints == []


_POST = """async ([path, body]) => {
    const headers = {"Content-Type": "application/json"};
    const answer = await fetch(`api/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
    return answer.json();
}"""


async def post(page: Any, path: str, body: Any) -> Any:
    """What somebody else does meanwhile, at a page's API."""
    return await page.evaluate(_POST, [path, body])


@pytest.fixture(scope="session")
def _seeded_database(_sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which the example has left runs in every state."""
    folder = tmp_path_factory.mktemp("seeded")
    path = shutil.copyfile(_sqlite_template, folder / "seeded.db")
    with processes(f"file:{path}", folder, forked=True, **SETTINGS) as started:
        web = started.web()
        asyncio.run(web.ready())
        seed(f"http://127.0.0.1:{web.port}")
        web.terminate()
        asyncio.run(web.exit_code())
    return path


@pytest.fixture
def seeded_url(_seeded_database: Path, tmp_path: Path) -> str:
    """The URL of a database of the test's own, with these runs."""
    path = tmp_path / "seeded.db"
    with closing(sqlite3.connect(_seeded_database)) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)  # with what still stands in the write-ahead log
    return f"file:{path}"


@asynccontextmanager
async def the_example(url: str, folder: Path, **settings: str) -> AsyncIterator[str]:
    """Its address, served as `make run` serves it: a process of its own, on a real database."""
    with processes(url, folder, forked=True, **{**SETTINGS, **settings}) as started:
        web = started.web()
        await web.ready()
        yield f"http://127.0.0.1:{web.port}"


@asynccontextmanager
async def mounted(
    url: str, monkeypatch: pytest.MonkeyPatch, *, host: str = "127.0.0.1", **options: Any
) -> AsyncIterator[Open]:
    """A browser on the console of the example's module under another prefix; `options` are those of its router."""
    monkeypatch.setenv("DATABASE_URL", url)
    app = FastAPI(lifespan=durable.lifespan)
    app.include_router(durable.router(**options), prefix=PREFIX)
    async with serving(app) as address:
        async with looking_at(f"{address.replace('127.0.0.1', host)}{PREFIX}/") as open_page:
            yield open_page


@pytest.fixture
async def open_page(seeded_url: str, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens a page of the example's console: `page = await open_page("?page=runs", width=400)`."""
    async with the_example(seeded_url, tmp_path) as address, looking_at(f"{address}/durable/") as open_page:
        yield open_page
