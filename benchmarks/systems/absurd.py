"""Absurd on PostgreSQL. Its schema comes from its own command line tool, which the driver runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from benchmarks.work import main


class AbsurdSystem:
    def __init__(self, app: Any) -> None:
        self._app = app

    async def one_step(self, value: int) -> int:
        return await self._run("flow", value)

    async def steps(self, number: int) -> int:
        return await self._run("many", number)

    async def _run(self, name: str, value: int) -> int:
        task = await self._app.spawn(name, value)
        snapshot = await self._app.await_task_result(task["task_id"])
        return int(snapshot.result)


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[AbsurdSystem]:
    absurd = import_module("absurd_sdk").AsyncAbsurd
    app, starter = absurd(url, queue_name="bench"), absurd(url, queue_name="bench")
    await app.create_queue("bench")

    async def flow(value: int, context: Any) -> int:
        async def one() -> int:
            return value + 1

        return int(await context.step("one", one))

    async def many(number: int, context: Any) -> int:
        value = 0
        for index in range(number):

            async def one(value: int = value) -> int:
                return value + 1

            value = await context.step(f"one-{index}", one)
        return value

    for one in (app, starter):
        one.register_task(name="flow")(flow)
        one.register_task(name="many")(many)
    worker = asyncio.create_task(app.start_worker(concurrency=64))
    try:
        yield AbsurdSystem(starter)
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        await starter.close()


if __name__ == "__main__":
    main(opened)
