"""Live events of runs and steps, for logs, metrics and live views of this process.

Nothing durable depends on them. An event reports what was stored just before. To miss nothing, read the store.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from fastapi_durable.model.clock import Clock
from fastapi_durable.model.records import CheckpointKind, ErrorRecord, Json, Run

_log = logging.getLogger("fastapi_durable")

LiveEventType = Literal[
    "run.started",
    "run.suspended",
    "run.blocked",
    "run.completed",
    "run.failed",
    "run.cancelled",
    "run.dead",
    "run.refused",
    "step.started",
    "step.progress",
    "step.completed",
    "step.failed",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvent:
    """Something that happened to a run or to one of its steps.

    Attributes:
        seq: Position of the step.
        name: Name of the step.
        kind: Kind of the step.
        attempt: Number of the attempt, from 1.
        output: Output of the step or run that completed.
        error: Error of the step or run that failed.
        duration: Of a step, how long the attempt took. Of a run, the time since it was created.
        progress: What the step's logger recorded, as it is stored.
    """

    type: LiveEventType
    at: datetime
    run_id: str
    workflow: str
    namespace: str
    seq: int | None = None
    name: str | None = None
    kind: CheckpointKind | None = None
    attempt: int | None = None
    output: Json = None
    error: ErrorRecord | None = None
    duration: timedelta | None = None
    progress: Json = None


Listener = Callable[[LiveEvent], None]


class LiveEvents:
    """Passes live events to listeners. A listener that raises is logged, and changes nothing."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call a function for every event from now on.

        Args:
            listener: Function that receives the event. It runs in the event loop, and must return quickly. To await
                something, use `stream`.

        Returns:
            A function that removes the listener.
        """
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    @property
    def are_heard(self) -> bool:
        """Whether there is a listener."""
        return bool(self._listeners)

    @contextmanager
    def stream(self, *, run_id: str | None = None, limit: int = 1000) -> Iterator[AsyncIterator[LiveEvent]]:
        """Yield an iterator over the events that happen while the block is open.

        Args:
            run_id: Id of the run whose events are wanted. None: the events of all runs.
            limit: Maximum number of events that wait for a slow reader. Beyond it, the oldest ones are lost.
        """
        kept: deque[LiveEvent] = deque(maxlen=limit)
        arrived = asyncio.Event()

        def keep(event: LiveEvent) -> None:
            if run_id is None or event.run_id == run_id:
                kept.append(event)
                arrived.set()

        async def read() -> AsyncIterator[LiveEvent]:
            while True:
                while kept:
                    yield kept.popleft()
                arrived.clear()
                await arrived.wait()

        stop = self.listen(keep)
        try:
            yield read()
        finally:
            stop()

    def run(self, type: LiveEventType, run: Run, *, output: Json = None, error: ErrorRecord | None = None) -> None:
        """Report what happened to a run.

        Args:
            type: Kind of event.
            run: The run.
            output: Output of a run that completed.
            error: Error of a run that failed.
        """
        if self.are_heard:
            self._tell(type, run, output=output, error=error, since=run.created_at)

    def step(
        self,
        type: LiveEventType,
        run: Run,
        seq: int,
        name: str,
        *,
        attempt: int,
        output: Json = None,
        error: ErrorRecord | None = None,
        duration: timedelta | None = None,
        progress: Json = None,
    ) -> None:
        """Report what happened to a step.

        Args:
            type: Kind of event.
            run: The run of the step.
            seq: Position of the step.
            name: Name of the step.
            attempt: Number of the attempt, from 1.
            output: Output of a step that completed.
            error: Error of a step that failed.
            duration: How long the attempt took.
            progress: What the step's logger recorded.
        """
        if self.are_heard:
            self._tell(
                type,
                run,
                seq=seq,
                name=name,
                kind=CheckpointKind.LOCAL,
                attempt=attempt,
                output=output,
                error=error,
                duration=duration,
                progress=progress,
            )

    def _tell(
        self,
        type: LiveEventType,
        run: Run,
        *,
        output: Json,
        error: ErrorRecord | None,
        seq: int | None = None,
        name: str | None = None,
        kind: CheckpointKind | None = None,
        attempt: int | None = None,
        duration: timedelta | None = None,
        progress: Json = None,
        since: datetime | None = None,
    ) -> None:
        now = self.clock.now()
        event = LiveEvent(
            type=type,
            at=now,
            run_id=run.id,
            workflow=run.workflow,
            namespace=run.namespace,
            seq=seq,
            name=name,
            kind=kind,
            attempt=attempt,
            output=output,
            error=error,
            duration=duration if since is None else now - since,
            progress=progress,
        )
        self.pass_on(event)

    def pass_on(self, event: LiveEvent) -> None:
        """Call every listener with an event.

        Args:
            event: The event.
        """
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                _log.exception("a listener failed at %s of run %s", event.type, event.run_id)
