"""An error keeps its code, whether it may be tried again, its stack and its cause on every hop."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.entity import entity, operation
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.task import TaskTicket
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.model.errors import (
    ChildFailedError,
    EntityOperationError,
    FatalError,
    GatherError,
    RunFailedError,
    StepFailedError,
    TaskFailedError,
)
from fastapi_durable.model.records import CheckpointStatus, ErrorRecord
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import running_engine


def decline() -> None:
    """What everything here fails by: an error with a code, raised from another one."""
    try:
        raise ConnectionError("the bank hung up")
    except ConnectionError as error:
        raise FatalError("the card was declined", code="declined") from error


@step
async def charge() -> None:
    decline()


@workflow
async def by_step(ctx: WorkflowContext) -> None:
    await ctx.step(charge)


@workflow
async def by_itself(ctx: WorkflowContext) -> None:
    decline()


@workflow
async def by_local_step(ctx: WorkflowContext) -> None:
    await ctx.local_step("charge", decline)


@workflow
async def by_side_effect(ctx: WorkflowContext) -> None:
    await ctx.side_effect(decline)


async def book(tx: object) -> None:
    decline()


@workflow
async def by_transaction(ctx: WorkflowContext) -> None:
    await ctx.transaction(book)


@workflow
async def by_child(ctx: WorkflowContext) -> None:
    await ctx.child(by_step)


@workflow
async def by_grandchild(ctx: WorkflowContext) -> None:
    await ctx.child(by_child)


@workflow
async def by_one_of_all(ctx: WorkflowContext) -> None:
    await ctx.all(by_step_with, [1, 2])


@workflow
async def by_step_with(ctx: WorkflowContext, number: int) -> None:
    await ctx.step(charge)


@workflow
async def by_a_branch(ctx: WorkflowContext) -> None:
    await ctx.gather(ctx.now(), ctx.step(charge))


@workflow
async def by_a_task_group(ctx: WorkflowContext) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.step(charge))


@workflow
async def by_a_race(ctx: WorkflowContext) -> None:
    await ctx.race(ctx.step(charge), ctx.sleep("1h"))


@workflow
async def by_an_error_of_its_own(ctx: WorkflowContext) -> None:
    try:
        await ctx.step(charge)
    except StepFailedError as error:
        raise LookupError("no way to pay") from error


@entity
class Till(BaseModel):
    @operation
    def charge(self) -> None:
        decline()


@workflow
async def by_entity(ctx: WorkflowContext) -> None:
    await ctx.call_entity(Till, "front", Till.charge)


@step
async def hand_out(ticket: TaskTicket) -> None: ...


@workflow
async def by_task(ctx: WorkflowContext) -> None:
    await ctx.task("charge", hand_out)


WAYS: dict[Callable[..., Any], list[str]] = {
    by_itself: ["FatalError"],
    by_step: ["StepFailedError", "FatalError"],
    by_local_step: ["StepFailedError", "FatalError"],
    by_side_effect: ["StepFailedError", "FatalError"],
    by_transaction: ["StepFailedError", "FatalError"],
    by_child: ["ChildFailedError", "StepFailedError", "FatalError"],
    by_grandchild: ["ChildFailedError", "ChildFailedError", "StepFailedError", "FatalError"],
    by_one_of_all: ["GatherError", "ChildFailedError", "StepFailedError", "FatalError"],
    by_a_branch: ["GatherError", "StepFailedError", "FatalError"],
    by_a_task_group: ["ExceptionGroup", "StepFailedError", "FatalError"],
    by_a_race: ["StepFailedError", "FatalError"],
    by_an_error_of_its_own: ["LookupError", "StepFailedError", "FatalError"],
    by_entity: ["EntityOperationError", "FatalError"],
    by_task: ["TaskFailedError", "FatalError"],
}
"""How a run may fail, and the classes of the errors that one finds in its record, the outermost first."""


def causes(error: ErrorRecord | None) -> Iterator[ErrorRecord]:
    while error is not None:
        yield error
        error = error.cause


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_a_failure_is_whole_wherever_it_comes_from(way: Callable[..., Any]) -> None:
    """The record of the run leads to the first error, with its stack, its code and its own cause."""
    async with running_engine(MemoryStateStore(), *WAYS, by_step_with, entities=(Till,)) as engine:
        handle = await engine.start(way, run_id="run")
        if way is by_task:
            with pytest.raises(FatalError) as raised:
                decline()
            await engine.fail_task("run", "charge", raised.value)
        with pytest.raises(RunFailedError) as failed:
            await handle.result("60s")
    *hops, first, root = causes(failed.value.error)
    assert [*(hop.type for hop in hops), first.type] == WAYS[way]
    assert (first.message, first.code, first.retryable) == ("the card was declined", "declined", False)
    assert "in decline" in (first.stack or "")
    assert (root.type, root.message) == ("ConnectionError", "the bank hung up")
    assert "in decline" in (root.stack or "")
    # Whoever looks at the outermost error only learns why, unless it is one of several, or the body's own.
    if hops and hops[0].type not in ("GatherError", "ExceptionGroup", "LookupError"):
        assert failed.value.code == "declined"


async def test_the_body_meets_the_whole_error_on_the_first_run_and_on_a_replay() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[list[Any]]:
        seen = []
        calls: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: ctx.step(charge),
            lambda: ctx.child(by_step),
            lambda: ctx.call_entity(Till, "front", Till.charge),
        )
        for call in calls:
            try:
                await call()
            except (StepFailedError, ChildFailedError, EntityOperationError) as error:
                seen.append([error.code, [each.to_json() for each in causes(error.error)]])
        first = await ctx.local_step("the first time", lambda: seen)
        await ctx.sleep("1ms")
        return [first, seen]

    async with running_engine(MemoryStateStore(), flow, by_step, entities=(Till,)) as engine:
        first, again = await engine.execute(flow, timeout="60s")
    assert first == again
    assert [code for code, _ in first] == ["declined"] * 3
    assert [records[-1]["type"] for _, records in first] == ["ConnectionError"] * 3


async def test_all_failures_of_a_gather_reach_the_body() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[Any]:
        try:
            await ctx.all(by_step_with, [1, 2])
        except GatherError as error:
            return [[index, each.code, each.error.stack is not None] for index, each in error.failures.items()]  # type: ignore[attr-defined]
        return []

    async with running_engine(MemoryStateStore(), flow, by_step_with) as engine:
        assert await engine.execute(flow, timeout="60s") == [[0, "declined", True], [1, "declined", True]]


async def test_an_undo_that_fails_keeps_its_error_and_the_run_its_own() -> None:
    @step
    async def work() -> None: ...

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(work, compensate=decline)
        raise LookupError("the reason")

    store = MemoryStateStore()
    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError, match="the reason"):
            await handle.result("60s")
    (row,) = [row for row in await store.list_checkpoints(handle.run_id) if row.seq < 0]
    assert (row.status, row.error and row.error.code) == (CheckpointStatus.FAILED, "declined")


async def test_what_a_task_reports_as_a_text_is_its_message() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.task("pick", hand_out)
        except TaskFailedError as error:
            return error.error.message
        return "picked"

    async with running_engine(MemoryStateStore(), flow) as engine:
        handle = await engine.start(flow, run_id="run")
        await engine.fail_task("run", "pick", "none left")
        assert await handle.result("60s") == "none left"


def test_an_error_that_came_through_many_runs_keeps_its_ends_and_a_size() -> None:
    """Each run that it comes through adds a record; the first error and the last hops are what one looks for."""
    record = error_record(FatalError("the root", code="root"))
    for number in range(500):
        record = error_record(ChildFailedError(f"run-{number}", "flow", record))
    kept = list(causes(record))
    assert len(kept) <= 20
    assert (kept[-1].message, kept[-1].code) == ("the root", "root")
    assert "run-499" in kept[0].message
    assert "run-498" in kept[1].message
    assert sum(len(each.message) + len(each.stack or "") for each in kept) < 20 * 25_000


def test_an_error_that_hides_what_it_came_from_hides_it_where_it_is_stored_too() -> None:
    """A viewer of the console reads what is stored: `from None` keeps a database's words from there."""
    try:
        try:
            raise ValueError("duplicate key: (email)=(ann@example.org)")
        except ValueError:
            raise FatalError("the address is taken", code="taken") from None
    except FatalError as error:
        stored = error_record(error)
    assert (stored.message, stored.code, stored.cause) == ("the address is taken", "taken", None)
    assert "ann@example.org" not in str(stored.to_json())


@step
async def look_up() -> None:
    raise KeyError("colour")


@workflow
async def looks_up(ctx: WorkflowContext) -> None:
    await ctx.step(look_up)


@workflow
async def parent_of_one_that_looks_up(ctx: WorkflowContext) -> None:
    await ctx.child(looks_up)


async def test_the_log_names_the_class_of_the_exception_that_made_a_run_fail(caplog: pytest.LogCaptureFixture) -> None:
    """Of a KeyError the message is nothing but the key. It is the step's exception, in the runs above it, too."""
    async with running_engine(MemoryStateStore(), looks_up, parent_of_one_that_looks_up) as engine:
        with pytest.raises(RunFailedError):
            await engine.execute(parent_of_one_that_looks_up, run_id="p", timeout="60s")
    failed = [record.getMessage() for record in caplog.records if "failed" in record.getMessage()]
    step_failed = "step 'look_up' failed after 1 attempt: 'colour' (KeyError)"
    assert failed == [
        f"run p.child.0 of looks_up: failed: {step_failed}",
        f"run p of parent_of_one_that_looks_up: failed: child 'p.child.0' of workflow 'looks_up' failed: {step_failed}",
    ]


@pytest.mark.parametrize(
    "several",
    [
        ExceptionGroup("two", [KeyError("first"), ValueError("second")]),
        GatherError({2: ValueError("second"), 1: KeyError("first")}, total=3),
    ],
    ids=["group", "gather"],
)
def test_the_cause_of_several_failures_is_the_first_of_them(several: Exception) -> None:
    cause = error_record(several).cause
    assert cause is not None
    assert (cause.type, cause.message) == ("KeyError", "'first'")


def test_the_root_of_an_error_is_the_exception_whose_message_it_passes_on() -> None:
    """What that one was raised from is not: the message says nothing of it."""
    raised_from = ErrorRecord(message="hung up", type="ConnectionError")
    declined = ErrorRecord(message="declined", type="CardError", cause=raised_from)
    assert ErrorRecord(message="step pay failed: declined", cause=declined).root == declined
    assert declined.root == declined
