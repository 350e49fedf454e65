"""Which failures a retry takes back: those that ended the run, with what the body did because of them; no others."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.model.errors import (
    ChildFailedError,
    GatherError,
    RunFailedError,
    SignalTimeoutError,
    StepFailedError,
)
from fastapi_durable.model.records import ErrorRecord, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import build_engine, running_engine

done: Counter[str] = Counter()
broken: set[str] = set()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    done.clear()
    broken.clear()


@step
async def work(name: str) -> str:
    done[name] += 1
    if name in broken:
        raise RuntimeError(f"{name} is broken")
    return name


@step
async def take_back(undo: Undo[str, str]) -> None:
    done[f"undo {undo.input}"] += 1


async def _fails(engine: WorkflowService, flow: Callable[..., Any], *names: str) -> str:
    """A run of `flow` that failed while these were broken; now they are mended."""
    broken.update(names)
    handle = await engine.start(flow, run_id="run")
    with pytest.raises(RunFailedError):
        await handle.result("60s")
    broken.clear()
    return handle.run_id


async def _retried(flow: Callable[..., Any], *names: str, others: tuple[Callable[..., Any], ...] = ()) -> Any:
    """The result of a run that failed while these were broken, and was retried once."""
    async with running_engine(MemoryStateStore(), flow, *others) as engine:
        run_id = await _fails(engine, flow, *names)
        await engine.retry(run_id)
        return await engine.handle(run_id).result("60s")


async def test_a_failure_that_is_raised_again_after_a_notice_takes_the_notice_along() -> None:
    """The body notifies because of the failure; if the call succeeds this time, it will not."""

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        first = await ctx.step(work, "first")
        try:
            second = await ctx.step(work, "second")
        except StepFailedError:
            await ctx.step(work, "notify")
            raise
        return [first, second]

    assert await _retried(flow, "second") == ["first", "second"]
    assert done == {"first": 1, "second": 2, "notify": 1}


@pytest.mark.parametrize("explicit", [True, False])
async def test_so_does_one_that_the_body_turns_into_an_error_of_its_own(explicit: bool) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            return await ctx.step(work, "order")
        except StepFailedError as error:
            await ctx.step(work, "notify")
            if explicit:
                raise ValueError("cannot order") from error
            raise ValueError("cannot order")  # noqa: B904 (this is what is tested)

    assert await _retried(flow, "order") == "order"
    assert done == {"order": 2, "notify": 1}


async def test_a_failure_in_the_handling_of_another_one_leaves_that_alone() -> None:
    """The body got over the first failure by its fallback; the fallback is what the run failed by."""

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            return await ctx.step(work, "first")
        except StepFailedError:
            return await ctx.step(work, "instead")

    assert await _retried(flow, "first", "instead") == "instead"
    assert done == {"first": 1, "instead": 2}


async def test_equal_failures_are_told_apart() -> None:
    """Two calls fail with the same words: the one that was caught stays, the one that was not is done again."""

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        try:
            caught = await ctx.step(work, "same")
        except StepFailedError:
            caught = "caught"
        await ctx.step(work, "between")
        return [caught, await ctx.step(work, "same")]

    assert await _retried(flow, "same") == ["caught", "same"]
    assert done == {"same": 3, "between": 1}


async def test_all_that_failed_side_by_side_is_done_again() -> None:
    """`asyncio.gather` raises one failure and forgets the other: both are done again, so one retry is enough."""
    both = asyncio.Event()

    @step
    async def slow(name: str) -> str:
        done[name] += 1
        if name not in broken:
            return name
        if done["a"] and done["b"]:
            both.set()
        await both.wait()
        raise RuntimeError(name)

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        results = await asyncio.gather(ctx.step(slow, "a"), ctx.step(slow, "b"), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [str(result) for result in results]

    assert await _retried(flow, "a", "b") == ["a", "b"]
    assert done == {"a": 2, "b": 2}


async def test_a_failure_that_one_branch_caught_stays_while_another_ones_is_done_again() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        return await ctx.gather(_careful(ctx), _careless(ctx))

    async def _careful(ctx: WorkflowContext) -> str:
        try:
            return await ctx.step(work, "careful")
        except StepFailedError:
            return await ctx.step(work, "instead")

    async def _careless(ctx: WorkflowContext) -> str:
        await ctx.step(work, "before")
        return await ctx.step(work, "careless")

    assert await _retried(flow, "careful", "careless") == ["instead", "careless"]
    assert done == {"careful": 1, "instead": 1, "before": 1, "careless": 2}


async def test_a_failure_that_ended_its_branch_stays_if_the_body_went_on_around_it() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.gather(_branch(ctx, "a"), _branch(ctx, "b"))
        except GatherError:
            await ctx.gather(_branch(ctx, "plan b"))
        return await ctx.step(work, "last")

    async def _branch(ctx: WorkflowContext, name: str) -> str:
        return await ctx.step(work, name)

    assert await _retried(flow, "a", "last") == "last"
    assert done == {"a": 1, "b": 1, "plan b": 1, "last": 2}


async def test_a_notice_in_a_branch_of_its_own_goes_with_the_failure_that_is_raised_again() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        try:
            return await ctx.gather(_branch(ctx, "a"), _branch(ctx, "b"))
        except GatherError:
            await ctx.gather(_branch(ctx, "mail"), _branch(ctx, "pager"))
            raise

    async def _branch(ctx: WorkflowContext, name: str) -> str:
        return await ctx.step(work, name)

    assert await _retried(flow, "b") == ["a", "b"]
    assert done == {"a": 1, "b": 2, "mail": 1, "pager": 1}


async def test_a_task_group_is_retried_with_what_its_failure_cancelled() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_branch(ctx, name)) for name in ("a", "b")]
        return [task.result() for task in tasks]

    async def _branch(ctx: WorkflowContext, name: str) -> str:
        await ctx.step(work, f"{name}1")
        return await ctx.step(work, f"{name}2")

    assert await _retried(flow, "a2") == ["a2", "b2"]
    assert (done["a1"], done["a2"], done["b1"]) == (1, 2, 1)


async def test_a_caught_timeout_stays_and_one_that_ended_the_run_begins_anew() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.wait_for_signal("never", timeout="1ms")
        except SignalTimeoutError:
            return await ctx.step(work, "instead")
        return "signalled"

    assert await _retried(flow, "instead") == "instead"
    assert done == {"instead": 2}


async def test_a_child_whose_failure_was_caught_is_left_alone() -> None:
    @workflow
    async def leaf(ctx: WorkflowContext, name: str) -> str:
        return await ctx.step(work, name)

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        try:
            first = await ctx.child(leaf, "first")
        except ChildFailedError:
            first = await ctx.child(leaf, "second")
        return [first, await ctx.child(leaf, "third")]

    assert await _retried(flow, "first", "third", others=(leaf,)) == ["second", "third"]
    assert done == {"first": 1, "second": 1, "third": 2}


async def test_a_saga_with_a_caught_failure_does_again_what_was_undone_and_nothing_else() -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        first = await ctx.step(work, "first", compensate=take_back)
        try:
            second = await ctx.step(work, "second", compensate=take_back)
        except StepFailedError:
            second = await ctx.step(work, "instead", compensate=take_back)
        return [first, second, await ctx.step(work, "last")]

    assert await _retried(flow, "second", "last") == ["first", "instead", "last"]
    assert done == {"first": 2, "second": 1, "instead": 2, "last": 2, "undo first": 1, "undo instead": 1}


async def test_a_run_that_another_system_ended_gives_up_the_failures_that_its_error_holds() -> None:
    """The reference stores the message of a run's error and no positions."""

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        return [await ctx.step(work, "first"), await ctx.step(work, "second")]

    store = MemoryStateStore()
    async with running_engine(store, flow) as engine:
        await _fails(engine, flow, "second")
    await store.update_run("run", {"error": ErrorRecord(message="second is broken")}, statuses=(RunStatus.FAILED,))
    await build_engine(store, flow).retry("run")
    async with running_engine(store, flow) as engine:
        assert await engine.handle("run").result("60s") == ["first", "second"]
    assert done == {"first": 1, "second": 2}
