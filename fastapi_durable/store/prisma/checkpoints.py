"""Checkpoints."""

from collections.abc import Collection, Sequence

from fastapi_durable.model.errors import LeaseLostError, StoreConflictError
from fastapi_durable.model.records import Checkpoint
from fastapi_durable.store.port.checkpoints import HistoryState, PreparedCheckpoint, RecordedCheckpoint
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.history import StoredRow, read_histories
from fastapi_durable.store.prisma.prepared import prepared as prepared_by
from fastapi_durable.store.prisma.prepared import recording
from fastapi_durable.store.prisma.read_back import checkpoint_reads_back
from fastapi_durable.store.prisma.sql.bulk import list_parameter, record_checkpoints
from fastapi_durable.store.prisma.sql.statements import (
    delete,
    history_state,
    latest_by_name,
    record_checkpoint,
    recorded,
    save_checkpoint,
    select,
)
from fastapi_durable.store.prisma.tables import CHECKPOINTS


class CheckpointOperations(Operations):
    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        await self._require_touchable(checkpoint.run_id)
        sql = await self._database.sql()
        await self._database.query(sql, save_checkpoint(sql, checkpoint))

    async def record_checkpoint(self, checkpoint: Checkpoint, *, token: str | None = None) -> RecordedCheckpoint:
        if self._scope is not None:
            await self._require_touchable(checkpoint.run_id)
        if self._bulk is None:
            return await self._record_alone(checkpoint, token)
        return await self._bulk.record_checkpoint(checkpoint, token, lambda: self._record_alone(checkpoint, token))

    def prepare_checkpoint(self, checkpoint: Checkpoint) -> PreparedCheckpoint | None:
        dialect = self._database.known_dialect
        return None if dialect is None else prepared_by(dialect, checkpoint)

    async def record_prepared(
        self, prepared: Sequence[PreparedCheckpoint], *, token: str
    ) -> Sequence[RecordedCheckpoint]:
        if self._scope is not None:
            await self._require_touchable(*{each.checkpoint.run_id for each in prepared})

        async def alone() -> Sequence[RecordedCheckpoint]:
            sql = await self._database.sql()
            sql.parameters.append(list_parameter([recording(each.encoded, token) for each in prepared]))
            text = record_checkpoints(type(sql), with_rows=False, waits=True)
            written = {(row["run_id"], int(row["seq"])) for row in await self._database.query(sql, text)}
            return [
                RecordedCheckpoint(row, won=True)
                if (row.run_id, row.seq) in written
                else RecordedCheckpoint(await self._finished_before(row, token), won=False)
                for row, _ in prepared
            ]

        return await alone() if self._bulk is None else await self._bulk.record_prepared(prepared, token, alone)

    async def _record_alone(self, checkpoint: Checkpoint, token: str | None) -> RecordedCheckpoint:
        # Try twice, in case the existing row is deleted, or the lease is taken again, in between.
        for _ in range(2):
            sql = await self._database.sql()
            rows = await self._database.query(sql, record_checkpoint(sql, checkpoint, token))
            if rows and checkpoint_reads_back(checkpoint):
                return RecordedCheckpoint(checkpoint, won=True)
            if rows:
                written = CHECKPOINTS.read(rows[0]["row"])
                return RecordedCheckpoint(written, won=True)
            stored = await self._read_what_was_in_the_way(checkpoint, token)
            if stored is not None and stored.status.is_finished:
                return RecordedCheckpoint(stored, won=False)
        raise self._deleted_meanwhile(checkpoint)

    async def find_checkpoint(self, run_id: str, seq: int) -> Checkpoint | None:
        if not await self._may_touch(run_id):
            return None
        sql = await self._database.sql()
        conditions = [f"r.run_id = {sql.text(run_id)}", f"r.seq = {sql.integer(seq)}"]
        return await self._first_row(CHECKPOINTS, sql, select(sql, CHECKPOINTS, conditions))

    async def list_checkpoints(self, run_id: str) -> list[Checkpoint]:
        if not await self._may_touch(run_id):
            return []
        sql = await self._database.sql()
        text = select(sql, CHECKPOINTS, [f"r.run_id = {sql.text(run_id)}"], order="r.seq")
        # Skip no row: without an unreadable row, its step would be executed again.
        rows = await self._database.query(sql, text)
        return [CHECKPOINTS.read(row["row"]) for row in rows]

    async def page_checkpoints(self, run_id: str, *, after: int | None = None, limit: int) -> list[Checkpoint]:
        if not await self._may_touch(run_id):
            return []
        sql = await self._database.sql()
        conditions = [f"r.run_id = {sql.text(run_id)}"]
        if after is not None:
            conditions.append(f"r.seq > {sql.integer(after)}")
        text = f"{select(sql, CHECKPOINTS, conditions, 'r.seq')} LIMIT {sql.integer(limit)}"
        return await self._rows(CHECKPOINTS, sql, text)

    async def history_state(self, run_id: str) -> HistoryState:
        if not await self._may_touch(run_id):
            return HistoryState(0, "")
        sql = await self._database.sql()
        (row,) = await self._database.query(sql, history_state(sql, run_id))
        total = int(row.pop("total"))
        return HistoryState(total, "|".join(str(row[name]) for name in sorted(row)))

    async def read_history(self, run_id: str) -> list[StoredRow]:
        if not await self._may_touch(run_id):
            return []

        async def alone() -> list[StoredRow]:
            return (await read_histories(self._database, [run_id])).get(run_id, [])

        return await alone() if self._bulk is None else await self._bulk.read_history(run_id, alone)

    async def find_latest_checkpoint_by_name(
        self, run_id: str, name: str, *, by_time: bool = False
    ) -> Checkpoint | None:
        if not await self._may_touch(run_id):
            return None
        sql = await self._database.sql()
        return await self._first_row(CHECKPOINTS, sql, latest_by_name(sql, run_id, name, by_time=by_time))

    async def list_checkpoints_by_name_prefix(self, run_id: str, prefixes: Sequence[str]) -> list[Checkpoint]:
        if not prefixes or not await self._may_touch(run_id):
            return []
        sql = await self._database.sql()
        conditions = [f"r.run_id = {sql.text(run_id)}"]
        conditions.append(" OR ".join([sql.starts_with("r.name", prefix) for prefix in prefixes]))
        return await self._rows(CHECKPOINTS, sql, select(sql, CHECKPOINTS, conditions, "r.seq"))

    async def remove_checkpoints(self, run_id: str, seqs: Collection[int] | None = None) -> int:
        if not await self._may_touch(run_id):
            return 0
        sql = await self._database.sql()
        conditions = [f"r.run_id = {sql.text(run_id)}"]
        if seqs is not None:
            conditions.append(f"r.seq IN {sql.integers(sorted(seqs))}")
        return await self._database.execute(sql, delete(CHECKPOINTS, conditions))

    async def _finished_before(self, checkpoint: Checkpoint, token: str) -> Checkpoint:
        stored = await self._read_what_was_in_the_way(checkpoint, token)
        if stored is None or not stored.status.is_finished:
            raise self._deleted_meanwhile(checkpoint)
        return stored

    @staticmethod
    def _deleted_meanwhile(checkpoint: Checkpoint) -> StoreConflictError:
        return StoreConflictError(
            f"checkpoint {checkpoint.seq} of run {checkpoint.run_id!r} was written and deleted by others meanwhile"
        )

    async def _read_what_was_in_the_way(self, checkpoint: Checkpoint, token: str | None) -> Checkpoint | None:
        sql = await self._database.sql()
        (found,) = await self._database.query(sql, recorded(sql, checkpoint.run_id, checkpoint.seq))
        if token is not None and found["locked_by"] != token:
            raise LeaseLostError(checkpoint.run_id)
        if found["row"] is None:
            return None
        return CHECKPOINTS.read(found["row"])
