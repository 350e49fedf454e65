"""Attempts of a call, until one succeeds or none is left. Each failure is recorded before the wait for the next
attempt.

Live events report what is stored: the start of each attempt, and how the last one ended.
"""

import logging
from abc import abstractmethod
from datetime import datetime
from typing import Any, ClassVar

from fastapi_durable.declare.codec import is_its_own_form
from fastapi_durable.declare.definition import StepDefinition, StepPolicy
from fastapi_durable.engine.primitives.executed import Executed
from fastapi_durable.engine.runs.failure import attribute_of, error_record, named, storable_record
from fastapi_durable.engine.turns.earlier_attempts import and_this, attempts_before
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import InjectionError, OutsideWorkflowError, SerializationError, StepFailedError
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, ErrorRecord, Json
from fastapi_durable.transport.base import StepOutcome

_log = logging.getLogger("fastapi_durable")


class Attempted(Executed[Any]):
    """A call of a function of the application with several attempts.

    Args:
        value: Its input, or None.

    Attributes:
        called: How messages call the function.
        input: The encoded input, set before the first attempt.
    """

    needs_output_only = True
    called: ClassVar[str]

    def __init__(self, turn: Turn, seq: int, definition: StepDefinition, policy: StepPolicy, value: Any) -> None:
        self.turn = turn
        self.seq = seq
        self.name = definition.name
        self.definition = definition
        self.policy = policy
        self.input: Json = None
        self._value = value

    @abstractmethod
    async def attempt(self, number: int, started_at: datetime, earlier: tuple[Json, ...]) -> Checkpoint | StepOutcome:
        """Execute one attempt. Return its success, recorded or held, or how it failed.

        Args:
            earlier: Events about earlier attempts, recorded with this one.
        """

    async def act(self) -> Checkpoint:
        """Repeat attempts until one succeeds or none is left.

        Raises:
            SerializationError: the input has no JSON form.
        """
        turn, recorded = self.turn, self.begun
        self.input = turn.kernel.codec.encode(
            self._value, self.definition.input_type, what=f"the input of {self.called} {self.name!r}"
        )
        clock = turn.kernel.clock
        failed = 0
        while True:
            if recorded is not None and recorded.status is CheckpointStatus.PENDING:
                failed = recorded.attempts
                await self._wait_for_retry(recorded)
            elif recorded is not None and recorded.status is CheckpointStatus.RUNNING:
                # The process died, or lost the lease, before it recorded the outcome.
                failed = recorded.attempts - 1
            number = failed + 1
            earlier = attempts_before(recorded)
            started_at = clock.now()
            self.tell_start(number)
            outcome = await self.attempt(number, started_at, earlier)
            recorded = (
                outcome
                if isinstance(outcome, Checkpoint)
                else await self._keep_failure(outcome, number, started_at, earlier)
            )
            if recorded.status.is_finished:
                self.tell_end(recorded, recorded.output)
                return recorded
            # The attempt is recorded, so a worker that stops can leave the next attempt to another worker.
            turn.life.check_open()

    def success(
        self, output: Json, number: int, started_at: datetime, earlier: tuple[Json, ...], events: tuple[Json, ...]
    ) -> Checkpoint:
        """Return the row of a successful attempt."""
        return self.row(
            CheckpointStatus.COMPLETED,
            input=self.input,
            output=output,
            events=(*earlier, *events),
            attempts=number,
            started_at=started_at,
        )

    def failed(self, error: BaseException, events: tuple[Json, ...] = ()) -> StepOutcome:
        """Return the outcome of an attempt that raised an error."""
        return StepOutcome(error=error_record(error, retryable=self.retryable(error)), events=events)

    def retryable(self, error: BaseException) -> bool | None:
        """Return False if the error ends the attempts. None: their number decides."""
        kind: type[BaseException] = type(error)
        # Another attempt would fail in the same way. Only a result that does not fit its type may differ next time.
        if issubclass(kind, (InjectionError, OutsideWorkflowError)):
            return False
        if issubclass(kind, SerializationError) and not attribute_of(error, "misfit"):
            return False
        try:
            return False if self.policy.gives_up(error) else None
        except Exception as broken:
            _log.error(
                "%s %r of run %s: retry_on or give_up_on raised %s, so the number of attempts decides",
                self.called,
                self.name,
                self.turn.run.id,
                named(broken),
            )
            return None

    async def _keep_failure(
        self, outcome: StepOutcome, number: int, started_at: datetime, earlier: tuple[Json, ...]
    ) -> Checkpoint:
        """Record a failed attempt: as the last one, or as one that waits for the next."""
        kernel, policy = self.turn.kernel, self.policy
        error = storable_record(outcome.error or ErrorRecord(message="the step failed"))
        status, wake_at = CheckpointStatus.FAILED, None
        if error.retryable is not False and number < policy.max_attempts:
            now = kernel.clock.now()
            status, wake_at = CheckpointStatus.PENDING, now + policy.backoff.delay(number, kernel.random)
            earlier = and_this(earlier, number, error, started_at, now)
        row = self.row(
            status,
            input=self.input,
            error=error,
            events=(*earlier, *outcome.events),
            attempts=number,
            wake_at=wake_at,
            started_at=started_at,
        )
        return await (self.turn.hold(row) if status.is_finished else self.turn.record(row))

    async def _wait_for_retry(self, recorded: Checkpoint) -> None:
        """Return when the retry is due. A longer wait suspends the run instead."""
        clock = self.turn.kernel.clock
        remaining = None if recorded.wake_at is None else recorded.wake_at - clock.now()
        if remaining is None or remaining.total_seconds() <= 0:
            return
        if remaining <= self.turn.kernel.config.inline_retry_below:
            await clock.sleep(remaining)
            return
        while recorded.wake_at is not None and recorded.wake_at > clock.now():
            await self.turn.life.park(recorded.wake_at)

    def returns(self, output: Json) -> Any:
        definition = self.definition
        if is_its_own_form(output, definition.output_type):
            return output
        codec = self.turn.kernel.codec
        return codec.decode(output, definition.output_type, what=f"the result of step {definition.name!r}")

    def raises(self, recorded: Checkpoint) -> Exception:
        error = recorded.error or ErrorRecord(message="the step failed")
        return StepFailedError(self.name, error, recorded.attempts)
