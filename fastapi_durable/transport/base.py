"""The port that carries step attempts from the engine to the process that executes them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from fastapi_durable.model.records import ErrorRecord, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTask:
    """One attempt of a step, in a form that can leave the process.

    All attempts of a step have the same `step_id`. Use it as an idempotency key for other systems.
    """

    run_id: str
    seq: int
    step_id: str
    name: str
    input: Json
    attempt: int
    namespace: str
    priority: int | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """How an attempt ended: with an output or with an error. `events` are what its logger collected."""

    output: Json = None
    error: ErrorRecord | None = None
    events: tuple[Json, ...] = ()


StepHandler = Callable[[StepTask], Awaitable[StepOutcome]]
"""Executes an attempt in this process. It reports a step's failure in the outcome and raises only when cancelled."""


class Transport(Protocol):
    """Carries attempts to the process that executes them. Retries, timeouts and checkpoints stay with the engine."""

    async def start(self) -> None:
        """Open what the transport needs. The engine calls it once, before the first `execute`."""
        ...

    async def stop(self) -> None:
        """Close the transport. The engine calls it once, after the last `execute` has returned or was cancelled."""
        ...

    async def execute(self, task: StepTask, handler: StepHandler) -> StepOutcome:
        """Have an attempt executed, through `handler` in this process or elsewhere.

        Cancelling the call abandons the attempt.

        Args:
            task: The attempt.
            handler: Function that executes an attempt in this process.

        Returns:
            The outcome of the attempt.
        """
        ...
