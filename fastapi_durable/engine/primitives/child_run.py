"""Finds the run that a body requests as a child: a new run, or an existing run of this id."""

from dataclasses import dataclass

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.runs.chain import successor_of
from fastapi_durable.engine.runs.create import QUEUE_FULL, Parent, admit, new_run
from fastapi_durable.engine.runs.lineage import descends
from fastapi_durable.engine.runs.queues import Place
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import SingletonQueueFullError
from fastapi_durable.model.records import ErrorRecord, Json, Run
from fastapi_durable.store.base import StoreTransaction


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRequest:
    """A child as the body requests it. `input` is encoded."""

    run_id: str
    definition: WorkflowDefinition
    input: Json
    priority: int | None
    queue: str | None = None
    fairness_key: str | None = None
    parallel_group: str | None = None


@dataclass(frozen=True, slots=True)
class Created:
    """There was no run of this id, so it was created."""

    run: Run


@dataclass(frozen=True, slots=True)
class Joined:
    """A run of this id existed. `run` is that run, or the run that it continued as. It is locked."""

    run: Run


@dataclass(frozen=True, slots=True)
class Taken:
    """A run of this id existed, but with another workflow or namespace."""


@dataclass(frozen=True, slots=True)
class Refused:
    """There was no run of this id, and no new one may begin."""

    error: ErrorRecord


async def resolve_child(
    turn: Turn, transaction: StoreTransaction, request: ChildRequest, wanted: Run
) -> Created | Joined | Taken | Refused:
    """Make sure that the child exists. The transaction holds the names that a new run locks."""
    try:
        run, created = await admit(transaction, request.definition, wanted)
    except SingletonQueueFullError as error:
        return Refused(ErrorRecord(message=str(error), code=QUEUE_FULL, retryable=False))
    if created:
        return Created(run)
    while (run.workflow, run.namespace) == (request.definition.name, turn.run.namespace):
        run = await transaction.lock_run(run.id) or run
        successor = await successor_of(transaction, run)
        if successor is None:
            return Joined(run)
        run = successor
    return Taken()


async def adopt(turn: Turn, transaction: StoreTransaction, seq: int, run: Run) -> None:
    """Make a joined run without a parent a child of the turn's run."""
    if run.parent_run_id is not None or run.status.is_terminal:
        return
    if not await descends(transaction, turn.run, run):
        await transaction.update_run(run.id, {"parent_run_id": turn.run.id, "parent_seq": seq})
    # The wake-up refuses the ending of a driver that read the child before it had a parent to notify.
    await transaction.wake_run(run.id, now=turn.kernel.clock.now())


def new_child(turn: Turn, seq: int, request: ChildRequest) -> Run:
    """Return the run that the call at position `seq` requests."""
    parent = turn.run
    return new_run(
        turn.kernel,
        request.definition,
        request.input,
        run_id=request.run_id,
        namespace=parent.namespace,
        priority=parent.priority if request.priority is None else request.priority,
        place=Place(request.queue or "", request.fairness_key or ""),
        parent=Parent(parent.id, seq),
        traceparent=parent.traceparent,
    )
