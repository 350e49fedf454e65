"""`max_delayed_starts`: how many runs of a namespace may wait for their time."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import TooManyDelayedStartsError
from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.service.tasks import DurableTasks
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.testing import HandClock
from tests.support.engine_rig import FAST, build_engine, run_has, running_engine, tuned, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store


@workflow
async def greet(ctx: WorkflowContext) -> None: ...


@step
async def pause() -> None:
    """Longer than a millisecond, by which a driven run is told from one that was only created."""
    await asyncio.sleep(0.002)


@workflow
async def asleep(ctx: WorkflowContext) -> None:
    await ctx.step(pause)
    await ctx.sleep("1 day")


@step
async def tidy() -> None: ...


def limited(store: StateStore, limit: int, **options: Any) -> WorkflowService:
    return build_engine(store, greet, steps=[tidy], config=tuned(FAST, max_delayed_starts=limit), **options)


@on_every_store
async def test_whatever_begins_later_is_refused_beyond_the_limit_and_nothing_is_written(store: StateStore) -> None:
    service = limited(store, 2)
    await service.start(greet, run_id="first", delay="1h")
    await DurableTasks(service).add(tidy, key="second", delay="1h")
    for call in (
        partial(service.start, greet, delay="1h"),
        partial(service.signal_with_start, greet, token="t", delay="1h"),
        partial(DurableTasks(service).add, tidy, delay="1h"),
    ):
        with pytest.raises(TooManyDelayedStartsError, match=r"'default'.*max_delayed_starts"):
            await call()
    async with service.transaction() as tx:
        with pytest.raises(TooManyDelayedStartsError):
            await tx.start(greet, delay="1h")
    assert await store.take_buffered_signal("t") is None
    assert await store.count_runs(RunQuery()) == 2


@on_every_store
async def test_what_is_there_already_and_what_begins_now_is_not_refused(store: StateStore) -> None:
    service = limited(store, 1)
    await service.start(greet, run_id="first", delay="1h")
    assert not (await service.start(greet, run_id="first", delay="1h")).created
    assert not (await service.signal_with_start(greet, run_id="first", token="t", delay="1h")).created
    assert (await service.start(greet)).created


@on_every_store
async def test_room_comes_back_when_a_run_begins_or_is_cancelled(store: StateStore) -> None:
    clock = HandClock()
    service = limited(store, 1, clock=clock)
    await service.start(greet, run_id="cancelled", delay="1h")
    await service.cancel("cancelled")
    await service.start(greet, run_id="begun", delay="1h")
    with pytest.raises(TooManyDelayedStartsError):
        await service.start(greet, delay="1h")
    clock.move(hours=1)
    async with running_engine(store, greet, clock=clock):
        await until(run_has(store, "begun", RunStatus.COMPLETED))
    await service.start(greet, delay="1h")


@on_every_store
async def test_runs_that_sleep_and_other_namespaces_do_not_count(store: StateStore) -> None:
    async with running_engine(store, asleep) as engine:
        await engine.start(asleep, run_id="asleep")
        await until(run_has(store, "asleep", RunStatus.SUSPENDED))
    other = build_engine(store, greet, config=tuned(FAST, namespace="other"))
    await other.start(greet, delay="1h")
    service = limited(store, 1)
    await service.start(greet, delay="1h")
    with pytest.raises(TooManyDelayedStartsError):
        await service.start(greet, delay="1h")


async def test_runs_are_counted_now_and_then_and_at_each_start_close_to_the_limit() -> None:
    clock, counts = HandClock(), 0

    async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
        nonlocal counts
        counts += name == "count_runs"
        return await call()

    service = limited(interposed(MemoryStateStore(), between), 100, clock=clock)
    for _ in range(10):
        await service.start(greet, delay="1h")
    assert counts == 1
    clock.move(seconds=11)
    await service.start(greet, delay="1h")
    assert counts == 2, "others may have started some"
    for _ in range(89):
        await service.start(greet, delay="1h")
    assert 10 < counts < 50
    with pytest.raises(TooManyDelayedStartsError):
        await service.start(greet, delay=timedelta(hours=1))
