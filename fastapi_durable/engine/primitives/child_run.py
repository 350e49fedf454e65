"""The run that a body means by a child: it is created, or a run of its id is joined."""

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
    """A child as the body asks for it; `input` is encoded."""

    run_id: str
    definition: WorkflowDefinition
    input: Json
    priority: int | None
    queue: str | None = None
    fairness_key: str | None = None
    parallel_group: str | None = None


@dataclass(frozen=True, slots=True)
class Created:
    """There was no run of this id."""

    run: Run


@dataclass(frozen=True, slots=True)
class Joined:
    """The run that existed already, or the run that it has continued as since. It is locked."""

    run: Run


@dataclass(frozen=True, slots=True)
class Taken:
    """The run that existed already, which is not the one that the body means."""


@dataclass(frozen=True, slots=True)
class Refused:
    """There was no run of this id, and none may begin."""

    error: ErrorRecord


async def resolve_child(
    turn: Turn, transaction: StoreTransaction, request: ChildRequest, wanted: Run
) -> Created | Joined | Taken | Refused:
    """See that the child exists; the transaction holds the names of its beginning."""
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
    # A driver that is about to end the child without telling anybody finds that something happened.
    await transaction.wake_run(run.id, now=turn.kernel.clock.now())


def new_child(turn: Turn, seq: int, request: ChildRequest) -> Run:
    """The run that the position `seq` asks for."""
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
