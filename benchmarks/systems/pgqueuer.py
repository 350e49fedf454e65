"""pgqueuer: jobs on PostgreSQL. It has no steps and stores no result; a job is done when its handler has run."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from benchmarks.work import main


class PgQueuerSystem:
    def __init__(self, queries: Any) -> None:
        self._queries = queries
        self.done: dict[str, asyncio.Future[int]] = {}
        self._number = 0

    async def one_step(self, value: int) -> int:
        self._number += 1
        key = f"{self._number}:{value}"
        done = self.done[key] = asyncio.get_running_loop().create_future()
        await self._queries.enqueue("one", key.encode())
        return int(await done)


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[PgQueuerSystem]:
    pool = await import_module("asyncpg").create_pool(url, min_size=8, max_size=8)
    connection = await import_module("asyncpg").connect(url)
    drivers = import_module("pgqueuer.db")
    queuer = import_module("pgqueuer").PgQueuer(drivers.AsyncpgDriver(connection))
    queries = import_module("pgqueuer.queries").Queries(drivers.AsyncpgPoolDriver(pool))
    await queries.install()
    system = PgQueuerSystem(queries)

    async def one(job: Any) -> None:
        key = job.payload.decode()
        system.done.pop(key).set_result(int(key.partition(":")[2]) + 1)

    queuer.entrypoint("one")(one)
    worker = asyncio.create_task(queuer.run(batch_size=64))
    await asyncio.sleep(0.5)
    try:
        yield system
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        await pool.close()
        await connection.close()


if __name__ == "__main__":
    main(opened)
