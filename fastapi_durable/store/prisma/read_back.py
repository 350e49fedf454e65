"""Whether a row that was just written would be read back as the very object that was brought.

A database does not keep every JSON value as it is: `jsonb` sorts the keys of objects and writes numbers its own way.
The engine hands on what is stored, so that a first run sees what a replay will see. For plain texts, booleans and whole
numbers the two are the same, and nothing has to be decoded.
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
        and _is_plain(checkpoint.input)
        and _is_plain(checkpoint.output)
        and _is_exact(checkpoint.enqueued_at)
        and _is_exact(checkpoint.started_at)
        and _is_exact(checkpoint.finished_at)
        and _is_exact(checkpoint.wake_at)
    )


def run_reads_back(run: Run) -> bool:
    return (
        run.error is None
        and not run.search_attributes
        and _is_plain(run.input)
        and _is_plain(run.output)
        and _is_exact(run.created_at)
        and _is_exact(run.updated_at)
        and _is_exact(run.locked_until)
        and _is_exact(run.wake_at)
        and _is_exact(run.expires_at)
    )


def _is_plain(value: Json) -> bool:
    kind: Any = type(value)
    return kind in _PLAIN or (kind is int and -_LARGEST_WHOLE < value < _LARGEST_WHOLE)


def _is_exact(moment: datetime | None) -> bool:
    """Whether the columns, which hold milliseconds in UTC, lose nothing of it."""
    return moment is None or (moment.tzinfo is UTC and moment.microsecond % 1000 == 0)
