"""A run and its history as JSON, and the check that a workflow's code still fits it.

Record a history once, keep the file, and replay it in every run of the tests: an edit that would block live runs is
found before it is deployed. The error names the position, the recorded call, and the call of the code.
"""

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import is_workflow, step_definitions, workflow_definition
from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.engine.engine import Engine
from fastapi_durable.engine.turns.body_task import TaskGuard
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import RunNotFoundError, StepNotRegisteredError, WorkflowNotRegisteredError
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, ErrorRecord, Run, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.transport.base import StepHandler, StepOutcome, StepTask
from fastapi_durable.transport.in_process import InProcessTransport

_LEASE = timedelta(minutes=1)
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class History:
    """A recorded run with its checkpoints."""

    run: Run
    checkpoints: tuple[Checkpoint, ...]

    def to_json(self) -> str:
        """Return the text to keep in a file. Equal histories give equal texts."""
        recorded = {
            "format": _FORMAT,
            "run": {
                "id": self.run.id,
                "workflow": self.run.workflow,
                "workflow_version": self.run.workflow_version,
                "status": str(self.run.status),
                "input": self.run.input,
                "output": self.run.output,
                "error": None if self.run.error is None else _without_stack(self.run.error).to_json(),
                "namespace": self.run.namespace,
                "search_attributes": dict(self.run.search_attributes),
                "created_at": self.run.created_at.isoformat(),
            },
            "checkpoints": [_row_to_json(row) for row in self.checkpoints],
        }
        return json.dumps(recorded, indent=2, ensure_ascii=False, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` returned.

        Args:
            text: The text.

        Raises:
            ValueError: the text is not a recorded history.
        """
        recorded = json.loads(text)
        if not isinstance(recorded, dict) or recorded.get("format") != _FORMAT:
            raise ValueError(f"the text must be a recorded history of format {_FORMAT}")
        run = dict(recorded["run"])
        created_at = datetime.fromisoformat(run.pop("created_at"))
        error = run.pop("error")
        return cls(
            Run(
                **{**run, "status": RunStatus(run["status"])},
                error=None if error is None else ErrorRecord.from_json(error),
                created_at=created_at,
                updated_at=created_at,
            ),
            tuple(_row_from_json(row) for row in recorded["checkpoints"]),
        )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a file that `save` wrote.

        Args:
            path: Path of the file.

        Raises:
            ValueError: the file does not hold a recorded history.
        """
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    def save(self, path: Path | str) -> None:
        """Write the history to a file.

        Args:
            path: Path of the file. An existing file is replaced.
        """
        Path(path).write_text(self.to_json(), encoding="utf-8")


async def record_history(store: StateStore, run_id: str) -> History:
    """Read the history of a run from a store. The run need not have ended.

    Args:
        store: The store.
        run_id: Id of the run.

    Returns:
        The history.

    Raises:
        RunNotFoundError: no run has this id.
    """
    run = await store.find_run(run_id)
    if run is None:
        raise RunNotFoundError(run_id)
    return History(run, tuple(await store.list_checkpoints(run_id)))


async def assert_replayable(
    history: History, workflow: Callable[..., Coroutine[Any, Any, Any]] | type, *related: Callable[..., Any] | type
) -> None:
    """Replay a history with the current code. Recorded steps, children and waits are not executed.

    The replay of a run that was alive ends where its history ends: at the next step, child or wait. A closure, a side
    effect or a transaction that comes first is executed.

    Args:
        history: The recorded history.
        workflow: The function or the class, in the recorded version.
        related: Workflows that it starts as children, and steps that it calls by name.

    Raises:
        NonDeterminismError: the code makes another call than the history recorded. The message names the position.
        WorkflowNotRegisteredError: the recorded run started a workflow that is not among `related`.
        StepNotRegisteredError: the recorded run called a step by a name that is not among `related`.
        AssertionError: the replay of an ended run ends differently, or executes a step again.
    """
    store = MemoryStateStore()
    definition = workflow_definition(workflow)
    recorded = history.run
    if (recorded.workflow, recorded.workflow_version) != definition.key:
        raise AssertionError(
            f"the history is of workflow {recorded.workflow!r} in version {recorded.workflow_version!r}, not of "
            f"{definition.name!r} in version {definition.version!r}"
        )
    transport = _Refusing()
    engine = Engine(
        store=store,
        workflows=[definition, *(workflow_definition(each) for each in related if is_workflow(each))],
        steps=[each for other in related if not is_workflow(other) for each in step_definitions(other)],
        injector=_NothingInjected(),
        transport=transport,
        config=EngineConfig(lease=_LEASE),
        clock=SystemClock(),
        codec=Codec(),
    )
    now = engine.clock.now()
    # The key of a singleton is left out, because a replay does not wait for other runs.
    replayed = replace(recorded, status=RunStatus.PENDING, output=None, error=None, tags=())
    await store.create_run(replayed)
    for checkpoint in history.checkpoints:
        await store.save_checkpoint(checkpoint)
    (claimed,) = await store.claim_runs("replay", now=now, until=now + _LEASE, limit=1)
    driver = engine.driver(claimed, "replay")
    # Like a worker, because the order of a replay depends on the tasks of the body.
    guard = TaskGuard.hold()
    try:
        await driver.drive()
    finally:
        guard.release()
    if driver.divergence is not None:
        if isinstance(driver.divergence, WorkflowNotRegisteredError | StepNotRegisteredError):
            driver.divergence.add_note(
                "pass related workflows and steps: assert_replayable(history, workflow, *related)"
            )
        raise driver.divergence
    unexpected = [step for step in transport.asked if recorded.status.is_terminal]
    if unexpected:
        raise AssertionError(f"the history ended, but the code executes {', '.join(unexpected)} beyond it")
    after = await store.find_run(recorded.id)
    if after is not None and recorded.status in (RunStatus.COMPLETED, RunStatus.FAILED):
        _compare(recorded, after)


def _compare(recorded: Run, after: Run) -> None:
    reason = None if recorded.error is None else recorded.error.message
    found = None if after.error is None else after.error.message
    if (recorded.status, recorded.output, reason) != (after.status, after.output, found):
        raise AssertionError(
            f"run {recorded.id!r} was {recorded.status} with {recorded.output if reason is None else reason!r}, and "
            f"its replay is {after.status} with {after.output if found is None else found!r}"
        )


class _Refusing(InProcessTransport):
    """Executes no step. The replay of a live run stops at the end of its history."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def execute(self, task: StepTask, handler: StepHandler) -> StepOutcome:  # noqa: ARG002
        self.asked.append(f"step {task.name!r}")
        return StepOutcome(error=ErrorRecord(message="a replay executes no step", code="replay", retryable=False))


class _NothingInjected:
    """Bodies get no dependencies in a replay, because they execute nothing."""

    def check(self, function: Callable[..., Any]) -> None:
        pass

    @asynccontextmanager
    async def provide(self, function: Callable[..., Any]) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG002
        yield {}


_TIMES = ("wake_at", "enqueued_at", "started_at", "finished_at")


def _row_to_json(row: Checkpoint) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields(Checkpoint):
        value = getattr(row, field.name)
        if field.name == "run_id" or value is None or value == ():
            continue
        if isinstance(value, ErrorRecord):
            value = _without_stack(value).to_json()
        if field.name == "output" and isinstance(value, dict) and isinstance(value.get("failure"), dict):
            # The ending of a child, a task or an operation.
            value = {**value, "failure": _without_stack(ErrorRecord.from_json(value["failure"])).to_json()}
        values[field.name] = value.isoformat() if isinstance(value, datetime) else value
    return values


def _row_from_json(values: dict[str, Any]) -> Checkpoint:
    row = dict(values)
    for name in _TIMES:
        if row.get(name) is not None:
            row[name] = datetime.fromisoformat(row[name])
    if row.get("error") is not None:
        row["error"] = ErrorRecord.from_json(row["error"])
    row["events"] = tuple(row.get("events", ()))
    row["kind"], row["status"] = CheckpointKind(row["kind"]), CheckpointStatus(row["status"])
    return Checkpoint(run_id=row["step_id"].rpartition(":")[0], **row)


def _without_stack(error: ErrorRecord) -> ErrorRecord:
    """Remove stacks: they name files of the recording machine, and no replay needs them."""
    return replace(error, stack=None, cause=None if error.cause is None else _without_stack(error.cause))
