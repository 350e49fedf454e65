"""Steps by name, by method and as closures; the ambient context."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import step, step_definition, workflow
from fastapi_durable.declare.retry import fixed
from fastapi_durable.engine.context.ambient import current_context
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.registry import StepRegistry
from fastapi_durable.model.errors import DefinitionError, OutsideWorkflowError, RunFailedError, StepFailedError
from fastapi_durable.model.records import CheckpointKind, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.transport.base import StepHandler, StepOutcome, StepTask
from fastapi_durable.transport.in_process import InProcessTransport
from tests.support.engine_rig import has_status, killed_worker, running_engine, until


class Order(BaseModel):
    id: str


@step(name="shop.charge")
async def charge(order: Order) -> Order:
    return Order(id=f"charged {order.id}")


@step
async def ping() -> str:
    return "pong"


class Gateway:
    def __init__(self, name: str) -> None:
        self.name = name

    @step
    async def pay(self, order: Order) -> str:
        return f"{order.id} by {self.name}"

    def describe(self) -> str:
        return self.name


async def test_a_registered_step_is_called_by_its_name_with_a_value_or_its_json_form(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        one = await ctx.step("shop.charge", Order(id="1"))
        two = await ctx.step("shop.charge", {"id": "2"}, name="again")
        return [one.id, two.id, await ctx.step("ping")]

    async with running_engine(store, flow, steps=[charge, ping]) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") == ["charged 1", "charged 2", "pong"]
    names = [row.name for row in await store.list_checkpoints(handle.run_id)]
    assert names == ["shop.charge", "again", "ping"]


async def test_a_name_that_is_not_registered_and_an_input_that_does_not_fit_say_so(store: StateStore) -> None:
    @workflow
    async def unknown(ctx: WorkflowContext) -> None:
        await ctx.step("shop.refund", 1)

    @workflow
    async def wrong(ctx: WorkflowContext) -> None:
        await ctx.step("shop.charge", {"number": 1})

    async with running_engine(store, unknown, wrong, steps=[charge, ping]) as engine:
        with pytest.raises(RunFailedError, match=r"no step 'shop.refund' is registered \(registered: ping, shop"):
            await (await engine.start(unknown)).result("60s")
        with pytest.raises(RunFailedError, match="id: Field required"):
            await (await engine.start(wrong)).result("60s")


def test_two_steps_of_one_name_are_refused() -> None:
    @step(name="ping")
    async def other() -> str:
        return "other"

    StepRegistry([step_definition(ping), step_definition(ping)])
    with pytest.raises(DefinitionError, match="two steps are registered as 'ping'"):
        StepRegistry([step_definition(ping), step_definition(other)])


async def test_a_method_of_an_instance_is_a_step(store: StateStore) -> None:
    gateway = Gateway("visa")

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        return [
            await ctx.step(gateway.pay, Order(id="1")),
            await ctx.step(gateway.describe),
            await ctx.step("Gateway.pay", Order(id="2")),
        ]

    async with running_engine(store, flow, steps=[gateway.pay]) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") == ["1 by visa", "visa", "2 by visa"]
    names = [row.name for row in await store.list_checkpoints(handle.run_id)]
    assert names == ["Gateway.pay", "Gateway.describe", "Gateway.pay"]


async def test_a_closure_runs_once_is_tried_again_and_can_be_undone(store: StateStore) -> None:
    calls: Counter[str] = Counter()

    def undo() -> None:
        calls["undone"] += 1

    @workflow
    async def flow(ctx: WorkflowContext, prefix: str) -> None:
        async def fail_once() -> str:
            calls["async"] += 1
            if calls["async"] == 1:
                raise ValueError("once")
            return prefix + "a"

        first = await ctx.local_step("async", fail_once, max_attempts=2, backoff=fixed("1ms"), compensate=undo)
        second = await ctx.local_step("sync", lambda: first + "b")
        third = await ctx.local_step("lambda of a coroutine", lambda: asyncio.sleep(0, second + "c"))
        await ctx.wait_for_signal("go")
        raise ValueError(third)

    async with killed_worker(store, flow) as engine:
        handle = await engine.start(flow, ">")
        await until(lambda: store.find_signal_waiter("go"))
    async with running_engine(store, flow) as engine:
        await engine.signal("go")
        with pytest.raises(RunFailedError, match=">abc"):
            await engine.handle(handle.run_id).result("60s")
    assert calls == {"async": 2, "undone": 1}
    rows = (await store.list_checkpoints(handle.run_id))[1:4]
    assert [(row.kind, row.name) for row in rows] == [
        (CheckpointKind.LOCAL, name) for name in ("async", "sync", "lambda of a coroutine")
    ]


async def test_a_closure_is_not_given_to_a_transport_and_takes_no_input(store: StateStore) -> None:
    carried: list[str] = []

    class Elsewhere(InProcessTransport):
        async def execute(self, task: StepTask, handler: StepHandler) -> StepOutcome:
            carried.append(task.name)
            return await handler(task)

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.step(ping)
        await ctx.local_step("closure", lambda: 1)
        try:
            await ctx.local_step("input", charge)  # type: ignore[arg-type]
        except DefinitionError as error:
            return str(error)
        return ""

    async with running_engine(store, flow, transport=Elsewhere()) as engine:
        assert "must be given, got none" in await (await engine.start(flow)).result("60s")
    assert carried == ["ping"]


async def helper() -> str:
    ctx = current_context()
    charged = await ctx.step(charge, Order(id=ctx.workflow))
    return f"{charged.id} in {ctx.run_id}"


async def test_a_helper_finds_the_context_of_its_workflow_also_in_tasks(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        assert current_context() is ctx
        return [await helper(), *await ctx.gather(helper(), helper())]

    async with running_engine(store, flow) as engine:
        one, other = await engine.start(flow, run_id="one"), await engine.start(flow, run_id="other")
        assert await one.result("60s") == ["charged flow in one"] * 3
        assert await other.result("60s") == ["charged flow in other"] * 3


async def test_a_context_that_outlives_its_body_is_refused_with_the_mend(store: StateStore) -> None:
    kept: list[WorkflowContext] = []

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        kept.append(ctx)
        await ctx.wait_for_signal("go")

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        late: tuple[Callable[[WorkflowContext], Any], ...] = (
            lambda ctx: ctx.step(ping),
            lambda ctx: ctx.now(),
            lambda ctx: ctx.continue_as_new(),
        )
        for call in late:
            with pytest.raises(OutsideWorkflowError, match="use WorkflowService"):
                call(kept[0])
        await engine.signal("go")
        await handle.result("60s")


async def test_an_option_that_does_not_exist_is_refused_and_not_passed_over(store: StateStore) -> None:
    """A misspelt `compensate` would not undo anything, and a misspelt `run_id` would start a run each time."""
    wrong: dict[str, Any] = {"max_attempt": 2}

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        messages = []
        calls: tuple[Callable[[], Awaitable[Any]], ...] = (
            lambda: ctx.step(ping, **wrong),
            lambda: ctx.local_step("closure", str, **wrong),
            lambda: ctx.transaction(book, **wrong),
            lambda: ctx.child(flow, **wrong),
            lambda: ctx.start_child(flow, **wrong),
        )
        for call in calls:
            with pytest.raises(TypeError) as refused:
                await call()
            messages.append(str(refused.value))
        return messages

    async with running_engine(store, flow) as engine:
        assert all("'max_attempt'" in message for message in await engine.execute(flow, timeout="60s"))
        for start in (engine.start(flow, **wrong), engine.execute(flow, **wrong)):
            with pytest.raises(TypeError, match="unexpected keyword argument 'max_attempt'; it takes at, delay"):
                await start
        with pytest.raises(TypeError, match="max_attempt"):
            await engine.signal_with_start(flow, token="go", **wrong)


async def book(tx: object) -> None: ...


async def test_what_is_no_step_is_refused_in_words(store: StateStore) -> None:
    calls: dict[str, Any] = {"Pass the function itself": ping(), "must not be a workflow": _workflow, "int": int}

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        for words, wrong in calls.items():
            with pytest.raises(DefinitionError, match=words):
                await ctx.step(wrong)
        calls["Pass the function itself"].close()

    async with running_engine(store, flow) as engine:
        await engine.execute(flow, timeout="60s")


@workflow
async def _workflow(ctx: WorkflowContext) -> None: ...


async def test_an_undo_is_named_like_any_step(store: StateStore) -> None:
    undone: list[str] = []

    @step(name="take back")
    async def take_back() -> None:
        undone.append("taken back")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(ping, compensate="take back")
        raise ValueError("no")

    async with running_engine(store, flow, steps=[take_back]) as engine:
        with pytest.raises(RunFailedError):
            await engine.execute(flow, timeout="60s")
    assert undone == ["taken back"]


async def test_outside_a_workflow_and_inside_a_step_there_is_no_context(store: StateStore) -> None:
    @step
    async def ask() -> str:
        return current_context().run_id

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            return await ctx.step(ask)
        except StepFailedError as error:
            return str(error.error.type)

    with pytest.raises(OutsideWorkflowError, match="was called outside a workflow"):
        current_context()
    async with running_engine(store, flow) as engine:
        assert await (await engine.start(flow)).result("60s") == "OutsideWorkflowError"
