"""Creating, reading, changing and deleting single runs."""

from collections.abc import Collection, Sequence
from functools import partial

from fastapi_durable.model.errors import StoreConflictError, StoreError
from fastapi_durable.model.records import Run, RunChanges, RunStatus, SearchAttributes, SearchValue, SignalWaiter
from fastapi_durable.store.port.checkpoints import PreparedCheckpoint
from fastapi_durable.store.port.runs import CreatedRun
from fastapi_durable.store.prisma.base import Operations
from fastapi_durable.store.prisma.database import Database
from fastapi_durable.store.prisma.prepared import recording
from fastapi_durable.store.prisma.read_back import run_reads_back
from fastapi_durable.store.prisma.sql.builder import Conditions, Sql
from fastapi_durable.store.prisma.sql.bulk import list_parameter, none_is_finished, record_checkpoints
from fastapi_durable.store.prisma.sql.predicates import guarded_by_status, where
from fastapi_durable.store.prisma.sql.statements import (
    delete,
    delete_rows_of_runs,
    delete_runs,
    insert_attributes,
    insert_run,
    meets,
    remove_waiter,
    select,
    update_run,
)
from fastapi_durable.store.prisma.tables import ATTRIBUTES, CHECKPOINTS, RUNS, STREAM_ROWS, WAITERS

_ATTRIBUTES_AT_ONCE = 1000
"""Maximum number of rows of a statement. Each has four parameters, and PostgreSQL takes 32,767."""


class RunOperations(Operations):
    async def create_run(self, run: Run) -> CreatedRun:
        if self._scope not in (None, run.namespace):
            raise self._foreign(run.id)
        if self._bulk is None or run.search_attributes:
            return await self._create_alone(run)
        return await self._bulk.create_run(run, lambda: self._create_alone(run))

    async def _create_alone(self, run: Run) -> CreatedRun:
        # Try twice, in case the existing run is deleted before it is read.
        for _ in range(2):
            created = await self._insert(run)
            if created is not None:
                return CreatedRun(created, created=True)
            stored = await self._find(run.id)
            if stored is not None:
                if self._scope not in (None, stored.namespace):
                    raise self._foreign(run.id)
                return CreatedRun(stored, created=False)
        raise StoreConflictError(f"run {run.id!r} was created and deleted by others at the same time")

    async def find_run(self, run_id: str) -> Run | None:
        run = await (
            self._find(run_id) if self._bulk is None else self._bulk.find_run(run_id, lambda: self._find(run_id))
        )
        return run if run is None or self._scope in (None, run.namespace) else None

    async def update_run(
        self,
        run_id: str,
        changes: RunChanges,
        *,
        statuses: Collection[RunStatus] | None = None,
        token: str | None = None,
        wake_count: int | None = None,
        checkpoints: Sequence[PreparedCheckpoint] = (),
        waiter: SignalWaiter | None = None,
    ) -> bool:
        if statuses is not None and not statuses:
            return False

        def guards(sql: Sql) -> list[str]:
            return _guards(sql, run_id, statuses, token, wake_count, checkpoints) + self._in_scope(sql)

        alone = partial(self._update_alone, run_id, changes, guards, checkpoints, waiter)
        is_one_statement = waiter is None or checkpoints
        if self._bulk is None or not changes or changes.get("search_attributes") is not None or not is_one_statement:
            return await alone()
        return await self._bulk.update_run(
            run_id,
            changes,
            alone,
            statuses=statuses,
            token=token,
            wake_count=wake_count,
            namespace=self._scope,
            checkpoints=checkpoints,
            waiter=waiter,
        )

    async def _update_alone(
        self,
        run_id: str,
        changes: RunChanges,
        guards: Conditions,
        checkpoints: Sequence[PreparedCheckpoint],
        waiter: SignalWaiter | None,
    ) -> bool:
        attributes = changes.get("search_attributes")
        if attributes is None and not checkpoints and waiter is None:
            return await _update(self._database, changes, guards)

        async def update_with_rows(database: Database) -> bool:
            if waiter is not None and not await _remove(database, waiter, guards):
                return False
            # Update the run first. Its row lock orders concurrent updates of the side table.
            if not await _update(database, changes, guards):
                return False
            if checkpoints:
                sql = await database.sql()
                sql.parameters.append(list_parameter([recording(each.encoded, None) for each in checkpoints]))
                await database.query(sql, record_checkpoints(type(sql), with_rows=False, waits=True))
            if attributes is not None:
                sql = await database.sql()
                await database.execute(sql, delete(ATTRIBUTES, [f"r.run_id = {sql.text(run_id)}"]))
                await _insert_attributes(database, run_id, attributes)
            return True

        return await self._database.atomically(update_with_rows)

    async def delete_run(self, run_id: str) -> bool:
        async def delete(database: Database) -> bool:
            sql = await database.sql()
            conditions = [f"r.id = {sql.text(run_id)}", *self._in_scope(sql)]
            return bool(await delete_runs_by(database, sql, delete_runs(where(conditions))))

        return await self._database.atomically(delete)

    async def _insert(self, run: Run) -> Run | None:
        if not run.search_attributes:
            return await self._insert_row(self._database, run)

        async def insert_with_attributes(database: Database) -> Run | None:
            created = await self._insert_row(database, run)
            if created is not None:
                await _insert_attributes(database, run.id, run.search_attributes)
            return created

        return await self._database.atomically(insert_with_attributes)

    async def _insert_row(self, database: Database, run: Run) -> Run | None:
        sql = await database.sql()
        rows = await database.query(sql, insert_run(sql, run))
        if not rows:
            return None
        return run if run_reads_back(run) else RUNS.read(rows[0]["row"])

    async def _find(self, run_id: str) -> Run | None:
        sql = await self._database.sql()
        return await self._first_row(RUNS, sql, select(sql, RUNS, [f"r.id = {sql.text(run_id)}"]))

    def _foreign(self, run_id: str) -> StoreError:
        return StoreError(f"run {run_id!r} is not in namespace {self._scope!r}, to which this store is confined")


async def delete_runs_by(database: Database, sql: Sql, statement: str) -> list[str]:
    """Delete runs with a statement that returns their ids, and all their rows, within a transaction.

    The runs are deleted first. So a second deleter finds none, and leaves their checkpoints to the first one.
    """
    ids = [row["id"] for row in await database.query(sql, statement)]
    if ids:
        for table in (CHECKPOINTS, WAITERS, ATTRIBUTES, STREAM_ROWS):
            sql = await database.sql()
            await database.execute(sql, delete_rows_of_runs(sql, table.name, ids))
    return ids


async def _update(database: Database, changes: RunChanges, guards: Conditions) -> bool:
    sql = await database.sql()
    if not changes:
        return bool(await database.query(sql, meets(guards(sql))))
    text = update_run(sql, changes) + where(guards(sql))
    return await database.execute(sql, text) > 0


async def _remove(database: Database, waiter: SignalWaiter, guards: Conditions) -> bool:
    """Remove the waiter of a run that meets the guards. The run is locked first, as by the transaction that ends it."""
    sql = await database.sql()
    await database.query(sql, sql.lock_run(waiter.run_id, lambda _: []))
    sql = await database.sql()
    if not await database.query(sql, meets(guards(sql))):
        return False
    sql = await database.sql()
    return await database.execute(sql, remove_waiter(sql, waiter)) > 0


def _guards(
    sql: Sql,
    run_id: str,
    statuses: Collection[RunStatus] | None,
    token: str | None,
    wake_count: int | None,
    checkpoints: Sequence[PreparedCheckpoint],
) -> list[str]:
    conditions = [f"r.id = {sql.text(run_id)}"]
    if statuses is not None:
        conditions.append(guarded_by_status(sql, statuses))
    if token is not None:
        conditions.append(f"r.locked_by = {sql.text(token)}")
    if wake_count is not None:
        conditions.append(f"r.wake_count = {sql.integer(wake_count)}")
    if checkpoints:
        conditions.append(none_is_finished(sql.integers(sorted(each.checkpoint.seq for each in checkpoints))))
    return conditions


async def _insert_attributes(database: Database, run_id: str, attributes: SearchAttributes) -> None:
    rows = [(run_id, key, *_attribute_value(value)) for key, value in attributes.items()]
    for some in (rows[start : start + _ATTRIBUTES_AT_ONCE] for start in range(0, len(rows), _ATTRIBUTES_AT_ONCE)):
        sql = await database.sql()
        await database.execute(sql, insert_attributes(sql, some))


def _attribute_value(value: SearchValue) -> tuple[str | None, float | None]:
    # As in nestjs-durable, a boolean is stored as the text that spells it. The run's own JSON keeps the difference.
    if isinstance(value, bool):
        return str(value).lower(), None
    return (value, None) if isinstance(value, str) else (None, float(value))
