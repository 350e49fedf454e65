"""The short way of a new run: straight to the worker of the same process, without a look for work in between."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fastapi_durable.model import Run


@dataclass(frozen=True, slots=True)
class Reservation:
    """A free place in a worker: a run may be created leased under `token` until `until`, and be driven at once."""

    token: str
    until: datetime


class Dispatcher(Protocol):
    """A worker, as the engine sees it when it starts a run."""

    def reserve(self) -> Reservation | None:
        """Hold a place for a run that is about to be created; None if the worker is full or stopping."""
        ...

    def use(self, reservation: Reservation, run: Run) -> None:
        """Drive the created run in the place."""
        ...

    def give_back(self, reservation: Reservation) -> None:
        """Free the place: no run was created."""
        ...


class LocalWorker:
    """The worker of this process, once there is one."""

    dispatcher: Dispatcher | None = None
