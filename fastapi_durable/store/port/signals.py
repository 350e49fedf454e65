"""Signals: who waits for which token, and signals that nobody waited for yet."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple, Protocol

from fastapi_durable.model.records import BufferedSignal, Checkpoint, Json, Run, SignalWaiter


class Receiver(NamedTuple):
    """Who waits for a token.

    Attributes:
        run: As it is stored.
        begun: What is recorded at the position that waits; None: nothing.
    """

    waiter: SignalWaiter
    run: Run
    begun: Checkpoint | None


class SignalStore(Protocol):
    """Waiters, one a token, and buffered signals, many a token."""

    async def put_signal_waiter(self, waiter: SignalWaiter) -> None:
        """Register a waiter; the same waiter again changes nothing.

        Raises:
            SignalTokenTakenError: another run, or another position, waits for the token.
        """
        ...

    async def find_signal_waiter(self, token: str) -> SignalWaiter | None: ...

    async def find_receiver(self, token: str) -> Receiver | None:
        """Who waits for the token, all of it read at the same moment; None: nobody, or a run that does not exist."""
        ...

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
