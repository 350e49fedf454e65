"""Machines whose clocks disagree: work may be done too late or twice, but it is recorded once.

A clock that is ahead by more than two thirds of a lease sees leases as over that are not. What fences is the token.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from fastapi_durable import RunStatus, WorkflowContext, step, workflow
from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import workflow_definition
from fastapi_durable.engine.engine import Engine
from fastapi_durable.engine.upkeep.renewal import RENEWALS_PER_LEASE
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.records import Lease, Run
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.transport.in_process import InProcessTransport
from tests.support.engine_rig import FAST, NothingInjected, running_engine, tuned, until
from tests.support.stores import on_every_store


class SkewedClock(SystemClock):
    """The machine's clock, set wrongly."""

    def __init__(self, skew: timedelta) -> None:
        self.skew = skew

    def now(self) -> datetime:
        return super().now() + self.skew


@asynccontextmanager
async def machine(store: StateStore, flow: Any, *, skew: timedelta) -> AsyncIterator[WorkflowService]:
    engine = Engine(
        store=store,
        workflows=[workflow_definition(flow)],
        injector=NothingInjected(),
        transport=InProcessTransport(),
        config=tuned(FAST, lease=timedelta(seconds=3)),
        clock=SkewedClock(skew),
        codec=Codec(),
    )
    worker = Worker(engine)
    await worker.start()
    try:
        yield WorkflowService(engine.kernel)
    finally:
        await worker.stop()


@on_every_store
@pytest.mark.parametrize("who", ["the other is ahead", "the owner is behind"])
@pytest.mark.parametrize("beyond", [False, True])
async def test_clocks_that_differ_by_less_than_two_thirds_of_a_lease_take_no_live_run_over(
    store: StateStore, who: str, beyond: bool
) -> None:
    """The worst moment: a third of the lease has passed, and its renewal is about to be written."""
    lease, true = timedelta(seconds=30), SystemClock().now()
    margin = lease - lease / RENEWALS_PER_LEASE
    skew = margin if beyond else margin - timedelta(milliseconds=1)
    owners, others = (true, true + skew) if who == "the other is ahead" else (true - skew, true)
    claimed_at = owners - lease / RENEWALS_PER_LEASE
    run = Run(id="r", workflow="flow", workflow_version="1", created_at=claimed_at, updated_at=claimed_at)
    await store.create_run(run)
    assert await store.claim_runs("owner", now=claimed_at, until=claimed_at + lease, limit=1)
    taken = await store.claim_runs("other", now=others, until=others + lease, limit=1)
    assert bool(taken) is beyond
    # Whoever has it, the one that has not is told so by its next renewal, and refused at its next write.
    renewed = await store.renew_leases([Lease("r", "owner")], until=owners + lease)
    assert renewed == ({} if beyond else {"r": False})


@on_every_store
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

    right = tuned(FAST, lease=timedelta(seconds=3))
    async with running_engine(store, flow, config=right) as engine:
        async with machine(store, flow, skew=timedelta(hours=hours)):
            handle = await engine.start(flow)
            output = await handle.result("60s")
            run = await handle.run()
            assert run.status is RunStatus.COMPLETED
            recorded = [each.output for each in await store.list_checkpoints(run.id) if each.name.endswith("work")]
            assert output == run.output == recorded

            async def is_released() -> bool:
                return (await handle.run()).locked_by is None

            await until(is_released)
