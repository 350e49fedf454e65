"""Accumulators: the engine's own runs that collect events before they start a workflow.

`__evtacc__:<workflow>` is the id of the run and the token of its signals. Starting the workflow and recording the start
is one transaction. After each start, or many events, the run restarts in place, with an empty history and the events
that it still holds.

Each event carries the `debounce=` or `batch=` of the process that published it, and the latest event's option applies
to all collected events. So a deploy changes the option with its first event, and processes of two deploys may publish
and drive at the same time. The run's workflow is named after the option with which it was created. That name means
nothing later.
"""

import logging
from collections import deque
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.context.base import turn_of
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.subscription import Event, Refusal
from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.primitives.signal import Signal
from fastapi_durable.engine.runs.create import admit_or_refuse, names_of_beginning, report
from fastapi_durable.engine.starting.triggered_run import name_in_id, triggered_run
from fastapi_durable.engine.turns.outcome import Continuation
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.duration import parse_duration
from fastapi_durable.model.errors import InputValidationError, SignalTimeoutError, WorkflowNotRegisteredError
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, Json, Run
from fastapi_durable.model.reserved import ACCUMULATOR, engine_id, other_event

_log = logging.getLogger("fastapi_durable")

_EVENTS_PER_LIFE = 100
_REMEMBERED_IDS = 500
_STARTS_AT_ONCE = 50
"""Maximum number of runs created in one transaction."""
_RULE = "rule"
"""Key of an event's data under which the publisher's `Rule` is stored."""


class Rule(BaseModel):
    """How events are collected. With a `maxSize` they are a batch. Without one, only the last event counts."""

    windowMs: int  # noqa: N815 (the reference's name in the database)
    maxSize: int | None = None  # noqa: N815

    @property
    def window(self) -> timedelta:
        return timedelta(milliseconds=self.windowMs)


class Collected(Rule):
    """The input of an accumulator: its target workflow, and the events that it held at its last restart."""

    target: str
    events: list[dict[str, Any]] = []
    until: datetime | None = None
    seen: list[str] = []


def accumulator_token(namespace: str, target: str) -> str:
    return engine_id(ACCUMULATOR, namespace, target)


def accumulator_workflow(definition: WorkflowDefinition) -> str:
    return "__evt_batch" if definition.batch is not None else "__evt_debounce"


def accumulator_input(definition: WorkflowDefinition) -> Json:
    """Return the stored input of a new accumulator."""
    return {"target": definition.name, **_rule_of(definition)}


def accumulator_event(definition: WorkflowDefinition, event: Event) -> Json:
    """Return an event as it is sent to an accumulator."""
    told: dict[str, Json] = {"id": event.id, "payload": event.payload, _RULE: _rule_of(definition)}
    if (other_name := name_in_id(definition, event.name)) is not None:
        told["event"] = other_name
    if event.traceparent is not None:
        told["traceparent"] = event.traceparent
    return told


def _rule_of(definition: WorkflowDefinition) -> dict[str, Json]:
    batch = definition.batch
    window = parse_duration(batch.within) if batch is not None else definition.debounce or timedelta(0)
    rule: dict[str, Json] = {"windowMs": round(window / timedelta(milliseconds=1))}
    return rule if batch is None else {**rule, "maxSize": batch.max_size}


async def collect(ctx: WorkflowContext, input: Collected) -> None:
    """Collect events until they start the target, or the history is long enough; then continue in place."""
    turn, held, until = turn_of(ctx), list(input.events), input.until
    seen = deque(input.seen, maxlen=_REMEMBERED_IDS)
    rule = Rule(windowMs=input.windowMs, maxSize=input.maxSize)
    for _ in range(_EVENTS_PER_LIFE):
        event: dict[str, Any] | None = None
        if rule.maxSize is None or len(held) < rule.maxSize:
            # The deadline of the wait is recorded, so a replay does not look at the clock.
            with suppress(SignalTimeoutError):
                event = await _next_event(turn, _limit(turn, rule, held, until))
        if event is None:
            await _start(turn, input.target, held, rule)
            held, until = [], None
            break
        # The publisher's rule is recorded with the event. So a replay, or a worker of another deploy, decides the same.
        published = event.get(_RULE)
        event = {name: value for name, value in event.items() if name != _RULE}
        if (known := _identity(event)) in seen:
            continue
        seen.append(known)
        before, rule = rule, rule if published is None else Rule.model_validate(published)
        if rule.maxSize is not None:
            held.append(event)
            if until is None:
                until = await ctx.now() + rule.window
            elif rule.window != before.window:
                # Counted from the first event.
                until += rule.window - before.window
            continue
        earlier, held, until = held, [event], None
        if before.maxSize is not None and earlier:
            # The batch has become a debounce, under which only the last event would count. All events of the batch must
            # be delivered, so start the target first.
            await _start(turn, input.target, earlier, before)
            break
    going_on = {"events": held, "until": until, "seen": list(seen), **rule.model_dump()}
    encoded = turn.kernel.codec.encode(
        input.model_copy(update=going_on), Collected, what=f"what {turn.run.id!r} has collected"
    )
    turn.continue_as_new(Continuation(input=encoded, in_place=True))


def _limit(turn: Turn, rule: Rule, held: list[dict[str, Any]], until: datetime | None) -> timedelta | None:
    """Return how long to wait for the next event. None: without limit."""
    if rule.maxSize is None:
        return rule.window if held else None
    return None if until is None else max(timedelta(0), until - turn.kernel.clock.now())


async def _start(turn: Turn, target: str, events: list[dict[str, Any]], rule: Rule) -> None:
    """Start the target with all of these events. A batch that has become too large is split."""
    while events:
        some = events[: rule.maxSize]
        begun = await TargetStart(turn, turn.take_position(), target, some).perform()
        events = events[begun:]


def _identity(event: dict[str, Any]) -> str:
    """Return what identifies the event. Ids are unique only within an event name."""
    event_id, name = str(event["id"]), event.get("event")
    return event_id if name is None else f"{other_event(name)}{event_id}"


async def _next_event(turn: Turn, timeout: timedelta | None) -> dict[str, Any]:
    deadline_seq = None if timeout is None else turn.take_position()
    wait = Signal(turn, turn.take_position(), turn.run.id, dict[str, Any], deadline_seq, timeout)
    event: dict[str, Any] = await wait.perform()
    return event


class TargetStart(Primitive[int]):
    """Starts the target workflow as runs without a parent, so they outlive the accumulator and are not cancelled with
    it.

    It returns how many events were started, counted from the first one.

    Args:
        events: The collected events. If this process declares the target with `batch=`, they start one run together.
            Otherwise each event starts a run. So the input fits, even if a deploy has introduced or removed the batch.
    """

    def __init__(self, turn: Turn, seq: int, target: str, events: list[dict[str, Any]]) -> None:
        super().__init__(turn, seq, f"start:{target}")
        self._target = target
        self._events = events
        self._refusals: list[Refusal] = []

    async def act(self) -> Checkpoint:
        kernel = self.turn.kernel
        recorded = await self.commit(self._create)
        for refusal in self._refusals:
            report(kernel, refusal)
        kernel.notifications.work_available()
        return recorded

    async def _create(self) -> Checkpoint:
        turn = self.turn
        try:
            definition = turn.kernel.registry.get(self._target)
        except WorkflowNotRegisteredError as unknown:
            # This worker does not know the target. The collected events wait for a worker that does.
            turn.block(unknown)
        wanted = self._wanted(definition)
        self._refusals = []
        started: list[str | None] = []
        async with turn.transaction() as transaction:
            # Lock in one order everywhere, whatever the order of the events.
            for lock in sorted({lock for run in wanted if run for lock in names_of_beginning(definition, run)}):
                await transaction.lock_name(lock)
            await own_run(turn, transaction)
            for run in wanted:
                admitted = None if run is None else await admit_or_refuse(transaction, definition, run)
                if isinstance(admitted, Refusal):
                    self._refusals.append(admitted)
                started.append(None if admitted is None or isinstance(admitted, Refusal) else admitted.run.id)
            # Recorded in the transaction that creates the runs: a crash before the commit leaves all events to the next
            # turn, and a crash after it none.
            output: Json = started[0] if len(started) == 1 else started
            error = self._refusals[0].error if self._refusals else None
            return await self.record_in(transaction, self.row(CheckpointStatus.COMPLETED, output=output, error=error))

    def _wanted(self, definition: WorkflowDefinition) -> list[Run | None]:
        """Return the runs to start. None stands for events that do not fit the target's input."""
        events, target = self._events, self._target
        if definition.batch is not None:
            return [self._run(definition, events[-1], {"events": [event["payload"] for event in events]})]
        if len(events) > 1:
            _log.info("workflow %r no longer declares a batch: each of %d events starts a run", target, len(events))
        return [self._run(definition, event, event["payload"]) for event in events[:_STARTS_AT_ONCE]]

    def _run(self, definition: WorkflowDefinition, last: dict[str, Any], payload: Json) -> Run | None:
        """Return the run of some events. It has the id and the trace of the latest event."""
        turn, namespace = self.turn, self.turn.run.namespace
        try:
            return triggered_run(
                turn.kernel, definition, last["id"], payload, namespace, last.get("traceparent"), last.get("event")
            )
        except InputValidationError as unfit:
            _log.error("collected events do not start workflow %r: %s", self._target, unfit)
            return None

    def returns(self, output: Json) -> int:
        return len(output) if isinstance(output, list) else len(self._events)


def accumulators() -> list[WorkflowDefinition]:
    """Return the engine's own workflows that collect events."""
    return [
        WorkflowDefinition(
            name=name, version="1", function=collect, input_type=Collected, output_type=type(None), origin=None
        )
        for name in ("__evt_debounce", "__evt_batch")
    ]
