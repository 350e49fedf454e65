"""Races: the verdict, the losers' waiters, and the children that they waited for."""

from fastapi_durable.declare.definition import workflow
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


CASES = [
    Case(name="race", workflows=(raced, idle), result=[2, 4], writes=20, runs=2, outside=end),
    Case(name="race of all waits", workflows=(raced_waits,), result=[5, 0, 2, "refused"], writes=25),
]
