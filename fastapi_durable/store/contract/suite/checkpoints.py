"""Checkpoints: saving, first-write-wins recording, and reading."""

import asyncio
from typing import Any

import pytest

from fastapi_durable.model.errors import LeaseLostError
from fastapi_durable.model.records import CheckpointKind, CheckpointStatus, ErrorRecord, Json
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import MILLISECOND, a_checkpoint, a_run, at, create
from fastapi_durable.store.contract.suite.runs import EVERY_JSON_VALUE, same_type

FINISHED = [CheckpointStatus.COMPLETED, CheckpointStatus.FAILED]
UNFINISHED = [CheckpointStatus.PENDING, CheckpointStatus.RUNNING]
A_FULL_CHECKPOINT = a_checkpoint(
    7,
    name="charge",
    kind=CheckpointKind.REMOTE,
    status=CheckpointStatus.FAILED,
    input={"cents": 1},
    output=[1, 2],
    error=ErrorRecord(message="declined", code="card", retryable=True, stack="trace", type="CardError"),
    events=({"at": 1, "level": "info", "message": "ü"}, {"at": 2, "level": "warn", "message": "b", "data": None}),
    attempts=3,
    worker_group="payments@a",
    parallel_group="all:0",
    wake_at=at(20),
    enqueued_at=at(2),
    started_at=at(3),
    finished_at=at(4),
)


class CheckpointsContract:
    async def test_checkpoints_are_removed_by_position_or_all_together(self, store: StateStore) -> None:
        """Of one run only; positions that hold nothing do not count."""
        await create(store, a_run("run-1"), a_run("run-2"))
        for seq in (-2, 0, 1, 1_000_000):
            await store.save_checkpoint(a_checkpoint(seq))
            await store.save_checkpoint(a_checkpoint(seq, run_id="run-2"))
        assert await store.remove_checkpoints("run-1", [-2, 1, 77]) == 2
        assert await store.remove_checkpoints("run-1", []) == 0
        assert [row.seq for row in await store.list_checkpoints("run-1")] == [0, 1_000_000]
        assert await store.remove_checkpoints("run-1", range(40_000)) == 1
        assert await store.remove_checkpoints("run-1") == 1
        assert await store.remove_checkpoints("nobody") == 0
        assert len(await store.list_checkpoints("run-2")) == 4

    async def test_a_saved_checkpoint_is_read_back_as_it_was(self, store: StateStore) -> None:
        """With every column."""
        await create(store, a_run())
        await store.save_checkpoint(A_FULL_CHECKPOINT)
        assert await store.find_checkpoint("run-1", 7) == A_FULL_CHECKPOINT
        plain = a_checkpoint(8, enqueued_at=at(0))
        await store.save_checkpoint(plain)
        assert await store.find_checkpoint("run-1", 8) == plain

    async def test_a_checkpoint_that_does_not_exist_is_none(self, store: StateStore) -> None:
        await create(store, a_run())
        await store.save_checkpoint(a_checkpoint(1))
        assert await store.find_checkpoint("run-1", 2) is None
        assert await store.find_checkpoint("run-2", 1) is None

    async def test_saving_again_replaces_every_column(self, store: StateStore) -> None:
        """One row for each position, and nothing of the former one stays."""
        await create(store, a_run())
        await store.save_checkpoint(A_FULL_CHECKPOINT)
        bare = a_checkpoint(7, status=CheckpointStatus.PENDING, enqueued_at=at(9))
        await store.save_checkpoint(bare)
        assert await store.list_checkpoints("run-1") == [bare]

    async def test_checkpoints_are_listed_by_position(self, store: StateStore) -> None:
        """Compensations have negative positions and come first."""
        for seq in (2, -1, 10, 0, -12, 1):
            await store.save_checkpoint(a_checkpoint(seq))
            await store.save_checkpoint(a_checkpoint(seq, "run-2"))
        assert [row.seq for row in await store.list_checkpoints("run-1")] == [-12, -1, 0, 1, 2, 10]
        assert await store.list_checkpoints("nobody") == []

    async def test_a_history_is_what_is_listed(self, store: StateStore) -> None:
        """Of several runs at a time, and of one that has none."""
        listed = [A_FULL_CHECKPOINT, a_checkpoint(8), a_checkpoint(1_000_000, step_id="run-1:0.0")]
        for checkpoint in (*listed, a_checkpoint(0, "run-2")):
            await store.save_checkpoint(checkpoint)
        names = ["run-1", "run-2", "nobody", "run-1"]
        histories = await asyncio.gather(*(store.read_history(name) for name in names))
        assert [len(history) for history in histories] == [3, 1, 0, 3]
        for history in (histories[0], histories[3], await store.read_history("run-1")):
            rows = sorted(history, key=lambda row: row.seq)
            assert [row.read() for row in rows] == listed
            assert [row.read_output() for row in rows] == [checkpoint.output for checkpoint in listed]
            for row, checkpoint in zip(rows, listed, strict=True):
                assert (row.seq, row.name, row.step_id) == (checkpoint.seq, checkpoint.name, checkpoint.step_id)
                assert (row.kind, row.status) == (checkpoint.kind, checkpoint.status)

    async def test_a_long_history_is_read_page_by_page(self, store: StateStore) -> None:
        await create(store, a_run(), a_run("other", namespace="x"))
        for seq in (-2, -1, 0, 1, 7):
            await store.save_checkpoint(a_checkpoint(seq))
        await store.save_checkpoint(a_checkpoint(0, run_id="other"))

        async def page(**options: Any) -> list[int]:
            return [row.seq for row in await store.page_checkpoints("run-1", **options)]

        assert await page(limit=2) == [-2, -1]
        assert await page(after=-1, limit=2) == [0, 1]
        assert await page(after=1, limit=2) == [7]
        assert await store.with_scope("x").page_checkpoints("run-1", limit=2) == []

    async def test_the_state_of_a_history_differs_whenever_a_checkpoint_does(self, store: StateStore) -> None:
        await create(store, a_run(), a_run("other", namespace="x"))
        seen = [await store.history_state("run-1")]
        for row in (
            a_checkpoint(0, status=CheckpointStatus.RUNNING),
            a_checkpoint(0, status=CheckpointStatus.PENDING),
            a_checkpoint(0, status=CheckpointStatus.PENDING, attempts=2),
            a_checkpoint(0, status=CheckpointStatus.COMPLETED, attempts=2),
            a_checkpoint(0, status=CheckpointStatus.COMPLETED, attempts=2, finished_at=at(9)),
            a_checkpoint(1, status=CheckpointStatus.COMPLETED),
        ):
            await store.save_checkpoint(row)
            seen.append(await store.history_state("run-1"))
        assert len({state.version for state in seen}) == len(seen)
        assert [state.total for state in seen] == [0, 1, 1, 1, 1, 1, 2]
        assert await store.history_state("run-1") == seen[-1]
        assert (await store.with_scope("x").history_state("run-1")).total == 0

    async def test_the_latest_checkpoint_of_a_name_has_the_highest_position(self, store: StateStore) -> None:
        for seq in (3, 11, 5):
            await store.save_checkpoint(a_checkpoint(seq, name="event:state"))
        await store.save_checkpoint(a_checkpoint(20, name="event:state2"))
        await store.save_checkpoint(a_checkpoint(30, name="EVENT:STATE"))
        await store.save_checkpoint(a_checkpoint(40, "run-2", name="event:state"))
        latest = await store.find_latest_checkpoint_by_name("run-1", "event:state")
        assert latest == a_checkpoint(11, name="event:state")
        assert await store.find_latest_checkpoint_by_name("run-1", "event:") is None

    async def test_the_latest_checkpoint_of_a_name_by_time_is_the_one_that_finished_last(
        self, store: StateStore
    ) -> None:
        """Of several that finished at one moment, the one with the highest position."""
        moments = {3: at(1), 11: at(5), 5: at(5), 12: at(5) - MILLISECOND, 1_000_000: at(2)}
        for seq, finished_at in moments.items():
            await store.save_checkpoint(a_checkpoint(seq, name="event:state", finished_at=finished_at))
        await store.save_checkpoint(a_checkpoint(20, name="event:state2", finished_at=at(9)))
        await store.save_checkpoint(a_checkpoint(40, "run-2", name="event:state", finished_at=at(9)))
        latest = await store.find_latest_checkpoint_by_name("run-1", "event:state", by_time=True)
        assert latest == a_checkpoint(11, name="event:state", finished_at=at(5))
        assert await store.find_latest_checkpoint_by_name("run-1", "event:", by_time=True) is None
        scoped = store.with_scope("x")
        assert await scoped.find_latest_checkpoint_by_name("run-1", "event:state", by_time=True) is None

    async def test_checkpoints_are_listed_by_name_prefix(self, store: StateStore) -> None:
        names = ["spawn:a", "signal:x", "spawn:b", "Spawn:c", "xspawn:d", "signal"]
        for seq, name in enumerate(names):
            await store.save_checkpoint(a_checkpoint(seq, name=name))
        await store.save_checkpoint(a_checkpoint(0, "run-2", name="spawn:z"))

        async def by(*prefixes: str) -> list[str]:
            return [row.name for row in await store.list_checkpoints_by_name_prefix("run-1", prefixes)]

        assert await by("spawn:") == ["spawn:a", "spawn:b"]
        assert await by("spawn:", "signal:") == ["spawn:a", "signal:x", "spawn:b"]
        assert await by("spawn:", "spawn:a") == ["spawn:a", "spawn:b"]
        assert await by() == []
        assert await by("nothing") == []
        assert await by("") == names

    async def test_wildcards_in_a_prefix_mean_themselves(self, store: StateStore) -> None:
        names = ["a%b", "axb", "a_b", "a\\b", "a*b", "a?b", "a[x]b"]
        for seq, name in enumerate(names):
            await store.save_checkpoint(a_checkpoint(seq, name=name))
        for prefix in ("a%", "a_", "a\\", "a*", "a?", "a["):
            found = await store.list_checkpoints_by_name_prefix("run-1", [prefix])
            assert [row.name for row in found] == [name for name in names if name.startswith(prefix)], prefix

    @pytest.mark.parametrize("value", EVERY_JSON_VALUE, ids=lambda value: str(value)[:20])
    async def test_every_json_value_of_a_checkpoint_comes_back_equal(self, store: StateStore, value: Json) -> None:
        checkpoint = a_checkpoint(0, input=value, output=value, events=(value, value))
        recorded = await store.record_checkpoint(checkpoint)
        assert recorded.checkpoint == checkpoint
        stored = await store.find_checkpoint("run-1", 0)
        assert stored == checkpoint
        assert stored is not None
        assert same_type(stored.output, value)
        (row,) = await store.read_history("run-1")
        assert same_type(row.read_output(), value)
        assert row.read() == checkpoint

    async def test_recording_inserts_every_column(self, store: StateStore) -> None:
        await create(store, a_run(locked_by="mine"))
        recorded = await store.record_checkpoint(A_FULL_CHECKPOINT, token="mine")
        assert recorded == (A_FULL_CHECKPOINT, True)
        assert await store.list_checkpoints("run-1") == [A_FULL_CHECKPOINT]

    @pytest.mark.parametrize("status", FINISHED)
    async def test_a_finished_checkpoint_is_never_overwritten(
        self, store: StateStore, status: CheckpointStatus
    ) -> None:
        """The loser adopts what is stored."""
        await create(store, a_run(locked_by="mine"))
        first = a_checkpoint(0, status=status, output={"n": 1}, error=ErrorRecord(message="first"))
        await store.record_checkpoint(first, token="mine")
        for late in (*FINISHED, *UNFINISHED):
            recorded = await store.record_checkpoint(a_checkpoint(0, status=late, output={"n": 2}), token="mine")
            assert recorded == (first, False)
        assert await store.list_checkpoints("run-1") == [first]

    @pytest.mark.parametrize("status", UNFINISHED)
    async def test_an_unfinished_checkpoint_is_replaced(self, store: StateStore, status: CheckpointStatus) -> None:
        await store.record_checkpoint(
            a_checkpoint(0, status=status, input=1, output=2, wake_at=at(5), worker_group="g", events=(1,), attempts=4)
        )
        final = a_checkpoint(0, output={"done": True}, enqueued_at=at(1))
        assert await store.record_checkpoint(final) == (final, True)
        assert await store.list_checkpoints("run-1") == [final]

    async def test_a_stale_token_writes_nothing(self, store: StateStore) -> None:
        """Neither over an unfinished row nor beside it."""
        await create(store, a_run("run-1", locked_by="owner"), a_run("run-2"))
        pending = a_checkpoint(0, status=CheckpointStatus.PENDING)
        await store.record_checkpoint(pending, token="owner")
        for checkpoint in (a_checkpoint(0), a_checkpoint(1), a_checkpoint(0, "run-2"), a_checkpoint(0, "nobody")):
            with pytest.raises(LeaseLostError) as lost:
                await store.record_checkpoint(checkpoint, token="zombie")
            assert lost.value.run_id == checkpoint.run_id
        assert await store.list_checkpoints("run-1") == [pending]
        assert await store.list_checkpoints("run-2") == []
        assert await store.list_checkpoints("nobody") == []

    async def test_a_stale_token_does_not_read_a_finished_row_either(self, store: StateStore) -> None:
        """A turn without its lease must stop, so it learns of the loss first."""
        await create(store, a_run(locked_by="owner"))
        await store.record_checkpoint(a_checkpoint(0), token="owner")
        with pytest.raises(LeaseLostError):
            await store.record_checkpoint(a_checkpoint(0), token="zombie")

    async def test_an_expired_lease_that_nobody_took_still_writes(self, store: StateStore) -> None:
        """The token decides, not the clock: clocks differ between machines."""
        await create(store, a_run(locked_by="mine", locked_until=at(-1000)))
        assert (await store.record_checkpoint(a_checkpoint(0), token="mine")).won
