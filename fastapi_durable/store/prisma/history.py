"""Reads the histories of runs: one text for each, parsed at once, and decoded row by row when needed."""

from collections.abc import Sequence
from typing import Any

import orjson

from fastapi_durable.model.errors import SerializationError
from fastapi_durable.model.records import Checkpoint, Json
from fastapi_durable.store.prisma.database import Database
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.sql.statements import select_histories
from fastapi_durable.store.prisma.tables import CHECKPOINTS

_SEQ, _NAME, _KIND, _STEP_ID, _STATUS, _OUTPUT = (
    CHECKPOINTS.names.index(name) for name in ("seq", "name", "kind", "step_id", "status", "output")
)
_RUN_ID = CHECKPOINTS.names.index("run_id")


class StoredRow:
    """See `HistoryRow`; `values` are those of the columns, JSON as text."""

    __slots__ = ("kind", "name", "seq", "status", "step_id", "values")

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self.seq: int = values[_SEQ]
        self.kind: str = values[_KIND]
        self.name: str = values[_NAME]
        self.status: str = values[_STATUS]
        self.step_id: str = values[_STEP_ID]

    def read_output(self) -> Json:
        return CHECKPOINTS.read_json(self.values, _OUTPUT)

    def read(self) -> Checkpoint:
        return CHECKPOINTS.read_values(self.values)


async def read_histories(database: Database, run_ids: Sequence[str]) -> dict[str, list[StoredRow]]:
    """Return the history of each run. Runs without a row are left out.

    Raises:
        SerializationError: a text is not valid, although the database made it.
    """
    sql: Sql = await database.sql()
    rows = await database.query(sql, select_histories(sql, run_ids))
    histories: dict[str, list[StoredRow]] = {}
    for row in rows:
        try:
            # No number column is larger than 64 bits, the limit of this parser.
            found = [StoredRow(values) for values in orjson.loads(row["history"] or "[]")]
        except ValueError as error:
            raise SerializationError(f"a history cannot be read: {error}") from error
        if found:
            histories[found[0].values[_RUN_ID]] = found
    return histories
