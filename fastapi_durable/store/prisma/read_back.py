"""Decides whether a written row would be read back as an object equal to the written one.

A database does not keep every JSON value as it is: `jsonb` sorts the keys of objects, and writes numbers in its own
form. The engine returns the stored form, so that a first run sees what a replay will see. For plain texts, booleans and
whole numbers the two are equal, and nothing has to be decoded.
"""

from datetime import UTC, datetime
from typing import Any

from fastapi_durable.model.records import Checkpoint, Json, Run

_PLAIN = frozenset({type(None), bool, str})
_LARGEST_WHOLE = 2**53


def checkpoint_reads_back(checkpoint: Checkpoint) -> bool:
    return (
        checkpoint.error is None
        and not checkpoint.events
        and _are_plain(checkpoint.input, checkpoint.output)
        and _are_exact(checkpoint.enqueued_at, checkpoint.started_at, checkpoint.finished_at, checkpoint.wake_at)
    )


def run_reads_back(run: Run) -> bool:
    return (
        run.error is None
        and not run.search_attributes
        and _are_plain(run.input, run.output)
        and _are_exact(run.created_at, run.updated_at, run.locked_until, run.wake_at, run.expires_at)
    )


def _are_plain(*values: Json) -> bool:
    for value in values:
        kind: Any = type(value)
        if kind not in _PLAIN and not (kind is int and -_LARGEST_WHOLE < value < _LARGEST_WHOLE):
            return False
    return True


def _are_exact(*moments: datetime | None) -> bool:
    """Return whether the columns, which hold milliseconds in UTC, store these moments exactly."""
    for moment in moments:
        if moment is not None and (moment.tzinfo is not UTC or moment.microsecond % 1000):
            return False
    return True
