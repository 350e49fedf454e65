"""Queues in memory."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from fastapi_durable.declare.queue import Candidate, QueueClaim, QueueLoad, QueueState, admitted
from fastapi_durable.model.due import lease_is_free
from fastapi_durable.model.records import Run, RunStatus
from fastapi_durable.store.memory.access import TableAccess
from fastapi_durable.store.memory.claims import CLAIMABLE, claimed_by, waiting_runs
from fastapi_durable.store.memory.tables import thaw_run

_DRIVEN = (RunStatus.RUNNING, RunStatus.CANCELLING)


class QueueOperations(TableAccess):
    """The operations that the store and a transaction share."""

    async def save_queue(self, queue: QueueState) -> None:
        async with self._access() as tables:
            stored = tables.queues.get(queue.id)
            if stored is not None:
                queue = replace(
                    queue,
                    begun=stored.begun,
                    last_key=stored.last_key,
                    claims=stored.claims + 1,
                    claimed_at=stored.claimed_at,
                )
            tables.queues.put(queue.id, queue)

    async def add_queue(self, queue: QueueState) -> None:
        async with self._access() as tables:
            if tables.queues.get(queue.id) is None:
                tables.queues.put(queue.id, queue)

    async def list_queues(
        self, now: datetime, *, namespace: str | None = None, limit: int = 1000, at_most: int | None = None
    ) -> list[QueueLoad]:
        async with self._access() as tables:
            loads = []
            for queue in sorted(tables.queues, key=lambda each: each.id.encode()):
                members = [run for run in self._runs(tables, CLAIMABLE, queue.namespace) if run.queue == queue.name]
                if namespace in (None, queue.namespace) and self._scope in (None, queue.namespace):
                    waiting = [run for _, run in waiting_runs(members, now, None) if run.status not in _DRIVEN]
                    loads.append(QueueLoad(queue=queue, running=_held(members), waiting=len(waiting[:at_most])))
            return loads[:limit]

    async def claim_queued_runs(
        self,
        token: str,
        *,
        now: datetime,
        until: datetime,
        limit: int,
        workflows: Collection[tuple[str, str]] | None = None,
        namespace: str | None = None,
        in_flight: Mapping[tuple[str, str], int] | None = None,
    ) -> QueueClaim:
        async with self._access() as tables:
            for run in list(self._runs(tables, _DRIVEN, namespace)):
                if run.queue and run.locked_by is not None and lease_is_free(run, now):
                    tables.runs.put(run.id, _revoked(run, now))
            runs: list[Run] = []
            again: list[datetime] = []
            never = datetime.min.replace(tzinfo=UTC)
            for queue in sorted(tables.queues, key=lambda each: (each.claimed_at or never, each.id)):
                if namespace not in (None, queue.namespace):
                    continue
                members = [run for run in self._runs(tables, CLAIMABLE, queue.namespace) if run.queue == queue.name]
                waiting = waiting_runs(members, now, workflows)
                if not waiting:
                    continue
                here = (in_flight or {}).get((queue.namespace, queue.name), 0)
                places = min(limit - len(runs), queue.free_places(_held(members), here, limit))
                if (opens := queue.next_beginning(now)) is not None:
                    again.append(opens)
                picks = admitted(_candidates(waiting, queue.last_key), places, queue.may_begin(now))
                if not picks:
                    continue
                begun = sum(each.begins for each in picks)
                tables.queues.put(queue.id, queue.after_claim(now, begun=begun, last_key=picks[-1].key))
                by_id = {run.id: run for _, run in waiting}
                for each in picks:
                    run = claimed_by(by_id[each.run_id], token, now, until)
                    tables.runs.put(run.id, run)
                    runs.append(thaw_run(run))
            return QueueClaim(runs, min(again, default=None))


def _held(members: Iterable[Run]) -> int:
    return sum(run.status in _DRIVEN and run.locked_by is not None for run in members)


def _revoked(run: Run, now: datetime) -> Run:
    running = run.status is RunStatus.RUNNING
    return replace(
        run,
        status=RunStatus.SUSPENDED if running else run.status,
        wake_at=now if running else run.wake_at,
        locked_by=None,
        locked_until=None,
        recovery_attempts=(run.recovery_attempts or 0) + 1,
        updated_at=now,
    )


def _candidates(waiting: Iterable[tuple[int, Run]], last_key: str) -> list[Candidate]:
    waiting = list(waiting)
    keys = sorted({run.fairness_key for _, run in waiting}, key=lambda key: (key <= last_key, key))
    return [
        Candidate(run.id, run.fairness_key, keys.index(run.fairness_key), since, run.status is RunStatus.PENDING)
        for since, run in waiting
    ]
