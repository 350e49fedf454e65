"""Follows a stream of a run: page by page, and then item by item.

A reader holds only its offset, so readers do not wait for each other. Notifications of the run wake it, from this
process or another one. It also polls once per poll interval.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.notifications import StreamWatch
from fastapi_durable.engine.runs.addressing import visible_store
from fastapi_durable.model.errors import RunNotFoundError
from fastapi_durable.model.records import RunStatus, StreamRow, StreamRowKind

T = TypeVar("T")

_PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamItem(Generic[T]):
    """An item of a stream.

    Attributes:
        offset: Position in the stream. `read_stream(..., after=offset)` continues after it.
        data: The item.
        step: Id of the step that appended it. None: the workflow's body.
        attempt: Number of the execution of the step. A later execution has a higher one.
        begins_again: Whether this is the first item of a repeated execution. Drop the earlier items of this step.
        at: Time at which the item was appended.
    """

    offset: int
    data: T
    step: str | None
    attempt: int
    begins_again: bool
    at: datetime


class StreamReader:
    """The position of one reader in a stream. `reader_of` creates it.

    Attributes:
        status: Status of the run at the last read.
        has_ended: Whether no more items follow.
    """

    def __init__(self, kernel: Kernel, run_id: str, stream: str, after: int | None, watch: StreamWatch) -> None:
        self.status = RunStatus.PENDING
        self.has_ended = False
        self._kernel = kernel
        self._run_id = run_id
        self._stream = stream
        self._after = after
        self._watch = watch
        self._due_at = float("-inf")

    async def read(self) -> list[StreamRow]:
        """Return the next items, a hundred at most. The list is empty if there are none yet, or if the stream
        `has_ended`.

        Raises:
            RunNotFoundError: the run does not exist, or was deleted.
        """
        # Before the read, so that a notification during it causes another read.
        self._watch.heard.clear()
        looks_at_run = self.is_due or self._watch.finished
        self._due_at = asyncio.get_running_loop().time() + self._kernel.config.poll_interval.total_seconds()
        if looks_at_run:
            # Read the run before its items. A run that has ended appends no more, so an empty page is then the end.
            run = await visible_store(self._kernel).find_run(self._run_id)
            if run is None:
                raise RunNotFoundError(self._run_id)
            self.status = run.status
        rows = await self._kernel.store.read_stream_rows(self._run_id, self._stream, after=self._after, limit=_PAGE)
        if not rows:
            self.has_ended = self.status.is_terminal
            return []
        self._after = rows[-1].item_offset
        if rows[-1].kind is StreamRowKind.END:
            self.has_ended = True
            return rows[:-1]
        return rows

    @property
    def is_due(self) -> bool:
        """Return whether it is time to read without a notification."""
        return asyncio.get_running_loop().time() >= self._due_at

    async def wait(self, seconds: float) -> bool:
        """Wait for a notification of new items, until the next poll is due, or for some seconds at most.

        Returns:
            Whether a read may find something.
        """
        left = max(0.0, self._due_at - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(min(seconds, left)):
                await self._watch.heard.wait()
        except TimeoutError:
            pass
        return self._watch.heard.is_set() or self.is_due


@contextmanager
def reader_of(kernel: Kernel, run_id: str, stream: str, after: int | None) -> Iterator[StreamReader]:
    """Yield a reader of the items after `after`. None: of all items. The reader receives notifications while the block
    is open.
    """
    with kernel.notifications.watch_streams(run_id) as watch:
        yield StreamReader(kernel, run_id, stream, after, watch)


def item_of(kernel: Kernel, row: StreamRow, declared: Any) -> StreamItem[Any]:
    """Return the item of a row, with its data as the declared type.

    Raises:
        SerializationError: the data does not fit the declared type.
    """
    what = f"item {row.item_offset} of stream {row.stream!r}"
    return StreamItem(
        offset=row.item_offset,
        data=kernel.codec.decode(row.data, declared, what=what),
        step=row.step_id or None,
        attempt=row.attempt,
        begins_again=row.kind is StreamRowKind.RESTART,
        at=row.appended_at,
    )
