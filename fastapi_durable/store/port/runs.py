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
        """Insert a run and its search attributes, unless a run with this id exists.

        Args:
            run: The run.

        Returns:
            The stored run, and whether this call inserted it.
        """
        ...

    async def find_run(self, run_id: str) -> Run | None:
        """Return a run. None if no run has this id.

        Args:
            run_id: Id of the run.
        """
        ...

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
        """Set columns of one run in one commit, if the run still meets every guard that is given.

        Args:
            run_id: Id of the run.
            changes: New values. `search_attributes` replaces all attributes, the side table included.
            statuses: Guard: the run has one of these statuses.
            token: Guard: the run is leased under this token.
            wake_count: Guard: nothing was delivered since the run had this count.
            checkpoints: Checkpoints of this run, at different positions, that the same commit records. Guard: none of
                these positions is finished already.
            waiter: A waiter of this run, which the same commit removes. Guard: it is there.

        Returns:
            False if there is no such run, or a guard does not hold. Nothing was written then.
        """
        ...

    async def delete_run(self, run_id: str) -> bool:
        """Delete a run with its checkpoints, attributes, waiters and streams, together.

        Args:
            run_id: Id of the run.

        Returns:
            False if no run has this id.
        """
        ...

    async def list_runs(self, query: RunQuery) -> list[Run]:
        """Return the runs that match a query, the newest first.

        Args:
            query: Conditions, page and size.
        """
        ...

    async def count_runs(self, query: RunQuery, *, at_most: int | None = None) -> int:
        """Return how many runs match a query. Its `limit`, `offset` and `before` do not count.

        Args:
            query: Conditions.
            at_most: Number at which counting stops. None: no limit.
        """
        ...

    async def run_facets(self, query: RunQuery, *, at_most: int | None = None) -> list[RunFacet]:
        """Return counts by status and origin of the runs that match the query's other conditions.

        A blank origin counts as None.

        Args:
            query: Conditions.
            at_most: Maximum number of runs to count for each status. None: no limit.
        """
        ...

    async def run_activity(self, query: ActivityQuery) -> list[ActivityBucket]:
        """Return how many runs began and ended in each bucket, and how long they took.

        The cost does not grow with the table.

        Args:
            query: Time range, width of a bucket, and conditions.
        """
        ...

    async def list_expired_runs(self, now: datetime, *, limit: int, namespace: str | None = None) -> list[str]:
        """Return the ids of live runs whose `expires_at` has come, the most overdue first.

        Runs that are being cancelled are left out.

        Args:
            now: The current time.
            limit: Maximum number of ids.
            namespace: Namespace of the runs. None: all.
        """
        ...

    async def list_stranded_runs(
        self, before: datetime, *, served: Collection[str], limit: int, namespace: str | None = None
    ) -> list[Run]:
        """Return claimable runs whose workflow no worker serves, the longest wait first.

        Blocked and `cancelling` runs are left out.

        Args:
            before: Moment since which the runs must have been claimable.
            served: The workflows that workers serve, as `name@version`.
            limit: Maximum number of runs.
            namespace: Namespace of the runs. None: all.
        """
        ...

    async def prune_terminal_runs(
        self, policy: RetentionPolicy, *, now: datetime, limit: int, namespace: str | None = None
    ) -> int:
        """Delete the finished runs that a policy does not keep, the oldest first.

        A call may delete fewer than `limit` runs although there are more, if they have long streams. It deletes at
        least one if there is one. A run stays while its parent is alive and has not recorded its ending, at
        `parent_seq` and with a name that begins with `JOINED`: the parent would start it again. Such a run still
        counts among the newest runs.

        Args:
            policy: Which runs to keep.
            now: The current time.
            limit: Maximum number of runs to delete.
            namespace: Namespace of the runs. None: all.

        Returns:
            How many runs were deleted.
        """
        ...
