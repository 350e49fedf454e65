"""`ctx.step`: a function whose result is recorded, with attempts, backoff and a limit for each attempt.

Order of writes: a failed attempt is recorded (`pending`, with the time of the next one) before the wait for the next.
The result is recorded before anything happens after it, see `engine/turns/held.py`. A crash before that repeats the
attempt, so a step runs at least once. Its `step_id` is the same each time.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from fastapi_durable.declare.definition import StepDefinition, StepPolicy
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.engine.primitives.attempts import Attempted
from fastapi_durable.engine.turns.body_task import is_interruption, take_back_own_cancels
from fastapi_durable.engine.turns.position import inside_step
from fastapi_durable.engine.turns.step_log import RunningStepLog, logged_as_current
from fastapi_durable.engine.turns.step_stream import AttemptStreams
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import SerializationError
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, ErrorRecord, Json
from fastapi_durable.transport.base import StepOutcome, StepTask, Transport
from fastapi_durable.transport.threads import Called, StillWorkingError, Threads

_log = logging.getLogger("fastapi_durable")


class Step(Attempted):
    """One call of a step.

    Args:
        transport: Carries its attempts, instead of the engine's transport.

    Raises:
        StepFailedError: it failed for good.
        SerializationError: the input has no JSON form, or the stored output does not fit the return type.
    """

    called = "step"

    def __init__(
        self,
        turn: Turn,
        seq: int,
        definition: StepDefinition,
        policy: StepPolicy,
        value: Any,
        transport: Transport | None = None,
    ) -> None:
        super().__init__(turn, seq, definition, policy, value)
        self._transport = transport or turn.kernel.transport

    async def attempt(self, number: int, started_at: datetime, earlier: tuple[Json, ...]) -> Checkpoint | StepOutcome:
        run = self.turn.run
        task = StepTask(
            run_id=run.id,
            seq=self.seq,
            step_id=self.step_id,
            name=self.name,
            input=self.input,
            attempt=number,
            namespace=run.namespace,
            priority=run.priority,
            traceparent=run.traceparent,
        )
        streams = self._streams(number)
        log = self.log_of(number, streams)
        announcement = _Announcement(self, number, started_at, earlier)
        try:
            outcome = await self._tried(task, log, streams, started_at, earlier)
        except BaseException:
            streams.end()
            if not announcement.is_over():
                await announcement.settle()
            raise
        streams.end()

        async def conclude() -> Checkpoint | StepOutcome:
            await announcement.settle()
            await self._keep(streams)
            if outcome.error is not None:
                # An abandoned attempt did not return its log, so take it from the running log.
                return outcome if outcome.events else replace(outcome, events=log.events)
            return await self.turn.hold(self.success(outcome.output, number, started_at, earlier, outcome.events))

        if announcement.is_over() and streams.run is None:
            return await conclude()
        # The step was executed. A cancel that comes before its result is recorded must not hide that.
        return await self.turn.life.finish(conclude)

    async def _tried(
        self,
        task: StepTask,
        log: RunningStepLog,
        streams: AttemptStreams,
        started_at: datetime,
        earlier: tuple[Json, ...],
    ) -> StepOutcome:
        """Return how one attempt ends. If an abandoned attempt completed in its thread, its success is recorded."""
        late: list[StepOutcome] = []
        try:
            return await self._carried(task, log, late.append)
        except asyncio.CancelledError as error:
            for given_up in late:
                row = self.success(given_up.output, task.attempt, started_at, earlier, given_up.events)

                async def record(row: Checkpoint = row) -> None:
                    await self._keep(streams)
                    await self.turn.record(row)

                # A cancel with compensation must undo it.
                await self.turn.life.finish(record)
            # A task in which a transport executed the attempt may raise this.
            if is_interruption(error):
                raise
            return self.failed(error, log.events)

    def _streams(self, number: int) -> AttemptStreams:
        """Return the streams to which an attempt may append."""
        turn = self.turn
        writer = turn.kernel.streams
        return AttemptStreams(
            partial(writer.of, turn.run.id, turn.token), turn.kernel.codec, self.execution_id, number, writer.max_size
        )

    async def _keep(self, streams: AttemptStreams) -> None:
        """Store the items that the attempt appended, before its outcome is recorded: a replay does not append them
        again.
        """
        if streams.run is not None:
            await self.turn.persist(streams.run.flush)

    async def _carried(self, task: StepTask, log: RunningStepLog, late: Callable[[StepOutcome], None]) -> StepOutcome:
        """Execute one attempt through the transport, within its time limit."""
        if self.policy.timeout is None:
            return await self._transport.execute(task, lambda task: self._execute(task, log, late))
        limit = asyncio.timeout(self.policy.timeout.total_seconds())
        try:
            async with limit:
                return await self._transport.execute(task, lambda task: self._execute(task, log, late))
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"the attempt took longer than {self.policy.timeout}"
            retryable = self.retryable(TimeoutError(message))
            return StepOutcome(
                error=ErrorRecord(message=message, code="step_timeout", type="TimeoutError", retryable=retryable)
            )

    async def _execute(self, task: StepTask, log: RunningStepLog, late: Callable[[StepOutcome], None]) -> StepOutcome:
        """Execute an attempt in this process, with its dependencies and interceptors.

        Args:
            late: Receives the success of an abandoned attempt that completed in its thread.
        """
        kernel, definition = self.turn.kernel, self.definition
        codec, label = kernel.codec, f"step {definition.name!r}"

        def hand_in_late(result: Any) -> None:
            if inspect.iscoroutine(result):
                result.close()
                return
            try:
                output = codec.encode(result, definition.output_type, what=f"the result of {label}")
            except SerializationError as error:
                _log.warning("%s of run %s was given up, and returned too late: %s", label, task.run_id, error)
            else:
                late(StepOutcome(output=output, events=log.events))

        try:
            value = codec.decode(task.input, definition.input_type, what=f"the input of {label}")
            with logged_as_current(log):
                async with (
                    self.intercepted(task.attempt),
                    kernel.injector.provide(definition.function) as dependencies,
                ):
                    with inside_step(definition.name), kernel.executions.noted(task.run_id, definition.name):
                        try:
                            result = await call(
                                definition,
                                value,
                                dependencies,
                                threads=kernel.threads,
                                called=Called(
                                    name=f"{label} of run {task.run_id}", key=task.step_id, owner=task.run_id
                                ),
                                late=hand_in_late,
                            )
                        finally:
                            if self.turn.life.tasks.self_cancelled:
                                await take_back_own_cancels()
            output = codec.encode(result, definition.output_type, what=f"the result of {label}")
        except StillWorkingError as error:
            outcome = StepOutcome(error=ErrorRecord(message=str(error), code="step_still_working", type="TimeoutError"))
        except BaseException as error:
            if is_interruption(error):
                raise
            outcome = self.failed(error, log.events)
        else:
            outcome = StepOutcome(output=output, events=log.events)
        return await self.uncancelled(outcome) if self.turn.life.tasks.self_cancelled else outcome


async def call(
    definition: StepDefinition,
    value: Any,
    dependencies: dict[str, Any],
    *,
    threads: Threads,
    called: Called,
    late: Callable[[Any], None] | None = None,
) -> Any:
    """Call a step's function. A plain `def` runs in a thread, and continues there if the call is abandoned.

    Args:
        late: Function that receives what such a thread returns afterwards.
    """
    arguments = () if definition.input_type is NoInput else (value,)
    if not definition.blocking:
        return await definition.function(*arguments, **dependencies)
    result = await threads.call(lambda: definition.function(*arguments, **dependencies), called, late=late)
    # Only the result of a lambda shows whether it is asynchronous.
    return await result if inspect.isawaitable(result) else result


class _Announcement:
    """Stores that a step is running, but only if it takes long. So a short step costs one write."""

    def __init__(self, step: Step, attempt: int, started_at: datetime, earlier: tuple[Json, ...]) -> None:
        self._step = step
        self._attempt = attempt
        self._started_at = started_at
        self._earlier = earlier
        self._write: asyncio.Task[Any] | None = None
        self._timer = step.turn.kernel.until_shown.call(self._begin)

    def _begin(self) -> None:
        self._write = asyncio.create_task(self._announce())

    async def _announce(self) -> None:
        step = self._step
        row = step.row(
            CheckpointStatus.RUNNING,
            input=step.input,
            events=self._earlier,
            attempts=self._attempt,
            started_at=self._started_at,
        )
        await step.turn.record(row)

    def is_over(self) -> bool:
        """Cancel the announcement. Return False if it is being written, or was written, and must be settled."""
        self._timer.cancel()
        return self._write is None

    async def settle(self) -> None:
        """Wait for the announcement's write before the outcome is written."""
        if self._write is not None:
            try:
                await asyncio.wait({self._write})
            except asyncio.CancelledError:
                # The store hangs, or cannot be reached. Leave no task behind.
                self._write.cancel()
                raise
            if not self._write.cancelled() and (error := self._write.exception()) is not None:
                raise error
