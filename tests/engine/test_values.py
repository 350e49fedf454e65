"""What a value may be: everything that is stored can be read again, whichever call stores it."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from pydantic import BaseModel, Field, SecretStr

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.entity import entity, operation
from fastapi_durable.declare.retry import fixed
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import DurableError, InputValidationError, RunFailedError, SerializationError
from fastapi_durable.model.records import CheckpointStatus, RunQuery, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import running_engine
from tests.support.stores import on_every_store


class Receipt(BaseModel):
    number: int


class Renamed(BaseModel):
    user_name: str = Field(serialization_alias="userName")


def never_validated() -> Receipt:
    """A receipt as a bug makes it: pydantic serialises it and cannot read it."""
    return Receipt.model_construct()


MISFITS: dict[str, tuple[Any, Any, Any]] = {
    "None for an int": (int, None, 5),
    "None for a model": (Receipt, None, Receipt(number=1)),
    "a model that was never validated": (Receipt, never_validated(), Receipt(number=1)),
    "a field that is written under another name than it is read": (Renamed | None, Renamed(user_name="ada"), None),
    "a decimal that is no number": (Decimal, Decimal("NaN"), Decimal("1.10")),
    "keys that JSON does not have": (dict[tuple[int, int], int], {(1, 2): 3}, {}),
    "None in a list": (list[int], [None], [1]),
}
"""Declared type, a value that pydantic serialises without being able to read it, and one that comes back."""


@pytest.mark.parametrize("kind", MISFITS)
@on_every_store
async def test_a_result_that_could_not_be_read_fails_its_attempt_and_the_next_one_may_succeed(
    store: StateStore, kind: str
) -> None:
    declared, misfit, good = MISFITS[kind]
    results: list[Any] = [misfit, misfit, good]

    async def report() -> Any:
        return results.pop(0)

    report.__annotations__["return"] = declared
    reported = step(max_attempts=3, backoff=fixed("1ms"))(report)

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return repr(await ctx.step(reported))

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") == repr(good)
    (row,) = await store.list_checkpoints(handle.run_id)
    assert (row.status, row.attempts, results) == (CheckpointStatus.COMPLETED, 3, [])


@step
async def by_step() -> Receipt:
    return never_validated()


async def by_transaction(tx: object) -> Receipt:
    return never_validated()


@workflow
async def by_child(ctx: WorkflowContext) -> Receipt:
    return never_validated()


@workflow
async def takes_receipt(ctx: WorkflowContext, receipt: Receipt) -> None: ...


@step
async def file(receipt: Receipt) -> None: ...


@entity
class Ledger(BaseModel):
    last: Receipt | None = None
    count: int = 0

    @operation
    def returns(self) -> Receipt:
        return never_validated()

    @operation
    def keeps(self) -> None:
        self.last = never_validated()

    @operation
    def add(self, receipt: Receipt) -> int:
        self.count += 1
        return self.count


CALLS: dict[str, Callable[[WorkflowContext], Awaitable[Any]]] = {
    "a step's result": lambda ctx: ctx.step(by_step),
    "a step's input": lambda ctx: ctx.step(file, never_validated()),
    "a local step's result": lambda ctx: ctx.local_step("local", never_validated),
    "a side effect": lambda ctx: ctx.side_effect(never_validated, Receipt),
    "a transaction's result": lambda ctx: ctx.transaction(by_transaction),
    "a child's result": lambda ctx: ctx.child(by_child),
    "a child's input": lambda ctx: ctx.child(takes_receipt, never_validated()),
    "an operation's result": lambda ctx: ctx.call_entity(Ledger, "a", Ledger.returns),
    "an entity's state": lambda ctx: ctx.call_entity(Ledger, "a", Ledger.keeps),
    "an operation's input": lambda ctx: ctx.call_entity(Ledger, "a", Ledger.add, never_validated()),
}


@pytest.mark.parametrize("call", CALLS)
async def test_no_call_records_a_value_that_could_not_be_read(call: str) -> None:
    """The body meets the refusal as an error of the call, and may go on."""
    store = MemoryStateStore()

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        with pytest.raises(DurableError, match=r"number: Field required"):
            await CALLS[call](ctx)
        return await ctx.call_entity(Ledger, "a", Ledger.add, Receipt(number=1))

    async with running_engine(store, flow, by_child, takes_receipt, entities=[Ledger]) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") == 1
    for run in await store.list_runs(RunQuery()):
        rows = await store.list_checkpoints(run.id)
        assert {} not in [run.input, run.output, *(value for row in rows for value in (row.input, row.output))]


async def test_the_result_of_a_workflow_that_could_not_be_read_fails_the_run() -> None:
    store = MemoryStateStore()
    async with running_engine(store, by_child) as engine:
        handle = await engine.start(by_child)
        with pytest.raises(RunFailedError, match=r"cannot be stored as Receipt, .*number: Field required"):
            await handle.result("60s")
        assert await handle.status() is RunStatus.FAILED


async def test_an_input_that_could_not_be_read_creates_no_run() -> None:
    store = MemoryStateStore()
    async with running_engine(store, takes_receipt) as engine:
        with pytest.raises(InputValidationError, match="number: Field required"):
            await engine.start(takes_receipt, never_validated())
    assert await store.list_runs(RunQuery()) == []


class Signed(Receipt):
    """A receipt with more fields than a receipt has: as a `Receipt`, it would lose one."""

    signature: str = ""


SIGNED = Signed(number=1, signature="ada")


@pytest.mark.parametrize(
    "call",
    [
        lambda engine: engine.start(takes_receipt, SIGNED),
        lambda engine: engine.signal("go", {1: "a", "1": "b"}),
        lambda engine: engine.publish_event("paid", {1: "a", "1": "b"}),
    ],
    ids=["start", "signal", "event"],
)
async def test_a_value_that_would_change_is_refused_before_anything_is_done(
    call: Callable[[WorkflowService], Awaitable[Any]],
) -> None:
    store = MemoryStateStore()

    @workflow(on_event="paid")
    async def waiting(ctx: WorkflowContext, event: Any) -> None: ...

    async with running_engine(store, takes_receipt, waiting) as engine:
        with pytest.raises(SerializationError, match="a replay would read another value"):
            await call(engine)
    assert await store.list_runs(RunQuery()) == []


async def test_a_step_whose_result_would_change_fails_and_is_not_recorded_as_done() -> None:
    @step
    async def report() -> Receipt:
        return SIGNED

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(report)

    async with running_engine(MemoryStateStore(), flow) as engine:
        with pytest.raises(RunFailedError, match=r"a replay would read another value \(signature: it is lost\)"):
            await (await engine.start(flow)).result("60s")


class Login(BaseModel):
    user: str
    password: SecretStr


@step
async def sign_in(login: Login) -> SecretStr:
    return SecretStr(login.password.get_secret_value() + "!")


@workflow
async def signs_in(ctx: WorkflowContext, login: Login) -> str:
    return (await ctx.step(sign_in, login)).get_secret_value()


@on_every_store
async def test_a_secret_reaches_the_step_and_the_body_as_it_is(store: StateStore) -> None:
    async with running_engine(store, signs_in) as engine:
        handle = await engine.start(signs_in, Login(user="ada", password=SecretStr("swordfish")))
        assert await handle.result("60s") == "swordfish!"


NUMBERS: list[Any] = [
    *(2**53 + 1, 2**63 - 1, -(2**63)),
    *(0.1, 5.0, 1e15, 1e16, float(2**53), float(2**63), 1e22, 1e23, -1e300, 5e-324, 1.7976931348623157e308),
    *([2**63], [10**400], {"a": 1e23}, [1e16, "1e+16", -1, True, None, 10**30]),
    "123",
    "1e+400",
]


@step
async def same(value: Any) -> Any:
    return value


@workflow
async def by_every_way(ctx: WorkflowContext, value: Any) -> list[Any]:
    """The value as an input, the payload of a signal, a step's result and a side effect."""
    sent = await ctx.wait_for_signal(f"number:{ctx.run_id}")
    return [value, sent, await ctx.step(same, value), await ctx.side_effect(lambda: value)]


@on_every_store
async def test_numbers_come_back_with_every_digit(store: StateStore) -> None:
    async with running_engine(store, by_every_way) as engine:
        handles = [await engine.start(by_every_way, number) for number in NUMBERS]
        for handle, number in zip(handles, NUMBERS, strict=True):
            await engine.signal(f"number:{handle.run_id}", number)
        assert [await handle.result("60s") for handle in handles] == [[number] * 4 for number in NUMBERS]


@on_every_store
async def test_a_double_that_is_a_whole_value_is_stored_exactly(store: StateStore) -> None:
    """SQLite converts a few texts of a thousand to a neighbour of the double, and writes a few back as one."""
    random = Random(4)
    doubles = [random.uniform(-1, 1) * 10 ** random.randint(-300, 300) for _ in range(1000)]

    @workflow
    async def flow(ctx: WorkflowContext, _: int) -> list[float]:
        await ctx.sleep("1ms")
        return [await ctx.side_effect(lambda each=each: each) for each in doubles]  # type: ignore[misc]

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow, 1)
        await handle.result("60s")
    rows = await store.list_checkpoints(handle.run_id)
    assert [row.output for row in rows if row.name == "sideEffect"] == doubles


@step
async def large() -> int:
    return 10**400


@workflow
async def starts_and_counts(ctx: WorkflowContext, number: int) -> int:
    return (await ctx.step(large)) + number


@on_every_store
async def test_an_integer_that_sqlite_would_round_is_refused_on_all_stores(store: StateStore) -> None:
    async with running_engine(store, starts_and_counts) as engine:
        with pytest.raises(InputValidationError, match="it is an integer of 1329 bits"):
            await engine.start(starts_and_counts, 10**400)
        with pytest.raises(SerializationError, match="it is an integer of 64 bits"):
            await engine.signal("number", 2**63)
        with pytest.raises(RunFailedError, match="it is an integer of 1329 bits"):
            await engine.execute(starts_and_counts, 1, timeout="60s")


FOR_NO_DATABASE = {"surrogate": "caf\udce9", "NUL": "a\x00b", "integer": 2**63, "integer without a text": 10**5000}


@pytest.mark.parametrize("value", FOR_NO_DATABASE.values(), ids=FOR_NO_DATABASE)
@on_every_store
async def test_a_search_attribute_that_no_database_can_hold_is_refused_by_start_and_in_a_body(
    store: StateStore, value: str | int
) -> None:
    """Accepted, it would be driven for ever: each turn fails when it writes the attribute."""
    turns = 0

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        nonlocal turns
        turns += 1
        await ctx.upsert_search_attributes({"city": value})

    async with running_engine(store, flow) as engine:
        with pytest.raises(InputValidationError) as caught:
            await engine.start(flow, search_attributes={"city": value})
        assert isinstance(value, int) or value not in str(caught.value)
        with pytest.raises(RunFailedError, match="search attribute"):
            await (await engine.start(flow)).result("60s")
    assert turns == 1


@entity
class Counter(BaseModel):
    count: int = 0

    @operation
    def add(self, number: int = 5) -> int:
        self.count += number
        return self.count


@step
async def plus_one(number: int = 5) -> int:
    return number + 1


def seven(number: int = 7) -> int:
    return number


async def booked(tx: object, number: int = 5) -> int:
    return number


@workflow
async def five(ctx: WorkflowContext, number: int = 5) -> int:
    return number


@workflow
async def without_inputs(ctx: WorkflowContext) -> list[int]:
    return [
        await ctx.step(plus_one),
        await ctx.step("plus_one"),
        await ctx.local_step("local", seven),
        await ctx.transaction(booked),
        await ctx.child(five),
        await ctx.call_entity(Counter, "a", Counter.add),
    ]


@on_every_store
async def test_the_default_of_an_input_holds_where_none_is_given(store: StateStore) -> None:
    async with running_engine(store, five, without_inputs, entities=[Counter], steps=[plus_one]) as engine:
        handle = await engine.start(five)
        assert await handle.result("60s") == 5
        assert [run.input for run in await store.list_runs(RunQuery())] == [5]
        assert await engine.execute(five, 6, timeout="60s") == 6
        assert await engine.execute(without_inputs, timeout="60s") == [6, 6, 7, 5, 5, 5]


async def test_a_default_that_does_not_fit_its_type_is_refused_like_any_input() -> None:
    @workflow
    async def wrong(ctx: WorkflowContext, number: int = "five") -> None: ...  # type: ignore[assignment]

    async with running_engine(MemoryStateStore(), wrong) as engine:
        with pytest.raises(InputValidationError, match="does not fit int"):
            await engine.start(wrong)
