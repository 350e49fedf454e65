"""Machines whose clocks disagree: work may be done too late or twice, but it is recorded once.

A clock that is ahead by more than two thirds of a lease sees leases as over that are not. What fences is the token.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from fastapi_durable import RunStatus, WorkflowContext, step, workflow
from fastapi_durable.clock import SystemClock
from fastapi_durable.codec import Codec
from fastapi_durable.definition import workflow_definition
from fastapi_durable.engine.engine import WorkflowEngine
from fastapi_durable.store.base import StateStore
from fastapi_durable.transport.in_process import InProcessTransport
from fastapi_durable.worker import Worker
from tests.support.engine_rig import FAST, NothingInjected, running_engine, until


class SkewedClock(SystemClock):
    """The machine's clock, set wrongly."""

    def __init__(self, skew: timedelta) -> None:
        self.skew = skew

    def now(self) -> datetime:
        return super().now() + self.skew


@asynccontextmanager
async def machine(store: StateStore, flow: Any, *, skew: timedelta) -> AsyncIterator[WorkflowEngine]:
    engine = WorkflowEngine(
        store=store,
        workflows=[workflow_definition(flow)],
        injector=NothingInjected(),
        transport=InProcessTransport(),
        config=replace(FAST, lease=timedelta(seconds=3)),
        clock=SkewedClock(skew),
        codec=Codec(),
    )
    worker = Worker(engine)
    await worker.start()
    try:
        yield engine
    finally:
        await worker.stop()


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_machine_whose_clock_is_an_hour_off_records_nothing_twice(store: StateStore, hours: int) -> None:
    executions = 0
    second_began = asyncio.Event()

    @step
    async def work() -> int:
        nonlocal executions
        executions += 1
        number = executions
        if number == 1:
            # The first execution goes on until somebody else has taken the run, or nobody does.
            try:
                async with asyncio.timeout(0.5):
                    await second_began.wait()
            except TimeoutError:
                pass
        second_began.set()
        return number

    @workflow(name="flow")
    async def flow(ctx: WorkflowContext) -> list[int]:
        first = await ctx.step(work)
        await ctx.sleep("10ms")
        return [first, await ctx.step(work)]

    right = replace(FAST, lease=timedelta(seconds=3))
    async with running_engine(store, flow, config=right) as engine:
        async with machine(store, flow, skew=timedelta(hours=hours)):
            handle = await engine.start(flow)
            output = await handle.result("20s")
            run = await handle.run()
            assert run.status is RunStatus.COMPLETED
            recorded = [each.output for each in await store.list_checkpoints(run.id) if each.name.endswith("work")]
            assert output == run.output == recorded

            async def is_released() -> bool:
                return (await handle.run()).locked_by is None

            await until(is_released)
