"""The short way of a new or a woken run: straight to the worker of the same process, without a look for work between.

The transaction that creates or wakes the run leases it, too, and the worker drives it when that is committed. A process
that dies between the two leaves a leased run, which is taken up like any other whose process died.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from fastapi_durable.model import Run, RunChanges, RunStatus
from fastapi_durable.store.base import StoreTransaction


@dataclass(frozen=True, slots=True)
class Reservation:
    """A free place in a worker: a run may be leased under `token` until `until`, and be driven at once."""

    token: str
    until: datetime


class Dispatcher(Protocol):
    """A worker, as the engine sees it when it starts a run."""

    def reserve(self) -> Reservation | None:
        """Hold a place for a run that is about to be leased; None if the worker is full or stopping."""
        ...

    def may_drive(self, run: Run) -> bool:
        """Whether the worker could claim the run, were it awake."""
        ...

    def use(self, reservation: Reservation, run: Run, *, is_new: bool) -> None:
        """Drive the leased run in the place; a new one has no history."""
        ...

    def give_back(self, reservation: Reservation) -> None:
        """Free the place: no run was leased."""
        ...


class Place:
    """What a delivery asks for around one attempt at its transaction: that the woken run goes on here at once.

    Attributes:
        run: The one that was leased for that, if any; else the run waits for a claim.
    """

    def __init__(self, dispatcher: Dispatcher | None) -> None:
        self.run: Run | None = None
        self._dispatcher = dispatcher
        self._reservation = None if dispatcher is None else dispatcher.reserve()

    async def take(self, transaction: StoreTransaction, run: Run, *, now: datetime) -> bool:
        """Wake a suspended run that the transaction has locked, and lease it; False if that is left to a claim."""
        if self._dispatcher is None or self._reservation is None or not self._dispatcher.may_drive(run):
            return False
        if run.status is not RunStatus.SUSPENDED or run.locked_by is not None:
            return False
        leased: RunChanges = {
            "status": RunStatus.RUNNING,
            "locked_by": self._reservation.token,
            "locked_until": self._reservation.until,
            "wake_count": run.wake_count + 1,
            "updated_at": now,
        }
        await transaction.update_run(run.id, leased)
        self.run = replace(run, **leased)
        return True

    def close(self, *, committed: bool) -> None:
        """Drive the leased run if its lease was committed; else give the place back."""
        if self._dispatcher is None or self._reservation is None:
            return
        if committed and self.run is not None:
            self._dispatcher.use(self._reservation, self.run, is_new=False)
        else:
            self._dispatcher.give_back(self._reservation)


class LocalWorker:
    """The worker of this process, once there is one."""

    dispatcher: Dispatcher | None = None

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Hold a place, if there is one, around one attempt at a transaction."""
        place = Place(self.dispatcher)
        try:
            yield place
        except BaseException:
            place.close(committed=False)
            raise
        place.close(committed=True)
