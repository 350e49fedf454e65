"""`ctx.step`: a function whose result is recorded, with attempts, backoff and a limit for each attempt.

Order of writes: a failed attempt is recorded (`pending`, with the time of the next one) before the wait for the next;
the result is recorded before the body sees it. A crash during an attempt repeats that attempt, so a step runs at least
once; its `step_id` is the same each time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import anyio.to_thread

from fastapi_durable.definition import NoInput, StepDefinition, StepPolicy
from fastapi_durable.engine.failure import error_record
from fastapi_durable.engine.position import inside_step
from fastapi_durable.engine.turn import Interrupt, Turn
from fastapi_durable.errors import InjectionError, OutsideWorkflowError, SerializationError, StepFailedError
from fastapi_durable.model import Checkpoint, CheckpointKind, CheckpointStatus, ErrorRecord, Json
from fastapi_durable.transport.base import StepOutcome, StepTask

NOT_A_FAILURE = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, Interrupt)
"""What ends a step's execution from outside; everything else that it raises is its own failure."""

Attempt = Callable[[int, datetime], Awaitable[Checkpoint | ErrorRecord]]
"""Executes one attempt, given its number and start; returns the recorded success, or the failure."""


async def run_step(turn: Turn, seq: int, definition: StepDefinition, policy: StepPolicy, value: Any) -> Any:
    """Execute the step, or return what is recorded of it.

    Raises:
        StepFailedError: it failed for good.
        SerializationError: the input has no JSON form, or the stored output does not fit the return type.
    """
    codec, transport = turn.services.codec, turn.services.transport
    label = f"step {definition.name!r}"
    async with turn.under_way():
        recorded = turn.recorded(seq, CheckpointKind.LOCAL, definition.name)
        if recorded is None or not recorded.status.is_finished:
            encoded = codec.encode(value, definition.input_type, what=f"the input of {label}")

            async def attempt(number: int, started_at: datetime) -> Checkpoint | ErrorRecord:
                task = StepTask(
                    run_id=turn.run.id,
                    seq=seq,
                    step_id=turn.step_id(seq),
                    name=definition.name,
                    input=encoded,
                    attempt=number,
                    namespace=turn.run.namespace,
                    priority=turn.run.priority,
                    traceparent=turn.run.traceparent,
                )
                announcement = _Announcement(turn, task, started_at)
                try:
                    outcome = await _within(
                        policy, lambda: transport.execute(task, lambda task: _execute(turn, definition, task))
                    )
                finally:
                    await announcement.settle()
                if outcome.error is not None:
                    return outcome.error
                return await turn.record(
                    turn.checkpoint(
                        seq,
                        CheckpointKind.LOCAL,
                        definition.name,
                        CheckpointStatus.COMPLETED,
                        input=encoded,
                        output=outcome.output,
                        events=outcome.events,
                        attempts=number,
                        started_at=started_at,
                    )
                )

            recorded = await run_attempts(turn, seq, definition.name, policy, recorded, attempt, input=encoded)
        return outcome_of(turn, definition, recorded)


async def run_attempts(
    turn: Turn,
    seq: int,
    name: str,
    policy: StepPolicy,
    recorded: Checkpoint | None,
    attempt: Attempt,
    *,
    input: Json,
) -> Checkpoint:
    """Try until an attempt succeeds or none is left; return the finished checkpoint that is stored then."""
    clock = turn.services.clock
    failed = 0
    while True:
        if recorded is not None and recorded.status is CheckpointStatus.PENDING:
            failed = recorded.attempts
            await _wait_for_retry(turn, recorded)
        elif recorded is not None and recorded.status is CheckpointStatus.RUNNING:
            # Its process died, or lost the lease, before it knew the outcome.
            failed = recorded.attempts - 1
        number = failed + 1
        started_at = clock.now()
        outcome = await attempt(number, started_at)
        if isinstance(outcome, Checkpoint):
            return outcome
        final = outcome.retryable is False or number >= policy.max_attempts
        wake_at = None if final else _next_attempt_at(turn, policy, number)
        recorded = await turn.record(
            turn.checkpoint(
                seq,
                CheckpointKind.LOCAL,
                name,
                CheckpointStatus.FAILED if final else CheckpointStatus.PENDING,
                input=input,
                error=outcome,
                attempts=number,
                wake_at=wake_at,
                started_at=started_at,
            )
        )
        if recorded.status.is_finished:
            return recorded
        # The attempt is recorded, so a worker that stops can leave the next one to another.
        turn.check_open()


def _next_attempt_at(turn: Turn, policy: StepPolicy, failed: int) -> datetime:
    """When the attempt after `failed` failed ones may start."""
    services = turn.services
    return services.clock.now() + policy.backoff.delay(failed, services.random)


async def _wait_for_retry(turn: Turn, recorded: Checkpoint) -> None:
    """Return when the retry is due; a wait that is not short suspends the run instead."""
    clock = turn.services.clock
    remaining = None if recorded.wake_at is None else recorded.wake_at - clock.now()
    if remaining is None or remaining.total_seconds() <= 0:
        return
    if remaining > turn.services.config.retry_in_turn_below:
        await turn.park(recorded.wake_at)
    await clock.sleep(remaining)


def outcome_of(turn: Turn, definition: StepDefinition, recorded: Checkpoint) -> Any:
    """The decoded result of a finished checkpoint.

    Raises:
        StepFailedError: it is a failure.
    """
    if recorded.status is CheckpointStatus.FAILED:
        error = recorded.error or ErrorRecord(message="the step failed")
        raise StepFailedError(definition.name, error, recorded.attempts)
    label = f"the result of step {definition.name!r}"
    return turn.services.codec.decode(recorded.output, definition.output_type, what=label)


async def _within(policy: StepPolicy, execute: Callable[[], Awaitable[StepOutcome]]) -> StepOutcome:
    """One attempt under its time limit."""
    if policy.timeout is None:
        return await execute()
    limit = asyncio.timeout(policy.timeout.total_seconds())
    try:
        async with limit:
            return await execute()
    except TimeoutError:
        if not limit.expired():
            raise
        message = f"the attempt took longer than {policy.timeout}"
        return StepOutcome(error=ErrorRecord(message=message, code="step_timeout", type="TimeoutError"))


async def _execute(turn: Turn, definition: StepDefinition, task: StepTask) -> StepOutcome:
    """Execute an attempt in this process, dependencies and all."""
    codec = turn.services.codec
    label = f"step {definition.name!r}"
    try:
        value = codec.decode(task.input, definition.input_type, what=f"the input of {label}")
        async with turn.services.injector.provide(definition.function) as dependencies:
            with inside_step(definition.name):
                result = await call(definition, value, dependencies)
        output = codec.encode(result, definition.output_type, what=f"the result of {label}")
    except (SerializationError, InjectionError, OutsideWorkflowError) as error:
        # Another attempt would meet the same obstacle.
        return StepOutcome(error=error_record(error, retryable=False))
    except asyncio.CancelledError as error:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        return StepOutcome(error=error_record(error))
    except NOT_A_FAILURE:
        raise
    except BaseException as error:
        return StepOutcome(error=error_record(error))
    return StepOutcome(output=output)


async def call(definition: StepDefinition, value: Any, dependencies: dict[str, Any]) -> Any:
    """Call the step's function; a plain `def` in a worker thread."""
    arguments = () if definition.input_type is NoInput else (value,)
    if definition.blocking:
        return await anyio.to_thread.run_sync(
            lambda: definition.function(*arguments, **dependencies), abandon_on_cancel=True
        )
    return await definition.function(*arguments, **dependencies)


class _Announcement:
    """Shows a step as running in the store, but only once it takes long: a short step costs one write."""

    def __init__(self, turn: Turn, task: StepTask, started_at: datetime) -> None:
        self._turn = turn
        self._task = task
        self._started_at = started_at
        self._write: asyncio.Task[Any] | None = None
        delay = turn.services.config.running_row_after.total_seconds()
        self._timer = asyncio.get_running_loop().call_later(delay, self._begin)

    def _begin(self) -> None:
        self._write = asyncio.create_task(self._announce())

    async def _announce(self) -> None:
        turn, task = self._turn, self._task
        checkpoint = turn.checkpoint(
            task.seq,
            CheckpointKind.LOCAL,
            task.name,
            CheckpointStatus.RUNNING,
            input=task.input,
            attempts=task.attempt,
            started_at=self._started_at,
        )
        await turn.record(checkpoint)

    async def settle(self) -> None:
        """Finish the write, if there is one, before the outcome is written."""
        self._timer.cancel()
        if self._write is not None:
            try:
                await asyncio.wait({self._write})
            except asyncio.CancelledError:
                # The store hangs, or cannot be reached: leave no task behind.
                self._write.cancel()
                raise
            if not self._write.cancelled() and (error := self._write.exception()) is not None:
                raise error
