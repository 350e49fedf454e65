"""Steps of every kind, values, branches, and what is undone."""

import asyncio
import itertools

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.retry import fixed
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.turns.step_log import current_step
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.model.errors import FatalError, StepFailedError
from fastapi_durable.service.facade import WorkflowService
from tests.primitives.case import Case

_numbers = itertools.count()


@step
async def double(value: int) -> int:
    return 2 * value


@step
def treble(value: int) -> int:
    return 3 * value


@step(max_attempts=3, backoff=fixed("1ms"))
async def fail_once(key: str) -> str:
    if current_step().attempt == 1:
        raise ValueError("the first attempt fails")
    return key


@step
async def refuse(key: str) -> None:
    raise FatalError(f"no {key}", code="refused")


@step
async def undo(done: Undo[int, int]) -> None:
    assert done.output == 2 * done.input


async def add_one(tx: object, value: int) -> int:
    return value + 1


@workflow
async def steps(ctx: WorkflowContext, key: str) -> list[object]:
    return [await ctx.step(double, 1), await ctx.step(treble, 1), await ctx.local_step("closure", lambda: 4)]


@step(max_attempts=2, backoff=fixed("1ms"))
async def stream_twice(key: str) -> str:
    stream = current_step().stream("items", int)
    for number in range(3):
        await stream.append(number)
    if current_step().attempt == 1:
        raise ValueError("the first attempt fails")
    return key


@workflow
async def streaming(ctx: WorkflowContext, key: str) -> list[int]:
    """The body's items come once each; of the step's, those of the attempt that succeeded count."""
    items = ctx.stream("items", int)
    offsets = [await items.append(-1)]
    await ctx.step(stream_twice, key)
    offsets += [await items.extend([10, 11]), await items.close()]
    return offsets


async def read_items(engine: WorkflowService, key: str) -> object:
    """What a page would show in the end: it drops a step's items where an attempt of it begins again."""
    await engine.handle(key).result("60s")
    shown: list[tuple[str | None, int]] = []
    expected = 0
    async for item in engine.read_stream(key, "items", int):
        assert item.offset == expected
        expected += 1
        if item.begins_again:
            shown = [each for each in shown if each[0] != item.step]
        shown.append((item.step, item.data))
    return [number for _, number in shown]


@workflow
async def retried_step(ctx: WorkflowContext, key: str) -> str:
    return await ctx.step(fail_once, key)


@workflow
async def failed_step(ctx: WorkflowContext, key: str) -> list[object]:
    """The failure decides the way, and does so on every replay."""
    try:
        await ctx.step(refuse, key)
    except StepFailedError as error:
        return [error.error.message, error.error.code, await ctx.step(double, 2)]
    return []


@workflow
async def transaction(ctx: WorkflowContext, key: str) -> int:
    return await ctx.transaction(add_one, await ctx.transaction(add_one, 1))


@workflow
async def values(ctx: WorkflowContext, key: str) -> bool:
    """Each value is the same in two turns: the step's row keeps what the first turn saw."""
    seen: list[object] = [str(await ctx.uuid()), await ctx.random(), (await ctx.now()).isoformat()]
    seen.append(await ctx.side_effect(lambda: next(_numbers), int))
    recorded = await ctx.local_step("remember", lambda: seen)
    await ctx.sleep("1ms")
    return recorded == seen


@workflow
async def attributes(ctx: WorkflowContext, key: str) -> dict[str, object]:
    await ctx.upsert_search_attributes({"stage": "begun", "gone": True})
    return dict(await ctx.upsert_search_attributes({"stage": "ended", "gone": None}))


@workflow
async def patched(ctx: WorkflowContext, key: str) -> list[object]:
    return [await ctx.patched("change"), await ctx.step(double, 1)]


async def _twice(ctx: WorkflowContext, value: int) -> int:
    return await ctx.step(double, await ctx.step(double, value))


@workflow
async def gathered(ctx: WorkflowContext, key: str) -> list[object]:
    return [
        await ctx.gather(_twice(ctx, 1), _twice(ctx, 2)),
        list(await asyncio.gather(ctx.step(double, 3), _twice(ctx, 4))),
    ]


@workflow
async def task_group(ctx: WorkflowContext, key: str) -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_twice(ctx, value)) for value in (1, 2)]
    return [task.result() for task in tasks]


@workflow
async def saga(ctx: WorkflowContext, key: str) -> None:
    await ctx.step(double, 1, compensate=undo)
    await ctx.step(double, 2, compensate=undo)
    raise ValueError(f"{key} fails")


async def _booked(ctx: WorkflowContext, value: int) -> None:
    await ctx.step(double, value, compensate=undo)
    await ctx.step(double, value + 1, compensate=undo)


@step(max_attempts=2, backoff=fixed("1ms"))
async def cannot_undo() -> None:
    raise ValueError("it stays")


@workflow
async def branched_saga(ctx: WorkflowContext, key: str) -> None:
    """One undo fails for good; the others are made all the same."""
    await ctx.gather(_booked(ctx, 1), _booked(ctx, 3))
    await ctx.step(double, 5, name="stubborn", compensate=cannot_undo)
    await ctx.sleep("1ms")
    await ctx.step(refuse, key, compensate=undo)


async def what_was_undone(engine: WorkflowService, key: str) -> object:
    rows = await engine._kernel.store.list_checkpoints(key)
    return sorted([row.name, str(row.status)] for row in rows if row.seq < 0)


CASES = [
    Case(name="stream", workflows=(streaming,), result=[-1, 0, 1, 2, 10, 11], writes=8, outcome=read_items),
    Case(name="step", workflows=(steps,), result=[2, 3, 4], writes=4),
    Case(name="step that is retried", workflows=(retried_step,), result="{key}", writes=3),
    Case(name="step that fails", workflows=(failed_step,), result=["no {key}", "refused", 4], writes=3),
    Case(name="transaction", workflows=(transaction,), result=3, writes=6),
    Case(name="values", workflows=(values,), result=True, writes=4),
    Case(name="search attributes", workflows=(attributes,), result={"stage": "ended"}, writes=6),
    Case(name="patched", workflows=(patched,), result=[True, 2], writes=3),
    Case(name="gather", workflows=(gathered,), result=[[4, 8], [6, 16]], writes=7),
    Case(name="task group", workflows=(task_group,), result=[4, 8], writes=5),
    Case(name="compensate", workflows=(saga,), result="{key} fails", writes=5),
    Case(
        name="compensate in branches",
        workflows=(branched_saga,),
        result=[*[["compensate:double", "completed"]] * 4, ["compensate:stubborn", "failed"]],
        writes=13,
        outcome=what_was_undone,
    ),
]
