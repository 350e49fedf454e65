"""Leases: who holds one, and the renewal of many."""

from typing import Any

from fastapi_durable.model.records import PAUSED_TAG, Lease, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import MILLISECOND, a_run, at, create, existing


async def taken(store: StateStore, token: str, *, now: float, until: float) -> bool:
    """Whether a claim takes the one run that there is."""
    return bool(await store.claim_runs(token, now=at(now), until=at(until), limit=1))


class LeasesContract:
    async def test_a_lease_is_exclusive_while_it_lasts(self, store: StateStore) -> None:
        """To the last millisecond, and for its own holder, too."""
        await create(store, a_run())
        assert await taken(store, "one", now=0, until=30)
        assert not await store.claim_runs("two", now=at(30) - MILLISECOND, until=at(60), limit=1)
        assert not await taken(store, "one", now=1, until=60)
        stored = await existing(store)
        assert (stored.locked_by, stored.locked_until) == ("one", at(30))

    async def test_an_expired_lease_can_be_taken(self, store: StateStore) -> None:
        """From the very millisecond in which it ends."""
        await create(store, a_run())
        await taken(store, "one", now=0, until=30)
        assert await taken(store, "two", now=30, until=60)
        assert (await existing(store)).locked_by == "two"

    async def test_a_released_lease_can_be_taken(self, store: StateStore) -> None:
        """The owner releases it together with its other changes of the run."""
        await create(store, a_run())
        await taken(store, "one", now=0, until=30)
        assert await store.update_run("run-1", {"locked_by": None, "locked_until": None}, token="one")
        stored = await existing(store)
        assert (stored.locked_by, stored.locked_until) == (None, None)
        assert await taken(store, "two", now=1, until=60)

    async def test_a_renewed_lease_lasts_for_longer(self, store: StateStore) -> None:
        await create(store, a_run())
        await taken(store, "one", now=0, until=30)
        assert await store.renew_leases([Lease("run-1", "one")], until=at(60)) == {"run-1": False}
        assert not await taken(store, "two", now=59, until=90)
        assert await taken(store, "two", now=60, until=90)

    async def test_a_renewal_tells_of_runs_that_are_held_up(self, store: StateStore) -> None:
        """One that is being cancelled, and one that an operator paused."""
        leased: dict[str, Any] = {"locked_by": "one", "locked_until": at(10)}
        await create(
            store,
            a_run("runs", status=RunStatus.RUNNING, tags=("a",), **leased),
            a_run("undone", status=RunStatus.CANCELLING, **leased),
            a_run("paused", status=RunStatus.RUNNING, tags=("a", PAUSED_TAG), **leased),
        )
        leases = [Lease(run_id, "one") for run_id in ("runs", "undone", "paused")]
        held = await store.renew_leases(leases, until=at(60))
        assert held == {"runs": False, "undone": True, "paused": True}

    async def test_only_the_owner_renews_and_releases(self, store: StateStore) -> None:
        """A zombie leaves the new owner's lease alone."""
        await create(store, a_run())
        await taken(store, "zombie", now=0, until=30)
        await taken(store, "owner", now=31, until=60)
        assert await store.renew_leases([Lease("run-1", "zombie")], until=at(90)) == {}
        assert not await store.update_run("run-1", {"locked_by": None, "locked_until": None}, token="zombie")
        stored = await existing(store)
        assert (stored.locked_by, stored.locked_until) == ("owner", at(60))

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
