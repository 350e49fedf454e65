"""A store that is restricted to one namespace."""

import pytest

from fastapi_durable.model.errors import StoreError
from fastapi_durable.model.records import Lease, RetentionPolicy, RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import (
    T0,
    a_checkpoint,
    a_run,
    a_waiter,
    at,
    create,
    existing,
    listed,
)


async def scoped_to_mine(store: StateStore) -> StateStore:
    """The store of namespace `mine`, with a run `mine` in it and a run `theirs` outside."""
    for namespace in ("mine", "theirs"):
        await create(
            store,
            a_run(namespace, namespace=namespace, locked_by="turn", locked_until=at(9), search_attributes={"k": 1}),
        )
        await store.save_checkpoint(a_checkpoint(0, namespace))
        await store.put_signal_waiter(a_waiter(f"token-{namespace}", namespace))
    return store.with_scope("mine")


class ScopeContract:
    async def test_it_reads_only_its_own_runs(self, store: StateStore) -> None:
        scoped = await scoped_to_mine(store)
        assert await scoped.find_run("theirs") is None
        assert (await existing(scoped, "mine")).id == "mine"
        assert await listed(scoped) == ["mine"]
        assert await listed(scoped, namespace="theirs") == []
        assert await scoped.count_runs(RunQuery()) == 1
        assert [facet.count for facet in await scoped.run_facets(RunQuery())] == [1]

    async def test_it_reads_only_what_belongs_to_its_runs(self, store: StateStore) -> None:
        scoped = await scoped_to_mine(store)
        assert await scoped.find_checkpoint("theirs", 0) is None
        assert await scoped.list_checkpoints("theirs") == []
        assert not await scoped.read_history("theirs")
        assert await scoped.find_latest_checkpoint_by_name("theirs", "step-0") is None
        assert await scoped.list_checkpoints_by_name_prefix("theirs", ["step"]) == []
        assert await scoped.find_signal_waiter("token-theirs") is None
        assert await scoped.list_signal_waiters() == [a_waiter("token-mine", "mine")]
        assert await scoped.list_signal_waiters(run_ids=["theirs"]) == []
        assert await scoped.find_checkpoint("mine", 0) is not None
        assert len(await scoped.list_checkpoints("mine")) == 1
        assert len(await scoped.read_history("mine")) == 1

    async def test_it_changes_only_its_own_runs(self, store: StateStore) -> None:
        scoped = await scoped_to_mine(store)
        assert not await scoped.update_run("theirs", {"output": 1})
        assert not await scoped.update_run("theirs", {"search_attributes": {}})
        assert not await scoped.delete_run("theirs")
        renewed = await scoped.renew_leases([Lease("theirs", "turn"), Lease("mine", "turn")], until=at(9))
        assert renewed == {"mine": False}
        assert not await scoped.remove_signal_waiter(a_waiter("token-theirs", "theirs"))
        assert await scoped.remove_signal_waiters_of_run("theirs") == 0
        assert await scoped.take_signal_waiter("token-theirs") is None
        async with scoped.transaction() as transaction:
            assert not await transaction.wake_run("theirs", now=T0)
            assert await transaction.lock_run("theirs") is None
            assert await transaction.wake_run("mine", now=T0)
        assert await existing(store, "theirs") == a_run(
            "theirs", namespace="theirs", locked_by="turn", locked_until=at(9), search_attributes={"k": 1}
        )
        assert await store.find_signal_waiter("token-theirs") is not None
        assert await scoped.update_run("mine", {"output": 1}, token="turn")
        assert await scoped.take_signal_waiter("token-mine") == a_waiter("token-mine", "mine")

    async def test_it_claims_and_prunes_only_its_own_runs(self, store: StateStore) -> None:
        scoped = await scoped_to_mine(store)
        claimed = await scoped.claim_runs("x", now=at(99), until=at(100), limit=9)
        assert [run.id for run in claimed] == ["mine"]
        for run_id in ("mine", "theirs"):
            await store.update_run(run_id, {"status": RunStatus.COMPLETED, "wake_at": T0})
        policy = RetentionPolicy(statuses=frozenset({RunStatus.COMPLETED}), max_count=0)
        assert await scoped.prune_terminal_runs(policy, now=at(100), limit=9) == 1
        assert await listed(store) == ["theirs"]

    async def test_it_refuses_to_write_into_another_namespace(self, store: StateStore) -> None:
        """Quietly writing nothing would lose data, so it raises."""
        scoped = await scoped_to_mine(store)
        with pytest.raises(StoreError):
            await scoped.create_run(a_run("new", namespace="theirs"))
        with pytest.raises(StoreError):
            await scoped.create_run(a_run("theirs", namespace="mine"))
        with pytest.raises(StoreError):
            await scoped.save_checkpoint(a_checkpoint(1, "theirs"))
        with pytest.raises(StoreError):
            await scoped.record_checkpoint(a_checkpoint(1, "theirs"))
        with pytest.raises(StoreError):
            await scoped.put_signal_waiter(a_waiter("new", "theirs"))
        assert sorted(await listed(store)) == ["mine", "theirs"]
        assert len(await store.list_checkpoints("theirs")) == 1
        assert (await scoped.create_run(a_run("mine-2", namespace="mine"))).created
        await scoped.save_checkpoint(a_checkpoint(1, "mine"))
        assert (await scoped.record_checkpoint(a_checkpoint(2, "mine"), token="turn")).won
        await scoped.put_signal_waiter(a_waiter("new", "mine"))

    async def test_a_scope_is_never_widened(self, store: StateStore) -> None:
        scoped = await scoped_to_mine(store)
        assert await listed(scoped.with_scope("mine")) == ["mine"]
        with pytest.raises(ValueError):
            scoped.with_scope("theirs")
        async with scoped.transaction() as transaction:
            assert await listed(transaction) == ["mine"]
            with pytest.raises(ValueError):
                transaction.with_scope("theirs")

    async def test_a_transaction_can_be_restricted_as_well(self, store: StateStore) -> None:
        await scoped_to_mine(store)
        async with store.transaction() as transaction:
            assert sorted(await listed(transaction)) == ["mine", "theirs"]
            assert await listed(transaction.with_scope("theirs")) == ["theirs"]
