"""A workflow that talks to the outside in every way, and the outside that answers it; for crash and database tests."""

import asyncio
from typing import Any

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.task import TaskTicket
from fastapi_durable.engine.primitives.webhook import Callback
from fastapi_durable.model.errors import SignalTimeoutError, TaskFailedError
from fastapi_durable.service.facade import WorkflowService
from tests.support.engine_rig import until


@step
async def hand_out(ticket: TaskTicket) -> str:
    return ticket.token


def check_address(address: str) -> str | None:
    return None if address else "an address is not empty"


@workflow(updates={"address": check_address})
async def conversation(ctx: WorkflowContext, key: str) -> list[object]:
    """Waits for the outside in every way, in the body and in branches."""
    closure = await ctx.local_step("closure", lambda: f"of {key}"[:2], max_attempts=2)
    hook = await ctx.webhook(dict[str, int])
    await ctx.set_value("hook", hook.token)
    body = await hook.wait(timeout="1 min")
    unused = await ctx.webhook()
    missed = []
    try:
        await unused.wait(timeout="2ms")
    except SignalTimeoutError:
        missed.append("callback")
    kept = await ctx.wait_for_event("kept", match={"order": key})
    try:
        await ctx.wait_for_event("never", timeout="2ms")
    except SignalTimeoutError:
        missed.append("event")
    paid = await ctx.wait_for_event("paid", match={"order": key}, timeout="1 min")
    address = await ctx.on_update("address", str)
    await ctx.breakpoint("check")
    shipped = await ctx.task("ship", hand_out, int, timeout="1 min")
    try:
        await ctx.task("refuse", hand_out)
    except TaskFailedError as error:
        missed.append(error.error.message)
    branches = await ctx.gather(_branch(ctx, "left"), _branch(ctx, "right"))
    return [closure, body, kept["cents"], paid["cents"], address, shipped, missed, branches]


async def _branch(ctx: WorkflowContext, side: str) -> list[object]:
    hook = await ctx.webhook(str)
    await ctx.set_value(f"hook:{side}", hook.token)
    event = await ctx.wait_for_event(f"{side}:{ctx.run_id}", int)
    return [side, event, await hook.wait()]


RESULT: list[object] = [
    "of",
    {"n": 1},
    1,
    2,
    "Main Street",
    3,
    ["callback", "event", "out of stock"],
    [["left", 4, "call left"], ["right", 5, "call right"]],
]


async def answer(engine: WorkflowService, key: str) -> None:
    """Everything that run `key` waits for, each answer repeated until it is taken."""

    async def taken(delivery: Any) -> bool:
        return bool(await delivery)

    kept = await engine.publish_event("kept", {"order": key, "cents": 1}, event_id=f"kept:{key}")
    assert kept.buffered or kept.receivers
    await _call(engine, key, "hook", {"n": 1})
    await until(lambda: _received(engine, "paid", {"order": key, "cents": 2}))
    await until(lambda: taken(_updated(engine, key)))
    await until(lambda: engine.continue_run(key, "check"))
    assert await engine.complete_task(key, "ship", 3)
    assert await engine.fail_task(key, "refuse", "out of stock")
    async with asyncio.TaskGroup() as group:
        group.create_task(until(lambda: _received(engine, f"left:{key}", 4)))
        group.create_task(until(lambda: _received(engine, f"right:{key}", 5)))
        for side in ("right", "left"):
            group.create_task(_call(engine, key, f"hook:{side}", f"call {side}"))


async def _received(engine: WorkflowService, name: str, payload: object) -> bool:
    return bool((await engine.publish_event(name, payload, buffer=False)).receivers)


async def _updated(engine: WorkflowService, key: str) -> bool:
    assert (await engine.update(key, "address", "")).reason == "an address is not empty"
    result = await engine.update(key, "address", "Main Street")
    return result.accepted


async def _call(engine: WorkflowService, key: str, event: str, payload: object) -> None:
    await until(lambda: engine.get_value(key, event))
    token = await engine.get_value(key, event, str)
    assert token is not None
    assert await engine.callback(token, payload) is Callback.RECEIVED
    assert await engine.callback(token, "again") is Callback.REPEATED
