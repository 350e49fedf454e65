"""Reads for dashboards and operators: runs with their waits, counts, queues and workers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fastapi_durable.declare.queue import QueueLoad
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.live_workers import WORKER_SILENCE
from fastapi_durable.engine.runs.addressing import visible_store
from fastapi_durable.model.records import Checkpoint, Run, RunFacet, RunQuery, WorkerRecord
from fastapi_durable.service.waiting import Waiting, waits_of
from fastapi_durable.store.base import StateStore

_CHILDREN_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run in a listing. `waiting` is None unless the run is suspended and waits for a message."""

    run: Run
    waiting: Waiting | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetail:
    """A run with its checkpoints by position and its children's ids.

    Compensations have negative positions, so they come first.
    """

    run: Run
    timeline: Sequence[Checkpoint]
    children: Sequence[str]
    waiting: Waiting | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """A page of a run's checkpoints.

    Attributes:
        steps: The checkpoints.
        total: Number of all checkpoints of the run.
        version: Text that changes whenever one of them does.
    """

    steps: Sequence[Checkpoint]
    total: int
    version: str


class Inspection:
    """The part of the façade that reads runs, queues and workers."""

    _kernel: Kernel

    @property
    def _store(self) -> StateStore:
        return visible_store(self._kernel)

    async def get_run_detail(self, run_id: str) -> RunDetail | None:
        """Return a run with its timeline and its children.

        Args:
            run_id: Id of the run.

        Returns:
            The run, all its checkpoints, and the ids of up to 1000 children. None if no run has this id.
        """
        run = await self._store.find_run(run_id)
        if run is None:
            return None
        timeline = await self._store.list_checkpoints(run_id)
        children = await self._store.list_runs(RunQuery(parent_run_id=run_id, limit=_CHILDREN_LIMIT))
        waiting = await waits_of(self._store, [run])
        return RunDetail(
            run=run,
            timeline=timeline,
            children=[child.id for child in reversed(children)],
            waiting=waiting.get(run_id),
        )

    async def list_runs(self, query: RunQuery | None = None) -> list[ListedRun]:
        """Return runs, the newest first, with what each one waits for.

        Args:
            query: Conditions, page and size. Default: the newest 100 runs.

        Returns:
            The runs.
        """
        runs = await self._store.list_runs(query or RunQuery())
        waiting = await waits_of(self._store, runs)
        return [ListedRun(run, waiting.get(run.id)) for run in runs]

    async def get_timeline(self, run_id: str, *, after: int | None = None, limit: int) -> Timeline:
        """Return a page of a run's checkpoints, ordered by position.

        Args:
            run_id: Id of the run.
            after: Position after which the page begins. None: from the first checkpoint.
            limit: Maximum number of checkpoints.

        Returns:
            The page. It is empty if no run has this id.
        """
        # The state first: what is recorded in between is shown, and told again as a change.
        state = await self._store.history_state(run_id)
        steps = await self._store.page_checkpoints(run_id, after=after, limit=limit) if state.total else []
        return Timeline(steps, total=state.total, version=state.version)

    async def list_children(self, run_id: str, *, limit: int) -> list[ListedRun]:
        """Return the newest children of a run, ordered from the oldest to the newest.

        Args:
            run_id: Id of the parent.
            limit: Maximum number of children.

        Returns:
            The children.
        """
        newest_first = await self.list_runs(RunQuery(parent_run_id=run_id, limit=limit))
        return newest_first[::-1]

    async def count_runs(self, query: RunQuery | None = None, *, at_most: int | None = None) -> int:
        """Return how many runs match a query. Its `limit` and `offset` do not count.

        Args:
            query: Conditions. Default: all runs.
            at_most: Number at which counting stops. None: no limit.

        Returns:
            The number of runs.
        """
        return await self._store.count_runs(query or RunQuery(), at_most=at_most)

    async def run_facets(self, query: RunQuery | None = None, *, at_most: int | None = None) -> list[RunFacet]:
        """Return counts of runs by status and origin. The query's own status and origin do not count.

        Args:
            query: Conditions. Default: all runs.
            at_most: Maximum number of runs to count for each status. None: no limit.

        Returns:
            The counts.
        """
        return await self._store.run_facets(query or RunQuery(), at_most=at_most)

    async def workers(self) -> list[WorkerRecord]:
        """Return the workers that reported within the last 30 seconds, the latest first."""
        return await self._store.list_workers(since=self._kernel.clock.now() - WORKER_SILENCE)

    async def queues(self, *, at_most: int | None = None) -> list[QueueLoad]:
        """Return the queues with their limits, the runs that are driven, and the runs that wait.

        Args:
            at_most: Number at which counting stops for each queue. None: no limit.

        Returns:
            The queues.
        """
        return await self._store.list_queues(self._kernel.clock.now(), at_most=at_most)

    async def waiting_for(self, run_ids: Collection[str]) -> dict[str, Waiting]:
        """Return what runs wait for.

        Args:
            run_ids: Ids of runs.

        Returns:
            What each run waits for, by run id. Runs that are not suspended, or that only wait for a time, are left
            out.
        """
        runs = [await self._store.find_run(run_id) for run_id in run_ids]
        return await waits_of(self._store, [run for run in runs if run is not None])
