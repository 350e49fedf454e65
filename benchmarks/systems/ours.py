"""fastapi_durable on PostgreSQL or SQLite, on the generated client of the example."""

import asyncio
import contextlib
import resource
import statistics
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib import import_module
from typing import Any

from benchmarks.work import Meter, main
from fastapi_durable.definition import step, workflow
from fastapi_durable.engine.config import EngineConfig
from fastapi_durable.engine.context import WorkflowContext
from fastapi_durable.engine.engine import WorkflowEngine
from fastapi_durable.model import RunStatus
from fastapi_durable.store.prisma import PrismaStateStore
from fastapi_durable.worker import Worker
from tests.support.engine_rig import build_engine

executions = 0


@step
async def one(value: int) -> int:
    global executions  # noqa: PLW0603 (a replay must not execute it again)
    executions += 1
    return value + 1


@workflow
async def flow(ctx: WorkflowContext, value: int) -> int:
    return await ctx.step(one, value)


@workflow
async def many(ctx: WorkflowContext, number: int) -> int:
    value = 0
    for _ in range(number):
        value = await ctx.step(one, value)
    return value


@workflow
async def many_then_wait(ctx: WorkflowContext, number: int) -> int:
    for _ in range(number):
        await ctx.step(one, 0)
    return await ctx.wait_for_signal(f"go {ctx.run_id}", int)


@workflow
async def receiver(ctx: WorkflowContext, number: int) -> float:
    return await ctx.wait_for_signal(f"go {number}", float)


# As many places for runs as the peers' workers get here.
CONFIG = EngineConfig(concurrency=64)
WORKFLOWS = (flow, many, many_then_wait, receiver)


class Durable:
    def __init__(self, store: PrismaStateStore, counted: list[int]) -> None:
        self._store = store
        self._counted = counted
        self.engine, self.worker = self._new_worker()

    def statements(self) -> int:
        return self._counted[0]

    async def one_step(self, value: int) -> int:
        return await (await self.engine.start(flow, value)).result()

    async def steps(self, number: int) -> int:
        return await (await self.engine.start(many, number)).result()

    async def signals(self, operations: int) -> dict[str, float]:
        """From the call of `signal` to the result of the run that waited for nothing else."""
        latencies = []
        meter = Meter(self.statements)
        for number in range(operations):
            handle = await self.engine.start(receiver, number)
            await self._until_waiting(handle.run_id)
            begin = time.perf_counter()
            await self.engine.signal(f"go {number}", 1.0)
            await handle.result()
            latencies.append(time.perf_counter() - begin)
        return {**meter.read(operations), "p50_ms": statistics.median(latencies) * 1e3}

    async def replay(self, operations: int) -> dict[str, float]:
        """A turn over so many finished steps."""
        handle = await self.engine.start(many_then_wait, operations)
        await self._until_waiting(handle.run_id)
        before = executions
        meter = Meter(self.statements)
        await self.engine.signal(f"go {handle.run_id}", 1)
        await handle.result()
        assert executions == before
        read = meter.read(1)
        return {**read, "total_ms": 1e3 / read["per_second"]}

    async def drain(self, operations: int) -> dict[str, float]:
        """Runs that were all there before the worker is."""
        await self.worker.stop()
        starter = build_engine(self._store, *WORKFLOWS, config=CONFIG)
        handles = await _started(starter, operations)
        meter = Meter(self.statements)
        self.engine, self.worker = self._new_worker()
        await self.worker.start()
        await self._until_none_is(RunStatus.PENDING, RunStatus.RUNNING)
        assert len(handles) == operations
        return meter.read(operations)

    async def resume(self, operations: int) -> dict[str, float]:
        """Runs whose process died with their leases, which have expired."""
        await self.worker.stop()
        starter = build_engine(self._store, *WORKFLOWS, config=CONFIG)
        await _started(starter, operations)
        now = starter.clock.now()
        while await self._store.claim_runs("dead", now=now, until=now, limit=500):
            pass
        meter = Meter(self.statements)
        self.engine, self.worker = self._new_worker()
        await self.worker.start()
        await self._until_none_is(RunStatus.PENDING, RunStatus.RUNNING)
        return {**meter.read(operations), "total_ms": meter.read(1)["cpu_ms"]}

    async def waiting(self, operations: int) -> dict[str, float]:
        """Memory of runs that wait for a signal."""
        before = _resident()
        meter = Meter(self.statements)
        for batch in range(0, operations, 100):
            await asyncio.gather(*(self.engine.start(receiver, 10_000_000 + batch + n) for n in range(100)))
        await self._until_none_is(RunStatus.PENDING, RunStatus.RUNNING)
        return {**meter.read(operations), "megabytes": _resident() - before}

    async def idle(self, seconds: int) -> dict[str, float]:
        """A worker that has nothing to do, for so many seconds: figures are per second."""
        meter = Meter(self.statements)
        await asyncio.sleep(seconds)
        return meter.read(seconds)

    def _new_worker(self) -> tuple[WorkflowEngine, Worker]:
        engine = build_engine(self._store, *WORKFLOWS, config=CONFIG)
        return engine, Worker(engine)

    async def _until_waiting(self, run_id: str) -> None:
        async with asyncio.timeout(60):
            while (run := await self._store.find_run(run_id)) is None or run.status is not RunStatus.SUSPENDED:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def _until_none_is(self, *statuses: RunStatus) -> None:
        client: Any = self._store._database.client
        listed = ", ".join(f"'{status}'" for status in statuses)
        query = f"SELECT 1 AS found FROM durable_workflow_runs WHERE status IN ({listed}) LIMIT 1"
        while await client.query_raw(query):  # noqa: ASYNC110 (it happens in the database)
            await asyncio.sleep(0.02)


async def _started(engine: WorkflowEngine, number: int) -> list[Any]:
    handles: list[Any] = []
    for batch in range(0, number, 200):
        handles += await asyncio.gather(*(engine.start(flow, n) for n in range(batch, min(number, batch + 200))))
    return handles


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Durable]:
    prisma = import_module(f"example_app.clients.{'sqlite' if url.startswith('file:') else 'postgresql'}").Prisma
    counted = [0]

    class Counting(prisma):  # type: ignore[misc, valid-type]
        async def _execute(self, **options: Any) -> Any:
            counted[0] += 1
            return await super()._execute(**options)

        def tx(self, **options: Any) -> Any:
            counted[0] += 2
            return super().tx(**options)

    async with Counting(datasource={"url": url}) as client:
        store = PrismaStateStore(client)
        await store.ensure_schema()
        system = Durable(store, counted)
        await system.worker.start()
        try:
            yield system
        finally:
            await system.worker.stop(timedelta(seconds=5))


if __name__ == "__main__":
    main(opened)
