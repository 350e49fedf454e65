"""Creating, reading, changing and deleting one run."""

from typing import Any, cast

import pytest

from fastapi_durable.model.records import ErrorRecord, Json, RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.contract.suite.builders import (
    T0,
    a_checkpoint,
    a_run,
    a_waiter,
    at,
    create,
    existing,
    listed,
)

EVERY_JSON_VALUE: list[Json] = [
    True,
    False,
    0,
    -7,
    2**53 - 1,
    0.5,
    -1.25e-7,
    0.1 + 0.2,
    1e20,
    "",
    "text",
    "null",
    '{"looks": "like JSON"}',
    "quote ' backslash \\ percent % underscore _ dollar $1 question ?1",
    "unicode: äöü 漢字 🦉 \u2028 \u200d",
    [],
    {},
    [None, [None], {"inner": None}],
    {"": "empty key", "a.b": 1, "$": [1, 2.5, "x", {"deep": {"er": [True]}}]},
    {"text": "x" * 300_000},
]


def same_type(found: Json, given: Json) -> bool:
    """Equal values are the same, but True is not 1. JSON has one kind of number, so 1e20 may come back whole."""
    return isinstance(found, bool) is isinstance(given, bool)


class RunsContract:
    async def test_a_created_run_is_read_back_as_it_was(self, store: StateStore) -> None:
        """With every column."""
        run = a_run(
            status=RunStatus.RUNNING,
            input={"order": [1, 2, {"sku": "ü"}]},
            output=[1, "two"],
            error=ErrorRecord(
                message="boom",
                code="E1",
                retryable=False,
                stack="at line 1",
                type="BoomError",
                cause=ErrorRecord(message="inner"),
            ),
            wake_at=at(60),
            wake_count=3,
            locked_by="token-1",
            locked_until=at(30),
            awaiting_decision_task_id="run-1:wf:abcd1234",
            recovery_attempts=2,
            tags=("singleton:a", "b"),
            search_attributes={"customer": "Ada", "total": 12.5, "count": 3, "vip": True},
            priority=-5,
            queue="mail",
            fairness_key="tenant",
            namespace="tenant-a",
            origin="shop",
            parent_run_id="parent",
            parent_seq=4,
            expires_at=at(3600),
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            updated_at=at(1),
        )
        created = await store.create_run(run)
        assert created.created
        assert created.run == run
        assert await store.find_run("run-1") == run

    async def test_absent_values_stay_absent(self, store: StateStore) -> None:
        """Nothing is replaced by a default."""
        run = a_run()
        await create(store, run)
        stored = await existing(store)
        assert stored == run
        assert stored.priority is None
        assert stored.recovery_attempts is None
        assert stored.origin is None
        assert stored.namespace == "default"

    async def test_a_run_that_does_not_exist_is_none(self, store: StateStore) -> None:
        assert await store.find_run("nobody") is None

    @pytest.mark.parametrize("value", EVERY_JSON_VALUE, ids=lambda value: str(value)[:20])
    async def test_every_json_value_of_a_run_comes_back_equal(self, store: StateStore, value: Json) -> None:
        await create(store, a_run(input=value, output=value))
        stored = await existing(store)
        assert stored.input == value
        assert same_type(stored.input, value)
        assert stored.output == value

    async def test_a_stored_value_does_not_change_with_the_callers_object(self, store: StateStore) -> None:
        value = {"items": [1]}
        await create(store, a_run(input=value))
        value["items"].append(2)
        first = await existing(store)
        assert first.input == {"items": [1]}
        first.input["items"].append(3)
        assert (await existing(store)).input == {"items": [1]}

    async def test_stored_attributes_do_not_change_with_the_callers_object(self, store: StateStore) -> None:
        attributes: dict[str, Any] = {"k": 1}
        await create(store, a_run(search_attributes=attributes))
        attributes["k"] = 2
        for found in (await existing(store), *await store.list_runs(RunQuery())):
            assert found.search_attributes == {"k": 1}
            cast(dict[str, Any], found.search_attributes)["k"] = 3
        await store.update_run("run-1", {"search_attributes": attributes})
        attributes["k"] = 4
        assert (await existing(store)).search_attributes == {"k": 2}

    async def test_times_keep_their_milliseconds(self, store: StateStore) -> None:
        moments = [T0.replace(microsecond=0), T0.replace(microsecond=999000), T0.replace(microsecond=1000)]
        for number, moment in enumerate(moments):
            await create(store, a_run(f"run-{number}", created_at=moment, wake_at=moment, locked_until=moment))
            stored = await existing(store, f"run-{number}")
            assert (stored.created_at, stored.wake_at, stored.locked_until) == (moment, moment, moment)

    async def test_an_id_is_a_text_like_any_other(self, store: StateStore) -> None:
        """Case-sensitive, long, with characters that mean something elsewhere."""
        ids = ["A", "a", "ä", "x" * 1000, "o'brien; --", "100%", "a_b", "<p>.child.3~retry~1"]
        await create(store, *(a_run(run_id) for run_id in ids))
        for run_id in ids:
            assert (await existing(store, run_id)).id == run_id
        assert sorted(await listed(store)) == sorted(ids)

    async def test_creating_an_existing_run_returns_the_stored_one(self, store: StateStore) -> None:
        """A start is idempotent by run id."""
        first = a_run(input={"n": 1}, search_attributes={"kind": "first"})
        again = a_run(input={"n": 2}, search_attributes={"kind": "second", "extra": 1}, created_at=at(5))
        await create(store, first)
        found = await store.create_run(again)
        assert not found.created
        assert found.run == first
        assert await existing(store) == first

    async def test_an_update_sets_every_column(self, store: StateStore) -> None:
        """Cases 3 and 7."""
        await create(store, a_run())
        assert await store.update_run(
            "run-1",
            {
                "workflow_version": "2",
                "status": RunStatus.DEAD,
                "input": {"new": True},
                "output": "done",
                "error": ErrorRecord(message="cancelled"),
                "wake_at": at(9),
                "locked_by": "token-9",
                "locked_until": at(99),
                "awaiting_decision_task_id": "task",
                "recovery_attempts": 5,
                "tags": ("t1", "t2"),
                "search_attributes": {"a": 1},
                "parent_run_id": "p",
                "parent_seq": 1,
                "expires_at": at(1000),
                "updated_at": at(2),
            },
        )
        assert await existing(store) == a_run(
            workflow_version="2",
            status=RunStatus.DEAD,
            input={"new": True},
            output="done",
            error=ErrorRecord(message="cancelled"),
            wake_at=at(9),
            locked_by="token-9",
            locked_until=at(99),
            awaiting_decision_task_id="task",
            recovery_attempts=5,
            tags=("t1", "t2"),
            search_attributes={"a": 1},
            parent_run_id="p",
            parent_seq=1,
            expires_at=at(1000),
            updated_at=at(2),
        )

    async def test_an_update_with_none_clears_a_column(self, store: StateStore) -> None:
        await create(
            store,
            a_run(
                input=1,
                output=2,
                error=ErrorRecord(message="x"),
                wake_at=T0,
                locked_by="t",
                locked_until=T0,
                awaiting_decision_task_id="task",
                recovery_attempts=1,
                tags=("a",),
                search_attributes={"k": "v"},
                parent_run_id="p",
                parent_seq=0,
                expires_at=T0,
            ),
        )
        assert await store.update_run(
            "run-1",
            {
                "input": None,
                "output": None,
                "error": None,
                "wake_at": None,
                "locked_by": None,
                "locked_until": None,
                "awaiting_decision_task_id": None,
                "recovery_attempts": None,
                "tags": (),
                "search_attributes": {},
                "parent_run_id": None,
                "parent_seq": None,
                "expires_at": None,
            },
        )
        assert await existing(store) == a_run()

    async def test_an_update_leaves_the_other_columns_alone(self, store: StateStore) -> None:
        run = a_run(input={"a": 1}, tags=("x",), search_attributes={"k": 1}, wake_count=2, priority=3)
        await create(store, run)
        assert await store.update_run("run-1", {"output": {"b": 2}})
        assert await existing(store) == a_run(
            input={"a": 1}, output={"b": 2}, tags=("x",), search_attributes={"k": 1}, wake_count=2, priority=3
        )

    async def test_an_update_reaches_only_its_own_run(self, store: StateStore) -> None:
        await create(store, a_run("run-1"), a_run("run-2"))
        await store.update_run("run-1", {"status": RunStatus.FAILED, "search_attributes": {"k": 1}})
        assert await existing(store, "run-2") == a_run("run-2")

    async def test_an_update_of_a_missing_run_says_so(self, store: StateStore) -> None:
        assert not await store.update_run("nobody", {"status": RunStatus.FAILED})
        assert not await store.update_run("nobody", {"search_attributes": {"a": 1}})
        assert await store.find_run("nobody") is None

    async def test_an_update_without_changes_only_checks_the_guards(self, store: StateStore) -> None:
        await create(store, a_run())
        assert await store.update_run("run-1", {}, statuses=[RunStatus.PENDING])
        assert not await store.update_run("run-1", {}, statuses=[RunStatus.RUNNING])
        assert await existing(store) == a_run()

    async def test_an_update_from_another_status_writes_nothing(self, store: StateStore) -> None:
        await create(store, a_run(status=RunStatus.CANCELLED, search_attributes={"k": 1}))
        changes = {"status": RunStatus.COMPLETED, "output": 1, "search_attributes": {"k": 2}}
        live = {RunStatus.RUNNING, RunStatus.SUSPENDED}
        assert not await store.update_run("run-1", changes, statuses=live)  # type: ignore[arg-type]
        assert not await store.update_run("run-1", {"output": 1}, statuses=live)
        assert not await store.update_run("run-1", {"output": 1}, statuses=[])
        assert await existing(store) == a_run(status=RunStatus.CANCELLED, search_attributes={"k": 1})
        assert await store.update_run("run-1", {"output": 1}, statuses={*live, RunStatus.CANCELLED})

    async def test_an_update_under_another_token_writes_nothing(self, store: StateStore) -> None:
        await create(store, a_run("run-1", locked_by="mine"), a_run("run-2"))
        assert not await store.update_run("run-1", {"output": 1}, token="other")
        assert not await store.update_run("run-2", {"output": 1}, token="mine")
        assert await store.update_run("run-1", {"output": 1}, token="mine")

    async def test_an_update_after_a_delivery_writes_nothing(self, store: StateStore) -> None:
        """Suspending is a compare-and-set on the wake count."""
        await create(store, a_run(wake_count=1))
        assert not await store.update_run("run-1", {"status": RunStatus.SUSPENDED}, wake_count=0)
        assert await store.update_run("run-1", {"status": RunStatus.SUSPENDED}, wake_count=1)

    async def test_every_guard_must_hold(self, store: StateStore) -> None:
        await create(store, a_run(status=RunStatus.RUNNING, locked_by="mine", wake_count=1))
        running = [RunStatus.RUNNING]
        assert not await store.update_run("run-1", {"output": 1}, statuses=running, token="mine", wake_count=2)
        assert not await store.update_run("run-1", {"output": 1}, statuses=running, token="other", wake_count=1)
        assert not await store.update_run("run-1", {"output": 1}, statuses=[], token="mine", wake_count=1)
        assert await store.update_run("run-1", {"output": 1}, statuses=running, token="mine", wake_count=1)

    async def test_deleting_a_run_removes_everything_of_it(self, store: StateStore) -> None:
        for run_id in ("run-1", "run-2"):
            await create(store, a_run(run_id, search_attributes={"k": "v"}))
            await store.save_checkpoint(a_checkpoint(0, run_id))
            await store.save_checkpoint(a_checkpoint(-1, run_id))
            await store.put_signal_waiter(a_waiter(f"token-of-{run_id}", run_id))
        assert await store.delete_run("run-1")
        assert await store.find_run("run-1") is None
        assert await store.list_checkpoints("run-1") == []
        assert await store.find_signal_waiter("token-of-run-1") is None
        assert await listed(store) == ["run-2"]
        # A new run of the same id starts with nothing of the old one.
        await create(store, a_run("run-1"))
        assert await listed(store, tag="x") == []
        assert len(await store.list_checkpoints("run-2")) == 2
        assert await store.find_signal_waiter("token-of-run-2") is not None

    async def test_deleting_a_missing_run_does_nothing(self, store: StateStore) -> None:
        await create(store, a_run())
        assert not await store.delete_run("nobody")
        assert await listed(store) == ["run-1"]

    async def test_the_namespace_is_applied_before_the_limit(self, store: StateStore) -> None:
        for number in range(3):
            for namespace in ("a", "b"):
                for status in (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUSPENDED):
                    await create(
                        store,
                        a_run(f"{namespace}-{status}-{number}", namespace=namespace, status=status, wake_at=at(number)),
                    )
        assert await listed(store, namespace="b", status=RunStatus.PENDING, limit=3) == [
            f"b-pending-{number}" for number in (2, 1, 0)
        ]
        assert len(await listed(store, namespace="b", limit=5)) == 5
        assert len(await listed(store)) == 18
