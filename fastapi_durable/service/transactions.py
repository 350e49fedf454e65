"""A transaction that holds the application's rows, and the runs, signals and events of the same commit."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Generic, TypeVar, overload

from fastapi_durable.engine.core.held import kernel_within
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.addressing import require_visible
from fastapi_durable.engine.runs.cancellation import cancel_chain
from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.model.duration import Duration, parse_duration
from fastapi_durable.model.errors import ConfigurationError
from fastapi_durable.model.records import Run
from fastapi_durable.service.batches import BatchStarts
from fastapi_durable.service.deliveries import Deliveries
from fastapi_durable.store.base import StoreTransaction

Client = TypeVar("Client")


class WorkflowTransaction(BatchStarts, Deliveries, Generic[Client]):
    """The calls that belong to an open transaction. `WorkflowService.transaction` and `WorkflowService.within` return
    it.

    Runs, signals and events commit together with the rows that are written through `client`, or nothing does. Workers
    are notified after the commit. A call that raises has changed nothing, and the transaction can continue. The
    exception is `StoreConflictError`: after it, run the whole transaction again.
    """

    _may_wait = False

    def __init__(self, kernel: Kernel, transaction: StoreTransaction) -> None:
        self._kernel = kernel_within(kernel, transaction)
        self._outer = kernel
        self._transaction = transaction
        self._is_committed = False
        transaction.after_commit(self._committed)

    @property
    def client(self) -> Client:
        """The application's Prisma client, bound to this transaction.

        Raises:
            ConfigurationError: the store is the memory store, which has no database.
        """
        client: Any = self._transaction.client
        if client is None:
            raise ConfigurationError(
                "the memory store has no database, so its transactions have no client. Use PrismaStateStore"
            )
        typed: Client = client
        return typed

    async def cancel(self, run_id: str, *, compensate: bool = False) -> Run:
        """Cancel a run and its live descendants; see `WorkflowService.cancel`.

        Args:
            run_id: Id of the run.
            compensate: Whether to undo finished steps first.

        Returns:
            The run as it is in this transaction.

        Raises:
            RunNotFoundError: no run has this id.
        """
        await require_visible(self._kernel, run_id)
        return await cancel_chain(self._kernel, run_id, compensate=compensate)

    def _committed(self) -> None:
        self._is_committed = True

    def _handle(self, run_id: str, output_type: Any, *, created: bool) -> RunHandle[Any]:
        # Of a run that was there before, others may know the end.
        return self._handle_of(
            self._outer, run_id, output_type, created=created, is_open=lambda: created and not self._is_committed
        )


class Transactions:
    """The part of the façade that joins what it does with the application's own rows."""

    _kernel: Kernel

    @overload
    def transaction(
        self, client: type[Client], /, *, timeout: Duration | None = None
    ) -> AbstractAsyncContextManager[WorkflowTransaction[Client]]: ...
    @overload
    def transaction(
        self, *, timeout: Duration | None = None
    ) -> AbstractAsyncContextManager[WorkflowTransaction[Any]]: ...
    def transaction(
        self, client: type[Any] | None = None, *, timeout: Duration | None = None
    ) -> AbstractAsyncContextManager[WorkflowTransaction[Any]]:
        """Open a database transaction for the application's rows and for runs. It commits at the end of the block.

        Inside the block, use the object that it yields. Do not use the plain client or this service: on SQLite they
        would wait for the end of the transaction. Keep the block short, because SQLite has one writer.

        Args:
            client: Class of the Prisma client, which gives `tx.client` its type.
            timeout: Time after which the transaction is rolled back. Default: the option `transaction_timeout`.

        Returns:
            A context manager that yields the transaction.

        Raises:
            ConfigurationError: the store's client is not an instance of `client`.
            StoreError: this task has a transaction open already. Use `within` to take part in it.
            StoreConflictError: the transaction conflicted with another one. Nothing was kept, so the block can run
                again.
            TransactionExpiredError: the block took longer than `timeout`. Nothing was kept.
            StoreUnavailableError: the database cannot be reached. If the connection broke during the commit, it is
                unknown whether everything or nothing was kept.
        """
        limit = self._kernel.config.transaction_timeout if timeout is None else parse_duration(timeout)
        return self._opened(client, limit)

    def within(self, client: Client, /) -> WorkflowTransaction[Client]:
        """Take part in a transaction that is already open, such as one of `prisma.tx()` or `ctx.transaction`.

        The code that opened the transaction commits it. Workers are notified after the commit.

        Args:
            client: The Prisma client that is bound to the transaction.

        Returns:
            The transaction, for starts, signals and events.

        Raises:
            ConfigurationError: the client is not bound to an open transaction, or it is not a client of
                `prisma_inprocess` and the transaction was not opened by this service.
        """
        return WorkflowTransaction(self._kernel, self._kernel.store.within(client))

    @asynccontextmanager
    async def _opened(self, client: type[Any] | None, limit: timedelta) -> AsyncIterator[WorkflowTransaction[Any]]:
        async with self._kernel.store.transaction(timeout=limit) as transaction:
            bound = transaction.client
            if client is not None and bound is not None and not isinstance(bound, client):
                raise ConfigurationError(
                    f"the store has a client {type(bound).__module__}.{type(bound).__qualname__}, and not a "
                    f"{client.__module__}.{client.__qualname__}: name the class that PrismaStateStore was given"
                )
            yield WorkflowTransaction(self._kernel, transaction)
