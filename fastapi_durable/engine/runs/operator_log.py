"""Records what operators did to a run, in the run's own history.

A trace is a finished row at a position of its own, far below those of compensations, so no replay meets it. The
transaction of the operator's action writes it.
"""

import logging
from datetime import datetime
from typing import Any, Final

from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus
from fastapi_durable.store.base import StateStore, StoreTransaction

PAUSE_TRACE: Final = "pause"
"""The action of `service.pause`."""

_log = logging.getLogger("fastapi_durable")

_FIRST_TRACE = -2_000_000_000
_PREFIX = "operator:"

RETRY_TRACE: Final = f"{_PREFIX}retry"
"""Prefix of the names of traces of retries."""


def is_trace(checkpoint: Checkpoint) -> bool:
    """Return whether a row records an action of an operator, not of the workflow."""
    return checkpoint.seq <= _FIRST_TRACE


async def has_history(store: StateStore, run_id: str) -> bool:
    """Return whether the history of the run has anything but traces."""
    return bool(await store.page_checkpoints(run_id, after=_FIRST_TRACE, limit=1))


async def leave_trace(
    transaction: StoreTransaction, run_id: str, action: str, details: dict[str, Any], *, now: datetime
) -> None:
    """Add `operator:<action>` to the run's history; `details` are JSON values."""
    traces = await transaction.list_checkpoints_by_name_prefix(run_id, [_PREFIX])
    seq = min((trace.seq for trace in traces if is_trace(trace)), default=_FIRST_TRACE + 1) - 1
    await transaction.save_checkpoint(
        Checkpoint(
            run_id=run_id,
            seq=seq,
            name=f"{_PREFIX}{action}",
            kind=CheckpointKind.LOCAL,
            status=CheckpointStatus.COMPLETED,
            step_id=f"{run_id}:{seq}",
            output=details,
            enqueued_at=now,
            started_at=now,
            finished_at=now,
        )
    )
    _log.warning("run %s: %s by an operator", run_id, action)
