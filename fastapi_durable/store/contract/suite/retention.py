"""Deleting what a retention policy gives up."""

from dataclasses import replace
from datetime import timedelta

from fastapi_durable.model.records import CheckpointStatus, RetentionPolicy, RunStatus
from fastapi_durable.model.reserved import JOINED
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

    async def test_a_child_that_its_living_parent_has_still_to_join_stays(self, store: StateStore) -> None:
        """It would be started again. An ending that stands in the parent's history is not asked for any more."""
        policy = RetentionPolicy(statuses=COMPLETED, max_age=HOUR)
        await create(store, a_run("parent", status=RunStatus.SUSPENDED, created_at=at(-9999)))
        await create(store, a_run("ended", status=RunStatus.FAILED, created_at=at(-9999)))
        children = [
            ("joined", "parent", 0),
            ("awaited", "parent", 1),
            ("spawned", "parent", 2),
            ("cancelled", "parent", 3),
        ]
        children += [("of-ended", "ended", 0), ("of-nobody", "gone", 0), ("never-asked", "parent", 9)]
        for age, (run_id, parent, seq) in enumerate(children):
            child = a_run(run_id, status=RunStatus.COMPLETED, created_at=at(-9999), updated_at=at(-9000 - age))
            await create(store, replace(child, parent_run_id=parent, parent_seq=seq))
        completed, running, failed = CheckpointStatus.COMPLETED, CheckpointStatus.RUNNING, CheckpointStatus.FAILED
        for seq, name, status in (
            (0, f"{JOINED}joined", completed),
            (1, f"{JOINED}awaited", running),
            (2, "spawn:spawned", completed),
            (3, f"{JOINED}cancelled", failed),
        ):
            await store.save_checkpoint(replace(a_checkpoint(seq, "parent"), name=name, status=status))
        # Those that stay do not keep younger ones from being reached.
        assert await store.prune_terminal_runs(policy, now=T0, limit=2) == 2
        assert await store.prune_terminal_runs(policy, now=T0, limit=2) == 1
        assert await store.prune_terminal_runs(policy, now=T0, limit=2) == 0
        assert sorted(await listed(store)) == ["awaited", "cancelled", "ended", "never-asked", "parent", "spawned"]
        await store.update_run("parent", {"status": RunStatus.COMPLETED, "updated_at": T0})
        assert await store.prune_terminal_runs(policy, now=T0, limit=10) == 4

    async def test_a_child_that_stays_counts_among_the_newest(self, store: StateStore) -> None:
        await create(store, a_run("parent", status=RunStatus.RUNNING, created_at=at(-9999)))
        child = a_run("child", status=RunStatus.COMPLETED, created_at=at(-9999), updated_at=at(-1))
        await create(store, replace(child, parent_run_id="parent", parent_seq=0))
        await create_finished(store, a=2, b=3)
        policy = RetentionPolicy(statuses=COMPLETED, max_count=1)
        assert await store.prune_terminal_runs(policy, now=T0, limit=10) == 2
        assert sorted(await listed(store)) == ["child", "parent"]

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
