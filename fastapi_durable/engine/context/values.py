"""`ctx.now`, `ctx.uuid`, `ctx.random` and `ctx.side_effect`."""

import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

from fastapi_durable.engine.context.base import ContextPart
from fastapi_durable.engine.recorded_value import record_value

T = TypeVar("T")


class ValueCalls(ContextPart):
    """The part of the context that takes values which differ from run to run."""

    def now(self) -> Coroutine[Any, Any, datetime]:
        """The current time (aware, UTC, milliseconds), the same on every replay."""
        return record_value(self._turn, self._take(), "now", datetime, self._turn.services.clock.now)

    def uuid(self) -> Coroutine[Any, Any, uuid.UUID]:
        """A random UUID, the same on every replay; it cannot be guessed."""
        return record_value(self._turn, self._take(), "uuid", uuid.UUID, uuid.uuid4)

    def random(self) -> Coroutine[Any, Any, float]:
        """A random float in [0, 1), the same on every replay."""
        return record_value(self._turn, self._take(), "random", float, random.random)

    def side_effect(
        self, take: Callable[[], Awaitable[T] | T], type: type[T] | None = None, /
    ) -> Coroutine[Any, Any, T]:
        """What `take` returns on the first run, recorded; for reading something that changes, such as a flag.

        Unlike a step it is not retried, has no timeout and is not shown while it runs.

        Raises:
            StepFailedError: `take` raised, or its value has no JSON form; the same error on every replay.
        """
        declared: Any = Any if type is None else type
        return record_value(self._turn, self._take(), "sideEffect", declared, take)
