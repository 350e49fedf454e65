"""What operators do to runs. One that dies looks what became of it before asking again, where asking twice is twice."""

import os
from pathlib import Path

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import RunStateError
from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.service.facade import WorkflowService
from tests.primitives.case import Case, Desk, eventually, result_of, runs_of
from tests.primitives.family import leaf
from tests.primitives.work import double, undo

MARKS = "DURABLE_TEST_MARKS"
"""Names a folder in which runs are marked as mended, for worker processes; without it this process remembers."""

_mended: set[str] = set()


def mend(key: str) -> None:
    _mended.add(key)
    if (folder := os.environ.get(MARKS)) is not None:
        (Path(folder) / key).touch()


def is_mended(key: str) -> bool:
    folder = os.environ.get(MARKS)
    return key in _mended or (folder is not None and (Path(folder) / key).exists())


@step
async def fail_until_mended(key: str) -> str:
    if not is_mended(key):
        raise ValueError("not mended yet")
    return "mended"


@workflow
async def failing(ctx: WorkflowContext, key: str) -> list[object]:
    first = await ctx.step(double, 1, compensate=undo)
    return [first, await ctx.step(fail_until_mended, key)]


@workflow
async def failing_child(ctx: WorkflowContext, key: str) -> str:
    return await ctx.step(fail_until_mended, key)


@workflow
async def failing_parent(ctx: WorkflowContext, key: str) -> str:
    return await ctx.child(failing_child, key)


async def retry(desk: Desk) -> None:
    await desk.until_status(desk.key, RunStatus.FAILED)
    mend(desk.key)
    await desk.ask(lambda engine: engine.retry(desk.key), refusals=(RunStateError,))
    await desk.until_status(desk.key, RunStatus.COMPLETED)


@workflow
async def picky(ctx: WorkflowContext, key: str) -> str:
    if not key.startswith("better"):
        raise ValueError("bad input")
    await ctx.step(double, 1)
    return key


async def retry_better(desk: Desk) -> None:
    await desk.until_status(desk.key, RunStatus.FAILED)

    async def once(engine: WorkflowService) -> None:
        if len(await runs_of(desk.store, desk.key)) == 1:
            await engine.retry_with_input(desk.key, "better")

    await desk.ask(once, alone=True)


@workflow
async def forked(ctx: WorkflowContext, key: str) -> list[object]:
    first = await ctx.step(double, 1)
    child = await ctx.child(leaf, 2)
    return [first, child, await ctx.step(double, 3)]


async def fork(desk: Desk) -> None:
    await desk.until_status(desk.key, RunStatus.COMPLETED)

    async def once(engine: WorkflowService) -> None:
        if len(await runs_of(desk.store, desk.key)) == 2:
            await engine.fork(desk.key, from_step=2)

    await desk.ask(once, alone=True)


async def results(engine: WorkflowService, key: str) -> object:
    """Of all runs without a parent, the oldest first."""
    runs = [run for run in await runs_of(engine._kernel.store, key) if run.parent_run_id is None]
    return [await result_of(engine, run.id) for run in reversed(runs)]


@workflow
async def reserved(ctx: WorkflowContext, key: str) -> None:
    await ctx.step(double, 1, compensate=undo)
    await ctx.wait_for_signal(f"never:{key}")


async def cancel_and_undo(desk: Desk) -> None:
    await eventually(lambda: desk.store.find_signal_waiter(f"never:{desk.key}"))
    await desk.ask(lambda engine: engine.cancel(desk.key, compensate=True))


async def what_was_undone(engine: WorkflowService, key: str) -> object:
    rows = await engine._kernel.store.list_checkpoints(key)
    undone = [str(row.status) for row in rows if row.seq < 0 and row.name == "compensate:double"]
    return [str(await engine.handle(key).status()), undone]


@workflow
async def reserved_by_child(ctx: WorkflowContext, key: str) -> None:
    await ctx.step(double, 3, compensate=undo)
    await ctx.child(reserved, key)


async def what_all_undid(engine: WorkflowService, key: str) -> object:
    return [await what_was_undone(engine, run_id) for run_id in (key, f"{key}.child.1")]


async def start_others(desk: Desk) -> None:
    for number in (1, 2):
        run_id = f"{desk.key}.{number}"
        await desk.ask(lambda engine, run_id=run_id: engine.start(reserved, run_id, run_id=run_id))  # type: ignore[misc]
    for run_id in (desk.key, f"{desk.key}.1", f"{desk.key}.2"):
        await eventually(lambda run_id=run_id: desk.store.find_signal_waiter(f"never:{run_id}"))  # type: ignore[misc]
    await desk.ask(lambda engine: engine.cancel_where(RunQuery(namespace=desk.key)))


async def all_statuses(engine: WorkflowService, key: str) -> object:
    return [str(run.status) for run in await runs_of(engine._kernel.store, key)]


async def delete(desk: Desk) -> None:
    await desk.until_status(desk.key, RunStatus.COMPLETED)
    await desk.ask(lambda engine: engine.delete_run(desk.key))


async def what_is_left(engine: WorkflowService, key: str) -> object:
    return [await engine._kernel.store.find_run(run_id) is None for run_id in (key, f"{key}.child.1")]


@workflow
async def held(ctx: WorkflowContext, key: str) -> list[int]:
    first = await ctx.step(double, 1)
    return [first, await ctx.wait_for_signal(f"said:{key}", int), await ctx.step(double, 2)]


async def pause_and_resume(desk: Desk) -> None:
    await eventually(lambda: desk.store.find_signal_waiter(f"said:{desk.key}"))
    await desk.ask(lambda engine: engine.pause(desk.key))
    await desk.signal_when_awaited(f"said:{desk.key}", 3)

    async def rests() -> bool:
        run = await desk.store.find_run(desk.key)
        return run is not None and run.is_paused and run.status is RunStatus.SUSPENDED and run.wake_at is None

    await eventually(rests)
    await desk.ask(lambda engine: engine.resume(desk.key))


CASES = [
    Case(name="pause and resume", workflows=(held,), result=[2, 3, 4], writes=14, outside=pause_and_resume),
    Case(name="retry", workflows=(failing,), result=[2, "mended"], writes=12, outside=retry),
    Case(
        name="retry of a family",
        workflows=(failing_parent, failing_child),
        result="mended",
        writes=20,
        runs=2,
        outside=retry,
    ),
    Case(
        name="retry_with_input",
        workflows=(picky,),
        result=["bad input", "better"],
        writes=7,
        runs=2,
        outside=retry_better,
        outcome=results,
    ),
    Case(
        name="fork",
        workflows=(forked, leaf),
        result=[[2, 4, 6], [2, 4, 6]],
        writes=20,
        runs=3,
        outside=fork,
        outcome=results,
    ),
    Case(
        name="cancel with compensation",
        workflows=(reserved,),
        result=["cancelled", ["completed"]],
        writes=10,
        outside=cancel_and_undo,
        outcome=what_was_undone,
    ),
    Case(
        name="cancel of a family with compensation",
        workflows=(reserved_by_child, reserved),
        result=[["cancelled", ["completed"]]] * 2,
        writes=18,
        runs=2,
        outside=cancel_and_undo,
        outcome=what_all_undid,
    ),
    Case(
        name="cancel_where",
        workflows=(reserved,),
        result=["cancelled"] * 3,
        writes=18,
        runs=3,
        outside=start_others,
        outcome=all_statuses,
    ),
    Case(
        name="delete_run",
        workflows=(forked, leaf),
        result=[True, True],
        writes=15,
        runs=0,
        outside=delete,
        outcome=what_is_left,
    ),
]
