"""Renewing the leases of the runs that a worker drives, from its event loop, every third of a lease."""

import asyncio
import logging
from collections.abc import Collection
from typing import Final, Protocol

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.upkeep.leases import HeldLeases
from fastapi_durable.model.errors import StoreUnavailableError
from fastapi_durable.model.records import Lease

_log = logging.getLogger("fastapi_durable")

RENEWALS_PER_LEASE: Final = 3


class Holder(Protocol):
    """The owner of the leases: it drives the runs."""

    def leases(self) -> Collection[Lease]:
        """Return the leases under which runs are driven now."""
        ...

    def lose(self, lease: Lease) -> None:
        """Stop a run whose lease is lost."""
        ...

    def look_again(self, lease: Lease) -> None:
        """Check a run that is being cancelled, or was paused, which its driver may not know."""
        ...


class LeaseRenewal:
    """Renews leases in time, and reports lost leases to their holder."""

    def __init__(self, kernel: Kernel, held: HeldLeases, holder: Holder) -> None:
        self._kernel = kernel
        self._held = held
        self._holder = holder
        self._interval = kernel.config.lease / RENEWALS_PER_LEASE

    async def go_on(self) -> None:
        """Renew all leases again and again, until this is cancelled."""
        while True:
            await asyncio.sleep(self._interval.total_seconds())
            await self._renew(self._holder.leases())

    async def catch_up(self) -> None:
        """Renew overdue leases, before a claim would treat their runs as abandoned."""
        late = self._held.tokens(ending_before=self._kernel.clock.now() + self._kernel.config.lease / 2)
        if late:
            await self._renew([lease for lease in self._holder.leases() if lease.token in late])

    async def is_held(self, lease: Lease) -> bool:
        """Return whether a lease is certainly held. An expired one is renewed, which shows whether another worker
        took the run.
        """
        until = self._held.held_until(lease)
        now = self._kernel.clock.now()
        if until is None or until > now:
            return until is not None
        renewed_until = now + self._kernel.config.lease
        try:
            held = await self._kernel.store.renew_leases([lease], until=renewed_until)
        except StoreUnavailableError:
            return False
        if lease.run_id in held:
            self._held.renewed([lease], renewed_until)
        return lease.run_id in held

    async def _renew(self, leases: Collection[Lease]) -> None:
        if not leases:
            return
        until = self._kernel.clock.now() + self._kernel.config.lease
        try:
            async with asyncio.timeout(self._interval.total_seconds()):
                held = await self._kernel.store.renew_leases(list(leases), until=until)
        except Exception as error:
            _log.warning("renewing %s leases failed: %s", len(leases), repr(error))
            self._lose_ended(leases)
            return
        self._held.renewed([lease for lease in leases if lease.run_id in held], until)
        for lease in leases:
            if lease.run_id not in held:
                self._holder.lose(lease)
            elif held[lease.run_id]:
                # A process that does not notify this one may have cancelled or paused the run, and a turn may be long.
                self._holder.look_again(lease)

    def _lose_ended(self, leases: Collection[Lease]) -> None:
        """Stop runs that another worker may own by now. Their writes would be refused, but their steps should end
        too.
        """
        now = self._kernel.clock.now()
        for lease in leases:
            if (until := self._held.held_until(lease)) is not None and until <= now:
                self._holder.lose(lease)
