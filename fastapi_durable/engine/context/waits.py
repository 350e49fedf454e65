"""`ctx.sleep`, `ctx.sleep_until` and `ctx.wait_for_signal`."""

from collections.abc import Coroutine
from datetime import datetime
from typing import Any, TypeVar, overload

from fastapi_durable.clock import truncate
from fastapi_durable.duration import Duration, parse_duration
from fastapi_durable.engine.context.base import ContextPart
from fastapi_durable.engine.signal import checked_token, wait_for_signal
from fastapi_durable.engine.sleep import sleep_until

T = TypeVar("T")


class WaitCalls(ContextPart):
    """The part of the context that waits without occupying anything."""

    def sleep(self, duration: Duration) -> Coroutine[Any, Any, None]:
        """Wait; the deadline is recorded, and the run occupies nothing meanwhile.

        Raises:
            ValueError: `duration` is not a duration.
        """
        deadline = self._turn.services.clock.now() + parse_duration(duration)
        return sleep_until(self._turn, self._take(), deadline)

    def sleep_until(self, moment: datetime) -> Coroutine[Any, Any, None]:
        """Wait until a moment; on a replay the one of the first run counts.

        Raises:
            ValueError: `moment` has no time zone.
        """
        if moment.tzinfo is None:
            raise ValueError(f"{moment!r} has no time zone; pass an aware datetime, such as `await ctx.now() + ...`")
        return sleep_until(self._turn, self._take(), truncate(moment))

    @overload
    def wait_for_signal(
        self, token: str, type: type[T], /, *, timeout: Duration | None = None
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def wait_for_signal(self, token: str, /, *, timeout: Duration | None = None) -> Coroutine[Any, Any, Any]: ...
    def wait_for_signal(
        self, token: str, type: Any = Any, /, *, timeout: Duration | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Wait for a signal, and return its payload as `type`. One that came before counts, the oldest first.

        A wait with a timeout takes two positions, one without takes one: adding or removing a timeout is a change of
        the workflow's version.

        Raises:
            SignalTimeoutError: no signal before the timeout; what comes later is kept for a later wait.
            SignalTokenTakenError: another live run waits for this token.
            SerializationError: the payload is not a `type`, or the token cannot be stored.
        """
        checked_token(token)
        limit = None if timeout is None else parse_duration(timeout)
        deadline_position = None if limit is None else self._take()
        return wait_for_signal(self._turn, deadline_position, self._take(), token, type, limit)
