"""Queues: their limits, and claims that keep them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from fastapi_durable.declare.queue import Candidate, QueueClaim, QueueLoad, QueueState, admitted
from fastapi_durable.model.records import Run
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.database import Database
from fastapi_durable.store.prisma.sql import queues
from fastapi_durable.store.prisma.sql.claims import Claimant, Line
from fastapi_durable.store.prisma.sql.statements import claimed
from fastapi_durable.store.prisma.tables import QUEUES, RUNS

_MOST_QUEUES = 1000
_CONTESTED = timedelta(milliseconds=20)


class QueueOperations(Operations):
    async def save_queue(self, queue: QueueState) -> None:
        sql = await self._database.sql()
        await self._database.execute(sql, queues.save_queue(sql, queue))

    async def add_queue(self, queue: QueueState) -> None:
        sql = await self._database.sql()
        await self._database.execute(sql, queues.add_queue(sql, queue))

    async def list_queues(
        self, now: datetime, *, namespace: str | None = None, limit: int = 1000, at_most: int | None = None
    ) -> list[QueueLoad]:
        loads = []
        for queue, running, _, _ in await self._loads(now, namespace, limit):
            sql = await self._database.sql()
            (row,) = await self._database.query(sql, queues.count_waiting(sql, queue, now, at_most))
            waiting = int(row["n"]) if at_most is None else min(int(row["n"]), at_most)
            loads.append(QueueLoad(queue=queue, running=running, waiting=waiting))
        return sorted(loads, key=lambda load: load.queue.id.encode())

    async def claim_queued_runs(
        self,
        token: str,
        *,
        now: datetime,
        until: datetime,
        limit: int,
        workflows: Collection[tuple[str, str]] | None = None,
        namespace: str | None = None,
        in_flight: Mapping[tuple[str, str], int] | None = None,
    ) -> QueueClaim:
        if limit <= 0 or (workflows is not None and not workflows):
            return QueueClaim([], None)
        claimant = Claimant((self._scope, namespace), workflows)
        loads = await self._loads(now, namespace, _MOST_QUEUES)
        if any(lost for *_, lost in loads):
            sql = await self._database.sql()
            await self._database.execute(sql, queues.revoke_lost(sql, now, self._scope, namespace))
            loads = await self._loads(now, namespace, _MOST_QUEUES)
        runs: list[Run] = []
        again: list[datetime] = []
        for queue, running, waiting, _ in loads:
            if not waiting:
                continue
            here = (in_flight or {}).get((queue.namespace, queue.name), 0)
            places = min(limit - len(runs), queue.free_places(running, here, limit))
            beginnings = queue.may_begin(now)
            if (opens := queue.next_beginning(now)) is not None:
                again.append(opens)
            if places <= 0:
                continue
            picks = admitted(await self._candidates(queue, claimant, now, places, beginnings), places, beginnings)
            if not picks:
                continue
            after = queue.after_claim(now, begun=sum(each.begins for each in picks), last_key=picks[-1].key)
            taken = await self._take(queue, after, [each.run_id for each in picks], token, now, until)
            if not taken:
                # Another worker has claimed from the queue meanwhile.
                again.append(now + _CONTESTED)
            runs += taken
        return QueueClaim(runs, min(again, default=None))

    async def _loads(
        self, now: datetime, namespace: str | None, limit: int
    ) -> list[tuple[QueueState, int, bool, bool]]:
        # One statement, so that the count of places belongs to the value of `claims`.
        sql = await self._database.sql()
        rows = await self._database.query(sql, queues.queue_loads(sql, now, self._scope, namespace, limit=limit))
        return [
            (
                QUEUES.read(row["row"]),
                int(row["running"]),
                bool(row["waiting"]),
                bool(row["lost"]),
            )
            for row in rows
        ]

    async def _candidates(
        self, queue: QueueState, claimant: Claimant, now: datetime, places: int, beginnings: int | None
    ) -> list[Candidate]:
        line = Line(
            members=lambda sql: [f"r.queue = {sql.text(queue.name)}", f"r.namespace = {sql.text(queue.namespace)}"],
            claimant=claimant,
            key="r.fairness_key",
            after=queue.last_key,
            beginnings=beginnings != 0,
        )
        sql = await self._database.sql()
        rows = await self._database.query(sql, queues.candidates(sql, line, now, places))
        return [
            Candidate(row["id"], row["key"], int(row["place"]), int(row["since"]), bool(row["begins"])) for row in rows
        ]

    async def _take(
        self,
        before: QueueState,
        after: QueueState,
        run_ids: Sequence[str],
        token: str,
        now: datetime,
        until: datetime,
    ) -> list[Run]:
        """Note the claim and make it, both or neither. If another worker has claimed since `before`, change nothing."""

        async def take(database: Database) -> list[dict[str, Any]]:
            sql = await database.sql()
            noted = f"{queues.note_claim(sql, after)} WHERE {queues.unchanged(sql, before)}"
            if not await database.execute(sql, noted):
                return []
            sql = await database.sql()
            picked = f"WITH {queues.chosen(sql, run_ids, now)}"
            return await database.query(sql, sql.claim_picked(picked, claimed(sql, token, now, until)))

        sql = await self._database.sql()
        if sql.writes_in_tables:
            # One statement, so that the queue is locked only while the database works, even if this process dies.
            gate = queues.gate(sql, before)
            noted = f"noted AS ({queues.note_claim(sql, after)} FROM gate WHERE q.id = gate.id RETURNING q.id)"
            picked = f"WITH {gate}, {noted}, {queues.chosen(sql, run_ids, now, 'gate')}"
            rows = await self._database.query(sql, sql.claim_picked(picked, claimed(sql, token, now, until)))
        else:
            rows = await self._database.atomically(take)
        order = {run_id: position for position, run_id in enumerate(run_ids)}
        runs = RUNS.read_all(row["row"] for row in rows)
        return sorted(runs, key=lambda run: order[run.id])
