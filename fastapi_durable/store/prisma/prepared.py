"""Checkpoints that are encoded when a call ends, and written before the next effect.

The engine returns a result before it is written, so the stored form must be known beforehand. It is read from the
encoded columns, as it would be from the stored ones. If a database changes a value in a way that this module cannot
predict, the checkpoint is not prepared.
"""

from dataclasses import replace

import orjson

from fastapi_durable.model.clock import truncate
from fastapi_durable.model.records import Checkpoint, ErrorRecord, Json
from fastapi_durable.store.port.checkpoints import PreparedCheckpoint
from fastapi_durable.store.prisma.kinds import from_json_text, to_json_text
from fastapi_durable.store.prisma.read_back import checkpoint_reads_back
from fastapi_durable.store.prisma.row_text import row_text
from fastapi_durable.store.prisma.sql.builder import Sql
from fastapi_durable.store.prisma.tables import CHECKPOINTS


def prepared(dialect: type[Sql], checkpoint: Checkpoint) -> PreparedCheckpoint | None:
    """Encode the columns as a JSON list. Return None if a JSON list cannot represent them exactly.

    Raises:
        SerializationError: a value has no JSON form.
    """
    text = row_text(dialect, CHECKPOINTS, checkpoint)
    if text is None:
        return None
    if checkpoint_reads_back(checkpoint):
        return PreparedCheckpoint(checkpoint, text)
    if not (dialect.foresees(checkpoint.input) and dialect.foresees(checkpoint.output)):
        return None
    return PreparedCheckpoint(_as_read(dialect, checkpoint), text)


def recording(row: str, token: str | None) -> str:
    """Return the call that records a checkpoint's row, with or without a lease."""
    lease = "null" if token is None else orjson.dumps(token).decode()
    return f"[{lease},{row[1:]}"


def _as_read(dialect: type[Sql], checkpoint: Checkpoint) -> Checkpoint:
    def read(value: Json) -> Json:
        return dialect.kept(from_json_text(to_json_text(value)))

    return replace(
        checkpoint,
        input=read(checkpoint.input),
        output=read(checkpoint.output),
        error=None if checkpoint.error is None else ErrorRecord.from_json(read(checkpoint.error.to_json())),
        events=tuple(read(list(checkpoint.events))),
        wake_at=None if checkpoint.wake_at is None else truncate(checkpoint.wake_at),
        enqueued_at=None if checkpoint.enqueued_at is None else truncate(checkpoint.enqueued_at),
        started_at=truncate(checkpoint.started_at),
        finished_at=truncate(checkpoint.finished_at),
    )
