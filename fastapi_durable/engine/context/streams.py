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
        """Append an item, exactly once.

        Args:
            item: Item of the declared type.

        Returns:
            The offset of the item.

        Raises:
            SerializationError: the item does not fit the declared type, or has no JSON form.
            InputValidationError: the item is larger than `stream_max_item_size`.
            StepFailedError: the stream is full or closed.
        """
        return self._call([item])

    def extend(self, items: Sequence[T], /) -> Coroutine[Any, Any, int]:
        """Append 1 to 1000 items in one transaction, exactly once.

        Args:
            items: Items of the declared type.

        Returns:
            The offset of the last item.

        Raises:
            InputValidationError: there are no items or more than 1000, or one is larger than `stream_max_item_size`.
            SerializationError: as `append`.
            StepFailedError: as `append`.
        """
        several = list(items)
        if not 1 <= len(several) <= _MOST_AT_ONCE:
            raise InputValidationError(f"items must be 1-{_MOST_AT_ONCE} items, got {len(several)}")
        return self._call(several)

    def close(self) -> Coroutine[Any, Any, int]:
        """Close the stream. Readers end after its last item, and nothing can be appended.

        The end of a run closes its streams. Call this method in a run that continues without them.

        Returns:
            The offset of the end.

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
        """Return a stream of this run. Readers follow it with `service.read_stream(run_id, name)`.

        Each call on the stream is one transaction. For many items, such as tokens of a language model, use a step:
        `current_step().stream(name)` writes them in batches.

        Args:
            name: Name of the stream.
            type: Type of the items. Default: any value that pydantic serialises.

        Returns:
            The stream.

        Raises:
            DefinitionError: the name cannot be stored.
        """
        return RunStream(self._turn, checked_name(name), type)
