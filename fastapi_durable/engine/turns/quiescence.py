"""Detects when a body can do no more in this process: all its calls are parked, and stay parked."""

import asyncio
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from fastapi_durable.engine.turns.body_task import BodyTasks
from fastapi_durable.engine.turns.outcome import Interrupt

Rank = tuple[float, ...]
"""The order in which parked calls continue when the body would rest: the lowest rank first, equal ranks together."""

NEW: Final[Rank] = (1,)
"""Rank of a call that was not answered when the turn began. Calls that were answered have lower ranks."""
TO_BE_CANCELLED: Final[Rank] = (2,)
"""Rank of a call that the body cancelled in an earlier turn, but not yet in this one."""

_QUIET_CYCLES = 32
"""Number of event-loop cycles in which a body with several branches may make another call before it counts as waiting.
A branch that needs more cycles between two calls must be awaiting something that is not durable."""

_REPLAY_CYCLES = 4
"""Number of cycles in a replay between two signs of life, in which the body reacts to one result. The end of a task is
a sign of life, and the code that awaits the task continues two cycles later."""


class Parked:
    """A waiting call: until a moment, for a delivery to a position, for either, or only for another turn."""

    __slots__ = ("future", "seq", "until")

    def __init__(self, until: datetime | None = None, seq: int | None = None) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.until = until
        self.seq = seq


class Quiescence:
    """The tasks of one body, their calls under way, and which of these are parked.

    While all calls under way are parked, the event loop's cycles are counted, again from zero at each sign of life.
    After enough cycles without one, the body rests. Only the last call that parks, or that ends while others are
    parked, can cause that. So the count begins there, and continues until the answer is certain. Calls that are parked
    until the body would rest continue instead, by their rank.

    Args:
        at_rest: Called with the earliest awaited moment when the body rests.
        at_work: Called when calls are parked while others are under way, with the call that has just parked.
    """

    def __init__(self, at_rest: Callable[[datetime | None], None], at_work: Callable[[Parked | None], None]) -> None:
        self.parked: set[Parked] = set()
        self.tasks = BodyTasks(self.sign_of_life)
        self._ranked: list[tuple[Rank, int, Parked]] = []
        self._at_rest = at_rest
        self._at_work = at_work
        self._body: asyncio.Task[Any] | None = None
        self._branches: set[asyncio.Task[Any]] = set()
        self._under_way = 0
        self._signs_of_life = 0
        self._is_watching = False

    def watch(self, body: asyncio.Task[Any]) -> None:
        """Note the body's own task. Every other task that makes a call is a branch."""
        self._body = body

    def enter(self) -> None:
        """Note that a call begins."""
        self.know_task()
        self._under_way += 1
        self._signs_of_life += 1

    def leave(self) -> None:
        """Note that a call ends."""
        self._under_way -= 1
        self._signs_of_life += 1
        if self.parked:
            self._look()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the current call out of the count while it waits for branches, whose calls are counted."""
        self.leave()
        try:
            yield
        finally:
            self.enter()

    def pass_by(self) -> None:
        """Note a call that has its answer already, and does not wait."""
        self.know_task()
        self._signs_of_life += 1

    def sign_of_life(self) -> None:
        """Note an action of the body that may lead to another call."""
        self._signs_of_life += 1

    @property
    def unfinished_tasks(self) -> Iterator[asyncio.Task[Any]]:
        """The unfinished tasks: those of the branches, then that of the body."""
        for task in (*self._branches, self._body):
            if task is not None and not task.done():
                yield task

    @property
    def is_quiet(self) -> bool:
        """Whether there are parked calls, and no other call is under way now."""
        return bool(self.parked) and self.is_idle

    @property
    def is_idle(self) -> bool:
        """Whether all calls under way are parked."""
        return self._under_way <= len(self.parked)

    def knows(self, task: asyncio.Task[Any] | None) -> bool:
        """Return whether a task is a branch."""
        return task in self._branches

    def know_task(self) -> None:
        """Add the current task to the branches, unless it is the body's own."""
        task = asyncio.current_task()
        if task is not None and task is not self._body and task not in self._branches:
            self._branches.add(task)
            task.add_done_callback(retrieve)

    async def park(self, until: datetime | None = None, seq: int | None = None) -> None:
        """Let the current call wait until it is resumed or interrupted.

        Args:
            until: The moment that it waits for.
            seq: The position at which it awaits a delivery.
        """
        parked = Parked(until, seq)
        self.parked.add(parked)
        if self.is_quiet:
            self._look()
        else:
            self._at_work(parked)
        try:
            await parked.future
        finally:
            self.parked.discard(parked)

    async def park_until_rest(self, rank: Rank) -> None:
        """Let the current call wait until the body would rest, and calls of a lower rank have continued."""
        parked = Parked()
        self.parked.add(parked)
        heapq.heappush(self._ranked, (rank, id(parked), parked))
        self._look()
        try:
            await parked.future
        finally:
            self.parked.discard(parked)

    def resume(self, parked: Parked) -> None:
        """Let a parked call continue."""
        # Remove it now, not when its task runs. Until then the body would seem to rest.
        self.parked.discard(parked)
        self._signs_of_life += 1
        if not parked.future.done():
            parked.future.set_result(None)

    def interrupt(self) -> None:
        """Raise `Interrupt` in all parked calls."""
        for parked in self.parked:
            if not parked.future.done():
                parked.future.set_exception(Interrupt())

    def cancel_all(self) -> None:
        """Cancel all tasks that have not ended."""
        for task in self.unfinished_tasks:
            task.cancel()

    def _look(self) -> None:
        if self.is_quiet and not self._is_watching:
            self._is_watching = True
            # A body that awaits its only call itself can do nothing else. A body with branches may be about to make
            # another call.
            alone = len(self.parked) == 1 and asyncio.current_task() is self._body
            alone = alone and not self._branches and not self.tasks.members
            self._watch(self._signs_of_life, 1 if alone else self._cycles)

    @property
    def _cycles(self) -> int:
        """The number of cycles without a sign of life after which the body rests."""
        return _REPLAY_CYCLES if self._ranked and self._ranked[0][0] < NEW else _QUIET_CYCLES

    def _watch(self, signs: int, cycles: int) -> None:
        if not self.is_quiet:
            # The next call that parks last starts the count again.
            self._is_watching = False
            if self.parked:
                self._at_work(None)
            return
        if signs != self._signs_of_life:
            signs, cycles = self._signs_of_life, self._cycles
        if cycles > 0:
            asyncio.get_running_loop().call_soon(self._watch, signs, cycles - 1)
            return
        self._is_watching = False
        if self._resume_ranked():
            return
        self._at_rest(min((each.until for each in self.parked if each.until is not None), default=None))

    def _resume_ranked(self) -> bool:
        """Let the calls of the lowest rank continue. Return whether there are any."""
        resumed: Rank | None = None
        while self._ranked and (resumed is None or self._ranked[0][0] == resumed):
            rank, _, parked = heapq.heappop(self._ranked)
            if parked in self.parked:
                resumed = rank
                self.resume(parked)
        return resumed is not None


def retrieve(task: asyncio.Task[Any]) -> None:
    """Mark an exception as seen: the turn's outcome contains it, or the turn was over before."""
    if task.done() and not task.cancelled():
        task.exception()
