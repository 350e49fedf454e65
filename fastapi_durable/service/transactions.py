"""A transaction that holds the application's rows and what it starts, signals, publishes and cancels beside them."""

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
    """What can be done in an open transaction; `WorkflowService.transaction` and `within` make it.

    All of it is committed with the rows that are written through `client`, or nothing is. Workers hear of it after the
    commit. A call that raises has done nothing, and the transaction may go on, with one exception: after a
    `StoreConflictError` only the whole transaction can be tried again.
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
            ConfigurationError: the store is in memory, and has no database.
        """
        client: Any = self._transaction.client
        if client is None:
            raise ConfigurationError(
                "the memory store has no database, so a transaction of it has no client: use PrismaStateStore"
            )
        typed: Client = client
        return typed

    async def cancel(self, run_id: str, *, compensate: bool = False) -> Run:
        """Cancel a run and its live descendants; see `WorkflowService.cancel`.

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
        """A database transaction for rows of the application and for runs, committed at the end of the block.

        Inside the block use what it yields, and neither the plain client nor this service: on SQLite they would wait
        for the transaction's end. Keep it short, since SQLite has one writer.

        Args:
            client: The class of the Prisma client, which gives `tx.client` its type.
            timeout: After which the transaction is undone; by default the engine's `transaction_timeout`.

        Raises:
            ConfigurationError: the store's client is no `client`.
            StoreError: the task is inside another transaction, in which `within` takes part.
            StoreConflictError: another transaction was in the way; nothing was kept, and the block may be run again.
            TransactionExpiredError: the block took longer than `timeout`; nothing was kept.
            StoreUnavailableError: the database cannot be reached. If it was lost at the commit, whether everything or
                nothing was kept is unknown.
        """
        limit = self._kernel.config.transaction_timeout if timeout is None else parse_duration(timeout)
        return self._opened(client, limit)

    def within(self, client: Client, /) -> WorkflowTransaction[Client]:
        """The same in a transaction that is open: of `prisma.tx()`, or of `ctx.transaction`, whose client it takes.

        Whoever opened the transaction commits it. Workers hear of it then.

        Raises:
            ConfigurationError: the client is in no open transaction, or is no client of `prisma_inprocess`, and the
                transaction was not opened here.
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
