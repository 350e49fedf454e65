"""Runs: creating, changing, finding, counting and deleting them."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from fastapi_durable.model.activity import ActivityBucket, ActivityQuery
from fastapi_durable.model.records import (
    RetentionPolicy,
    Run,
    RunChanges,
    RunFacet,
    RunQuery,
    RunStatus,
    SignalWaiter,
)
from fastapi_durable.store.port.checkpoints import PreparedCheckpoint


class CreatedRun(NamedTuple):
    """The stored run, and whether this call inserted it."""

    run: Run
    created: bool


class RunStore(Protocol):
    """Runs and their search attributes."""

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
        checkpoints: Sequence[PreparedCheckpoint] = (),
        waiter: SignalWaiter | None = None,
    ) -> bool:
        """Set columns of one run in one commit, if it still meets every guard that is given.

        Args:
            changes: New values. `search_attributes` replaces the whole set, side table included.
            statuses: The run must have one of these statuses.
            token: The run must be leased under this token.
            wake_count: Nothing may have been delivered since the run had this count.
            checkpoints: Of this run, at different positions; recorded by the same commit. It is a guard, too, that none
                of their positions is finished already.
            waiter: Of this run; removed by the same commit. It is a guard, too, that it is there.

        Returns:
            False if there is no such run or a guard does not hold; nothing was written then.
        """
        ...

    async def delete_run(self, run_id: str) -> bool:
        """Remove the run, its checkpoints, attributes, waiters and streams together; False if there is no such run."""
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
        """Delete up to `limit` finished runs that the policy gives up, the oldest first; return how many.

        They may be fewer although there are more, where they have long streams; of some that there are, one is deleted.

        A run stays while its parent lives and has not recorded its ending, at `parent_seq` and with a name that begins
        with `JOINED`: the parent would start it again. It counts among the newest runs all the same.
        """
        ...
