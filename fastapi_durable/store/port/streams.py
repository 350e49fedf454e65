"""Streams: what runs append for readers, item by item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fastapi_durable.model.records import StreamRow


@dataclass(frozen=True, slots=True)
class StreamPart:
    """What one source has appended to one stream.

    Attributes:
        step_id: Of the step; empty for the workflow's body.
        last_attempt, last_offset: The highest of each.
        closes: Whether it has closed the stream.
    """

    stream: str
    step_id: str
    last_attempt: int
    last_offset: int
    closes: bool


class StreamStore(Protocol):
    """Rows of streams. They belong to their run, and are deleted with it."""

    async def append_stream_rows(self, rows: Sequence[StreamRow], *, tokens: Mapping[str, str]) -> frozenset[str]:
        """Append rows to the streams of several runs, those of one run together or not at all.

        A row whose offset is taken stays as it is, so that a call without an answer can be made again.

        Args:
            tokens: Of each run, the token under which it must be leased.

        Returns:
            The ids of the runs that are not leased under their token; nothing was written for them.
        """
        ...

    async def read_stream_rows(
        self, run_id: str, stream: str, *, after: int | None = None, limit: int
    ) -> list[StreamRow]:
        """The first rows of a stream after an offset, in order."""
        ...

    async def list_stream_parts(self, run_id: str) -> list[StreamPart]:
        """What each source has appended to each stream of a run."""
        ...
