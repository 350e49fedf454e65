"""Gauges in Prometheus' text format: what is stored, and what this process does."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from fastapi_durable.model import RunStatus
from fastapi_durable.web.problems import ProblemRoute, problem_responses
from fastapi_durable.web.scope import ConsoleScope, ScopeDep

_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def read_metrics(scope: ScopeDep) -> PlainTextResponse:
    """Show counts of runs by status, and how this process's worker is doing, for Prometheus to fetch."""
    counts = dict.fromkeys(RunStatus, 0)
    for facet in await scope.gateway.run_facets():
        counts[facet.status] += facet.count
    lines = [
        "# HELP durable_runs Runs that are stored, by status.",
        "# TYPE durable_runs gauge",
        *(f'durable_runs{{status="{status}"}} {count}' for status, count in counts.items()),
        *_worker_lines(scope),
    ]
    return PlainTextResponse("\n".join(lines) + "\n", media_type=_MEDIA_TYPE)


def _worker_lines(scope: ConsoleScope) -> list[str]:
    worker = scope.runtime.worker
    if worker is None or not scope.sees_everything:
        return []
    health = worker.health()
    return [
        "# HELP durable_worker_up Whether this process's worker runs.",
        "# TYPE durable_worker_up gauge",
        f"durable_worker_up {int(health.alive)}",
        "# HELP durable_worker_runs_in_flight Runs that this process drives now.",
        "# TYPE durable_worker_runs_in_flight gauge",
        f"durable_worker_runs_in_flight {health.in_flight}",
    ]


def metrics_routes() -> APIRouter:
    """The endpoint for Prometheus."""
    router = APIRouter(route_class=ProblemRoute)
    router.get(
        "/metrics",
        operation_id="readMetrics",
        response_class=PlainTextResponse,
        responses=problem_responses(),
    )(read_metrics)
    return router
