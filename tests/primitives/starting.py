"""What starts by itself: triggered by events, debounced, in batches; and what has to wait for its turn."""

import asyncio
import contextlib
from collections.abc import Awaitable
from dataclasses import replace

from fastapi_durable.declare.definition import Batch, Singleton, workflow
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.context.ambient import ambient_context
from fastapi_durable.engine.context.base import turn_of
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.upkeep.dead_letter import DeadLetter
from fastapi_durable.engine.upkeep.follow_up import EndedRun
from fastapi_durable.model.errors import RunExistsError, SingletonQueueFullError
from fastapi_durable.model.records import Run, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.service.tasks import DurableTasks
from tests.primitives.case import CRASHES_OF_A_DEAD_RUN, Case, Desk, eventually, result_of, runs_of
from tests.primitives.work import double, fail_once
from tests.support.engine_rig import build_engine


@workflow(on_event="paid")
async def triggered(ctx: WorkflowContext, order: int) -> int:
    return await ctx.step(double, order)


@workflow(on_event="changed", debounce="30ms")
async def debounced(ctx: WorkflowContext, value: int) -> int:
    return value


@workflow(on_event="measured", batch=Batch(max_size=3, within="10s"))
async def batched(ctx: WorkflowContext, collected: dict[str, list[int]]) -> list[int]:
    return sorted(collected["events"])


@workflow(on_event="counted", batch=Batch(max_size=3, within="1h"))
async def counted(ctx: WorkflowContext, collected: dict[str, list[int]]) -> list[int]:
    return sorted(collected["events"])


@workflow(name="counted", on_event="counted", debounce="1ms")
async def counted_later(ctx: WorkflowContext, collected: dict[str, list[int]]) -> list[int]:
    """The same workflow in a later deploy, which publishes while this one still drives."""
    return sorted(collected["events"])


async def begin_nothing(case: Case, engine: WorkflowService, key: str) -> None:
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


async def count(desk: Desk) -> None:
    """The first two events are a batch that is not full; the third one comes with another option."""
    for number in (1, 2):
        name = f"{desk.key}.{number}"
        await desk.ask(
            lambda engine, number=number, name=name: engine.publish_event("counted", number, event_id=name)  # type: ignore[misc]
        )

    def from_later_deploy(engine: WorkflowService) -> Awaitable[object]:
        later = build_engine(engine._kernel.store, counted_later, config=engine._kernel.config)
        return later.publish_event("counted", 3, event_id=f"{desk.key}.3")

    await desk.ask(from_later_deploy)


async def outputs(engine: WorkflowService, key: str) -> object:
    """Of the runs that were triggered, the last one first."""
    return [run.output for run in await runs_of(engine._kernel.store, key) if not run.workflow.startswith("__")]


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


async def start_in_line(case: Case, engine: WorkflowService, key: str) -> None:
    await engine.start(lined_up, key, run_id=key, queue="line")


async def all_had_their_turn(engine: WorkflowService, key: str) -> object:
    return [run.output for run in await runs_of(engine._kernel.store, key)]


@workflow(singleton=Singleton(key=lambda _: "the one", max_queue_depth=1))
async def crowded(ctx: WorkflowContext, key: str) -> str:
    return await ctx.wait_for_signal(f"go:{ctx.run_id}", str)


async def crowd(desk: Desk) -> None:
    """One is under way, one may wait, and the third is told that there is no place."""
    await desk.ask(lambda engine: engine.start(crowded, desk.key, run_id=f"{desk.key}.second"))

    async def third(engine: WorkflowService) -> bool:
        try:
            await engine.start(crowded, desk.key, run_id=f"{desk.key}.third")
        except SingletonQueueFullError:
            return False
        return True

    assert not await desk.ask(third)
    # One whose process dies before it stands in the line may be overtaken.
    run_ids = (desk.key, f"{desk.key}.second")
    await asyncio.gather(*(desk.signal_when_awaited(f"go:{run_id}", "had its turn") for run_id in run_ids))


@workflow(execution_timeout="20ms")
async def hurried(ctx: WorkflowContext, key: str) -> None:
    """Has begun or not when its time is over."""
    await ctx.wait_for_signal(f"never:{key}")


async def how_it_ended(engine: WorkflowService, key: str) -> object:
    run = await engine.handle(key).run()
    return [str(run.status), run.error and run.error.code]


async def mourn(ctx: WorkflowContext, letter: DeadLetter) -> str:
    return f"{letter.dead_run_id} had {await ctx.step(double, letter.input)}"


@workflow(dead_letter=mourn)
async def poisonous(ctx: WorkflowContext, dose: int) -> None: ...


async def note(ctx: WorkflowContext, ended: EndedRun) -> list[object]:
    return [ended.run_id, ended.status, await ctx.step(double, ended.input)]


@workflow(on_success=note)
async def succeeding(ctx: WorkflowContext, number: int) -> int:
    return await ctx.step(double, number)


@workflow(on_failure=note)
async def hopeless(ctx: WorkflowContext, number: int) -> None:
    await ctx.step(double, number)
    raise ValueError("there is no hope")


async def begin_with_seven(case: Case, engine: WorkflowService, key: str) -> None:
    await engine.start(case.workflows[0].__name__, 7, run_id=key)


async def what_followed(engine: WorkflowService, key: str) -> object:
    return [await result_of(engine, key), await result_of(engine, f"ended:{key}")]


async def begin_deadly(case: Case, engine: WorkflowService, key: str) -> None:
    """With a run whose process died again and again, and whose last lease is over."""
    now = engine._kernel.clock.now()
    run = Run(
        id=key,
        workflow=poisonous.__name__,
        workflow_version="1",
        input=7,
        status=RunStatus.RUNNING,
        namespace=key,
        locked_by="the last one that died",
        locked_until=now,
        recovery_attempts=CRASHES_OF_A_DEAD_RUN,
        created_at=now,
        updated_at=now,
    )
    await engine._kernel.store.create_run(run)


async def what_the_letter_said(engine: WorkflowService, key: str) -> object:
    return [str(await engine.handle(key).status()), await result_of(engine, f"dlq:{key}")]


@workflow
async def placed(ctx: WorkflowContext, key: str) -> list[int]:
    """Started in one transaction with the signal that it waits for, and the event that starts another run."""
    told = await ctx.wait_for_signal(f"placed:{key}", int)
    return [told, await ctx.step(double, told)]


async def place_at_once(case: Case, engine: WorkflowService, key: str) -> None:
    async with engine.transaction() as tx:
        if (await tx.start(placed, key, run_id=key)).created:
            # In the order of the names that they lock.
            await tx.publish_event("paid", 7, event_id=key)
            await tx.signal(f"placed:{key}", 7)


async def what_was_placed(engine: WorkflowService, key: str) -> object:
    return [await result_of(engine, key), sorted(run.workflow for run in await runs_of(engine._kernel.store, key))]


async def hand_over(tx: object, key: str) -> str:
    """In the transaction of the checkpoint: another run, and what it waits for."""
    context = ambient_context()
    assert context is not None
    turn = turn_of(context)
    # A process that drives every namespace starts runs in `default`; this one belongs to its life.
    config = turn.kernel.config.model_copy(update={"namespace": turn.run.namespace})
    within = WorkflowService(replace(turn.kernel, config=config)).within(tx)
    handle = await within.start(placed, f"{key}.other", run_id=f"{key}.other")
    await within.signal(f"placed:{key}.other", 7)
    return handle.run_id


@workflow
async def handing_over(ctx: WorkflowContext, key: str) -> str:
    return await ctx.transaction(hand_over, key)


async def both_results(engine: WorkflowService, key: str) -> object:
    return [await result_of(engine, key), await result_of(engine, f"{key}.other")]


async def add_task(case: Case, engine: WorkflowService, key: str) -> None:
    await DurableTasks(engine).add(fail_once, key, key=key)


async def add_task_for_later(case: Case, engine: WorkflowService, key: str) -> None:
    """Together with a run that begins later, too."""
    async with engine.transaction() as tx:
        await tx.start(triggered, 7, run_id=key, delay="30ms")
        await DurableTasks(engine).within(tx).add(double, 21, key=key, delay="20ms")


async def what_the_task_returned(engine: WorkflowService, key: str) -> object:
    return await DurableTasks(engine).handle(fail_once, key=key).result("60s")


async def what_came_later(engine: WorkflowService, key: str) -> object:
    return [await result_of(engine, key), await DurableTasks(engine).handle(double, key=key).result("60s")]


async def begin_many(case: Case, engine: WorkflowService, key: str) -> None:
    """Two of three, and then all of them: what is there already is not started again."""

    def id_of(number: int) -> str:
        return f"{key}.{number}"

    await engine.start_many(triggered, [1, 2], run_id=id_of)
    await engine.start_many(triggered, [1, 2, 3], run_id=id_of)
    with contextlib.suppress(RunExistsError):
        await engine.start_many(triggered, [4, 3], run_id=id_of, if_exists="refuse")


async def what_came_of_many(engine: WorkflowService, key: str) -> object:
    return [await result_of(engine, f"{key}.{number}") for number in (1, 2, 3)]


CASES = [
    Case(
        name="start_many",
        workflows=(triggered,),
        begin=begin_many,
        outcome=what_came_of_many,
        result=[2, 4, 6],
        runs=3,
        writes=6,
    ),
    Case(
        name="background task",
        workflows=(),
        steps=(fail_once, double),
        begin=add_task,
        outcome=what_the_task_returned,
        result="{key}",
        writes=3,
    ),
    Case(
        name="delayed start and task",
        workflows=(triggered,),
        steps=(fail_once, double),
        begin=add_task_for_later,
        outcome=what_came_later,
        result=[14, 42],
        runs=2,
        writes=6,
    ),
    Case(
        name="transaction of a caller",
        workflows=(placed, triggered),
        begin=place_at_once,
        outcome=what_was_placed,
        result=[[7, 14], ["placed", "triggered"]],
        runs=2,
        writes=9,
    ),
    Case(
        name="start and signal in a transaction",
        workflows=(handing_over, placed),
        outcome=both_results,
        result=["{key}.other", [7, 14]],
        runs=2,
        writes=9,
    ),
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
        name="batch that becomes a debounce",
        workflows=(counted,),
        result=[[3], [1, 2]],
        writes=20,
        runs=3,
        begin=begin_nothing,
        outside=count,
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
    Case(
        name="singleton with a full queue",
        workflows=(crowded,),
        result=["had its turn"] * 2,
        writes=15,
        runs=2,
        outside=crowd,
        outcome=all_had_their_turn,
    ),
    Case(
        name="execution_timeout",
        workflows=(hurried,),
        result=["cancelled", "execution_timeout"],
        writes=3,
        outcome=how_it_ended,
    ),
    Case(
        name="on_success",
        workflows=(succeeding,),
        result=[14, ["{key}", "completed", 14]],
        writes=6,
        runs=2,
        begin=begin_with_seven,
        outcome=what_followed,
    ),
    Case(
        name="on_failure",
        workflows=(hopeless,),
        result=["there is no hope", ["{key}", "failed", 14]],
        writes=6,
        runs=2,
        begin=begin_with_seven,
        outcome=what_followed,
    ),
    Case(
        name="dead_letter",
        workflows=(poisonous,),
        result=["dead", "{key} had 14"],
        writes=6,
        runs=2,
        begin=begin_deadly,
        outcome=what_the_letter_said,
    ),
]
