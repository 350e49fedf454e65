"""The port to the database: what the engine asks of a state store.

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

    Any method raises `StoreUnavailableError` while the database cannot be reached. Writes that got in each other's way
    are tried again by the store where a method stands alone; within a transaction `StoreConflictError` leaves the block
    instead, and the caller may run the whole block again, since nothing of it was kept.
    """

    async def ensure_schema(self) -> None:
        """Check that everything the store needs is there. A store whose schema is migrated elsewhere creates nothing.

        Raises:
            SchemaMismatchError: a model, field or table is missing; the message names the command that mends it.
        """
        ...

    async def ping(self) -> None:
        """Return if the database answers."""
        ...

    def transaction(
        self, *, timeout: timedelta = timedelta(seconds=10)
    ) -> AbstractAsyncContextManager["StoreTransaction"]:
        """Everything done through the yielded store commits together, or not at all if the block raises.

        Inside the block only the yielded store may be used: stores with a single writer would wait for themselves. A
        transaction that is opened on the yielded store is a part of it: an error that leaves the inner block undoes
        what was done in that block, and the outer one may go on. A conflict undoes the whole.

        Raises:
            StoreError: the task is inside another transaction of this store.
            TransactionExpiredError: the block was not finished within `timeout`; everything in it was undone.
            StoreConflictError: another transaction was in the way; everything was undone, and the block may be run
                again from its start.
        """
        ...

    def within(self, client: object) -> "StoreTransaction":
        """The store within a transaction that is open already, whoever opened it, and ends it.

        Args:
            client: The database client bound to that transaction.

        Raises:
            ConfigurationError: it is bound to no open transaction, or does not tell when the transaction is committed.
        """
        ...

    def separate_connection(self) -> AbstractAsyncContextManager["StateStore"] | None:
        """The same data over a connection of its own, which opens with the block and closes with it.

        For another thread and its event loop: what blocks the event loop of this store, or uses up its connections,
        does not reach the other one. None: there is no such connection, and the store has said so in the log unless
        nothing is lost by it.
        """
        ...

    def with_timeout(self, limit: timedelta) -> Self:
        """The same store, whose calls raise `StoreUnavailableError` when the database gives no answer for `limit`.

        Whether it did what was asked is unknown then. The engine's own limit is a third of its lease: leases must not
        end while a call waits. A store that never waits returns itself.
        """
        ...

    def with_scope(self, namespace: str) -> Self:
        """The same store, seeing and touching only runs of one namespace, their checkpoints and their waiters.

        Creating a run, a checkpoint or a waiter outside it raises `StoreError`; other calls find nothing there.
        Buffered signals and events belong to a token or a name, not to a run, so every scope shares them.
        """
        ...


class StoreTransaction(StateStore, Protocol):
    """A store whose writes commit together; see `StateStore.transaction`.

    To avoid deadlocks, take locks in this order: names, then runs, then anything else. Of two runs of which one waits
    for the other, the one that waits comes first.
    """

    @property
    def client(self) -> object:
        """The database client bound to this transaction, for the body of `ctx.transaction`."""
        ...

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call this once the transaction is committed; never, if it is undone. It must not raise.

        A part of the transaction that is undone takes its calls along.
        """
        ...

    async def lock_name(self, name: str) -> None:
        """Wait until no other transaction holds this name; it is free again when the transaction ends."""
        ...

    async def lock_run(self, run_id: str) -> Run | None:
        """Read a run and keep everybody else from changing it until the transaction ends."""
        ...

    async def wake_run(self, run_id: str, *, now: datetime) -> bool:
        """Let a live run be claimed at once, and keep a turn that is under way from sleeping through it.

        A suspended or blocked run gets `wake_at = now`; every live run's `wake_count` grows by one.
        """
        ...
