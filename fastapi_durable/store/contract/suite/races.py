"""Many callers at once, over two clients: exactly one wins, and none gets an error."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import pytest

from fastapi_durable.model.errors import LeaseLostError, SignalTokenTakenError
from fastapi_durable.model.records import (
    Checkpoint,
    CheckpointStatus,
    RetentionPolicy,
    RunQuery,
    RunStatus,
    SignalWaiter,
)
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import (
    T0,
    a_checkpoint,
    a_run,
    a_waiter,
    an_event,
    at,
    create,
    existing,
    listed,
)
from fastapi_durable.store.port.checkpoints import RecordedCheckpoint

T = TypeVar("T")


class RacesContract:
    @pytest.fixture
    def stores(self, store: StateStore, other_store: StateStore) -> list[StateStore]:
        return [store, other_store]

    async def test_fifty_starts_of_one_run_create_it_once(self, stores: list[StateStore]) -> None:
        """All fifty get the stored run."""
        created = await at_once(stores, 50, lambda store, n: store.create_run(a_run(input={"caller": n})))
        assert [result.created for result in created].count(True) == 1
        stored = await existing(stores[0])
        assert all(result.run == stored for result in created)

    async def test_fifty_starts_with_attributes_create_one_set(self, stores: list[StateStore]) -> None:
        created = await at_once(
            stores, 50, lambda store, n: store.create_run(a_run(search_attributes={f"key-{n}": n, "n": n}))
        )
        assert [result.created for result in created].count(True) == 1
        stored = await existing(stores[1])
        assert len(stored.search_attributes) == 2
        assert all(result.run == stored for result in created)

    async def test_a_waiter_is_taken_by_one_caller(self, stores: list[StateStore]) -> None:
        for number in range(5):
            await stores[0].put_signal_waiter(a_waiter(f"t{number}"))
            taken = await at_once(stores, 10, partial(take_waiter, f"t{number}"))
            assert [waiter is not None for waiter in taken].count(True) == 1

    async def test_a_token_has_one_waiter(self, stores: list[StateStore]) -> None:
        async def wait(store: StateStore, number: int) -> int:
            try:
                await store.put_signal_waiter(a_waiter("t", f"run-{number}"))
            except SignalTokenTakenError:
                return 0
            return 1

        assert sum(await at_once(stores, 20, wait)) == 1

    async def test_each_buffered_signal_is_taken_by_one_caller(self, stores: list[StateStore]) -> None:
        """No caller fails, none comes away empty while signals are left, and no signal is taken twice."""
        for number in range(20):
            await stores[0].buffer_signal("t", number, now=T0)
        taken = await at_once(stores, 25, lambda store, _: store.take_buffered_signal("t"))
        payloads = [signal.payload for signal in taken if signal is not None]
        assert sorted(payloads) == list(range(20))

    async def test_a_signal_id_is_kept_once(self, stores: list[StateStore]) -> None:
        kept = await at_once(stores, 20, lambda store, n: store.buffer_signal("t", n, now=T0, signal_id="s"))
        assert kept.count(True) == 1
        assert await stores[0].take_buffered_signal("t") is not None
        assert await stores[0].take_buffered_signal("t") is None

    async def test_an_event_is_removed_by_one_caller(self, stores: list[StateStore]) -> None:
        await stores[0].buffer_event(an_event("e"))
        assert (await at_once(stores, 20, lambda store, _: store.remove_buffered_event("e"))).count(True) == 1

    async def test_no_run_is_claimed_twice(self, stores: list[StateStore]) -> None:
        """And none stays unclaimed while callers still claim."""
        for number in range(60):
            status = [RunStatus.PENDING, RunStatus.SUSPENDED, RunStatus.RUNNING][number % 3]
            await create(stores[0], a_run(f"run-{number}", status=status, wake_at=T0, locked_until=at(-1)))
        owners: Counter[str] = Counter()

        async def worker(store: StateStore, number: int) -> None:
            while claimed := await store.claim_runs(f"worker-{number}", now=T0, until=at(60), limit=7):
                assert len(claimed) <= 7
                assert {run.locked_by for run in claimed} == {f"worker-{number}"}
                owners.update(run.id for run in claimed)

        await at_once(stores, 8, worker)
        assert len(owners) == 60
        assert set(owners.values()) == {1}

    async def test_an_expired_lease_goes_to_one_caller(self, stores: list[StateStore]) -> None:
        await create(stores[0], a_run(status=RunStatus.RUNNING, locked_by="dead", locked_until=at(-1)))
        claims = await at_once(stores, 20, lambda store, n: store.claim_runs(f"t{n}", now=T0, until=at(30), limit=1))
        (winner,) = [n for n, claimed in enumerate(claims) if claimed]
        assert (await existing(stores[0])).locked_by == f"t{winner}"

    async def test_the_first_write_of_a_checkpoint_wins(self, stores: list[StateStore]) -> None:
        """Everybody ends up with the same row."""
        await create(stores[0], a_run(locked_by="mine"))
        await stores[0].record_checkpoint(a_checkpoint(1, status=CheckpointStatus.RUNNING))
        for seq in (0, 1):
            recorded = await at_once(stores, 20, partial(record, seq))
            assert [result.won for result in recorded].count(True) == 1
            stored = await stores[1].find_checkpoint("run-1", seq)
            assert all(result.checkpoint == stored for result in recorded)

    async def test_nothing_is_recorded_after_the_lease_is_lost(self, stores: list[StateStore]) -> None:
        """While another caller takes the lease, each write either happens before that or not at all."""
        await create(stores[0], a_run(status=RunStatus.RUNNING, locked_by="old", locked_until=at(-1)))
        seen_at_takeover: list[Checkpoint] = []

        async def write(store: StateStore, number: int) -> int | None:
            if number == 10:
                async with store.transaction() as transaction:
                    await transaction.lock_run("run-1")
                    assert await transaction.claim_runs("new", now=T0, until=at(30), limit=1)
                    seen_at_takeover.extend(await transaction.list_checkpoints("run-1"))
                return None
            try:
                await store.record_checkpoint(a_checkpoint(number), token="old")
            except LeaseLostError:
                return None
            return number

        written = {number for number in await at_once(stores, 20, write) if number is not None}
        assert {row.seq for row in await stores[0].list_checkpoints("run-1")} == written
        assert {row.seq for row in seen_at_takeover} == written

    async def test_one_of_many_transitions_wins(self, stores: list[StateStore]) -> None:
        """Complete, fail and cancel at once: the run leaves `running` once."""
        await create(stores[0], a_run(status=RunStatus.RUNNING, locked_by="mine"))
        ends = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED]
        won = await at_once(
            stores,
            30,
            lambda store, n: store.update_run(
                "run-1",
                {"status": ends[n % 3], "output": n, "locked_by": None, "search_attributes": {"n": n}},
                statuses=[RunStatus.RUNNING],
            ),
        )
        assert won.count(True) == 1
        stored = await existing(stores[0])
        winner = won.index(True)
        assert (stored.status, stored.output, stored.search_attributes) == (ends[winner % 3], winner, {"n": winner})

    async def test_no_wake_is_lost_to_a_suspending_turn(self, stores: list[StateStore]) -> None:
        """In every order: after a delivery the run is either awake or can be claimed."""
        for number in range(20):
            run_id = f"run-{number}"
            await create(stores[0], a_run(run_id, status=RunStatus.RUNNING, locked_by="turn", locked_until=at(30)))

            async def act(store: StateStore, actor: int, run_id: str = run_id) -> bool:
                if actor == 0:
                    return await store.update_run(
                        run_id,
                        {"status": RunStatus.SUSPENDED, "wake_at": None, "locked_by": None, "locked_until": None},
                        statuses=[RunStatus.RUNNING],
                        token="turn",
                        wake_count=0,
                    )
                async with store.transaction() as transaction:
                    await transaction.record_checkpoint(a_checkpoint(0, run_id))
                    return await transaction.wake_run(run_id, now=T0)

            suspended, woken = await at_once(stores, 2, act)
            stored = await existing(stores[0], run_id)
            assert woken
            assert stored.wake_count == 1
            assert (stored.status, stored.wake_at) == (
                (RunStatus.SUSPENDED, T0) if suspended else (RunStatus.RUNNING, None)
            )

    async def test_a_name_is_locked_by_one_transaction(self, stores: list[StateStore]) -> None:
        """Check and act under one name, as a singleton does: the limit holds."""

        async def admit(store: StateStore, number: int) -> bool:
            async with store.transaction() as transaction:
                await transaction.lock_name("singleton:x")
                if await transaction.count_runs(RunQuery(tag="singleton:x")) >= 3:
                    return False
                await transaction.create_run(a_run(f"run-{number}", tags=("singleton:x",)))
                return True

        assert (await at_once(stores, 12, admit)).count(True) == 3
        assert len(await listed(stores[0])) == 3

    async def test_a_locked_run_is_changed_by_nobody_else(self, stores: list[StateStore]) -> None:
        """Read, compute, write: no update is lost."""
        await create(stores[0], a_run(output=0))

        async def add_one(store: StateStore, _: int) -> None:
            async with store.transaction() as transaction:
                run = await transaction.lock_run("run-1")
                assert run is not None
                await transaction.update_run("run-1", {"output": run.output + 1})

        await at_once(stores, 12, add_one)
        assert (await existing(stores[1])).output == 12

    async def test_deleting_and_writing_at_once_leaves_no_half_run(self, stores: list[StateStore]) -> None:
        """The first one removes the whole run, and no row is left without a run."""
        for number in range(10):
            await create(stores[0], a_run("run-1", status=RunStatus.COMPLETED, search_attributes={"k": number}))
            await stores[0].save_checkpoint(a_checkpoint(0))
            await stores[0].put_signal_waiter(a_waiter("t"))
            deleted = await at_once(stores, 6, delete_one_way_or_the_other)
            assert sum(deleted) == 1
            assert await listed(stores[0]) == []
            assert await stores[0].list_checkpoints("run-1") == []
            assert await stores[0].list_signal_waiters() == []

    async def test_concurrent_prunes_delete_each_run_once(self, stores: list[StateStore]) -> None:
        for number in range(30):
            await create(stores[0], a_run(f"run-{number}", status=RunStatus.FAILED, search_attributes={"k": 1}))
        policy = RetentionPolicy(statuses=frozenset({RunStatus.FAILED}), max_count=0)
        counts = await at_once(stores, 6, lambda store, _: store.prune_terminal_runs(policy, now=at(1), limit=10))
        rest = await stores[0].prune_terminal_runs(policy, now=at(1), limit=100)
        assert sum(counts) + rest == 30
        assert await listed(stores[0]) == []

    async def test_concurrent_prunes_leave_what_the_policy_keeps(self, stores: list[StateStore]) -> None:
        """Each of them alone would delete the same runs; together they must not delete more."""
        policy = RetentionPolicy(statuses=frozenset({RunStatus.COMPLETED}), max_count=20)
        for number in range(62):
            ended: dict[str, Any] = {"created_at": at(-99), "updated_at": at(number // 4)}
            await create(stores[0], a_run(f"run-{number:02}", status=RunStatus.COMPLETED, **ended))

        async def prune_all(store: StateStore, caller: int) -> None:
            while await store.prune_terminal_runs(policy, now=at(99), limit=1 + caller % 3):
                pass

        await at_once(stores, 9, prune_all)
        assert sorted(await listed(stores[0])) == [f"run-{number:02}" for number in range(42, 62)]


async def delete_one_way_or_the_other(store: StateStore, caller: int) -> int:
    if caller % 2:
        policy = RetentionPolicy(statuses=frozenset({RunStatus.COMPLETED}), max_count=0)
        return await store.prune_terminal_runs(policy, now=at(1), limit=10)
    return int(await store.delete_run("run-1"))


async def take_waiter(token: str, store: StateStore, _: int) -> SignalWaiter | None:
    return await store.take_signal_waiter(token)


async def record(seq: int, store: StateStore, caller: int) -> RecordedCheckpoint:
    return await store.record_checkpoint(a_checkpoint(seq, output={"n": caller}), token="mine")


async def at_once(stores: list[StateStore], callers: int, call: Callable[[StateStore, int], Awaitable[T]]) -> list[T]:
    """Run `call(store, number)` for so many callers together, over the stores in turn."""
    start = asyncio.Event()

    async def caller(number: int) -> T:
        await start.wait()
        return await call(stores[number % len(stores)], number)

    tasks = [asyncio.create_task(caller(number)) for number in range(callers)]
    await asyncio.sleep(0)
    start.set()
    return await asyncio.gather(*tasks)
