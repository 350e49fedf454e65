"""The port to the database: what the engine asks of a state store.

Two groups of methods. The first is the contract of the reference's `StateStore` (runs, checkpoints, waiters, buffers).
The second is what makes the engine safe with many workers: guarded updates, claims, first-write-wins recording, and a
transaction in which several of these happen together. Every method that stands alone is atomic on its own.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, Self

from fastapi_durable.declare.queue import QueueClaim, QueueLoad, QueueState
from fastapi_durable.model.activity import ActivityBucket, ActivityQuery
from fastapi_durable.model.records import (
    BufferedEvent,
    BufferedSignal,
    Checkpoint,
    Json,
    Lease,
    RetentionPolicy,
    Run,
    RunChanges,
    RunFacet,
    RunQuery,
    RunStatus,
    ScheduleState,
    SignalWaiter,
    WorkerRecord,
)
from fastapi_durable.store.history import HistoryRow


class CreatedRun(NamedTuple):
    """The stored run, and whether this call inserted it."""

    run: Run
    created: bool


class RecordedCheckpoint(NamedTuple):
    """The stored checkpoint, and whether it is the one that the caller brought."""

    checkpoint: Checkpoint
    won: bool


class HistoryState(NamedTuple):
    """How many checkpoints a run has, and a text that differs whenever one of them does."""

    total: int
    version: str


class StateStore(Protocol):
    """Runs, checkpoints, waiters and buffers in one place, shared by every process of the application.

    Any method raises `StoreUnavailableError` while the database cannot be reached. Writes that got in each other's way
    are tried again by the store where a method stands alone; within a transaction `StoreConflictError` leaves the block
    instead, and the caller may run the whole block again, since nothing of it was kept.
    """

    # Life cycle

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
        transaction that is opened on the yielded store is the same one: an error that leaves the inner block undoes
        the whole, even if it is caught.

        Raises:
            TransactionExpiredError: the block was not finished within `timeout`; everything in it was undone.
            StoreConflictError: another transaction was in the way; everything was undone, and the block may be run
                again from its start.
        """
        ...

    def with_scope(self, namespace: str) -> Self:
        """The same store, seeing and touching only runs of one namespace, their checkpoints and their waiters.

        Creating a run, a checkpoint or a waiter outside it raises `StoreError`; other calls find nothing there.
        Buffered signals and events belong to a token or a name, not to a run, so every scope shares them.
        """
        ...

    # Runs

    async def create_run(self, run: Run) -> CreatedRun:
        """Insert the run and its search attributes unless a run of this id exists; return the stored one."""
        ...

    async def find_run(self, run_id: str) -> Run | None: ...

    async def update_run(
        self,
        run_id: str,
        changes: RunChanges,
        *,
        statuses: Collection[RunStatus] | None = None,
        token: str | None = None,
        wake_count: int | None = None,
    ) -> bool:
        """Set columns of one run in one statement, if it still meets every guard that is given.

        Args:
            changes: New values. `search_attributes` replaces the whole set, side table included.
            statuses: The run must have one of these statuses.
            token: The run must be leased under this token.
            wake_count: Nothing may have been delivered since the run had this count.

        Returns:
            False if there is no such run or a guard does not hold; nothing was written then.
        """
        ...

    async def delete_run(self, run_id: str) -> bool:
        """Remove the run, its checkpoints, attributes and waiters together; False if there is no such run."""
        ...

    async def list_runs(self, query: RunQuery) -> list[Run]: ...

    async def count_runs(self, query: RunQuery, *, at_most: int | None = None) -> int:
        """How many runs match, `limit`, `offset` and `before` aside; counting stops at `at_most`."""
        ...

    async def run_facets(self, query: RunQuery, *, at_most: int | None = None) -> list[RunFacet]:
        """Counts by status and origin of what matches the query's other conditions; a blank origin counts as None.

        Args:
            at_most: Of each status so many runs are counted, whichever; None: all of them.
        """
        ...

    async def run_activity(self, query: ActivityQuery) -> list[ActivityBucket]:
        """How many runs began and ended in each bucket, and how long they took; a large table costs no more."""
        ...

    async def list_pending_runs(self, *, limit: int, namespace: str | None = None) -> list[Run]:
        """Runs that were never driven, oldest first."""
        ...

    async def list_incomplete_runs(self, *, limit: int, namespace: str | None = None) -> list[Run]:
        """Runs that are running or cancelling, oldest first."""
        ...

    async def list_due_timers(self, now: datetime, *, limit: int, namespace: str | None = None) -> list[Run]:
        """Suspended runs whose `wake_at` has come, most overdue first."""
        ...

    async def list_expired_runs(self, now: datetime, *, limit: int, namespace: str | None = None) -> list[str]:
        """Ids of live runs whose `expires_at` has come, the most overdue first; those being cancelled are left out."""
        ...

    async def list_stranded_runs(
        self, before: datetime, *, served: Collection[str], limit: int, namespace: str | None = None
    ) -> list[Run]:
        """Runs that could have been claimed since `before`, the longest wait first, but whose workflow nobody serves.

        Those that are blocked already, and those that are being cancelled, are left out.

        Args:
            served: The workflows that somebody serves, as `name@version`.
        """
        ...

    async def prune_terminal_runs(
        self, policy: RetentionPolicy, *, now: datetime, limit: int, namespace: str | None = None
    ) -> int:
        """Delete up to `limit` finished runs that the policy gives up, the oldest first; return how many."""
        ...

    # Leases

    async def acquire_lease(self, run_id: str, token: str, *, now: datetime, until: datetime) -> bool:
        """Lease one run under `token`, unless somebody holds an unexpired lease on it."""
        ...

    async def renew_lease(self, run_id: str, token: str, *, until: datetime) -> bool:
        """Prolong a lease that is still held under `token`."""
        ...

    async def release_lease(self, run_id: str, token: str) -> bool:
        """Give up a lease that is still held under `token`; somebody else's is left alone."""
        ...

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
        """Take up to `limit` runs that want driving: set them running, leased under `token`, and return them.

        Claimable are pending runs, suspended and blocked runs whose `wake_at` has come, and running or cancelling
        runs that nobody holds an unexpired lease on. A cancelling run stays cancelling, and is not claimed before its
        `wake_at`, if it has one: an undo waits for its next attempt. `recovery_attempts` grows by one where an expired
        lease is taken over, and only there: a run without an owner was handed back.
        Runs that wait in a queue are left to it. Namespaces take turns; within one the longest wait comes first: since
        creation, `wake_at`, or the end of the lease, where each unit of priority counts as five minutes more, so that
        no run waits for ever behind urgent ones. Of very many that wake at a time, the order by priority is kept among
        the longest waiting hundred. No run is given to two callers.

        Args:
            workflows: Only these `(name, version)` pairs; None: all.
            after: The namespace that was served last.
        """
        ...

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
        """Take up to `limit` runs that wait in queues, as `claim_runs` does others, within the queues' limits.

        A leased run has a place in its queue. A lease that has expired is ended first: its place is free then, its
        owner can write no more, and the run waits for a place again. Fairness keys take turns in a queue; within a key
        the longest wait comes first. The queue that was served last comes last.

        Args:
            in_flight: How many runs the worker drives, by namespace and name of the queue.
        """
        ...

    async def renew_leases(self, leases: Sequence[Lease], *, until: datetime) -> dict[str, bool]:
        """Prolong many leases in one statement; return which runs are still held, and whether each is `cancelling`."""
        ...

    async def next_wake_at(self, *, namespace: str | None = None) -> datetime | None:
        """When the next suspended or blocked run wants to be claimed; None if none has a time."""
        ...

    # Checkpoints

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Insert or replace, every column. The engine uses `record_checkpoint`."""
        ...

    async def record_checkpoint(self, checkpoint: Checkpoint, *, token: str | None = None) -> RecordedCheckpoint:
        """Insert, or replace a row that is not finished yet; a finished row stays and is returned instead.

        Args:
            token: The run must be leased under this token; None for writers other than a turn.

        Raises:
            LeaseLostError: it is not; nothing was written.
        """
        ...

    async def find_checkpoint(self, run_id: str, seq: int) -> Checkpoint | None: ...

    async def list_checkpoints(self, run_id: str) -> list[Checkpoint]:
        """All of a run, by `seq` ascending, so compensations (negative) come first."""
        ...

    async def page_checkpoints(self, run_id: str, *, after: int | None = None, limit: int) -> list[Checkpoint]:
        """The first ones after a position, by `seq` ascending, to be shown."""
        ...

    async def history_state(self, run_id: str) -> HistoryState:
        """What tells two states of a run's history apart, without reading it."""
        ...

    async def read_history(self, run_id: str) -> Sequence[HistoryRow]:
        """The same for a replay, in any order, each decoded when it is asked for."""
        ...

    async def find_latest_checkpoint_by_name(
        self, run_id: str, name: str, *, by_time: bool = False
    ) -> Checkpoint | None:
        """The one with the highest `seq`; `by_time`, the one with the latest `finished_at`, and of several that one."""
        ...

    async def list_checkpoints_by_name_prefix(self, run_id: str, prefixes: Sequence[str]) -> list[Checkpoint]:
        """Those whose name starts with any of the prefixes (no wildcards), by `seq`; no prefix, no result."""
        ...

    async def remove_checkpoints(self, run_id: str, seqs: Collection[int] | None = None) -> int:
        """Remove those at the given positions, or all of a run; return how many there were.

        For what an operator asks for, for a run that goes on with an empty history, and for a delivery to a wait that
        was cancelled: a turn never removes what its body has read.
        """
        ...

    # Signals

    async def put_signal_waiter(self, waiter: SignalWaiter) -> None:
        """Register a waiter; the same waiter again changes nothing.

        Raises:
            SignalTokenTakenError: another run, or another position, waits for the token.
        """
        ...

    async def find_signal_waiter(self, token: str) -> SignalWaiter | None: ...

    async def take_signal_waiter(self, token: str) -> SignalWaiter | None:
        """Remove and return it; of two callers one gets it."""
        ...

    async def remove_signal_waiter(self, waiter: SignalWaiter) -> bool:
        """Remove exactly this one (token, run and position); another owner's stays."""
        ...

    async def remove_signal_waiters_of_run(self, run_id: str) -> int: ...

    async def list_signal_waiters(
        self,
        *,
        prefix: str | None = None,
        run_ids: Collection[str] | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> list[SignalWaiter]:
        """Waiters by token prefix, by run, or both, ordered by token; `after`, a token, continues a listing."""
        ...

    async def buffer_signal(self, token: str, payload: Json, *, now: datetime, signal_id: str | None = None) -> bool:
        """Keep a signal until somebody waits for it; False if one with this `signal_id` is kept for the token."""
        ...

    async def take_buffered_signal(self, token: str) -> BufferedSignal | None:
        """Remove and return the oldest one of the token; of two callers one gets it."""
        ...

    async def prune_buffered_signals(self, before: datetime, *, limit: int) -> int: ...

    # Events

    async def buffer_event(self, event: BufferedEvent) -> None:
        """Keep an event; one of the same id again changes nothing."""
        ...

    async def list_buffered_events(
        self, name: str, *, limit: int = 50, after: BufferedEvent | None = None
    ) -> list[BufferedEvent]:
        """The oldest ones of a name, without consuming them; `after` continues a listing."""
        ...

    async def remove_buffered_event(self, event_id: str) -> bool:
        """True for the one caller that removed it."""
        ...

    async def prune_buffered_events(self, before: datetime, *, limit: int) -> int: ...

    # Schedules and workers. They are of no namespace: a schedule's id holds it, and workers may drive several.

    async def find_schedule(self, schedule_id: str) -> ScheduleState | None: ...

    async def list_schedules(self, *, limit: int = 1000) -> list[ScheduleState]:
        """By id."""
        ...

    async def save_schedule(self, state: ScheduleState) -> None:
        """Insert or replace. Who decides by what it read does both under `lock_name`."""
        ...

    async def save_queue(self, queue: QueueState) -> None:
        """Insert a queue, or set the limits of the one that has its id; how far that has come stays."""
        ...

    async def add_queue(self, queue: QueueState) -> None:
        """Insert a queue unless one has its id; that one stays as it is."""
        ...

    async def list_queues(
        self, now: datetime, *, namespace: str | None = None, limit: int = 1000, at_most: int | None = None
    ) -> list[QueueLoad]:
        """Queues with what is in them, by id; counting what waits in one stops at `at_most`."""
        ...

    async def save_worker(self, worker: WorkerRecord) -> None:
        """Insert or replace."""
        ...

    async def list_workers(self, *, since: datetime | None = None, limit: int = 1000) -> list[WorkerRecord]:
        """Those that have beaten since a moment, the latest beat first."""
        ...

    async def remove_worker(self, worker_id: str) -> bool: ...

    async def prune_workers(self, before: datetime, *, limit: int) -> int:
        """Forget workers whose last beat is older."""
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
