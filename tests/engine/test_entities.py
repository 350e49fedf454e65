"""Entities: state under a key, changed by one operation at a time, each executed once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import workflow
from fastapi_durable.declare.entity import entity, entity_definition, operation
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.interception import StepExecution
from fastapi_durable.engine.core.live_events import LiveEvent
from fastapi_durable.engine.turns.step_log import current_step
from fastapi_durable.model.errors import DefinitionError, EntityOperationError, InputValidationError, RunStateError
from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import FAST, build_engine, has_status, running_engine, tuned, until
from tests.support.stores import on_every_store

executed: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    executed.clear()


@entity(name="account")
class Account(BaseModel):
    balance: int = 0

    @operation
    async def deposit(self, amount: int) -> int:
        executed["deposit"] += 1
        before = self.balance
        await asyncio.sleep(0)
        self.balance = before + amount
        return self.balance

    @operation
    def withdraw(self, amount: int) -> int:
        executed["withdraw"] += 1
        self.balance -= amount
        if self.balance < 0:
            raise ValueError("not enough")
        return self.balance

    @operation(name="read")
    def look(self) -> int:
        return self.balance


@entity
@dataclass
class Tally:
    count: int = 0

    @operation
    def add(self) -> None:
        self.count += 1


@workflow
async def saver(ctx: WorkflowContext, amount: int) -> list[int]:
    """Suspends between its calls, so it is replayed several times."""
    first = await ctx.call_entity(Account, "alice", Account.deposit, amount)
    await ctx.sleep("1ms")
    second = await ctx.call_entity("account", "alice", "deposit", amount)
    await ctx.sleep("1ms")
    await ctx.signal_entity(Account, "alice", Account.deposit, amount)
    await ctx.sleep("1ms")
    return [first, second]


@workflow
async def spender(ctx: WorkflowContext) -> list[object]:
    seen: list[object] = []
    for name, input in (("withdraw", 5), ("steal", 5), ("deposit", 1)):
        try:
            seen.append(await ctx.call_entity("account", "bob", name, input))
        except EntityOperationError as error:
            seen.append(error.code or error.error.type)
    return seen


@on_every_store
async def test_an_operation_is_executed_once_however_often_its_caller_is_replayed(store: StateStore) -> None:
    async with running_engine(store, saver, entities=[Account]) as engine:
        assert await (await engine.start(saver, 5)).result("60s") == [5, 10]
        await until(lambda: _balance_is(engine, 15))
    assert executed["deposit"] == 3
    run = await store.find_run("entity:account:alice")
    assert run is not None
    assert (run.workflow, run.workflow_version) == ("__entity", "1")


async def _balance_is(engine: object, balance: int) -> bool:
    state = await engine.get_entity_state(Account, "alice")  # type: ignore[attr-defined]
    return bool(state is not None and state.balance == balance)


@on_every_store
async def test_operations_of_one_key_do_not_overlap(store: StateStore) -> None:
    """Twenty callers on two workers: no deposit is lost between reading and writing the balance."""
    async with (
        running_engine(store, saver, entities=[Account]) as engine,
        running_engine(store, saver, entities=[Account]),
    ):
        handles = await asyncio.gather(*[engine.start(saver, 1) for _ in range(20)])
        await asyncio.gather(*[handle.result("60s") for handle in handles])
        await until(lambda: _balance_is(engine, 60))
    assert executed["deposit"] == 60


@on_every_store
async def test_a_failing_or_unknown_operation_fails_the_call_and_not_the_entity(store: StateStore) -> None:
    """What a failed operation changed is not kept."""
    async with running_engine(store, spender, entities=[Account]) as engine:
        assert await (await engine.start(spender)).result("60s") == ["ValueError", "unknown_operation", 1]
        assert await engine.get_entity_state("account", "bob") == {"balance": 1}


async def test_an_entity_keeps_its_id_and_a_short_history() -> None:
    store = MemoryStateStore()
    async with running_engine(store, entities=[Tally]) as engine:
        for _ in range(130):
            await engine.signal_entity(Tally, "x", Tally.add)
        await until(lambda: _tally_is(engine, 130))
        assert await engine.get_entity_state(Tally, "x") == Tally(count=130)
        assert len(await store.list_checkpoints("entity:Tally:x")) <= 50 * 4
    assert await store.count_runs(RunQuery()) == 1


async def _tally_is(engine: object, count: int) -> bool:
    return bool((await engine.get_entity_state(Tally, "x") or Tally()).count == count)  # type: ignore[attr-defined]


@on_every_store
async def test_an_operation_with_an_id_is_executed_once_even_when_sent_again_later(store: StateStore) -> None:
    async with running_engine(store, entities=[Tally]) as engine:
        await engine.signal_entity(Tally, "x", Tally.add, operation_id="one")
        await until(lambda: _tally_is(engine, 1))
        await engine.signal_entity(Tally, "x", Tally.add, operation_id="one")
        await engine.signal_entity(Tally, "x", Tally.add, operation_id="two")
        await until(lambda: _tally_is(engine, 2))


async def test_the_state_of_an_entity_that_nobody_used_is_none() -> None:
    assert await build_engine(MemoryStateStore(), entities=[Tally]).get_entity_state(Tally, "nobody") is None


async def test_operations_wait_for_a_worker_that_knows_the_entity() -> None:
    store = MemoryStateStore()
    config = tuned(FAST, blocked_poll_interval=FAST.poll_interval)
    async with running_engine(store, entities=[Account], config=config) as engine:
        await engine.signal_entity("Tally", "x", "add")
        await until(lambda: has_status(engine.handle("entity:Tally:x"), RunStatus.BLOCKED))
    async with running_engine(store, entities=[Tally]) as engine:
        await until(lambda: _tally_is(engine, 1))


async def test_an_entity_that_an_operator_ended_takes_no_operation() -> None:
    async with running_engine(MemoryStateStore(), spender, entities=[Account]) as engine:
        await engine.signal_entity(Account, "bob", Account.deposit, 1)
        await engine.cancel("entity:account:bob")
        with pytest.raises(RunStateError):
            await engine.signal_entity(Account, "bob", Account.deposit, 1)
        assert await (await engine.start(spender)).result("60s") == ["entity_ended"] * 3


async def test_an_input_that_does_not_fit_is_not_sent() -> None:
    store = MemoryStateStore()
    engine = build_engine(store, entities=[Account])
    inputs: list[object] = [["x"], {}]
    for input in inputs:
        with pytest.raises(InputValidationError):
            await engine.signal_entity(Account, "bob", "deposit", input)
    with pytest.raises(InputValidationError):
        await engine.signal_entity(Account, "bob", "deposit")
    with pytest.raises(InputValidationError):
        await engine.signal_entity(Account, "bob", Account.look, 1)  # type: ignore[arg-type]
    assert await store.count_runs(RunQuery()) == 0


def test_a_class_that_is_no_entity_is_refused() -> None:
    class Plain:
        @operation
        def add(self) -> None: ...

    @entity
    class WithoutOperations: ...

    @entity
    class Twice:
        @operation(name="same")
        def one(self) -> None: ...

        @operation(name="same")
        def two(self) -> None: ...

    for cls in (Plain, WithoutOperations, Twice):
        with pytest.raises(DefinitionError):
            entity_definition(cls)


@entity(name="shelf")
class Shelf(BaseModel):
    pieces: int = 0

    @operation
    async def put(self, pieces: int) -> str:
        self.pieces += pieces
        with current_step().sub_process("count") as counting:
            counting.phase("counted", data={"pieces": self.pieces})
        return str(current_step().step_id)

    @operation
    def take(self, pieces: int) -> str:
        current_step().warn("taking", data=pieces)
        if pieces > self.pieces:
            raise ValueError("not so many")
        self.pieces -= pieces
        return f"{current_step().name} {current_step().attempt}"


@workflow
async def stocking(ctx: WorkflowContext) -> list[str]:
    said = [await ctx.call_entity(Shelf, "7", Shelf.put, 2), await ctx.call_entity(Shelf, "7", Shelf.take, 1)]
    for asked, pieces in (("take", 9), ("unknown", 1)):
        try:
            await ctx.call_entity("shelf", "7", asked, pieces)
        except EntityOperationError as error:
            said.append(error.error.message)
    return said


@on_every_store
async def test_an_operation_has_the_log_the_interceptors_and_the_live_events_of_a_step(store: StateStore) -> None:
    heard: list[LiveEvent] = []
    around: list[tuple[str, str, str]] = []

    @asynccontextmanager
    async def watching(execution: StepExecution) -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:
            around.append((execution.name, execution.step_id, str(error)))
            raise
        around.append((execution.name, execution.step_id, "done"))

    async with running_engine(store, stocking, entities=[Shelf], interceptors=[watching]) as engine:
        engine.events.listen(heard.append)
        said = await engine.execute(stocking, run_id="stocking", timeout="60s")
    assert said[0] == "entity:shelf:7:stocking:0"
    assert said[1:3] == ["shelf.take 1", "not so many"]
    assert "no operation 'unknown'" in said[3]
    assert around == [
        ("shelf.put", "entity:shelf:7:stocking:0", "done"),
        ("shelf.take", "entity:shelf:7:stocking:1", "done"),
        ("shelf.take", "entity:shelf:7:stocking:2", "not so many"),
    ]
    of_steps = [each for each in heard if each.type.startswith("step.")]
    assert {each.run_id for each in of_steps} == {"entity:shelf:7"}
    assert [(each.type, each.name) for each in of_steps if each.type != "step.progress"] == [
        ("step.started", "shelf.put"),
        ("step.completed", "shelf.put"),
        ("step.started", "shelf.take"),
        ("step.completed", "shelf.take"),
        ("step.started", "shelf.take"),
        ("step.failed", "shelf.take"),
    ]
    # Not with the whole state, which may be large.
    assert [each.output for each in of_steps if each.type == "step.completed"] == said[:2]
    told: list[Any] = [each.progress for each in of_steps if each.type == "step.progress"]
    assert [each["message"] for each in told] == ["count", "counted", "count", "taking", "taking"]
    rows = [row for row in await store.list_checkpoints("entity:shelf:7") if row.name.startswith("op:")]
    assert [event for row in rows for event in row.events] == told
    assert [len(row.events) for row in rows] == [3, 1, 1, 0]


async def test_the_id_of_an_operation_is_its_callers_in_every_life_of_the_entity(store: StateStore) -> None:
    """The entity's run begins anew with an empty history; an id that came again would hide work from the outside."""
    number = 120

    @workflow
    async def many(ctx: WorkflowContext) -> list[str]:
        return [await ctx.call_entity(Shelf, "9", Shelf.put, 1) for _ in range(number)]

    async with running_engine(store, many, entities=[Shelf]) as engine:
        found = await engine.execute(many, run_id="many", timeout="120s")
        await engine.signal_entity(Shelf, "9", Shelf.take, 1, operation_id="from outside")
    assert found == [f"entity:shelf:9:many:{each}" for each in range(number)]
