"""Attempts: tried until one succeeds or none is left, each failure recorded before the wait for the next.

What happens is told live as it is stored: the start of each attempt, and how the last one ended.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from fastapi_durable.declare.definition import StepDefinition, StepPolicy
from fastapi_durable.engine.core.interception import Intercepted, StepExecution
from fastapi_durable.engine.turns.earlier_attempts import and_this, attempts_before
from fastapi_durable.engine.turns.step_log import RunningStepLog
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import StepFailedError
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, ErrorRecord, Json
from fastapi_durable.transport.base import StepOutcome

Attempt = Callable[[int, datetime, tuple[Json, ...]], Awaitable[Checkpoint | StepOutcome]]
"""Executes one attempt, given its number, its start, and the events that tell of earlier ones, to be recorded with it.

Returns the recorded success, or how it failed.
"""


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
    clock, events = turn.kernel.clock, turn.kernel.events
    failed = 0
    while True:
        if recorded is not None and recorded.status is CheckpointStatus.PENDING:
            failed = recorded.attempts
            await _wait_for_retry(turn, recorded)
        elif recorded is not None and recorded.status is CheckpointStatus.RUNNING:
            # Its process died, or lost the lease, before it knew the outcome.
            failed = recorded.attempts - 1
        number = failed + 1
        earlier = attempts_before(recorded)
        started_at = clock.now()
        events.step("step.started", turn.run, seq, name, attempt=number)
        outcome = await attempt(number, started_at, earlier)
        if isinstance(outcome, Checkpoint):
            _tell_end(turn, outcome)
            return outcome
        error = outcome.error or ErrorRecord(message="the step failed")
        final = error.retryable is False or number >= policy.max_attempts
        wake_at = None if final else _next_attempt_at(turn, policy, number)
        if not final:
            earlier = and_this(earlier, number, error, started_at, clock.now())
        recorded = await turn.record(
            turn.checkpoint(
                seq,
                CheckpointKind.LOCAL,
                name,
                CheckpointStatus.FAILED if final else CheckpointStatus.PENDING,
                input=input,
                error=error,
                events=(*earlier, *outcome.events),
                attempts=number,
                wake_at=wake_at,
                started_at=started_at,
            )
        )
        if recorded.status.is_finished:
            _tell_end(turn, recorded)
            return recorded
        # The attempt is recorded, so a worker that stops can leave the next one to another.
        turn.check_open()


def outcome_of(turn: Turn, definition: StepDefinition, recorded: Checkpoint) -> Any:
    """The decoded result of a finished checkpoint.

    Raises:
        StepFailedError: it is a failure.
    """
    if recorded.status is CheckpointStatus.FAILED:
        error = recorded.error or ErrorRecord(message="the step failed")
        raise turn.failed(recorded.seq, StepFailedError(definition.name, error, recorded.attempts))
    label = f"the result of step {definition.name!r}"
    return turn.kernel.codec.decode(recorded.output, definition.output_type, what=label)


def log_of(turn: Turn, seq: int, name: str, attempt: int) -> RunningStepLog:
    """The log of an attempt that is about to run."""
    kernel = turn.kernel
    return RunningStepLog(
        step_id=turn.step_id(seq),
        run_id=turn.run.id,
        name=name,
        attempt=attempt,
        now=kernel.clock.now,
        encode=lambda data: kernel.codec.encode(data, Any, what="the data of a step's event"),
        tell=lambda event: kernel.events.step("step.progress", turn.run, seq, name, attempt=attempt, progress=event),
    )


def intercepted(turn: Turn, seq: int, name: str, attempt: int) -> Intercepted:
    """What surrounds a real execution."""
    run, kernel = turn.run, turn.kernel
    execution = StepExecution(
        run_id=run.id,
        workflow=run.workflow,
        workflow_version=run.workflow_version,
        namespace=run.namespace,
        seq=seq,
        step_id=turn.step_id(seq),
        name=name,
        attempt=attempt,
        traceparent=run.traceparent,
    )
    return Intercepted(kernel.interceptors, execution)


def _tell_end(turn: Turn, ended: Checkpoint) -> None:
    if not turn.kernel.events.are_heard:
        return
    turn.kernel.events.step(
        "step.completed" if ended.status is CheckpointStatus.COMPLETED else "step.failed",
        turn.run,
        ended.seq,
        ended.name,
        attempt=ended.attempts,
        output=ended.output,
        error=ended.error,
        duration=ended.finished_at - ended.started_at,
    )


def _next_attempt_at(turn: Turn, policy: StepPolicy, failed: int) -> datetime:
    """When the attempt after `failed` failed ones may start."""
    kernel = turn.kernel
    return kernel.clock.now() + policy.backoff.delay(failed, kernel.random)


async def _wait_for_retry(turn: Turn, recorded: Checkpoint) -> None:
    """Return when the retry is due; a wait that is not short suspends the run instead."""
    clock = turn.kernel.clock
    remaining = None if recorded.wake_at is None else recorded.wake_at - clock.now()
    if remaining is None or remaining.total_seconds() <= 0:
        return
    if remaining > turn.kernel.config.inline_retry_below:
        await turn.park(recorded.wake_at)
    await clock.sleep(remaining)
