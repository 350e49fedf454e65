"""Delivers the ending of a run to the run that waits for it.

The stored shape is that of nestjs-durable, `{"ok": true, "value": ...}` or `{"ok": false, "error": "..."}`. A failure
also has `failure`, the whole error, which nestjs-durable ignores.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from fastapi_durable.engine.runs.delivery import deliver_to_waiter
from fastapi_durable.model.records import ErrorRecord, Json, RunStatus
from fastapi_durable.model.reserved import CHILD
from fastapi_durable.store.base import StoreTransaction


def child_token(run_id: str) -> str:
    """Return the token on which the ending of a run is awaited."""
    return f"{CHILD}{run_id}"


def completion(status: RunStatus, output: Json, error: ErrorRecord | None) -> dict[str, Any]:
    """Return the stored form of an ending."""
    if status is RunStatus.COMPLETED:
        return {"ok": True, "value": output}
    failure = error or ErrorRecord(message=str(status))
    if failure.code is None and status is not RunStatus.FAILED:
        failure = replace(failure, code=str(status))
    return {"ok": False, "error": failure.message, "failure": failure.to_json()}


def failure_of(stored: Json) -> ErrorRecord | None:
    """Return the error in a stored completion. None if it is a success."""
    if not isinstance(stored, dict) or stored.get("ok", True):
        return None
    return ErrorRecord.from_json(stored.get("failure") or stored.get("error"))


def value_of(stored: Json) -> Json:
    """Return the result in a stored completion that is a success."""
    return stored.get("value") if isinstance(stored, dict) else stored


async def tell_waiter(transaction: StoreTransaction, run_id: str, ended: dict[str, Any], *, now: datetime) -> None:
    """Record the ending at the position that waits for it, and wake the waiting run, in the transaction that ends the
    run.
    """
    waiter = await transaction.find_signal_waiter(child_token(run_id))
    if waiter is not None:
        await deliver_to_waiter(transaction, waiter, ended, now=now)
