"""A served application with runs worth looking at, and a browser that takes no error for an answer."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from fastapi_durable import DurableModule
from tests.browser.shop import seed, shop

PREFIX = "/internal/durable"
FLAGS = [
    "--no-sandbox",  # there is none for root, as whom CI runs; the only pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def signed_in(given: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> None:
    if (given.username, given.password) != ("operator", "secret"):
        raise HTTPException(401)


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
        async with asyncio.timeout(20):
            while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
                await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await asyncio.wait_for(task, 20)


def _complains(message: Any) -> bool:
    """Chromium reports every answer of 400 and more, those that the page shows to its user included."""
    return message.type == "error" and "status of 4" not in message.text


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

        async def open_page(path: str = "", *, width: int = 1240, height: int = 860, scheme: Any = "light") -> Any:
            context = await browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                http_credentials={"username": "operator", "password": "secret"},
            )
            stack.push_async_callback(context.close)
            page = await context.new_page()
            page.set_default_timeout(20_000)
            page.on("console", lambda message: complaints.append(message.text) if _complains(message) else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(f"{console}{path}")
            await page.wait_for_selector("main > *, main.login > *")
            return page

        yield open_page
    assert complaints == []


@asynccontextmanager
async def browsing(module: DurableModule, *, seeded: bool = True, **options: Any) -> AsyncIterator[Open]:
    """A browser on the dashboard of a module; `options` are those of its router."""
    app = FastAPI(lifespan=module.lifespan)
    app.include_router(module.router(**options), prefix=PREFIX)
    async with serving(app) as address:
        if seeded:
            await seed(module.runtime(app))
        async with looking_at(f"{address}{PREFIX}/") as open_page:
            yield open_page


@pytest.fixture
async def open_page() -> AsyncIterator[Open]:
    """Opens a page of the seeded shop's dashboard: `page = await open_page("?page=runs", width=400)`."""
    async with browsing(shop(), dependencies=[Depends(signed_in)]) as open_page:
        yield open_page
