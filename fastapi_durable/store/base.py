"""The port to the database: the operations that the engine needs of a state store.

`port` holds its groups of operations: runs, leases, queues, checkpoints, signals, events, streams, schedules and
workers. Part of them is the contract of the reference's `StateStore`. The others make the engine safe with many
workers: guarded updates, claims, first-write-wins recording, and a transaction in which several of these happen
together. Every method
that stands alone is atomic on its own.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol, Self

from fastapi_durable.model.records import Run
from fastapi_durable.store.port.checkpoints import CheckpointStore
from fastapi_durable.store.port.events import EventStore
from fastapi_durable.store.port.leases import LeaseStore
from fastapi_durable.store.port.queues import QueueStore
from fastapi_durable.store.port.runs import RunStore
from fastapi_durable.store.port.signals import SignalStore
from fastapi_durable.store.port.streams import StreamStore
from fastapi_durable.store.port.upkeep import UpkeepStore


class StateStore(
    RunStore,
    LeaseStore,
    QueueStore,
    CheckpointStore,
    SignalStore,
    EventStore,
    StreamStore,
    UpkeepStore,
    Protocol,
):
    """Runs, checkpoints, waiters and buffers in one place, shared by every process of the application.

    Every method raises `StoreUnavailableError` while the database cannot be reached. After a conflict, the store
    repeats a method that stands alone. In a transaction, `StoreConflictError` leaves the block; nothing of it was
    kept, so the caller may run the whole block again.
    """

    async def ensure_schema(self) -> None:
        """Check that the database has everything that the store needs. A store with migrated tables creates nothing.

        Raises:
            SchemaMismatchError: a model, field or table is missing. The message names the command to run.
        """
        ...

    async def ping(self) -> None:
        """Return if the database answers."""
        ...

    def transaction(
        self, *, timeout: timedelta = timedelta(seconds=10)
    ) -> AbstractAsyncContextManager["StoreTransaction"]:
        """Open a transaction.

        What is done through the yielded store commits together, or not at all if the block raises. Use only the
        yielded store inside the block: a store with a single writer would wait for itself. A transaction that is
        opened on the yielded store is a part of this one. An error that leaves the inner block undoes what that block
        did, and the outer one may continue. A conflict undoes everything.

        Args:
            timeout: Time within which the block must finish.

        Returns:
            A context manager that yields the store within the transaction.

        Raises:
            StoreError: the task is inside another transaction of this store.
            TransactionExpiredError: the block took longer than `timeout`. Everything in it was undone.
            StoreConflictError: the transaction conflicted with another one. Everything was undone, and the block may
                run again.
        """
        ...

    def within(self, client: object) -> "StoreTransaction":
        """Return the store within a transaction that is open already. The code that opened it ends it.

        Args:
            client: The database client that is bound to that transaction.

        Raises:
            ConfigurationError: the client is not bound to an open transaction, or does not report the commit.
        """
        ...

    def separate_connection(self) -> AbstractAsyncContextManager["StateStore"] | None:
        """Return the same data over a connection of its own, which opens and closes with the block.

        It serves another thread and its event loop. Code that blocks the event loop of this store, or uses up its
        connections, does not affect it.

        Returns:
            A context manager that yields the store. None if there is no such connection; the store has logged a
            warning if something is lost by it.
        """
        ...

    def with_timeout(self, limit: timedelta) -> Self:
        """Return the same store with a limit for each call.

        A call raises `StoreUnavailableError` when the database does not answer within the limit. It is then unknown
        whether the database did what was asked. The engine uses a third of its lease, so that no lease ends while a
        call waits. A store that never waits returns itself.

        Args:
            limit: Time within which the database must answer.
        """
        ...

    def with_scope(self, namespace: str) -> Self:
        """Return the same store, confined to the runs of one namespace, with their checkpoints and their waiters.

        To create a run, a checkpoint or a waiter outside it raises `StoreError`. Other calls find nothing there.
        Buffered signals and events belong to a token or a name, not to a run, so every scope shares them.

        Args:
            namespace: The namespace.

        Raises:
            ValueError: the store is confined to another namespace.
        """
        ...


class StoreTransaction(StateStore, Protocol):
    """A store whose writes commit together; see `StateStore.transaction`.

    To avoid deadlocks, take locks in this order: names, then runs, then anything else. If one run waits for another,
    lock the waiting run first.
    """

    @property
    def client(self) -> object:
        """The database client bound to this transaction, for the body of `ctx.transaction`."""
        ...

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call a function once the transaction has committed.

        The function is not called if the transaction, or the inner transaction in which this was called, is undone.

        Args:
            call: Function that must not raise.
        """
        ...

    async def lock_name(self, name: str) -> None:
        """Wait until no other transaction holds a name, and hold it until this transaction ends.

        Args:
            name: The name.
        """
        ...

    async def lock_run(self, run_id: str) -> Run | None:
        """Read a run, and keep other transactions from changing it until this transaction ends.

        Args:
            run_id: Id of the run.

        Returns:
            The run. None if no run has this id.
        """
        ...

    async def wake_run(self, run_id: str, *, now: datetime) -> bool:
        """Let a live run be claimed at once, and keep a turn that is under way from suspending it.

        A suspended or blocked run gets `wake_at = now`. The `wake_count` of every live run grows by one.

        Args:
            run_id: Id of the run.
            now: The current time.

        Returns:
            Whether there is a live run with this id.
        """
        ...
