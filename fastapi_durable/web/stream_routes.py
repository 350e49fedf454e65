"""The console's live streams (server-sent events): one run, or all runs that a filter selects.

A stream sends states, not a log: each event says what is stored now, and its id is a digest of that state. A browser
that reconnects with `Last-Event-ID` receives the current state if it has changed, and nothing otherwise. So no change
is missed, even one of another process. A change in this process is sent at once. For changes of other processes, the
server asks the store every second. The stream of one run also passes on its live events of this process, as `live`
events without an id.

A server that shuts down waits for open responses. So a stream ends within a second after uvicorn was asked to stop.
Other servers do not report it, so a stream also ends after 15 seconds, and the browser opens the next one.
"""

import hashlib
import json
from collections.abc import Hashable
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from fastapi_durable.web.problems import ProblemRoute, problem_responses
from fastapi_durable.web.run_filters import run_query
from fastapi_durable.web.run_routes import FilterDep, current_version, facets_of
from fastapi_durable.web.schemas import RunId, RunSummary
from fastapi_durable.web.scope import ConsoleScope, ScopeDep
from fastapi_durable.web.streams import Follow, State, Streams

_INTERVAL = 1.0
_LIFETIME = 15.0
_COUNTED_EVERY = 5

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=200)]


def stream_routes(*, interval: float = _INTERVAL, lifetime: float = _LIFETIME) -> APIRouter:
    """Return the routes of live streams.

    Args:
        interval: Seconds between two reads of the store.
        lifetime: Seconds until a stream ends.
    """
    router = APIRouter(route_class=ProblemRoute)
    streams = Streams(interval, lifetime)

    async def stream_runs(
        scope: ScopeDep,
        selected: FilterDep,
        limit: Annotated[int, Query(ge=1, le=100, description="Maximum number of runs, the newest first.")] = 50,
        last_event_id: LastEventId = None,
    ) -> StreamingResponse:
        """Follow the newest runs that match, and the counts by status, as they change."""
        query = replace(run_query(selected), limit=limit)
        counts = streams.shared(("counts", scope.namespace, query))

        async def count() -> dict[str, Any]:
            facets = await facets_of(scope, query)
            facets.facets.sort(key=lambda each: (each.status, each.origin or ""))
            return facets.model_dump(mode="json")

        async def read() -> State:
            runs = [RunSummary.of(each).model_dump(mode="json") for each in await scope.gateway.list_runs(query)]
            # Counting costs more than listing, and a busy list does not need new counts every second.
            data = {"runs": runs, **await counts.recent(count, age=_COUNTED_EVERY * interval)}
            return State("runs", _digest(data), data)

        follow = Follow(scope.namespace)
        live = scope.runtime.service.events
        key = (scope.namespace, query)
        return await streams.open(key, read, last_event_id, live=live, follow=follow, owner=_owner(scope))

    async def stream_run(run_id: RunId, scope: ScopeDep, last_event_id: LastEventId = None) -> StreamingResponse:
        """Follow one run. An event contains its new version, and `readRun` returns the rest."""
        await scope.run(run_id)

        async def read() -> State:
            return await _run_state(scope, run_id)

        follow = Follow(scope.namespace, run_id, passed_on=True)
        live = scope.runtime.service.events
        key = (scope.namespace, run_id)
        return await streams.open(key, read, last_event_id, live=live, follow=follow, owner=_owner(scope))

    described: dict[int | str, dict[str, Any]] = {
        200: {"description": "Server-sent events.", "content": {"text/event-stream": {"schema": {}}}}
    }
    router.get(
        "/runs/stream",
        operation_id="streamRuns",
        response_class=StreamingResponse,
        responses={**problem_responses(), **described},
    )(stream_runs)
    router.get(
        "/runs/{run_id:path}/stream",
        operation_id="streamRun",
        response_class=StreamingResponse,
        responses={**problem_responses(HTTPStatus.NOT_FOUND), **described},
    )(stream_run)
    return router


def _owner(scope: ConsoleScope) -> Hashable:
    """Return the user, or else the tenant, whose limit of streams counts. None if callers cannot be told apart."""
    if scope.user is not None:
        return scope.user.name, scope.namespace
    return None if scope.sees_everything else scope.namespace


async def _run_state(scope: ConsoleScope, run_id: str) -> State:
    run = await scope.store.find_run(run_id)
    if run is None:
        return State("deleted", "deleted", {"id": run_id})
    version = await current_version(scope, run)
    return State("run", version, {"id": run_id, "status": run.status, "version": version})


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:20]
