"""The data of the overview's charts: throughput, failures and latency over time."""

from datetime import datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from fastapi_durable.model.activity import MOST_BUCKETS, ActivityBucket, ActivityQuery
from fastapi_durable.model.clock import from_millis, to_millis
from fastapi_durable.model.duration import parse_duration
from fastapi_durable.model.text import shown
from fastapi_durable.web.problems import ProblemRoute, problem_responses
from fastapi_durable.web.schemas import Name
from fastapi_durable.web.scope import ScopeDep

_SHORTEST: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(days=90)


class SeriesPoint(BaseModel):
    """Counts and latencies from `start` to the next point."""

    start: datetime
    started: int
    completed: int
    failed: int = Field(description="Failed or dead.")
    cancelled: int
    estimated: bool = Field(
        description="Whether the counts are estimated from the newest runs, because there are too many runs to count."
    )
    p50_ms: float | None = Field(
        description="Time from creation to completion, over the newest completed runs; null: none."
    )
    p95_ms: float | None

    @classmethod
    def of(cls, bucket: ActivityBucket) -> "SeriesPoint":
        return cls(
            start=bucket.start,
            started=bucket.started,
            completed=bucket.completed,
            failed=bucket.failed,
            cancelled=bucket.cancelled,
            estimated=bucket.estimated,
            p50_ms=_millis(bucket.p50),
            p95_ms=_millis(bucket.p95),
        )


class Series(BaseModel):
    """Points of equal width, the oldest first. The last one is not complete yet."""

    bucket_seconds: float
    points: list[SeriesPoint]


async def read_series(
    scope: ScopeDep,
    window: Annotated[str, Query(max_length=20, description="A duration such as 15m, 1h or 7d: up to 90 days.")] = "1h",
    buckets: Annotated[int, Query(ge=1, le=MOST_BUCKETS)] = 60,
    workflow: Name | None = None,
    namespace: Name | None = None,
) -> Series:
    """Count the runs that began and ended lately, point by point. The cost does not grow with the number of runs."""
    width = _window(window) // buckets
    step = max(1, width // timedelta(milliseconds=1))
    # Points begin at multiples of their width, so that a chart does not shift when it is drawn again.
    last = to_millis(scope.runtime.kernel.clock.now()) // step
    query = ActivityQuery(
        start=from_millis((last - buckets + 1) * step),
        width=timedelta(milliseconds=step),
        buckets=buckets,
        namespace=namespace,
        workflow=workflow,
    )
    found = await scope.store.run_activity(query)
    return Series(bucket_seconds=step / 1000, points=[SeriesPoint.of(each) for each in found])


def _window(text: str) -> timedelta:
    try:
        window = parse_duration(text)
    except ValueError as error:
        raise _refused(str(error)) from error
    if not _SHORTEST <= window <= _LONGEST:
        raise _refused(f"window must be 1 minute to 90 days, got {shown(text)}")
    return window


def _refused(message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("query", "window"), "msg": message, "type": "value_error", "input": None}])


def _millis(duration: timedelta | None) -> float | None:
    return None if duration is None else duration / timedelta(milliseconds=1)


def activity_routes() -> APIRouter:
    """Return the route."""
    router = APIRouter(route_class=ProblemRoute)
    router.get("/metrics/series", operation_id="readSeries", responses=problem_responses())(read_series)
    return router
