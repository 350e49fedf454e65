"""Group commit: calls of one kind that are made at the same time become one statement.

A call that finds no other in progress is made at once, so a lone caller never waits. Calls that come while it runs are
gathered, and written together when it is done. While that batch is written, the next one is gathered.
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
        """The keys of its rows. Calls of one batch share no key, because a statement changes each row once."""
        ...

    @property
    def shape(self) -> Hashable:
        """The shape of the statement. A batch has calls of one shape."""
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
"""Maximum number of characters of a batch's parameter. A longer call is a batch by itself."""
_PATIENCE = 0.5
"""Seconds after which the next batch no longer waits for the one in progress: much longer than a statement takes."""
_MOST_LATE = 3
"""Number of late batches that may be in progress. Together with the awaited one, they fill Prisma's pool on two
processors."""


class _Flight:
    """A call, or a batch of calls, that is in progress.

    Attributes:
        is_late: Whether it has taken so long that the others no longer wait for it.
    """

    def __init__(self, timer: asyncio.TimerHandle | None = None) -> None:
        self.timer = timer
        self.is_late = False


class _Batch(_Flight):
    """The calls of one batch, and the number of callers that still wait for it."""

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

    One batch is written at a time, so that the next one grows meanwhile. A batch without an answer does not delay the
    others: up to a few continue over other connections, until the statement's limit ends the first one.

    Args:
        together: Makes some calls in one statement, and returns the answer to each. None for a call that had no effect,
            or that a batch must not answer: it is then made alone.
        limit: How long a statement may stay without an answer. The function that runs it enforces the limit.
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
        """Make a call, alone or with others. The result or error is the same as for the call alone.

        A cancelled caller does not cancel the others. Its own call may or may not have been made, as for a call alone.
        The batch with the call ends before the cancellation propagates, so the caller can read the result.

        Args:
            encode: Returns the call as a member of a batch. None if it cannot be one.
            alone: Makes the call alone.

        Raises:
            StoreUnavailableError: no answer came within the limit. If the call had been sent, it is unknown whether it
                was made.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # A loop that was closed in the middle of a batch never finishes it.
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
        # No connection answers. Callers that have waited for the whole limit get the error.
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
        # Not in the context of one caller: the batch serves all of them.
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
                # The event loop is being closed, which cancels all waiting callers.
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
                    # Repeating the call at once would tell nothing new, and each caller has its own way to continue.
                    member.future.set_exception(type(error)(*error.args))
                else:
                    # One call causes any other error. Make each call alone, so that each gets its own answer or error.
                    member.future.set_result(answer)
        self._land(batch, loop)

    async def _made_together(self, calls: Sequence[C]) -> Sequence[T | None]:
        return await self._together(calls)

    def _next_batch(self) -> list[_Member[C]]:
        """Return the calls that have waited longest and fit into one statement. The others stay."""
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
            # Also keys of calls that stay, so that calls with one key keep their order.
            keys.update(call.keys)
        self._waiting = others
        return members

    async def _leave(self, member: _Member[C]) -> None:
        """Drop the call of a cancelled caller, unless it is in progress with others."""
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
