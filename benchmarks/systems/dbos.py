"""DBOS, on PostgreSQL or SQLite."""

import asyncio
import contextlib
import json
import statistics
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from benchmarks.work import Meter, main


class DbosSystem:
    def __init__(self, dbos: Any, url: str, functions: dict[str, Any]) -> None:
        self._dbos, self._url, self._functions = dbos, url, functions

    async def one_step(self, value: int) -> int:
        handle = await self._dbos.start_workflow_async(self._functions["flow"], value)
        return int(await handle.get_result())

    async def steps(self, number: int) -> int:
        handle = await self._dbos.start_workflow_async(self._functions["many"], number)
        return int(await handle.get_result())

    async def signals(self, operations: int) -> dict[str, float]:
        """From the call of `send` to the result of the workflow that waited for nothing else."""
        latencies = []
        for _ in range(operations):
            handle = await self._dbos.start_workflow_async(self._functions["receiver"])
            await asyncio.sleep(0.1)
            begin = time.perf_counter()
            await self._dbos.send_async(handle.workflow_id, 1.0, "go")
            await handle.get_result()
            latencies.append(time.perf_counter() - begin)
        return {"p50_ms": statistics.median(latencies) * 1e3}

    async def resume(self, operations: int) -> dict[str, float]:
        """Workflows whose process was killed in their step; another process, which this one starts, resumes them."""
        await self._elsewhere("leave", operations)
        measured: dict[str, float] = json.loads(await self._elsewhere("take up", operations))
        return measured

    async def _elsewhere(self, what: str, operations: int) -> str:
        command = (sys.executable, "-m", "benchmarks.systems.dbos", self._url, what, str(operations))
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
        assert process.stdout is not None
        try:
            return (await process.stdout.readline()).decode()
        finally:
            process.kill()
            await process.wait()


def declare(dbos: Any, url: str, begun: list[int], *, hang: bool = False) -> dict[str, Any]:
    """The system on a database, and its workflows; `hang` keeps the step of `left` from ending."""
    address = f"sqlite:///{url.removeprefix('file:')}" if url.startswith("file:") else url
    dbos(config={"name": "bench", "system_database_url": address, "run_admin_server": False, "log_level": "ERROR"})

    @dbos.step()  # type: ignore[untyped-decorator, unused-ignore]
    async def one(value: int) -> int:
        return value + 1

    @dbos.step()  # type: ignore[untyped-decorator, unused-ignore]
    async def interrupted(value: int) -> int:
        begun.append(value)
        if hang:
            await asyncio.sleep(3600)
        return value + 1

    @dbos.workflow()  # type: ignore[untyped-decorator, unused-ignore]
    async def flow(value: int) -> int:
        return int(await one(value))

    @dbos.workflow()  # type: ignore[untyped-decorator, unused-ignore]
    async def left(value: int) -> int:
        return int(await interrupted(value))

    @dbos.workflow()  # type: ignore[untyped-decorator, unused-ignore]
    async def many(number: int) -> int:
        value = 0
        for _ in range(number):
            value = await one(value)
        return value

    @dbos.workflow()  # type: ignore[untyped-decorator, unused-ignore]
    async def receiver() -> float:
        return float(await dbos.recv_async("go"))

    return {"flow": flow, "left": left, "many": many, "receiver": receiver}


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[DbosSystem]:
    dbos = import_module("dbos").DBOS
    functions = declare(dbos, url, [])
    dbos.launch()
    try:
        yield DbosSystem(dbos, url, functions)
    finally:
        dbos.destroy()


async def leave(url: str, operations: int) -> None:
    """Start workflows, say so when all are in their step, and wait to be killed."""
    dbos, begun = import_module("dbos").DBOS, list[int]()
    functions = declare(dbos, url, begun, hang=True)
    dbos.launch()
    for number in range(operations):
        await dbos.start_workflow_async(functions["left"], number)
    while len(begun) < operations:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    print("left", flush=True)
    await asyncio.sleep(3600)


async def take_up(url: str, operations: int) -> None:
    """Resume them, and print the figures."""
    dbos = import_module("dbos").DBOS
    declare(dbos, url, [])
    meter = Meter()
    dbos.launch()
    while await dbos.list_workflows_async(status="PENDING", limit=1):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    read = meter.read(operations)
    print(json.dumps({**read, "total_ms": operations / read["per_second"] * 1e3}), flush=True)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    if sys.argv[2] in ("leave", "take up"):
        work = leave if sys.argv[2] == "leave" else take_up
        asyncio.run(work(sys.argv[1], int(sys.argv[3])))
    else:
        main(opened)
