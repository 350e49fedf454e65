"""Workflows whose recorded histories are replayed by the tests. Do not edit a body: add another workflow."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi_durable.definition import step, workflow
from fastapi_durable.engine.context import WorkflowContext
from fastapi_durable.engine.undo import Undo
from fastapi_durable.errors import ChildFailedError, GatherError, SignalTimeoutError, StepFailedError
from fastapi_durable.retry import fixed


@step
async def double(value: int) -> int:
    return 2 * value


@step(max_attempts=2, backoff=fixed("1ms"))
async def fail(reason: str) -> None:
    raise ValueError(reason)


@step
async def undo(done: Undo[int, int]) -> None: ...


@workflow
async def steps(ctx: WorkflowContext, value: int) -> list[int]:
    return [await ctx.step(double, value), await ctx.step(double, value, name="again")]


@workflow
async def caught(ctx: WorkflowContext) -> str:
    try:
        await ctx.step(fail, "expected")
    except StepFailedError as error:
        return error.error.message
    return "nothing"


@workflow
async def waits(ctx: WorkflowContext) -> list[object]:
    await ctx.sleep("1ms")
    first = await ctx.wait_for_signal("history:go", int)
    try:
        await ctx.wait_for_signal("history:never", timeout="1ms")
    except SignalTimeoutError:
        return [first, "timeout"]
    return [first]


@workflow
async def saga(ctx: WorkflowContext) -> None:
    await ctx.step(double, 1, compensate=undo)
    await ctx.step(double, 2, compensate=undo)
    await ctx.step(fail, "the third")


@workflow
async def leaf(ctx: WorkflowContext, value: int) -> int:
    if value < 0:
        raise ValueError("negative")
    return await ctx.step(double, value)


@workflow
async def family(ctx: WorkflowContext) -> list[object]:
    one = await ctx.child(leaf, 1)
    spawned = await ctx.start_child(leaf, 2)
    several = await ctx.all(leaf, [3, 4])
    return [one, spawned.rpartition(".")[2], several]


@workflow
async def failing_family(ctx: WorkflowContext) -> str:
    try:
        await ctx.child(leaf, -1)
    except ChildFailedError as error:
        first = error.error.message
    try:
        await ctx.all(leaf, [1, -2], mode="fail_fast")
    except GatherError as error:
        return f"{first}, {sorted(error.failures)}"
    return "nothing"


@workflow
async def branches(ctx: WorkflowContext) -> list[int]:
    pair = await asyncio.gather(ctx.step(double, 1), ctx.step(double, 2))
    return [*pair, *await ctx.gather(_twice(ctx, 3), _twice(ctx, 4))]


async def _twice(ctx: WorkflowContext, value: int) -> int:
    return await ctx.step(double, await ctx.step(double, value))


@workflow
async def values(ctx: WorkflowContext) -> list[object]:
    moment, number, chance = await ctx.now(), await ctx.uuid(), await ctx.random()
    return [moment.isoformat(), str(number), chance, await ctx.side_effect(lambda: 5)]


@workflow
async def patched(ctx: WorkflowContext) -> int:
    if await ctx.patched("doubled"):
        return await ctx.step(double, 1)
    return 1


@workflow
async def attributes(ctx: WorkflowContext) -> dict[str, Any]:
    await ctx.upsert_search_attributes({"stage": "begun", "gone": 1})
    return dict(await ctx.upsert_search_attributes({"stage": "ended", "gone": None}))


@workflow
async def unfinished(ctx: WorkflowContext) -> int:
    """Recorded while it waits: a live run has to fit the code of today as well."""
    value = await ctx.step(double, 4)
    return value + await ctx.wait_for_signal("history:unfinished", int)


@dataclass(frozen=True)
class Recorded:
    """A workflow, its input, its children, and what is signalled to it; `waits_for` ends the recording early."""

    workflow: Any
    input: tuple[Any, ...] = ()
    related: tuple[Any, ...] = ()
    signals: Mapping[str, Any] = field(default_factory=dict)
    waits_for: str | None = None

    @property
    def name(self) -> str:
        return str(self.workflow.__name__)


RECORDED = [
    Recorded(steps, (3,)),
    Recorded(caught),
    Recorded(waits, signals={"history:go": 7}),
    Recorded(saga),
    Recorded(leaf, (5,)),
    Recorded(family, related=(leaf,)),
    Recorded(failing_family, related=(leaf,)),
    Recorded(branches),
    Recorded(values),
    Recorded(patched),
    Recorded(attributes),
    Recorded(unfinished, waits_for="history:unfinished"),
]
