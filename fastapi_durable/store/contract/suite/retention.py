"""Deleting what a retention policy gives up."""

from datetime import timedelta

from fastapi_durable.model.records import RetentionPolicy, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.attributes import found
from fastapi_durable.store.contract.suite.builders import T0, a_checkpoint, a_run, a_waiter, at, create, listed

COMPLETED = frozenset({RunStatus.COMPLETED})
HOUR = timedelta(hours=1)


async def create_finished(store: StateStore, **ages: int) -> None:
    """Completed runs, updated so many seconds before T0."""
    for run_id, age in ages.items():
        await create(store, a_run(run_id, status=RunStatus.COMPLETED, created_at=at(-9999), updated_at=at(-age)))


class RetentionContract:
    async def test_runs_older_than_the_age_are_deleted(self, store: StateStore) -> None:
        """`updated_at` counts, and a run of exactly the age stays."""
        await create_finished(store, a=3601, b=3600, c=10)
        policy = RetentionPolicy(statuses=COMPLETED, max_age=HOUR)
        assert await store.prune_terminal_runs(policy, now=T0, limit=10) == 1
        assert sorted(await listed(store)) == ["b", "c"]

    async def test_runs_beyond_the_newest_are_deleted(self, store: StateStore) -> None:
        """Ties are broken by id: the highest one counts as the newest."""
        await create_finished(store, a=10, b=20, c=20, d=30)
        policy = RetentionPolicy(statuses=COMPLETED, max_count=2)
        assert await store.prune_terminal_runs(policy, now=T0, limit=10) == 2
        assert sorted(await listed(store)) == ["a", "c"]

    async def test_age_or_count_is_enough(self, store: StateStore) -> None:
        await create_finished(store, a=1, b=2, c=3, d=7200)
        policy = RetentionPolicy(statuses=COMPLETED, max_age=HOUR, max_count=2)
        assert await store.prune_terminal_runs(policy, now=T0, limit=10) == 2
        assert sorted(await listed(store)) == ["a", "b"]
        await create_finished(store, e=7201)
        assert await store.prune_terminal_runs(policy, now=T0, limit=10) == 1
        lenient = RetentionPolicy(statuses=COMPLETED, max_age=HOUR, max_count=100)
        await create_finished(store, f=7202)
        assert await store.prune_terminal_runs(lenient, now=T0, limit=10) == 1
        assert sorted(await listed(store)) == ["a", "b"]

    async def test_a_count_of_zero_keeps_nothing(self, store: StateStore) -> None:
        await create_finished(store, a=1, b=2)
        policy = RetentionPolicy(statuses=COMPLETED, max_count=0)
        assert await store.prune_terminal_runs(policy, now=T0, limit=10) == 2

    async def test_the_oldest_go_first_and_no_more_than_the_limit(self, store: StateStore) -> None:
        await create_finished(store, a=4, b=5, c=6, d=3)
        policy = RetentionPolicy(statuses=COMPLETED, max_count=1)
        assert await store.prune_terminal_runs(policy, now=T0, limit=2) == 2
        assert sorted(await listed(store)) == ["a", "d"]
        assert await store.prune_terminal_runs(policy, now=T0, limit=2) == 1
        assert await store.prune_terminal_runs(policy, now=T0, limit=2) == 0
        assert await listed(store) == ["d"]

    async def test_other_statuses_and_namespaces_are_left_alone(self, store: StateStore) -> None:
        """Neither deleted nor counted."""
        for status in RunStatus:
            await create(store, a_run(f"x-{status}", status=status, namespace="x", created_at=at(-9999)))
        await create(store, a_run("y-completed", status=RunStatus.COMPLETED, namespace="y", created_at=at(-9999)))
        policy = RetentionPolicy(statuses=frozenset({RunStatus.COMPLETED, RunStatus.DEAD}), max_age=HOUR)
        assert await store.prune_terminal_runs(policy, now=T0, limit=100, namespace="x") == 2
        left = await listed(store)
        assert len(left) == len(RunStatus) - 2 + 1
        assert "y-completed" in left
        one = RetentionPolicy(statuses=COMPLETED, max_count=1)
        await create_finished(store, z=1)
        assert await store.prune_terminal_runs(one, now=T0, limit=100, namespace="y") == 0
        assert await store.prune_terminal_runs(one, now=T0, limit=100) == 1

    async def test_everything_of_a_pruned_run_goes_with_it(self, store: StateStore) -> None:
        for run_id in ("a", "b"):
            await create(
                store,
                a_run(run_id, status=RunStatus.COMPLETED, created_at=at(-9999), search_attributes={"k": 1}),
            )
            await store.save_checkpoint(a_checkpoint(0, run_id))
            await store.put_signal_waiter(a_waiter(f"token-{run_id}", run_id))
        policy = RetentionPolicy(statuses=COMPLETED, max_count=1)
        assert await store.prune_terminal_runs(policy, now=T0, limit=10) == 1
        assert await store.list_checkpoints("a") == []
        assert await store.find_signal_waiter("token-a") is None
        assert await found(store, ("k", "eq", 1)) == "b"
        assert len(await store.list_checkpoints("b")) == 1
        assert await store.find_signal_waiter("token-b") is not None
