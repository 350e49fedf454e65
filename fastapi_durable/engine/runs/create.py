"""Creates and admits every run, whatever starts it.

A run is made in one of three ways. `new_run` begins the work of a workflow: a start, a child, an event, a schedule, a
dead letter. `run_like` takes the place of another run: a retry with a new input, a fork, a continuation. `engine_run`
makes one of the engine's own runs, which hold an entity or collect events.

`admit` admits a run in the caller's transaction, and `create` in a transaction of its own. Both keep the limit
of a bounded singleton. The caller first locks `names_of_beginning`, together with its own names and in sorted order, as
every caller does.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.subscription import Refusal
from fastapi_durable.engine.runs.labels import labelled
from fastapi_durable.engine.runs.queues import NO_PLACE, Place
from fastapi_durable.engine.runs.singleton import check_depth, gate_of
from fastapi_durable.model.clock import Clock
from fastapi_durable.model.errors import (
    InputValidationError,
    RunExistsError,
    RunIdTakenError,
    SingletonQueueFullError,
    WorkflowNotRegisteredError,
)
from fastapi_durable.model.records import PAUSED_TAG, ErrorRecord, Json, Run, RunStatus, SearchAttributes
from fastapi_durable.model.reserved import is_engine_workflow
from fastapi_durable.store.base import StoreTransaction
from fastapi_durable.store.port.runs import CreatedRun

_log = logging.getLogger("fastapi_durable")

QUEUE_FULL = "singleton_queue_full"
"""Error code of a refused child."""


class Parent(NamedTuple):
    """The parent of a child, and the position of the call."""

    run_id: str
    seq: int


def new_run(
    kernel: Kernel,
    definition: WorkflowDefinition,
    input: Json,
    *,
    run_id: str,
    namespace: str,
    tags: Collection[str] = (),
    search_attributes: SearchAttributes | None = None,
    priority: int | None = None,
    place: Place = NO_PLACE,
    parent: Parent | None = None,
    traceparent: str | None = None,
) -> Run:
    """Return a run that begins the work of a workflow. The arguments were checked, and `input` is encoded.

    Raises:
        InputValidationError: the workflow's singleton key cannot be computed from the input.
    """
    now = kernel.clock.now()
    return Run(
        id=run_id,
        workflow=definition.name,
        workflow_version=definition.version,
        input=input,
        tags=labelled(kernel.codec, definition, input, tags),
        search_attributes=search_attributes or {},
        priority=priority,
        namespace=namespace,
        queue=place.queue,
        fairness_key=place.fairness_key,
        origin=definition.origin,
        parent_run_id=None if parent is None else parent.run_id,
        parent_seq=None if parent is None else parent.seq,
        expires_at=None if definition.execution_timeout is None else now + definition.execution_timeout,
        traceparent=traceparent,
        created_at=now,
        updated_at=now,
    )


def delayed(run: Run, begins_at: datetime) -> Run:
    """Return a new run that begins later. Until then it is suspended like a sleeping run, so claims find both in one
    index.

    Its execution timeout starts then.
    """
    expires_at = None if run.expires_at is None else run.expires_at + (begins_at - run.created_at)
    return run.changed(status=RunStatus.SUSPENDED, wake_at=begins_at, expires_at=expires_at)


def run_like(
    source: Run,
    clock: Clock,
    *,
    run_id: str,
    keeps_parent: bool,
    keeps_expiry: bool,
    definition: WorkflowDefinition | None = None,
    input: Json = None,
    tags: Iterable[str] | None = None,
) -> Run:
    """Return a run that replaces `source`, with its namespace, labels, attributes, priority, queue and trace.

    Args:
        keeps_parent: Whether the parent of `source` waits for this run as well.
        keeps_expiry: Whether it expires when `source` does. Otherwise it gets the same span from now on.
        definition, input: Those of the run, if they differ from `source`. Pass both or neither.
        tags: Tags that replace those of `source`.

    Raises:
        InputValidationError: `source` is one of the engine's own runs.
    """
    if is_engine_workflow(source.workflow):
        raise InputValidationError(
            f"run {source.id[:80]!r} belongs to the engine and cannot be repeated. Retry it, or delete it: the "
            "engine starts it again when needed"
        )
    now = clock.now()
    expires_at = source.expires_at
    if expires_at is not None and not keeps_expiry:
        expires_at = now + max(timedelta(0), expires_at - source.created_at)
    return replace(
        source,
        id=run_id,
        workflow=source.workflow if definition is None else definition.name,
        workflow_version=source.workflow_version if definition is None else definition.version,
        status=RunStatus.PENDING,
        input=source.input if definition is None else input,
        output=None,
        error=None,
        wake_at=None,
        wake_count=0,
        locked_by=None,
        locked_until=None,
        awaiting_decision_task_id=None,
        recovery_attempts=None,
        tags=tuple(tag for tag in (source.tags if tags is None else tags) if tag != PAUSED_TAG),
        parent_run_id=source.parent_run_id if keeps_parent else None,
        parent_seq=source.parent_seq if keeps_parent else None,
        expires_at=expires_at,
        created_at=now,
        updated_at=now,
    )


def engine_run(kernel: Kernel, workflow: str, input: Json, *, run_id: str, namespace: str) -> Run:
    """Return a run of one of the engine's own workflows."""
    now = kernel.clock.now()
    return Run(
        id=run_id,
        workflow=workflow,
        workflow_version="1",
        input=input,
        namespace=namespace,
        created_at=now,
        updated_at=now,
    )


def callers_workflow(
    kernel: Kernel, workflow: Callable[..., Any] | str, version: str | None = None
) -> WorkflowDefinition:
    """Return the workflow that a caller names.

    Raises:
        WorkflowNotRegisteredError: this engine does not know it, or it is one of the engine's own.
    """
    definition = kernel.registry.resolve(workflow, version)
    if is_engine_workflow(definition.name):
        raise WorkflowNotRegisteredError(definition.name, version, [])
    return definition


def names_of_beginning(definition: WorkflowDefinition | None, run: Run) -> list[str]:
    """Return the names that the admitting transaction locks before it locks a run.

    Args:
        definition: None if this process does not know the workflow. Then it knows no bound either.
    """
    gate = _bounded_gate(definition, run)
    return [] if gate is None else [gate]


async def admit(transaction: StoreTransaction, definition: WorkflowDefinition | None, run: Run) -> CreatedRun:
    """Create the run, unless a run of its id exists. The caller holds `names_of_beginning`.

    Raises:
        SingletonQueueFullError: the run is new, and no more of its key may wait. Nothing was written.
    """
    if definition is not None and _bounded_gate(definition, run) is not None:
        await check_depth(transaction, definition, run)
    return await transaction.create_run(run)


async def create(kernel: Kernel, definition: WorkflowDefinition, run: Run) -> CreatedRun:
    """Admit a run in a transaction of its own. It is one statement, unless the run belongs to a bounded singleton.

    Raises:
        SingletonQueueFullError: as `admit`.
    """
    gate = _bounded_gate(definition, run)
    if gate is None:
        return await kernel.store.create_run(run)

    async def create_within_bound() -> CreatedRun:
        async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
            await transaction.lock_name(gate)
            return await admit(transaction, definition, run)

    return await retry_conflicts(kernel.clock, create_within_bound)


async def create_all(
    kernel: Kernel, definition: WorkflowDefinition, runs: Sequence[Run], *, refuses_existing: bool = False
) -> list[CreatedRun]:
    """Admit runs of one workflow in one transaction: all of them, or none if one is refused.

    Raises:
        SingletonQueueFullError, RunIdTakenError, RunExistsError: one run is refused. `index` says which.
    """
    gates = sorted({name for run in runs for name in names_of_beginning(definition, run)})
    # By id, so that two callers that start the same runs lock them in one order.
    order = sorted(range(len(runs)), key=lambda index: runs[index].id)

    async def create_each() -> list[CreatedRun]:
        created: dict[int, CreatedRun] = {}
        async with kernel.store.transaction(timeout=kernel.config.transaction_timeout) as transaction:
            for gate in gates:
                await transaction.lock_name(gate)
            for index in order:
                with about_input(index):
                    created[index] = await admit(transaction, definition, runs[index])
                    refuse_other(created[index], runs[index], refuses_existing=refuses_existing)
        return [created[index] for index in range(len(runs))]

    return await retry_conflicts(kernel.clock, create_each)


@contextmanager
def about_input(index: int) -> Iterator[None]:
    """Make an error that refuses one of several runs say which one."""
    try:
        yield
    except (InputValidationError, RunIdTakenError, RunExistsError, SingletonQueueFullError) as error:
        error.index, error.args = index, (f"inputs[{index}]: {error}",)
        raise


def refuse_other(created: CreatedRun, wanted: Run, *, refuses_existing: bool = False) -> None:
    """Refuse an existing run, unless it is the one that the caller requested.

    Raises:
        RunIdTakenError: it belongs to another workflow or another namespace.
        RunExistsError: the run exists, and the caller requires a new one.
    """
    found = created.run
    if (found.workflow, found.namespace) != (wanted.workflow, wanted.namespace):
        raise RunIdTakenError(found.id, wanted.workflow)
    if refuses_existing and not created.created:
        raise RunExistsError(found.id, found.workflow, found.status)


async def admit_or_refuse(
    transaction: StoreTransaction, definition: WorkflowDefinition, run: Run
) -> CreatedRun | Refusal:
    """Admit the run of an event, a schedule or a dead letter. `report` a refusal once the transaction is committed."""
    try:
        created = await admit(transaction, definition, run)
        refuse_other(created, run)
    except SingletonQueueFullError as error:
        return Refusal(run, ErrorRecord(message=str(error), code=QUEUE_FULL, retryable=False))
    except RunIdTakenError as error:
        return Refusal(run, ErrorRecord(message=str(error), code="run_id_taken", retryable=False))
    return created


def report(kernel: Kernel, refusal: Refusal) -> None:
    """Log that a run was not started, and send the live event that counts it."""
    run, error = refusal
    _log.warning("run %s of workflow %r was not started: %s", run.id, run.workflow, error.message)
    kernel.events.run("run.refused", run, error=error)


def is_bounded(definition: WorkflowDefinition) -> bool:
    """Return whether the number of waiting runs of a singleton key is limited."""
    return definition.singleton is not None and definition.singleton.max_queue_depth is not None


def _bounded_gate(definition: WorkflowDefinition | None, run: Run) -> str | None:
    return gate_of(run) if definition is not None and is_bounded(definition) else None
