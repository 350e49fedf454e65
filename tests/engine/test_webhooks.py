"""A webhook takes one callback, from the moment it is made."""

import asyncio
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.engine.primitives.webhook import Callback
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import RunCancelledError, SignalTimeoutError
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, Json, Run, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, build_engine, has_status, killed_worker, running_engine, until
from tests.support.stores import on_every_store


@workflow
async def call_me(ctx: WorkflowContext) -> Any:
    hook = await ctx.webhook(dict[str, int])
    await ctx.set_value("token", hook.token)
    return await hook.wait()


@workflow
async def slow_caller(ctx: WorkflowContext) -> Any:
    """Waits only after a signal."""
    hook = await ctx.webhook()
    await ctx.set_value("token", hook.token)
    await ctx.wait_for_signal("go")
    return await hook.wait()


async def token_of(engine: WorkflowService, run_id: str) -> str:
    await until(lambda: engine.get_value(run_id, "token"))
    return str(await engine.get_value(run_id, "token"))


async def test_a_callback_that_comes_before_the_wait_is_kept(store: StateStore) -> None:
    """The reference answers 404 and lets the run wait."""
    async with running_engine(store, slow_caller) as engine:
        handle = await engine.start(slow_caller)
        token = await token_of(engine, handle.run_id)
        assert await engine.callback(token, "early") is Callback.RECEIVED
        await engine.signal("go")
        assert await handle.result("60s") == "early"


async def test_the_token_holds_the_position_and_a_secret_that_nobody_can_guess(store: StateStore) -> None:
    async with running_engine(store, call_me) as engine:
        one, other = await engine.start(call_me, run_id="a:b"), await engine.start(call_me)
        token = await token_of(engine, "a:b")
        prefix, _, secret = token.rpartition(":")
        assert prefix == "wh:a:b:0"
        assert len(secret) >= 32
        assert secret not in await token_of(engine, other.run_id)
        for wrong in (prefix, f"{prefix}:", f"{prefix}:{secret[:-1]}", f"wh:a:b:1:{secret}", f"wh:x:0:{secret}", "wh:"):
            assert await engine.callback(wrong, {"n": 1}) is Callback.UNKNOWN
        assert await engine.callback(token, {"n": 1}) is Callback.RECEIVED
        assert await one.result("60s") == {"n": 1}


@pytest.mark.parametrize("stored", [{}, {"secret": None}, {"secret": 7}, None])
async def test_a_row_without_a_secret_takes_no_callback(store: StateStore, stored: Json) -> None:
    """Such as one that another library left: what its missing secret reads like must not be one."""
    now = SystemClock().now()
    run = Run(id="r", workflow="w", workflow_version="1", status=RunStatus.SUSPENDED, created_at=now, updated_at=now)
    await store.create_run(run)
    row = Checkpoint(
        run_id="r",
        seq=0,
        name="signal:wh:r:0",
        kind=CheckpointKind.SIGNAL,
        status=CheckpointStatus.PENDING,
        step_id="r:0",
        input=stored,
        started_at=now,
        finished_at=now,
    )
    async with store.transaction() as transaction:
        await transaction.lock_run("r")
        await transaction.record_checkpoint(row)
    for secret in ("None", "null", "", "7"):
        assert await build_engine(store).callback(f"wh:r:0:{secret}", 1) is Callback.UNKNOWN


@on_every_store
async def test_of_many_callbacks_at_once_one_counts_and_the_others_are_told_so(store: StateStore) -> None:
    async with running_engine(store, call_me) as engine:
        handle = await engine.start(call_me)
        token = await token_of(engine, handle.run_id)
        elsewhere = build_engine(store, call_me)
        outcomes = await asyncio.gather(
            *(each.callback(token, {"n": number}) for number in range(4) for each in (engine, elsewhere))
        )
        assert sorted(outcome.name for outcome in outcomes) == ["RECEIVED"] + ["REPEATED"] * 7
        first = next(index for index, outcome in enumerate(outcomes) if outcome is Callback.RECEIVED)
        assert await handle.result("60s") == {"n": first // 2}
        assert await engine.callback(token, {"n": 9}) is Callback.REPEATED


async def test_another_process_finds_the_same_webhook(store: StateStore) -> None:
    async with killed_worker(store, slow_caller) as engine:
        handle = await engine.start(slow_caller)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        token = await token_of(engine, handle.run_id)
    async with running_engine(store, slow_caller) as engine:
        await engine.signal("go")
        await until(lambda: store.find_signal_waiter(token))
        assert await engine.callback(token, 1) is Callback.RECEIVED
        assert await engine.handle(handle.run_id).result("60s") == 1


async def test_a_callback_after_the_timeout_is_for_a_later_wait(store: StateStore) -> None:
    """What the timeout decided holds on every replay, although the callback is there then."""

    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        hook = await ctx.webhook()
        await ctx.set_value("token", hook.token)
        try:
            first = await hook.wait(timeout="2ms")
        except SignalTimeoutError:
            first = "timeout"
        await ctx.set_value("late", True)
        await ctx.wait_for_signal("go")
        return [first, await hook.wait(timeout="1h")]

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: engine.get_value(handle.run_id, "late"))
        assert await engine.callback(await token_of(engine, handle.run_id), "late") is Callback.RECEIVED
        await engine.signal("go")
        assert await handle.result("60s") == ["timeout", "late"]


async def test_a_run_that_has_ended_takes_no_callback_and_leaves_no_waiter(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return (await ctx.webhook()).token

    async with running_engine(store, flow) as engine:
        token = await (await engine.start(flow)).result("60s")
        assert await engine.callback(token) is Callback.ENDED
        assert await store.list_signal_waiters() == []


async def test_a_cancel_undoes_what_was_done_after_the_webhook_was_made(store: StateStore) -> None:
    """A webhook that is not called yet is no reason to stop the replay at it."""
    undone: list[int] = []

    @step
    async def charge(cents: int) -> int:
        return cents

    @step
    async def refund(done: Undo[int, int]) -> None:
        undone.append(done.input)

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        hook = await ctx.webhook()
        await ctx.step(charge, 5, compensate=refund)
        await hook.wait(timeout="1h")

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await engine.cancel(handle.run_id, compensate=True)
        with pytest.raises(RunCancelledError):
            await handle.result("60s")
    assert undone == [5]


@pytest.mark.parametrize(
    ("option", "start"),
    [
        ("https://shop.example/hooks/", "https://shop.example/hooks/wh:run%2F1%3F:0:"),
        (lambda token: f"https://x.example/?t={token}", "https://x.example/?t=wh:run%2F1%3F:0:"),
    ],
)
async def test_the_address_comes_from_the_option(store: StateStore, option: Any, start: str) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str | None:
        return (await ctx.webhook()).url

    config = EngineConfig(lease=FAST.lease, poll_interval=FAST.poll_interval, webhook_url=option)
    async with running_engine(store, flow, config=config) as engine:
        url = await (await engine.start(flow, run_id="run/1?")).result("60s")
        assert url is not None
        assert url.startswith(start)
    async with running_engine(store, flow) as engine:
        assert await (await engine.start(flow)).result("60s") is None
