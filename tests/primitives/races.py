"""Branches side by side: the verdict of a race, the losers' waiters and children, waits that the body cancels."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import StepFailedError
from tests.primitives.case import Case, Desk, eventually
from tests.primitives.dialogue import hand_out
from tests.primitives.family import idle
from tests.primitives.work import double, refuse


async def _slow(ctx: WorkflowContext, key: str) -> str:
    await ctx.step(double, 1)
    return await ctx.wait_for_signal(f"never:{key}", str)


@workflow
async def raced(ctx: WorkflowContext, key: str) -> list[object]:
    """A loser that waits for a signal, and one that waits for a child; afterwards a wait, so that it is replayed."""
    winner = await ctx.race(_slow(ctx, key), ctx.child(idle, 1), ctx.wait_for_signal(f"end:{key}"))
    await ctx.sleep("1ms")
    return [winner.index, await ctx.step(double, 2)]


async def end(desk: Desk) -> None:
    """Only once the losers have come to where they wait: a child that is not there yet is never made."""
    await eventually(lambda: desk.store.find_run(f"{desk.key}.child.0"))
    await eventually(lambda: desk.store.find_signal_waiter(f"never:{desk.key}"))
    await desk.signal_when_awaited(f"end:{desk.key}", None)


async def _half(ctx: WorkflowContext) -> int | None:
    return (await ctx.race(ctx.step(double, 1), ctx.sleep("1h"))).value


@workflow
async def raced_waits(ctx: WorkflowContext, key: str) -> list[object]:
    """Everything that can be waited for loses, and leaves nothing; then a loser is the winner of a race within."""
    hook = await ctx.webhook()
    first = await ctx.race(
        ctx.wait_for_event(f"never:{key}", timeout="1h"),
        ctx.on_update("never", timeout="1h"),
        hook.wait(timeout="1h"),
        ctx.breakpoint("never"),
        ctx.task("never", hand_out, timeout="1h"),
        ctx.sleep("5ms"),
    )
    second = await ctx.race(_half(ctx), ctx.sleep("1h"))
    try:
        await ctx.race(ctx.sleep("1h"), ctx.step(refuse, key))
    except StepFailedError as error:
        return [first.index, second.index, second.value, error.code]
    return []


async def _behind(ctx: WorkflowContext, wait: Coroutine[Any, Any, object]) -> str:
    """Cancel a wait at a moment that a replay finds again."""
    task = asyncio.create_task(wait)
    await ctx.step(double, 1)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return "cancelled"
    return "not cancelled"


@workflow
async def cancelled_waits(ctx: WorkflowContext, key: str) -> list[object]:
    """What is sent afterwards is for the next wait; a child goes on."""
    await ctx.start_child(idle, 1, run_id=f"{key}.child")
    given_up = [
        await _behind(ctx, ctx.wait_for_signal(f"answer:{key}", int)),
        await _behind(ctx, ctx.wait_for_event(f"answer:{key}", int, timeout="1h")),
        await _behind(ctx, ctx.child(idle, 1, run_id=f"{key}.child")),
    ]
    await ctx.set_value("stands", True)
    signal = await ctx.wait_for_signal(f"answer:{key}", int)
    event = await ctx.wait_for_event(f"answer:{key}", int)
    return [given_up, signal, event]


async def answer(desk: Desk) -> None:
    key = desk.key
    await desk.until(lambda engine: engine.get_value(key, "stands"))
    await desk.signal_when_awaited(f"answer:{key}", 1)
    await desk.ask(lambda engine: engine.publish_event(f"answer:{key}", 2, event_id="answer"))
    await desk.ask(lambda engine: engine.cancel(f"{key}.child"))


@step
async def take_a_while(value: int) -> int:
    await asyncio.sleep(0.03)
    return value


@workflow
async def side_by_side(ctx: WorkflowContext, key: str) -> list[object]:
    """A branch goes on by a timer and by a signal, while the step of another one works until it has."""

    async def goes_on() -> int:
        await ctx.sleep("5ms")
        received = await ctx.wait_for_signal(f"go:{key}", int)
        return await ctx.step(double, received)

    return list(await asyncio.gather(ctx.step(take_a_while, 1), goes_on()))


async def let_go(desk: Desk) -> None:
    await desk.signal_when_awaited(f"go:{desk.key}", 2)


CASES = [
    Case(name="race", workflows=(raced, idle), result=[2, 4], writes=20, runs=2, outside=end),
    Case(
        name="cancelled waits",
        workflows=(cancelled_waits, idle),
        result=[["cancelled"] * 3, 1, 2],
        writes=30,
        runs=2,
        outside=answer,
    ),
    Case(name="branches side by side", workflows=(side_by_side,), result=[1, 4], writes=9, outside=let_go),
    Case(name="race of all waits", workflows=(raced_waits,), result=[5, 0, 2, "refused"], writes=20),
]
