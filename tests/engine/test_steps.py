"""Steps: attempts, time limits, what may go in and come out."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.retry import NO_DELAY, exponential, fixed
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import DefinitionError, FatalError, RunFailedError, StepFailedError
from fastapi_durable.model.records import CheckpointStatus, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.testing import HandClock
from tests.support.engine_rig import FAST, has_status, killed_worker, running_engine, tuned, until

SUSPENDING = tuned(FAST, inline_retry_below=timedelta(0), lease=timedelta(milliseconds=60))


class Unreadable(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")


class Abort(BaseException):
    """A BaseException of a library, such as those with which test frameworks end a test."""


@pytest.mark.parametrize("suspend", [False, True], ids=["in the turn", "by suspension"])
async def test_attempts_are_counted_across_retries(store: StateStore, suspend: bool) -> None:
    attempts = 0

    @step(max_attempts=3, backoff=fixed("5 ms"))
    async def third_time_lucky() -> int:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ConnectionError("try again")
        return attempts

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.step(third_time_lucky)

    async with running_engine(store, flow, config=SUSPENDING if suspend else FAST) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") == 3
    (row,) = await store.list_checkpoints(handle.run_id)
    assert (row.status, row.attempts) == (CheckpointStatus.COMPLETED, 3)


async def test_a_run_that_waits_for_a_distant_retry_is_suspended_until_then(store: StateStore) -> None:
    @step(max_attempts=2, backoff=exponential("1h", jitter=False, cap=None))
    async def fail() -> None:
        raise ConnectionError("try again")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(fail)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        run = await handle.run()
        (row,) = await store.list_checkpoints(handle.run_id)
    assert row.status is CheckpointStatus.PENDING
    assert row.error is not None
    assert row.error.message == "try again"
    assert run.wake_at is not None
    assert run.wake_at == row.wake_at
    assert timedelta(minutes=59) < run.wake_at - run.updated_at <= timedelta(hours=1)


class NotedSleeps(HandClock):
    """A clock that tells who slept on it for how long."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[timedelta] = []

    async def sleep(self, delay: timedelta) -> None:
        self.slept.append(delay)
        await super().sleep(delay)


async def test_a_short_pause_between_two_attempts_is_waited_for_in_memory(store: StateStore) -> None:
    clock, attempts = NotedSleeps(), 0

    @step(max_attempts=2, backoff=fixed("1234 ms"))
    async def fail_once() -> int:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ConnectionError("try again")
        return attempts

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.step(fail_once)

    config = tuned(FAST, lease=timedelta(hours=1), inline_retry_below=timedelta(minutes=1))
    async with running_engine(store, flow, config=config, clock=clock) as engine:
        assert await (await engine.start(flow)).result("60s") == 2
    assert timedelta(milliseconds=1234) in clock.slept


async def test_attempts_survive_a_crash(store: StateStore) -> None:
    """Two failed before the process died; the next one, elsewhere, is the third and last."""
    attempts = 0
    second_failed = asyncio.Event()

    @step(max_attempts=3, backoff=fixed("40 ms"))
    async def fail() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            second_failed.set()
        raise ConnectionError(f"attempt {attempts}")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(fail)

    config = tuned(SUSPENDING, inline_retry_below=timedelta(seconds=2))
    async with killed_worker(store, flow, config=config) as first:
        handle = await first.start(flow)
        await second_failed.wait()

        async def is_recorded() -> bool:
            return [row.attempts for row in await store.list_checkpoints(handle.run_id)] == [2]

        await until(is_recorded)
    async with running_engine(store, flow, config=config) as second:
        with pytest.raises(RunFailedError, match="after 3 attempts: attempt 3"):
            await second.handle(handle.run_id).result("60s")
    assert attempts == 3
    (row,) = await store.list_checkpoints(handle.run_id)
    told = [event["message"] for event in row.events if isinstance(event, dict)]
    assert told == ["ConnectionError: attempt 1", "ConnectionError: attempt 2"]


async def test_a_crash_in_a_later_attempt_loses_nothing_of_the_earlier_ones(store: StateStore) -> None:
    """The row that shows a long attempt as running tells of them as well."""
    entered = asyncio.Event()
    attempts = 0

    @step(max_attempts=2, backoff=fixed("0s"))
    async def work() -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ConnectionError("try again")
        if attempts == 2:
            entered.set()
            await asyncio.Event().wait()
        return "done"

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.step(work)

    config = tuned(SUSPENDING, inline_retry_below=timedelta(seconds=2), show_running_after=timedelta(0))
    async with killed_worker(store, flow, config=config) as first:
        handle = await first.start(flow)
        await entered.wait()

        async def is_shown_as_running() -> bool:
            rows = await store.list_checkpoints(handle.run_id)
            return [(row.status, row.attempts) for row in rows] == [(CheckpointStatus.RUNNING, 2)]

        await until(is_shown_as_running)
    async with running_engine(store, flow, config=config) as second:
        assert await second.handle(handle.run_id).result("60s") == "done"
    (row,) = await store.list_checkpoints(handle.run_id)
    assert [event["message"] for event in row.events if isinstance(event, dict)] == ["ConnectionError: try again"]


async def test_an_attempt_that_a_crash_cut_off_is_made_again_under_its_number(store: StateStore) -> None:
    entered = asyncio.Event()
    numbers: list[int] = []

    @step
    async def work() -> str:
        numbers.append(len(numbers))
        if len(numbers) == 1:
            entered.set()
            await asyncio.Event().wait()
        return "done"

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.step(work)

    config = tuned(SUSPENDING, show_running_after=timedelta(0))
    async with killed_worker(store, flow, config=config) as first:
        handle = await first.start(flow)
        await entered.wait()

        async def is_shown_as_running() -> bool:
            return [row.status for row in await store.list_checkpoints(handle.run_id)] == [CheckpointStatus.RUNNING]

        await until(is_shown_as_running)
    async with running_engine(store, flow, config=config) as second:
        assert await second.handle(handle.run_id).result("60s") == "done"
    (row,) = await store.list_checkpoints(handle.run_id)
    assert (row.attempts, len(numbers)) == (1, 2)


@pytest.mark.parametrize("blocking", [False, True], ids=["async def", "def"])
async def test_each_attempt_has_its_time_limit(store: StateStore, blocking: bool) -> None:
    """A thread cannot be ended; what it returns too late counts for nothing."""
    attempts = 0
    begun, go_on = threading.Event(), threading.Event()

    @step(name="slow", max_attempts=2, timeout="200 ms", backoff=NO_DELAY)
    async def slow() -> int:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            begun.set()
            await asyncio.Event().wait()
        return attempts

    @step(name="slow", max_attempts=2, timeout="200 ms", backoff=NO_DELAY)
    def slow_thread() -> int:
        nonlocal attempts
        attempts += 1
        mine = attempts
        if mine == 1:
            begun.set()
            go_on.wait(60)
        return mine

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.step(slow_thread) if blocking else await ctx.step(slow)

    async def has_begun() -> bool:
        return begun.is_set()

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(has_begun)
        # The limit passes meanwhile, in the same event loop.
        await asyncio.sleep(0.3)
        go_on.set()
        assert await handle.result("60s") == 2


async def test_a_step_out_of_time_for_good_fails_with_a_code_of_its_own(store: StateStore) -> None:
    @step(timeout="5 ms")
    async def slow() -> None:
        await asyncio.Event().wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> str | None:
        try:
            await ctx.step(slow)
        except StepFailedError as error:
            return error.code
        return "no error"

    async with running_engine(store, flow) as engine:
        assert await (await engine.start(flow)).result("60s") == "step_timeout"


async def test_an_attempt_that_ran_out_of_time_counts_after_a_crash_as_well(store: StateStore) -> None:
    """It is recorded like any other failure: another process does not begin to count anew."""
    attempts = 0

    @step(max_attempts=2, timeout="5 ms", backoff=fixed("1h"))
    async def slow() -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.Event().wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> str | None:
        try:
            await ctx.step(slow)
        except StepFailedError as error:
            return f"{error.code} after {error.attempts}"
        return "no error"

    clock = HandClock()
    async with killed_worker(store, flow, clock=clock) as first:
        handle = await first.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        (row,) = await store.list_checkpoints(handle.run_id)
        assert (row.status, row.attempts, row.error and row.error.code) == (CheckpointStatus.PENDING, 1, "step_timeout")
    clock.move(hours=1)
    async with running_engine(store, flow, clock=clock) as second:
        await until(lambda: has_status(handle, RunStatus.COMPLETED))
        assert await second.handle(handle.run_id).result() == "step_timeout after 2"
    assert attempts == 2


async def test_a_timeout_error_of_the_steps_own_is_a_failure_like_any_other(store: StateStore) -> None:
    @step(timeout="1 min")
    async def fail() -> None:
        raise TimeoutError("the shop did not answer")

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.step(fail)
        except StepFailedError as error:
            return f"{error.code} {error.error.message}"
        return "no error"

    async with running_engine(store, flow) as engine:
        assert await (await engine.start(flow)).result("60s") == "None the shop did not answer"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Unreadable(), "its text cannot be read"),
        (SystemExit(3), "3"),
        (asyncio.CancelledError("not the worker's"), "not the worker's"),
        (ExceptionGroup("two", [ValueError("a"), ValueError("b")]), "two"),
        (Abort("the end"), "the end"),
        (StopIteration("over"), "StopIteration"),
        (ValueError("a\x00b\ud800"), r"a\\x00b\\ud800"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
@pytest.mark.parametrize("blocking", [False, True], ids=["async def", "def"])
async def test_whatever_a_step_raises_is_recorded_as_its_failure(
    store: StateStore, error: BaseException, message: str, blocking: bool
) -> None:
    @step(name="fail")
    async def fail() -> None:
        raise error

    @step(name="fail")
    def fail_in_a_thread() -> None:
        raise error

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await (ctx.step(fail_in_a_thread) if blocking else ctx.step(fail))

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError, match=f"step 'fail' failed after 1 attempt: .*{message}"):
            await handle.result("60s")
    (row,) = await store.list_checkpoints(handle.run_id)
    assert row.status is CheckpointStatus.FAILED


@pytest.mark.parametrize(
    "result",
    [object(), float("nan"), "\x00", "\ud800", 10**5000, lambda: None],
    ids=["object", "nan", "nul", "surrogate", "huge", "function"],
)
async def test_a_result_that_cannot_be_stored_fails_the_step_at_once(store: StateStore, result: Any) -> None:
    """Another attempt would meet the same obstacle."""
    executions = 0

    @step(max_attempts=5)
    async def report() -> Any:
        nonlocal executions
        executions += 1
        return result

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(report)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError, match=r"the result of step '.*report' cannot be stored"):
            await handle.result("60s")
    assert executions == 1


async def test_a_result_of_another_type_than_declared_fails_the_step(store: StateStore) -> None:
    @step
    async def report() -> int:
        return "many"  # type: ignore[return-value]

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(report)

    async with running_engine(store, flow) as engine:
        with pytest.raises(RunFailedError, match="cannot be stored"):
            await (await engine.start(flow)).result("60s")


async def test_a_fatal_error_in_a_thread_ends_the_attempts_too(store: StateStore) -> None:
    executions = 0

    @step(max_attempts=5)
    def fail() -> None:
        nonlocal executions
        executions += 1
        raise FatalError("stolen", code="stolen")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(fail)

    async with running_engine(store, flow) as engine:
        with pytest.raises(RunFailedError) as caught:
            await (await engine.start(flow)).result("60s")
    assert executions == 1
    assert caught.value.code == "stolen"


async def test_blocking_steps_do_not_hold_up_the_event_loop(store: StateStore) -> None:
    """They meet at a barrier: each needs the others to be under way."""
    barrier = threading.Barrier(3)

    @step
    def meet(value: int) -> int:
        barrier.wait(10)
        return value

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        return list(await asyncio.gather(*(ctx.step(meet, value) for value in range(3))))

    async with running_engine(store, flow) as engine:
        assert await (await engine.start(flow)).result("60s") == [0, 1, 2]


async def test_a_transaction_body_that_hangs_is_ended_at_its_timeout(store: StateStore) -> None:
    async def hang(tx: object) -> None:
        await asyncio.Event().wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.transaction(hang, timeout="20 ms")

    async with running_engine(store, flow) as engine:
        with pytest.raises(RunFailedError, match="the transaction was undone: it was not finished within"):
            await (await engine.start(flow)).result("60s")


async def test_a_failed_transaction_is_recorded_and_not_tried_again_on_a_replay(store: StateStore) -> None:
    executions = 0

    async def book(tx: object) -> None:
        nonlocal executions
        executions += 1
        raise ValueError("sold out")

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.transaction(book)
        except StepFailedError as error:
            await ctx.sleep("60 ms")
            return error.error.message
        return "no error"

    async with running_engine(store, flow) as engine:
        assert await (await engine.start(flow)).result("60s") == "sold out"
    assert executions == 1


async def test_a_step_is_called_as_it_is_declared(store: StateStore) -> None:
    @step
    async def takes_one(value: int) -> None: ...

    @step
    async def takes_none() -> None: ...

    def blocking(tx: object) -> None: ...

    @workflow
    async def flow(ctx: WorkflowContext, how: str) -> None:
        if how == "input is missing":
            await ctx.step(takes_one)
        elif how == "input is too much":
            await ctx.step(takes_none, 1)  # type: ignore[arg-type]
        elif how == "name is wrong":
            await ctx.step(takes_none, name="a\x00b")
        elif how == "no attempts":
            await ctx.step(takes_none, max_attempts=0)
        else:
            await ctx.transaction(blocking)  # type: ignore[arg-type]

    wrong = ["input is missing", "input is too much", "name is wrong", "no attempts", "blocking transaction"]
    async with running_engine(store, flow) as engine:
        for how in wrong:
            with pytest.raises(RunFailedError) as caught:
                await (await engine.start(flow, how)).result("60s")
            assert caught.value.error is not None
            assert caught.value.error.type == DefinitionError.__name__


async def test_an_input_that_cannot_be_stored_is_refused_before_the_step_runs(store: StateStore) -> None:
    executions = 0

    @step
    async def work(value: Any) -> None:
        nonlocal executions
        executions += 1

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(work, object())

    async with running_engine(store, flow) as engine:
        with pytest.raises(RunFailedError, match=r"the input of step '.*work' cannot be stored"):
            await (await engine.start(flow)).result("60s")
    assert executions == 0
