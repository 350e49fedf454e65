"""Children, long lives, and what a cancel takes along."""

from typing import Any

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import ChildFailedError, GatherError
from fastapi_durable.service.facade import WorkflowService
from tests.primitives.case import Case, eventually, result_of
from tests.primitives.work import double


@workflow
async def leaf(ctx: WorkflowContext, value: int) -> int:
    if value < 0:
        raise ValueError(f"{value} is negative")
    return await ctx.step(double, value)


@workflow
async def children(ctx: WorkflowContext, key: str) -> list[object]:
    good = await ctx.child(leaf, 1)
    try:
        await ctx.child(leaf, -1)
    except ChildFailedError as error:
        return [good, error.error.message]
    return []


@workflow
async def spawned(ctx: WorkflowContext, key: str) -> int:
    child = await ctx.start_child(leaf, 5, run_id=f"{key}.spawned")
    return await ctx.child(leaf, 5, run_id=child)


@workflow
async def everyone(ctx: WorkflowContext, key: str) -> list[object]:
    try:
        await ctx.all(leaf, [4, -1])
    except GatherError as error:
        return [await ctx.all(leaf, [2, 3]), list(error.failures)]
    return []


@workflow
async def bounded(ctx: WorkflowContext, key: str) -> list[object]:
    several = await ctx.all(leaf, [4, -1, 5], concurrency=1, tolerate=1)
    try:
        await ctx.all(idle, [-1, -2, 1], mode="fail_fast", concurrency=1, tolerate=1)
    except GatherError as error:
        return [
            *(each.error.message if isinstance(each, ChildFailedError) else each for each in several),
            *error.failures,
        ]
    return []


@workflow
async def idle(ctx: WorkflowContext, value: int) -> int:
    if value < 0:
        raise ValueError(f"{value} is negative")
    return await ctx.wait_for_signal(f"{ctx.run_id}.never", int)


@workflow
async def fail_fast(ctx: WorkflowContext, key: str) -> list[int]:
    try:
        await ctx.all(idle, [1, -1], mode="fail_fast")
    except GatherError as error:
        return list(error.failures)
    return []


@workflow
async def chain(ctx: WorkflowContext, left: int) -> str:
    if left > 0:
        ctx.continue_as_new(left - 1)
    return ctx.run_id


async def begin_chain(case: Case, engine: WorkflowService, key: str) -> None:
    await engine.start(chain, 2, run_id=key)


async def end_of_chain(engine: WorkflowService, key: str) -> object:
    return [await result_of(engine, key), await result_of(engine, f"{key}~2")]


@workflow
async def parent_of_chain(ctx: WorkflowContext, key: str) -> str:
    return await ctx.child(chain, 1)


@workflow
async def father(ctx: WorkflowContext, key: str) -> None:
    await ctx.child(idle, 1)


@workflow
async def grandfather(ctx: WorkflowContext, key: str) -> None:
    await ctx.child(father, key)


async def cancel_the_family(desk: Any) -> None:
    await eventually(lambda: desk.store.find_run(f"{desk.key}.child.0.child.0"))
    await desk.ask(lambda engine: engine.cancel(desk.key))


async def statuses(engine: WorkflowService, key: str) -> object:
    ids = [key, f"{key}.child.0", f"{key}.child.0.child.0"]
    return [str(await engine.handle(run_id).status()) for run_id in ids]


CASES = [
    Case(name="child", workflows=(children, leaf), result=[2, "-1 is negative"], writes=20, runs=3),
    Case(name="start_child", workflows=(spawned, leaf), result=10, writes=10, runs=2),
    Case(name="all", workflows=(everyone, leaf), result=[[4, 6], [1]], writes=30, runs=5),
    Case(
        name="all, bounded",
        workflows=(bounded, leaf, idle),
        result=[8, "-1 is negative", 10, 0, 1],
        writes=30,
        runs=6,
        dispensable=1,
    ),
    Case(name="all, fail fast", workflows=(fail_fast, idle), result=[1], writes=15, runs=3, dispensable=1),
    Case(
        name="continue_as_new",
        workflows=(chain,),
        result=["{key}~2", "{key}~2"],
        writes=12,
        runs=3,
        begin=begin_chain,
        outcome=end_of_chain,
    ),
    Case(name="child that continues", workflows=(parent_of_chain, chain), result="{key}.child.0~1", writes=12, runs=3),
    Case(
        name="cancel",
        workflows=(grandfather, father, idle),
        result=["cancelled"] * 3,
        writes=8,
        runs=3,
        outside=cancel_the_family,
        outcome=statuses,
    ),
]
