"""Ending a run: one transition out of its live status, with everything that belongs to it.

The status changes only under the guard that the caller names, so of two endings one happens.
"""

from collections.abc import Collection

from fastapi_durable.clock import Clock
from fastapi_durable.model import ErrorRecord, Json, Run, RunChanges, RunStatus
from fastapi_durable.store.base import StateStore


async def settle_run(
    store: StateStore,
    clock: Clock,
    run: Run,
    status: RunStatus,
    *,
    output: Json = None,
    error: ErrorRecord | None = None,
    statuses: Collection[RunStatus],
    token: str | None = None,
    waiters: bool = True,
) -> bool:
    """Give a run its terminal status and release its lease.

    Args:
        statuses, token: Guards; see `StateStore.update_run`.
        waiters: Whether the run may have left signal waiters. They go in the same transaction, or a later signal
            would be swallowed by a finished run.

    Returns:
        False if a guard does not hold; nothing was written then.
    """
    changes: RunChanges = {
        "status": status,
        "output": output,
        "error": error,
        "locked_by": None,
        "locked_until": None,
        "wake_at": None,
        "updated_at": clock.now(),
    }
    if not waiters:
        return await store.update_run(run.id, changes, statuses=statuses, token=token)
    async with store.transaction() as transaction:
        await transaction.lock_run(run.id)
        settled = await transaction.update_run(run.id, changes, statuses=statuses, token=token)
        if settled:
            await transaction.remove_signal_waiters_of_run(run.id)
        return settled
