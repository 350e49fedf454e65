"""Claims: many runs taken for driving at once."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import pytest

from fastapi_durable.model.records import LIVE_STATUSES, TERMINAL_STATUSES, Run, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import MILLISECOND, T0, a_run, at, create, existing


async def claim(
    store: StateStore,
    *,
    now: datetime = T0,
    limit: int = 100,
    claimant: str = "claim-1",
    workflows: Collection[tuple[str, str]] | None = None,
    namespace: str | None = None,
) -> list[Run]:
    return await store.claim_runs(
        claimant, now=now, until=at(30), limit=limit, workflows=workflows, namespace=namespace
    )


async def claimed_ids(store: StateStore, *, now: datetime = T0, limit: int = 100) -> list[str]:
    return [run.id for run in await claim(store, now=now, limit=limit)]


EVERY_REASON_TO_BE_CLAIMED: list[dict[str, Any]] = [
    {"status": RunStatus.PENDING},
    {"status": RunStatus.SUSPENDED, "wake_at": T0},
    {"status": RunStatus.BLOCKED, "wake_at": T0},
    {"status": RunStatus.CANCELLING, "wake_at": T0},
    {"status": RunStatus.RUNNING, "locked_by": "dead", "locked_until": T0},
]


class ClaimsContract:
    async def test_a_pending_run_is_set_running_under_the_token(self, store: StateStore) -> None:
        run = a_run(input={"n": [1]}, tags=("t",), search_attributes={"k": True}, created_at=at(-5), expires_at=at(99))
        await create(store, run)
        claimed = await claim(store, now=T0)
        assert claimed == [await existing(store)]
        assert claimed == [
            a_run(
                status=RunStatus.RUNNING,
                input={"n": [1]},
                tags=("t",),
                search_attributes={"k": True},
                created_at=at(-5),
                expires_at=at(99),
                locked_by="claim-1",
                locked_until=at(30),
                updated_at=T0,
            )
        ]

    @pytest.mark.parametrize("status", [RunStatus.SUSPENDED, RunStatus.BLOCKED])
    async def test_a_waiting_run_is_claimed_when_its_time_has_come(self, store: StateStore, status: RunStatus) -> None:
        await create(
            store,
            a_run("due", status=status, wake_at=T0, recovery_attempts=1),
            a_run("soon", status=status, wake_at=T0 + MILLISECOND),
            a_run("never", status=status),
        )
        (claimed,) = await claim(store)
        assert (claimed.id, claimed.status, claimed.recovery_attempts) == ("due", RunStatus.RUNNING, 1)

    @pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.CANCELLING])
    async def test_a_run_whose_lease_expired_is_recovered(self, store: StateStore, status: RunStatus) -> None:
        """The crash is counted, and a cancelling run stays cancelling."""
        await create(
            store,
            a_run("expired", status=status, locked_by="dead", locked_until=T0),
            a_run("held", status=status, locked_by="alive", locked_until=T0 + MILLISECOND),
            a_run("again", status=status, locked_by="dead", locked_until=at(-9), recovery_attempts=2),
        )
        claimed = {run.id: run for run in await claim(store)}
        assert set(claimed) == {"expired", "again"}
        assert {run.status for run in claimed.values()} == {status}
        assert claimed["expired"].recovery_attempts == 1
        assert claimed["again"].recovery_attempts == 3
        assert claimed["again"].locked_by == "claim-1"
        assert (await existing(store, "held")).locked_by == "alive"

    async def test_a_cancelling_run_is_left_alone_until_its_undo_is_due(self, store: StateStore) -> None:
        """Its undo waits for the next attempt; a lease that expired meanwhile makes no difference."""
        cancelling = RunStatus.CANCELLING
        await create(
            store,
            a_run("due", status=cancelling, wake_at=T0, recovery_attempts=1),
            a_run("soon", status=cancelling, wake_at=T0 + MILLISECOND),
            a_run("at once", status=cancelling),
            a_run("crashed", status=cancelling, wake_at=at(-1), locked_by="dead", locked_until=at(-1)),
            a_run("crashed, not due", status=cancelling, wake_at=at(1), locked_by="dead", locked_until=at(-1)),
        )
        claimed = {run.id: run for run in await claim(store)}
        assert set(claimed) == {"due", "at once", "crashed"}
        assert {run.status for run in claimed.values()} == {cancelling}

    async def test_only_the_take_over_of_an_expired_lease_counts_as_a_crash(self, store: StateStore) -> None:
        """A run that was handed back has no owner, whatever its status."""
        await create(
            store,
            a_run("handed back", status=RunStatus.CANCELLING, wake_at=T0, recovery_attempts=1),
            a_run("running without owner", status=RunStatus.RUNNING),
            a_run("taken over", status=RunStatus.RUNNING, locked_by="dead", locked_until=T0),
        )
        attempts = {run.id: run.recovery_attempts for run in await claim(store)}
        assert attempts == {"handed back": 1, "running without owner": None, "taken over": 1}

    async def test_a_claim_by_itself_is_no_crash(self, store: StateStore) -> None:
        await create(store, a_run("a"), a_run("b", status=RunStatus.SUSPENDED, wake_at=T0))
        assert [run.recovery_attempts for run in await claim(store)] == [None, None]

    async def test_terminal_runs_are_never_claimed(self, store: StateStore) -> None:
        await create(store, *(a_run(status, status=status, wake_at=at(-1)) for status in TERMINAL_STATUSES))
        assert await claim(store) == []

    async def test_nobody_claims_what_is_leased(self, store: StateStore) -> None:
        """Whatever its status: the lease is the right to drive."""
        for status in LIVE_STATUSES:
            await create(store, a_run(status, status=status, wake_at=at(-1), locked_by="x", locked_until=at(1)))
        assert await claim(store) == []

    async def test_a_second_claim_finds_nothing(self, store: StateStore) -> None:
        await create(store, a_run("a"), a_run("b"))
        assert len(await claim(store)) == 2
        assert await claim(store, claimant="claim-2") == []

    async def test_the_higher_priority_comes_first_and_then_the_longest_wait(self, store: StateStore) -> None:
        """No priority is priority zero. A run waits since its creation, its `wake_at`, or the end of its lease."""
        await create(
            store,
            a_run("low", priority=-1, created_at=at(-99)),
            a_run("pending for 10 s", created_at=at(-10)),
            a_run("zero for 20 s", priority=0, created_at=at(-20)),
            a_run("due for 15 s", status=RunStatus.SUSPENDED, wake_at=at(-15), created_at=at(-90)),
            a_run("expired for 12 s", status=RunStatus.RUNNING, locked_until=at(-12), created_at=at(-80)),
            a_run("high", priority=5),
        )
        order = ["high", "zero for 20 s", "due for 15 s", "expired for 12 s", "pending for 10 s", "low"]
        for run_id in order:
            assert await claimed_ids(store, limit=1) == [run_id]

    async def test_one_claim_lists_its_runs_in_the_same_order(self, store: StateStore) -> None:
        """Among runs of one priority, one that is recovered may stand anywhere."""
        await create(
            store,
            a_run("low", priority=-1, created_at=at(-99)),
            a_run("created 10 s ago", created_at=at(-10)),
            a_run("due for 15 s", status=RunStatus.SUSPENDED, wake_at=at(-15), created_at=at(-5)),
            a_run("high", priority=5),
        )
        assert await claimed_ids(store) == ["high", "due for 15 s", "created 10 s ago", "low"]

    async def test_equal_waits_are_ordered_by_id(self, store: StateStore) -> None:
        await create(store, *(a_run(run_id) for run_id in ["b", "a", "B", "c"]))
        assert await claimed_ids(store, limit=2) == ["B", "a"]
        assert await claimed_ids(store) == ["b", "c"]

    async def test_only_the_named_workflows_are_claimed(self, store: StateStore) -> None:
        await create(
            store,
            a_run("a", workflow="checkout", workflow_version="1"),
            a_run("b", workflow="checkout", workflow_version="2"),
            a_run("c", workflow="refund", workflow_version="1"),
            a_run("d", workflow="refund", workflow_version="2"),
        )
        assert await claim(store, workflows=[]) == []
        pairs = [("checkout", "2"), ("refund", "1")]
        assert [run.id for run in await claim(store, workflows=pairs)] == ["b", "c"]
        assert [run.id for run in await claim(store)] == ["a", "d"]

    @pytest.mark.parametrize("fields", EVERY_REASON_TO_BE_CLAIMED, ids=lambda fields: str(fields["status"]))
    async def test_only_one_namespace_is_claimed(self, store: StateStore, fields: dict[str, Any]) -> None:
        """Whatever makes a run claimable; the caller's choice and the store's scope mean the same."""
        await create(store, *(a_run(name, namespace=name, **fields) for name in "abc"))
        assert [run.id for run in await claim(store, namespace="b")] == ["b"]
        assert await claim(store.with_scope("c"), namespace="a") == []
        assert [run.id for run in await claim(store.with_scope("c"))] == ["c"]
        assert [run.id for run in await claim(store)] == ["a"]

    async def test_namespaces_take_turns(self, store: StateStore) -> None:
        """A loud one, whose runs have waited for longest, leaves room for the others."""
        await create(store, *(a_run(f"loud-{n}", namespace="b", created_at=at(n - 99)) for n in range(9)))
        await create(store, a_run("quiet-a", namespace="a"), a_run("quiet-c", namespace="c", created_at=at(-1)))
        claimed = await store.claim_runs("t", now=T0, until=at(30), limit=3, after="b")
        assert [run.id for run in claimed] == ["loud-0", "quiet-c", "quiet-a"]

    async def test_the_turn_goes_on_behind_the_namespace_that_was_served_last(self, store: StateStore) -> None:
        await create(store, *(a_run(f"{name}-{n}", namespace=name) for name in "abc" for n in range(3)))
        last, order = "", ""
        for _ in range(7):
            (run,) = await store.claim_runs("t", now=T0, until=at(30), limit=1, after=last)
            last = run.namespace
            order += last
        assert order == "abcabca"

    async def test_woken_runs_of_a_loud_namespace_leave_room_for_others(self, store: StateStore) -> None:
        suspended = RunStatus.SUSPENDED
        loud = [a_run(f"l{n}", namespace="a", status=suspended, wake_at=at(n - 99)) for n in range(5)]
        await create(store, *loud, a_run("quiet", namespace="b", status=suspended, wake_at=T0))
        assert {run.id for run in await claim(store, limit=2)} == {"l0", "quiet"}

    async def test_waiting_long_enough_makes_up_for_any_priority(self, store: StateStore) -> None:
        """A unit is worth five minutes."""
        await create(store, a_run("urgent", priority=2), a_run("old", created_at=at(-601)), a_run("new"))
        assert await claimed_ids(store) == ["old", "urgent", "new"]

    async def test_runs_of_a_queue_are_left_to_it(self, store: StateStore) -> None:
        await create(
            store,
            a_run("pending", queue="q"),
            a_run("due", queue="q", status=RunStatus.SUSPENDED, wake_at=T0),
            a_run("lost", queue="q", status=RunStatus.RUNNING, locked_by="dead", locked_until=T0),
            a_run("undone", queue="q", status=RunStatus.CANCELLING),
            a_run("none"),
        )
        assert await claimed_ids(store) == ["none"]

    async def test_a_limit_of_zero_claims_nothing(self, store: StateStore) -> None:
        await create(store, a_run())
        assert await claim(store, limit=0) == []
        assert (await existing(store)).status is RunStatus.PENDING
