"""The run that a body means by a child: it is created, or a run of its id is joined."""

from dataclasses import dataclass

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.runs.chain import successor_of
from fastapi_durable.engine.runs.labels import labelled
from fastapi_durable.engine.runs.lineage import descends
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import Json, Run
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
    """The run that was there already, or what it has gone on as since the parent asked for it; locked."""

    run: Run


@dataclass(frozen=True, slots=True)
class Taken:
    """The run that was there already is none that the body means."""


async def resolve_child(
    turn: Turn, transaction: StoreTransaction, seq: int, request: ChildRequest
) -> Created | Joined | Taken:
    """See that the child of the position `seq` exists."""
    run, created = await transaction.create_run(_new(turn, seq, request))
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
    """Make a joined run that nobody started as a child one of the turn's run."""
    if run.parent_run_id is not None or run.status.is_terminal:
        return
    if not await descends(transaction, turn.run, run):
        await transaction.update_run(run.id, {"parent_run_id": turn.run.id, "parent_seq": seq})
    # A driver that is about to end the child without telling anybody finds that something happened.
    await transaction.wake_run(run.id, now=turn.kernel.clock.now())


def _new(turn: Turn, seq: int, request: ChildRequest) -> Run:
    parent, definition, now = turn.run, request.definition, turn.kernel.clock.now()
    return Run(
        id=request.run_id,
        workflow=definition.name,
        workflow_version=definition.version,
        input=request.input,
        tags=labelled(turn.kernel.codec, definition, request.input),
        priority=parent.priority if request.priority is None else request.priority,
        namespace=parent.namespace,
        queue=request.queue or "",
        fairness_key=request.fairness_key or "",
        origin=definition.origin,
        parent_run_id=parent.id,
        parent_seq=seq,
        expires_at=None if definition.execution_timeout is None else now + definition.execution_timeout,
        traceparent=parent.traceparent,
        created_at=now,
        updated_at=now,
    )
