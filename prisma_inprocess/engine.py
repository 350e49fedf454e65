"""The engine of a generated client: what the client sends to the native engine, done in this process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from prisma_inprocess.compiler.plan_cache import PlanCache
from prisma_inprocess.drivers.base import Driver, Session, Transaction
from prisma_inprocess.errors import ConfigurationError, EngineError
from prisma_inprocess.operation import Operation, OperationEncoder
from prisma_inprocess.package import GeneratedPackage
from prisma_inprocess.plan.bulk_insert import MINIMUM_ROWS
from prisma_inprocess.plan.nodes import execute_all, in_transaction
from prisma_inprocess.plan.values import Run
from prisma_inprocess.url import parse_postgres_url, parse_sqlite_url

log = logging.getLogger(__name__)

_REMEMBERED: Final = 100
_RAW_METHODS: Final = frozenset(("query_raw", "query_first", "execute_raw"))
_NOT_FOUND = (
    "Transaction already closed: Transaction not found. Transaction ID is invalid, refers to an old closed "
    "transaction Prisma doesn't have information about anymore, or was obtained before disconnecting."
)


@dataclass(slots=True)
class _OpenTransaction:
    transaction: Transaction
    timer: asyncio.TimerHandle
    timeout: int


class InProcessEngine:
    """Runs a client's operations. It has the methods of the client's `AsyncAbstractEngine`.

    Args:
        package: The generated package that the client belongs to.
        default_url: The URL that the schema names, for a client that was given none.
        log_queries: Whether each operation is logged (level INFO, names only, no values).
    """

    def __init__(self, package: GeneratedPackage, *, default_url: Callable[[], str], log_queries: bool = False) -> None:
        self._package = package
        self._default_url = default_url
        self._log_queries = log_queries
        self._driver: Driver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._left_behind: list[Driver] = []
        self._plans: PlanCache | None = None
        self._transactions: dict[str, _OpenTransaction] = {}
        # The last transactions that ran out of time, with their timeouts in milliseconds: they get a better message.
        self._expired: OrderedDict[str, int] = OrderedDict()
        # Strong references: asyncio keeps only weak ones to its tasks.
        self._endings: set[asyncio.Task[None]] = set()
        self._encoder = OperationEncoder(package)

    async def connect(
        self, timeout: timedelta | None = None, datasources: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Open the first connection.

        Args:
            timeout: The client's own limit; it can only shorten the URL's `connect_timeout`.
            datasources: The URL, as the client passes it; without it, the schema's environment variable decides.
        """
        if self._driver is not None:
            if self._belongs_here():
                return
            # Connected on an event loop that is gone, or in the process that this one was forked from. That driver is
            # neither used nor closed: its sockets and files may still be somebody else's.
            self._left_behind.append(self._driver)
            self._driver = None
        try:
            url = str(datasources[0]["url"]) if datasources else self._default_url()
        except RuntimeError as error:
            message = f"no database URL: pass `datasource={{'url': ...}}` to the client ({error})"
            raise ConfigurationError(message) from error
        driver = self._make_driver(url)
        try:
            async with asyncio.timeout(timeout.total_seconds() if timeout else None):
                await driver.connect()
        except TimeoutError as error:
            message = "Can't reach the database: the client's own `connect_timeout` is over"
            raise self._failure(EngineError(message, "P1001")) from error
        except EngineError as error:
            raise self._failure(error) from error
        if self._has_driver():  # somebody else connected meanwhile
            await driver.close()
            return
        self._driver = driver
        self._loop, self._process = asyncio.get_running_loop(), os.getpid()

    async def aclose(self, *, timeout: timedelta | None = None) -> None:  # noqa: ARG002 (drivers bound it themselves)
        """Roll back what is open and close all connections."""
        driver, self._driver = self._driver, None
        if driver is not None and not self._belongs_here():
            self._left_behind.append(driver)
            self._transactions.clear()
            return
        for transaction_id in list(self._transactions):
            await self._expire(transaction_id)
        if driver is not None:
            await driver.close()

    def close(self, *, timeout: timedelta | None = None) -> None:  # noqa: ARG002 (it does not wait)
        """Close without an event loop: called for a client that was forgotten, and after `aclose`."""
        driver, self._driver = self._driver, None
        if driver is not None and self._process == os.getpid():
            driver.close_now()

    def stop(self, *, timeout: timedelta | None = None) -> None:
        self.close(timeout=timeout)

    async def query(self, content: str, *, tx_id: str | None) -> Any:
        """The client's GraphQL text is never built with this engine."""
        raise NotImplementedError(
            "this client runs on prisma_inprocess, which takes no GraphQL text: call the client's methods"
        )

    async def metrics(self, *, format: str, global_labels: dict[str, str] | None) -> Any:
        """The numbers that Prisma's native engine keeps about itself; there is none here."""
        raise NotImplementedError(
            "prisma.get_metrics() asks Prisma's native engine, and this client runs on prisma_inprocess, without one: "
            "take the figures of the database, or of your driver"
        )

    async def run(self, operation: Operation, *, tx_id: str | None) -> Any:
        """Run one operation. Raises: the client's own exceptions."""
        try:
            return {"data": {"result": await self._run(operation, self._session(tx_id))}}
        except EngineError as error:
            raise self._failure(error) from error

    async def run_batch(self, operations: Sequence[Operation], *, tx_id: str | None) -> None:
        """Run several operations so that all happen or none does. Raises: the client's own exceptions."""
        try:
            session = self._session(tx_id)
            if session.in_transaction:
                for operation in operations:
                    await self._run(operation, session)
                return
            await self._run_in_transaction(operations)
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
            raise self._failure(EngineError(message, "P2028")) from error
        except EngineError as error:
            raise self._failure(error) from error
        transaction_id = uuid.uuid4().hex
        timer = asyncio.get_running_loop().call_later(options["timeout"] / 1000, self._expire_later, transaction_id)
        self._transactions[transaction_id] = _OpenTransaction(transaction, timer, options["timeout"])
        return transaction_id

    async def commit_transaction(self, tx_id: str) -> None:
        opened = self._take(tx_id)
        if opened is None:
            raise self._failure(self._closed(tx_id, "commit"))
        try:
            await opened.transaction.commit()
        except EngineError as error:
            raise self._failure(error) from error

    async def rollback_transaction(self, tx_id: str) -> None:
        opened = self._take(tx_id)
        if opened is None:
            if tx_id in self._expired:
                return  # it is rolled back; the caller is about to learn why
            raise self._failure(self._closed(tx_id, "rollback"))
        try:
            await opened.transaction.rollback()
        except EngineError as error:
            raise self._failure(error) from error

    def _make_driver(self, url: str) -> Driver:
        package = self._package
        # Imported here, so that a client of one database does not need the other's driver installed.
        if package.provider == "sqlite":
            from prisma_inprocess.drivers.sqlite import SqliteDriver

            sqlite_url = parse_sqlite_url(url)
            driver: Driver = SqliteDriver(sqlite_url, package.json_type, package.base64_type)
            self._plans = package.plan_cache(driver.dialect, None, sqlite_url.plan_cache_size)
            return driver
        from prisma_inprocess.drivers.postgresql import PostgresDriver

        postgres_url = parse_postgres_url(url)
        driver = PostgresDriver(postgres_url, package.json_type, package.base64_type)
        self._plans = package.plan_cache(driver.dialect, postgres_url.schema, postgres_url.plan_cache_size)
        return driver

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

    async def _insert_rows(self, operation: Operation, session: Session) -> int | None:
        """Insert many rows of one shape, or return None if they are not."""
        encoded = self._encoder.rows(operation)
        if encoded is None:
            return None
        request, rows = encoded
        plan = await self._connected_plans().bulk_insert(request)
        if plan is None:
            return None
        run = Run(session)
        statements = plan.render(run, rows)
        if len(statements) == 1:
            return await session.execute(*statements[0])
        count: int = await in_transaction(run, lambda inner: execute_all(inner, statements))
        return count

    async def _run_raw(self, operation: Operation, session: Session) -> Any:
        sql, parameters = operation.arguments["query"], operation.arguments.get("parameters") or ()
        if self._log_queries:
            log.info("%s: %s", operation.method, sql)
        if operation.method == "execute_raw":
            return await session.execute_raw(sql, parameters)
        result = await session.fetch_raw(sql, parameters, for_model=operation.model is not None)
        return {"columns": result.columns, "types": result.types, "rows": result.rows}

    async def _run_in_transaction(self, operations: Sequence[Operation]) -> None:
        transaction = await self._connected().begin()
        try:
            for operation in operations:
                await self._run(operation, transaction)
        except BaseException:
            await transaction.rollback()
            raise
        await transaction.commit()

    def _connected(self) -> Driver:
        if self._driver is None:
            raise EngineError("The client is not connected: call connect() first", "P1017")
        if not self._belongs_here():
            raise EngineError(
                "The client was connected on another event loop or before a fork: call connect() here first", "P1017"
            )
        return self._driver

    def _has_driver(self) -> bool:
        return self._driver is not None

    def _belongs_here(self) -> bool:
        return self._loop is asyncio.get_running_loop() and self._process == os.getpid()

    def _connected_plans(self) -> PlanCache:
        if self._plans is None:
            raise EngineError("The client is not connected: call connect() first", "P1017")
        return self._plans

    def _session(self, tx_id: str | None) -> Session:
        if tx_id is None:
            return self._connected()
        opened = self._transactions.get(tx_id)
        if opened is None:
            raise self._closed(tx_id, "query")
        return opened.transaction

    def _closed(self, tx_id: str, attempt: str) -> EngineError:
        timeout = self._expired.get(tx_id)
        if timeout is None:
            return EngineError(_NOT_FOUND, "P2028")
        message = (
            f"Transaction already closed: A {attempt} cannot be executed on an expired transaction. The timeout for "
            f"this transaction was {timeout} ms. Consider increasing the interactive transaction timeout or doing less "
            "work in the transaction."
        )
        return EngineError(message, "P2028", {"operation": attempt, "timeout": timeout})

    def _take(self, transaction_id: str) -> _OpenTransaction | None:
        opened = self._transactions.pop(transaction_id, None)
        if opened is not None:
            opened.timer.cancel()
        return opened

    def _expire_later(self, transaction_id: str) -> None:
        task = asyncio.get_running_loop().create_task(self._expire(transaction_id))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _expire(self, transaction_id: str) -> None:
        opened = self._take(transaction_id)
        if opened is None:
            return
        self._expired[transaction_id] = opened.timeout
        while len(self._expired) > _REMEMBERED:
            self._expired.popitem(last=False)
        try:
            await opened.transaction.abandon()
        except EngineError as error:
            log.warning("an expired transaction could not be rolled back, its connection was closed: %s", error)

    def _failure(self, error: EngineError) -> Exception:
        return self._package.failure([error.response()])
