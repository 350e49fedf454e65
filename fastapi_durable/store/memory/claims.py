"""Selects the claimable runs, and claims them."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime

from fastapi_durable.model.due import waiting_since
from fastapi_durable.model.records import Run, RunStatus

CLAIMABLE = (RunStatus.PENDING, RunStatus.SUSPENDED, RunStatus.BLOCKED, RunStatus.RUNNING, RunStatus.CANCELLING)
STRANDABLE = (RunStatus.PENDING, RunStatus.SUSPENDED, RunStatus.RUNNING)


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
