"""Group commit: calls of one kind that are made at the same time become one statement.

A call that finds no other under way is made at once, so a lone caller never waits. Calls that come while it runs
gather, and are written together when it is done. While that batch is written, the next one gathers.
"""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from fastapi_durable.model.errors import StoreConflictError, StoreUnavailableError


class Call(Protocol):
    """One call, in the form in which it joins a batch."""

    @property
    def keys(self) -> Collection[Hashable]:
        """No two calls of a batch have the same one: a statement touches each row once."""
        ...

    @property
    def shape(self) -> Hashable:
        """Only calls of one shape are one statement."""
        ...

    @property
    def text(self) -> str:
        """Its part of the statement's parameter."""
        ...


C = TypeVar("C", bound=Call)
T = TypeVar("T")

_log = logging.getLogger("fastapi_durable")

_LARGEST_BATCH = 200
_LONGEST_BATCH = 1_000_000
"""Characters of a batch's parameter; a call that is longer than that is a batch by itself."""
_PATIENCE = 0.5
"""Seconds until the next batch no longer waits for one that is under way: much longer than a statement takes."""
_MOST_LATE = 3
"""Batches that may be under way in addition; with the one that is waited for, Prisma's pool on two processors."""


class _Flight:
    """A call, or a batch of them, that is under way.

    Attributes:
        is_late: It has taken so long that the others no longer wait for it.
    """

    def __init__(self, timer: asyncio.TimerHandle | None = None) -> None:
        self.timer = timer
        self.is_late = False


class _Batch(_Flight):
    """What is being written together, and how many callers still want to know."""

    def __init__(self, callers: int) -> None:
        super().__init__()
        self.callers = callers
        self.task: asyncio.Task[Any] | None = None
        self.is_given_up = False


class _Member(Generic[C]):
    def __init__(self, call: C, future: "asyncio.Future[Any]", joined_at: float) -> None:
        self.call = call
        self.future = future
        self.joined_at = joined_at
        self.batch: _Batch | None = None


class Group(Generic[C, T]):
    """Gathers calls of one kind in one event loop.

    One batch is written at a time, so that the others grow meanwhile. A batch without an answer does not hold up the
    next ones, though: they continue over other connections, up to a few, until the limit of its statement gives it up.

    Args:
        together: Makes some calls in one statement; returns the answer to each, or None to a call that had no effect or
            may not be answered from a batch: that one is made by itself then.
        limit: How long a statement may stay without an answer; whoever makes it sees to that.
    """

    def __init__(self, together: Callable[[Sequence[C]], Awaitable[Sequence[T | None]]], limit: timedelta) -> None:
        self._together = together
        self._limit = limit.total_seconds()
        self._patience = min(_PATIENCE, self._limit / 4)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._awaited: _Flight | None = None
        self._late = 0
        self._waiting: list[_Member[C]] = []

    async def call(self, encode: Callable[[], C | None], alone: Callable[[], Awaitable[T]]) -> T:
        """Make a call, by itself or with others; return, or raise, what it would by itself.

        A cancelled caller does not cancel the others. Its own call may have been done or not, as a call alone may have.
        The batch with the call ends before the cancellation propagates, so the caller can read the result.

        Args:
            encode: The call as a member of a batch; None if it cannot be one.
            alone: Makes it by itself.

        Raises:
            StoreUnavailableError: no answer came within the limit. Of a call that had been sent, whether it was done is
                unknown.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # A loop that was closed in the middle of a batch never comes back to it.
            self._loop = loop
            self._forget()
        if self._awaited is None:
            flight = _Flight()
            self._depart(flight, loop)
            try:
                return await alone()
            finally:
                self._land(flight, loop)
        call = encode()
        if call is None:
            return await alone()
        member = _Member(call, loop.create_future(), loop.time())
        self._waiting.append(member)
        try:
            answer: T | None = await member.future
        except asyncio.CancelledError:
            await self._leave(member)
            raise
        return await alone() if answer is None else answer

    def _depart(self, flight: _Flight, loop: asyncio.AbstractEventLoop) -> None:
        self._awaited = flight
        flight.timer = loop.call_later(self._patience, self._grow_impatient, flight, loop)

    def _land(self, flight: _Flight, loop: asyncio.AbstractEventLoop) -> None:
        if flight.timer is not None:
            flight.timer.cancel()
        if loop is not self._loop:
            return
        if flight.is_late:
            self._late -= 1
        elif flight is self._awaited:
            self._awaited = None
        self._go_on(loop)

    def _grow_impatient(self, flight: _Flight, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return
        if self._late < _MOST_LATE:
            flight.is_late = True
            self._late += 1
            self._awaited = None
            self._go_on(loop)
            return
        # Nothing gets through on any connection. Who has waited for the whole limit is told so.
        flight.timer = loop.call_later(self._patience, self._grow_impatient, flight, loop)
        overdue = [each for each in self._waiting if loop.time() - each.joined_at >= self._limit]
        self._waiting = [each for each in self._waiting if each not in overdue]
        for member in overdue:
            if not member.future.done():
                member.future.set_exception(
                    StoreUnavailableError(
                        f"the database gave no answer within {self._limit:g} s to the calls before this one, which was "
                        "not sent"
                    )
                )

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._awaited is not None or not self._waiting:
            return
        members = self._next_batch()
        batch = _Batch(len(members))
        for member in members:
            member.batch = batch
        self._depart(batch, loop)
        # Not in the context of one of the callers: the batch belongs to all of them.
        batch.task = loop.create_task(
            self._made_together([member.call for member in members]),
            name="group commit",
            context=contextvars.Context(),
        )
        batch.task.add_done_callback(lambda task: self._answer(batch, members, task, loop))

    def _answer(
        self,
        batch: _Batch,
        members: Sequence[_Member[C]],
        task: "asyncio.Task[Sequence[T | None]]",
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        if task.cancelled():
            if not batch.is_given_up and loop is self._loop:
                # The event loop is being closed, and everybody who waits is cancelled with it.
                for member in (*members, *self._waiting):
                    member.future.cancel()
                self._forget()
        else:
            error = task.exception()
            if error is not None and not isinstance(error, StoreUnavailableError | StoreConflictError):
                # The callers hear nothing of it, and pay for a statement each.
                _log.warning(
                    "a batch of %d calls failed, and each call is made by itself", len(members), exc_info=error
                )
            answers: Sequence[T | None] = [None] * len(members) if error is not None else task.result()
            for member, answer in zip(members, answers, strict=True):
                if member.future.done():
                    continue
                if isinstance(error, StoreUnavailableError | StoreConflictError):
                    # Nobody knows more by asking again at once, and each caller has its own way to continue.
                    member.future.set_exception(type(error)(*error.args))
                else:
                    # Anything else is the fault of one call: by itself, each gets its own answer or its own error.
                    member.future.set_result(answer)
        self._land(batch, loop)

    async def _made_together(self, calls: Sequence[C]) -> Sequence[T | None]:
        return await self._together(calls)

    def _next_batch(self) -> list[_Member[C]]:
        """The calls that waited longest and fit into one statement; the others stay."""
        members: list[_Member[C]] = []
        others: list[_Member[C]] = []
        keys: set[Hashable] = set()
        length = 0
        for member in self._waiting:
            call = member.call
            fits = len(members) < _LARGEST_BATCH and (not members or length + len(call.text) <= _LONGEST_BATCH)
            if fits and keys.isdisjoint(call.keys) and (not members or call.shape == members[0].call.shape):
                members.append(member)
                length += len(call.text)
            else:
                others.append(member)
            # Also of calls that were left: calls with one key keep their order.
            keys.update(call.keys)
        self._waiting = others
        return members

    async def _leave(self, member: _Member[C]) -> None:
        """The caller was cancelled: nothing is written for it any more, unless it is under way with others."""
        batch = member.batch
        if batch is None:
            self._waiting = [other for other in self._waiting if other is not member]
            return
        batch.callers -= 1
        if batch.task is None or batch.task.done():
            return
        if batch.callers == 0:
            batch.is_given_up = True
            batch.task.cancel()
        await asyncio.wait({batch.task})

    def _forget(self) -> None:
        self._awaited = None
        self._late = 0
        self._waiting = []
