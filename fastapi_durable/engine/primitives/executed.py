"""The surroundings of the application's functions: of steps, transactions, and operations of entities.

Each has a log, interceptors, and live events for its start, its log and its end.
"""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any, Generic, TypeVar

from fastapi_durable.engine.core.interception import Intercepted, StepExecution
from fastapi_durable.engine.core.tracing import with_step_spans
from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.engine.turns.body_task import is_interruption, take_back_own_cancels
from fastapi_durable.engine.turns.step_log import RunningStepLog
from fastapi_durable.engine.turns.step_stream import AttemptStreams
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, Json
from fastapi_durable.transport.base import StepOutcome

R = TypeVar("R")

_NOTHING_AROUND = nullcontext()


class Executed(Primitive[R], Generic[R]):
    """A call that executes a function of the application."""

    @property
    def shown_as(self) -> str:
        """Return the name of the function in logs, interceptors and live events."""
        return self.name

    @property
    def execution_id(self) -> str:
        """Return the id of the execution, also for the outside world. It is the same on every attempt."""
        return self.step_id

    def log_of(self, attempt: int, streams: AttemptStreams | None = None) -> RunningStepLog:
        """Return the log of an attempt that is about to run."""
        turn, seq, name = self.turn, self.seq, self.shown_as
        kernel = turn.kernel
        return RunningStepLog(
            step_id=self.execution_id,
            run_id=turn.run.id,
            name=name,
            attempt=attempt,
            now=kernel.clock.now,
            encode=lambda data: kernel.codec.encode(data, Any, what="the data of a step's event"),
            tell=lambda event: kernel.events.step(
                "step.progress", turn.run, seq, name, attempt=attempt, progress=event
            ),
            streams=streams,
        )

    def intercepted(self, attempt: int) -> AbstractAsyncContextManager[None]:
        """Return the contexts of the interceptors around one execution."""
        interceptors = with_step_spans(self.turn.kernel.interceptors)
        if not interceptors:
            return _NOTHING_AROUND
        run = self.turn.run
        execution = StepExecution(
            run_id=run.id,
            workflow=run.workflow,
            workflow_version=run.workflow_version,
            namespace=run.namespace,
            seq=self.seq,
            step_id=self.execution_id,
            name=self.shown_as,
            attempt=attempt,
            traceparent=run.traceparent,
        )
        return Intercepted(interceptors, execution, is_interruption)

    async def uncancelled(self, outcome: StepOutcome) -> StepOutcome:
        """Return the outcome of an attempt, although code of the application may have cancelled its own task."""
        try:
            await take_back_own_cancels()
        except asyncio.CancelledError as error:
            if is_interruption(error):
                raise
            return StepOutcome(error=error_record(error), events=outcome.events)
        return outcome

    def tell_start(self, attempt: int) -> None:
        """Emit the live event that an attempt begins."""
        self.turn.kernel.events.step("step.started", self.turn.run, self.seq, self.shown_as, attempt=attempt)

    def tell_end(self, ended: Checkpoint, output: Json) -> None:
        """Emit the live event of how the last attempt ended, once that is stored.

        Args:
            output: What the function returned.
        """
        events = self.turn.kernel.events
        if not events.are_heard:
            return
        self.turn.held.tell(
            partial(
                events.step,
                "step.completed" if ended.status is CheckpointStatus.COMPLETED else "step.failed",
                self.turn.run,
                ended.seq,
                self.shown_as,
                attempt=ended.attempts,
                output=output,
                error=ended.error,
                duration=ended.finished_at - ended.started_at,
            )
        )
