"""What starts by itself: triggered by events, debounced, in batches; and what has to wait for its turn."""

import asyncio

from fastapi_durable.definition import Batch, Singleton, workflow
from fastapi_durable.engine.context import WorkflowContext
from fastapi_durable.engine.engine import WorkflowEngine
from fastapi_durable.model import RunStatus
from fastapi_durable.queue import Queue
from tests.primitives.case import Case, Desk, eventually, runs_of
from tests.primitives.work import double


@workflow(on_event="paid")
async def triggered(ctx: WorkflowContext, order: int) -> int:
    return await ctx.step(double, order)


@workflow(on_event="changed", debounce="30ms")
async def debounced(ctx: WorkflowContext, value: int) -> int:
    return value


@workflow(on_event="measured", batch=Batch(max_size=3, within="10s"))
async def batched(ctx: WorkflowContext, collected: dict[str, list[int]]) -> list[int]:
    return sorted(collected["events"])


async def begin_nothing(case: Case, engine: WorkflowEngine, key: str) -> None:
    """The first event begins it."""


async def pay(desk: Desk) -> None:
    await desk.ask(lambda engine: engine.publish_event("paid", 7, event_id=desk.key))


async def change(desk: Desk) -> None:
    """The second event comes after the quiet time of the first, so there are two runs however slow the machine is."""
    await desk.ask(lambda engine: engine.publish_event("changed", 1, event_id=f"{desk.key}.1"))

    async def one_has_ended() -> bool:
        return any(run.status is RunStatus.COMPLETED for run in await runs_of(desk.store, desk.key))

    await eventually(one_has_ended)
    await desk.ask(lambda engine: engine.publish_event("changed", 2, event_id=f"{desk.key}.2"))


async def measure(desk: Desk) -> None:
    for number in (1, 2, 3):
        name = f"{desk.key}.{number}"
        await desk.ask(
            lambda engine, number=number, name=name: engine.publish_event("measured", number, event_id=name)  # type: ignore[misc]
        )


async def outputs(engine: WorkflowEngine, key: str) -> object:
    """Of the runs that were triggered, the last one first."""
    return [run.output for run in await runs_of(engine.store, key) if not run.workflow.startswith("__")]


@workflow(singleton=Singleton(key=lambda _: "the one"))
async def gated(ctx: WorkflowContext, key: str) -> str:
    """Holds the slot over a suspension."""
    await ctx.sleep("2ms")
    return "had its turn"


async def start_two_more(desk: Desk) -> None:
    await asyncio.gather(
        *(
            desk.ask(lambda engine, name=name: engine.start(gated, desk.key, run_id=f"{desk.key}.{name}"))  # type: ignore[misc]
            for name in ("second", "third")
        )
    )


@workflow
async def lined_up(ctx: WorkflowContext, key: str) -> list[int]:
    """Waits in the same queue as its children, which take the one place after it."""
    return await ctx.all(doubling, [1, 2], queue="line", fairness_key=key)


@workflow
async def doubling(ctx: WorkflowContext, value: int) -> int:
    await ctx.sleep("2ms")
    return await ctx.step(double, value)


async def start_in_line(case: Case, engine: WorkflowEngine, key: str) -> None:
    await engine.start(lined_up, key, run_id=key, queue="line")


async def all_had_their_turn(engine: WorkflowEngine, key: str) -> object:
    return [run.output for run in await runs_of(engine.store, key)]


CASES = [
    Case(
        name="on_event",
        workflows=(triggered,),
        result=[14],
        writes=6,
        begin=begin_nothing,
        outside=pay,
        outcome=outputs,
    ),
    Case(
        name="debounce",
        workflows=(debounced,),
        result=[2, 1],
        writes=15,
        runs=3,
        begin=begin_nothing,
        outside=change,
        outcome=outputs,
    ),
    Case(
        name="batch",
        workflows=(batched,),
        result=[[1, 2, 3]],
        writes=15,
        runs=2,
        begin=begin_nothing,
        outside=measure,
        outcome=outputs,
    ),
    Case(
        name="queue",
        workflows=(lined_up, doubling),
        queues=(Queue("line", concurrency=1),),
        result=[2, 4],
        writes=20,
        runs=3,
        begin=start_in_line,
    ),
    Case(
        name="singleton",
        workflows=(gated,),
        result=["had its turn"] * 3,
        writes=25,
        runs=3,
        outside=start_two_more,
        outcome=all_had_their_turn,
    ),
]
