"""Finds the rows that a retry removes from the history of a failed run, so that the body does that work again.

The calls by which the run failed were recorded when it ended (see `failure_attribution`). This module adds the rows
that belong to them: a deadline, the dispatch of a task, the children of a group, and undone steps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fastapi_durable.engine.primitives.children import FIRST_FAILURE
from fastapi_durable.engine.primitives.race import RACE
from fastapi_durable.engine.runs.completion import failure_of
from fastapi_durable.engine.runs.operator_log import is_trace
from fastapi_durable.engine.turns.undo import undo_position
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, ErrorRecord
from fastapi_durable.model.reserved import JOINED

_TASK = "signal:task:"
_REPLY = "signal:entityreply:"
_DEADLINE = "timeout:"


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Rows to remove, and children to requeue. A cancelled child is requeued only if it was cancelled because a sibling
    failed.
    """

    rows: dict[int, Checkpoint] = field(default_factory=dict)
    children: dict[str, bool] = field(default_factory=dict)


def given_up(history: Sequence[Checkpoint], error: ErrorRecord | None) -> GivenUp:
    """Return what a retry of the run removes and requeues.

    Args:
        error: The error of the run. It names the positions, unless another system wrote it. In that case, the rows
            whose failure it contains are removed.
    """
    found = GivenUp()
    by_seq = {row.seq: row for row in history if not is_trace(row)}
    _give_up_undone(by_seq, found)
    verdicts = [row for row in by_seq.values() if row.name == FIRST_FAILURE]
    for seq in _culprits(by_seq, error):
        if _failure(by_seq[seq]) is None:
            _give_up_call(by_seq[seq], found)
        else:
            _give_up(by_seq[seq], by_seq, verdicts, found)
    return found


def _culprits(by_seq: dict[int, Checkpoint], error: ErrorRecord | None) -> list[int]:
    if error is not None and error.positions is not None:
        return [seq for seq in error.positions if seq in by_seq]
    messages = {each.message for each in _chain(error)}
    return [
        row.seq
        for row in by_seq.values()
        if row.seq >= 0 and (failure := _failure(row)) is not None and failure.message in messages
    ]


def _give_up_undone(by_seq: dict[int, Checkpoint], found: GivenUp) -> None:
    """Remove the undone steps, so that they are executed again. A step whose undo failed stays, and its undo is
    repeated.
    """
    for row in by_seq.values():
        if row.seq < 0:
            found.rows[row.seq] = row
            step = by_seq.get(undo_position(row.seq))
            if row.status is CheckpointStatus.COMPLETED and step is not None:
                found.rows[step.seq] = step


def _give_up(row: Checkpoint, by_seq: dict[int, Checkpoint], verdicts: Sequence[Checkpoint], found: GivenUp) -> None:
    found.rows[row.seq] = row
    before = by_seq.get(row.seq - 1)
    if before is not None and before.kind is CheckpointKind.SLEEP and before.name.startswith(_DEADLINE):
        # The wait starts again, with a new deadline.
        found.rows[before.seq] = before
    if row.name.startswith(_TASK) and before is not None and before.name.startswith("task:dispatch:"):
        found.rows[before.seq] = before
    if row.kind is CheckpointKind.SIGNAL and row.name.startswith(JOINED):
        found.children.setdefault(row.name.removeprefix(JOINED), False)
        for verdict in verdicts:
            if (group := _group_of(verdict, by_seq)) and row.parallel_group == group:
                found.rows[verdict.seq] = verdict
                for sibling in by_seq.values():
                    if sibling.parallel_group == group and _failure(sibling) is not None:
                        found.rows[sibling.seq] = sibling
                        found.children[sibling.name.removeprefix(JOINED)] = True


def _give_up_call(row: Checkpoint, found: GivenUp) -> None:
    """Remove a call that succeeded but was made because of a failure, or a race that a failure won."""
    found.rows[row.seq] = row
    if row.name == RACE and isinstance(row.output, dict):
        for child_id in row.output.get("cancelled", ()):
            found.children[child_id] = True


def _group_of(verdict: Checkpoint, by_seq: dict[int, Checkpoint]) -> str | None:
    """Return the group of children to which a verdict belongs. The verdict's position follows theirs."""
    last = by_seq.get(verdict.seq - 1)
    return None if last is None else last.parallel_group


def _failure(row: Checkpoint) -> ErrorRecord | None:
    """Return the error of a row: its own, or that of the completion in it."""
    if row.status is CheckpointStatus.FAILED:
        return row.error or ErrorRecord(message="failed")
    awaited = row.kind is CheckpointKind.SIGNAL and row.name.startswith((JOINED, _TASK, _REPLY))
    return failure_of(row.output) if awaited else None


def _chain(error: ErrorRecord | None) -> Iterable[ErrorRecord]:
    while error is not None:
        yield error
        error = error.cause
