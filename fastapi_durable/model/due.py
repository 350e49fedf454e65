"""Since when a run wants driving: the rule by which every store claims."""

from datetime import datetime

from fastapi_durable.model.records import Run, RunStatus


def lease_is_free(run: Run, now: datetime) -> bool:
    """Return whether the run has no live lease."""
    return run.locked_until is None or run.locked_until <= now


def waiting_since(run: Run, now: datetime) -> datetime | None:
    """Return since when a worker may claim the run. None: it may not."""
    if not lease_is_free(run, now):
        return None
    if run.status is RunStatus.PENDING:
        return run.created_at
    if run.status is RunStatus.RUNNING:
        return run.locked_until or run.updated_at
    if run.status is RunStatus.CANCELLING:
        # With a time, its undo waits for the next attempt.
        return run.locked_until or run.updated_at if run.wake_at is None or run.wake_at <= now else None
    if run.status.is_terminal:
        return None
    return run.wake_at if run.wake_at is not None and run.wake_at <= now else None
