"""Signal waiters and buffered signals."""

import pytest

from fastapi_durable.model.errors import SignalTokenTakenError
from fastapi_durable.model.records import CheckpointStatus, Json, RunStatus, SignalWaiter
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import T0, a_checkpoint, a_run, a_waiter, at, create
from fastapi_durable.store.contract.suite.runs import EVERY_JSON_VALUE, same_type


async def tokens(store: StateStore, prefix: str | None = None, run_ids: list[str] | None = None) -> list[str]:
    return [waiter.token for waiter in await store.list_signal_waiters(prefix=prefix, run_ids=run_ids)]


async def taken(store: StateStore, token: str) -> Json:
    signal = await store.take_buffered_signal(token)
    assert signal is not None
    return signal.payload


class SignalsContract:
    async def test_a_waiter_is_taken_once(self, store: StateStore) -> None:
        """Cases 29 and 30."""
        waiter = a_waiter("approve:1", "run-1", 3, parallel_group="all:0")
        await store.put_signal_waiter(waiter)
        await store.put_signal_waiter(a_waiter("approve:2", "run-1", 4))
        assert await store.find_signal_waiter("approve:1") == waiter
        assert await store.take_signal_waiter("approve:1") == waiter
        assert await store.take_signal_waiter("approve:1") is None
        assert await store.find_signal_waiter("approve:1") is None
        assert await store.take_signal_waiter("approve:2") == a_waiter("approve:2", "run-1", 4)

    async def test_the_same_waiter_again_changes_nothing(self, store: StateStore) -> None:
        waiter = a_waiter("t", "run-1", 3, parallel_group="g")
        await store.put_signal_waiter(waiter)
        await store.put_signal_waiter(waiter)
        assert await store.list_signal_waiters() == [waiter]

    @pytest.mark.parametrize("second", [a_waiter("t", "run-2", 3), a_waiter("t", "run-1", 4)], ids=["run", "position"])
    async def test_a_second_waiter_of_a_token_is_refused(self, store: StateStore, second: SignalWaiter) -> None:
        """The error names the owner, and the owner keeps the token."""
        await store.put_signal_waiter(a_waiter("t", "run-1", 3))
        with pytest.raises(SignalTokenTakenError) as taken:
            await store.put_signal_waiter(second)
        assert (taken.value.token, taken.value.owner_run_id) == ("t", "run-1")
        assert await store.find_signal_waiter("t") == a_waiter("t", "run-1", 3)

    async def test_a_receiver_is_read_with_its_run_and_what_its_position_holds(self, store: StateStore) -> None:
        run = a_run(status=RunStatus.SUSPENDED, input={"b": 1, "a": [2]}, tags=("t",), wake_count=3)
        await create(store, run, a_run("run-2"))
        waiter, other = a_waiter("t", "run-1", 3, parallel_group="g"), a_waiter("other", "run-2", 0)
        begun = a_checkpoint(3, status=CheckpointStatus.PENDING, input={"type": "x"})
        await store.put_signal_waiter(waiter)
        await store.put_signal_waiter(other)
        assert await store.find_receiver("t") == (waiter, run, None)
        await store.save_checkpoint(begun)
        await store.save_checkpoint(a_checkpoint(4))
        assert await store.find_receiver("t") == (waiter, run, begun)
        assert await store.find_receiver("nobody's") is None

    async def test_a_waiter_that_a_deleted_run_has_left_is_no_receiver(self, store: StateStore) -> None:
        await store.put_signal_waiter(a_waiter("t", "gone", 3))
        assert await store.find_receiver("t") is None

    async def test_only_exactly_this_waiter_is_removed(self, store: StateStore) -> None:
        owner = a_waiter("t", "run-1", 3, parallel_group="g")
        await store.put_signal_waiter(owner)
        assert not await store.remove_signal_waiter(a_waiter("t", "run-2", 3))
        assert not await store.remove_signal_waiter(a_waiter("t", "run-1", 4))
        assert not await store.remove_signal_waiter(a_waiter("T", "run-1", 3))
        assert await store.find_signal_waiter("t") == owner
        assert await store.remove_signal_waiter(a_waiter("t", "run-1", 3))
        assert not await store.remove_signal_waiter(owner)

    async def test_the_waiters_of_a_run_are_removed_together(self, store: StateStore) -> None:
        for token, run_id in [("a", "run-1"), ("b", "run-2"), ("c", "run-1")]:
            await store.put_signal_waiter(a_waiter(token, run_id))
        assert await store.remove_signal_waiters_of_run("run-1") == 2
        assert await tokens(store) == ["b"]
        assert await store.remove_signal_waiters_of_run("run-1") == 0

    async def test_waiters_are_listed_by_prefix_and_run(self, store: StateStore) -> None:
        for token, run_id in [("child:b", "run-1"), ("child:a", "run-2"), ("Child:c", "run-1"), ("bp:x", "run-1")]:
            await store.put_signal_waiter(a_waiter(token, run_id))
        assert await tokens(store) == ["Child:c", "bp:x", "child:a", "child:b"]
        assert await tokens(store, prefix="child:") == ["child:a", "child:b"]
        assert await tokens(store, run_ids=["run-1"]) == ["Child:c", "bp:x", "child:b"]
        assert await tokens(store, prefix="child:", run_ids=["run-1", "nobody"]) == ["child:b"]
        assert await tokens(store, run_ids=[]) == []
        limited = await store.list_signal_waiters(limit=2)
        assert [waiter.token for waiter in limited] == ["Child:c", "bp:x"]
        rest = await store.list_signal_waiters(limit=2, after="bp:x")
        assert [waiter.token for waiter in rest] == ["child:a", "child:b"]
        assert await store.list_signal_waiters(prefix="child:", after="child:b") == []

    async def test_wildcards_in_a_token_mean_themselves(self, store: StateStore) -> None:
        names = ["a%b", "axb", "a_b", "a\\b", "a*b", "A%b"]
        for name in names:
            await store.put_signal_waiter(a_waiter(name))
        for prefix in ("a%", "a_", "a\\", "a*"):
            assert await tokens(store, prefix=prefix) == [name for name in names if name.startswith(prefix)], prefix

    async def test_tokens_are_case_sensitive_and_may_be_long(self, store: StateStore) -> None:
        long = "event:" + "x" * 1500
        for token in ("Approve", "approve", "ünï", long):
            await store.put_signal_waiter(a_waiter(token, f"run of {token[:10]}"))
            await store.buffer_signal(token, token, now=T0)
        for token in ("Approve", "approve", "ünï", long):
            assert await store.take_signal_waiter(token) == a_waiter(token, f"run of {token[:10]}")
            assert await taken(store, token) == token
        assert await store.take_buffered_signal("APPROVE") is None

    async def test_buffered_signals_are_taken_in_order(self, store: StateStore) -> None:
        for number in range(3):
            assert await store.buffer_signal("t", {"n": number}, now=at(-number))
        await store.buffer_signal("other", "x", now=T0)
        assert [await taken(store, "t") for _ in range(3)] == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert await store.take_buffered_signal("t") is None
        assert await taken(store, "other") == "x"

    @pytest.mark.parametrize("value", [*EVERY_JSON_VALUE, None], ids=lambda value: str(value)[:20])
    async def test_every_payload_of_a_signal_comes_back_equal(self, store: StateStore, value: Json) -> None:
        await store.buffer_signal("t", value, now=T0)
        payload = await taken(store, "t")
        assert payload == value
        assert same_type(payload, value)

    async def test_a_signal_of_a_known_id_is_kept_once(self, store: StateStore) -> None:
        """The id belongs to the token; signals without one are all kept."""
        assert await store.buffer_signal("t", 1, now=T0, signal_id="s")
        assert not await store.buffer_signal("t", 2, now=T0, signal_id="s")
        assert await store.buffer_signal("u", 3, now=T0, signal_id="s")
        assert await store.buffer_signal("t", 4, now=T0)
        assert await store.buffer_signal("t", 5, now=T0)
        signal = await store.take_buffered_signal("t")
        assert signal is not None
        assert (signal.token, signal.payload, signal.signal_id) == ("t", 1, "s")
        assert [await taken(store, "t"), await taken(store, "t")] == [4, 5]
        assert await taken(store, "u") == 3
        # Once taken, the id may be kept again: remembering deliveries is the engine's task.
        assert await store.buffer_signal("t", 6, now=T0, signal_id="s")

    async def test_old_signals_are_pruned_oldest_first(self, store: StateStore) -> None:
        for number in range(5):
            await store.buffer_signal("t", number, now=at(number))
        assert await store.prune_buffered_signals(at(3), limit=2) == 2
        assert await store.prune_buffered_signals(at(3), limit=2) == 1
        assert await store.prune_buffered_signals(at(3), limit=2) == 0
        assert [await taken(store, "t"), await taken(store, "t")] == [3, 4]

    async def test_a_finished_run_keeps_its_buffered_signals(self, store: StateStore) -> None:
        """Signals belong to a token, not to a run: deleting the run does not touch them."""
        await create(store, a_run())
        await store.buffer_signal("run-1", "x", now=T0)
        await store.delete_run("run-1")
        assert await taken(store, "run-1") == "x"
