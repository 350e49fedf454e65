"""The workflows that fastapi_durable is measured with."""

import time

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.config import EngineConfig

executions: list[float] = []
"""When each step was executed; a replay must not execute it again."""


@step
async def one(value: int) -> int:
    executions.append(time.perf_counter())
    return value + 1


@step
async def moment() -> float:
    return time.time()


@workflow
async def flow(ctx: WorkflowContext, value: int) -> int:
    return await ctx.step(one, value)


@workflow
async def many(ctx: WorkflowContext, number: int) -> int:
    value = 0
    for _ in range(number):
        value = await ctx.step(one, value)
    return value


@workflow
async def many_then_wait(ctx: WorkflowContext, number: int) -> int:
    for _ in range(number):
        await ctx.step(one, 0)
    return await ctx.wait_for_signal(f"go {ctx.run_id}", int)


@workflow
async def receiver(ctx: WorkflowContext, number: int) -> float:
    return await ctx.wait_for_signal(f"go {number}", float)


@workflow
async def when(ctx: WorkflowContext) -> float:
    """When its step was executed, by a clock that all processes share."""
    return await ctx.step(moment)


# As many places for runs as the peers' workers get here.
CONFIG = EngineConfig(concurrency=64)
WORKFLOWS = (flow, many, many_then_wait, receiver, when)
