"""Group commit: calls of one kind that are made at the same time become one statement.

A call that finds none under way is made at once and by itself, so a lone caller never waits for company. Those that
come while it runs gather, and are written together when it is done; while that batch is written the next one gathers.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from fastapi_durable.model.errors import StoreConflictError, StoreUnavailableError


class Call(Protocol):
    """One call, in the form in which it joins a batch."""

    @property
    def key(self) -> Hashable:
        """No two calls of a batch have the same: a statement touches each row once."""
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

_LARGEST_BATCH = 200
_LONGEST_BATCH = 1_000_000
"""Characters of a batch's parameter; a call that is longer than that is a batch by itself."""


class _Batch:
    """What is being written, and how many callers still want to know."""

    def __init__(self) -> None:
        self.callers = 0
        self.task: asyncio.Task[Any] | None = None


class _Member(Generic[C]):
    def __init__(self, call: C, future: "asyncio.Future[Any]") -> None:
        self.call = call
        self.future = future
        self.batch: _Batch | None = None


class Group(Generic[C, T]):
    """Gathers calls of one kind in one event loop.

    Args:
        together: Makes some calls in one statement; returns the answer to each, or None to a call that had no effect or
            may not be answered from a batch: that one is made by itself then.
    """

    def __init__(self, together: Callable[[Sequence[C]], Awaitable[Sequence[T | None]]]) -> None:
        self._together = together
        self._loop: asyncio.AbstractEventLoop | None = None
        self._busy = False
        self._waiting: list[_Member[C]] = []
        self._pump: asyncio.Task[None] | None = None

    async def call(self, encode: Callable[[], C | None], alone: Callable[[], Awaitable[T]]) -> T:
        """Make a call, by itself or with others; return, or raise, what it would by itself.

        A caller that is cancelled takes nobody along. What it asked for may then have been done or not, as when it had
        made the call alone.

        Args:
            encode: The call as a member of a batch; None if it cannot be one.
            alone: Makes it by itself.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # A loop that was closed in the middle of a batch never comes back to it.
            self._loop, self._busy, self._waiting = loop, False, []
        if not self._busy:
            self._busy = True
            try:
                return await alone()
            finally:
                self._go_on(loop)
        call = encode()
        if call is None:
            return await alone()
        member = _Member(call, loop.create_future())
        self._waiting.append(member)
        try:
            answer: T | None = await member.future
        except asyncio.CancelledError:
            await self._leave(member)
            raise
        return await alone() if answer is None else answer

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return
        if not self._waiting:
            self._busy = False
            return
        # Not in the context of one of the callers: the batch belongs to all of them.
        self._pump = loop.create_task(self._write_all(), name="group commit", context=contextvars.Context())

    async def _write_all(self) -> None:
        """Write batch after batch until nothing waits."""
        try:
            while members := self._next_batch():
                await self._write(members)
        except asyncio.CancelledError:
            # The event loop is being closed, and everybody who waits is cancelled with it.
            for member in self._waiting:
                member.future.cancel()
            self._waiting = []
            raise
        finally:
            self._busy = False

    async def _write(self, members: Sequence[_Member[C]]) -> None:
        batch = _Batch()
        batch.callers = len(members)
        for member in members:
            member.batch = batch
        # A task of its own, so that it can be given up when nobody waits for it any more.
        batch.task = asyncio.create_task(self._made_together([member.call for member in members]))
        try:
            await asyncio.wait({batch.task})
        except asyncio.CancelledError:
            batch.task.cancel()
            for member in members:
                member.future.cancel()
            raise
        if batch.task.cancelled():
            return
        error = batch.task.exception()
        answers: Sequence[T | None] = [None] * len(members) if error is not None else batch.task.result()
        for member, answer in zip(members, answers, strict=True):
            if member.future.done():
                continue
            if isinstance(error, StoreUnavailableError | StoreConflictError):
                # Nobody knows more by asking again at once, and each caller has its own way to go on.
                member.future.set_exception(type(error)(*error.args))
            else:
                # Anything else is the fault of one call: by itself, each gets its own answer or its own error.
                member.future.set_result(answer)

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
            if fits and call.key not in keys and (not members or call.shape == members[0].call.shape):
                members.append(member)
                length += len(call.text)
            else:
                others.append(member)
            # Also of calls that were left: calls with one key keep their order.
            keys.add(call.key)
        self._waiting = others
        return members

    async def _leave(self, member: _Member[C]) -> None:
        """The caller was cancelled: nothing is written for it any more, unless it is under way with others."""
        batch = member.batch
        if batch is None:
            self._waiting = [other for other in self._waiting if other is not member]
            return
        batch.callers -= 1
        if batch.callers == 0 and batch.task is not None and not batch.task.done():
            batch.task.cancel()
            await asyncio.wait({batch.task})
