"""Leases: which worker drives which run, and until when."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from fastapi_durable.model.records import Lease, Run


class LeaseStore(Protocol):
    """Claims of runs that wait in no queue, and the renewal of every lease."""

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

    async def renew_leases(self, leases: Sequence[Lease], *, until: datetime) -> dict[str, bool]:
        """Prolong many leases in one statement; return which runs are still held.

        Returns:
            By run id, whether the run is to be looked at again: it is `cancelling`, or paused.
        """
        ...

    async def prolong_leases(self, tokens: Collection[str], *, until: datetime) -> dict[str, str]:
        """Prolong every lease that is held under one of these tokens; return the token by the id of each such run.

        Runs that a transaction has locked are passed over, and the call waits for none of them: no claim takes them
        meanwhile. For a process that is late with its renewals, and may not know yet what it has leased.
        """
        ...
