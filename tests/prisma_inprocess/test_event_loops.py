"""One client in many event loops, one after the other: what belonged to a loop that is closed is ended."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from tests.prisma_inprocess.workbench import create_sqlite_file

LOOPS = 50
READERS = 4
# Each test leaves sockets behind for the garbage collector, as a program does that does not disconnect.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prisma-inprocess-sqlite"]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def becomes_true(condition: Callable[[], bool]) -> bool:
    """Wait for something that another thread or the server is about to do."""
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


async def use(client: Any) -> None:
    """Connect, use several connections at once, and leave all of them open."""
    await client.connect()
    await asyncio.gather(*(client.step.count() for _ in range(READERS)))


async def leave_a_transaction_open(client: Any) -> None:
    await use(client)
    await client.tx().start()


@pytest.mark.parametrize("once", [use, leave_a_transaction_open])
def test_threads_of_closed_loops_end(
    generated_packages: dict[str, ModuleType], tmp_path: Path, once: Callable[[Any], Any]
) -> None:
    create_sqlite_file(tmp_path / "loops.db")
    client = generated_packages["sqlite"].Prisma(datasource={"url": f"file:{tmp_path}/loops.db"}, use_dotenv=False)
    before = set(own_threads())
    for _ in range(LOOPS):
        asyncio.run(once(client))
        assert becomes_true(lambda: len(set(own_threads()) - before) <= READERS + 1)
    asyncio.run(client.disconnect())
    assert becomes_true(lambda: not set(own_threads()) - before)


@pytest.mark.parametrize("once", [use, leave_a_transaction_open])
def test_connections_of_closed_loops_end(
    generated_packages: dict[str, ModuleType], rich_postgres_url: str, once: Callable[[Any], Any]
) -> None:
    name = f"loops_{once.__name__}"
    joiner = "&" if "?" in rich_postgres_url else "?"
    url = f"{rich_postgres_url}{joiner}application_name={name}&connection_limit={READERS}"
    client = generated_packages["postgresql"].Prisma(datasource={"url": url}, use_dotenv=False)

    async def connections() -> int:
        observer = await asyncpg.connect(rich_postgres_url)
        try:
            count: int = await observer.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", name
            )
            return count
        finally:
            await observer.close()

    gc.collect()
    files = open_files()
    for _ in range(LOOPS):
        asyncio.run(once(client))
    # Only those of the last loop, which nobody has followed yet.
    assert becomes_true(lambda: asyncio.run(connections()) <= READERS)
    asyncio.run(client.disconnect())
    assert becomes_true(lambda: asyncio.run(connections()) == 0)
    gc.collect()
    assert open_files() <= files + READERS


def test_a_loop_that_is_open_keeps_its_connections(generated_packages: dict[str, ModuleType], tmp_path: Path) -> None:
    """A thread with a loop of its own connects meanwhile; the transaction of the first loop goes on."""
    create_sqlite_file(tmp_path / "two.db")
    client = generated_packages["sqlite"].Prisma(datasource={"url": f"file:{tmp_path}/two.db"}, use_dotenv=False)

    async def main() -> int:
        await client.connect()
        tx = client.tx()
        inner = await tx.start()
        await inner.step.create(data={"runId": "r", "seq": 1, "name": "n"})
        await asyncio.to_thread(asyncio.run, use(client))
        await inner.step.create(data={"runId": "r", "seq": 2, "name": "m"})
        await tx.commit()
        await client.connect()
        count: int = await client.step.count()
        await client.disconnect()
        return count

    assert asyncio.run(main()) == 2
