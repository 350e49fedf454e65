"""What commits together, and what does not commit at all."""

import asyncio
from datetime import timedelta

import pytest

from fastapi_durable.model.errors import (
    ConfigurationError,
    LeaseLostError,
    SignalTokenTakenError,
    StoreError,
    TransactionExpiredError,
)
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore, StoreTransaction
from fastapi_durable.store.contract.suite.attributes import found
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


class BodyError(Exception):
    pass


class TransactionsContract:
    async def test_everything_in_a_transaction_commits_together(self, store: StateStore) -> None:
        """Consuming and recording are one."""
        await create(store, a_run())
        await store.buffer_signal("t", "hello", now=T0)
        async with store.transaction() as transaction:
            signal = await transaction.take_buffered_signal("t")
            assert signal is not None
            await transaction.record_checkpoint(a_checkpoint(0, output=signal.payload))
        stored = await store.find_checkpoint("run-1", 0)
        assert stored is not None
        assert stored.output == "hello"
        assert await store.take_buffered_signal("t") is None

    async def test_an_error_in_the_block_undoes_everything(self, store: StateStore) -> None:
        """Every kind of write, and the error comes out as it is."""
        kept = a_run("kept", search_attributes={"k": 1}, tags=("t",))
        await create(store, kept, a_run("deleted", search_attributes={"k": 1}))
        await store.save_checkpoint(a_checkpoint(0, "kept"))
        await store.save_checkpoint(a_checkpoint(0, "deleted"))
        await store.put_signal_waiter(a_waiter("token", "kept"))
        await store.buffer_signal("token", 1, now=T0)
        await store.buffer_event(an_event("e"))

        async def write_everything_and_fail() -> None:
            async with store.transaction() as transaction:
                await transaction.create_run(a_run("new", search_attributes={"k": 1}))
                await transaction.update_run("kept", {"status": RunStatus.FAILED, "search_attributes": {"k": 2}})
                await transaction.claim_runs("token", now=T0, until=at(9), limit=9)
                await transaction.delete_run("deleted")
                await transaction.save_checkpoint(a_checkpoint(0, "kept", output="changed"))
                await transaction.record_checkpoint(a_checkpoint(1, "kept"))
                await transaction.take_signal_waiter("token")
                await transaction.put_signal_waiter(a_waiter("other", "kept"))
                await transaction.take_buffered_signal("token")
                await transaction.buffer_signal("other", 2, now=T0)
                await transaction.remove_buffered_event("e")
                await transaction.buffer_event(an_event("f"))
                await transaction.wake_run("kept", now=T0)
                raise BodyError

        with pytest.raises(BodyError):
            await write_everything_and_fail()
        assert await listed(store) == ["kept", "deleted"]
        assert await existing(store, "kept") == kept
        assert await found(store, ("k", "eq", 1)) == "deletedkept"
        assert await store.list_checkpoints("kept") == [a_checkpoint(0, "kept")]
        assert await store.list_checkpoints("deleted") == [a_checkpoint(0, "deleted")]
        assert await store.list_signal_waiters() == [a_waiter("token", "kept")]
        signal = await store.take_buffered_signal("token")
        assert signal is not None
        assert await store.take_buffered_signal("other") is None
        assert await store.list_buffered_events("paid") == [an_event("e")]

    async def test_a_transaction_sees_its_own_writes(self, store: StateStore) -> None:
        async with store.transaction() as transaction:
            await transaction.create_run(a_run(tags=("t",)))
            assert await listed(transaction, tag="t") == ["run-1"]
            await transaction.update_run("run-1", {"output": 1})
            assert (await existing(transaction)).output == 1
        assert (await existing(store)).output == 1

    async def test_cancelling_the_block_undoes_it(self, store: StateStore) -> None:
        await create(store, a_run())
        inside = asyncio.Event()

        async def block() -> None:
            async with store.transaction() as transaction:
                await transaction.update_run("run-1", {"output": 1})
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(block())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await existing(store)).output is None
        assert await store.update_run("run-1", {"output": 2})

    async def test_refusals_leave_a_transaction_usable(self, store: StateStore) -> None:
        """None of them is an error of the database, which would abort the transaction there."""
        await create(store, a_run("run-1"), a_run("run-2"))
        await store.put_signal_waiter(a_waiter("t", "run-1"))
        await store.buffer_signal("t", 1, now=T0, signal_id="s")
        async with store.transaction() as transaction:
            assert not (await transaction.create_run(a_run("run-1", input="other", search_attributes={"a": 1}))).created
            with pytest.raises(SignalTokenTakenError):
                await transaction.put_signal_waiter(a_waiter("t", "run-2"))
            with pytest.raises(LeaseLostError):
                await transaction.record_checkpoint(a_checkpoint(0), token="zombie")
            assert not await transaction.buffer_signal("t", 2, now=T0, signal_id="s")
            assert await transaction.update_run("run-2", {"output": "written"})
        assert (await existing(store, "run-2")).output == "written"

    async def test_a_transaction_inside_a_transaction_commits_with_it(self, store: StateStore) -> None:
        async with store.transaction() as outer:
            async with outer.transaction() as inner:
                await inner.create_run(a_run())
            assert await outer.find_run("run-1") is not None
        assert await store.find_run("run-1") is not None

    async def test_an_error_in_the_inner_block_undoes_that_block_alone(self, store: StateStore) -> None:
        """The outer one continues as if the inner one had never begun."""

        async def fail(outer: StateStore) -> None:
            async with outer.transaction() as inner:
                await inner.create_run(a_run("inner"))
                await inner.update_run("before", {"output": 1})
                raise BodyError

        async with store.transaction() as outer:
            await outer.create_run(a_run("before"))
            with pytest.raises(BodyError):
                await fail(outer)
            assert await outer.find_run("inner") is None
            await outer.create_run(a_run("after"))
        assert sorted(await listed(store)) == ["after", "before"]
        assert (await existing(store, "before")).output is None

    async def test_inner_blocks_of_two_tasks_come_one_after_the_other(self, store: StateStore) -> None:
        """One that fails does not take along what another task does at the same time."""

        async def create(outer: StateStore, name: str, *, fails: bool) -> None:
            async with outer.transaction() as inner:
                await inner.create_run(a_run(name))
                await inner.find_run(name)
                if fails:
                    raise BodyError

        async with store.transaction() as outer:
            calls = [create(outer, f"run-{number}", fails=number % 2 == 1) for number in range(6)]
            ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(end, BodyError) for end in ends] == [False, True] * 3
        assert sorted(await listed(store)) == ["run-0", "run-2", "run-4"]

    async def test_what_follows_the_commit_is_called_after_it_or_not_at_all(self, store: StateStore) -> None:
        called: list[str] = []

        async def undone() -> None:
            async with store.transaction() as transaction:
                transaction.after_commit(lambda: called.append("undone"))
                raise BodyError

        async def undone_part(outer: StoreTransaction) -> None:
            async with outer.transaction():
                outer.after_commit(lambda: called.append("of a part that was undone"))
                raise BodyError

        with pytest.raises(BodyError):
            await undone()
        async with store.transaction() as transaction:
            transaction.after_commit(lambda: called.append("first"))
            with pytest.raises(BodyError):
                await undone_part(transaction)
            async with transaction.transaction():
                transaction.after_commit(lambda: called.append("of a part"))
            assert called == []
        assert called == ["first", "of a part"]

    async def test_a_call_beside_the_own_transaction_is_refused_at_once(self, store: StateStore) -> None:
        """It would wait for the end of the block in which it is made. Other tasks wait, and continue."""
        async with store.transaction() as transaction:
            await transaction.create_run(a_run("inside"))
            other = asyncio.create_task(store.create_run(a_run("elsewhere")))
            for call in (store.find_run("inside"), store.create_run(a_run("beside")), self._open(store)):
                with pytest.raises(StoreError, match="inside its own transaction"):
                    await call
        assert (await other).created
        assert sorted(await listed(store)) == ["elsewhere", "inside"]

    async def _open(self, store: StateStore) -> None:
        async with store.transaction():
            pass

    async def test_an_open_transaction_is_found_by_its_client(self, store: StateStore) -> None:
        async with store.transaction() as transaction:
            within = store.within(transaction.client)
            await within.create_run(a_run())
            assert await transaction.find_run("run-1") is not None
        assert await store.find_run("run-1") is not None
        with pytest.raises(ConfigurationError):
            store.within(object())

    @pytest.mark.parametrize("late_write", [True, False])
    async def test_a_transaction_over_its_time_is_undone(self, store: StateStore, late_write: bool) -> None:
        """Whether it notices at a late write or when it wants to commit."""

        async def dawdle() -> None:
            async with store.transaction(timeout=timedelta(milliseconds=200)) as transaction:
                await transaction.create_run(a_run())
                await asyncio.sleep(0.5)
                if late_write:
                    await transaction.update_run("run-1", {"output": 1})

        with pytest.raises(TransactionExpiredError):
            await dawdle()
        assert await store.find_run("run-1") is None

    async def test_locking_a_run_reads_it(self, store: StateStore) -> None:
        run = a_run(input={"a": 1}, search_attributes={"k": 1})
        await create(store, run)
        async with store.transaction() as transaction:
            await transaction.lock_name("singleton:x")
            await transaction.lock_name("singleton:x")
            assert await transaction.lock_run("run-1") == run
            assert await transaction.lock_run("nobody") is None
            assert await transaction.update_run("run-1", {"output": 1})

    @pytest.mark.parametrize("status", [RunStatus.SUSPENDED, RunStatus.BLOCKED])
    @pytest.mark.parametrize("wake_at", [None, at(500)])
    async def test_waking_a_waiting_run_lets_it_be_claimed(
        self, store: StateStore, status: RunStatus, wake_at: object
    ) -> None:
        await create(store, a_run(status=status, wake_at=wake_at, wake_count=4))
        async with store.transaction() as transaction:
            assert await transaction.wake_run("run-1", now=T0)
        stored = await existing(store)
        assert (stored.wake_at, stored.wake_count, stored.status) == (T0, 5, status)
        assert len(await store.claim_runs("x", now=T0, until=at(9), limit=9)) == 1

    @pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.RUNNING, RunStatus.CANCELLING])
    async def test_waking_a_run_that_is_driven_keeps_it_awake(self, store: StateStore, status: RunStatus) -> None:
        """Its turn cannot suspend on what it saw before."""
        await create(store, a_run(status=status, locked_by="turn", locked_until=at(30)))
        async with store.transaction() as transaction:
            assert await transaction.wake_run("run-1", now=T0)
        stored = await existing(store)
        assert (stored.wake_at, stored.wake_count, stored.status, stored.locked_by) == (None, 1, status, "turn")
        assert not await store.update_run("run-1", {"status": RunStatus.SUSPENDED}, token="turn", wake_count=0)

    @pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.DEAD])
    async def test_a_terminal_run_is_not_woken(self, store: StateStore, status: RunStatus) -> None:
        await create(store, a_run(status=status))
        async with store.transaction() as transaction:
            assert not await transaction.wake_run("run-1", now=T0)
            assert not await transaction.wake_run("nobody", now=T0)
        assert await existing(store) == a_run(status=status)
