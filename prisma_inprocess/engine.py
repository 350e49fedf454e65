"""The engine of a generated client. It executes the client's requests to the native engine in this process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from prisma_inprocess.compiler.plan_cache import PlanCache
from prisma_inprocess.drivers.base import Driver, RawResult, Session
from prisma_inprocess.errors import ConfigurationError, EngineError, Fault, not_connected
from prisma_inprocess.open_transactions import OpenTransactions
from prisma_inprocess.operation import Operation, OperationEncoder
from prisma_inprocess.package import GeneratedPackage
from prisma_inprocess.plan.bulk_insert import MINIMUM_ROWS
from prisma_inprocess.plan.nodes import execute_all, in_transaction
from prisma_inprocess.plan.values import Run
from prisma_inprocess.raw_batch import parse
from prisma_inprocess.transaction_control import refuse_control
from prisma_inprocess.url import parse_postgres_url, parse_sqlite_url

log = logging.getLogger(__name__)

_RAW_METHODS: Final = frozenset(("query_raw", "query_first", "execute_raw"))
_RETURNS_UPDATED_ROW: Final = frozenset(("update", "upsert"))
_WAITS_FOR_ITSELF = (
    "Timed out fetching a new connection from the connection pool: this call was made outside of a transaction that "
    "its own task holds open, and waited for a connection while the transaction kept one. Make the call through the "
    "transaction's own client (`tx`), or after its end."
)


@dataclass(slots=True, frozen=True, eq=False)
class _LeftBehind:
    """A driver, with the event loop and the process that it belongs to."""

    driver: Driver
    loop: asyncio.AbstractEventLoop | None
    process: int

    @property
    def is_over(self) -> bool:
        return self.loop is None or self.loop.is_closed()


class InProcessEngine:
    """Runs a client's operations. It has the methods of the client's `AsyncAbstractEngine`.

    Args:
        package: The generated package of the client.
        default_url: The URL in the schema, for a client without a URL.
        log_queries: Whether each operation is logged (level INFO, names only, no values).
    """

    def __init__(self, package: GeneratedPackage, *, default_url: Callable[[], str], log_queries: bool = False) -> None:
        self._package = package
        self._default_url = default_url
        self._log_queries = log_queries
        self._driver: Driver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._left_behind: list[_LeftBehind] = []
        self._plans: PlanCache | None = None
        self._transactions = OpenTransactions()
        self._encoder = OperationEncoder(package)

    async def connect(
        self, timeout: timedelta | None = None, datasources: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Open the first connection.

        Args:
            timeout: The client's own limit. It can only shorten the URL's `connect_timeout`.
            datasources: The URL, as the client passes it. Without it, the schema's environment variable decides.
        """
        if self._driver is not None:
            if self._belongs_here():
                return
            self._leave_behind(self._driver)
            self._driver = None
        try:
            url = str(datasources[0]["url"]) if datasources else self._default_url()
        except RuntimeError as error:
            message = f"no database URL: pass `datasource={{'url': ...}}` to the client ({error})"
            raise ConfigurationError(message) from error
        driver, plans = self._make_driver(url)
        try:
            async with asyncio.timeout(timeout.total_seconds() if timeout else None):
                await driver.connect()
        except TimeoutError as error:
            message = "Can't reach the database: the client's own `connect_timeout` is over"
            raise self._failure(EngineError(message, "P1001", fault=Fault.UNREACHABLE)) from error
        except EngineError as error:
            raise self._failure(error) from error
        if self._has_driver():  # another task connected meanwhile
            await driver.close()
            return
        self._driver, self._plans = driver, plans(driver)
        self._loop, self._process = asyncio.get_running_loop(), os.getpid()

    async def aclose(self, *, timeout: timedelta | None = None) -> None:  # noqa: ARG002 (drivers bound it themselves)
        """Roll back what is open and close all connections."""
        driver, self._driver = self._driver, None
        if driver is not None and not self._belongs_here():
            self._leave_behind(driver)
            self._transactions = OpenTransactions()
            return
        await self._transactions.end_all()
        if driver is not None:
            await driver.close()

    def close(self, *, timeout: timedelta | None = None) -> None:  # noqa: ARG002 (it does not wait)
        """Close without an event loop. Called for a client that was not disconnected, and after `aclose`."""
        driver, self._driver = self._driver, None
        if driver is not None and self._process == os.getpid():
            driver.close_now()

    def stop(self, *, timeout: timedelta | None = None) -> None:
        self.close(timeout=timeout)

    async def query(self, content: str, *, tx_id: str | None) -> Any:
        """The client's GraphQL text is never built with this engine."""
        raise NotImplementedError(
            "this client runs on prisma_inprocess, which does not accept GraphQL text. Call the client's methods"
        )

    async def metrics(self, *, format: str, global_labels: dict[str, str] | None) -> Any:
        """Refuse the request for metrics of Prisma's native engine, which is not used."""
        raise NotImplementedError(
            "prisma.get_metrics() is not available: this client runs on prisma_inprocess, without Prisma's native "
            "engine. Use the metrics of the database or of your driver"
        )

    async def run(self, operation: Operation, *, tx_id: str | None) -> Any:
        """Run one operation. Raises: the client's own exceptions."""
        try:
            result = await self._run(operation, self._session(tx_id))
        except EngineError as error:
            raise self._failure(error) from error
        if not result and operation.method in _RETURNS_UPDATED_ROW:
            # The update deleted its own row, through a relation. The client's `update` returns None for this error.
            raise self._failure(EngineError("The updated record was deleted by the update itself.", "P2025"))
        return {"data": {"result": result}}

    async def run_batch(self, operations: Sequence[Operation], *, tx_id: str | None) -> None:
        """Run several operations, all or none. Raises: the client's own exceptions."""
        try:
            await in_transaction(Run(self._session(tx_id)), lambda inner: self._run_all(operations, inner.session))
        except EngineError as error:
            raise self._failure(error) from error

    async def run_raw_batch(self, statements: Sequence[Sequence[Any]], *, tx_id: str | None) -> list[dict[str, Any]]:
        """Run several raw statements, all or none, and return the rows of each.

        Raises: the client's own exceptions. TypeError and ValueError for an invalid batch.
        """
        batch = parse(statements)
        try:
            session = self._session(tx_id)
            for sql, _ in batch:
                refuse_control(sql, in_transaction=session.in_transaction)
                if self._log_queries:
                    log.info("query_raw_batch: %s", sql)
            return [_as_answer(result) for result in await session.fetch_raw_together(batch)]
        except EngineError as error:
            raise self._failure(error) from error

    async def start_transaction(self, *, content: str) -> str:
        """Start an interactive transaction and return its id. `content` is the client's JSON: `max_wait` and `timeout`
        in milliseconds.
        """
        options = json.loads(content)
        try:
            transaction = await self._connected().begin(
                max_wait=options["max_wait"] / 1000, isolation_level=options.get("isolation_level")
            )
        except TimeoutError as error:
            message = "Transaction API error: Unable to start a transaction in the given time."
            raise self._failure(EngineError(message, "P2028", fault=Fault.POOL_TIMEOUT)) from error
        except EngineError as error:
            raise self._failure(error) from error
        return self._transactions.add(transaction, options["timeout"] / 1000)

    def when_transaction_ended(self, tx_id: str, call: Callable[[bool], None]) -> None:
        """Call this when the transaction is over, with whether its commit was confirmed. It must not raise."""
        try:
            self._transactions.when_ended(tx_id, call)
        except EngineError as error:
            raise self._failure(error) from error

    async def commit_transaction(self, tx_id: str) -> None:
        try:
            await self._transactions.commit(tx_id)
        except EngineError as error:
            raise self._failure(error) from error

    async def rollback_transaction(self, tx_id: str) -> None:
        try:
            await self._transactions.roll_back(tx_id)
        except EngineError as error:
            raise self._failure(error) from error

    def _leave_behind(self, driver: Driver) -> None:
        """Abandon a driver of another event loop, or of the process from which this one was forked."""
        left = _LeftBehind(driver, self._loop, self._process)
        self._left_behind.append(left)
        if left.is_over or left.process != os.getpid():
            self._transactions = OpenTransactions()
        self._end_left_behind()

    def _end_left_behind(self) -> None:
        """Close the drivers of closed event loops.

        An open loop may still use its driver. Drivers of another process are neither used nor closed, because that
        process still uses their sockets and files.
        """
        for left in list(self._left_behind):
            if left.is_over and left.process == os.getpid():
                self._left_behind.remove(left)
                left.driver.close_now()

    def _make_driver(self, url: str) -> tuple[Driver, Callable[[Driver], PlanCache]]:
        """Return a driver, and a function that creates its plan cache after the connect, when its conversions are
        known.
        """
        package = self._package
        # Imported here, so that a client of one database does not need the driver of the other one.
        if package.provider == "sqlite":
            from prisma_inprocess.drivers.sqlite import SqliteDriver

            sqlite_url = parse_sqlite_url(url)
            sqlite = SqliteDriver(sqlite_url, package.json_type, package.base64_type, package.date_columns)
            return sqlite, lambda driver: package.plan_cache(driver.dialect, None, sqlite_url.plan_cache_size)
        from prisma_inprocess.drivers.postgresql import PostgresDriver

        postgres_url = parse_postgres_url(url)
        postgres = PostgresDriver(postgres_url, package.json_type, package.base64_type)
        schema, size = postgres_url.schema, postgres_url.plan_cache_size
        return postgres, lambda driver: package.plan_cache(driver.dialect, schema, size)

    async def _run(self, operation: Operation, session: Session) -> Any:
        if operation.method in _RAW_METHODS:
            return await self._run_raw(operation, session)
        if self._log_queries:
            log.info("%s on %s", operation.method, getattr(operation.model, "__prisma_model__", None))
        if operation.method == "create_many" and len(operation.arguments["data"]) >= MINIMUM_ROWS:
            count = await self._insert_rows(operation, session)
            if count is not None:
                return {"count": count}
        request, values = self._encoder.encode(operation)
        plan = await self._connected_plans().plan(request)
        return await plan(Run(session), values)

    async def _run_all(self, operations: Sequence[Operation], session: Session) -> None:
        for operation in operations:
            await self._run(operation, session)

    async def _insert_rows(self, operation: Operation, session: Session) -> int | None:
        """Insert many rows of one shape, or return None if they are not."""
        encoded = self._encoder.rows(operation)
        if encoded is None:
            return None
        request, columns = encoded
        plan = await self._connected_plans().bulk_insert(request)
        if plan is None:
            return None
        run = Run(session)
        statements = plan.render(run, columns, len(operation.arguments["data"]))
        if len(statements) == 1:
            return await session.execute(*statements[0])
        count: int = await in_transaction(run, lambda inner: execute_all(inner, statements))
        return count

    async def _run_raw(self, operation: Operation, session: Session) -> Any:
        sql, parameters = operation.arguments["query"], operation.arguments.get("parameters") or ()
        refuse_control(sql, in_transaction=session.in_transaction)
        if self._log_queries:
            log.info("%s: %s", operation.method, sql)
        if operation.method == "execute_raw":
            return await session.execute_raw(sql, parameters)
        return _as_answer(await session.fetch_raw(sql, parameters, for_model=operation.model is not None))

    def _connected(self) -> Driver:
        if self._driver is None:
            raise not_connected("call connect() first")
        if not self._belongs_here():
            raise EngineError(
                "The client was connected on another event loop or before a fork: call connect() here first",
                "P1017",
                fault=Fault.NOT_CONNECTED,
            )
        return self._driver

    def _has_driver(self) -> bool:
        return self._driver is not None

    def _belongs_here(self) -> bool:
        return self._loop is asyncio.get_running_loop() and self._process == os.getpid()

    def _connected_plans(self) -> PlanCache:
        if self._plans is None:
            raise not_connected("call connect() first")
        return self._plans

    def _session(self, tx_id: str | None) -> Session:
        return self._connected() if tx_id is None else self._transactions.get(tx_id)

    def _failure(self, error: EngineError) -> Exception:
        if error.fault is Fault.POOL_TIMEOUT and self._transactions.is_held_by_caller():
            error = EngineError(_WAITS_FOR_ITSELF, error.code, error.meta, fault=Fault.WAITS_FOR_ITSELF)
        return self._package.failure(error)


def _as_answer(result: RawResult) -> dict[str, Any]:
    """Return the rows of a raw statement as the client reads them."""
    return {"columns": result.columns, "types": result.types, "rows": result.rows}
