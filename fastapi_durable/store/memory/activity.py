"""Counts the runs that began and ended in each bucket of time."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from fastapi_durable.model.activity import ActivityBucket, ActivityQuery, latency
from fastapi_durable.model.clock import to_millis
from fastapi_durable.model.records import Run, RunStatus

_FAILED = (RunStatus.FAILED, RunStatus.DEAD)


def activity(runs: Iterable[Run], query: ActivityQuery) -> list[ActivityBucket]:
    """Return the buckets of a query over these runs. Every count is exact."""
    edges = query.beginnings()
    started = [0] * query.buckets
    ended: list[list[Run]] = [[] for _ in range(query.buckets)]
    for run in runs:
        if query.namespace not in (None, run.namespace) or query.workflow not in (None, run.workflow):
            continue
        if edges[0] <= run.created_at < edges[-1]:
            started[_number(run.created_at, query)] += 1
        if run.status.is_terminal and edges[0] <= run.updated_at < edges[-1]:
            ended[_number(run.updated_at, query)].append(run)
    return [_bucket(edges[number], started[number], ended[number]) for number in range(query.buckets)]


def _number(moment: datetime, query: ActivityQuery) -> int:
    return (moment - query.start) // query.width


def _bucket(start: datetime, started: int, ended: Sequence[Run]) -> ActivityBucket:
    completed = [run for run in ended if run.status is RunStatus.COMPLETED]
    millis = [to_millis(run.updated_at) - to_millis(run.created_at) for run in completed]
    return ActivityBucket(
        start=start,
        started=started,
        completed=len(completed),
        failed=sum(run.status in _FAILED for run in ended),
        cancelled=sum(run.status is RunStatus.CANCELLED for run in ended),
        p50=latency(millis, 0.5),
        p95=latency(millis, 0.95),
    )
