"""Claims and leases in memory."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from fastapi_durable.model.records import Lease, Run, RunStatus
from fastapi_durable.store.memory.access import TableAccess
from fastapi_durable.store.memory.claims import CLAIMABLE, claimed_by, in_turn, waiting_runs
from fastapi_durable.store.memory.tables import thaw_run


class LeaseOperations(TableAccess):
    """The operations that the store and a transaction share."""

    async def claim_runs(
        self,
        token: str,
        *,
        now: datetime,
        until: datetime,
        limit: int,
        workflows: Collection[tuple[str, str]] | None = None,
        namespace: str | None = None,
        after: str = "",
    ) -> list[Run]:
        async with self._access() as tables:
            runs = (run for run in self._runs(tables, CLAIMABLE, namespace) if not run.queue)
            chosen = in_turn(waiting_runs(runs, now, workflows), after)[: max(0, limit)]
            claimed = [claimed_by(run, token, now, until) for _, run in sorted(chosen, key=lambda each: each[0])]
            for run in claimed:
                tables.runs.put(run.id, run)
            return [thaw_run(run) for run in claimed]

    async def renew_leases(self, leases: Sequence[Lease], *, until: datetime) -> dict[str, bool]:
        async with self._access() as tables:
            held = {}
            for lease in leases:
                row = self._visible(tables, lease.run_id)
                if row is not None and row.locked_by == lease.token:
                    tables.runs.put(row.id, replace(row, locked_until=until))
                    held[row.id] = row.status is RunStatus.CANCELLING or row.is_paused
            return held

    async def prolong_leases(self, tokens: Collection[str], *, until: datetime) -> dict[str, str]:
        async with self._access() as tables:
            prolonged = {}
            for row in list(self._runs(tables, [RunStatus.RUNNING, RunStatus.CANCELLING])):
                if row.locked_by is not None and row.locked_by in tokens:
                    tables.runs.put(row.id, replace(row, locked_until=until))
                    prolonged[row.id] = row.locked_by
            return prolonged
