"""Workflows that events start: once for each event, after a quiet time, or several events at a time."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import Batch, workflow, workflow_definition
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import DefinitionError, RunCancelledError
from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import FAST, build_engine, run_has, running_engine, tuned, until
from tests.support.stores import on_every_store


class Paid(BaseModel):
    order: str


@workflow(on_event="paid")
async def ship(ctx: WorkflowContext, paid: Paid) -> str:
    return f"shipped {paid.order}"


@workflow(on_event=["paid", "refunded"])
async def account(ctx: WorkflowContext, payload: dict[str, str]) -> dict[str, str]:
    return payload


@workflow(on_event="changed", debounce="40ms")
async def index(ctx: WorkflowContext, payload: int) -> int:
    return payload


@workflow(on_event="measured", batch=Batch(max_size=3, within="60ms"))
async def store_all(ctx: WorkflowContext, payload: dict[str, list[int]]) -> list[int]:
    return payload["events"]


async def _outputs(store: StateStore, name: str) -> list[object]:
    runs = await store.list_runs(RunQuery(workflow=name, status=RunStatus.COMPLETED))
    return [run.output for run in reversed(runs)]


@on_every_store
async def test_an_event_starts_each_of_its_workflows_once(store: StateStore) -> None:
    """However often and from how many places it is published."""
    async with running_engine(store, ship, account) as engine, running_engine(store, ship, account) as other:
        publish = [each.publish_event("paid", {"order": "7"}, event_id="e1") for each in [engine, other] * 3]
        results = await asyncio.gather(*publish)
        assert sorted(result.duplicate for result in results) == [False, *[True] * 5]
        (first,) = [result for result in results if not result.duplicate]
        assert sorted(first.started) == ["evt:e1:account", "evt:e1:ship"]
        assert not first.buffered
        assert await engine.handle("evt:e1:ship").result("60s") == "shipped 7"
        assert await engine.handle("evt:e1:account").result("60s") == {"order": "7"}
    assert await store.count_runs(RunQuery()) == 2


@on_every_store
async def test_a_payload_that_is_no_input_of_one_workflow_does_not_keep_the_others(store: StateStore) -> None:
    result = await build_engine(store, ship, account).publish_event("paid", {"other": "x"}, event_id="e1")
    assert result.started == ("evt:e1:account",)


@workflow(on_event=["paid", "refunded", "charged back"])
async def book(ctx: WorkflowContext, payload: str) -> str:
    return payload


@on_every_store
@pytest.mark.parametrize("namespace", ["default", "acme"])
async def test_events_of_two_names_and_one_id_start_two_runs(store: StateStore, namespace: str) -> None:
    async with running_engine(store, book, config=tuned(FAST, namespace=namespace)) as engine:
        started: list[str] = []
        for name in ("paid", "refunded", "charged back"):
            for repeated in (False, True):
                published = await engine.publish_event(name, name, event_id="e1")
                assert published.duplicate is repeated
                started += published.started
        outputs = [await engine.handle(run_id).result("60s") for run_id in started]
    assert outputs == ["paid", "refunded", "charged back"]
    if namespace == "default":
        assert started == ["evt:e1:book", "evt@@8.refunded:e1:book", "evt@@12.charged back:e1:book"]
    assert await store.count_runs(RunQuery()) == 3


async def test_an_event_whose_run_exists_says_that_it_started_nothing(store: StateStore) -> None:
    """Its mark is gone, for it was published long ago."""
    engine = build_engine(store, book)
    assert (await engine.publish_event("paid", "x", event_id="e1")).started == ("evt:e1:book",)
    for event in await store.list_buffered_events("published:paid:e1"):
        await store.remove_buffered_event(event.id)
    again = await engine.publish_event("paid", "x", event_id="e1")
    assert (again.started, again.duplicate) == ((), False)
    assert await store.count_runs(RunQuery()) == 1


@workflow(on_event=["paid", "refunded"], batch=Batch(max_size=2, within="1 day"))
async def book_many(ctx: WorkflowContext, input: dict[str, Any]) -> Any:
    return input["events"]


@on_every_store
async def test_events_of_two_names_and_one_id_are_both_collected(store: StateStore) -> None:
    async with running_engine(store, book_many) as engine:
        for name in ("paid", "refunded", "paid", "refunded"):
            await engine.publish_event(name, name, event_id="e1")
        run_id = "evt@@8.refunded:e1:book_many"
        await until(lambda: store.find_run(run_id))
        assert await engine.handle(run_id).result("60s") == ["paid", "refunded"]


@on_every_store
async def test_events_of_a_workflow_that_the_worker_lacks_are_kept_until_one_has_it(store: StateStore) -> None:
    """As during a deploy: the accumulator is the engine's own, so any worker drives it."""
    config = tuned(FAST, blocked_poll_interval=timedelta(milliseconds=20))
    await build_engine(store, index).publish_event("changed", 7)
    async with running_engine(store, book, config=config):
        await until(run_has(store, "__evtacc__:index", RunStatus.BLOCKED))
    blocked = await store.find_run("__evtacc__:index")
    assert blocked is not None
    assert blocked.error is not None
    assert "'index'" in blocked.error.message
    async with running_engine(store, index, config=config):
        await until(lambda: _outputs(store, "index"))
    assert await _outputs(store, "index") == [7]


async def test_the_same_event_id_in_another_namespace_is_another_event() -> None:

    store = MemoryStateStore()
    tenant = build_engine(store, account, config=tuned(FAST, namespace="tenant"))
    result = await tenant.publish_event("paid", {}, event_id="e1")
    assert result.started == ("evt@6.tenant:e1:account",)


async def test_a_debounced_workflow_gets_the_last_event_after_a_quiet_time() -> None:
    store = MemoryStateStore()
    async with running_engine(store, index) as engine:
        for number in range(5):
            result = await engine.publish_event("changed", number)
            assert result.started == ("__evtacc__:index",)
        await until(lambda: _has_outputs(store, "index", 1))
        await engine.publish_event("changed", 99)
        await until(lambda: _has_outputs(store, "index", 2))
    outputs = await _outputs(store, "index")
    assert outputs[-1] == 99
    assert outputs[0] == 4


async def test_a_batch_starts_when_it_is_full_or_its_first_event_has_waited() -> None:
    store = MemoryStateStore()
    async with running_engine(store, store_all) as engine:
        for number in range(7):
            await engine.publish_event("measured", number)
        await until(lambda: _has_outputs(store, "store_all", 3))
    assert await _outputs(store, "store_all") == [[0, 1, 2], [3, 4, 5], [6]]


async def test_an_accumulator_keeps_its_id_and_a_short_history() -> None:
    store = MemoryStateStore()
    async with running_engine(store, store_all) as engine:
        for number in range(12):
            await engine.publish_event("measured", number)
        await until(lambda: _has_outputs(store, "store_all", 4))
        await until(lambda: store.find_signal_waiter("__evtacc__:store_all"))
        assert len(await store.list_checkpoints("__evtacc__:store_all")) < 4
    assert await store.count_runs(RunQuery(workflow="__evt_batch")) == 1


@on_every_store
async def test_an_accumulator_that_was_cancelled_begins_anew_with_the_next_event(store: StateStore) -> None:
    async with running_engine(store, index) as engine:
        await engine.publish_event("changed", 1)
        await engine.cancel("__evtacc__:index")
        with pytest.raises(RunCancelledError):
            await engine.handle("__evtacc__:index").result("60s")
        await engine.publish_event("changed", 2)
        await until(lambda: _has_outputs(store, "index", 1))
    assert await _outputs(store, "index") == [2]


async def _has_outputs(store: StateStore, name: str, number: int) -> bool:
    return len(await _outputs(store, name)) >= number


@pytest.mark.parametrize(
    "options", [{"debounce": "1s"}, {"on_event": "x", "debounce": "1s", "batch": Batch(max_size=2, within="1s")}]
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, str | Sequence[str] | Batch]) -> None:
    with pytest.raises(DefinitionError):

        @workflow(**options)  # type: ignore[call-overload, untyped-decorator]
        async def flow(ctx: WorkflowContext) -> None: ...


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(DefinitionError):
        Batch(max_size=0, within="1s")


def collecting(name: str, on_event: str, **options: Any) -> Any:
    """A workflow of one name in several deploys; it returns what it is started with."""

    async def collected(ctx: WorkflowContext, payload: Any) -> Any:
        return payload

    return workflow(name=name, on_event=on_event, **options)(collected)


def quick(**options: Any) -> Any:
    return collecting("collected", "put", **options)


async def _started(store: StateStore, number: int) -> list[Any]:
    """The outputs of the runs, once there are so many, sorted."""

    async def enough() -> bool:
        return len(await _outputs(store, "collected")) >= number

    await until(enough)
    return sorted(await _outputs(store, "collected"), key=str)


def events(*payloads: int) -> dict[str, list[int]]:
    return {"events": list(payloads)}


LONG, PAIRS = Batch(max_size=3, within="1h"), Batch(max_size=2, within="1h")
CHANGES: list[tuple[Any, Any, list[Any]]] = [
    (quick(debounce="1h"), quick(debounce="1ms"), [3]),
    (quick(batch=Batch(max_size=9, within="1h")), quick(batch=LONG), [events(1, 2, 3)]),
    (quick(batch=Batch(max_size=9, within="1h")), quick(batch=Batch(max_size=9, within="1ms")), [events(1, 2, 3)]),
    (quick(batch=Batch(max_size=9, within="1h")), quick(batch=PAIRS), [events(1, 2), events(3)]),
    (quick(batch=LONG), quick(debounce="1ms"), [1, 2, 3]),
    (quick(debounce="1h"), quick(batch=PAIRS), [events(2, 3)]),
]


@pytest.mark.parametrize(
    ("old", "new", "outputs"),
    CHANGES,
    ids=["debounce", "longer batch", "shorter wait", "smaller batch", "batch to debounce", "debounce to batch"],
)
@on_every_store
async def test_another_option_holds_from_the_first_event_of_its_deploy_and_loses_nothing(
    store: StateStore, old: Any, new: Any, outputs: list[Any]
) -> None:
    async with running_engine(store, old) as engine:
        for payload in (1, 2):
            await engine.publish_event("put", payload)
    async with running_engine(store, new) as engine:
        await engine.publish_event("put", 3)
        assert await _started(store, len(outputs)) == sorted(outputs, key=str)
        await engine.publish_event("put", 4)
        if workflow_definition(new).debounce is not None:
            assert 4 in await _started(store, len(outputs) + 1)
    accumulator = await store.find_run("__evtacc__:collected")
    assert accumulator is not None
    assert accumulator.error is None


@on_every_store
async def test_what_is_held_is_delivered_when_a_deploy_collects_no_more(store: StateStore) -> None:
    """The workflow takes single events now, and its process has nothing that collects."""
    async with running_engine(store, quick(batch=Batch(max_size=9, within="50ms"))) as engine:
        for payload in (1, 2):
            await engine.publish_event("put", payload)
    async with running_engine(store, quick()) as engine:
        await engine.publish_event("put", 3)
        assert await _started(store, 3) == [1, 2, 3]


async def test_a_batch_that_becomes_single_events_is_started_in_pieces() -> None:
    store, number = MemoryStateStore(), 70
    async with running_engine(store, quick(batch=Batch(max_size=1000, within="1h"))) as engine:
        for payload in range(number):
            await engine.publish_event("put", payload)
    async with running_engine(store, quick(debounce="1ms")) as engine:
        await engine.publish_event("put", number)
        assert await _started(store, number + 1) == sorted(range(number + 1), key=str)


@on_every_store
async def test_deploys_side_by_side_neither_lose_nor_double_an_event(store: StateStore) -> None:
    """A rolling deploy: both publish, and either drives the accumulator, whichever takes it."""
    old, new = quick(batch=Batch(max_size=4, within="30ms")), quick(batch=Batch(max_size=3, within="20ms"))
    async with running_engine(store, old) as one, running_engine(store, new) as two:
        for number in range(0, 60, 4):
            await asyncio.gather(
                *(
                    engine.publish_event("put", number + each, event_id=f"e{number + each}")
                    for each, engine in enumerate((one, two, one, two))
                )
            )
            await asyncio.sleep(0.005)

        async def all_came() -> bool:
            outputs: list[Any] = await _outputs(store, "collected")
            return sum(len(output["events"]) for output in outputs) >= 60

        await until(all_came)
    outputs: list[Any] = await _outputs(store, "collected")
    assert sorted(number for output in outputs for number in output["events"]) == list(range(60))
    assert max(len(output["events"]) for output in outputs) <= 4
