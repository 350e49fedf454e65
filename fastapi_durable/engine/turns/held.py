"""Results that the body has received and that are not stored yet.

Between two calls of its context, a body has no effect. So a result must be stored before the next effect, not before
the body receives it: a crash in between repeats the same work as a crash before the write. A result is therefore held
when its call ends, and written

* before the next effect of any call begins;
* together with the ending of the run, or with its suspension, in one commit;
* at once, if the body reaches neither before it yields to the event loop, because its branches work, or because it
  awaits something besides calls of its context.

So no result is held for longer than the body runs without a pause. Live events and notifications about a result wait
for its commit.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from fastapi_durable.engine.turns.lifetime import Lifetime
from fastapi_durable.engine.turns.outcome import Interrupt
from fastapi_durable.store.port.checkpoints import PreparedCheckpoint

_MOST: Final = 100
"""Maximum number of checkpoints that are held, or written in one statement. A body that only takes values never
pauses."""


class HeldCheckpoints:
    """The held checkpoints of one turn, in the order in which the body received them.

    Args:
        write: Stores checkpoints, or ends the turn.
    """

    def __init__(self, life: Lifetime, write: Callable[[Sequence[PreparedCheckpoint]], Awaitable[None]]) -> None:
        self._life = life
        self._write = write
        self._waiting: list[PreparedCheckpoint] = []
        self._words: deque[tuple[int, Callable[[], None]]] = deque()
        self._held = 0
        self._results = 0
        self._stored = 0
        self._is_writing = False
        self._written: asyncio.Future[None] | None = None
        self._is_refused = False
        self._is_watched = False
        self._writer: asyncio.Task[None] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether everything is stored."""
        return self._stored == self._held

    @property
    def has_results(self) -> bool:
        """Whether a result that the body received is not stored. A deadline, for example, is not a result."""
        return self._stored < self._results

    @property
    def is_full(self) -> bool:
        """Whether the next call has to wait for a write."""
        return len(self._waiting) >= _MOST

    def hold(self, prepared: PreparedCheckpoint) -> None:
        """Hold a checkpoint until the next effect."""
        self._waiting.append(prepared)
        self._held += 1
        if prepared.checkpoint.status.is_finished:
            self._results = self._held
        self._watch()

    def tell(self, word: Callable[[], None]) -> None:
        """Call a function when everything that is held now is stored. If the turn ends before that, the function is
        never called.
        """
        if self.is_empty:
            word()
        else:
            self._words.append((self._held, word))

    async def commit(self) -> None:
        """Return once everything that is held now is stored.

        Raises:
            Interrupt: the turn is over instead.
        """
        goal = self._held
        while self._stored < goal:
            if self._is_writing:
                await self._until_written()
            else:
                await self._write_some()

    async def until_quiet(self) -> Sequence[PreparedCheckpoint]:
        """Return the held checkpoints, when no write of them is in progress. The write that ends the turn stores them,
        then calls `carried`.
        """
        while self._is_writing or len(rows := self._first_rows()) < len(self._waiting):
            await (self._until_written() if self._is_writing else self._write_some())
        return rows

    def carried(self, rows: Sequence[PreparedCheckpoint]) -> None:
        """Note that another write has stored what `until_quiet` returned."""
        del self._waiting[: len(rows)]
        self._count(len(rows))

    def close(self) -> None:
        """Stop the writes, because the turn is over. Held checkpoints are lost, as after a crash."""
        if self._writer is not None:
            self._writer.cancel()

    async def _write_some(self) -> None:
        rows = self._first_rows()
        del self._waiting[: len(rows)]
        self._is_writing = True
        try:
            await self._write(rows)
        except BaseException as error:
            # They may be stored or not. The next write repeats them in the same order, and so finds out.
            self._waiting[:0] = rows
            self._is_refused = isinstance(error, Interrupt)
            raise
        else:
            self._count(len(rows))
        finally:
            self._is_writing = False
            if self._written is not None:
                self._written.set_result(None)
                self._written = None
            if self._waiting:
                self._watch()

    def _first_rows(self) -> list[PreparedCheckpoint]:
        """Return the first checkpoints, as many as one statement takes. A statement writes each position once."""
        rows: list[PreparedCheckpoint] = []
        seqs: set[int] = set()
        for each in self._waiting[:_MOST]:
            if each.checkpoint.seq in seqs:
                break
            seqs.add(each.checkpoint.seq)
            rows.append(each)
        return rows

    async def _until_written(self) -> None:
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        # Do not await the future itself: a cancelled caller would cancel it for the others.
        await asyncio.wait({self._written})

    def _count(self, stored: int) -> None:
        self._stored += stored
        while self._words and self._words[0][0] <= self._stored:
            self._words.popleft()[1]()

    def _watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """The body paused, so write. If it has ended or is about to rest, the write that ends the turn stores the
        checkpoints.
        """
        self._is_watched = False
        if not self._waiting or self._is_writing or self._is_refused or self._life.is_body_over:
            return
        if self._life.calls.is_quiet:
            self._watch()
            return
        # Not in the context of the first held call.
        self._writer = asyncio.create_task(self._write_all(), name="held checkpoints", context=contextvars.Context())

    async def _write_all(self) -> None:
        try:
            await self.commit()
        except Interrupt:
            pass  # the turn knows why
