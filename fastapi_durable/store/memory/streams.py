"""Streams in memory."""

from collections.abc import Mapping, Sequence

from fastapi_durable.model.records import StreamRow, StreamRowKind
from fastapi_durable.store.memory.access import TableAccess
from fastapi_durable.store.memory.tables import freeze_stream_row, thaw_stream_row
from fastapi_durable.store.port.streams import StreamPart


class StreamOperations(TableAccess):
    """The operations that the store and a transaction share."""

    async def append_stream_rows(self, rows: Sequence[StreamRow], *, tokens: Mapping[str, str]) -> frozenset[str]:
        frozen = [freeze_stream_row(row) for row in rows]
        async with self._access() as tables:
            for run_id in tokens:
                self._require_visible(tables, run_id)
            refused = frozenset(
                run_id
                for run_id, token in tokens.items()
                if (run := tables.runs.get(run_id)) is None or run.locked_by != token
            )
            for row in frozen:
                key = (row.run_id, row.stream, row.item_offset)
                if row.run_id not in refused and tables.stream_rows.get(key) is None:
                    tables.stream_rows.put(key, row)
            return refused

    async def read_stream_rows(
        self, run_id: str, stream: str, *, after: int | None = None, limit: int
    ) -> list[StreamRow]:
        async with self._access() as tables:
            found: list[StreamRow] = []
            # Offsets have no gaps, so a page begins at its offset.
            offset = 0 if after is None else max(0, after + 1)
            while len(found) < limit and self._touchable(tables, run_id):
                row = tables.stream_rows.get((run_id, stream, offset + len(found)))
                if row is None:
                    break
                found.append(thaw_stream_row(row))
            return found

    async def list_stream_parts(self, run_id: str) -> list[StreamPart]:
        async with self._access() as tables:
            rows = tables.stream_rows.group(run_id) if self._touchable(tables, run_id) else []
            parts: dict[tuple[str, str], list[StreamRow]] = {}
            for row in rows:
                parts.setdefault((row.stream, row.step_id), []).append(row)
            return [
                StreamPart(
                    stream=stream,
                    step_id=step_id,
                    last_attempt=max(row.attempt for row in some),
                    last_offset=max(row.item_offset for row in some),
                    closes=any(row.kind is StreamRowKind.END for row in some),
                )
                for (stream, step_id), some in parts.items()
            ]
