"""Signals: which run waits for which token, and signals that no run waited for yet."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple, Protocol

from fastapi_durable.model.records import BufferedSignal, Checkpoint, Json, Run, SignalWaiter


class Receiver(NamedTuple):
    """The run that waits for a token.

    Attributes:
        waiter: The waiter that the run has left.
        run: The run, as it is stored.
        begun: The checkpoint at the position that waits. None if nothing is recorded there.
    """

    waiter: SignalWaiter
    run: Run
    begun: Checkpoint | None


class SignalStore(Protocol):
    """Waiters, one for each token, and buffered signals, many for each token."""

    async def put_signal_waiter(self, waiter: SignalWaiter) -> None:
        """Register a waiter. Registering the same waiter again changes nothing.

        Args:
            waiter: The waiter.

        Raises:
            SignalTokenTakenError: another run, or another position, waits for the token.
        """
        ...

    async def find_signal_waiter(self, token: str) -> SignalWaiter | None:
        """Return the waiter of a token. None if there is none.

        Args:
            token: The token.
        """
        ...

    async def find_receiver(self, token: str) -> Receiver | None:
        """Find the run that waits for a token, and read it with what its position holds, all at one moment.

        Args:
            token: Token of the signal.

        Returns:
            None if no run waits for the token, or the run that does was deleted.
        """
        ...

    async def take_signal_waiter(self, token: str) -> SignalWaiter | None:
        """Remove and return the waiter of a token. Of two callers, one gets it.

        Args:
            token: The token.
        """
        ...

    async def remove_signal_waiter(self, waiter: SignalWaiter) -> bool:
        """Remove exactly this waiter: its token, run and position. A waiter of another owner stays.

        Args:
            waiter: The waiter.

        Returns:
            Whether it was there.
        """
        ...

    async def remove_signal_waiters_of_run(self, run_id: str) -> int:
        """Remove all waiters of a run.

        Args:
            run_id: Id of the run.

        Returns:
            How many were removed.
        """
        ...

    async def list_signal_waiters(
        self,
        *,
        prefix: str | None = None,
        run_ids: Collection[str] | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> list[SignalWaiter]:
        """Return waiters by token prefix, by run, or both, ordered by token.

        Args:
            prefix: Prefix of the tokens. None: any.
            run_ids: Ids of the runs. None: any.
            limit: Maximum number of waiters.
            after: Token after which the page begins. None: from the first one.
        """
        ...

    async def buffer_signal(self, token: str, payload: Json, *, now: datetime, signal_id: str | None = None) -> bool:
        """Keep a signal until a run waits for its token.

        Args:
            token: The token.
            payload: The encoded payload.
            now: The current time.
            signal_id: Id of the signal. None: the signal has no id.

        Returns:
            False if a signal with this id is already kept for the token.
        """
        ...

    async def take_buffered_signal(self, token: str) -> BufferedSignal | None:
        """Remove and return the oldest signal of a token. Of two callers, one gets it. None if there is none.

        Args:
            token: The token.
        """
        ...

    async def prune_buffered_signals(self, before: datetime, *, limit: int) -> int:
        """Delete old signals, and return how many.

        Args:
            before: Moment before which the signals were sent.
            limit: Maximum number of signals to delete.
        """
        ...
