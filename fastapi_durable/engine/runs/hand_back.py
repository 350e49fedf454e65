"""Hands a run back: its worker releases it alive, and another worker can continue it at once."""

from fastapi_durable.model.clock import Clock
from fastapi_durable.model.records import Run, RunChanges, RunStatus
from fastapi_durable.store.base import StateStore


async def hand_back(store: StateStore, clock: Clock, run: Run, token: str, *, had_turn: bool = True) -> None:
    """Release a lease so that the next claim takes the run at once, and does not count a crash.

    Nothing happens to a run that is not leased under `token` any more.

    Args:
        had_turn: Whether the run was driven; one that was not keeps its place in its queue.
    """
    now = clock.now()
    released: RunChanges = {"locked_by": None, "locked_until": None, "updated_at": now}
    # In a queue, pending runs are those that have not begun, which its rate limit counts.
    handed: RunChanges = {**released, "status": RunStatus.PENDING}
    if run.queue:
        since = now if had_turn else run.wake_at or run.created_at
        handed = {**released, "status": RunStatus.SUSPENDED, "wake_at": since}
    if not await store.update_run(run.id, handed, statuses=(RunStatus.RUNNING,), token=token):
        undoing: RunChanges = {**released, "wake_at": now}
        await store.update_run(run.id, undoing, statuses=(RunStatus.CANCELLING,), token=token)
