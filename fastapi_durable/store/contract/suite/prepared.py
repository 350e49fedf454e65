"""Prepared checkpoints: encoded when a call ends, and written later, alone or by what changes their run."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable.model.errors import LeaseLostError, SerializationError
from fastapi_durable.model.records import (
    Checkpoint,
    CheckpointStatus,
    ErrorRecord,
    Json,
    RunChanges,
    RunStatus,
    SignalWaiter,
)
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import a_checkpoint, a_run, a_waiter, create
from fastapi_durable.store.contract.suite.checkpoints import A_FULL_CHECKPOINT
from fastapi_durable.store.contract.suite.runs import EVERY_JSON_VALUE
from fastapi_durable.store.port.checkpoints import PreparedCheckpoint

AWKWARD_JSON_VALUES: list[Json] = [
    {"bb": 1, "a": 2, "ä": 3, "aa": 4, "": 5, "z": {"late": 1, "b": [{"y": 1, "x": 2}]}},
    {"🦉": 1, "\U00010000": 2, "\uffff": 3, "zzzz": 4},
    [1.0, -0.0, 0.0, 1e-7, 5e-324, 1.7976931348623157e308, 2**53 + 1, 2**70, -(2**64)],
    {"nested": {"float": 3.0, "large": 1e22, "zero": -0.0}},
    1.0,
    -0.0,
    2**63,
    2**70,
    3.14,
]


def prepared(store: StateStore, *checkpoints: Checkpoint) -> list[PreparedCheckpoint]:
    found = [store.prepare_checkpoint(checkpoint) for checkpoint in checkpoints]
    assert None not in found
    return [each for each in found if each is not None]


async def _deliver(store: StateStore, waiter: SignalWaiter, **guards: Any) -> bool:
    changes: RunChanges = {"status": RunStatus.RUNNING, "wake_count": 1}
    ready = prepared(store, a_checkpoint(waiter.seq, waiter.run_id, output="here"))
    guards = {"statuses": [RunStatus.SUSPENDED], "wake_count": 0, **guards}
    return await store.update_run(waiter.run_id, changes, checkpoints=ready, waiter=waiter, **guards)


async def _nothing_was_delivered(store: StateStore, *, waiters: list[str]) -> None:
    run = await store.find_run("run-1")
    assert run is not None
    assert (run.status, run.wake_count) == (RunStatus.SUSPENDED, 0)
    assert await store.list_checkpoints("run-1") == []
    assert [waiter.token for waiter in await store.list_signal_waiters()] == waiters


class PreparedContract:
    @pytest.mark.parametrize(
        "value", [*EVERY_JSON_VALUE, *AWKWARD_JSON_VALUES], ids=lambda value: ascii(str(value)[:20])
    )
    async def test_a_prepared_checkpoint_is_read_as_was_foretold(self, store: StateStore, value: Json) -> None:
        """To the type and the order of keys: a body gets the one on its first run, and the other on every replay."""
        await create(store, a_run(locked_by="mine"))
        rows = [
            a_checkpoint(0, input=value, output=value, events=(value,)),
            a_checkpoint(1, output=[value], error=ErrorRecord(message="m", code="c", type="T", positions=(1, 2))),
            a_checkpoint(2, input=value),
            a_checkpoint(3, output=value),
        ]
        ready = [(row, store.prepare_checkpoint(row)) for row in rows]
        foretold = [each for _, each in ready if each is not None]
        if foretold:
            await store.record_prepared(foretold, token="mine")
        for row, each in ready:
            if each is None:
                # Only of a number that stands alone, which a column of numbers may keep in another form.
                assert type(row.input) in (int, float) or type(row.output) in (int, float)
                continue
            stored = await store.find_checkpoint("run-1", row.seq)
            assert stored == each.checkpoint
            assert repr(stored) == repr(each.checkpoint)

    async def test_a_prepared_checkpoint_keeps_every_column(self, store: StateStore) -> None:
        await create(store, a_run(locked_by="mine"))
        ready = prepared(store, A_FULL_CHECKPOINT)
        assert await store.record_prepared(ready, token="mine") == [(A_FULL_CHECKPOINT, True)]
        assert await store.list_checkpoints("run-1") == [A_FULL_CHECKPOINT]

    async def test_a_prepared_checkpoint_has_its_moments_as_they_are_read(self, store: StateStore) -> None:
        """A replay compares them, as the first run does: which branch of a race ended first, say."""
        await create(store, a_run(locked_by="mine"))
        odd = a_checkpoint(0, output="x").started_at + timedelta(microseconds=1999)
        row = replace(a_checkpoint(0, output="x"), started_at=odd, finished_at=odd, enqueued_at=odd, wake_at=odd)
        ready = prepared(store, row)
        await store.record_prepared(ready, token="mine")
        assert await store.find_checkpoint("run-1", 0) == ready[0].checkpoint

    async def test_what_is_prepared_does_not_change_with_the_objects_in_it(self, store: StateStore) -> None:
        await create(store, a_run(locked_by="mine"))
        value: dict[str, Any] = {"items": [1]}
        ready = prepared(store, a_checkpoint(0, output=value))
        value["items"].append(2)
        ready[0].checkpoint.output["items"].append(3)
        await store.record_prepared(ready, token="mine")
        stored = await store.find_checkpoint("run-1", 0)
        assert stored is not None
        assert stored.output == {"items": [1]}

    async def test_what_no_database_can_hold_is_refused_when_it_is_prepared(self, store: StateStore) -> None:
        await create(store, a_run(locked_by="mine"))
        with pytest.raises(SerializationError):
            store.prepare_checkpoint(a_checkpoint(0, output=[json]))

    async def test_a_finished_checkpoint_stays_and_the_others_are_recorded(self, store: StateStore) -> None:
        await create(store, a_run(locked_by="mine"))
        await store.save_checkpoint(a_checkpoint(1, output="first"))
        await store.save_checkpoint(a_checkpoint(2, status=CheckpointStatus.RUNNING))
        ready = prepared(store, *(a_checkpoint(seq, output="late") for seq in range(3)))
        answers = await store.record_prepared(ready, token="mine")
        assert [(each.checkpoint.output, each.won) for each in answers] == [
            ("late", True),
            ("first", False),
            ("late", True),
        ]
        assert await store.list_checkpoints("run-1") == [each.checkpoint for each in answers]

    async def test_without_the_lease_nothing_is_recorded(self, store: StateStore) -> None:
        await create(store, a_run(locked_by="another"))
        ready = prepared(store, a_checkpoint(0), a_checkpoint(1))
        with pytest.raises(LeaseLostError):
            await store.record_prepared(ready, token="mine")
        assert await store.list_checkpoints("run-1") == []

    async def test_many_runs_record_theirs_at_once(self, store: StateStore) -> None:
        await create(store, *(a_run(f"run-{n}", locked_by=f"token-{n % 5}") for n in range(20)))

        async def record(number: int) -> Any:
            ready = prepared(store, *(a_checkpoint(seq, f"run-{number}", output=number) for seq in range(3)))
            return await store.record_prepared(ready, token=f"token-{number % 4}")

        answers = await asyncio.gather(*map(record, range(20)), return_exceptions=True)
        for number, answer in enumerate(answers):
            kept = await store.list_checkpoints(f"run-{number}")
            if number % 5 == number % 4:
                assert not isinstance(answer, BaseException)
                assert [each.checkpoint for each in answer] == kept
                assert all(each.won for each in answer)
                assert len(kept) == 3
            else:
                assert isinstance(answer, LeaseLostError)
                assert kept == []

    async def test_a_change_of_a_run_brings_its_checkpoints_along(self, store: StateStore) -> None:
        await create(store, a_run(status=RunStatus.RUNNING, locked_by="mine"))
        await store.save_checkpoint(a_checkpoint(1, status=CheckpointStatus.PENDING))
        ready = prepared(store, a_checkpoint(0, output={"b": 1, "a": 2}), a_checkpoint(1, output=7))
        assert await store.update_run(
            "run-1",
            {"status": RunStatus.COMPLETED, "locked_by": None},
            statuses=[RunStatus.RUNNING],
            token="mine",
            wake_count=0,
            checkpoints=ready,
        )
        run = await store.find_run("run-1")
        assert run is not None
        assert run.status is RunStatus.COMPLETED
        assert await store.list_checkpoints("run-1") == [each.checkpoint for each in ready]

    @pytest.mark.parametrize(
        "guards",
        [{"statuses": [RunStatus.PENDING]}, {"token": "another"}, {"wake_count": 3}],
        ids=lambda guards: next(iter(guards)),
    )
    async def test_a_guard_that_does_not_hold_keeps_both_from_being_written(
        self, store: StateStore, guards: dict[str, Any]
    ) -> None:
        await create(store, a_run(status=RunStatus.RUNNING, locked_by="mine"))
        ready = prepared(store, a_checkpoint(0))
        assert not await store.update_run("run-1", {"status": RunStatus.COMPLETED}, checkpoints=ready, **guards)
        run = await store.find_run("run-1")
        assert run is not None
        assert run.status is RunStatus.RUNNING
        assert await store.list_checkpoints("run-1") == []

    async def test_a_position_that_is_finished_keeps_the_run_from_being_changed(self, store: StateStore) -> None:
        """The change was decided by a result that is not the stored one."""
        await create(store, a_run(status=RunStatus.RUNNING, locked_by="mine"))
        await store.save_checkpoint(a_checkpoint(1, output="first"))
        ready = prepared(store, a_checkpoint(0), a_checkpoint(1, output="late"))
        for _ in range(2):
            assert not await store.update_run("run-1", {"status": RunStatus.COMPLETED}, token="mine", checkpoints=ready)
        run = await store.find_run("run-1")
        assert run is not None
        assert run.status is RunStatus.RUNNING
        assert [row.output for row in await store.list_checkpoints("run-1")] == ["first"]

    async def test_a_change_of_a_run_removes_its_waiter(self, store: StateStore) -> None:
        """A delivery is recorded, wakes the run and removes the waiter, or does none of these."""
        await create(store, a_run(status=RunStatus.SUSPENDED), a_run("run-2", status=RunStatus.SUSPENDED))
        await store.put_signal_waiter(a_waiter("t", "run-1", 3))
        await store.put_signal_waiter(a_waiter("another", "run-1", 4))
        await store.save_checkpoint(a_checkpoint(3, status=CheckpointStatus.PENDING))
        assert await _deliver(store, a_waiter("t", "run-1", 3))
        run = await store.find_run("run-1")
        assert run is not None
        assert (run.status, run.wake_count) == (RunStatus.RUNNING, 1)
        assert [row.output for row in await store.list_checkpoints("run-1")] == ["here"]
        assert [waiter.token for waiter in await store.list_signal_waiters()] == ["another"]

    @pytest.mark.parametrize(
        "waiter",
        [a_waiter("nobody's", "run-1", 3), a_waiter("t", "run-1", 4), a_waiter("of 2", "run-1", 3)],
        ids=["token", "position", "run"],
    )
    async def test_without_the_waiter_nothing_of_the_change_is_written(
        self, store: StateStore, waiter: SignalWaiter
    ) -> None:
        await create(store, a_run(status=RunStatus.SUSPENDED), a_run("run-2", status=RunStatus.SUSPENDED))
        await store.put_signal_waiter(a_waiter("t", "run-1", 3))
        await store.put_signal_waiter(a_waiter("of 2", "run-2", 3))
        assert not await _deliver(store, waiter)
        async with store.transaction() as transaction:
            assert not await _deliver(transaction, waiter)
        await _nothing_was_delivered(store, waiters=["of 2", "t"])

    @pytest.mark.parametrize(
        "guards",
        [{"statuses": [RunStatus.BLOCKED]}, {"wake_count": 7}, {"token": "mine"}],
        ids=lambda each: next(iter(each)),
    )
    async def test_a_guard_that_does_not_hold_leaves_the_waiter(
        self, store: StateStore, guards: dict[str, Any]
    ) -> None:
        await create(store, a_run(status=RunStatus.SUSPENDED))
        await store.put_signal_waiter(a_waiter("t", "run-1", 3))
        assert not await _deliver(store, a_waiter("t", "run-1", 3), **guards)
        async with store.transaction() as transaction:
            assert not await _deliver(transaction, a_waiter("t", "run-1", 3), **guards)
        await _nothing_was_delivered(store, waiters=["t"])

    async def test_a_position_that_is_finished_leaves_the_waiter(self, store: StateStore) -> None:
        await create(store, a_run(status=RunStatus.SUSPENDED))
        await store.put_signal_waiter(a_waiter("t", "run-1", 3))
        await store.save_checkpoint(a_checkpoint(3, output="first"))
        assert not await _deliver(store, a_waiter("t", "run-1", 3))
        assert [row.output for row in await store.list_checkpoints("run-1")] == ["first"]
        assert [waiter.token for waiter in await store.list_signal_waiters()] == ["t"]

    async def test_a_waiter_is_removed_in_a_transaction_with_its_run(self, store: StateStore) -> None:
        await create(store, a_run(status=RunStatus.SUSPENDED))
        await store.put_signal_waiter(a_waiter("t", "run-1", 3))

        async def deliver_and_fail() -> None:
            async with store.transaction() as transaction:
                assert await _deliver(transaction, a_waiter("t", "run-1", 3))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await deliver_and_fail()
        await _nothing_was_delivered(store, waiters=["t"])
        async with store.transaction() as transaction:
            assert await _deliver(transaction, a_waiter("t", "run-1", 3))
        assert await store.list_signal_waiters() == []

    async def test_of_many_deliveries_to_one_waiter_one_wins(self, store: StateStore) -> None:
        runs = [f"run-{number}" for number in range(8)]
        await create(store, *(a_run(run_id, status=RunStatus.SUSPENDED) for run_id in runs))
        waiters = [a_waiter(f"t-{run_id}", run_id, 3) for run_id in runs]
        for waiter in waiters:
            await store.put_signal_waiter(waiter)
        won = await asyncio.gather(*(_deliver(store, waiter) for waiter in waiters for _ in range(3)))
        assert [sum(won[start : start + 3]) for start in range(0, 24, 3)] == [1] * 8
        assert await store.list_signal_waiters() == []
        for run_id in runs:
            assert len(await store.list_checkpoints(run_id)) == 1

    async def test_many_runs_end_with_their_checkpoints_at_once(self, store: StateStore) -> None:
        """Each by its own guards, whatever became of the others."""
        await create(store, *(a_run(f"run-{n}", status=RunStatus.RUNNING, locked_by=f"of-{n}") for n in range(30)))
        for number in range(0, 30, 7):
            await store.save_checkpoint(a_checkpoint(0, f"run-{number}", output="first"))

        async def end(number: int) -> bool:
            ready = prepared(store, *(a_checkpoint(seq, f"run-{number}", output=number) for seq in range(2)))
            return await store.update_run(
                f"run-{number}",
                {"status": RunStatus.COMPLETED, "output": number},
                statuses=[RunStatus.RUNNING],
                token=f"of-{number if number % 3 else 'nobody'}",
                wake_count=0,
                checkpoints=ready,
            )

        answers = await asyncio.gather(*map(end, range(30)))
        assert answers == [bool(number % 3 and number % 7) for number in range(30)]
        for number, ended in enumerate(answers):
            run = await store.find_run(f"run-{number}")
            assert run is not None
            assert run.status is (RunStatus.COMPLETED if ended else RunStatus.RUNNING)
            outputs = [row.output for row in await store.list_checkpoints(f"run-{number}")]
            assert outputs == ([number, number] if ended else [] if number % 7 else ["first"])

    async def test_a_run_that_has_the_new_values_already_gets_no_checkpoints(self, store: StateStore) -> None:
        """Beside others of the same batch that do change: only a change brings checkpoints along."""
        ids = [f"run-{number}" for number in range(6)]
        ended = {"run-1", "run-4"}
        statuses = {run_id: RunStatus.COMPLETED if run_id in ended else RunStatus.RUNNING for run_id in ids}
        await create(store, *(a_run(run_id, status=status, output=7) for run_id, status in statuses.items()))

        async def end(run_id: str) -> bool:
            ready = prepared(store, a_checkpoint(0, run_id), a_checkpoint(1, run_id))
            changes: RunChanges = {"status": RunStatus.COMPLETED, "output": 7}
            return await store.update_run(run_id, changes, statuses=[RunStatus.RUNNING], checkpoints=ready)

        assert await asyncio.gather(*map(end, ids)) == [run_id not in ended for run_id in ids]
        counts = [len(await store.list_checkpoints(run_id)) for run_id in ids]
        assert counts == [0 if run_id in ended else 2 for run_id in ids]

    async def test_a_transaction_takes_them_back(self, store: StateStore) -> None:
        await create(store, a_run(status=RunStatus.RUNNING, locked_by="mine"))

        async def undone() -> None:
            async with store.transaction() as transaction:
                ready = prepared(transaction, a_checkpoint(0), a_checkpoint(1))
                await transaction.record_prepared(ready[:1], token="mine")
                changes: RunChanges = {"status": RunStatus.COMPLETED}
                assert await transaction.update_run("run-1", changes, token="mine", checkpoints=ready[1:])
                assert len(await transaction.list_checkpoints("run-1")) == 2
                raise RuntimeError("undo it")

        with pytest.raises(RuntimeError, match="undo it"):
            await undone()
        assert await store.list_checkpoints("run-1") == []
        run = await store.find_run("run-1")
        assert run is not None
        assert run.status is RunStatus.RUNNING

    async def test_a_scope_keeps_them_from_runs_of_others(self, store: StateStore) -> None:
        await create(store, a_run(status=RunStatus.RUNNING, locked_by="mine"))
        ready = prepared(store, a_checkpoint(0))
        elsewhere = store.with_scope("elsewhere")
        assert not await elsewhere.update_run("run-1", {"status": RunStatus.COMPLETED}, checkpoints=ready)
        with pytest.raises(Exception, match="elsewhere"):
            await elsewhere.record_prepared(ready, token="mine")
        assert await store.list_checkpoints("run-1") == []
