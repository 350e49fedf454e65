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

T = TypeVar("T")


class ValueCalls(ContextPart):
    """The part of the context that takes values which differ from run to run."""

    def now(self) -> Coroutine[Any, Any, datetime]:
        """The current time (aware, UTC, milliseconds), the same on every replay."""
        return RecordedValue(self._turn, self._take(), "now", datetime, self._turn.kernel.clock.now).perform()

    def uuid(self) -> Coroutine[Any, Any, uuid.UUID]:
        """A random UUID, the same on every replay; it cannot be guessed."""
        return RecordedValue(self._turn, self._take(), "uuid", uuid.UUID, uuid.uuid4).perform()

    def random(self) -> Coroutine[Any, Any, float]:
        """A random float in [0, 1), the same on every replay."""
        return RecordedValue(self._turn, self._take(), "random", float, random.random).perform()

    def upsert_search_attributes(
        self, changes: Mapping[str, Any] | BaseModel, /
    ) -> Coroutine[Any, Any, SearchAttributes]:
        """Set search attributes of this run; a key whose value is None is removed, others stay.

        Returns all attributes that the run has then. With a model, its set fields are the changes.

        Raises:
            InputValidationError: a value is no text, number or boolean, or the result does not fit the schema that the
                workflow declares with `search_attributes=`; nothing was changed.
        """
        if not isinstance(changes, BaseModel | Mapping):
            raise InputValidationError(f"search attributes must be a mapping of names to values, got {changes!r:.80}")
        given = changes.model_dump(mode="json", exclude_unset=True) if isinstance(changes, BaseModel) else dict(changes)
        return UpsertedAttributes(self._turn, self._take(), given).perform()

    def side_effect(
        self, take: Callable[[], Awaitable[T] | T], type: type[T] | None = None, /
    ) -> Coroutine[Any, Any, T]:
        """What `take` returns on the first run, recorded; for reading something that changes, such as a flag.

        Unlike a step it is not retried, has no timeout and is not shown while it runs.

        Raises:
            StepFailedError: `take` raised, or its value has no JSON form; the same error on every replay.
        """
        declared: Any = Any if type is None else type
        return RecordedValue(self._turn, self._take(), "sideEffect", declared, take).perform()
