"""Updates that a run answers, and senders who wait for the answer."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import FatalError, InputValidationError, RunFailedError, UpdateFailedError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, build_engine, has_status, killed_worker, running_engine, until
from tests.support.stores import on_every_store


class Quote(BaseModel):
    cents: int


@step
async def price(pieces: int) -> int:
    if pieces < 0:
        raise FatalError("pieces must not be negative", code="negative")
    return 5 * pieces


@workflow
async def basket(ctx: WorkflowContext) -> list[int]:
    """Three updates: two are answered, whether they fail or not."""

    async def quoted(pieces: int) -> Quote:
        return Quote(cents=await ctx.step(price, pieces))

    totals = [(await ctx.on_update("pieces", int, answer=quoted)).cents]
    try:
        totals.append((await ctx.on_update("pieces", int, answer=quoted)).cents)
    except Exception as error:
        totals.append(-len(str(error)))
    return [*totals, await ctx.on_update("pieces", int)]


@on_every_store
async def test_a_sender_receives_what_the_run_answers(store: StateStore) -> None:
    async with running_engine(store, basket) as engine:
        handle = await engine.start(basket, run_id="b")
        # Kept, since the run may not have come to the call yet.
        first = await engine.update("b", "pieces", 3, wait="60s", answer_type=Quote)
        assert (first.accepted, first.answered, first.answer) == (True, True, Quote(cents=15))
        with pytest.raises(UpdateFailedError, match=r"update 'pieces' of run 'b' failed: .*must not be") as caught:
            await engine.update("b", "pieces", -1, wait="60s")
        assert (caught.value.run_id, caught.value.update) == ("b", "pieces")
        last = await engine.update("b", "pieces", 7)
        assert (last.accepted, last.answered, last.answer) == (True, False, None)
        totals = await handle.result("60s")
        assert (totals[0], totals[1] < 0, totals[2]) == (15, True, 7)


@on_every_store
async def test_an_answer_comes_from_another_process_that_begins_where_the_first_one_died(store: StateStore) -> None:
    begun = asyncio.Event()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        def greeting(name: str) -> str:
            return f"hello {name}"

        before = await ctx.on_update("name", str, answer=greeting)
        begun.set()
        after = await ctx.on_update("name", str, answer=greeting, timeout="1h")
        return f"{before}, {after}"

    caller = build_engine(store, flow)
    async with killed_worker(store, flow) as engine:
        await engine.start(flow, run_id="f")
        assert (await caller.update("f", "name", "ann", wait="60s")).answer == "hello ann"
        await begun.wait()
    asking = asyncio.create_task(caller.update("f", "name", "bob", wait="60s"))
    await asyncio.sleep(0.05)
    async with running_engine(store, flow) as engine:
        assert (await asking).answer == "hello bob"
        assert await engine.handle("f").result("60s") == "hello ann, hello bob"


@on_every_store
async def test_without_an_answer_the_update_stays_accepted(store: StateStore) -> None:
    @workflow
    async def deaf(ctx: WorkflowContext) -> str:
        await ctx.on_update("go", str)
        return await ctx.on_update("end", str)

    async with running_engine(store, deaf) as engine:
        handle = await engine.start(deaf, run_id="d")
        unanswered = await engine.update("d", "go", "x", wait="50ms")
        assert (unanswered.accepted, unanswered.answered) == (True, False)
        # The run ends without one: no need to wait any longer.
        ended = await engine.update("d", "end", "y", wait="300 days")
        assert (ended.accepted, ended.answered) == (True, False)
        assert await handle.result("60s") == "y"
        refused = await engine.update("d", "end", "y", wait="300 days")
        assert (refused.accepted, refused.answered) == (False, False)


@on_every_store
async def test_the_run_that_continues_answers_what_was_kept(store: StateStore) -> None:
    @workflow
    async def lives(ctx: WorkflowContext, left: int) -> int:
        if left:
            await ctx.wait_for_signal("continue")
            ctx.continue_as_new(left - 1)
        return await ctx.on_update("number", int, answer=lambda number: number + 1)

    async with running_engine(store, lives) as engine:
        handle = await engine.start(lives, 1, run_id="l")
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        asking = asyncio.create_task(engine.update("l", "number", 1, wait="60s"))
        # Mostly enough for the update to be kept for the run that waits for something else.
        await asyncio.sleep(0.05)
        await engine.signal("continue")
        assert (await asking).answer == 2


@on_every_store
async def test_an_update_that_a_cancelled_wait_gives_back_is_answered_by_the_next_one(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        waiting = asyncio.create_task(ctx.on_update("number", int, answer=lambda number: -number))
        await ctx.wait_for_signal("cancel")
        waiting.cancel()
        await asyncio.wait({waiting})
        return await ctx.on_update("number", int, answer=lambda number: number + 1)

    caller = build_engine(store, flow)
    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow, run_id="f")
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    # The signal came first, so the wait is cancelled before it reads the update.
    await caller.signal("cancel")
    # Within one millisecond the position would decide, and the update's is lower.
    await asyncio.sleep(0.005)
    asking = asyncio.create_task(caller.update("f", "number", 1, wait="60s"))
    await until(lambda: _has_received(store, 0))
    async with running_engine(store, flow) as engine:
        assert (await asking).answer == 2
        assert await engine.handle("f").result("60s") == 2


async def _has_received(store: StateStore, seq: int) -> bool:
    return any(row.seq == seq and row.output == 1 for row in await store.list_checkpoints("f"))


@on_every_store
async def test_an_answer_without_a_json_form_fails_for_both(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.on_update("x", str, answer=lambda _: object())

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow, run_id="f")
        with pytest.raises(UpdateFailedError, match="the answer to update 'x' cannot be stored"):
            await engine.update("f", "x", "a", wait="60s")
        with pytest.raises(RunFailedError, match="the answer to update 'x' cannot be stored"):
            await handle.result("60s")


async def test_only_an_answer_that_is_awaited_is_stored(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        for _ in range(2):
            await ctx.on_update("x", int, answer=str)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow, run_id="f")
        await engine.update("f", "x", 1)
        assert (await engine.update("f", "x", 2, wait="60s")).answer == "2"
        await handle.result("60s")
    names = [row.name.partition(":")[0] for row in await store.list_checkpoints("f")]
    assert names == ["signal", "signal", "event"]


@pytest.mark.parametrize("wait", ["soon", 5, timedelta(seconds=-1)], ids=repr)
async def test_a_wait_that_is_no_duration_is_refused_before_the_update_is_sent(store: StateStore, wait: Any) -> None:
    async with running_engine(store, basket, config=FAST) as engine:
        await engine.start(basket, run_id="b")
        with pytest.raises(InputValidationError, match="wait: "):
            await engine.update("b", "pieces", 1, wait=wait)
    assert await store.take_buffered_signal("update:b:pieces") is None
