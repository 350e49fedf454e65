"""Calls functions after one fixed delay. Most of the calls are cancelled before that, so one timer serves them all."""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable


class Delayed:
    """A call that is made after the delay, unless it is cancelled."""

    __slots__ = ("_due", "_function")

    def __init__(self, due: float, function: Callable[[], None]) -> None:
        self._due = due
        self._function: Callable[[], None] | None = function

    def cancel(self) -> None:
        """Cancel the call. Does nothing if the call was made."""
        self._function = None


class Delay:
    """Makes calls a fixed time after they were requested, in the order of the requests.

    A timer of the event loop costs a fifth of a step. Here a cancelled call, as nearly all are, costs an entry in a
    queue.

    Args:
        seconds: The delay.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._queue: deque[Delayed] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def call(self, function: Callable[[], None]) -> Delayed:
        """Call `function` in the running event loop after the delay, unless the returned call is cancelled."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # The timer of a loop that was closed never fires.
            self._loop, self._timer = loop, None
            self._queue.clear()
        delayed = Delayed(loop.time() + self._seconds, function)
        self._queue.append(delayed)
        if self._timer is None:
            self._arm(loop)
        return delayed

    def _make_due_calls(self, loop: asyncio.AbstractEventLoop) -> None:
        now, queue = loop.time(), self._queue
        try:
            while queue and (queue[0]._function is None or queue[0]._due <= now):
                function = queue.popleft()._function
                if function is not None:
                    function()
        finally:
            self._timer = None
            if queue:
                self._arm(loop)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not in the context of the first caller: the timer serves all callers.
        context = contextvars.Context()
        self._timer = loop.call_at(self._queue[0]._due, self._make_due_calls, loop, context=context)
