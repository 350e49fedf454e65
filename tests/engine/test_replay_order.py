"""A replay gives out what is recorded in the order in which it was recorded, and begins nothing before its end."""

import asyncio
from contextlib import suppress

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import build_engine, has_status, running_engine, until
from tests.support.stores import on_every_store

executed: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    executed.clear()


@step
async def say(word: str) -> str:
    executed.append(word)
    return word


@step
async def works_for_ever() -> None:
    executed.append("began")
    await asyncio.get_running_loop().create_future()


async def cancelled(task: "asyncio.Task[object]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("depth", [1, 3], ids=["a task", "a task of a task of a task"])
@on_every_store
async def test_a_task_that_was_cancelled_keeps_its_results_from_the_next_one(store: StateStore, depth: int) -> None:
    async def speak(ctx: WorkflowContext, word: str, inner: int) -> str:
        if inner > 1:
            return await asyncio.create_task(speak(ctx, word, inner - 1))
        said = await ctx.step(say, word)
        if word == "first":
            await ctx.wait_for_signal("never")
        return said

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        first = asyncio.create_task(speak(ctx, "first", depth))
        await ctx.wait_for_signal("go")
        await cancelled(first)
        second = await asyncio.create_task(speak(ctx, "second", depth))
        await ctx.wait_for_signal("end")
        return second

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("never"))
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await engine.signal("go")
        await until(lambda: store.find_signal_waiter("end"))
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    async with running_engine(store, flow) as engine:
        await engine.signal("end")
        assert await engine.handle(handle.run_id).result("60s") == "second"
    assert executed == ["first", "second"]
    assert await store.list_signal_waiters() == []


@on_every_store
async def test_a_step_that_the_body_cancelled_is_not_executed_again(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        task = asyncio.create_task(ctx.step(works_for_ever))
        await ctx.wait_for_signal("cancel")
        await cancelled(task)
        await ctx.wait_for_signal("end")

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("cancel"))
        await until(lambda: _executed(1))
        await engine.signal("cancel")
        await until(lambda: store.find_signal_waiter("end"))
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    async with running_engine(store, flow) as engine:
        await engine.signal("end")
        await engine.handle(handle.run_id).result("60s")
    assert executed == ["began"]


@on_every_store
async def test_what_came_first_comes_first_on_every_replay(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        waits = [asyncio.create_task(ctx.wait_for_signal(token), name=token) for token in ("a", "b")]
        came, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        names = [task.get_name() for task in came]
        await ctx.step(say, "one came")
        await asyncio.wait(waits)
        await ctx.wait_for_signal("end")
        return names

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("a"))
        await until(lambda: store.find_signal_waiter("b"))
        await engine.signal("b")
        await until(lambda: _executed(1))
        await engine.signal("a")
        await until(lambda: store.find_signal_waiter("end"))
    async with running_engine(store, flow) as engine:
        await engine.signal("end")
        assert await engine.handle(handle.run_id).result("60s") == ["b"]


async def _executed(times: int) -> bool:
    return len(executed) == times


@pytest.mark.parametrize("sent", [("cancel", "answer"), ("answer", "cancel")], ids=" before ".join)
@on_every_store
async def test_what_came_while_nobody_drove_the_run_comes_in_its_order(
    store: StateStore, sent: tuple[str, str]
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        task = asyncio.create_task(ctx.wait_for_signal("answer", str))
        await ctx.wait_for_signal("cancel")
        task.cancel()
        with suppress(asyncio.CancelledError):
            return ["the first wait", await task]
        return ["the second wait", await ctx.wait_for_signal("answer", str)]

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("answer"))
        await until(lambda: store.find_signal_waiter("cancel"))
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    client = build_engine(store, flow)
    for token in sent:
        await client.signal(token, token)
        # Into the next millisecond: the stores keep no finer times.
        await asyncio.sleep(0.003)
    async with running_engine(store, flow) as engine:
        wait = "the second wait" if sent[0] == "cancel" else "the first wait"
        assert await engine.handle(handle.run_id).result("60s") == [wait, "answer"]
    assert await store.list_signal_waiters() == []
