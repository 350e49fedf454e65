"""The streams of one run under one lease: the items that are queued, being written, and stored.

Offsets have no gaps, and items are stored in order. So a reader that has seen an offset has missed nothing below it.
Two rules ensure that. Each run has one write in progress at a time (`lock`). And items that were taken for a write keep
their offsets until they are known to be stored: a write without an answer is repeated before any other write.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

from fastapi_durable.model.clock import Clock
from fastapi_durable.model.errors import StoreConflictError, StoreUnavailableError, StreamClosedError, StreamFullError
from fastapi_durable.model.records import Json, StreamRow, StreamRowKind
from fastapi_durable.store.base import StateStore

T = TypeVar("T")

_BUFFERED_ITEMS: Final = 1000
_BUFFERED_BYTES: Final = 1_000_000
"""Limit for one run. Further appends wait until items are written."""
_ROWS_AT_ONCE: Final = 200
_STREAMS_OF_RUN: Final = 100
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0

Write = Callable[[Sequence[StreamRow]], Awaitable[tuple[T, bool]]]


@dataclass(frozen=True, slots=True)
class Draft:
    """An item that has no offset yet; `size` is that of its JSON text in bytes."""

    kind: StreamRowKind
    data: Json = None
    size: int = 0
    step_id: str = ""
    attempt: int = 1


class Writing(Protocol):
    """The interface of the writer that the streams of a run need."""

    store: StateStore
    clock: Clock
    max_items: int

    def wake(self, run: "RunStreams", *, hurry: bool = False) -> None:
        """Write the queued items. `hurry`: a caller waits for it."""

    async def write(self, runs: Sequence["RunStreams"]) -> None:
        """Write what these runs have queued; their locks are held."""

    def tell(self, run_id: str) -> None:
        """Report that a stream of the run has grown."""


@dataclass(slots=True)
class _Stream:
    """A stream: how many rows it has, how many more are queued, and the last attempt of each step."""

    length: int = 0
    queued: int = 0
    is_closed: bool = False
    attempts: dict[str, int] = field(default_factory=dict)


class RunStreams:
    """The items that one owner of a run appends. The writer holds the attribute `lock`."""

    def __init__(self, writer: Writing, run_id: str, token: str) -> None:
        self.run_id = run_id
        self.token = token
        self.lock = asyncio.Lock()
        self._writer = writer
        self._streams: dict[str, _Stream] | None = None
        self._is_uncertain = False
        self._queue: list[tuple[str, Draft, datetime]] = []
        self._queued_bytes = 0
        self._pending: list[StreamRow] = []
        self._added = 0
        self._written = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._space = asyncio.Event()
        self._failure: Exception | None = None
        self._refusal: Exception | None = None

    # What steps and bodies call

    async def begin(self, name: str, step_id: str, attempt: int) -> tuple[int, StreamRowKind]:
        """Return the number of the attempt that begins to append to a stream, and the kind of its first item.

        It is the number of the step's attempt, or a higher one: a crash repeats an attempt under its number.

        Raises:
            StreamFullError: the run has too many streams.
            LeaseLostError: the run has another owner.
        """
        stream = await self._known(name)
        last = stream.attempts.get(step_id)
        number = attempt if last is None else max(attempt, last + 1)
        stream.attempts[step_id] = number
        return number, StreamRowKind.ITEM if last is None else StreamRowKind.RESTART

    async def add(self, name: str, draft: Draft) -> None:
        """Queue an item. Wait while too many items are queued.

        Raises:
            StreamFullError, StreamClosedError: the stream takes no more.
            LeaseLostError: the run has another owner.
        """
        while len(self._queue) >= _BUFFERED_ITEMS or self._queued_bytes >= _BUFFERED_BYTES:
            self._check_owner()
            self._space.clear()
            self._writer.wake(self, hurry=True)
            await self._space.wait()
        stream = await self._known(name)
        self._check_room(name, stream, 1)
        stream.queued += 1
        self._queue.append((name, draft, self._writer.clock.now()))
        self._queued_bytes += draft.size
        self._added += 1
        self._writer.wake(self)

    async def flush(self) -> None:
        """Wait until everything that was queued so far is stored.

        Raises:
            LeaseLostError: the run has another owner.
            StoreUnavailableError, StoreConflictError: the last try failed. The items are kept, and tried again.
        """
        self._check_owner()
        if self._written < self._added:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((self._added, future))
            self._writer.wake(self, hurry=True)
            await future

    async def commit(self, name: str, drafts: Sequence[Draft], write: Write[T]) -> T:
        """Append items in the caller's transaction, after all queued items.

        The write continues if the caller is cancelled: no other write of the run may begin before its outcome is known.

        Args:
            write: Makes the transaction; returns its result, and whether the rows were appended in it.

        Raises:
            StreamFullError, StreamClosedError: the stream takes no more; no transaction was made.
            LeaseLostError, StoreUnavailableError, StoreConflictError: as for `flush`.
        """
        task = asyncio.get_running_loop().create_task(self._commit(name, drafts, write))
        task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _commit(self, name: str, drafts: Sequence[Draft], write: Write[T]) -> T:
        async with self.lock:
            await self.learn()
            stream = self._named(name)
            closes = drafts[0].kind is StreamRowKind.END
            if closes:
                self._check_open(name, stream)
                # Mark the stream closed before anything is awaited. Otherwise a step of another branch could append
                # behind the end.
                stream.is_closed = True
            try:
                await self._write_queue()
                if not closes:
                    self._check_room(name, stream, len(drafts))
                now = self._writer.clock.now()
                rows = [self._row(name, stream.length + n, draft, now) for n, draft in enumerate(drafts)]
                self._is_uncertain = True
                result, appended = await write(rows)
            except BaseException:
                if closes:
                    self._is_uncertain = True
                raise
            if appended:
                self._is_uncertain = False
                self._count(rows)
                self._writer.tell(self.run_id)
        return result

    async def _write_queue(self) -> None:
        while self.is_dirty:
            await self._writer.write([self])
            if self._failure is not None:
                raise self._failure
        self._check_owner()

    # What the writer calls, under the lock

    @property
    def is_dirty(self) -> bool:
        """Whether items have still to be written."""
        return bool(self._queue or self._pending)

    @property
    def has_failed(self) -> bool:
        """Whether the last write failed and must be repeated."""
        return self._failure is not None and self._refusal is None

    @property
    def weight(self) -> tuple[int, int]:
        """Return how many rows and bytes `take` returns at most."""
        return min(len(self._queue) + len(self._pending), _ROWS_AT_ONCE), self._queued_bytes

    async def learn(self) -> None:
        """Find out what is stored, unless it is known."""
        if self._streams is not None and not self._is_uncertain:
            return
        store = self._writer.store
        if self._is_uncertain:
            # A transaction without an answer may still be committing, and may hold a lock on the run.
            async with store.transaction() as transaction:
                await transaction.lock_run(self.run_id)
                parts = await transaction.list_stream_parts(self.run_id)
        else:
            parts = await store.list_stream_parts(self.run_id)
        streams: dict[str, _Stream] = {}
        for part in parts:
            stream = streams.setdefault(part.stream, _Stream())
            stream.length = max(stream.length, part.last_offset + 1)
            stream.is_closed = stream.is_closed or part.closes
            stream.attempts[part.step_id] = part.last_attempt
        for name, draft, _ in self._queue:
            stream = streams.setdefault(name, _Stream())
            stream.queued += 1
            stream.attempts[draft.step_id] = max(draft.attempt, stream.attempts.get(draft.step_id, 0))
        self._streams, self._is_uncertain = streams, False

    def take(self) -> list[StreamRow]:
        """Return the rows to write next. They stay the same until they are known to be stored."""
        if not self._pending:
            lengths: dict[str, int] = {}
            for name, draft, at in self._queue[:_ROWS_AT_ONCE]:
                offset = lengths.get(name, self._named(name).length)
                lengths[name] = offset + 1
                self._pending.append(self._row(name, offset, draft, at))
                self._queued_bytes -= draft.size
            del self._queue[:_ROWS_AT_ONCE]
        return self._pending

    def stored(self) -> None:
        """Note that the taken rows are stored."""
        rows, self._pending, self._failure = self._pending, [], None
        self._count(rows)
        for row in rows:
            self._named(row.stream).queued -= 1
        self._written += len(rows)
        self._space.set()
        waiting, self._waiting = self._waiting, []
        for goal, future in waiting:
            if goal > self._written:
                self._waiting.append((goal, future))
            elif not future.done():
                future.set_result(None)

    def failed(self, error: Exception) -> None:
        """Note that the write failed. It will be repeated."""
        self._failure = error
        self._release(type(error)(*error.args))

    def refuse(self, error: Exception) -> None:
        """Refuse all further items."""
        self._failure = self._refusal = error
        self._queue, self._pending = [], []
        self._space.set()
        self._release(error)

    # Inside

    def _release(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if not future.done():
                future.set_exception(error)

    async def _known(self, name: str) -> _Stream:
        """Return what is known of a stream. It waits through an outage, which is not the caller's fault."""
        pause = _FIRST_PAUSE
        while self._streams is None or self._is_uncertain:
            self._check_owner()
            try:
                async with self.lock:
                    await self.learn()
            except (StoreUnavailableError, StoreConflictError):
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        self._check_owner()
        return self._named(name)

    def _named(self, name: str) -> _Stream:
        streams = self._streams
        assert streams is not None  # noqa: S101 (learnt by the caller)
        if name not in streams:
            if len(streams) >= _STREAMS_OF_RUN:
                raise StreamFullError(
                    self.run_id, name, f"a run must have at most {_STREAMS_OF_RUN} streams, got another one, {name!r}"
                )
            streams[name] = _Stream()
        return streams[name]

    def _count(self, rows: Sequence[StreamRow]) -> None:
        for row in rows:
            stream = self._named(row.stream)
            stream.length = max(stream.length, row.item_offset + 1)

    def _check_owner(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _check_open(self, name: str, stream: _Stream) -> None:
        if stream.is_closed:
            raise StreamClosedError(self.run_id, name)

    def _check_room(self, name: str, stream: _Stream, more: int) -> None:
        self._check_open(name, stream)
        limit = self._writer.max_items
        length = stream.length + stream.queued
        if length + more > limit:
            raise StreamFullError(
                self.run_id,
                name,
                f"stream {name!r} of run {self.run_id!r} takes no more items: it has {length} of the "
                f"{limit} that `stream_max_items` allows. Append larger items, or to another stream",
            )

    def _row(self, name: str, offset: int, draft: Draft, at: datetime) -> StreamRow:
        return StreamRow(
            run_id=self.run_id,
            stream=name,
            item_offset=offset,
            kind=draft.kind,
            step_id=draft.step_id,
            attempt=draft.attempt,
            data=draft.data,
            appended_at=at,
        )


def _retrieve(task: "asyncio.Task[Any]") -> None:
    """Mark the error of a transaction without a caller as seen, because no one can receive it."""
    if not task.cancelled():
        task.exception()
