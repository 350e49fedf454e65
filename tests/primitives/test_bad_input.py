"""What a primitive cannot take is refused where it is called, as an error that the body can catch, on every replay."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.webhook import Callback
from fastapi_durable.model.errors import (
    DefinitionError,
    EntityOperationError,
    InputValidationError,
    RunNotFoundError,
    SerializationError,
    StepFailedError,
    StepNotRegisteredError,
    WorkflowNotRegisteredError,
)
from fastapi_durable.model.records import RunQuery
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.memory import MemoryStateStore
from tests.primitives.dialogue import hand_out
from tests.primitives.entities import Account
from tests.primitives.family import leaf
from tests.primitives.situations import Stores
from tests.primitives.work import add_one, double
from tests.support.engine_rig import build_engine, running_engine

# Wrong on purpose; a type checker would refuse them.
TWO: Any = "two"
THING: Any = object()
TAKES_AN_INPUT: Any = lambda value: value  # noqa: E731 (a name for the table below)
TAKES_NO_TICKET: Any = double


@step
async def unstorable() -> object:
    return object()


async def _waits_too_long(ctx: WorkflowContext) -> None:
    await (await ctx.webhook()).wait(timeout="soon")


async def _two_tasks_of_one_name(ctx: WorkflowContext) -> None:
    first = ctx.task("same", hand_out, timeout="1h")
    try:
        await ctx.task("same", hand_out)
    finally:
        first.close()


WITHIN: dict[str, tuple[Callable[[WorkflowContext], Any], type[Exception]]] = {
    "step: input of another type": (lambda ctx: ctx.step(double, TWO), SerializationError),
    "step: input that cannot be stored": (lambda ctx: ctx.step(double, THING), SerializationError),
    "step: no input": (lambda ctx: ctx.step(TAKES_NO_TICKET), DefinitionError),
    "step: result that cannot be stored": (lambda ctx: ctx.step(unstorable), StepFailedError),
    "step: unknown name": (lambda ctx: ctx.step("nobody knows it"), StepNotRegisteredError),
    "step: timeout": (lambda ctx: ctx.step(double, 1, timeout="soon"), ValueError),
    "step: attempts": (lambda ctx: ctx.step(double, 1, max_attempts=0), DefinitionError),
    "local_step: takes an input": (lambda ctx: ctx.local_step("a", TAKES_AN_INPUT), DefinitionError),
    "transaction: no input": (lambda ctx: ctx.transaction(add_one), DefinitionError),
    "sleep": (lambda ctx: ctx.sleep("soon"), ValueError),
    "sleep_until: no time zone": (lambda ctx: ctx.sleep_until(datetime(2026, 1, 1)), ValueError),  # noqa: DTZ001
    "wait_for_signal: no token": (lambda ctx: ctx.wait_for_signal(""), InputValidationError),
    "wait_for_signal: a token of the engine": (lambda ctx: ctx.wait_for_signal("child:x"), InputValidationError),
    "wait_for_signal: timeout": (lambda ctx: ctx.wait_for_signal("a", timeout="soon"), ValueError),
    "wait_for_event: no name": (lambda ctx: ctx.wait_for_event(""), InputValidationError),
    "wait_for_event: large match": (lambda ctx: ctx.wait_for_event("a", match={"a": "x" * 9999}), InputValidationError),
    "webhook: timeout": (_waits_too_long, ValueError),
    "on_update: no name": (lambda ctx: ctx.on_update(""), DefinitionError),
    "set_value: no name": (lambda ctx: ctx.set_value("", 1), DefinitionError),
    "set_value: value": (lambda ctx: ctx.set_value("a", object()), SerializationError),
    "breakpoint: label": (lambda ctx: ctx.breakpoint(""), DefinitionError),
    "task: dispatch takes no ticket": (lambda ctx: ctx.task("a", TAKES_NO_TICKET), DefinitionError),
    "task: two of one name": (_two_tasks_of_one_name, DefinitionError),
    "side_effect": (lambda ctx: ctx.side_effect(object), StepFailedError),
    "upsert_search_attributes": (lambda ctx: ctx.upsert_search_attributes({"a": [1]}), InputValidationError),
    "child: input": (lambda ctx: ctx.child(leaf, TWO), InputValidationError),
    "child: unknown": (lambda ctx: ctx.child("nobody knows it", 1), WorkflowNotRegisteredError),
    "child: id": (lambda ctx: ctx.child(leaf, 1, run_id="\n"), InputValidationError),
    "start_child: input": (lambda ctx: ctx.start_child(leaf, TWO), InputValidationError),
    "start_child: id": (lambda ctx: ctx.start_child(leaf, 1, run_id="x" * 501), InputValidationError),
    "all: one input": (lambda ctx: ctx.all(leaf, [1, TWO]), InputValidationError),
    "race: none": (lambda ctx: ctx.race(), DefinitionError),
    "call_entity: input": (lambda ctx: ctx.call_entity("account", "a", "deposit", "two"), InputValidationError),
    "call_entity: no input": (lambda ctx: ctx.call_entity("account", "a", "deposit"), InputValidationError),
    "call_entity: key": (lambda ctx: ctx.call_entity("account", "", "deposit", 1), InputValidationError),
    "call_entity: operation": (lambda ctx: ctx.call_entity("account", "a", "steal", 1), EntityOperationError),
    "signal_entity: input": (lambda ctx: ctx.signal_entity("account", "a", "deposit", "two"), InputValidationError),
    "continue_as_new: input": (lambda ctx: ctx.continue_as_new(7), InputValidationError),
    "patched: id": (lambda ctx: ctx.patched(""), DefinitionError),
}


async def _error_of(call: Callable[[WorkflowContext], Any], ctx: WorkflowContext) -> str:
    try:
        result = call(ctx)
        if isinstance(result, Awaitable):
            await result
    except Exception as error:
        return type(error).__name__
    return "nothing"


@workflow
async def careful(ctx: WorkflowContext, name: str) -> list[str]:
    """Catches the error, and goes on over a wait, so that it is replayed."""
    caught = await _error_of(WITHIN[name][0], ctx)
    first = await ctx.local_step("the first time", lambda: caught)
    await ctx.sleep("1ms")
    return [first, caught]


@pytest.mark.parametrize("name", WITHIN)
async def test_a_call_of_a_body(name: str) -> None:
    store = MemoryStateStore()
    async with running_engine(store, careful, leaf, entities=(Account,)) as engine:
        handle = await engine.start(careful, name)
        expected = WITHIN[name][1].__name__
        assert await handle.result("60s") == [expected, expected]
    assert await store.list_signal_waiters(run_ids=[handle.run_id]) == []


FROM_OUTSIDE: dict[str, tuple[Callable[[WorkflowService], Awaitable[Any]], type[Exception]]] = {
    "start: input": (lambda engine: engine.start("leaf", "two"), InputValidationError),
    "start: id": (lambda engine: engine.start("leaf", 1, run_id=""), InputValidationError),
    "start: unknown": (lambda engine: engine.start("nobody knows it"), WorkflowNotRegisteredError),
    "signal: token": (lambda engine: engine.signal("a" * 501), InputValidationError),
    "signal: payload": (lambda engine: engine.signal("a", object()), SerializationError),
    "signal_with_start: token": (
        lambda engine: engine.signal_with_start("leaf", 1, token="", run_id="never"),
        InputValidationError,
    ),
    "publish_event: name": (lambda engine: engine.publish_event(""), InputValidationError),
    "publish_event: id": (lambda engine: engine.publish_event("a", event_id="\n"), InputValidationError),
    "update: value": (lambda engine: engine.update("run", "a", object()), SerializationError),
    "continue_run: unknown": (lambda engine: engine.continue_run("nobody"), RunNotFoundError),
    "complete_task: unknown": (lambda engine: engine.complete_task("nobody", "a"), RunNotFoundError),
    "get_value: unknown": (lambda engine: engine.get_value("nobody", "a"), RunNotFoundError),
    "get_value: unknown, and wait": (lambda engine: engine.get_value("nobody", "a", wait="1h"), RunNotFoundError),
    "get_value: no wait": (lambda engine: engine.get_value("nobody", "a", wait="soon"), InputValidationError),
    "get_value: a wait without end": (
        lambda engine: engine.get_value("nobody", "a", wait=timedelta(days=40_000)),
        InputValidationError,
    ),
    "signal_entity: input": (
        lambda engine: engine.signal_entity("account", "a", "deposit", "two"),
        InputValidationError,
    ),
    "cancel: unknown": (lambda engine: engine.cancel("nobody"), RunNotFoundError),
    "retry: unknown": (lambda engine: engine.retry("nobody"), RunNotFoundError),
    "retry_with_input: unknown": (lambda engine: engine.retry_with_input("nobody", 1), RunNotFoundError),
    "fork: unknown": (lambda engine: engine.fork("nobody", from_step=0), RunNotFoundError),
    "fork: position": (lambda engine: engine.fork("nobody", from_step=-1), InputValidationError),
}


@pytest.mark.parametrize("name", FROM_OUTSIDE)
async def test_a_call_from_outside(name: str, stores: Stores) -> None:
    """It is refused, and leaves nothing in the store."""
    engine = build_engine(stores.second, leaf, entities=(Account,))
    call, error = FROM_OUTSIDE[name]
    with pytest.raises(error):
        await call(engine)
    assert await stores.second.list_runs(RunQuery()) == []
    assert await stores.second.take_buffered_signal("a") is None


async def test_what_nobody_waits_for(stores: Stores) -> None:
    """Callers who may be wrong through no fault of their own get an answer, not an error."""
    engine = build_engine(stores.second, leaf)
    assert await engine.callback("wh:nobody:0.secret") is Callback.UNKNOWN
    assert not (await engine.update("nobody", "a")).accepted
    assert await engine.delete_run("nobody") == 0
