"""Signal waiters and buffered signals."""

from collections.abc import Collection
from datetime import datetime

from fastapi_durable.model.errors import SignalTokenTakenError, StoreConflictError
from fastapi_durable.model.records import BufferedSignal, Json, SignalWaiter
from fastapi_durable.store.port.signals import Receiver
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.sql.predicates import owned_in_namespace
from fastapi_durable.store.prisma.sql.statements import (
    delete,
    insert_unless_known,
    prune,
    receiver,
    remove_waiter,
    select,
)
from fastapi_durable.store.prisma.tables import CHECKPOINTS, RUNS, SIGNALS, WAITERS


class SignalOperations(Operations):
    async def put_signal_waiter(self, waiter: SignalWaiter) -> None:
        await self._require_touchable(waiter.run_id)
        values = {name: getattr(waiter, name) for name in WAITERS.names}
        # Try twice, in case the owner of the token disappears before it is read.
        for _ in range(2):
            sql = await self._database.sql()
            if await self._database.execute(sql, insert_unless_known(sql, WAITERS, values, "token")):
                return
            owner = await self._find_waiter(waiter.token)
            if owner is not None:
                if (owner.run_id, owner.seq) != (waiter.run_id, waiter.seq):
                    raise SignalTokenTakenError(waiter.token, owner.run_id)
                return
        raise StoreConflictError(f"the signal {waiter.token!r} was awaited and taken by others at the same time")

    async def find_signal_waiter(self, token: str) -> SignalWaiter | None:
        waiter = await self._find_waiter(token)
        return waiter if waiter is not None and await self._may_touch(waiter.run_id) else None

    async def find_receiver(self, token: str) -> Receiver | None:
        sql = await self._database.sql()
        rows = await self._database.query(sql, receiver(sql, token, self._in_scope))
        if not rows:
            return None
        begun = rows[0]["begun"]
        return Receiver(
            WAITERS.read(rows[0]["waiter"]),
            RUNS.read(rows[0]["run"]),
            None if begun is None else CHECKPOINTS.read(begun),
        )

    async def take_signal_waiter(self, token: str) -> SignalWaiter | None:
        sql = await self._database.sql()
        text = sql.take_waiter(token, lambda sql: owned_in_namespace(sql, "w.run_id", self._scope))
        return await self._first_row(WAITERS, sql, text)

    async def remove_signal_waiter(self, waiter: SignalWaiter) -> bool:
        if not await self._may_touch(waiter.run_id):
            return False
        sql = await self._database.sql()
        return await self._database.execute(sql, remove_waiter(sql, waiter)) > 0

    async def remove_signal_waiters_of_run(self, run_id: str) -> int:
        if not await self._may_touch(run_id):
            return 0
        sql = await self._database.sql()
        return await self._database.execute(sql, delete(WAITERS, [f"r.run_id = {sql.text(run_id)}"]))

    async def list_signal_waiters(
        self,
        *,
        prefix: str | None = None,
        run_ids: Collection[str] | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> list[SignalWaiter]:
        sql = await self._database.sql()
        conditions = []
        if prefix is not None:
            conditions.append(sql.starts_with("r.token", prefix))
        if run_ids is not None:
            conditions.append(f"r.run_id IN {sql.texts(run_ids)}")
        if after is not None:
            conditions.append(f"{sql.bytewise('r.token')} > {sql.text(after)}")
        conditions += owned_in_namespace(sql, "r.run_id", self._scope)
        text = select(sql, WAITERS, conditions, sql.bytewise("r.token"))
        return await self._rows(WAITERS, sql, f"{text} LIMIT {sql.integer(limit)}")

    async def buffer_signal(self, token: str, payload: Json, *, now: datetime, signal_id: str | None = None) -> bool:
        values = {"token": token, "payload": payload, "signal_id": signal_id, "created_at": now}
        sql = await self._database.sql()
        return await self._database.execute(sql, insert_unless_known(sql, SIGNALS, values, "token, signal_id")) > 0

    async def take_buffered_signal(self, token: str) -> BufferedSignal | None:
        sql = await self._database.sql()
        return await self._first_row(SIGNALS, sql, sql.take_signal(token))

    async def prune_buffered_signals(self, before: datetime, *, limit: int) -> int:
        sql = await self._database.sql()
        return await self._database.execute(sql, prune(sql, SIGNALS, "created_at", before, limit))

    async def _find_waiter(self, token: str) -> SignalWaiter | None:
        sql = await self._database.sql()
        return await self._first_row(WAITERS, sql, select(sql, WAITERS, [f"r.token = {sql.text(token)}"]))
