"""When a body can do no more in this process: everything that it has under way is parked, and stays so."""

import asyncio
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from fastapi_durable.engine.turns.body_task import BodyTasks
from fastapi_durable.engine.turns.outcome import Interrupt

Rank = tuple[float, ...]
"""The place of a parked call among those that go on when the body would rest: the lowest first, equal ones together."""

NEW: Final[Rank] = (1,)
"""A call that was not answered when the turn began, after all that were: those have a lower rank."""
TO_BE_CANCELLED: Final[Rank] = (2,)
"""A call that the body cancelled in an earlier turn, and has not cancelled in this one."""

_QUIET_CYCLES = 32
"""Event-loop cycles that a body with several branches gets to call another primitive before it counts as waiting.
A branch that needs more of them between two primitives would have to await something that is not durable."""

_REPLAY_CYCLES = 4
"""Those that a body gets in a replay between two signs of life, to do what follows from one result: a task that ends is
one, and who awaits it goes on two cycles later."""


class Parked:
    """A call that waits: until a moment, for a delivery to a position, for either, or only for another turn."""

    __slots__ = ("future", "seq", "until")

    def __init__(self, until: datetime | None = None, seq: int | None = None) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.until = until
        self.seq = seq


class Quiescence:
    """The tasks of one body, what they have under way, and which of that only waits.

    While everything under way is parked, the event loop's cycles are counted, from anew at each sign of life; after
    enough of them without one, the body rests. Only the last call that parks, or that ends beside parked ones, can
    bring that about, so it is looked for there, and watched until it is certain either way. Calls that are parked until
    then go on instead, by their rank.

    Args:
        at_rest: Is told, with the earliest moment that is waited for.
        at_work: Is told that calls are parked while others are under way, with the one that was parked just now.
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
        """The body's own task; every other one that makes a call is a branch."""
        self._body = body

    def enter(self) -> None:
        """A call is under way."""
        self.know_task()
        self._under_way += 1
        self._signs_of_life += 1

    def leave(self) -> None:
        """It is not any more."""
        self._under_way -= 1
        self._signs_of_life += 1
        if self.parked:
            self._look()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The call that is under way waits for branches: what they have under way counts, and it does not."""
        self.leave()
        try:
            yield
        finally:
            self.enter()

    def pass_by(self) -> None:
        """A call has its answer already, and waits for nothing."""
        self.know_task()
        self._signs_of_life += 1

    def sign_of_life(self) -> None:
        """The body does something that may lead to another call."""
        self._signs_of_life += 1

    @property
    def unfinished_tasks(self) -> Iterator[asyncio.Task[Any]]:
        """Of the branches, and last of the body."""
        for task in (*self._branches, self._body):
            if task is not None and not task.done():
                yield task

    @property
    def is_quiet(self) -> bool:
        """Whether everything under way is parked at the moment."""
        return bool(self.parked) and self.is_idle

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way but parked ones."""
        return self._under_way <= len(self.parked)

    def knows(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether it is a branch."""
        return task in self._branches

    def know_task(self) -> None:
        """Add the current task to the branches, if it is another one than the body's."""
        task = asyncio.current_task()
        if task is not None and task is not self._body and task not in self._branches:
            self._branches.add(task)
            task.add_done_callback(retrieve)

    async def park(self, until: datetime | None = None, seq: int | None = None) -> None:
        """Let the call that is under way wait until it is resumed, or interrupted.

        Args:
            until: The moment that it waits for.
            seq: The position to which it awaits a delivery.
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
        """Let the call that is under way wait until the body would rest, and calls of a lower rank have gone on."""
        parked = Parked()
        self.parked.add(parked)
        heapq.heappush(self._ranked, (rank, id(parked), parked))
        self._look()
        try:
            await parked.future
        finally:
            self.parked.discard(parked)

    def resume(self, parked: Parked) -> None:
        """Let a parked call go on."""
        # At once, not when its task runs: until then the body would seem to rest.
        self.parked.discard(parked)
        self._signs_of_life += 1
        if not parked.future.done():
            parked.future.set_result(None)

    def interrupt(self) -> None:
        """Raise `Interrupt` in everything that is parked."""
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
            # A body that awaits its only call itself can do nothing else. One with branches may be about to.
            alone = len(self.parked) == 1 and asyncio.current_task() is self._body
            alone = alone and not self._branches and not self.tasks.members
            self._watch(self._signs_of_life, 1 if alone else self._cycles)

    @property
    def _cycles(self) -> int:
        """How many without a sign of life are enough."""
        return _REPLAY_CYCLES if self._ranked and self._ranked[0][0] < NEW else _QUIET_CYCLES

    def _watch(self, signs: int, cycles: int) -> None:
        if not self.is_quiet:
            # The call that makes it quiet again looks again.
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
        """Let the calls of the lowest rank go on; whether there are any."""
        resumed: Rank | None = None
        while self._ranked and (resumed is None or self._ranked[0][0] == resumed):
            rank, _, parked = heapq.heappop(self._ranked)
            if parked in self.parked:
                resumed = rank
                self.resume(parked)
        return resumed is not None


def retrieve(task: asyncio.Task[Any]) -> None:
    """Mark an exception as seen: the turn's outcome tells of it, or the turn was over before it."""
    if task.done() and not task.cancelled():
        task.exception()
