"""`ctx.transaction`: the body's writes and the checkpoint commit together, so the body takes effect exactly once.

The checkpoint is written last and only under the turn's lease. A worker that lost the run meanwhile, or finds that
another one was faster, rolls its own writes back.
"""

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Any

from fastapi_durable.declare.definition import StepDefinition, StepPolicy
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.engine.primitives.step import NOT_A_FAILURE
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.engine.turns.attempts import intercepted, log_of, outcome_of, run_attempts
from fastapi_durable.engine.turns.position import inside_step
from fastapi_durable.engine.turns.step_log import logged_as_current
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import (
    DefinitionError,
    InjectionError,
    LeaseLostError,
    OutsideWorkflowError,
    SerializationError,
    StoreConflictError,
    StoreUnavailableError,
    TransactionExpiredError,
)
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, Json
from fastapi_durable.transport.base import StepOutcome


class _AlreadyRecorded(Exception):
    """Somebody else finished this position first; leaving the transaction with it rolls the body's writes back."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint


async def run_transaction(
    turn: Turn, seq: int, definition: StepDefinition, policy: StepPolicy, value: Any, *, timeout: timedelta
) -> Any:
    """Execute the body in a transaction, or return what is recorded of it.

    Raises:
        StepFailedError: it failed for good; nothing that it wrote remains.
    """
    if definition.blocking:
        raise DefinitionError(f"the transaction {definition.name!r} must be `async def`: it awaits the database client")
    async with turn.under_way():
        recorded = await turn.recorded(seq, CheckpointKind.LOCAL, definition.name)
        if recorded is None or not recorded.status.is_finished:
            encoded = turn.kernel.codec.encode(
                value, definition.input_type, what=f"the input of transaction {definition.name!r}"
            )

            async def attempt(number: int, started_at: datetime, earlier: tuple[Json, ...]) -> Checkpoint | StepOutcome:
                # If the connection breaks during COMMIT, only the next try shows whether it went through.
                return await turn.persist(
                    lambda: _commit(turn, seq, definition, encoded, number, started_at, earlier, timeout)
                )

            recorded = await run_attempts(turn, seq, definition.name, policy, recorded, attempt, input=encoded)
        return outcome_of(turn, definition, recorded)


async def _commit(
    turn: Turn,
    seq: int,
    definition: StepDefinition,
    encoded: Any,
    number: int,
    started_at: datetime,
    earlier: tuple[Json, ...],
    timeout: timedelta,
) -> Checkpoint | StepOutcome:
    codec, kernel = turn.kernel.codec, turn.kernel
    log = log_of(turn, seq, definition.name, number)

    def failed(error: BaseException, *, retryable: bool | None = None) -> StepOutcome:
        return StepOutcome(error=error_record(error, retryable=retryable), events=log.events)

    try:
        value = codec.decode(encoded, definition.input_type, what=f"the input of transaction {definition.name!r}")
        with logged_as_current(log):
            async with (
                intercepted(turn, seq, definition.name, number),
                kernel.injector.provide(definition.function) as dependencies,
                kernel.store.transaction(timeout=timeout) as transaction,
            ):
                arguments = () if definition.input_type is NoInput else (value,)
                with inside_step(definition.name), kernel.executions.noted(turn.run.id, definition.name):
                    result = await _within(timeout, definition.function(transaction.client, *arguments, **dependencies))
                output = codec.encode(
                    result, definition.output_type, what=f"the result of transaction {definition.name!r}"
                )
                checkpoint = turn.checkpoint(
                    seq,
                    CheckpointKind.LOCAL,
                    definition.name,
                    CheckpointStatus.COMPLETED,
                    input=encoded,
                    output=output,
                    events=(*earlier, *log.events),
                    attempts=number,
                    started_at=started_at,
                )
                recorded = await transaction.record_checkpoint(checkpoint, token=turn.token)
                if not recorded.won:
                    raise _AlreadyRecorded(recorded.checkpoint)
    except _AlreadyRecorded as other:
        turn.remember(other.checkpoint)
        return other.checkpoint
    except (LeaseLostError, StoreConflictError, StoreUnavailableError):
        raise
    except (SerializationError, InjectionError, OutsideWorkflowError) as error:
        return failed(error, retryable=False)
    except NOT_A_FAILURE:
        raise
    except BaseException as error:
        return failed(error)
    # As it is stored, not as it was given: a database may order an object's keys anew.
    turn.remember(recorded.checkpoint)
    return recorded.checkpoint


async def _within(timeout: timedelta, body: Awaitable[Any]) -> Any:
    """The body's result. The store undoes a transaction that takes too long, but cannot stop the body that waits."""
    limit = asyncio.timeout(timeout.total_seconds())
    try:
        async with limit:
            return await body
    except TimeoutError:
        if limit.expired():
            raise TransactionExpiredError(timeout) from None
        raise
