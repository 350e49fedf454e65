"""DBOS, on PostgreSQL or SQLite."""

import contextlib
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from benchmarks.work import main


class DbosSystem:
    def __init__(self, dbos: Any, flow: Any, many: Any, receiver: Any) -> None:
        self._dbos, self._flow, self._many, self._receiver = dbos, flow, many, receiver

    async def one_step(self, value: int) -> int:
        handle = await self._dbos.start_workflow_async(self._flow, value)
        return int(await handle.get_result())

    async def steps(self, number: int) -> int:
        handle = await self._dbos.start_workflow_async(self._many, number)
        return int(await handle.get_result())


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[DbosSystem]:
    dbos = import_module("dbos").DBOS
    address = f"sqlite:///{url.removeprefix('file:')}" if url.startswith("file:") else url
    dbos(config={"name": "bench", "system_database_url": address, "run_admin_server": False, "log_level": "ERROR"})

    @dbos.step()  # type: ignore[untyped-decorator, unused-ignore]
    async def one(value: int) -> int:
        return value + 1

    @dbos.workflow()  # type: ignore[untyped-decorator, unused-ignore]
    async def flow(value: int) -> int:
        return int(await one(value))

    @dbos.workflow()  # type: ignore[untyped-decorator, unused-ignore]
    async def many(number: int) -> int:
        value = 0
        for _ in range(number):
            value = await one(value)
        return value

    dbos.launch()
    try:
        yield DbosSystem(dbos, flow, many, None)
    finally:
        dbos.destroy()


if __name__ == "__main__":
    main(opened)
