"""Streams: what runs append for readers, item by item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fastapi_durable.model.records import StreamRow


@dataclass(frozen=True, slots=True)
class StreamPart:
    """What one source has appended to one stream.

    Attributes:
        step_id: Id of the step that appended. Empty for the workflow's body.
        last_attempt: Highest attempt that appended.
        last_offset: Highest offset.
        closes: Whether the source has closed the stream.
    """

    stream: str
    step_id: str
    last_attempt: int
    last_offset: int
    closes: bool


class StreamStore(Protocol):
    """Rows of streams. They belong to their run, and are deleted with it."""

    async def append_stream_rows(self, rows: Sequence[StreamRow], *, tokens: Mapping[str, str]) -> frozenset[str]:
        """Append rows to the streams of several runs. The rows of one run are appended together or not at all.

        A row whose offset is taken stays as it is, so a call without an answer can be repeated.

        Args:
            rows: The rows.
            tokens: The token under which each run must be leased, by run id.

        Returns:
            The ids of the runs that are not leased under their token. Nothing was written for them.
        """
        ...

    async def read_stream_rows(
        self, run_id: str, stream: str, *, after: int | None = None, limit: int
    ) -> list[StreamRow]:
        """Return rows of a stream, ordered by offset.

        Args:
            run_id: Id of the run.
            stream: Name of the stream.
            after: Offset after which the page begins. None: from the first row.
            limit: Maximum number of rows.
        """
        ...

    async def list_stream_parts(self, run_id: str) -> list[StreamPart]:
        """Return what each source has appended to each stream of a run.

        Args:
            run_id: Id of the run.
        """
        ...
