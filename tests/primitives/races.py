"""Races: the verdict, the losers' waiters, and the children that they waited for."""

from fastapi_durable.definition import workflow
from fastapi_durable.engine.context import WorkflowContext
from tests.primitives.case import Case
from tests.primitives.family import idle
from tests.primitives.work import double


async def _slow(ctx: WorkflowContext, key: str) -> str:
    await ctx.step(double, 1)
    return await ctx.wait_for_signal(f"never:{key}", str)


@workflow
async def raced(ctx: WorkflowContext, key: str) -> list[object]:
    """A loser that waits for a signal, and one that waits for a child; afterwards a wait, so that it is replayed."""
    winner = await ctx.race(_slow(ctx, key), ctx.child(idle, 1), ctx.sleep("2ms"))
    await ctx.sleep("1ms")
    return [winner.index, await ctx.step(double, 2)]


CASES = [Case(name="race", workflows=(raced, idle), result=[2, 4], writes=20, runs=2)]
