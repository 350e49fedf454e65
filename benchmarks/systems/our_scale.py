"""How fastapi_durable fares with much of everything: finished runs, waiting runs, lost runs, steps of one run."""

import asyncio
import itertools
import resource
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from benchmarks.systems.our_core import OurCore, started
from benchmarks.systems.our_workflows import CONFIG, WORKFLOWS, executions, flow, many, receiver
from benchmarks.work import Meter
from fastapi_durable.model.records import RunStatus
from tests.support.engine_rig import build_engine
from tests.support.past import add_finished_runs

_REPEATS = 100
_PART = 10


class OurScale(OurCore):
    async def drain(self, operations: int) -> dict[str, float]:
        """Runs that were all there before the worker is."""
        await self.worker.stop()
        starter = build_engine(self.store, *WORKFLOWS, config=CONFIG)
        await started(starter, operations)
        meter = Meter(self.statements)
        await self.restart()
        await self.until_none_is(RunStatus.PENDING, RunStatus.RUNNING)
        return meter.read(operations)

    async def resume(self, operations: int) -> dict[str, float]:
        """Runs whose process died with their leases, which have expired."""
        await self.worker.stop()
        starter = build_engine(self.store, *WORKFLOWS, config=CONFIG)
        await started(starter, operations)
        now = starter._kernel.clock.now()
        until = now + timedelta(seconds=1)
        while await self.store.claim_runs("dead", now=now, until=until, limit=500):
            pass
        await starter._kernel.clock.sleep(until - starter._kernel.clock.now())
        meter = Meter(self.statements)
        await self.restart()
        await self.until_none_is(RunStatus.PENDING, RunStatus.RUNNING)
        read = meter.read(operations)
        return {**read, "total_ms": operations / read["per_second"] * 1e3}

    async def waiting(self, operations: int) -> dict[str, float]:
        """Memory of runs that wait for a signal."""
        before = _resident()
        meter = Meter(self.statements)
        for batch in range(0, operations, 100):
            await asyncio.gather(*(self.engine.start(receiver, 10_000_000 + batch + n) for n in range(100)))
        await self.until_none_is(RunStatus.PENDING, RunStatus.RUNNING)
        return {**meter.read(operations), "megabytes": _resident() - before}

    async def long_run(self, operations: int) -> dict[str, float]:
        """The time of a step at the end of a long run, as a multiple of that at its beginning."""
        await self.steps(_PART * 10)
        executions.clear()
        meter = Meter(self.statements)
        await (await self.engine.start(many, operations)).result()
        read = meter.read(operations)
        gaps = [later - earlier for earlier, later in itertools.pairwise(executions)]
        part = operations // _PART
        # Medians: a busy moment of the machine is in one part or the other.
        growth = statistics.median(gaps[-part:]) / statistics.median(gaps[part : 2 * part])
        return {**read, "growth": growth}

    async def finished_runs(self, operations: int) -> dict[str, float]:
        """A start, a claim that finds a run, and a look for due timers beside so many finished runs, as multiples of
        what they cost on an empty table.
        """
        await self.worker.stop()
        empty = await self._costs("before")
        await add_finished_runs(self.client, operations, sqlite=self.url.startswith("file:"))
        full = await self._costs("after")
        await self.restart()
        return {name: full[name] / empty[name] for name in empty}

    async def _costs(self, prefix: str) -> dict[str, float]:
        starter = build_engine(self.store, *WORKFLOWS, config=CONFIG)
        now = starter._kernel.clock.now()
        until = now + timedelta(minutes=1)
        keys, owner = starter._kernel.registry.keys, "bench"
        numbers = iter(range(10 * _REPEATS))

        async def start() -> None:
            await starter.start(flow, 1, run_id=f"{prefix}-{next(numbers)}")

        async def claim() -> None:
            (run,) = await self.store.claim_runs(
                owner, now=now + timedelta(seconds=30), until=until, limit=1, workflows=keys
            )
            await self.store.update_run(run.id, {"status": RunStatus.COMPLETED, "locked_by": None}, token=owner)

        async def look_for_timers() -> None:
            await self.store.claim_runs(owner, now=now, until=until, limit=100, workflows=keys)

        return {
            "start_growth": await _median(start),
            "claim_growth": await _median(claim),
            "timers_growth": await _median(look_for_timers),
        }


async def _median(operation: Callable[[], Awaitable[None]]) -> float:
    for _ in range(_REPEATS // 10):
        await operation()
    times = []
    for _ in range(_REPEATS - _REPEATS // 10):
        begin = time.perf_counter()
        await operation()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
