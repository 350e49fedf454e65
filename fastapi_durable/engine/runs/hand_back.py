"""Hands a run back: its worker releases it, and another worker can continue it at once."""

from fastapi_durable.model.clock import Clock
from fastapi_durable.model.records import Run, RunChanges, RunStatus
from fastapi_durable.store.base import StateStore


async def hand_back(store: StateStore, clock: Clock, run: Run, token: str, *, had_turn: bool = True) -> None:
    """Release a lease, so that the next claim takes the run at once and counts no crash.

    A run that is not leased under `token` any more stays as it is.

    Args:
        had_turn: Whether the run was driven. A run that was not keeps its place in its queue.
    """
    now = clock.now()
    released: RunChanges = {"locked_by": None, "locked_until": None, "updated_at": now}
    # In a queue, only runs that have not begun are pending. The rate limit counts them when they begin.
    handed: RunChanges = {**released, "status": RunStatus.PENDING}
    if run.queue:
        since = now if had_turn else run.wake_at or run.created_at
        handed = {**released, "status": RunStatus.SUSPENDED, "wake_at": since}
    if not await store.update_run(run.id, handed, statuses=(RunStatus.RUNNING,), token=token):
        undoing: RunChanges = {**released, "wake_at": now}
        await store.update_run(run.id, undoing, statuses=(RunStatus.CANCELLING,), token=token)
