"""The open live streams: limited in number, with shared reads, and woken by live events of this process."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar
from weakref import WeakValueDictionary, finalize

from fastapi.responses import StreamingResponse

from fastapi_durable.engine.core.live_events import LiveEvent, LiveEvents
from fastapi_durable.model.errors import DurableError
from fastapi_durable.web.problems import TooManyStreamsError
from fastapi_durable.web.server_exit import cut_connection, server_is_stopping

T = TypeVar("T")

_MOST_STREAMS: Final = 100
_MOST_OF_ONE: Final = 25
_MOST_EVENTS: Final = 500
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True)
class State:
    """The stored state. `id` changes whenever the state does."""

    event: str
    id: str
    data: dict[str, Any]


Read = Callable[[], Awaitable[T]]


class SharedRead(Generic[T]):
    """The latest read of one subject, for all streams that follow it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._begun_at = float("-inf")
        self._found: list[T] = []

    async def fresh(self, read: Read[T], *, gap: float) -> T:
        """Return the result of a read that begins after this call, and `gap` seconds after the last one."""
        loop = asyncio.get_running_loop()
        return await self._read(read, since=loop.time(), gap=gap)

    async def recent(self, read: Read[T], *, age: float) -> T:
        """Return the result of a read, or of one that began in the last `age` seconds."""
        return await self._read(read, since=asyncio.get_running_loop().time() - age, gap=0)

    async def _read(self, read: Read[T], *, since: float, gap: float) -> T:
        loop = asyncio.get_running_loop()
        async with self._lock:
            if not self._found or self._begun_at < since:
                await asyncio.sleep(max(0.0, self._begun_at + gap - loop.time()))
                self._begun_at = loop.time()
                self._found = [await read()]
            return self._found[0]


@dataclass(slots=True)
class Streams:
    """The open streams of one router.

    Attributes:
        interval: Seconds between two reads of the store without a notification, because other processes change runs,
            too. A stream also notices within this time that the server stops.
        lifetime: Seconds until a stream ends.
        gap: Minimum number of seconds between two reads of the same subject, for all its streams together.
        patience: Seconds that a reader may take to read what was sent, beyond `lifetime`. Then the connection is cut.
    """

    interval: float
    lifetime: float
    gap: float = 0.25
    patience: float = 5.0
    _places: Counter[Hashable] = field(default_factory=Counter)
    _reads: WeakValueDictionary[Hashable, SharedRead[Any]] = field(default_factory=WeakValueDictionary)

    def shared(self, key: Hashable) -> SharedRead[Any]:
        """Share the reads of one state between all streams that show it."""
        found = self._reads.get(key)
        if found is None:
            found = self._reads[key] = SharedRead()
        return found

    async def open(
        self,
        key: Hashable,
        read: Read[State],
        last_event_id: str | None,
        *,
        live: LiveEvents,
        follow: "Follow",
        owner: Hashable = None,
    ) -> StreamingResponse:
        """Return a stream of the states of one subject.

        Args:
            key: The subject. Streams of one key share their reads.
            last_event_id: The state that the caller knows.
            live: The live events of this process.
            follow: Which of these events concern the subject, and whether to pass them on.
            owner: The caller on whose share the stream counts. None: no caller.

        Raises:
            TooManyStreamsError: the router, or the caller, has as many streams as allowed.
        """
        # Before the first wait, so that callers in the meantime see that the place is taken.
        self._take_place(owner)
        try:
            shared = self.shared(key)
            # An error is raised now, while the response can still have a status.
            first = await shared.fresh(read, gap=self.gap)
            events = self._events(shared, first, read, last_event_id, live, follow)
            limits = StreamLimits(self.interval, self.lifetime + self.patience)
            return EventStream(events, limits, partial(self._give_back, owner))
        except BaseException:
            self._give_back(owner)
            raise

    def _take_place(self, owner: Hashable) -> None:
        if self._places.total() >= _MOST_STREAMS:
            raise TooManyStreamsError(
                f"{_MOST_STREAMS} live streams are open, the most that one application serves. Try again later"
            )
        if owner is not None and self._places[owner] >= _MOST_OF_ONE:
            raise TooManyStreamsError(
                f"you have {_MOST_OF_ONE} open live streams, the most that one user gets. Close one"
            )
        self._places[owner] += 1

    def _give_back(self, owner: Hashable) -> None:
        self._places[owner] -= 1
        if not self._places[owner]:
            del self._places[owner]

    async def _events(
        self,
        shared: SharedRead[State],
        state: State,
        read: Read[State],
        last_event_id: str | None,
        live: LiveEvents,
        follow: "Follow",
    ) -> AsyncIterator[str]:
        yield "retry: 500\n\n"
        seen = last_event_id
        loop = asyncio.get_running_loop()
        end = loop.time() + self.lifetime
        heard = _Heard(follow)
        stop = live.listen(heard.hear)
        try:
            while True:
                if state.id != seen:
                    seen = state.id
                    yield f"id: {state.id}\n{_message(state.event, state.data)}"
                left = end - loop.time()
                if left <= 0:
                    return
                await heard.anything(min(self.interval, left))
                if server_is_stopping():
                    return
                for event in heard.taken():
                    yield _message("live", event)
                try:
                    state = await shared.fresh(read, gap=self.gap)
                except DurableError:
                    # The store cannot be reached, or the run was deleted. The next connection reports that, or
                    # continues.
                    return
        finally:
            stop()


@dataclass(frozen=True, slots=True)
class Follow:
    """The events that concern a stream: of one namespace, or of one run. `passed_on`: whether the reader receives them,
    too.
    """

    namespace: str | None
    run_id: str | None = None
    passed_on: bool = False

    def concerns(self, event: LiveEvent) -> bool:
        return self.namespace in (None, event.namespace) and self.run_id in (None, event.run_id)


class _Heard:
    """The events since the last read of a stream, the newest ones if there are many."""

    def __init__(self, follow: Follow) -> None:
        self._follow = follow
        self._happened = asyncio.Event()
        self._events: list[dict[str, Any]] = []

    def hear(self, event: LiveEvent) -> None:
        if self._follow.concerns(event):
            self._happened.set()
            if self._follow.passed_on:
                self._events.append(_told(event))
                del self._events[:-_MOST_EVENTS]

    async def anything(self, timeout: float) -> None:
        """Return when an event has come, or after a number of seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._happened.wait()
        except TimeoutError:
            pass

    def taken(self) -> list[dict[str, Any]]:
        self._happened.clear()
        events, self._events = self._events, []
        return events


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How long a stream may be sent. `look`: seconds between two checks whether the server stops."""

    look: float
    whole: float


class EventStream(StreamingResponse):
    """Holds a place until it has been sent, or until it is dropped without being sent.

    A reader that does not read keeps `send` waiting. The time for that is limited, so it neither keeps its place nor
    delays a server that stops.
    """

    def __init__(self, events: AsyncIterator[str], limits: StreamLimits, give_back: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=_HEADERS)
        self._events = events
        self._limits = limits
        self._give_back = finalize(self, give_back)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        limit = asyncio.timeout(self._limits.whole)
        hurry = asyncio.create_task(self._hurry(limit))
        try:
            async with limit:
                try:
                    await super().__call__(scope, receive, send)
                finally:
                    hurry.cancel()
        except TimeoutError:
            if not limit.expired():
                raise
            await cut_connection(scope)
        finally:
            self._give_back()
            aclose = getattr(self._events, "aclose", None)
            if aclose is not None:
                await aclose()

    async def _hurry(self, limit: asyncio.Timeout) -> None:
        """When the server stops, a stream whose reader reads ends at its next check. The server does not wait for the
        others.
        """
        while not server_is_stopping():  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(self._limits.look)
        await asyncio.sleep(2 * self._limits.look)
        limit.reschedule(asyncio.get_running_loop().time())


def _message(event: str, data: dict[str, Any]) -> str:
    return f"event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


def _told(event: LiveEvent) -> dict[str, Any]:
    """Return the event without inputs and outputs, which `readRun` returns."""
    return {
        "type": event.type,
        "at": event.at.isoformat(),
        "run_id": event.run_id,
        "seq": event.seq,
        "name": event.name,
        "attempt": event.attempt,
        "duration_ms": None if event.duration is None else event.duration.total_seconds() * 1000,
        "error": None if event.error is None else event.error.message,
        "progress": event.progress,
    }
