"""Selects the claimable runs, and claims them."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime

from fastapi_durable.model.records import Run, RunStatus

CLAIMABLE = (RunStatus.PENDING, RunStatus.SUSPENDED, RunStatus.BLOCKED, RunStatus.RUNNING, RunStatus.CANCELLING)
STRANDABLE = (RunStatus.PENDING, RunStatus.SUSPENDED, RunStatus.RUNNING)


def lease_is_free(run: Run, now: datetime) -> bool:
    """Return whether the run has no live lease."""
    return run.locked_until is None or run.locked_until <= now


def waiting_since(run: Run, now: datetime) -> datetime | None:
    """Return since when the run is claimable. None if it is not."""
    if not lease_is_free(run, now):
        return None
    if run.status is RunStatus.PENDING:
        return run.created_at
    if run.status is RunStatus.RUNNING:
        return run.locked_until or run.updated_at
    if run.status is RunStatus.CANCELLING:
        # With a `wake_at`, its undo waits for the next attempt.
        return run.locked_until or run.updated_at if run.wake_at is None or run.wake_at <= now else None
    return run.wake_at if run.wake_at is not None and run.wake_at <= now else None


def claimed_by(run: Run, token: str, now: datetime, until: datetime) -> Run:
    """Return the run as it is after a claim."""
    # A run without an owner was handed back, so there was no crash.
    crashed = run.locked_by is not None and run.status in (RunStatus.RUNNING, RunStatus.CANCELLING)
    return replace(
        run,
        status=RunStatus.CANCELLING if run.status is RunStatus.CANCELLING else RunStatus.RUNNING,
        locked_by=token,
        locked_until=until,
        recovery_attempts=(run.recovery_attempts or 0) + 1 if crashed else run.recovery_attempts,
        updated_at=now,
    )


def waiting_runs(
    runs: Iterable[Run], now: datetime, workflows: Collection[tuple[str, str]] | None
) -> list[tuple[int, Run]]:
    """Return the claimable runs of these workflows, each with its sort key, in order."""
    waiting = [
        (run.aged(since), run)
        for run in runs
        if (since := waiting_since(run, now)) is not None
        and (workflows is None or (run.workflow, run.workflow_version) in workflows)
    ]
    return sorted(waiting, key=lambda each: (each[0], each[1].id.encode()))


def in_turn(waiting: Iterable[tuple[int, Run]], after: str) -> list[tuple[int, Run]]:
    """Return the runs with namespaces taking turns, beginning with the namespace after `after`."""
    turns: dict[str, int] = {}
    ranked = []
    for order, run in waiting:
        turns[run.namespace] = turns.get(run.namespace, 0) + 1
        ranked.append(((turns[run.namespace], run.namespace <= after, run.namespace), (order, run)))
    return [each for _, each in sorted(ranked, key=lambda item: item[0])]
