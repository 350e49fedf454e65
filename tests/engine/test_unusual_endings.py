"""Code that ends by what is no `Exception`, or cancels itself, fails like any other: by name, and alone."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.entity import entity, operation
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.interception import StepExecution
from fastapi_durable.model.errors import EntityOperationError, GatherError, RunFailedError, StepFailedError
from fastapi_durable.model.records import CheckpointStatus, RunStatus
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import has_status, is_idle, running_engine, running_worker, until
from tests.support.stores import on_databases_slowly

executed: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    executed.clear()


class Mine(BaseException):
    pass


async def awaits_what_was_cancelled() -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(60)


async def cancels_itself_and_returns() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def cancels_itself_and_raises() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    raise ValueError("CancelledError is forgotten")


async def exits() -> None:
    sys.exit(3)


async def is_interrupted() -> None:
    raise KeyboardInterrupt


async def raises_its_own() -> None:
    raise Mine("m")


async def is_closed() -> None:
    raise GeneratorExit


WAYS: dict[Callable[[], Any], str] = {
    awaits_what_was_cancelled: "CancelledError",
    cancels_itself: "CancelledError",
    cancels_itself_and_returns: "CancelledError",
    cancels_itself_and_raises: "CancelledError",
    exits: "sys.exit",
    is_interrupted: "KeyboardInterrupt",
    raises_its_own: "Mine: m",
    is_closed: "GeneratorExit",
}


def ways(*but: Callable[[], Any]) -> pytest.MarkDecorator:
    """All ways but these."""
    return pytest.mark.parametrize("way", [way for way in WAYS if way not in but], ids=lambda way: way.__name__)


every_way = ways()
end_the_loop = pytest.mark.parametrize("way", [exits, is_interrupted], ids=lambda way: way.__name__)


@workflow
async def good(ctx: WorkflowContext) -> str:
    await ctx.sleep("1ms")
    return await ctx.step(works)


@step
async def works() -> str:
    return "worked"


async def _failure_of(store: StateStore, flow: Any) -> str:
    """The message with which the run fails; another run beside it is left alone, and so is the worker."""
    async with running_worker(store, flow, good) as (engine, worker):
        spoilt, beside = await engine.start(flow), await engine.start(good)
        with pytest.raises(RunFailedError) as caught:
            await spoilt.result("60s")
        assert await beside.result("60s") == "worked"
        assert await engine.execute(good, timeout="60s") == "worked"
        await until(lambda: is_idle(worker))
        assert worker.health().alive
        assert (await spoilt.run()).recovery_attempts is None, "it was driven more than once"
    assert asyncio.get_running_loop().get_task_factory() is None, "the event loop is as it was"
    return str(caught.value)


@every_way
@on_databases_slowly
async def test_an_attempt_of_a_step_fails(store: StateStore, way: Any) -> None:
    @step(max_attempts=2)
    async def fails() -> None:
        executed["attempt"] += 1
        await way()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        try:
            await ctx.step(fails)
        except StepFailedError as error:
            await ctx.step(works)
            raise RuntimeError(str(error)) from error

    assert WAYS[way] in await _failure_of(store, flow)
    assert executed == {"attempt": 2}


@end_the_loop
async def test_an_attempt_of_a_plain_function_fails(store: StateStore, way: Any) -> None:
    @step
    def fails() -> None:
        if way is exits:
            sys.exit(3)
        raise KeyboardInterrupt

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(fails)

    assert WAYS[way] in await _failure_of(store, flow)


@every_way
@on_databases_slowly
async def test_a_transaction_fails_and_is_undone(store: StateStore, way: Any) -> None:
    async def fails(tx: Any) -> None:
        executed["attempt"] += 1
        await way()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        try:
            await ctx.transaction(fails)
        except StepFailedError as error:
            await ctx.step(works)
            raise RuntimeError(str(error)) from error

    assert WAYS[way] in await _failure_of(store, flow)
    assert executed == {"attempt": 1}


@entity
class Account(BaseModel):
    total: int = 0

    @operation
    async def add(self, way: str) -> int:
        self.total += 1
        if way:
            await next(each for each in WAYS if each.__name__ == way)()
        return self.total


@every_way
@on_databases_slowly
async def test_an_operation_fails_and_never_its_entity(store: StateStore, way: Any) -> None:
    @workflow
    async def flow(ctx: WorkflowContext, how: str) -> object:
        try:
            return await ctx.call_entity(Account, "a", Account.add, how)
        except EntityOperationError as error:
            return str(error)

    async with running_engine(store, flow, entities=[Account]) as engine:
        assert await engine.execute(flow, "", timeout="60s") == 1
        assert WAYS[way] in str(await engine.execute(flow, way.__name__, timeout="60s"))
        assert await engine.execute(flow, "", timeout="60s") == 2, "what the failed operation changed does not count"


@every_way
@pytest.mark.parametrize("at", ["before", "after"])
async def test_an_interceptor_does_not_end_what_it_observes(store: StateStore, way: Any, at: str) -> None:
    """What it raises is logged; if it cancels the task of the attempt, that attempt fails."""

    @asynccontextmanager
    async def interceptor(execution: StepExecution) -> AsyncIterator[None]:
        if at == "before" and execution.name == "observed":
            await way()
        yield
        if at == "after" and execution.name == "observed":
            await way()

    @step(name="observed")
    async def observed() -> str:
        executed["attempt"] += 1
        await asyncio.sleep(0)
        return "observed"

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            return await ctx.step(observed)
        except StepFailedError as error:
            return str(error)

    async with running_worker(store, flow, good, interceptors=[interceptor]) as (engine, worker):
        result = await engine.execute(flow, timeout="60s")
        if way.__name__.startswith("cancels_itself"):
            assert "CancelledError" in result
        else:
            assert result == "observed"
        assert await engine.execute(good, timeout="60s") == "worked"
        assert worker.health().alive


# A cancel that meets nothing which the branch awaits is none.
@ways(cancels_itself_and_returns)
@pytest.mark.parametrize("how", ["gather", "race"])
async def test_a_branch_fails(store: StateStore, way: Any, how: str) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        async def branch() -> None:
            await ctx.step(works)
            await way()

        try:
            if how == "gather":
                await ctx.gather(branch(), ctx.step(works))
            else:
                await ctx.race(branch(), ctx.wait_for_signal("never"))
        except (GatherError, RuntimeError) as error:
            await ctx.step(works)
            raise ValueError(str(error)) from error

    expected = "CancelledError is forgotten" if way is cancels_itself_and_raises else WAYS[way]
    assert expected in await _failure_of(store, flow)


@end_the_loop
@pytest.mark.parametrize("how", ["task", "group", "gather", "nested"])
async def test_a_task_that_the_body_creates_does_not_end_the_process(store: StateStore, way: Any, how: str) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        async def branch() -> None:
            await ctx.step(works)
            await way()

        if how == "task":
            await asyncio.create_task(branch())
        elif how == "gather":
            await asyncio.gather(branch(), ctx.step(works))
        elif how == "nested":
            await asyncio.create_task(_in_a_task(branch))
        else:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(branch())
            except* RuntimeError as errors:
                raise errors.exceptions[0] from None

    assert WAYS[way] in await _failure_of(store, flow)


async def _in_a_task(branch: Callable[[], Any]) -> None:
    await asyncio.create_task(branch())


@end_the_loop
async def test_a_task_that_a_step_leaves_behind_does_not_end_the_process(store: StateStore, way: Any) -> None:
    left: list[asyncio.Task[None]] = []

    @step
    async def leaves_a_task() -> str:
        left.append(asyncio.create_task(way()))
        return "left"

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.step(leaves_a_task)

    async with running_engine(store, flow) as engine:
        assert await engine.execute(flow, timeout="60s") == "left"
        await asyncio.wait(left)
        assert isinstance(left[0].exception(), RuntimeError)


@every_way
async def test_a_body_fails_by_name(store: StateStore, way: Any) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(works)
        await way()
        await ctx.step(works, name="not reached")

    expected = "forgotten" if way is cancels_itself_and_raises else WAYS[way]
    assert expected in await _failure_of(store, flow)


@every_way
async def test_a_side_effect_fails_and_is_recorded(store: StateStore, way: Any) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        try:
            await ctx.side_effect(way)
        except StepFailedError as error:
            await ctx.step(works)
            raise RuntimeError(str(error)) from error

    assert WAYS[way] in await _failure_of(store, flow)


# The task is that of whoever offers the update.
@ways(cancels_itself, cancels_itself_and_returns, cancels_itself_and_raises)
async def test_a_validator_refuses_its_update(store: StateStore, way: Any) -> None:
    async def validate(value: str) -> None:
        await way()

    @workflow(updates={"address": validate})
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.on_update("address", str)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        result = await engine.update(handle.run_id, "address", "Main Street")
        assert not result.accepted
        assert WAYS[way] in (result.reason or "")


@on_databases_slowly
async def test_a_cancel_from_outside_still_ends_the_step_and_records_nothing(store: StateStore) -> None:
    """Also one that a task group in the step takes back and makes again."""
    entered = asyncio.Event()

    @step
    async def hangs() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            entered.set()
            await asyncio.sleep(60)

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(hangs)

    async with running_worker(store, flow) as (engine, worker):
        handle = await engine.start(flow)
        await entered.wait()
        await engine.cancel(handle.run_id)
        await until(lambda: is_idle(worker))
        assert await has_status(handle, RunStatus.CANCELLED)
    rows = await store.list_checkpoints(handle.run_id)
    assert [row.status for row in rows if row.status.is_finished] == []


@on_databases_slowly
async def test_a_step_whose_task_the_body_cancels_is_no_failed_attempt(store: StateStore) -> None:
    entered = asyncio.Event()

    @step(max_attempts=5)
    async def hangs() -> None:
        executed["attempt"] += 1
        entered.set()
        await asyncio.sleep(60)

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        task = asyncio.create_task(ctx.step(hangs))
        await ctx.local_step("entered", entered.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return "cancelled"

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") == "cancelled"
    rows = await store.list_checkpoints(handle.run_id)
    assert CheckpointStatus.FAILED not in [row.status for row in rows]
    assert executed == {"attempt": 1}


async def test_a_task_factory_of_the_application_goes_on_making_tasks(store: StateStore) -> None:
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        made.append(type(coroutine).__name__)
        return task

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await asyncio.create_task(exits())

    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        async with running_engine(store, flow, good) as engine:
            with pytest.raises(RunFailedError, match=r"sys\.exit\(3\)"):
                await engine.execute(flow, timeout="60s")
            assert await engine.execute(good, timeout="60s") == "worked"
        assert loop.get_task_factory() is factory
    finally:
        loop.set_task_factory(None)
    assert made
