"""Accumulators: the engine's own runs that collect events before they start a workflow.

`__evtacc__:<workflow>` is the run's id and the token of its signals. Starting the workflow and recording that is one
transaction. After each start, or many events, the run goes on in place with an empty history and what it still holds.
"""

import logging
from collections import deque
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NoReturn

from pydantic import BaseModel

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.context.base import turn_of
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.subscription import Refusal
from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.primitives.signal import Signal
from fastapi_durable.engine.runs.create import admit_or_refuse, names_of_beginning, report
from fastapi_durable.engine.starting.triggered_run import triggered_run
from fastapi_durable.engine.turns.outcome import Continuation
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.duration import parse_duration
from fastapi_durable.model.errors import InputValidationError, SignalTimeoutError, WorkflowNotRegisteredError
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, Json
from fastapi_durable.model.reserved import ACCUMULATOR, engine_id, other_event

_log = logging.getLogger("fastapi_durable")

_EVENTS_PER_LIFE = 100
_REMEMBERED_IDS = 500


class Collected(BaseModel):
    """The input of an accumulator: what it collects for, and what it held when its history was emptied."""

    target: str
    windowMs: int  # noqa: N815 (the reference's name in the database)
    maxSize: int | None = None  # noqa: N815
    events: list[dict[str, Any]] = []
    until: datetime | None = None
    seen: list[str] = []


def accumulator_token(namespace: str, target: str) -> str:
    return engine_id(ACCUMULATOR, namespace, target)


def accumulator_workflow(definition: WorkflowDefinition) -> str:
    return "__evt_batch" if definition.batch is not None else "__evt_debounce"


def accumulator_input(definition: WorkflowDefinition) -> Json:
    """The input of a new accumulator, as it is stored."""
    batch = definition.batch
    window = parse_duration(batch.within) if batch is not None else definition.debounce or timedelta(0)
    input: dict[str, Json] = {"target": definition.name, "windowMs": round(window / timedelta(milliseconds=1))}
    return input if batch is None else {**input, "maxSize": batch.max_size}


async def debounce(ctx: WorkflowContext, input: Collected) -> None:
    """Start the target with the last event, once no other came for the window."""
    turn, held = turn_of(ctx), input.events
    seen = deque(input.seen, maxlen=_REMEMBERED_IDS)
    window = timedelta(milliseconds=input.windowMs)
    for _ in range(_EVENTS_PER_LIFE):
        try:
            event = await _next_event(turn, window if held else None)
        except SignalTimeoutError:
            await TargetStart(turn, turn.take_position(), input.target, held[-1], held[-1]["payload"]).perform()
            held = []
            break
        if (known := _identity(event)) not in seen:
            seen.append(known)
            held = [event]
    _go_on(turn, input, events=held, until=None, seen=list(seen))


async def batch(ctx: WorkflowContext, input: Collected) -> None:
    """Start the target with all events once there are enough, or once the first has waited for the window."""
    turn, held, until = turn_of(ctx), list(input.events), input.until
    seen = deque(input.seen, maxlen=_REMEMBERED_IDS)
    for _ in range(_EVENTS_PER_LIFE):
        event: dict[str, Any] | None = None
        if len(held) < (input.maxSize or 1):
            # The deadline of the wait is recorded, so a replay does not look at the clock.
            remaining = None if until is None else max(timedelta(0), until - turn.kernel.clock.now())
            with suppress(SignalTimeoutError):
                event = await _next_event(turn, remaining)
        if event is None:
            collected = {"events": [event["payload"] for event in held]}
            await TargetStart(turn, turn.take_position(), input.target, held[-1], collected).perform()
            held, until = [], None
            break
        if (known := _identity(event)) not in seen:
            seen.append(known)
            held.append(event)
            if until is None:
                until = await ctx.now() + timedelta(milliseconds=input.windowMs)
    _go_on(turn, input, events=held, until=until, seen=list(seen))


def _identity(event: dict[str, Any]) -> str:
    """Tells the event from all others: ids of events are those of a name."""
    event_id, name = str(event["id"]), event.get("event")
    return event_id if name is None else f"{other_event(name)}{event_id}"


async def _next_event(turn: Turn, timeout: timedelta | None) -> dict[str, Any]:
    deadline_seq = None if timeout is None else turn.take_position()
    wait = Signal(turn, turn.take_position(), turn.run.id, dict[str, Any], deadline_seq, timeout)
    event: dict[str, Any] = await wait.perform()
    return event


class TargetStart(Primitive[None]):
    """Starts the target as a run of its own: it outlives the accumulator, and is not cancelled with it.

    Args:
        last: The latest of the events; the run has its id and its trace.
    """

    def __init__(self, turn: Turn, seq: int, target: str, last: dict[str, Any], payload: Json) -> None:
        super().__init__(turn, seq, f"start:{target}")
        self._target = target
        self._last = last
        self._payload = payload
        self._refusal: Refusal | None = None

    async def act(self) -> Checkpoint:
        kernel = self.turn.kernel
        recorded = await self.commit(self._create)
        if self._refusal is not None:
            report(kernel, self._refusal)
        kernel.notifications.work_available()
        return recorded

    async def _create(self) -> Checkpoint:
        turn, target, last = self.turn, self._target, self._last
        started, error, run = None, None, None
        try:
            definition = turn.kernel.registry.get(target)
            run = triggered_run(
                turn.kernel,
                definition,
                last["id"],
                self._payload,
                turn.run.namespace,
                last.get("traceparent"),
                last.get("event"),
            )
        except WorkflowNotRegisteredError as unknown:
            # Another worker has it, or will have it: what was collected must not be lost.
            turn.block(unknown)
        except InputValidationError as unfit:
            _log.error("collected events do not start workflow %r: %s", target, unfit)
        async with turn.transaction() as transaction:
            if run is not None:
                for lock in names_of_beginning(definition, run):
                    await transaction.lock_name(lock)
            await own_run(turn, transaction)
            if run is not None:
                admitted = await admit_or_refuse(transaction, definition, run)
                if isinstance(admitted, Refusal):
                    self._refusal, error = admitted, admitted.error
                else:
                    started = admitted.run.id
            row = self.row(CheckpointStatus.COMPLETED, output=started, error=error)
            return await self.record_in(transaction, row)

    def returns(self, _: Json) -> None:
        """Nothing."""


def _go_on(turn: Turn, input: Collected, **held: Any) -> NoReturn:
    encoded = turn.kernel.codec.encode(
        input.model_copy(update=held), Collected, what=f"what {turn.run.id!r} has collected"
    )
    turn.continue_as_new(Continuation(input=encoded, in_place=True))


def accumulators() -> list[WorkflowDefinition]:
    """The engine's own workflows that collect events."""
    return [
        WorkflowDefinition(
            name=name, version="1", function=function, input_type=Collected, output_type=type(None), origin=None
        )
        for name, function in (("__evt_debounce", debounce), ("__evt_batch", batch))
    ]
