"""`ctx.sleep`, `ctx.sleep_until`, `ctx.wait_for_signal`, `ctx.wait_for_event` and `ctx.webhook`."""

from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any, TypeVar, overload

from fastapi_durable.engine.context.base import ContextPart
from fastapi_durable.engine.primitives.event import AwaitedEvent, checked_event_name, event_token
from fastapi_durable.engine.primitives.signal import Signal
from fastapi_durable.engine.primitives.sleep import Sleep
from fastapi_durable.engine.primitives.webhook import MintedWebhook, Webhook
from fastapi_durable.model.clock import truncate
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import InputValidationError
from fastapi_durable.model.records import Json
from fastapi_durable.model.reserved import checked_token
from fastapi_durable.model.text import shown

T = TypeVar("T")


class WaitCalls(ContextPart):
    """The part of the context that waits. A waiting run occupies no worker."""

    def sleep(self, duration: Duration) -> Coroutine[Any, Any, None]:
        """Wait for a time. The deadline is recorded, so a crash does not prolong it.

        Args:
            duration: How long to wait: a `timedelta`, or a string such as "3 days".

        Raises:
            ValueError: `duration` is not a duration.
        """
        deadline = self._turn.kernel.clock.now() + parse_duration(duration)
        return Sleep(self._turn, self._take(), deadline).perform()

    def sleep_until(self, moment: datetime) -> Coroutine[Any, Any, None]:
        """Wait until a moment. The moment of the first execution is recorded, and a replay keeps it.

        Args:
            moment: A datetime with a time zone.

        Raises:
            ValueError: `moment` is not a datetime with a time zone.
        """
        if getattr(moment, "tzinfo", None) is None:
            raise ValueError(
                "the deadline must be a datetime with a time zone, such as `await ctx.now() + ...`, got "
                f"{shown(moment)}"
            )
        return Sleep(self._turn, self._take(), truncate(moment)).perform()

    @overload
    def wait_for_signal(
        self, token: str, type: type[T], /, *, timeout: Duration | None = None
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def wait_for_signal(self, token: str, /, *, timeout: Duration | None = None) -> Coroutine[Any, Any, Any]: ...
    def wait_for_signal(
        self, token: str, type: Any = Any, /, *, timeout: Duration | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Wait for a signal. A signal that was sent before counts, the oldest first.

        A call takes one position, and two with a timeout. To add or remove the timeout, change the workflow's version.

        Args:
            token: Token of the signal. One live run at a time waits for a token, so put an id into it.
            type: Type of the payload. Default: the plain JSON value.
            timeout: How long to wait. None: no limit.

        Returns:
            The payload as `type`.

        Raises:
            SignalTimeoutError: no signal came before the timeout. A later signal is kept for a later wait.
            SignalTokenTakenError: another live run waits for this token.
            SerializationError: the payload does not fit `type`, or the token cannot be stored.
        """
        checked_token(token)
        limit = None if timeout is None else parse_duration(timeout)
        deadline_position = None if limit is None else self._take()
        return Signal(self._turn, self._take(), token, type, deadline_position, limit, tells_type=True).perform()

    @overload
    def wait_for_event(
        self, name: str, type: type[T], /, *, match: Mapping[str, Json] | None = None, timeout: Duration | None = None
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def wait_for_event(
        self, name: str, /, *, match: Mapping[str, Json] | None = None, timeout: Duration | None = None
    ) -> Coroutine[Any, Any, Any]: ...
    def wait_for_event(
        self,
        name: str,
        type: Any = Any,
        /,
        *,
        match: Mapping[str, Json] | None = None,
        timeout: Duration | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Wait for a published event. A kept event counts, the oldest first.

        Every run that waits for an event receives it. A kept event goes to the first run that asks. A call takes one
        position, and two with a timeout.

        Args:
            name: Name of the event.
            type: Type of the payload. Default: the plain JSON value.
            match: Values that the payload must have at its top level.
            timeout: How long to wait. None: no limit.

        Returns:
            The payload as `type`.

        Raises:
            SignalTimeoutError: no event came before the timeout.
            InputValidationError: the name or `match` cannot be stored.
            SerializationError: the payload does not fit `type`.
        """
        checked_event_name(name)
        if not isinstance(match, Mapping | None):
            raise InputValidationError(
                f"the match of event {name!r} must be a mapping of keys to values, got {shown(match)}"
            )
        wanted = self._turn.kernel.codec.encode(dict(match or {}), Any, what=f"the match of event {name!r}")
        event_token(name, wanted, self._turn.run.id, 0)
        limit = None if timeout is None else parse_duration(timeout)
        deadline_position = None if limit is None else self._take()
        return AwaitedEvent(self._turn, self._take(), name, wanted, type, deadline_position, limit).perform()

    @overload
    def webhook(self, type: type[T], /) -> Coroutine[Any, Any, Webhook[T]]: ...
    @overload
    def webhook(self, /) -> Coroutine[Any, Any, Webhook[Any]]: ...
    def webhook(self, type: Any = Any, /) -> Coroutine[Any, Any, Webhook[Any]]:
        """Create an address for one callback of another system. The address cannot be guessed.

        `hook = await ctx.webhook(Notice)`, pass on `hook.url`, then `await hook.wait(timeout="3 days")`. A callback
        that comes before `wait` is kept. A call takes one position.

        Args:
            type: Type of the callback's body. Default: the plain JSON value.

        Returns:
            The webhook.
        """
        return MintedWebhook(self._turn, self._take(), type).perform()
