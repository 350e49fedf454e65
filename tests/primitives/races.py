"""Races: the verdict, the losers' waiters, and the children that they waited for."""

from fastapi_durable.definition import workflow
from fastapi_durable.engine.context import WorkflowContext
from tests.primitives.case import Case, Desk, eventually
from tests.primitives.family import idle
from tests.primitives.work import double


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


CASES = [Case(name="race", workflows=(raced, idle), result=[2, 4], writes=20, runs=2, outside=end)]
