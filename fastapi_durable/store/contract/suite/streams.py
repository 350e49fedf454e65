"""Streams of runs."""

import pytest

from fastapi_durable.model.errors import StoreError
from fastapi_durable.model.records import Json, RetentionPolicy, RunStatus, StreamRow, StreamRowKind
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import MINUTE, T0, a_run, a_stream_row, at, create, existing
from fastapi_durable.store.contract.suite.runs import EVERY_JSON_VALUE, same_type
from fastapi_durable.store.port.streams import StreamPart

_HELD = {"run-1": "token"}


async def driven(store: StateStore, *run_ids: str) -> None:
    """Runs that are leased under "token"."""
    leased = {"status": RunStatus.RUNNING, "locked_by": "token", "locked_until": at(60)}
    await create(store, *(a_run(run_id, **leased) for run_id in run_ids or ("run-1",)))


async def offsets(store: StateStore, stream: str = "tokens", run_id: str = "run-1") -> list[int]:
    return [row.item_offset for row in await store.read_stream_rows(run_id, stream, limit=100)]


class StreamsContract:
    async def test_rows_come_back_in_order_and_page_by_page(self, store: StateStore) -> None:
        await driven(store)
        rows = [a_stream_row(offset, data={"n": offset}, step_id="run-1:3", attempt=2) for offset in range(5)]
        assert await store.append_stream_rows(rows, tokens=_HELD) == frozenset()
        assert await store.read_stream_rows("run-1", "tokens", limit=3) == rows[:3]
        assert await store.read_stream_rows("run-1", "tokens", after=2, limit=3) == rows[3:]
        assert await store.read_stream_rows("run-1", "tokens", after=4, limit=3) == []
        assert await store.read_stream_rows("run-1", "token", limit=3) == []
        assert await store.read_stream_rows("run-2", "tokens", limit=3) == []

    @pytest.mark.parametrize("value", [*EVERY_JSON_VALUE, None], ids=lambda value: str(value)[:20])
    async def test_every_item_comes_back_equal(self, store: StateStore, value: Json) -> None:
        await driven(store)
        await store.append_stream_rows([a_stream_row(data=value)], tokens=_HELD)
        (row,) = await store.read_stream_rows("run-1", "tokens", limit=1)
        assert row == a_stream_row(data=value)
        assert same_type(row.data, value)

    async def test_only_the_holder_of_the_lease_appends(self, store: StateStore) -> None:
        """Of several runs in one call, those that are held are written, and the others are named."""
        await driven(store, "run-1", "run-2")
        await create(store, a_run("run-3"))
        rows = [a_stream_row(run_id=run_id) for run_id in ("run-1", "run-2", "run-3", "run-4")]
        tokens = {"run-1": "token", "run-2": "another", "run-3": "token", "run-4": "token"}
        refused = await store.append_stream_rows(rows, tokens=tokens)
        assert refused == {"run-2", "run-3", "run-4"}
        assert [await offsets(store, run_id=run_id) for run_id in tokens] == [[0], [], [], []]

    async def test_a_row_that_is_there_stays_and_the_call_can_be_repeated(self, store: StateStore) -> None:
        """A caller without an answer repeats the call, which writes only missing rows."""
        await driven(store)
        await store.append_stream_rows([a_stream_row(0, data="first")], tokens=_HELD)
        again = [a_stream_row(0, data="second"), a_stream_row(1, data="third")]
        assert await store.append_stream_rows(again, tokens=_HELD) == frozenset()
        rows = await store.read_stream_rows("run-1", "tokens", limit=10)
        assert [row.data for row in rows] == ["first", "third"]

    async def test_the_parts_of_a_stream_tell_who_came_how_far(self, store: StateStore) -> None:
        await driven(store)
        rows: list[StreamRow] = [
            a_stream_row(0, step_id="run-1:0", attempt=1),
            a_stream_row(1, step_id="run-1:0", attempt=3, kind=StreamRowKind.RESTART),
            a_stream_row(2, kind=StreamRowKind.END),
            a_stream_row(0, stream="log"),
        ]
        await store.append_stream_rows(rows, tokens=_HELD)
        parts = sorted(await store.list_stream_parts("run-1"), key=lambda part: (part.stream, part.step_id))
        assert parts == [
            StreamPart("log", "", last_attempt=1, last_offset=0, closes=False),
            StreamPart("tokens", "", last_attempt=1, last_offset=2, closes=True),
            StreamPart("tokens", "run-1:0", last_attempt=3, last_offset=1, closes=False),
        ]
        assert await store.list_stream_parts("run-2") == []

    async def test_rows_of_a_transaction_that_fails_are_undone(self, store: StateStore) -> None:
        await driven(store)

        async def append_and_fail() -> None:
            async with store.transaction() as transaction:
                await transaction.append_stream_rows([a_stream_row()], tokens=_HELD)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await append_and_fail()
        assert await offsets(store) == []

    async def test_a_deleted_run_takes_its_streams_along(self, store: StateStore) -> None:
        """By an operator and by retention alike; another run's stay."""
        await driven(store, "run-1", "run-2", "run-3")
        rows = [a_stream_row(run_id=run_id) for run_id in ("run-1", "run-2", "run-3")]
        await store.append_stream_rows(rows, tokens=dict.fromkeys(("run-1", "run-2", "run-3"), "token"))
        await store.delete_run("run-1")
        await store.update_run("run-2", {"status": RunStatus.COMPLETED})
        policy = RetentionPolicy(statuses=frozenset({RunStatus.COMPLETED}), max_age=MINUTE)
        assert await store.prune_terminal_runs(policy, now=T0 + 10 * MINUTE, limit=10) == 1
        assert [await offsets(store, run_id=run_id) for run_id in ("run-1", "run-2", "run-3")] == [[], [], [0]]
        assert (await existing(store, "run-3")).status is RunStatus.RUNNING

    async def test_a_scope_sees_and_touches_only_the_streams_of_its_runs(self, store: StateStore) -> None:
        await driven(store)
        await store.append_stream_rows([a_stream_row()], tokens=_HELD)
        elsewhere = store.with_scope("elsewhere")
        assert await elsewhere.read_stream_rows("run-1", "tokens", limit=10) == []
        assert await elsewhere.list_stream_parts("run-1") == []
        with pytest.raises(StoreError, match="namespace"):
            await elsewhere.append_stream_rows([a_stream_row(1)], tokens=_HELD)
        assert await offsets(store.with_scope("default")) == [0]
