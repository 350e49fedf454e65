"""`ctx.step`: a function whose result is recorded, with attempts, backoff and a limit for each attempt.

Order of writes: a failed attempt is recorded (`pending`, with the time of the next one) before the wait for the next;
the result is recorded before the body sees it. A crash during an attempt repeats that attempt, so a step runs at least
once; its `step_id` is the same each time.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from fastapi_durable.declare.definition import StepDefinition, StepPolicy
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.engine.turns.attempts import intercepted, log_of, outcome_of, run_attempts
from fastapi_durable.engine.turns.outcome import Interrupt
from fastapi_durable.engine.turns.position import inside_step
from fastapi_durable.engine.turns.step_log import RunningStepLog, logged_as_current
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import InjectionError, OutsideWorkflowError, SerializationError
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, ErrorRecord, Json
from fastapi_durable.transport.base import StepOutcome, StepTask, Transport
from fastapi_durable.transport.threads import Called, StillWorkingError, Threads

_log = logging.getLogger("fastapi_durable")

NOT_A_FAILURE = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, Interrupt)
"""What ends a step's execution from outside; everything else that it raises is its own failure."""


async def run_step(
    turn: Turn,
    seq: int,
    definition: StepDefinition,
    policy: StepPolicy,
    value: Any,
    *,
    transport: Transport | None = None,
) -> Any:
    """Execute the step, or return what is recorded of it.

    Args:
        transport: Instead of the engine's own.

    Raises:
        StepFailedError: it failed for good.
        SerializationError: the input has no JSON form, or the stored output does not fit the return type.
    """
    codec, carrier = turn.kernel.codec, transport or turn.kernel.transport
    label = f"step {definition.name!r}"
    if (result := turn.result_at(seq, CheckpointKind.LOCAL, definition.name)) is not None:
        # Most of a replay.
        turn.pass_by()
        return codec.decode(result[0], definition.output_type, what=f"the result of {label}")
    async with turn.under_way():
        recorded = await turn.recorded(seq, CheckpointKind.LOCAL, definition.name)
        if recorded is None or not recorded.status.is_finished:
            encoded = codec.encode(value, definition.input_type, what=f"the input of {label}")

            async def attempt(number: int, started_at: datetime, earlier: tuple[Json, ...]) -> Checkpoint | StepOutcome:
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
                log = log_of(turn, seq, definition.name, number)

                def success(outcome: StepOutcome) -> Checkpoint:
                    return turn.checkpoint(
                        seq,
                        CheckpointKind.LOCAL,
                        definition.name,
                        CheckpointStatus.COMPLETED,
                        input=encoded,
                        output=outcome.output,
                        events=(*earlier, *outcome.events),
                        attempts=number,
                        started_at=started_at,
                    )

                announcement = _Announcement(turn, task, started_at, earlier)
                late: list[StepOutcome] = []
                try:
                    outcome = await _within(
                        policy,
                        lambda: carrier.execute(task, lambda task: _execute(turn, definition, task, log, late.append)),
                    )
                except asyncio.CancelledError:
                    for outcome in late:
                        # It was given up, but its thread did all of it: a cancel with compensation has to undo that.
                        await turn.record(success(outcome))
                    raise
                finally:
                    if not announcement.is_over():
                        await announcement.settle()
                if outcome.error is not None:
                    # An attempt that was given up did not hand in what it said.
                    return outcome if outcome.events else replace(outcome, events=log.events)
                return await turn.record(success(outcome))

            recorded = await run_attempts(turn, seq, definition.name, policy, recorded, attempt, input=encoded)
        return outcome_of(turn, definition, recorded)


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


async def _execute(
    turn: Turn, definition: StepDefinition, task: StepTask, log: RunningStepLog, late: Callable[[StepOutcome], None]
) -> StepOutcome:
    """Execute an attempt in this process, dependencies, interceptors and all.

    Args:
        late: Gets the success of an attempt that was given up while it went on in its thread.
    """
    codec, kernel = turn.kernel.codec, turn.kernel
    label = f"step {definition.name!r}"

    def failed(error: BaseException, *, retryable: bool | None = None) -> StepOutcome:
        return StepOutcome(error=error_record(error, retryable=retryable), events=log.events)

    def succeeded(result: Any) -> StepOutcome:
        output = codec.encode(result, definition.output_type, what=f"the result of {label}")
        return StepOutcome(output=output, events=log.events)

    def hand_in_late(result: Any) -> None:
        if inspect.iscoroutine(result):
            result.close()
            return
        try:
            late(succeeded(result))
        except SerializationError as error:
            _log.warning("%s of run %s was given up, and returned too late: %s", label, task.run_id, error)

    try:
        value = codec.decode(task.input, definition.input_type, what=f"the input of {label}")
        with logged_as_current(log):
            async with (
                intercepted(turn, task.seq, definition.name, task.attempt),
                kernel.injector.provide(definition.function) as dependencies,
            ):
                with inside_step(definition.name), kernel.executions.noted(task.run_id, definition.name):
                    result = await call(
                        definition,
                        value,
                        dependencies,
                        threads=kernel.threads,
                        called=Called(name=f"{label} of run {task.run_id}", key=task.step_id, owner=task.run_id),
                        late=hand_in_late,
                    )
        return succeeded(result)
    except StillWorkingError as error:
        return StepOutcome(error=ErrorRecord(message=str(error), code="step_still_working", type="TimeoutError"))
    except (SerializationError, InjectionError, OutsideWorkflowError) as error:
        # Another attempt would meet the same obstacle.
        return failed(error, retryable=False)
    except asyncio.CancelledError as error:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        return failed(error)
    except NOT_A_FAILURE:
        raise
    except BaseException as error:
        return failed(error)


async def call(
    definition: StepDefinition,
    value: Any,
    dependencies: dict[str, Any],
    *,
    threads: Threads,
    called: Called,
    late: Callable[[Any], None] | None = None,
) -> Any:
    """Call the step's function; a plain `def` in a thread, where it goes on if the call is given up.

    Args:
        late: Gets what such a thread returns after all.
    """
    arguments = () if definition.input_type is NoInput else (value,)
    if not definition.blocking:
        return await definition.function(*arguments, **dependencies)
    result = await threads.call(lambda: definition.function(*arguments, **dependencies), called, late=late)
    # Of a lambda, only the result shows that it is asynchronous.
    return await result if inspect.isawaitable(result) else result


class _Announcement:
    """Shows a step as running in the store, but only once it takes long: a short step costs one write."""

    def __init__(self, turn: Turn, task: StepTask, started_at: datetime, earlier: tuple[Json, ...]) -> None:
        self._turn = turn
        self._task = task
        self._started_at = started_at
        self._earlier = earlier
        self._write: asyncio.Task[Any] | None = None
        self._timer = turn.kernel.until_shown.call(self._begin)

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
            events=self._earlier,
            attempts=task.attempt,
            started_at=self._started_at,
        )
        await turn.record(checkpoint)

    def is_over(self) -> bool:
        """Make no announcement any more; False: one is being written, or was, and has to be settled."""
        self._timer.cancel()
        return self._write is None

    async def settle(self) -> None:
        """Finish the write before the outcome is written."""
        if self._write is not None:
            try:
                await asyncio.wait({self._write})
            except asyncio.CancelledError:
                # The store hangs, or cannot be reached: leave no task behind.
                self._write.cancel()
                raise
            if not self._write.cancelled() and (error := self._write.exception()) is not None:
                raise error
