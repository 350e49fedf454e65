"""Leases: which worker drives which run, and until when."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from fastapi_durable.model.records import Lease, Run


class LeaseStore(Protocol):
    """Claims of runs outside queues, and the renewal of all leases."""

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
        """Claim runs: set them `running`, lease them under a token, and return them. No run is given to two callers.

        Claimable are pending runs, suspended and blocked runs whose `wake_at` has come, and running or cancelling runs
        without a live lease. A cancelling run stays `cancelling`. If it has a `wake_at`, it is not claimed before: an
        undo waits for its next attempt. `recovery_attempts` grows by one only when an expired lease is taken over. A
        run without an owner was handed back. Runs in queues are left to `claim_queued_runs`.

        Namespaces take turns. Within one, the longest wait comes first: since creation, `wake_at`, or the end of the
        lease. Each unit of priority counts as five minutes of waiting, so no run starves. If very many runs wake at
        the same time, priority orders only the hundred that wait longest.

        Args:
            token: Token of the new leases.
            now: The current time.
            until: End of the new leases.
            limit: Maximum number of runs.
            workflows: Only these `(name, version)` pairs. None: all.
            namespace: Namespace of the runs. None: all.
            after: Namespace that was served last.
        """
        ...

    async def renew_leases(self, leases: Sequence[Lease], *, until: datetime) -> dict[str, bool]:
        """Prolong many leases in one statement.

        Args:
            leases: The leases.
            until: New end of the leases.

        Returns:
            The runs that are still held, by id, and whether each is to be read again: it is `cancelling`, or paused.
        """
        ...

    async def prolong_leases(self, tokens: Collection[str], *, until: datetime) -> dict[str, str]:
        """Prolong every lease that is held under one of these tokens.

        A process calls it when it is late with its renewals, and may not know yet which runs it has leased. Runs that
        a transaction has locked are passed over, and the call does not wait for them. No claim takes them meanwhile.

        Args:
            tokens: Tokens of the leases.
            until: New end of the leases.

        Returns:
            The token of each prolonged run, by run id.
        """
        ...
