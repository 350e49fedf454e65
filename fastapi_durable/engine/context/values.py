"""`ctx.now`, `ctx.uuid`, `ctx.random` and `ctx.side_effect`."""

import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel

from fastapi_durable.engine.context.base import ContextPart
from fastapi_durable.engine.primitives.recorded_value import RecordedValue
from fastapi_durable.engine.primitives.search_attributes import UpsertedAttributes
from fastapi_durable.model.errors import InputValidationError
from fastapi_durable.model.records import SearchAttributes
from fastapi_durable.model.text import shown

T = TypeVar("T")


class ValueCalls(ContextPart):
    """The part of the context for values that differ from run to run."""

    def now(self) -> Coroutine[Any, Any, datetime]:
        """Return the current time in UTC, with milliseconds. A replay returns the recorded value."""
        return RecordedValue(self._turn, self._take(), "now", datetime, self._turn.kernel.clock.now).perform()

    def uuid(self) -> Coroutine[Any, Any, uuid.UUID]:
        """Return a random UUID that cannot be guessed. A replay returns the recorded value."""
        return RecordedValue(self._turn, self._take(), "uuid", uuid.UUID, uuid.uuid4).perform()

    def random(self) -> Coroutine[Any, Any, float]:
        """Return a random float in [0, 1). A replay returns the recorded value."""
        return RecordedValue(self._turn, self._take(), "random", float, random.random).perform()

    def upsert_search_attributes(
        self, changes: Mapping[str, Any] | BaseModel, /
    ) -> Coroutine[Any, Any, SearchAttributes]:
        """Set search attributes of this run. A value of None removes its key, and other keys stay.

        Args:
            changes: Names and values, or a pydantic model, whose set fields are the changes.

        Returns:
            All attributes of the run after the call.

        Raises:
            InputValidationError: a value is not a text, a number or a boolean, or the result does not fit the schema
                that the workflow declares with `search_attributes=`. Nothing was changed.
        """
        if not isinstance(changes, BaseModel | Mapping):
            raise InputValidationError(f"search attributes must be a mapping of names to values, got {shown(changes)}")
        given = changes.model_dump(mode="json", exclude_unset=True) if isinstance(changes, BaseModel) else dict(changes)
        return UpsertedAttributes(self._turn, self._take(), given).perform()

    def side_effect(
        self, take: Callable[[], Awaitable[T] | T], type: type[T] | None = None, /
    ) -> Coroutine[Any, Any, T]:
        """Call a function, and record what it returns. Use it to read something that changes, such as a flag.

        Unlike a step, a side effect has no retries and no timeout, and the console does not show it while it runs.

        Args:
            take: Function without parameters, `def` or `async def`.
            type: Type of the value. Default: the plain JSON value.

        Returns:
            The recorded value.

        Raises:
            StepFailedError: the function raised, or its value has no JSON form. A replay raises the same error.
        """
        declared: Any = Any if type is None else type
        return RecordedValue(self._turn, self._take(), "sideEffect", declared, take).perform()
