"""Entities: state under a key, changed by one operation at a time, each executed once."""

import asyncio
from collections import Counter
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import workflow
from fastapi_durable.declare.entity import entity, entity_definition, operation
from fastapi_durable.engine.context.workflow_context import WorkflowContext
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
        assert await (await engine.start(saver, 5)).result("20s") == [5, 10]
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
        await asyncio.gather(*[handle.result("20s") for handle in handles])
        await until(lambda: _balance_is(engine, 60))
    assert executed["deposit"] == 60


@on_every_store
async def test_a_failing_or_unknown_operation_fails_the_call_and_not_the_entity(store: StateStore) -> None:
    """What a failed operation changed is not kept."""
    async with running_engine(store, spender, entities=[Account]) as engine:
        assert await (await engine.start(spender)).result("20s") == ["ValueError", "unknown_operation", 1]
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
        assert await (await engine.start(spender)).result("5s") == ["entity_ended"] * 3


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
