"""Unhinged: Absurd on SQLite."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from benchmarks.work import main


class UnhingedSystem:
    def __init__(self, app: Any) -> None:
        self._app = app

    async def one_step(self, value: int) -> int:
        return await self._run("flow", value)

    async def steps(self, number: int) -> int:
        return await self._run("many", number)

    async def _run(self, name: str, value: int) -> int:
        task = self._app.spawn(name, value)
        snapshot = await self._app.await_task_result(task["task_id"])
        return int(snapshot.result)


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[UnhingedSystem]:
    app = import_module("unhinged").AsyncUnhinged(url.removeprefix("file:"), queue_name="bench")
    app.create_queue()

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

    app.register_task("flow")(flow)
    app.register_task("many")(many)
    worker = asyncio.create_task(app.start_worker(concurrency=64))
    try:
        yield UnhingedSystem(app)
    finally:
        app.stop_worker()
        await worker
        app.close()


if __name__ == "__main__":
    main(opened)
