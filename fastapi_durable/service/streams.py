"""Reading the streams of runs."""

from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar, overload

from fastapi_durable.declare.names import checked_name
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.stream_reader import StreamItem, item_of, reader_of
from fastapi_durable.model.errors import InputValidationError
from fastapi_durable.model.text import shown

T = TypeVar("T")

_LARGEST_OFFSET: Final = 2**31 - 1
_LONGEST_WAIT: Final = 3600.0


class Streams:
    """The part of the façade that reads streams."""

    _kernel: Kernel

    @overload
    def read_stream(
        self, run_id: str, name: str, type: type[T], /, *, after: int | None = None, follow: bool = True
    ) -> AsyncIterator[StreamItem[T]]: ...
    @overload
    def read_stream(
        self, run_id: str, name: str, /, *, after: int | None = None, follow: bool = True
    ) -> AsyncIterator[StreamItem[Any]]: ...
    async def read_stream(
        self, run_id: str, name: str, type: Any = Any, /, *, after: int | None = None, follow: bool = True
    ) -> AsyncIterator[StreamItem[Any]]:
        """Yield the items of a run's stream, in order and without a gap, as runs append them in any process.

        The iterator ends when the stream is closed or the run has ended. A stream without items is waited for. If the
        run continues as a new run, the new run has streams of its own.

        Args:
            run_id: Id of the run.
            name: Name of the stream.
            type: Type of the items. Default: plain JSON values.
            after: Offset of the last item that the caller has. None: from the first item.
            follow: Whether to wait for further items. False: end after the items that are stored now.

        Yields:
            Each item with its offset.

        Raises:
            RunNotFoundError: no run has this id, or the run was deleted meanwhile.
            SerializationError: an item does not fit `type`.
            StoreUnavailableError: the database cannot be reached. Call again with `after`.
            InputValidationError: `after` is not an offset.
        """
        kernel = self._kernel
        with reader_of(kernel, run_id, checked_name(name), checked_offset(after)) as reader:
            while True:
                rows = await reader.read()
                for row in rows:
                    yield item_of(kernel, row, type)
                if reader.has_ended or (not rows and not follow):
                    return
                while not rows and not await reader.wait(_LONGEST_WAIT):
                    pass


def checked_offset(after: Any) -> int | None:
    """Return `after`, if it can be an offset.

    Raises:
        InputValidationError: it cannot.
    """
    if after is None or (isinstance(after, int) and not isinstance(after, bool) and 0 <= after <= _LARGEST_OFFSET):
        return after
    raise InputValidationError(f"after must be the offset of an item, a whole number from 0, got {shown(after)}")
