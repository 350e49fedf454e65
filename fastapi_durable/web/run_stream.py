"""A run's stream as server-sent events: the route of `DurableModule.stream_router`.

Each item is an event whose id is its offset, so a browser that reconnects continues after its last item: no item is
missing or repeated. The end has an id of its own. A browser that reconnects with that id gets a 204, and stops. A
browser that lost the connection just before the end still receives it.

For a path operation of the application, FastAPI's own server-sent events are suitable; docs/how-to/streams.md shows
one. This response also ends when the server stops, limits how long a reader may not read, and takes one of a limited
number of places.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Response, params
from fastapi.responses import StreamingResponse

from fastapi_durable.app.runtime import DurableRuntime, RuntimePart
from fastapi_durable.engine.runs.stream_reader import StreamReader, reader_of
from fastapi_durable.model.errors import ConfigurationError, DurableError, StoreConflictError, StoreUnavailableError
from fastapi_durable.model.records import StreamRow, StreamRowKind
from fastapi_durable.model.text import shown
from fastapi_durable.service.streams import checked_offset
from fastapi_durable.web.problems import ProblemRoute, TooManyStreamsError, problem_responses
from fastapi_durable.web.schemas import RunId
from fastapi_durable.web.server_exit import server_is_stopping
from fastapi_durable.web.streams import EventStream, StreamLimits

_END: Final = "end"
_LOOK: Final = 1.0
"""Seconds between two checks whether the server stops."""
_PATIENCE: Final = 5.0
_RETRY: Final = 500
_RETRY_IN_OUTAGE: Final = 2000
"""Milliseconds after which a browser reconnects."""

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", pattern=r"^(end|[0-9]{1,10})$")]
After = Annotated[int | None, Query(ge=0, description="Continue after this offset. `Last-Event-ID` takes precedence.")]


@dataclass(slots=True)
class _Places:
    """The open responses of a router. Attributes: `heartbeat` and `lifetime` in seconds."""

    most: int
    heartbeat: float
    lifetime: float
    taken: int = 0

    def take(self, stack: ExitStack) -> None:
        if self.taken >= self.most:
            raise TooManyStreamsError(
                f"this stream has {self.most} open responses, the most that `max_readers` allows. Try again later"
            )
        self.taken += 1
        stack.callback(self._give_back)

    def _give_back(self) -> None:
        self.taken -= 1


def run_stream_router(
    module: object,
    name: str,
    *,
    prefix: str,
    dependencies: Sequence[params.Depends],
    allow_unauthenticated: bool,
    heartbeat: float,
    lifetime: float,
    max_readers: int,
) -> APIRouter:
    """Return the route of one stream; see `DurableModule.stream_router`."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", name):
        raise ConfigurationError(
            f"the name of a stream in a path must be 1-200 letters, digits, '.', '_' or '-', got {shown(name)}"
        )
    if not dependencies and not allow_unauthenticated:
        raise ConfigurationError(
            "stream_router must have dependencies=[Depends(...)] that decide who may read the run `run_id`, got "
            "none. For a public stream, pass allow_unauthenticated=True"
        )
    places = _Places(max_readers, heartbeat, lifetime)
    router = APIRouter(prefix=prefix, route_class=ProblemRoute, dependencies=list(dependencies))
    part: RuntimePart[DurableRuntime] = RuntimePart("get_durable_runtime", lambda runtime: runtime, module)

    @router.get(
        f"/{{run_id:path}}/{name}",
        summary=f"Follow the stream {name} of a run",
        response_class=StreamingResponse,
        responses={
            **problem_responses(HTTPStatus.NOT_FOUND),
            200: {"description": "Server-sent events.", "content": {"text/event-stream": {"schema": {}}}},
            204: {"description": "The caller has already received the end of the stream."},
        },
    )
    async def follow_stream(
        run_id: RunId,
        runtime: Annotated[DurableRuntime, Depends(part)],
        last_event_id: LastEventId = None,
        after: After = None,
    ) -> Response:
        """Events: `item` with `offset`, `step`, `attempt`, `at` and `data`; `restart` where a step begins again; `run`
        with the run's `status` whenever it changes; and `end`."""
        if last_event_id == _END:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        offset = checked_offset(after if last_event_id is None else int(last_event_id))
        stack = ExitStack()
        try:
            places.take(stack)
            reader = stack.enter_context(reader_of(runtime.kernel, run_id, name, offset))
            events = await _opened(reader, places)
            return EventStream(events, StreamLimits(_LOOK, lifetime + _PATIENCE), stack.close)
        except BaseException:
            stack.close()
            raise

    return router


async def _opened(reader: StreamReader, places: _Places) -> AsyncIterator[str]:
    """Return the events. An invalid request raises now, while the response can still have a status."""
    try:
        return _events(reader, await reader.read(), places)
    except (StoreUnavailableError, StoreConflictError):
        # A browser does not repeat a stream that responds with an error, but repeats one that ends.
        return _come_again()


async def _come_again() -> AsyncIterator[str]:
    yield f"retry: {_RETRY_IN_OUTAGE}\n\n"


async def _events(reader: StreamReader, rows: list[StreamRow], places: _Places) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    end = loop.time() + places.lifetime
    yield f"retry: {_RETRY}\n\n"
    told, sent_at = None, loop.time()
    while True:
        if reader.status is not told:
            told = reader.status
            yield _message("run", {"status": told})
        for row in rows:
            if row.kind is StreamRowKind.RESTART:
                yield _message("restart", {"step": row.step_id, "attempt": row.attempt})
            yield _message("item", _shown(row), event_id=str(row.item_offset))
            sent_at = loop.time()
        if reader.has_ended:
            yield _message(_END, {"status": reader.status}, event_id=_END)
            return
        heard = bool(rows)
        while not heard:
            left = end - loop.time()
            if left <= 0 or server_is_stopping():
                return
            if loop.time() - sent_at >= places.heartbeat:
                yield ":\n\n"
                sent_at = loop.time()
            heard = await reader.wait(min(_LOOK, places.heartbeat, left))
        if end <= loop.time() or server_is_stopping():
            return
        try:
            rows = await reader.read()
        except DurableError:
            # The store cannot be reached, or the run was deleted. The next connection reports that, or continues.
            return


def _shown(row: StreamRow) -> dict[str, Any]:
    return {
        "offset": row.item_offset,
        "step": row.step_id or None,
        "attempt": row.attempt,
        "at": row.appended_at.isoformat(),
        "data": row.data,
    }


def _message(event: str, data: dict[str, Any], *, event_id: str | None = None) -> str:
    start = "" if event_id is None else f"id: {event_id}\n"
    return f"{start}event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
