"""Queues: limits that hold over all workers, and turns within them."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from fastapi_durable.declare.queue import QueueState
from fastapi_durable.model.records import Lease, Run, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import MILLISECOND, T0, a_run, at, create, existing
from fastapi_durable.store.contract.suite.claims import EVERY_REASON_TO_BE_CLAIMED

MANY = 12


async def declare(store: StateStore, name: str = "q", namespace: str = "default", **limits: Any) -> None:
    queue_id = name if namespace == "default" else f"{namespace}/{name}"
    await store.save_queue(QueueState(id=queue_id, namespace=namespace, name=name, updated_at=T0, **limits))


def in_queue(run_id: str, **fields: Any) -> Run:
    return a_run(run_id, queue=fields.pop("queue", "q"), **fields)


async def take(store: StateStore, *, now: datetime = T0, limit: int = 100, **options: Any) -> list[str]:
    claim = await store.claim_queued_runs("t", now=now, until=now + timedelta(seconds=30), limit=limit, **options)
    return [run.id for run in claim.runs]


async def give_back(store: StateStore, *run_ids: str) -> None:
    for run_id in run_ids:
        done = {"status": RunStatus.COMPLETED, "locked_by": None, "locked_until": None}
        assert await store.update_run(run_id, done, token="t")  # type: ignore[arg-type]


class QueuesContract:
    async def test_no_more_runs_are_taken_than_the_queue_has_places(self, store: StateStore) -> None:
        await declare(store, concurrency=2)
        await create(store, *(in_queue(f"r{n}", created_at=at(n)) for n in range(5)))
        assert await take(store, now=at(9)) == ["r0", "r1"]
        assert await take(store, now=at(9)) == []
        await give_back(store, "r0")
        assert await take(store, now=at(9)) == ["r2"]
        taken = await existing(store, "r2")
        assert (taken.status, taken.locked_by, taken.locked_until) == (RunStatus.RUNNING, "t", at(39))

    async def test_of_many_claims_at_once_none_goes_over_the_limit(
        self, store: StateStore, other_store: StateStore
    ) -> None:
        await declare(store, concurrency=3)
        await create(store, *(in_queue(f"r{n:02}") for n in range(20)))
        claims = await asyncio.gather(*(take(each) for each in (store, other_store) for _ in range(MANY)))
        taken = [run_id for claim in claims for run_id in claim]
        assert sorted(taken) == ["r00", "r01", "r02"]

    async def test_a_suspended_run_has_given_its_place_back_and_takes_one_to_go_on(self, store: StateStore) -> None:
        await declare(store, concurrency=1)
        await create(store, in_queue("first"), in_queue("second", created_at=at(1)))
        assert await take(store, now=at(2)) == ["first"]
        rest = {"status": RunStatus.SUSPENDED, "wake_at": at(3), "locked_by": None, "locked_until": None}
        assert await store.update_run("first", rest, token="t")  # type: ignore[arg-type]
        assert await take(store, now=at(4)) == ["second"]
        assert await take(store, now=at(4)) == []
        await give_back(store, "second")
        assert await take(store, now=at(4)) == ["first"]

    async def test_a_place_is_free_when_its_lease_has_expired_and_the_old_owner_writes_no_more(
        self, store: StateStore
    ) -> None:
        await declare(store, concurrency=1)
        await create(store, in_queue("crashed"), in_queue("next", created_at=at(1)))
        assert await take(store) == ["crashed"]
        assert await take(store, now=at(30) - MILLISECOND) == []
        taken = await take(store, now=at(30), limit=1)
        lost = await existing(store, "crashed")
        assert len(taken) == 1
        assert lost.recovery_attempts == 1
        assert await store.renew_leases([Lease("crashed", "dead")], until=at(99)) == {}
        if taken == ["next"]:
            assert not await store.update_run("crashed", {"status": RunStatus.COMPLETED}, token="t")
        assert await take(store, now=at(31)) == []

    async def test_a_rate_limit_holds_in_every_stretch_of_its_length(self, store: StateStore) -> None:
        await declare(store, rate_limit=2, rate_period=timedelta(seconds=10))
        await create(store, *(in_queue(f"r{n}") for n in range(6)))
        assert await take(store, now=at(0), limit=1) == ["r0"]
        assert await take(store, now=at(8)) == ["r1"]
        claim = await store.claim_queued_runs("t", now=at(9), until=at(60), limit=9)
        assert claim == ([], at(10))
        assert await take(store, now=at(10) - MILLISECOND) == []
        assert await take(store, now=at(10)) == ["r2"]
        assert await take(store, now=at(17)) == []
        assert await take(store, now=at(20)) == ["r3", "r4"]

    async def test_of_many_claims_at_once_none_goes_over_the_rate(
        self, store: StateStore, other_store: StateStore
    ) -> None:
        await declare(store, rate_limit=5, rate_period=timedelta(seconds=10))
        await create(store, *(in_queue(f"r{n:02}") for n in range(20)))
        claims = await asyncio.gather(*(take(each, limit=2) for each in (store, other_store) for _ in range(MANY)))
        while more := await take(store):
            claims.append(more)
        assert len({run_id for claim in claims for run_id in claim}) == sum(map(len, claims)) == 5

    async def test_a_run_that_goes_on_does_not_count_for_the_rate(self, store: StateStore) -> None:
        await declare(store, rate_limit=1, rate_period=timedelta(seconds=10))
        await create(
            store, in_queue("new"), in_queue("newer"), in_queue("woken", status=RunStatus.SUSPENDED, wake_at=T0)
        )
        assert set(await take(store)) == {"new", "woken"}

    async def test_fairness_keys_take_turns(self, store: StateStore) -> None:
        await declare(store)
        await create(store, *(in_queue(f"loud-{n}", fairness_key="loud", created_at=at(n - 99)) for n in range(5)))
        await create(store, *(in_queue(f"quiet-{n}", fairness_key="quiet", created_at=at(n)) for n in range(2)))
        order = [run_id for _ in range(7) for run_id in await take(store, now=at(9), limit=1)]
        assert order == ["loud-0", "quiet-0", "loud-1", "quiet-1", "loud-2", "loud-3", "loud-4"]

    async def test_within_a_key_priority_counts_as_waiting(self, store: StateStore) -> None:
        await declare(store)
        await create(store, in_queue("plain"), in_queue("urgent", priority=1, created_at=at(1)))
        assert await take(store, now=at(2)) == ["urgent", "plain"]

    async def test_a_worker_keeps_to_its_own_share(self, store: StateStore) -> None:
        await declare(store, worker_concurrency=2)
        await create(store, *(in_queue(f"r{n}") for n in range(5)))
        assert await take(store, in_flight={("default", "q"): 1}) == ["r0"]
        assert await take(store, in_flight={("default", "q"): 2}) == []

    async def test_a_cancelling_run_takes_a_place_to_undo(self, store: StateStore) -> None:
        await declare(store, concurrency=1)
        await create(store, in_queue("undo", status=RunStatus.CANCELLING), in_queue("new", created_at=at(1)))
        assert await take(store, now=at(2)) == ["undo"]
        assert await take(store, now=at(2)) == []

    async def test_queues_of_one_name_in_two_namespaces_are_two(self, store: StateStore) -> None:
        await declare(store, concurrency=1)
        await declare(store, namespace="x", concurrency=1)
        await create(store, in_queue("a"), in_queue("b"), in_queue("c", namespace="x"), in_queue("d", namespace="x"))
        assert await take(store, namespace="x") == ["c"]
        assert await take(store) == ["a"]

    @pytest.mark.parametrize("fields", EVERY_REASON_TO_BE_CLAIMED, ids=lambda fields: str(fields["status"]))
    async def test_runs_of_a_queue_of_one_name_in_another_namespace_are_left_alone(
        self, store: StateStore, fields: dict[str, Any]
    ) -> None:
        """Not even an expired lease there is ended."""
        for name in "abc":
            await declare(store, namespace=name, concurrency=9)
            await create(store, in_queue(name, namespace=name, **fields))
        others = [await existing(store, name) for name in "ac"]
        assert await take(store, now=at(1), namespace="b") == ["b"]
        assert [await existing(store, name) for name in "ac"] == others
        assert await take(store.with_scope("c"), now=at(1)) == ["c"]
        assert await existing(store, "a") == others[0]
        assert await take(store, now=at(1)) == ["a"]

    async def test_a_store_of_one_namespace_lists_the_queues_of_it(self, store: StateStore) -> None:
        await declare(store)
        await declare(store, namespace="x")
        assert [load.queue.id for load in await store.with_scope("x").list_queues(T0)] == ["x/q"]
        assert await store.with_scope("x").list_queues(T0, namespace="default") == []

    async def test_new_limits_keep_what_has_happened(self, store: StateStore) -> None:
        await declare(store, rate_limit=1, rate_period=timedelta(seconds=10))
        await create(store, in_queue("a"), in_queue("b"))
        assert await take(store) == ["a"]
        await declare(store, rate_limit=1, rate_period=timedelta(seconds=10), concurrency=5)
        assert await take(store, now=at(1)) == []
        (load,) = await store.list_queues(at(1))
        assert (load.queue.concurrency, load.running, load.waiting) == (5, 1, 1)

    async def test_a_queue_is_added_only_where_there_is_none(self, store: StateStore) -> None:
        """Neither its limits nor how far it has come are touched: a claim under way is not refused for it."""
        new = QueueState(id="q", namespace="default", name="q", concurrency=3, updated_at=T0)
        await store.add_queue(new)
        await create(store, in_queue("a"))
        assert await take(store) == ["a"]
        (before,) = await store.list_queues(at(1))
        assert before.queue.concurrency == 3
        await store.add_queue(replace(new, concurrency=1, updated_at=at(1)))
        assert await store.list_queues(at(1)) == [before]

    async def test_of_many_that_add_a_queue_while_its_limits_are_set_none_undoes_them(
        self, store: StateStore, other_store: StateStore
    ) -> None:
        old = QueueState(id="q", namespace="default", name="q", concurrency=1, updated_at=T0)
        await asyncio.gather(
            *(each.add_queue(old) for each in (store, other_store) for _ in range(MANY)),
            other_store.save_queue(replace(old, concurrency=9)),
            *(each.add_queue(old) for each in (store, other_store) for _ in range(MANY)),
        )
        (load,) = await store.list_queues(T0)
        assert load.queue.concurrency == 9

    async def test_what_waits_is_counted_up_to_a_number(self, store: StateStore) -> None:
        """Runs that are due count beside those that never began."""
        await declare(store, concurrency=1)
        due = in_queue("due", status=RunStatus.SUSPENDED, wake_at=at(1))
        later = in_queue("later", status=RunStatus.SUSPENDED, wake_at=at(60))
        await create(store, in_queue("a"), in_queue("b"), due, later)
        for at_most, counted in ((None, 3), (3, 3), (2, 2), (1, 1)):
            (load,) = await store.list_queues(at(2), at_most=at_most)
            assert load.waiting == counted

    async def test_only_known_workflows_are_taken(self, store: StateStore) -> None:
        await declare(store)
        await create(store, in_queue("a"), in_queue("b", workflow="other"))
        assert await take(store, workflows=[("other", "1")]) == ["b"]
