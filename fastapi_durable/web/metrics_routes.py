"""The endpoint for Prometheus."""

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from fastapi_durable.web.exposition import MEDIA_TYPE, exposition
from fastapi_durable.web.problems import ProblemRoute, problem_responses
from fastapi_durable.web.scope import ScopeDep


async def read_metrics(scope: ScopeDep) -> PlainTextResponse:
    """Return gauges of stored runs, and counters and histograms of this process, for Prometheus."""
    text = await exposition(scope.runtime, scope.gateway, of_process=scope.sees_everything)
    return PlainTextResponse(text, media_type=MEDIA_TYPE)


def metrics_routes() -> APIRouter:
    """Return the route."""
    router = APIRouter(route_class=ProblemRoute)
    router.get(
        "/metrics",
        operation_id="readMetrics",
        response_class=PlainTextResponse,
        responses=problem_responses(),
    )(read_metrics)
    return router
