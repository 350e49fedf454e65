"""An event loop of another thread, for what goes on while the test's own one is blocked, or the other way round."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi_durable.store.prisma import PrismaStateStore


@asynccontextmanager
async def opened_store(url: str) -> AsyncIterator[PrismaStateStore]:
    """A store over a client of its own, in the event loop that opens it."""
    from example_app.clients import postgresql, sqlite

    client: Any = sqlite.Prisma if url.startswith("file:") else postgresql.Prisma
    async with client(datasource={"url": url}) as connected:
        yield PrismaStateStore(connected)


@asynccontextmanager
async def elsewhere(context: Callable[[], AbstractAsyncContextManager[object]]) -> AsyncIterator[None]:
    """Open a context in the event loop of another thread, and leave it there at the end of the block."""
    here = asyncio.get_running_loop()
    opened: asyncio.Future[None] = here.create_future()
    there, leave = asyncio.new_event_loop(), asyncio.Event()

    async def stay() -> None:
        async with context():
            here.call_soon_threadsafe(opened.set_result, None)
            await leave.wait()

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: there) as runner:
                runner.run(stay())
        except BaseException as error:
            if not opened.done():
                here.call_soon_threadsafe(opened.set_exception, error)
            raise

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    await opened
    try:
        yield
    finally:
        there.call_soon_threadsafe(leave.set)
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()
