"""What dashboards and operators read: runs with what they wait for, counts, queues and workers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from fastapi_durable.declare.queue import QueueLoad
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.addressing import visible_store
from fastapi_durable.model.records import Checkpoint, Run, RunFacet, RunQuery, WorkerRecord
from fastapi_durable.service.waiting import Waiting, waits_of
from fastapi_durable.store.base import StateStore

_CHILDREN_LIMIT = 1000
_WORKER_SILENCE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run in a listing; `waiting` is None unless it is suspended and waits for somebody."""

    run: Run
    waiting: Waiting | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetail:
    """A run with its checkpoints by position (compensations, which are negative, first) and its children's ids."""

    run: Run
    timeline: Sequence[Checkpoint]
    children: Sequence[str]
    waiting: Waiting | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """A stretch of a run's checkpoints.

    Attributes:
        total: How many there are in all.
        version: Differs whenever one of all of them does.
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
        """A run with its timeline and children; None if there is no such run."""
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
        """Runs, the newest first, with what each waits for."""
        runs = await self._store.list_runs(query or RunQuery())
        waiting = await waits_of(self._store, runs)
        return [ListedRun(run, waiting.get(run.id)) for run in runs]

    async def get_timeline(self, run_id: str, *, after: int | None = None, limit: int) -> Timeline:
        """A stretch of a run's checkpoints by position; without any if there is no such run."""
        # The state first: what is recorded in between is shown, and told again as a change.
        state = await self._store.history_state(run_id)
        steps = await self._store.page_checkpoints(run_id, after=after, limit=limit) if state.total else []
        return Timeline(steps, total=state.total, version=state.version)

    async def list_children(self, run_id: str, *, limit: int) -> list[ListedRun]:
        """The newest children, the oldest of them first."""
        newest_first = await self.list_runs(RunQuery(parent_run_id=run_id, limit=limit))
        return newest_first[::-1]

    async def count_runs(self, query: RunQuery | None = None, *, at_most: int | None = None) -> int:
        """How many runs match, paging aside; counting stops at `at_most`."""
        return await self._store.count_runs(query or RunQuery(), at_most=at_most)

    async def run_facets(self, query: RunQuery | None = None, *, at_most: int | None = None) -> list[RunFacet]:
        """Counts by status and origin; the query's own status and origin are left out of account.

        Args:
            at_most: Of each status so many runs are counted; None: all.
        """
        return await self._store.run_facets(query or RunQuery(), at_most=at_most)

    async def workers(self) -> list[WorkerRecord]:
        """The workers that said within the last half minute that they live, the latest first."""
        return await self._store.list_workers(since=self._kernel.clock.now() - _WORKER_SILENCE)

    async def queues(self, *, at_most: int | None = None) -> list[QueueLoad]:
        """The queues with their limits, the runs that are driven, and those that wait, counted up to `at_most`."""
        return await self._store.list_queues(self._kernel.clock.now(), at_most=at_most)

    async def waiting_for(self, run_ids: Collection[str]) -> dict[str, Waiting]:
        """What each of these runs waits for; runs that are not suspended, or only wait for a time, are left out."""
        runs = [await self._store.find_run(run_id) for run_id in run_ids]
        return await waits_of(self._store, [run for run in runs if run is not None])
