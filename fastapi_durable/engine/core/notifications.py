"""Notifications inside one process and, if they are joined, between processes. Polling finds what they miss."""

import asyncio
import heapq
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final

from fastapi_durable.engine.core.delay import Delay, Delayed
from fastapi_durable.model.records import Run
from fastapi_durable.wakeups.base import Publish, Topic, Wakeup

_log = logging.getLogger("fastapi_durable")

_PLANNED_WAKES = 10_000
"""Number of wake-ups kept in memory. Polling finds the others."""


SELDOM: Final = timedelta(seconds=1)
"""The longest pause between two reads of an awaited run. Most runs end earlier, so one timer serves all waiters."""


class RunWatch:
    """Tells a caller that one run has ended, and perhaps how.

    Attributes:
        run: The run as it ended, if the notification says so.
    """

    def __init__(self, watches: "defaultdict[str, set[RunWatch]]", run_id: str, seldom: Delay) -> None:
        self.run: Run | None = None
        self._seldom = seldom
        self._watches = watches
        self._run_id = run_id
        self._is_told = False
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> "RunWatch":
        self._watches[self._run_id].add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        watches = self._watches[self._run_id]
        watches.discard(self)
        if not watches:
            del self._watches[self._run_id]

    def tell(self, run: Run | None) -> None:
        """Note that something happened to the run. `run` is the ended run, if it has ended and is known."""
        self.run = run
        self._is_told = True
        _release(self._waiter)

    def forget(self) -> None:
        """Forget earlier notifications: a read of the run that begins now sees what they were about."""
        self._is_told = False

    async def wait(self, limit: timedelta = SELDOM) -> bool:
        """Wait for a notification since `forget`, up to a limit. Return whether there was one."""
        if not self._is_told:
            loop = asyncio.get_running_loop()
            self._waiter = waiter = loop.create_future()
            timer: Delayed | asyncio.TimerHandle
            if limit is SELDOM:
                timer = self._seldom.call(lambda: _release(waiter))
            else:
                timer = loop.call_later(limit.total_seconds(), _release, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
        return self._is_told


def _release(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


class StreamWatch:
    """Tells a reader that a run's streams may have new items, and perhaps that the run has ended."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.finished = False


class Notifications:
    """Tells the worker that there is work, and callers that a run has finished.

    Attributes:
        driven_here: Ids of the runs that the worker of this process drives now. The worker updates them.
    """

    def __init__(self) -> None:
        self._work = asyncio.Event()
        self._wakes: list[datetime] = []
        self._cancel_listeners: list[Callable[[str], None]] = []
        self._pause_listeners: list[Callable[[str], None]] = []
        self._hint_listeners: list[Callable[[str], None]] = []
        self._delivery_listeners: list[Callable[[str], None]] = []
        self._watches: defaultdict[str, set[RunWatch]] = defaultdict(set)
        self._stream_watches: defaultdict[str, set[StreamWatch]] = defaultdict(set)
        self._seldom = Delay(SELDOM.total_seconds())
        self._value_watches: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.driven_here: set[str] = set()
        self._peers: list[Publish] = []

    @contextmanager
    def joined_to(self, publish: Publish) -> Iterator[None]:
        """Notify other processes as well while the block is open, and receive their notifications."""
        self._peers.append(publish)
        try:
            yield
        finally:
            self._peers.remove(publish)

    def on_message(self, word: Wakeup) -> None:
        """Handle a notification of another process. It is not passed on.

        It is only a hint, because anyone who can connect to the database can send one. Receivers read the store, and
        act on what they find.
        """
        match word.topic:
            case Topic.WORK:
                self._work.set()
            case Topic.FINISHED:
                self._finished(word.run_id, None)
            case Topic.CANCELLED:
                self._hint_at(word.run_id)
                self._finished(word.run_id, None)
            case Topic.PAUSED:
                self._hint_at(word.run_id)
            case Topic.DELIVERED:
                self._delivered(word.run_id)
            case Topic.STREAM:
                self._stream_grew(word.run_id)
            case Topic.VALUE:
                self._value_set(word.run_id)

    def work_available(self) -> None:
        """Report that a run may be claimable now."""
        self._work.set()
        self._tell(Topic.WORK)

    def wake_planned(self, at: datetime) -> None:
        """Report that a run will be claimable at `at`."""
        if len(self._wakes) < _PLANNED_WAKES:
            earliest = not self._wakes or at < self._wakes[0]
            heapq.heappush(self._wakes, at)
            if earliest:
                self._work.set()

    def next_wake(self, now: datetime) -> datetime | None:
        """Return the first planned wake-up after `now`, and forget those that have come."""
        while self._wakes and self._wakes[0] <= now:
            heapq.heappop(self._wakes)
        return self._wakes[0] if self._wakes else None

    async def wait_for_work(self) -> None:
        await self._work.wait()

    def take_work(self) -> None:
        """Reset the notification of work. Call it before the poll, so that a notification during the poll is not
        lost.
        """
        self._work.clear()

    def on_run_cancelled(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call a listener for each cancel that this process makes or notices. Return a function that removes the
        listener.
        """
        self._cancel_listeners.append(listener)

        def remove() -> None:
            if listener in self._cancel_listeners:
                self._cancel_listeners.remove(listener)

        return remove

    def on_pause(self, listener: Callable[[str], None]) -> None:
        """Call the worker of this process for each run that this process pauses."""
        self._pause_listeners.append(listener)

    def on_hint(self, listener: Callable[[str], None]) -> None:
        """Call the worker of this process when another process reports a run as cancelled or paused."""
        self._hint_listeners.append(listener)

    def _hint_at(self, run_id: str) -> None:
        for listener in self._hint_listeners:
            listener(run_id)

    def on_delivery(self, listener: Callable[[str], None]) -> None:
        """Call the worker of this process for deliveries to runs that are being driven, here or elsewhere."""
        self._delivery_listeners.append(listener)

    def delivered(self, run_id: str) -> None:
        """Report that a driven run received something, so that the call that waits for it continues at once."""
        self._delivered(run_id)
        self._tell(Topic.DELIVERED, run_id)

    def _delivered(self, run_id: str) -> None:
        for listener in self._delivery_listeners:
            listener(run_id)

    def run_cancelled(self, run_id: str) -> None:
        """Report that a run was cancelled or is to be cancelled, so that its worker checks it."""
        self._cancelled(run_id)
        self._tell(Topic.CANCELLED, run_id)

    def _cancelled(self, run_id: str) -> None:
        for listener in list(self._cancel_listeners):
            try:
                listener(run_id)
            except Exception:
                # This is a listener of the application. Its error must not affect the other listeners or the cancel.
                _log.exception("a listener for cancelled runs failed for run %s", run_id)
        self._finished(run_id, None)

    def run_paused(self, run_id: str) -> None:
        """Report that a run was paused, so that its worker stops it at its next call."""
        for listener in self._pause_listeners:
            listener(run_id)
        self._tell(Topic.PAUSED, run_id)

    def run_finished(self, run_id: str, run: Run | None = None) -> None:
        """Report that a run has ended. `run` is the stored run, if it is known."""
        self._finished(run_id, run)
        self._tell(Topic.FINISHED, run_id)

    def _tell(self, topic: Topic, run_id: str = "") -> None:
        for publish in self._peers:
            publish(Wakeup(topic, run_id))

    def stream_grew(self, run_id: str) -> None:
        """Report that items were appended to a stream of the run."""
        self._stream_grew(run_id)
        self._tell(Topic.STREAM, run_id)

    def _stream_grew(self, run_id: str, *, finished: bool = False) -> None:
        for watch in self._stream_watches.get(run_id, ()):
            watch.finished = watch.finished or finished
            watch.heard.set()

    @contextmanager
    def watch_streams(self, run_id: str) -> Iterator[StreamWatch]:
        """Watch the run's streams, and its end, while the block is open."""
        watch = StreamWatch()
        watches = self._stream_watches[run_id]
        watches.add(watch)
        try:
            yield watch
        finally:
            watches.discard(watch)
            if not watches:
                self._stream_watches.pop(run_id, None)

    def value_set(self, run_id: str) -> None:
        """Report that a value of the run was stored."""
        self._value_set(run_id)
        self._tell(Topic.VALUE, run_id)

    def _value_set(self, run_id: str) -> None:
        for heard in self._value_watches.get(run_id, ()):
            heard.set()

    @contextmanager
    def watch_values(self, run_id: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set when the run sets a value or ends, while the block is open."""
        heard = asyncio.Event()
        watches = self._value_watches[run_id]
        watches.add(heard)
        try:
            yield heard
        finally:
            watches.discard(heard)
            if not watches:
                self._value_watches.pop(run_id, None)

    def _finished(self, run_id: str, run: Run | None) -> None:
        self._stream_grew(run_id, finished=True)
        self._value_set(run_id)
        for watch in self._watches.get(run_id, ()):
            watch.tell(run)

    def watch_run(self, run_id: str) -> RunWatch:
        """Return a context that watches for the end of the run in this process."""
        return RunWatch(self._watches, run_id, self._seldom)
