"""Leases of single runs, and the renewal of many."""

from fastapi_durable.model.records import Lease, RunStatus
from fastapi_durable.store.base import StateStore
from tests.store.contract.builders import MILLISECOND, T0, a_run, at, create, existing


class LeasesContract:
    async def test_a_lease_is_exclusive_while_it_lasts(self, store: StateStore) -> None:
        await create(store, a_run())
        assert await store.acquire_lease("run-1", "one", now=T0, until=at(30))
        assert not await store.acquire_lease("run-1", "two", now=at(30) - MILLISECOND, until=at(60))
        assert not await store.acquire_lease("run-1", "one", now=at(1), until=at(60))
        stored = await existing(store)
        assert (stored.locked_by, stored.locked_until) == ("one", at(30))

    async def test_an_expired_lease_can_be_taken(self, store: StateStore) -> None:
        """From the very millisecond in which it ends."""
        await create(store, a_run())
        await store.acquire_lease("run-1", "one", now=T0, until=at(30))
        assert await store.acquire_lease("run-1", "two", now=at(30), until=at(60))
        assert (await existing(store)).locked_by == "two"

    async def test_a_released_lease_can_be_taken(self, store: StateStore) -> None:
        await create(store, a_run())
        await store.acquire_lease("run-1", "one", now=T0, until=at(30))
        assert await store.release_lease("run-1", "one")
        stored = await existing(store)
        assert (stored.locked_by, stored.locked_until) == (None, None)
        assert await store.acquire_lease("run-1", "two", now=at(1), until=at(60))

    async def test_a_missing_run_cannot_be_leased(self, store: StateStore) -> None:
        assert not await store.acquire_lease("nobody", "one", now=T0, until=at(30))

    async def test_only_the_owner_renews(self, store: StateStore) -> None:
        await create(store, a_run())
        await store.acquire_lease("run-1", "one", now=T0, until=at(30))
        assert not await store.renew_lease("run-1", "two", until=at(90))
        assert await store.renew_lease("run-1", "one", until=at(60))
        assert (await existing(store)).locked_until == at(60)
        assert not await store.acquire_lease("run-1", "two", now=at(59), until=at(90))
        assert not await store.renew_lease("nobody", "one", until=at(60))

    async def test_only_the_owner_releases(self, store: StateStore) -> None:
        """A zombie leaves the new owner's lease alone."""
        await create(store, a_run())
        await store.acquire_lease("run-1", "zombie", now=T0, until=at(30))
        await store.acquire_lease("run-1", "owner", now=at(31), until=at(60))
        assert not await store.release_lease("run-1", "zombie")
        assert (await existing(store)).locked_by == "owner"
        assert not await store.release_lease("nobody", "owner")

    async def test_a_lease_says_nothing_about_the_status(self, store: StateStore) -> None:
        await create(store, a_run(status=RunStatus.COMPLETED))
        assert await store.acquire_lease("run-1", "one", now=T0, until=at(30))
        assert (await existing(store)).status is RunStatus.COMPLETED

    async def test_many_leases_are_renewed_at_once(self, store: StateStore) -> None:
        """Those that are lost or gone are left out, and left alone; of the others one learns whether to undo them."""
        await create(
            store,
            a_run("mine", locked_by="one", locked_until=at(10)),
            a_run("mine too", locked_by="two", locked_until=at(10), status=RunStatus.CANCELLING),
            a_run("lost", locked_by="somebody", locked_until=at(10)),
            a_run("free"),
        )
        leases = [
            Lease("mine", "one"),
            Lease("mine too", "two"),
            Lease("lost", "one"),
            Lease("free", "one"),
            Lease("gone", "one"),
        ]
        assert await store.renew_leases(leases, until=at(99)) == {"mine": False, "mine too": True}
        assert (await existing(store, "mine")).locked_until == at(99)
        assert (await existing(store, "mine too")).locked_until == at(99)
        assert (await existing(store, "lost")).locked_until == at(10)
        assert (await existing(store, "free")).locked_until is None
        assert await store.renew_leases([], until=at(99)) == {}

    async def test_all_leases_under_a_token_are_prolonged_whatever_their_runs(self, store: StateStore) -> None:
        """For a worker that does not know yet which runs it has claimed."""
        await create(
            store,
            a_run("mine", status=RunStatus.RUNNING, locked_by="one", locked_until=at(10)),
            a_run("mine too", status=RunStatus.CANCELLING, locked_by="one", locked_until=at(10)),
            a_run("under another", status=RunStatus.RUNNING, locked_by="two", locked_until=at(10)),
            a_run("lost", status=RunStatus.RUNNING, locked_by="somebody", locked_until=at(10)),
            a_run("handed back", status=RunStatus.RUNNING),
            a_run("elsewhere", status=RunStatus.RUNNING, locked_by="one", locked_until=at(10), namespace="other"),
        )
        assert await store.with_scope("other").prolong_leases(["one"], until=at(11)) == {"elsewhere": "one"}
        prolonged = await store.prolong_leases({"one", "two", "three"}, until=at(99))
        assert prolonged == {"mine": "one", "mine too": "one", "under another": "two", "elsewhere": "one"}
        for run_id in prolonged:
            assert (await existing(store, run_id)).locked_until == at(99)
        assert (await existing(store, "lost")).locked_until == at(10)
        assert (await existing(store, "handed back")).locked_until is None
        assert await store.prolong_leases(set(), until=at(99)) == {}

    async def test_a_token_of_another_run_renews_nothing(self, store: StateStore) -> None:
        """Each lease is a pair: two runs with swapped tokens are both lost."""
        await create(store, a_run("a", locked_by="one"), a_run("b", locked_by="two"))
        assert await store.renew_leases([Lease("a", "two"), Lease("b", "one")], until=at(99)) == {}
