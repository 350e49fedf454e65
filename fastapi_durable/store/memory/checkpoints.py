"""Checkpoints in memory."""

from collections.abc import Collection, Sequence

from fastapi_durable.model.errors import LeaseLostError
from fastapi_durable.model.records import Checkpoint
from fastapi_durable.store.history import WholeRow
from fastapi_durable.store.memory.access import TableAccess
from fastapi_durable.store.memory.tables import Tables, freeze_checkpoint, thaw_checkpoint
from fastapi_durable.store.port.checkpoints import HistoryState, PreparedCheckpoint, RecordedCheckpoint


class CheckpointOperations(TableAccess):
    """The operations that the store and a transaction share."""

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        row = freeze_checkpoint(checkpoint)
        async with self._access() as tables:
            self._require_visible(tables, checkpoint.run_id)
            tables.checkpoints.put((row.run_id, row.seq), row)

    async def record_checkpoint(self, checkpoint: Checkpoint, *, token: str | None = None) -> RecordedCheckpoint:
        row = freeze_checkpoint(checkpoint)
        async with self._access() as tables:
            return self._record(tables, row, token)

    def prepare_checkpoint(self, checkpoint: Checkpoint) -> PreparedCheckpoint:
        row = freeze_checkpoint(checkpoint)
        return PreparedCheckpoint(thaw_checkpoint(row), row)

    async def record_prepared(
        self, prepared: Sequence[PreparedCheckpoint], *, token: str
    ) -> Sequence[RecordedCheckpoint]:
        async with self._access() as tables:
            return [self._record(tables, each.encoded, token) for each in prepared]

    def _record(self, tables: Tables, row: Checkpoint, token: str | None) -> RecordedCheckpoint:
        self._require_visible(tables, row.run_id)
        if token is not None:
            run = tables.runs.get(row.run_id)
            if run is None or run.locked_by != token:
                raise LeaseLostError(row.run_id)
        stored = tables.checkpoints.get((row.run_id, row.seq))
        if stored is not None and stored.status.is_finished:
            return RecordedCheckpoint(thaw_checkpoint(stored), won=False)
        tables.checkpoints.put((row.run_id, row.seq), row)
        return RecordedCheckpoint(thaw_checkpoint(row), won=True)

    async def find_checkpoint(self, run_id: str, seq: int) -> Checkpoint | None:
        async with self._access() as tables:
            row = tables.checkpoints.get((run_id, seq)) if self._touchable(tables, run_id) else None
            return None if row is None else thaw_checkpoint(row)

    async def list_checkpoints(self, run_id: str) -> list[Checkpoint]:
        return await self._list_checkpoints(run_id, None)

    async def page_checkpoints(self, run_id: str, *, after: int | None = None, limit: int) -> list[Checkpoint]:
        found = await self._list_checkpoints(run_id, None)
        return [row for row in found if after is None or row.seq > after][:limit]

    async def history_state(self, run_id: str) -> HistoryState:
        found = await self._list_checkpoints(run_id, None)
        states = ((row.seq, row.status, row.attempts, row.started_at, row.finished_at) for row in found)
        return HistoryState(len(found), str(hash(tuple(states))))

    async def read_history(self, run_id: str) -> list[WholeRow]:
        return [WholeRow(checkpoint) for checkpoint in await self._list_checkpoints(run_id, None)]

    async def find_latest_checkpoint_by_name(
        self, run_id: str, name: str, *, by_time: bool = False
    ) -> Checkpoint | None:
        found = [row for row in await self._list_checkpoints(run_id, [name]) if row.name == name]
        return max(found, key=lambda row: (row.finished_at if by_time else row.seq, row.seq), default=None)

    async def list_checkpoints_by_name_prefix(self, run_id: str, prefixes: Sequence[str]) -> list[Checkpoint]:
        return await self._list_checkpoints(run_id, prefixes)

    async def remove_checkpoints(self, run_id: str, seqs: Collection[int] | None = None) -> int:
        async with self._access() as tables:
            rows = tables.checkpoints.group(run_id) if self._touchable(tables, run_id) else []
            removed = [row for row in rows if seqs is None or row.seq in seqs]
            for row in removed:
                tables.checkpoints.pop((run_id, row.seq))
            return len(removed)

    async def _list_checkpoints(self, run_id: str, prefixes: Sequence[str] | None) -> list[Checkpoint]:
        async with self._access() as tables:
            rows = tables.checkpoints.group(run_id) if self._touchable(tables, run_id) else []
            found = [row for row in rows if prefixes is None or row.name.startswith(tuple(prefixes))]
            return [thaw_checkpoint(row) for row in sorted(found, key=lambda row: row.seq)]
