"""Schedules and workers."""

from fastapi_durable.model.records import ScheduleState, WorkerRecord
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import MILLISECOND, at


def a_worker(name: str, *, seconds: float = 0) -> WorkerRecord:
    return WorkerRecord(
        id=name, host="box", pid=7, version="1", concurrency=3, started_at=at(0), beat_at=at(seconds), namespace="n"
    )


class UpkeepContract:
    async def test_a_schedule_is_read_as_it_was_saved_and_replaced_when_it_is_saved_again(
        self, store: StateStore
    ) -> None:
        assert await store.find_schedule("nightly") is None
        first = ScheduleState(id="nightly", last_window=at(0), updated_at=at(1))
        await store.save_schedule(first)
        assert await store.find_schedule("nightly") == first
        second = ScheduleState(id="nightly", last_window=at(60), last_run_id="r", paused=True, updated_at=at(61))
        await store.save_schedule(second)
        assert await store.find_schedule("nightly") == second
        other = ScheduleState(id="Nightly", last_window=at(0), updated_at=at(0))
        await store.save_schedule(other)
        assert await store.list_schedules() == [other, second]
        assert await store.list_schedules(limit=1) == [other]

    async def test_a_schedule_saved_in_a_transaction_that_fails_is_as_it_was(self, store: StateStore) -> None:
        state = ScheduleState(id="nightly", last_window=at(0), updated_at=at(0))
        await store.save_schedule(state)
        try:
            async with store.transaction() as transaction:
                await transaction.lock_name("schedule:nightly")
                await transaction.save_schedule(ScheduleState(id="nightly", last_window=at(60), updated_at=at(60)))
                raise KeyError
        except KeyError:
            pass
        assert await store.find_schedule("nightly") == state

    async def test_workers_are_listed_by_their_last_beat_and_forgotten_when_it_is_old(self, store: StateStore) -> None:
        for worker in (a_worker("b"), a_worker("a"), a_worker("c", seconds=9)):
            await store.save_worker(worker)
        busy = WorkerRecord(
            **{name: getattr(a_worker("b", seconds=5), name) for name in WorkerRecord.__slots__}
            | {"in_flight": 3, "workflows": ("x@1", "y@2")}
        )
        await store.save_worker(busy)
        assert await store.list_workers() == [a_worker("c", seconds=9), busy, a_worker("a")]
        assert await store.list_workers(limit=1) == [a_worker("c", seconds=9)]
        assert [worker.id for worker in await store.list_workers(since=at(5))] == ["c", "b"]
        assert await store.prune_workers(at(5), limit=10) == 1
        assert await store.prune_workers(at(9) - MILLISECOND, limit=1) == 1
        assert await store.list_workers() == [a_worker("c", seconds=9)]
        assert await store.remove_worker("c")
        assert not await store.remove_worker("c")
