"""`get_value(..., wait=)`: the first value that a run sets, as soon as it sets it."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import InputValidationError, RunNotFoundError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, build_engine, has_status, run_has, running_engine, tuned, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store

SELDOM = tuned(FAST, poll_interval=timedelta(hours=1))


@workflow
async def showing(ctx: WorkflowContext) -> None:
    await ctx.wait_for_signal(f"show:{ctx.run_id}")
    await ctx.set_value("shown", 7)
    await ctx.wait_for_signal(f"end:{ctx.run_id}")


@workflow
async def silent(ctx: WorkflowContext) -> None:
    await ctx.wait_for_signal(f"end:{ctx.run_id}")


@on_every_store
async def test_a_reader_waits_for_the_first_value_and_is_told_when_it_is_stored(store: StateStore) -> None:
    async with running_engine(store, showing, config=SELDOM) as engine:
        handle = await engine.start(showing)
        reader = asyncio.create_task(engine.get_value(handle.run_id, "shown", int, wait="60s"))
        with engine._kernel.notifications.watch_values(handle.run_id) as heard:
            await until(lambda: has_status(handle, RunStatus.SUSPENDED))
            assert not heard.is_set()
            await engine.signal(f"show:{handle.run_id}")
            async with asyncio.timeout(60):
                await heard.wait()
            assert await engine.get_value(handle.run_id, "shown", int) == 7
        assert await reader == 7
        assert await engine.get_value(handle.run_id, "shown", int, wait="60s") == 7


async def test_a_reader_does_not_wait_longer_than_the_run_lives(store: StateStore) -> None:
    async with running_engine(store, silent) as engine:
        handle = await engine.start(silent)
        reader = asyncio.create_task(engine.get_value(handle.run_id, "shown", wait="1h"))
        await engine.signal(f"end:{handle.run_id}")
        async with asyncio.timeout(60):
            assert await reader is None
            assert await engine.get_value(handle.run_id, "shown", wait="1h") is None


async def test_a_reader_does_not_wait_longer_than_it_wants_to(store: StateStore) -> None:
    engine = build_engine(store, silent)
    await engine.start(silent, run_id="r")
    async with asyncio.timeout(60):
        assert await engine.get_value("r", "shown", wait="20ms") is None


async def test_a_value_that_is_none_is_a_value(store: StateStore) -> None:
    @workflow
    async def nothing(ctx: WorkflowContext) -> None:
        await ctx.set_value("shown", None)
        await ctx.wait_for_signal("end")

    async with running_engine(store, nothing) as engine, asyncio.timeout(60):
        await engine.start(nothing, run_id="r")
        assert await engine.get_value("r", "shown", wait="1h") is None


@on_every_store
async def test_a_reader_of_a_run_that_goes_on_as_new_ones_waits_for_what_they_set(store: StateStore) -> None:
    @workflow
    async def hopping(ctx: WorkflowContext, hops: int) -> None:
        await ctx.wait_for_signal(f"go:{ctx.run_id}")
        if hops:
            ctx.continue_as_new(hops - 1)
        await ctx.set_value("shown", ctx.run_id)

    async with running_engine(store, hopping) as engine:
        await engine.start(hopping, 2, run_id="r")
        reader = asyncio.create_task(engine.get_value("r", "shown", str, wait="60s"))
        for run_id in ("r", "r~1", "r~2"):
            await engine.signal(f"go:{run_id}")
        assert await reader == "r~2"


async def test_a_reader_looks_at_the_earlier_runs_of_a_chain_once(store: StateStore) -> None:
    asked: list[str] = []

    async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name == "find_latest_checkpoint_by_name":
            asked.append(call.args[0])
        return await call()

    @workflow
    async def hopping(ctx: WorkflowContext, hops: int) -> None:
        if hops:
            ctx.continue_as_new(hops - 1)
        await ctx.wait_for_signal("end")

    async with running_engine(store, hopping) as engine:
        await engine.start(hopping, 3, run_id="r")
        await until(run_has(store, "r~3", RunStatus.SUSPENDED))
        reading = build_engine(interposed(store, between), hopping)
        assert await reading.get_value("r", "shown", wait="200ms") is None
    assert asked.count("r~3") >= 2
    assert [asked.count(run_id) for run_id in ("r", "r~1", "r~2")] == [1, 1, 1]


async def test_a_reader_learns_that_the_run_was_deleted(store: StateStore) -> None:
    engine = build_engine(store, silent)
    await engine.start(silent, run_id="r")
    looked = asyncio.Event()

    async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
        answer = await call()
        if name == "find_latest_checkpoint_by_name":
            looked.set()
        return answer

    reading = build_engine(interposed(store, between), silent)
    reader = asyncio.create_task(reading.get_value("r", "shown", wait="1h"))
    async with asyncio.timeout(60):
        await looked.wait()
        await engine.delete_run("r", force=True)
        with pytest.raises(RunNotFoundError):
            await reader


@on_every_store
async def test_nobody_waits_inside_a_transaction(store: StateStore) -> None:
    engine = build_engine(store, silent)
    async with engine.transaction() as tx:
        handle = await tx.start(silent)
        with pytest.raises(InputValidationError, match="wait must not be given inside a transaction"):
            await tx.get_value(handle.run_id, "shown", wait="1s")
        assert await tx.get_value(handle.run_id, "shown") is None
