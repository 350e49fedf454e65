"""What parked calls wait for while other branches work: it lets them go on at once, in the same turn.

A moment comes by itself. A delivery is recorded by whoever makes it, in this process or another one, so the store has
to be asked; a notification says when, and a poll finds what no notification told of. A turn whose calls are all parked
ends, and needs none of this.
"""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from fastapi_durable.engine.turns.quiescence import Parked, Quiescence
from fastapi_durable.model.clock import Clock
from fastapi_durable.model.errors import StoreConflictError, StoreUnavailableError

_log = logging.getLogger("fastapi_durable")

_SHORTEST_GAP: Final = 0.005
_SHARE_OF_LOOKING: Final = 5
"""A turn to which very much is delivered looks for at most the fifth part of its time."""
_SLOWEST_POLL: Final = 10
"""Polls that find nothing become rarer, down to one in so many intervals."""


class LiveWaits:
    """The parked calls of one turn, as long as it is under way.

    Args:
        calls: What the turn has under way.
        poll_interval: How long a delivery of which nobody tells may go unnoticed at first.
        look: Asks the store, and takes in what was delivered; whether there was something.
    """

    def __init__(
        self, calls: Quiescence, clock: Clock, poll_interval: timedelta, look: Callable[[], Awaitable[bool]]
    ) -> None:
        self._calls = calls
        self._clock = clock
        self._interval = poll_interval.total_seconds()
        self._look = look
        self._poll = self._interval
        self._polled_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._told = False
        self._asked: asyncio.Event | None = None
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    def hear(self) -> None:
        """Something was delivered to the run."""
        self._told = True
        if self._await_deliveries():
            self._ask()

    def keep_going(self, parked: Parked | None) -> None:
        """Calls are parked while others are under way; `parked` has just become one of them, if it is given."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._polled_at = loop.time()
            self._set_timer(loop)
        elif parked is not None and parked.until is not None:
            self._set_timer(loop, parked.until)
        if self._told and parked is not None and parked.seq is not None:
            self._ask()

    def close(self) -> None:
        """The turn is over."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _set_timer(self, loop: asyncio.AbstractEventLoop, until: datetime | None = None) -> None:
        """Set the timer, or advance it, to a moment; by default to the earliest that is waited for."""
        if until is None:
            until = min((each.until for each in self._calls.parked if each.until is not None), default=None)
        wait = self._poll
        if until is not None:
            # At least as often as a poll: the clock may be set, and that of a test is moved by hand.
            wait = min(self._interval, max(0.0, (until - self._clock.now()).total_seconds()))
        due = loop.time() + wait
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        # Not in the context of the branch that happened to park.
        self._timer = loop.call_at(due, self._go_on, context=contextvars.Context())

    def _go_on(self) -> None:
        """Resume what has come due, and ask for deliveries if it is time for that."""
        self._timer = None
        if self._closed:
            return
        now, loop = self._clock.now(), asyncio.get_running_loop()
        for parked in [each for each in self._calls.parked if each.until is not None and each.until <= now]:
            self._calls.resume(parked)
        if self._await_deliveries() and loop.time() >= self._polled_at + self._poll:
            self._ask()
        if self._calls.parked and not self._calls.is_quiet:
            self._set_timer(loop)

    def _await_deliveries(self) -> bool:
        return any(each.seq is not None for each in self._calls.parked)

    def _ask(self) -> None:
        if self._closed:
            return
        if self._asked is None:
            self._asked = asyncio.Event()
            self._looking = asyncio.create_task(self._keep_looking(self._asked), context=contextvars.Context())
        self._asked.set()

    async def _keep_looking(self, asked: asyncio.Event) -> None:
        """In a task of its own, which is a branch of the turn and ends with it."""
        clock = asyncio.get_running_loop().time
        self._calls.know_task()
        while True:
            await asked.wait()
            asked.clear()
            self._polled_at = clock()
            # While it looks, the turn does not rest.
            self._calls.enter()
            try:
                self._told, found = False, False
                found = await self._look()
            except (StoreUnavailableError, StoreConflictError):
                self._told = True
            except Exception as error:
                _log.warning("looking for deliveries failed, it is tried again: %s", repr(error))
            finally:
                self._calls.leave()
            self._poll = self._interval if found else min(2 * self._poll, _SLOWEST_POLL * self._interval)
            await asyncio.sleep(max(_SHORTEST_GAP, _SHARE_OF_LOOKING * (clock() - self._polled_at)))
