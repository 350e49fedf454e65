"""How a run ended, told to the run that waits for it.

The stored shape is the reference's, `{"ok": true, "value": ...}` or `{"ok": false, "error": "..."}`; a failure also
carries `failure`, the whole error, which the reference ignores.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from fastapi_durable.model import (
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    ErrorRecord,
    Json,
    Run,
    RunStatus,
    SignalWaiter,
)
from fastapi_durable.store.base import StoreTransaction


def child_token(run_id: str) -> str:
    """The token on which the ending of a run is awaited."""
    return f"child:{run_id}"


def completion(status: RunStatus, output: Json, error: ErrorRecord | None) -> dict[str, Any]:
    """The stored shape of an ending."""
    if status is RunStatus.COMPLETED:
        return {"ok": True, "value": output}
    failure = error or ErrorRecord(message=str(status))
    if failure.code is None and status is not RunStatus.FAILED:
        failure = replace(failure, code=str(status))
    return {"ok": False, "error": failure.message, "failure": failure.to_json()}


def failure_of(stored: Json) -> ErrorRecord | None:
    """The error in a stored completion; None if it is a success."""
    if not isinstance(stored, dict) or stored.get("ok", True):
        return None
    return ErrorRecord.from_json(stored.get("failure") or stored.get("error"))


async def tell_waiter(
    transaction: StoreTransaction, run: Run, ended: dict[str, Any], *, now: datetime
) -> SignalWaiter | None:
    """Record the ending where it is awaited, and wake the run that waits; part of the transaction that ends `run`."""
    waiter = await transaction.take_signal_waiter(child_token(run.id))
    if waiter is None:
        return None
    parent = await transaction.lock_run(waiter.run_id)
    if parent is None or parent.status.is_terminal:
        return None
    placeholder = await transaction.find_checkpoint(waiter.run_id, waiter.seq)
    await transaction.record_checkpoint(
        Checkpoint(
            run_id=waiter.run_id,
            seq=waiter.seq,
            # After continue_as_new the run has another id than the one that the parent asked for.
            name=f"signal:{child_token(run.id)}" if placeholder is None else placeholder.name,
            kind=CheckpointKind.SIGNAL,
            status=CheckpointStatus.COMPLETED,
            # The position of a branch is found again by the row's own id.
            step_id=f"{waiter.run_id}:{waiter.seq}" if placeholder is None else placeholder.step_id,
            input=None if placeholder is None else placeholder.input,
            output=ended,
            parallel_group=waiter.parallel_group,
            enqueued_at=None if placeholder is None else placeholder.enqueued_at,
            started_at=now if placeholder is None else placeholder.started_at,
            finished_at=now,
        )
    )
    await transaction.wake_run(waiter.run_id, now=now)
    return waiter
