"""A process may die between any two writes; another one goes on from what is recorded."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from fastapi_durable.definition import step, workflow
from fastapi_durable.engine.context import WorkflowContext
from fastapi_durable.engine.engine import WorkflowEngine
from fastapi_durable.errors import SignalTimeoutError, StepFailedError
from fastapi_durable.model import RunStatus
from fastapi_durable.retry import fixed
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.crashing_store import Fuse, Moment, ProcessDied, crashing
from tests.support.engine_rig import FAST, build_engine, killed_worker, running_engine, until

SHORT_LEASE = replace(FAST, lease=timedelta(milliseconds=60), poll_interval=timedelta(milliseconds=5))

_executions: Counter[str] = Counter()


@step(max_attempts=2, backoff=fixed("1ms"))
async def fail_once(key: str) -> str:
    _executions[key] += 1
    if _executions[key] == 1:
        raise ValueError("the first attempt fails")
    return key


@step
async def always_fail(key: str) -> None:
    raise ValueError(key)


@step
async def double(value: int) -> int:
    return 2 * value


async def ledger(tx: object, value: int) -> int:
    return value + 1


@workflow
async def everything(ctx: WorkflowContext, key: str) -> list[object]:
    """Uses each primitive of a simple run, branches included."""
    first = await ctx.step(fail_once, key)
    pair = await asyncio.gather(ctx.step(double, 1), ctx.step(double, 2))
    written = await ctx.transaction(ledger, 1)
    try:
        await ctx.step(always_fail, key)
        caught = "nothing"
    except StepFailedError as error:
        caught = error.error.message
    await ctx.sleep("2ms")
    number = await ctx.uuid()
    same = await ctx.side_effect(lambda: 5)
    signalled = await ctx.wait_for_signal(f"go:{key}", int)
    try:
        await ctx.wait_for_signal(f"never:{key}", int, timeout="2ms")
        missed = "nothing"
    except SignalTimeoutError:
        missed = "timeout"
    bounded = await ctx.wait_for_signal(f"again:{key}", int, timeout="1 min")
    return [first, list(pair), written, caught, number.version, same, signalled, missed, bounded]


EXPECTED = ["{key}", [2, 4], 2, "{key}", 4, 5, 7, "timeout", 8]


async def _run_with_a_crash(at: int, moment: Moment) -> bool:
    """One run whose first process dies at its n-th write; whether it did die."""
    key = f"{moment}-{at}"
    store = MemoryStateStore()
    fuse = Fuse(at, moment)
    outside = build_engine(store, everything)
    async with killed_worker(crashing(store, fuse), everything, config=SHORT_LEASE) as first:
        # The caller of `start` is the process that may die; it would try again.
        try:
            await first.start(everything, key, run_id=key)
        except ProcessDied:
            await outside.start(everything, key, run_id=key)
        async with asyncio.timeout(10):
            async with asyncio.TaskGroup() as group:
                group.create_task(_signal_when_awaited(store, outside, f"go:{key}", 7))
                group.create_task(_signal_when_awaited(store, outside, f"again:{key}", 8))
                await until(lambda: _died_or_ended(fuse, outside, key))
                async with running_engine(store, everything, config=SHORT_LEASE) as second:
                    result = await second.handle(key).result("8s")
    assert result == [value.format(key=key) if isinstance(value, str) else value for value in EXPECTED]
    assert await store.list_signal_waiters() == []
    run = await store.find_run(key)
    assert run is not None
    assert (run.status, run.locked_by) == (RunStatus.COMPLETED, None)
    return fuse.blown


async def _signal_when_awaited(store: MemoryStateStore, engine: WorkflowEngine, token: str, payload: int) -> None:
    await until(lambda: store.find_signal_waiter(token))
    assert await engine.signal(token, payload)


async def _died_or_ended(fuse: Fuse, engine: WorkflowEngine, run_id: str) -> bool:
    return fuse.blown or (await engine.handle(run_id).status()).is_terminal


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_run_survives_the_death_of_its_process_at_every_write(moment: Moment) -> None:
    """For every n: the process dies at its n-th write, another one finishes the run with the same result."""
    at = 1
    while await _run_with_a_crash(at, moment):
        at += 1
    assert at > 20, "the workflow makes fewer writes than this test is meant to cover"
