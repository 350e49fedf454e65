"""Who sends what does not fit the type that a waiting call declares is told so, and nothing is consumed."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.task import TaskTicket
from fastapi_durable.engine.primitives.webhook import Callback
from fastapi_durable.model.errors import RunFailedError, SerializationError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import build_engine, has_status, running_engine, until
from tests.support.stores import on_every_store


class Payment(BaseModel):
    amount: int


WRONG = {"amount": "a lot"}


@workflow
async def by_signal(ctx: WorkflowContext) -> int:
    return (await ctx.wait_for_signal("paid", Payment)).amount


@workflow
async def by_signal_in_branches(ctx: WorkflowContext) -> int:
    winner = await ctx.race(ctx.wait_for_signal("paid", Payment, timeout="1h"), ctx.wait_for_signal("other"))
    return int(winner.value.amount)


@workflow
async def by_update(ctx: WorkflowContext) -> int:
    return (await ctx.on_update("paid", Payment, timeout="1h")).amount


async def ask(ticket: TaskTicket) -> None:
    pass


@workflow
async def by_task(ctx: WorkflowContext) -> int:
    return (await ctx.task("paid", ask, Payment)).amount


@workflow
async def by_callback(ctx: WorkflowContext) -> int:
    hook = await ctx.webhook(Payment)
    await ctx.set_value("token", hook.token)
    return (await hook.wait()).amount


async def signal(engine: WorkflowService, _: str, value: Any) -> None:
    assert await engine.signal("paid", value)


async def signal_to_a_namespace(engine: WorkflowService, _: str, value: Any) -> None:
    assert await engine.signal_waiting("paid", value, namespace="default")


async def signal_with_start(engine: WorkflowService, run_id: str, value: Any) -> None:
    await engine.signal_with_start(by_signal, token="paid", payload=value, run_id=run_id)


async def update(engine: WorkflowService, run_id: str, value: Any) -> None:
    result = await engine.update(run_id, "paid", value)
    if not result.accepted:
        raise SerializationError(str(result.reason))
    assert result.received


async def complete_task(engine: WorkflowService, run_id: str, value: Any) -> None:
    assert await engine.complete_task(run_id, "paid", value)


async def callback(engine: WorkflowService, run_id: str, value: Any) -> None:
    token = await engine.get_value(run_id, "token", str)
    assert await engine.callback(str(token), value) is Callback.RECEIVED


Send = Callable[[WorkflowService, str, Any], Awaitable[None]]

WAYS: dict[str, tuple[Callable[..., Any], Send]] = {
    "signal": (by_signal, signal),
    "signal in a branch": (by_signal_in_branches, signal),
    "signal to a namespace": (by_signal, signal_to_a_namespace),
    "signal with start": (by_signal, signal_with_start),
    "update": (by_update, update),
    "task": (by_task, complete_task),
    "callback": (by_callback, callback),
}


@on_every_store
@pytest.mark.parametrize("way", WAYS)
async def test_a_payload_that_does_not_fit_is_refused_and_the_run_still_waits(store: StateStore, way: str) -> None:
    flow, send = WAYS[way]
    # It has the same code, and has driven no run.
    another_process = build_engine(store, flow)
    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        before = await store.list_checkpoints(handle.run_id)
        for sender in (engine, another_process):
            with pytest.raises(SerializationError, match=r"does not fit Payment: amount: .* still waits") as refused:
                await send(sender, handle.run_id, WRONG)
            assert "a lot" not in str(refused.value)
            assert await store.list_checkpoints(handle.run_id) == before
        await send(another_process, handle.run_id, {"amount": 5})
        assert await handle.result("60s") == 5
    assert await store.list_signal_waiters() == []


async def test_a_sender_that_cannot_know_the_type_leaves_the_check_to_the_run(store: StateStore) -> None:
    class Local(BaseModel):
        amount: int

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return (await ctx.wait_for_signal("paid", Local)).amount

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        assert await engine.signal("paid", WRONG)
        with pytest.raises(RunFailedError, match="the payload of signal 'paid' does not fit Local: amount: "):
            await handle.result("60s")


async def test_a_payload_that_is_kept_is_checked_when_the_run_reads_it(store: StateStore) -> None:
    async with running_engine(store, by_signal) as engine:
        await engine.signal("paid", WRONG)
        handle = await engine.start(by_signal)
        with pytest.raises(RunFailedError, match="the payload of signal 'paid' does not fit Payment: amount: "):
            await handle.result("60s")


async def test_a_deploy_that_declares_another_type_tells_senders_of_it(store: StateStore) -> None:
    @workflow(name="flow")
    async def before(ctx: WorkflowContext) -> Any:
        return [await ctx.wait_for_signal("paid", Payment), await ctx.wait_for_signal("go")]

    @workflow(name="flow")
    async def after(ctx: WorkflowContext) -> Any:
        return [await ctx.wait_for_signal("paid", int), await ctx.wait_for_signal("go")]

    async with running_engine(store, before) as engine:
        handle = await engine.start(before)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    async with running_engine(store, after) as engine:
        async with store.transaction() as transaction:
            await transaction.wake_run(handle.run_id, now=datetime.now(UTC))
        await until(lambda: is_told(store, handle.run_id, "builtins:int"))
        with pytest.raises(SerializationError, match="does not fit int"):
            await engine.signal("paid", {"amount": 5})
        await engine.signal("paid", 5)
        await engine.signal("go", "on")
        assert await engine.handle(handle.run_id).result("60s") == [5, "on"]


async def is_told(store: StateStore, run_id: str, name: str) -> bool:
    return [row.input for row in await store.list_checkpoints(run_id)] == [{"type": name}]
