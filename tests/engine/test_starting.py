"""What a start takes and refuses, whose run an id means, and what one namespace's engine can reach."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.entity import entity, operation
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import InputValidationError, RunIdTakenError, RunNotFoundError
from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import FAST, build_engine, running_engine, tuned, until
from tests.support.stores import on_every_store


@workflow
async def order(ctx: WorkflowContext, number: int) -> int:
    return number


@workflow
async def refund(ctx: WorkflowContext, number: int) -> int:
    return -number


@workflow(updates={"name": lambda value: None})
async def talk(ctx: WorkflowContext) -> str:
    await ctx.set_value("secret", 7)
    await ctx.breakpoint()
    return await ctx.on_update("name", str)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run_id": ""}, "run_id must be printable text of 1-500 bytes in UTF-8"),
        ({"run_id": "x" * 501}, "run_id must be printable text"),
        ({"run_id": "a\x00b"}, "run_id must be printable text"),
        ({"run_id": 7}, "run_id must be printable text"),
        ({"run_id": "order~1"}, "must not end like"),
        ({"run_id": "order~retry~abcdefgh"}, "must not end like"),
        ({"run_id": "entity:cart:7"}, "must not begin with 'entity'"),
        ({"tags": "shop"}, "tags must be a list of strings"),
        ({"tags": [""]}, "a tag must be printable text of 1-200 bytes"),
        ({"tags": [7]}, "a tag must be printable text of 1-200 bytes"),
        ({"tags": ["a\nb"]}, "a tag must be printable text of 1-200 bytes"),
        ({"tags": ["singleton:7"]}, "Declare `singleton=`"),
        ({"tags": [str(n) for n in range(101)]}, "at most 100 tags"),
        ({"search_attributes": {"": 1}}, "the name of a search attribute"),
        ({"search_attributes": {7: 1}}, "the name of a search attribute"),
        ({"search_attributes": {"k": "x" * 2001}}, "at most 2000 bytes"),
        ({"search_attributes": {"k": 2**53 + 1}}, r"between -2\*\*53 and 2\*\*53"),
        ({"search_attributes": {str(n): n for n in range(101)}}, "at most 100 search attributes"),
        ({"priority": 2**31}, "an integer of 32 bits"),
        ({"priority": True}, "an integer of 32 bits"),
        ({"priority": "high"}, "an integer of 32 bits"),
        # `repr` refuses so many digits; the refusal must not fail over them.
        ({"run_id": 10**5000}, "run_id must be printable text"),
        ({"tags": 10**5000}, "tags must be a list of strings"),
        ({"tags": [10**5000]}, "a tag must be printable text"),
        ({"search_attributes": {"k": 10**5000}}, r"between -2\*\*53 and 2\*\*53"),
        ({"search_attributes": {10**5000: "v"}}, "the name of a search attribute"),
        ({"priority": 10**5000}, "an integer of 32 bits"),
        ({"queue": 10**5000}, "no queue int .* is declared"),
    ],
)
async def test_a_bad_option_is_refused_before_anything_is_written(options: dict[str, Any], message: str) -> None:
    store = MemoryStateStore()
    engine = build_engine(store, order)
    for start in (engine.start, engine.execute):
        with pytest.raises(InputValidationError, match=message):
            await start(order, 1, **options)
    with pytest.raises(InputValidationError, match=message):
        await engine.signal_with_start(order, 1, token="go", **options)
    assert await store.list_runs(RunQuery()) == []
    assert await store.take_buffered_signal("go") is None


async def test_what_is_just_allowed_is_taken() -> None:
    store = MemoryStateStore()
    options: dict[str, Any] = {
        "run_id": "x" * 500,
        "tags": [str(number) for number in range(100)],
        "search_attributes": {"k": 2**53, "l": "x" * 2000},
        "priority": -(2**31),
    }
    handle = await build_engine(store, order).start(order, 1, **options)
    run = await handle.run()
    assert (len(run.tags), run.search_attributes["k"], run.priority) == (100, 2**53, -(2**31))


@on_every_store
async def test_an_id_means_one_workflow_s_run(store: StateStore) -> None:
    engine = build_engine(store, order, refund)
    assert (await engine.start(order, 1, run_id="7")).created
    again = await engine.start(order, 2, run_id="7")
    assert (again.created, (await again.run()).input) == (False, 1)
    with pytest.raises(RunIdTakenError, match="no run of workflow 'refund' was started") as taken:
        await engine.start(refund, 1, run_id="7")
    assert (taken.value.run_id, taken.value.workflow) == ("7", "refund")
    with pytest.raises(RunIdTakenError):
        await engine.execute(refund, 1, run_id="7")
    with pytest.raises(RunIdTakenError):
        await engine.signal_with_start(refund, 1, run_id="7", token="go")
    assert await store.take_buffered_signal("go") is None


async def test_a_name_starts_the_newest_version_and_a_version_exactly_that_one() -> None:
    """Whatever is registered later: a run that was begun by one version ends by it."""

    @workflow(name="versioned")
    async def one(ctx: WorkflowContext) -> str:
        await ctx.sleep("1ms")
        return "1"

    @workflow(name="versioned", version="2")
    async def two(ctx: WorkflowContext) -> str:
        return "2"

    store = MemoryStateStore()
    early = await build_engine(store, one).start("versioned")
    async with running_engine(store, one, two) as engine:
        assert await early.result("60s") == "1"
        starts = [
            engine.start("versioned"),
            engine.start("versioned", version="1"),
            engine.start(one),
            engine.start(one, version="2"),
        ]
        handles = [await start for start in starts]
        assert [await handle.result("60s") for handle in handles] == ["2", "1", "1", "2"]
        assert [(await handle.run()).workflow_version for handle in handles] == ["2", "1", "1", "2"]


async def test_a_run_has_the_tags_of_its_workflow_and_then_those_of_its_start_each_once() -> None:
    @workflow(tags=["shop", "eu"])
    async def tagged(ctx: WorkflowContext) -> None: ...

    store = MemoryStateStore()
    engine = build_engine(store, tagged)
    run = await (await engine.start(tagged, tags=["vip", "shop", "vip"])).run()
    assert run.tags == ("shop", "eu", "vip")
    assert (await (await engine.start(tagged)).run()).tags == ("shop", "eu")


async def test_of_two_workflows_that_start_one_id_at_once_one_is_refused(stores: tuple[StateStore, StateStore]) -> None:
    engines = [build_engine(store, order, refund) for store in stores]
    starts = [engine.start(each, 1, run_id="7") for _ in range(5) for engine in engines for each in (order, refund)]
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, RunIdTakenError)]
    assert len(refused) == 10
    assert {error.workflow for error in refused} == {"order", "refund"} - {
        (await stores[0].list_runs(RunQuery()))[0].workflow
    }


async def test_a_child_is_not_mistaken_for_another_workflow_s_run() -> None:
    attempts: list[str] = []

    @workflow
    async def parent(ctx: WorkflowContext) -> list[str]:
        refused = []
        for call in (ctx.child, ctx.start_child):
            try:
                await call(refund, 1, run_id="7")
            except RunIdTakenError as error:
                refused.append(error.run_id)
        attempts.append("turn")
        await ctx.wait_for_signal("go")
        try:
            await ctx.child(refund, 1, run_id="order~1")
        except InputValidationError:
            refused.append("reserved")
        return refused

    store = MemoryStateStore()
    async with running_engine(store, order, refund, parent) as engine:
        assert await engine.execute(order, 1, run_id="7", timeout="60s") == 1
        handle = await engine.start(parent, run_id="p")
        await until(lambda: store.find_signal_waiter("go"))
        await store.delete_run("7")
        await engine.signal("go")
        assert await handle.result("60s") == ["7", "7", "reserved"]
    assert attempts == ["turn", "turn"], "the refusal was recorded: it holds on the replay, when the id is free"


@entity
class Counter(BaseModel):
    number: int = 0

    @operation
    def add(self, number: int) -> None:
        self.number += number


def engine_of(store: StateStore, namespace: str | None) -> WorkflowService:
    return build_engine(store, talk, order, entities=[Counter], config=tuned(FAST, namespace=namespace))


@on_every_store
async def test_an_engine_reaches_the_runs_of_its_own_namespace_only(store: StateStore) -> None:
    async with running_engine(store, talk, order, config=tuned(FAST, namespace="a")) as own:
        handle = await own.start(talk, run_id="talk")
        await until(lambda: store.find_signal_waiter("bp:talk:1"))
        other = engine_of(store, "b")
        for refused in (
            other.get_value("talk", "secret"),
            other.continue_run("talk"),
            other.complete_task("talk", "t"),
            other.fail_task("talk", "t", "no"),
            other.cancel("talk"),
            other.retry("talk"),
            other.retry_with_input("talk", 1),
            other.fork("talk", from_step=0),
            other.handle("talk").run(),
            other.handle("talk").result("1ms"),
        ):
            with pytest.raises(RunNotFoundError):
                await refused
        assert (await other.update("talk", "name", "x")).reason == "no run has the id 'talk'"
        assert await other.delete_run("talk", force=True) == 0
        assert (await other.cancel_where(RunQuery())).cancelled == 0
        assert (await other.cancel_where(RunQuery(namespace="a"))).cancelled == 0
        with pytest.raises(RunIdTakenError, match="another workflow or namespace"):
            await other.start(talk, run_id="talk")

        operator = engine_of(store, None)
        assert await operator.get_value("talk", "secret", int) == 7
        assert await operator.continue_run("talk")
        assert (await operator.update("talk", "name", "x")).accepted
        assert await handle.result("60s") == "x"


@on_every_store
async def test_a_driven_run_keeps_its_lease_whatever_another_namespace_asks_for(store: StateStore) -> None:
    """Neither a worker of the other namespace takes it, nor does anything that is refused there touch it."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    @step
    async def work() -> str:
        entered.set()
        await go_on.wait()
        return "worked"

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        return await ctx.gather(ctx.step(work), ctx.wait_for_signal("go", str))

    def of(namespace: str) -> Any:
        return running_engine(store, flow, config=tuned(FAST, namespace=namespace, show_running_after=FAST.lease))

    async with of("a") as own, of("b") as other:
        handle = await own.start(flow)
        await entered.wait()
        await until(lambda: store.find_signal_waiter("go"))
        before = await handle.run()
        for refused in (other.cancel, other.retry, other.retry_with_input, other.continue_run):
            with pytest.raises(RunNotFoundError):
                await refused(handle.run_id)
        with pytest.raises(InputValidationError):
            await other.signal("go", "foreign")
        assert not await other.signal_waiting("go", "foreign", namespace="b")
        after = await handle.run()
        assert before.locked_by is not None
        assert replace(after, locked_until=before.locked_until) == before
        await own.signal("go", "own")
        go_on.set()
        assert await handle.result("60s") == ["worked", "own"]


@on_every_store
async def test_signals_and_events_stay_in_the_namespace_of_an_engine_that_has_one(store: StateStore) -> None:
    @workflow
    async def listen(ctx: WorkflowContext, what: str) -> Any:
        return await ctx.wait_for_signal("go") if what == "signal" else await ctx.wait_for_event("paid")

    async with running_engine(store, listen, config=tuned(FAST, namespace="a")) as own:
        signalled, told = await own.start(listen, "signal", run_id="s"), await own.start(listen, "event", run_id="e")
        await until(lambda: store.find_signal_waiter("go"))
        await until(lambda: store.list_signal_waiters(run_ids=["e"]))
        other = engine_of(store, "b")
        with pytest.raises(InputValidationError, match="a run of another namespace waits"):
            await other.signal("go", 1)
        with pytest.raises(InputValidationError, match="a run of another namespace waits"):
            await other.signal_with_start(order, 1, token="go")
        assert [run.id for run in await store.list_runs(RunQuery(namespace="b"))] == []
        assert (await other.publish_event("paid", 1, buffer=False)).receivers == ()
        assert (await own.publish_event("paid", 2)).receivers == ("e",)
        assert await engine_of(store, None).signal("go", 3)
        assert (await signalled.result("60s"), await told.result("60s")) == (3, 2)


async def test_entities_of_two_namespaces_are_two() -> None:
    store = MemoryStateStore()
    async with (
        running_engine(store, entities=[Counter], config=tuned(FAST, namespace="a")) as a,
        running_engine(store, entities=[Counter], config=tuned(FAST, namespace="b")) as b,
    ):
        await a.signal_entity(Counter, "k", Counter.add, 1)
        await b.signal_entity(Counter, "k", Counter.add, 2)

        async def number(engine: WorkflowService) -> int:
            state = await engine.get_entity_state(Counter, "k")
            return 0 if state is None else state.number

        await until(lambda: _both(number(a), number(b)))
        assert (await number(a), await number(b)) == (1, 2)
    assert {run.status for run in await store.list_runs(RunQuery())} <= {RunStatus.SUSPENDED, RunStatus.PENDING}


async def _both(*numbers: Any) -> bool:
    return all(await asyncio.gather(*numbers))
