"""Streams."""

from collections import Counter
from collections.abc import Mapping, Sequence

from fastapi_durable.model.errors import SerializationError
from fastapi_durable.model.records import StreamRow
from fastapi_durable.store.port.streams import StreamPart
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.row_text import row_text
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.bulk import list_parameter
from fastapi_durable.store.prisma.sql.streams import append_rows, append_rows_of, leased_under, page, parts
from fastapi_durable.store.prisma.tables import STREAM_ROWS


class StreamOperations(Operations):
    async def append_stream_rows(self, rows: Sequence[StreamRow], *, tokens: Mapping[str, str]) -> frozenset[str]:
        if self._scope is not None:
            await self._require_touchable(*tokens)
        sql = await self._database.sql()
        written = await self._database.query(sql, append_rows(sql, _parameter(sql, rows, tokens)))
        found = Counter(row["run_id"] for row in written)
        brought = Counter(row.run_id for row in rows)
        # Missing rows were refused, were written by an earlier try, or their run was locked for a moment.
        left = [run_id for run_id, count in brought.items() if found[run_id] < count]
        return frozenset([run_id for run_id in left if not await self._appended(run_id, rows, tokens)])

    async def _appended(self, run_id: str, rows: Sequence[StreamRow], tokens: Mapping[str, str]) -> bool:
        """Return whether the rows of a run are stored, after waiting for a transaction that has locked the run."""
        own, token = [row for row in rows if row.run_id == run_id], tokens[run_id]
        sql = await self._database.sql()
        written = await self._database.query(sql, append_rows_of(sql, run_id, token, _parameter(sql, own, tokens)))
        if len(written) == len(own):
            return True
        sql = await self._database.sql()
        return bool(await self._database.query(sql, leased_under(sql, run_id, token)))

    async def read_stream_rows(
        self, run_id: str, stream: str, *, after: int | None = None, limit: int
    ) -> list[StreamRow]:
        if not await self._may_touch(run_id):
            return []
        sql = await self._database.sql()
        rows = await self._database.query(sql, page(sql, run_id, stream, -1 if after is None else after, limit))
        # Skip no row: a reader would never notice a missing item.
        return [STREAM_ROWS.read(row["row"]) for row in rows]

    async def list_stream_parts(self, run_id: str) -> list[StreamPart]:
        if not await self._may_touch(run_id):
            return []
        sql = await self._database.sql()
        return [
            StreamPart(
                stream=row["stream"],
                step_id=row["step_id"],
                last_attempt=int(row["attempt"]),
                last_offset=int(row["item_offset"]),
                closes=bool(row["closes"]),
            )
            for row in await self._database.query(sql, parts(sql, run_id))
        ]


def _parameter(sql: Sql, rows: Sequence[StreamRow], tokens: Mapping[str, str]) -> str:
    return list_parameter([_row(type(sql), row, tokens[row.run_id]) for row in rows])


def _row(dialect: type[Sql], row: StreamRow, token: str) -> str:
    text = row_text(dialect, STREAM_ROWS, row, token)
    if text is None:
        raise SerializationError(f"an item of stream {row.stream!r} has no place in a JSON list")
    return text
