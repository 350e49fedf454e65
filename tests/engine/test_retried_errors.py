"""`retry_on` and `give_up_on`: which errors of a step are followed by another attempt."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.retry import NO_DELAY, fixed
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.model.errors import (
    DefinitionError,
    FatalError,
    InjectionError,
    RunFailedError,
    SerializationError,
    StepFailedError,
)
from fastapi_durable.model.records import CheckpointStatus, RunStatus
from fastapi_durable.service.tasks import DurableTasks
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.testing import HandClock
from tests.support.engine_rig import has_status, killed_worker, running_engine, until
from tests.support.stores import on_every_store

raised: list[Exception] = []


class Declined(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"declined with {code}")
        self.status = code


def is_temporary(error: Exception) -> bool:
    return isinstance(error, Declined) and error.status >= 500


def broken(error: Exception) -> bool:
    raise KeyError("the filter is broken")


@step(max_attempts=3, backoff=NO_DELAY)
async def fail() -> int:
    raise raised[0]


async def attempts_of(error: Exception, **options: Any) -> int:
    """How many attempts a step makes that always raises `error`."""
    raised[:] = [error]

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        try:
            return await ctx.step(fail, **options)
        except StepFailedError as failed:
            return failed.attempts

    async with running_engine(MemoryStateStore(), flow) as engine:
        return await (await engine.start(flow)).result("60s")


@pytest.mark.parametrize(
    ("error", "options", "attempts"),
    [
        (OSError(), {}, 3),
        (ConnectionError(), {"retry_on": OSError}, 3),
        (ValueError(), {"retry_on": OSError}, 1),
        (ValueError(), {"retry_on": (OSError, ValueError)}, 3),
        (ValueError(), {"retry_on": ()}, 1),
        (ConnectionError(), {"give_up_on": OSError}, 1),
        (ValueError(), {"give_up_on": OSError}, 3),
        (ValueError(), {"give_up_on": ()}, 3),
        (Declined(503), {"retry_on": is_temporary}, 3),
        (Declined(402), {"retry_on": is_temporary}, 1),
        (Declined(503), {"give_up_on": is_temporary}, 1),
        (ConnectionError(), {"retry_on": OSError, "give_up_on": ConnectionError}, 1),
        (FatalError("no"), {"retry_on": FatalError}, 1),
        (InjectionError("no"), {"retry_on": InjectionError}, 1),
        (SerializationError("no"), {"retry_on": SerializationError}, 1),
        (SerializationError("no", misfit=True), {"retry_on": SerializationError}, 3),
        (SerializationError("no", misfit=True), {"retry_on": OSError}, 1),
        (ExceptionGroup("several", [OSError()]), {"retry_on": OSError}, 1),
        (ValueError(), {"retry_on": broken}, 3),
        (ValueError(), {"give_up_on": broken}, 3),
    ],
)
async def test_the_error_decides_whether_another_attempt_is_made(
    error: Exception, options: dict[str, Any], attempts: int
) -> None:
    assert await attempts_of(error, **options) == attempts


async def test_a_filter_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert await attempts_of(ValueError(), retry_on=broken) == 3
    assert "retry_on or give_up_on raised KeyError: 'the filter is broken'" in caplog.text


async def test_a_call_overrides_what_the_step_declares() -> None:
    @step(max_attempts=3, backoff=NO_DELAY, retry_on=OSError, give_up_on=ConnectionError)
    async def declared() -> int:
        raise ConnectionError

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        made = []
        for options in ({}, {"give_up_on": ()}, {"give_up_on": (), "retry_on": ValueError}):
            try:
                await ctx.step(declared, **options)
            except StepFailedError as failed:
                made.append(failed.attempts)
        return made

    async with running_engine(MemoryStateStore(), flow) as engine:
        assert await (await engine.start(flow)).result("60s") == [1, 3, 1]


@pytest.mark.parametrize(("options", "attempts"), [({}, 2), ({"retry_on": OSError}, 2), ({"retry_on": ValueError}, 1)])
async def test_an_attempt_that_takes_too_long_counts_as_a_timeout_error(options: dict[str, Any], attempts: int) -> None:
    """`TimeoutError` is an `OSError`."""

    @step(max_attempts=2, backoff=NO_DELAY, timeout="5 ms", **options)
    async def slow() -> None:
        await asyncio.Event().wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        try:
            await ctx.step(slow)
        except StepFailedError as failed:
            return failed.attempts if failed.code == "step_timeout" else 0
        return 0

    async with running_engine(MemoryStateStore(), flow) as engine:
        assert await (await engine.start(flow)).result("60s") == attempts


async def test_a_result_that_does_not_fit_is_an_error_like_others() -> None:
    @step(max_attempts=2, backoff=NO_DELAY, retry_on=OSError)
    async def wrong() -> int:
        return "text"  # type: ignore[return-value] # what is refused

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        try:
            return await ctx.step(wrong)
        except StepFailedError as failed:
            return failed.attempts

    async with running_engine(MemoryStateStore(), flow) as engine:
        assert await (await engine.start(flow)).result("60s") == 1


@on_every_store
async def test_the_decision_is_recorded_and_no_replay_asks_again(store: StateStore) -> None:
    """Of the first error, before a crash; the process that goes on asks about the second."""
    asked: list[str] = []
    errors = iter([ConnectionError("again"), ValueError("no more")])

    def noted(error: Exception) -> bool:
        asked.append(str(error))
        return isinstance(error, OSError)

    @step(max_attempts=9, backoff=fixed("1h"), retry_on=noted)
    async def work() -> None:
        raise next(errors)

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.step(work)
        except StepFailedError as failed:
            await ctx.sleep("1h")
            return f"{failed.error.message} after {failed.attempts}, retryable: {failed.error.retryable}"
        return "no error"

    clock = HandClock()
    async with killed_worker(store, flow, clock=clock) as first:
        handle = await first.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    clock.move(hours=1, seconds=1)
    async with killed_worker(store, flow, clock=clock) as second:

        async def has_failed() -> bool:
            rows = await store.list_checkpoints(handle.run_id)
            run = await store.find_run(handle.run_id)
            return rows[0].status is CheckpointStatus.FAILED and run is not None and run.status is RunStatus.SUSPENDED

        await until(has_failed)
        assert second is not None
    clock.move(hours=1, seconds=1)
    async with running_engine(store, flow, clock=clock) as third:
        await until(lambda: has_status(handle, RunStatus.COMPLETED))
        assert await third.handle(handle.run_id).result() == "no more after 2, retryable: False"
    assert asked == ["again", "no more"]


@on_every_store
async def test_a_transaction_a_task_and_a_compensation_follow_the_same_rule(store: StateStore) -> None:
    tried = {"book": 0, "send": 0, "undo": 0}

    async def book(tx: Any) -> None:
        tried["book"] += 1
        raise ValueError("no such account")

    @step(max_attempts=3, backoff=NO_DELAY, give_up_on=ValueError)
    async def send() -> None:
        tried["send"] += 1
        raise ValueError("no such address")

    @step(max_attempts=3, backoff=NO_DELAY, retry_on=OSError)
    async def take_back(undo: Undo[None, None]) -> None:
        tried["undo"] += 1
        raise ValueError("nothing to undo")

    @step
    async def reserve() -> None: ...

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(reserve, compensate=take_back)
        await ctx.transaction(book, max_attempts=3, backoff=NO_DELAY, retry_on=OSError)

    async with running_engine(store, flow, steps=[send]) as engine:
        for handle in (await engine.start(flow), await DurableTasks(engine).add(send)):
            with pytest.raises(RunFailedError):
                await handle.result("60s")
    assert tried == {"book": 1, "send": 1, "undo": 1}


async def asynchronous(error: Exception) -> bool:
    return True


class AsynchronousFilter:
    async def __call__(self, error: Exception) -> bool:
        return True


@pytest.mark.parametrize("option", ["retry_on", "give_up_on"])
@pytest.mark.parametrize(
    "chosen",
    [
        OSError("an instance"),
        "OSError",
        1,
        int,
        BaseException,
        [OSError],
        (OSError, int),
        asynchronous,
        AsynchronousFilter(),
    ],
    ids=["instance", "text", "number", "class", "base", "list", "tuple", "coroutine function", "asynchronous object"],
)
def test_what_chooses_no_errors_is_refused_where_it_is_declared(option: str, chosen: Any) -> None:
    declare: Callable[..., Any] = step
    with pytest.raises(
        DefinitionError, match=f"{option} must be an Exception class, a tuple of them, or a plain function"
    ):
        declare(max_attempts=2, **{option: chosen})(asynchronous)
