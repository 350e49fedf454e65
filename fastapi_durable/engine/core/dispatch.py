"""Hands a new or woken run straight to the worker of the same process, without a poll.

The transaction that creates or wakes the run also leases it, and the worker drives it after the commit. If the process
dies in between, the run stays leased. When the lease expires, a worker claims it like any run whose process died.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol

from fastapi_durable.model.errors import StoreUnavailableError
from fastapi_durable.model.records import Run, RunChanges, RunStatus
from fastapi_durable.store.base import StoreTransaction


@dataclass(frozen=True, slots=True)
class Reservation:
    """A free slot of a worker, in which a run may be leased under `token` until `until`, and driven at once."""

    token: str
    until: datetime


class Dispatcher(Protocol):
    """The worker, as the engine uses it when it starts or wakes a run."""

    def reserve(self) -> Reservation | None:
        """Reserve a slot for a run that is about to be leased. Return None if the worker is full or stopping."""
        ...

    def may_drive(self, run: Run) -> bool:
        """Return whether the worker could claim the run if the run were due."""
        ...

    def use(self, reservation: Reservation, run: Run, *, is_new: bool) -> None:
        """Drive the leased run in the reserved slot. A new run has no history."""
        ...

    def give_back(self, reservation: Reservation) -> None:
        """Free the slot, because no run was leased."""
        ...

    def find_out(self, reservation: Reservation, run_id: str, *, unheard: bool) -> None:
        """Read the run to find out whether it was leased. Then drive it in the slot, or free the slot.

        Args:
            unheard: Whether the database may still be writing, so that a single read does not decide.
        """
        ...


class LocalDispatch:
    """Surrounds one attempt at a write that creates or wakes a run, so that this process can drive the run at once.

    Attributes:
        run: The leased run. None: the run waits for a claim.
    """

    def __init__(self, dispatcher: Dispatcher | None) -> None:
        self.run: Run | None = None
        self._dispatcher = dispatcher
        self._reservation: Reservation | None = None
        self._is_new = False
        self._is_locked = True

    def lease_new(self, run: Run) -> Run:
        """Return the run to create, leased if this process can drive it."""
        self._is_new = True
        return self._lease(run, run.updated_at) or run

    async def take(self, transaction: StoreTransaction, run: Run, *, now: datetime) -> bool:
        """Wake and lease a suspended run that the transaction has locked. Return False if a claim has to take it."""
        changes = self._lease_woken(run, now)
        if changes is None:
            return False
        await transaction.update_run(run.id, changes)
        return True

    def lease_unlocked(self, run: Run, *, now: datetime) -> RunChanges | None:
        """Return the changes that wake and lease a suspended run that is not locked. None if this process cannot drive
        it now.

        The run may change between the read and the write, for example by a pause. So it is read again before it is
        driven.
        """
        self._is_locked = False
        return self._lease_woken(run, now)

    def give_up(self) -> None:
        """Note that the run was not leased after all."""
        self.run = None

    def _lease_woken(self, run: Run, now: datetime) -> RunChanges | None:
        if run.status is not RunStatus.SUSPENDED or run.locked_by is not None:
            return None
        leased = self._lease(run.changed(wake_count=run.wake_count + 1), now)
        if leased is None:
            return None
        return {
            "status": leased.status,
            "locked_by": leased.locked_by,
            "locked_until": leased.locked_until,
            "wake_count": leased.wake_count,
            "updated_at": leased.updated_at,
        }

    def __enter__(self) -> "LocalDispatch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drive the leased run. After a failure, read the run first: the commit may have succeeded although its answer
        was lost.
        """
        if self._dispatcher is None or self._reservation is None:
            return
        if self.run is None:
            self._dispatcher.give_back(self._reservation)
        elif failure is not None:
            unheard = isinstance(failure, asyncio.CancelledError | StoreUnavailableError)
            self._dispatcher.find_out(self._reservation, self.run.id, unheard=unheard)
        elif not self._is_locked:
            self._dispatcher.find_out(self._reservation, self.run.id, unheard=False)
        else:
            self._dispatcher.use(self._reservation, self.run, is_new=self._is_new)

    def _lease(self, run: Run, now: datetime) -> Run | None:
        if self._dispatcher is None or not self._dispatcher.may_drive(run):
            return None
        self._reservation = self._dispatcher.reserve()
        if self._reservation is None:
            return None
        self.run = run.changed(
            status=RunStatus.RUNNING,
            locked_by=self._reservation.token,
            locked_until=self._reservation.until,
            updated_at=now,
        )
        return self.run


class LocalWorker:
    """Holds the worker of this process, once it has started."""

    dispatcher: Dispatcher | None = None

    def place(self) -> LocalDispatch:
        """Surround one attempt at a write. If the caller is cancelled, a committed run is driven all the same."""
        return LocalDispatch(self.dispatcher)
