"""Continues parked calls while other branches work, at once and in the same turn.

A timer waits for a moment. The sender records a delivery in the store, from this process or another one, so the turn
has to read the store. A notification says when, and a poll finds deliveries without a notification. A turn whose calls
are all parked ends, and needs none of this.
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
"""A turn with many deliveries spends at most a fifth of its time on reads."""
_SLOWEST_POLL: Final = 10
"""Polls that find nothing become rarer, down to one in this number of intervals."""


class LiveWaits:
    """The parked calls of one turn, while the turn is open.

    Args:
        calls: The calls of the turn that are under way.
        poll_interval: How long a delivery without a notification may go unnoticed at first.
        look: Reads deliveries from the store, and returns whether there were any.
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
        """Note a delivery to the run."""
        self._told = True
        if self._await_deliveries():
            self._ask()

    def keep_going(self, parked: Parked | None) -> None:
        """Watch for parked calls while others are under way. `parked` is the call that has just parked, if any."""
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
        """Set the timer to a moment, or move it forward. The default is the earliest awaited moment."""
        if until is None:
            until = min((each.until for each in self._calls.parked if each.until is not None), default=None)
        wait = self._poll
        if until is not None:
            # Check at least as often as a poll, because the system clock may be set, and a test moves its clock by
            # hand.
            wait = min(self._interval, max(0.0, (until - self._clock.now()).total_seconds()))
        due = loop.time() + wait
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        # Not in the context of the branch that parked.
        self._timer = loop.call_at(due, self._go_on, context=contextvars.Context())

    def _go_on(self) -> None:
        """Resume the calls that are due, and read deliveries if it is time."""
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
        """Read deliveries in a task that is a branch of the turn and ends with it."""
        clock = asyncio.get_running_loop().time
        self._calls.know_task()
        while True:
            await asked.wait()
            asked.clear()
            self._polled_at = clock()
            # The turn does not rest during a read.
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
