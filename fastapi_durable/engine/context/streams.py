"""`ctx.stream`: items that the body appends for readers outside."""

from collections.abc import Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar, overload

from fastapi_durable.declare.names import checked_name
from fastapi_durable.engine.context.base import ContextPart
from fastapi_durable.engine.primitives.stream_append import StreamAppend
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import InputValidationError

T = TypeVar("T")

_MOST_AT_ONCE: Final = 1000


class RunStream(Generic[T]):
    """A stream as the body sees it: each call takes one position, and its items commit together with that."""

    def __init__(self, turn: Turn, name: str, declared: Any) -> None:
        self._turn = turn
        self._name = name
        self._declared = declared

    def append(self, item: T, /) -> Coroutine[Any, Any, int]:
        """Append an item, exactly once; returns its offset.

        Raises:
            SerializationError: the item is not of the declared type, or has no JSON form.
            InputValidationError: it is larger than `stream_max_item_size`.
            StepFailedError: the stream is full or closed.
        """
        return self._call([item])

    def extend(self, items: Sequence[T], /) -> Coroutine[Any, Any, int]:
        """Append 1 to 1000 items in one transaction, exactly once; returns the offset of the last.

        Raises:
            InputValidationError: there are none, or more than 1000.
            SerializationError, StepFailedError: as `append`.
        """
        several = list(items)
        if not 1 <= len(several) <= _MOST_AT_ONCE:
            raise InputValidationError(f"items must be 1-{_MOST_AT_ONCE} items, got {len(several)}")
        return self._call(several)

    def close(self) -> Coroutine[Any, Any, int]:
        """End the stream: readers end behind its last item, and nothing can be appended any more.

        The end of the run ends its streams as well, so this is for a run that goes on without them.

        Raises:
            StepFailedError: the stream was closed before.
        """
        return self._call(None)

    def _call(self, items: Sequence[Any] | None) -> Coroutine[Any, Any, int]:
        return StreamAppend(self._turn, self._turn.take_position(), self._name, items, self._declared).perform()


class StreamCalls(ContextPart):
    """The part of the context that appends to streams."""

    @overload
    def stream(self, name: str, type: type[T], /) -> RunStream[T]: ...
    @overload
    def stream(self, name: str, /) -> RunStream[Any]: ...
    def stream(self, name: str, type: Any = Any, /) -> RunStream[Any]:
        """A stream of this run, of items of `type`; readers follow it with `service.read_stream(run_id, name)`.

        The body appends to it with one transaction a call. Many items, such as tokens of a language model, belong in a
        step: `current_step().stream(name)` writes them together.

        Raises:
            DefinitionError: the name cannot be stored.
        """
        return RunStream(self._turn, checked_name(name), type)
