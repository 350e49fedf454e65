"""The façade for dashboards and operators: read runs, cancel, retry, fork and delete them."""

import base64
import binascii
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

from fastapi_durable.declare.queue import QueueLoad
from fastapi_durable.engine.engine import WorkflowEngine
from fastapi_durable.engine.runs.bulk_cancellation import BulkCancellation
from fastapi_durable.engine.runs.input import NO_INPUT
from fastapi_durable.model.activity import ActivityBucket, ActivityQuery
from fastapi_durable.model.errors import RunNotFoundError
from fastapi_durable.model.records import Checkpoint, Run, RunFacet, RunQuery, RunStatus, WorkerRecord
from fastapi_durable.model.reserved import BREAKPOINT, CHAIN, CHILD, EVENT, SINGLETON, WEBHOOK, is_engine_token
from fastapi_durable.store.base import HistoryState, StateStore

WaitKind = Literal["signal", "event", "child", "webhook", "breakpoint", "engine"]
_CHILDREN_LIMIT = 1000
_WAITERS_LIMIT = 10_000
_WORKER_SILENCE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a suspended run waits for; timers and retries are not listed, they come by themselves.

    Attributes:
        name: The signal's token, the event's name, the child's run id, "breakpoint", or the webhook's token without
            the secret that ends it: with that, whoever looks could call it. "engine": the token of an update, a task or
            an operation of an entity, on which no signal can be sent.
    """

    kind: WaitKind
    name: str


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


class RunGateway:
    """Reads and controls runs; inject it as `RunGatewayDep`.

    It sees and touches the runs of the engine's namespace only, or of all namespaces if the engine has none.

    Args:
        namespace: Of an engine without a namespace, see only this one.
    """

    def __init__(self, engine: WorkflowEngine, namespace: str | None = None) -> None:
        namespace = engine.config.namespace or namespace
        self._engine = engine
        self._namespace = namespace
        self._store: StateStore = engine.store if namespace is None else engine.store.with_scope(namespace)

    def within(self, namespace: str | None) -> "RunGateway":
        """This gateway, for one namespace only; None: as it is.

        Raises:
            ValueError: it is confined to another namespace.
        """
        if namespace in (None, self._namespace):
            return self
        if self._namespace is not None:
            raise ValueError(f"this gateway sees the namespace {self._namespace!r} only, not {namespace!r}")
        return RunGateway(self._engine, namespace)

    async def get_run_detail(self, run_id: str) -> RunDetail | None:
        """A run with its timeline and children; None if there is no such run."""
        run = await self._store.find_run(run_id)
        if run is None:
            return None
        timeline = await self._store.list_checkpoints(run_id)
        children = await self._store.list_runs(RunQuery(parent_run_id=run_id, limit=_CHILDREN_LIMIT))
        waiting = await self.waiting_of([run])
        return RunDetail(
            run=run,
            timeline=timeline,
            children=[child.id for child in reversed(children)],
            waiting=waiting.get(run_id),
        )

    async def list_runs(self, query: RunQuery | None = None) -> list[ListedRun]:
        """Runs, the newest first, with what each waits for."""
        runs = await self._store.list_runs(query or RunQuery())
        waiting = await self.waiting_of(runs)
        return [ListedRun(run, waiting.get(run.id)) for run in runs]

    async def get_timeline(self, run_id: str, *, after: int | None = None, limit: int) -> Timeline:
        """A stretch of a run's checkpoints by position; without any if there is no such run."""
        # The state first: what is recorded in between is shown, and told again as a change.
        state = await self._store.history_state(run_id)
        steps = await self._store.page_checkpoints(run_id, after=after, limit=limit) if state.total else []
        return Timeline(steps, total=state.total, version=state.version)

    async def history_state(self, run_id: str) -> HistoryState:
        """How many checkpoints a run has, and what tells two states of them apart."""
        return await self._store.history_state(run_id)

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

    async def activity(self, query: ActivityQuery) -> list[ActivityBucket]:
        """How many runs began and ended in each bucket of a window, and how long they took."""
        return await self._store.run_activity(query)

    async def workers(self) -> list[WorkerRecord]:
        """The workers that said within the last half minute that they live, the latest first."""
        return await self._store.list_workers(since=self._engine.clock.now() - _WORKER_SILENCE)

    async def queues(self, *, at_most: int | None = None) -> list[QueueLoad]:
        """The queues with their limits, the runs that are driven, and those that wait, counted up to `at_most`."""
        return await self._store.list_queues(self._engine.clock.now(), at_most=at_most)

    async def waiting_for(self, run_ids: Collection[str]) -> dict[str, Waiting]:
        """What each of these runs waits for; runs that are not suspended, or only wait for a time, are left out."""
        waiting = await self._first_waiters(run_ids)
        runs = [await self._store.find_run(run_id) for run_id in waiting]
        suspended = {run.id for run in runs if run is not None and run.status is RunStatus.SUSPENDED}
        return {run_id: found for run_id, found in waiting.items() if run_id in suspended}

    async def cancel(self, run_id: str, *, compensate: bool = False) -> Run:
        """Cancel a run and its live descendants; one that has ended stays as it is.

        Args:
            compensate: Undo first what finished steps declared with `compensate=`; the run is `cancelling` meanwhile.

        Returns:
            The run as it is now.

        Raises:
            RunNotFoundError: there is no such run, or it is in another namespace.
        """
        await self._require_visible(run_id)
        return await self._engine.cancel(run_id, compensate=compensate)

    async def cancel_where(self, query: RunQuery, *, compensate: bool = False) -> BulkCancellation:
        """Cancel every live run of the namespace that the query selects; see `WorkflowEngine.cancel_where`."""
        namespace = self._namespace
        if namespace is not None and query.namespace not in (None, namespace):
            return BulkCancellation()
        scoped = query if namespace is None else replace(query, namespace=namespace)
        return await self._engine.cancel_where(scoped, compensate=compensate)

    async def retry(self, run_id: str) -> Run:
        """Let a failed, dead or blocked run go on from where it failed; see `WorkflowEngine.retry`.

        Raises:
            RunNotFoundError: no run of the namespace has this id.
            RunStateError: the run is alive, completed or cancelled.
        """
        await self._require_visible(run_id)
        return await self._engine.retry(run_id)

    async def retry_with_input(self, run_id: str, input: Any = NO_INPUT, /) -> Run:
        """Do the work of an ended run again with another input, as a new run.

        Raises:
            RunNotFoundError: no run of the namespace has this id.
            RunStateError: it is alive.
            InputValidationError, WorkflowNotRegisteredError: as `WorkflowEngine.start`.
        """
        await self._require_visible(run_id)
        return await self._engine.retry_with_input(run_id, input)

    async def fork(self, run_id: str, *, from_step: int) -> Run:
        """Start a new run with this one's history before a position; see `WorkflowEngine.fork`.

        Raises:
            RunNotFoundError: no run of the namespace has this id.
            InputValidationError: `from_step` is not a position of the body itself.
        """
        await self._require_visible(run_id)
        return await self._engine.fork(run_id, from_step=from_step)

    async def delete(self, run_id: str, *, force: bool = False) -> int:
        """Remove a run and everything below it; returns how many runs. With `force`, what is alive is cancelled first.

        Raises:
            RunStateError: something of it is alive, and `force` is not set; nothing was removed.
        """
        if await self._store.find_run(run_id) is None:
            return 0
        return await self._engine.delete_run(run_id, force=force)

    async def _require_visible(self, run_id: str) -> None:
        """Another namespace's run does not exist for this gateway."""
        if await self._store.find_run(run_id) is None:
            raise RunNotFoundError(run_id)

    async def waiting_of(self, runs: Sequence[Run]) -> dict[str, Waiting]:
        """What each of these runs waits for; those that are not suspended, or only wait for a time, are left out."""
        return await self._first_waiters([run.id for run in runs if run.status is RunStatus.SUSPENDED])

    async def _first_waiters(self, run_ids: Collection[str]) -> dict[str, Waiting]:
        """Of each run, the waiter at the earliest position."""
        if not run_ids:
            return {}
        waiters = await self._store.list_signal_waiters(run_ids=run_ids, limit=_WAITERS_LIMIT)
        waiters = [each for each in waiters if not (SINGLETON.begins(each.token) or CHAIN.begins(each.token))]
        waiters.sort(key=lambda waiter: waiter.seq, reverse=True)
        return {waiter.run_id: _described(waiter.token) for waiter in waiters}


def _described(token: str) -> Waiting:
    """The meaning of a waiter's token."""
    rest = token.partition(":")[2]
    if WEBHOOK.begins(token):
        return Waiting("webhook", token.rpartition(":")[0])
    if BREAKPOINT.begins(token):
        return Waiting("breakpoint", "breakpoint")
    if CHILD.begins(token):
        return Waiting("child", rest)
    if EVENT.begins(token):
        with suppress(binascii.Error, UnicodeDecodeError):
            return Waiting("event", base64.b64decode(rest.partition(":")[0], validate=True).decode())
    # What only the engine sends has no button: a signal from outside would forge it.
    return Waiting("engine" if is_engine_token(token) else "signal", token)
