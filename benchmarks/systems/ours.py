"""fastapi_durable on PostgreSQL or SQLite, on the generated client of the example."""

import asyncio
import contextlib
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.systems.our_scale import OurScale
from benchmarks.systems.our_worker import client_of, heard_by_others
from benchmarks.systems.our_workflows import CONFIG, WORKFLOWS, executions, many_then_wait, receiver, when
from benchmarks.work import Meter, main
from tests.support.engine_rig import build_engine


class Durable(OurScale):
    async def signals(self, operations: int) -> dict[str, float]:
        """From the call of `signal` to the result of the run that waited for nothing else."""
        latencies, cpu, statements = [], 0.0, 0
        for number in range(operations):
            handle = await self.engine.start(receiver, number)
            await self.until_waiting(handle.run_id)
            cpu_before, statements_before, begin = time.process_time(), self.statements(), time.perf_counter()
            await self.engine.signal(f"go {number}", 1.0)
            await handle.result()
            latencies.append(time.perf_counter() - begin)
            cpu += time.process_time() - cpu_before
            statements += self.statements() - statements_before
        return {
            "p50_ms": statistics.median(latencies) * 1e3,
            "cpu_ms": cpu / operations * 1e3,
            "statements": statements / operations,
        }

    async def replay(self, operations: int) -> dict[str, float]:
        """From a signal to the result, over so many finished steps."""
        handle = await self.engine.start(many_then_wait, operations)
        await self.until_waiting(handle.run_id)
        before = len(executions)
        meter = Meter(self.statements)
        await self.engine.signal(f"go {handle.run_id}", 1)
        await handle.result()
        read = meter.read(1)
        assert len(executions) == before
        return {**read, "total_ms": 1e3 / read["per_second"]}

    async def idle(self, seconds: int) -> dict[str, float]:
        """A worker that has nothing to do, for so many seconds: figures are per second."""
        meter = Meter(self.statements)
        await asyncio.sleep(seconds)
        return meter.read(seconds)

    async def pick_up(self, operations: int) -> dict[str, float]:
        """From the call of `start` here to the run's first step in another process."""
        await self.worker.stop()
        engine = build_engine(self.store, *WORKFLOWS, config=CONFIG)
        latencies = []
        async with heard_by_others(engine, self.url), _other_worker(self.url) as other:
            assert other.stdout is not None
            await other.stdout.readline()
            for _ in range(operations):
                begin = time.time()
                latencies.append(await (await engine.start(when)).result() - begin)
        await self.restart()
        return {"p50_ms": statistics.median(latencies) * 1e3}

    async def cold_start(self, operations: int) -> dict[str, float]:
        """From the start of a worker's process to the first step of a run that was there before."""
        await self.worker.stop()
        engine = build_engine(self.store, *WORKFLOWS, config=CONFIG)
        times = []
        for _ in range(operations):
            handle = await engine.start(when)
            begin = time.time()
            async with _other_worker(self.url):
                times.append(await handle.result() - begin)
        await self.restart()
        return {"total_ms": statistics.median(times) * 1e3}


@contextlib.asynccontextmanager
async def _other_worker(url: str) -> AsyncIterator[Process]:
    command = (sys.executable, "-m", "benchmarks.systems.our_worker", url)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(10):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Durable]:
    counted = [0]

    class Counting(client_of(url)):  # type: ignore[misc]
        async def _execute(self, **options: Any) -> Any:
            counted[0] += 1
            return await super()._execute(**options)

        async def _execute_raw_batch(self, statements: Any) -> Any:
            counted[0] += len(statements)
            return await super()._execute_raw_batch(statements)

        def tx(self, **options: Any) -> Any:
            counted[0] += 2
            return super().tx(**options)

    async with Counting(datasource={"url": url}) as client:
        system = Durable(client, url, counted)
        await system.begin()
        try:
            yield system
        finally:
            await system.end()


if __name__ == "__main__":
    main(opened)
