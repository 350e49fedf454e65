"""`ctx.transaction`: the body's writes and the checkpoint commit together, so the body takes effect exactly once.

The checkpoint is written last, and only under the turn's lease. A worker that has lost the run, or finds the position
already recorded, rolls its writes back.
"""

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from fastapi_durable.declare.definition import StepDefinition, StepPolicy
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.engine.primitives.attempts import Attempted
from fastapi_durable.engine.turns.body_task import is_interruption, take_back_own_cancels
from fastapi_durable.engine.turns.position import inside_step
from fastapi_durable.engine.turns.step_log import logged_as_current
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import (
    DefinitionError,
    LeaseLostError,
    StoreConflictError,
    StoreUnavailableError,
    TransactionExpiredError,
)
from fastapi_durable.model.records import Checkpoint, Json
from fastapi_durable.transport.base import StepOutcome


class _AlreadyRecorded(Exception):
    """Another turn finished this position first. Leaving the transaction with this error rolls the body's writes
    back.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint


class Transaction(Attempted):
    """One call of a function in a transaction.

    Args:
        timeout: Limit of the transaction, and so of one attempt.

    Raises:
        StepFailedError: it failed for good. Nothing that it wrote remains.
    """

    called = "transaction"

    def __init__(
        self,
        turn: Turn,
        seq: int,
        definition: StepDefinition,
        policy: StepPolicy,
        value: Any,
        timeout: timedelta,
    ) -> None:
        super().__init__(turn, seq, definition, policy, value)
        self._timeout = timeout

    async def perform(self) -> Any:
        """See `Primitive`. A plain `def` cannot await the client, so it is refused, also on every replay."""
        if self.definition.blocking:
            raise DefinitionError(f"the function of transaction {self.name!r} must be `async def`, got a plain `def`")
        return await super().perform()

    async def attempt(self, number: int, started_at: datetime, earlier: tuple[Json, ...]) -> Checkpoint | StepOutcome:
        # If the connection breaks during COMMIT, only the next try shows whether it went through.
        return await self.turn.persist(partial(self._execute, number, started_at, earlier))

    async def _execute(self, number: int, started_at: datetime, earlier: tuple[Json, ...]) -> Checkpoint | StepOutcome:
        kernel, definition, history = self.turn.kernel, self.definition, self.turn.history
        codec, label = kernel.codec, f"transaction {definition.name!r}"
        log = self.log_of(number)
        try:
            value = codec.decode(self.input, definition.input_type, what=f"the input of {label}")
            with logged_as_current(log):
                async with (
                    self.intercepted(number),
                    kernel.injector.provide(definition.function) as dependencies,
                    kernel.store.transaction(timeout=self._timeout) as transaction,
                ):
                    arguments = () if definition.input_type is NoInput else (value,)
                    with inside_step(definition.name), kernel.executions.noted(self.turn.run.id, definition.name):
                        try:
                            result = await self._in_time(
                                definition.function(transaction.client, *arguments, **dependencies)
                            )
                        finally:
                            # Before the rollback of the transaction, because that awaits.
                            if self.turn.life.tasks.self_cancelled:
                                await take_back_own_cancels()
                    output = codec.encode(result, definition.output_type, what=f"the result of {label}")
                    row = self.success(output, number, started_at, earlier, log.events)
                    recorded = await transaction.record_checkpoint(row, token=self.turn.token)
                    if not recorded.won:
                        raise _AlreadyRecorded(recorded.checkpoint)
        except _AlreadyRecorded as other:
            history.add(other.checkpoint)
            return other.checkpoint
        except (LeaseLostError, StoreConflictError, StoreUnavailableError):
            raise
        except BaseException as error:
            if is_interruption(error):
                raise
            return self.failed(error, log.events)
        # Compare with the stored form, because a database may reorder an object's keys.
        history.add(recorded.checkpoint)
        return recorded.checkpoint

    async def _in_time(self, body: Awaitable[Any]) -> Any:
        """Return the result within the time limit. The store rolls back a transaction that takes too long, but cannot
        stop a waiting function.
        """
        limit = asyncio.timeout(self._timeout.total_seconds())
        try:
            async with limit:
                return await body
        except TimeoutError:
            if limit.expired():
                raise TransactionExpiredError(self._timeout) from None
            raise
