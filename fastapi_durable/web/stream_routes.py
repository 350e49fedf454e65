"""The console's live streams (server-sent events): one run, or all that a filter selects.

A stream tells states, not a log: each event says what is stored now, and its id is a digest of that. Whoever reconnects
with `Last-Event-ID` is told at once if anything changed since, and nothing otherwise, so no change can be missed, not
even one made by another process. The store is asked every second.

A stream ends after a quarter of a minute and the browser opens the next: a server that shuts down waits for answers
that are still open.
"""

import asyncio
import hashlib
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from fastapi_durable.errors import DurableError
from fastapi_durable.web.problems import ProblemRoute, TooManyStreamsError, problem_responses
from fastapi_durable.web.run_filters import run_query
from fastapi_durable.web.run_routes import MOST_CHILDREN, FilterDep, facets_of, version_of
from fastapi_durable.web.schemas import RunId, RunSummary
from fastapi_durable.web.scope import ConsoleScope, ScopeDep

_INTERVAL = 1.0
_LIFETIME = 15.0
_COUNTED_EVERY = 5
_MOST_STREAMS = 100
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=200)]


@dataclass(slots=True)
class StreamPlaces:
    """How many streams one router has open; each of them asks the database every second."""

    limit: int = _MOST_STREAMS
    taken: int = 0


@dataclass(frozen=True, slots=True)
class _State:
    event: str
    id: str
    data: dict[str, Any]


Read = Callable[[], Awaitable[_State]]


def stream_routes(*, interval: float = _INTERVAL, lifetime: float = _LIFETIME) -> APIRouter:
    """Live streams.

    Args:
        interval: Seconds between two looks at the store.
        lifetime: Seconds until a stream ends.
    """
    router = APIRouter(route_class=ProblemRoute)
    places = StreamPlaces()

    async def stream_runs(
        scope: ScopeDep,
        selected: FilterDep,
        limit: Annotated[int, Query(ge=1, le=100, description="The newest runs at most.")] = 50,
        last_event_id: LastEventId = None,
    ) -> StreamingResponse:
        """Follow the newest runs that match, and the counts by status, as they change."""
        query = replace(run_query(selected), limit=limit)
        clock = asyncio.get_running_loop().time
        counts: dict[str, Any] = {}
        counted_at = -math.inf

        async def read() -> _State:
            nonlocal counts, counted_at
            runs = [RunSummary.of(each).model_dump(mode="json") for each in await scope.gateway.list_runs(query)]
            # Counting costs more than listing, and nobody reads the counts of a busy list every second.
            if clock() - counted_at >= _COUNTED_EVERY * interval:
                facets = await facets_of(scope, query)
                facets.facets.sort(key=lambda each: (each.status, each.origin or ""))
                counts, counted_at = facets.model_dump(mode="json"), clock()
            data = {"runs": runs, **counts}
            return _State("runs", _digest(data), data)

        return await _streamed(read, places, last_event_id, interval, lifetime)

    async def stream_run(run_id: RunId, scope: ScopeDep, last_event_id: LastEventId = None) -> StreamingResponse:
        """Follow one run: an event tells its new version, and `readRun` has the rest."""
        await scope.run(run_id)

        async def read() -> _State:
            return await _run_state(scope, run_id)

        return await _streamed(read, places, last_event_id, interval, lifetime)

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


async def _run_state(scope: ConsoleScope, run_id: str) -> _State:
    run = await scope.store.find_run(run_id)
    if run is None:
        return _State("deleted", "deleted", {"id": run_id})
    history = await scope.gateway.history_state(run_id)
    children = await scope.gateway.list_children(run_id, limit=MOST_CHILDREN)
    version = version_of(run, history.version, [each.run for each in children])
    return _State("run", version, {"id": run_id, "status": run.status, "version": version})


async def _streamed(
    read: Read, places: StreamPlaces, last_event_id: str | None, interval: float, lifetime: float
) -> StreamingResponse:
    if places.taken >= places.limit:
        raise TooManyStreamsError(f"{places.limit} live streams are open, which is as many as one application serves")
    first = await read()  # what is wrong shows now, while there is a status to say it with
    return _Stream(_events(first, read, last_event_id, interval, lifetime), places)


async def _events(
    state: _State, read: Read, last_event_id: str | None, interval: float, lifetime: float
) -> AsyncIterator[str]:
    yield "retry: 500\n\n"
    seen = last_event_id
    loop = asyncio.get_running_loop()
    end = loop.time() + lifetime
    while True:
        if state.id != seen:
            seen = state.id
            yield f"id: {state.id}\nevent: {state.event}\ndata: {json.dumps(state.data, separators=(',', ':'))}\n\n"
        if loop.time() + interval > end:
            return
        await asyncio.sleep(interval)
        try:
            state = await read()
        except DurableError:
            # The store is away: the next connection will say so, or find it back.
            return


class _Stream(StreamingResponse):
    """Holds a place while it is sent, whichever way it ends."""

    def __init__(self, events: AsyncIterator[str], places: StreamPlaces) -> None:
        super().__init__(events, media_type="text/event-stream", headers=_HEADERS)
        self._events = events
        self._places = places

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._places.taken += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._places.taken -= 1
            aclose = getattr(self._events, "aclose", None)
            if aclose is not None:
                await aclose()


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:20]
