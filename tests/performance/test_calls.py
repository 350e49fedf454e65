"""What a workflow costs in calls of functions, Python's and C's: figures that hardly depend on the machine.

They are CPU, which is what limits many callers. The event loop's own calls count, so a version of Python may differ.
"""

import asyncio
import cProfile
import pstats
from typing import Any

from fastapi_durable.model.records import RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.prisma import PrismaStateStore
from tests.performance.test_statements import QUIET, replayed, steps
from tests.support.engine_rig import has_status, running_engine, until

CALLERS = 64
RUNS = 10 * CALLERS
STEPS = 500


async def one_after_the_other(engine: WorkflowService, number: int) -> None:
    for _ in range(number):
        assert await (await engine.start(steps, 1)).result("60s") == 1


async def side_by_side(engine: WorkflowService, number: int) -> None:
    await asyncio.gather(*(one_after_the_other(engine, number // CALLERS) for _ in range(CALLERS)))


def calls(profile: cProfile.Profile) -> int:
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


async def test_a_run_of_one_step_among_many_costs_few_calls(client: Any) -> None:
    async with running_engine(PrismaStateStore(client), steps, config=QUIET) as engine:
        await side_by_side(engine, CALLERS)
        profile = cProfile.Profile()
        with profile:
            await side_by_side(engine, RUNS)
    assert calls(profile) / RUNS < 850


async def test_a_recorded_step_costs_few_calls(client: Any) -> None:
    async with running_engine(PrismaStateStore(client), replayed, config=QUIET) as engine:
        for number in (1, STEPS):
            handle = await engine.start(replayed, number)
            await until(lambda handle=handle: has_status(handle, RunStatus.SUSPENDED))  # type: ignore[misc]
            profile = cProfile.Profile()
            with profile:
                await engine.signal("go", "on")
                assert await handle.result("60s") == "on"
    assert calls(profile) / STEPS < 56
