"""Whatever an exception is like, it is recorded: a failure that is not would be met again with every lease."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.entity import entity, operation
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.turns.step_log import current_step
from fastapi_durable.model.errors import RunFailedError, StepFailedError
from fastapi_durable.model.records import ErrorRecord
from fastapi_durable.store.base import StateStore
from fastapi_durable.transport.base import StepHandler, StepOutcome, StepTask
from fastapi_durable.transport.in_process import InProcessTransport
from tests.support.engine_rig import FAST, is_idle, running_engine, running_worker, until
from tests.support.exceptions import ODD, Unreadable
from tests.support.stores import on_databases_slowly

executed: Counter[str] = Counter()
every_exception = pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())


@pytest.fixture(autouse=True)
def _fresh() -> None:
    executed.clear()


async def _fails_once(store: StateStore, flow: Any, **parts: Any) -> None:
    """A turn that is not recorded is repeated when its lease ends, and executes more than once."""
    async with running_worker(store, flow, config=FAST, **parts) as (engine, worker):
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        await until(lambda: is_idle(worker))
        assert (await handle.run()).recovery_attempts is None
    assert executed == {"it": 1}


@every_exception
@on_databases_slowly
async def test_a_step_that_fails_is_executed_once(store: StateStore, make: Callable[[], BaseException]) -> None:
    @step
    async def fails() -> None:
        executed["it"] += 1
        raise make()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(fails)

    await _fails_once(store, flow)


@every_exception
@on_databases_slowly
async def test_a_body_that_fails_is_executed_once(store: StateStore, make: Callable[[], BaseException]) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        executed["it"] += 1
        raise make()

    await _fails_once(store, flow)


@every_exception
async def test_a_transaction_a_branch_and_a_side_effect_that_fail_are_executed_once(
    store: StateStore, make: Callable[[], BaseException]
) -> None:
    async def writes(tx: Any) -> None:
        executed["transaction"] += 1
        raise make()

    async def branch() -> None:
        executed["branch"] += 1
        raise make()

    def takes() -> None:
        executed["side effect"] += 1
        raise make()

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        met = []
        for wait in (lambda: ctx.transaction(writes), lambda: ctx.side_effect(takes), lambda: ctx.gather(branch())):
            try:
                await wait()
            except Exception as error:
                met.append(type(error).__name__)
        return met

    async with running_engine(store, flow, config=FAST) as engine:
        assert await engine.execute(flow, timeout="60s") == ["StepFailedError", "StepFailedError", "GatherError"]
    assert executed == {"transaction": 1, "branch": 1, "side effect": 1}


@every_exception
async def test_an_operation_that_fails_is_executed_once(store: StateStore, make: Callable[[], BaseException]) -> None:
    @entity
    class Account(BaseModel):
        @operation
        async def add(self) -> None:
            executed["it"] += 1
            raise make()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.call_entity(Account, "a", Account.add)

    async with running_engine(store, flow, entities=[Account], config=FAST) as engine:
        with pytest.raises(RunFailedError):
            await engine.execute(flow, timeout="60s")
    assert executed == {"it": 1}


@on_databases_slowly
async def test_what_a_transport_says_of_a_failure_is_recorded(store: StateStore) -> None:
    class Far(InProcessTransport):
        async def execute(self, task: StepTask, handler: StepHandler) -> StepOutcome:
            executed["it"] += 1
            return StepOutcome(error=ErrorRecord(message="\x00 \ud800", code="\x00", stack="\x00" * 100_000))

    @step
    async def far() -> None:
        raise AssertionError("not reached")

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.step(far)
        except StepFailedError as error:
            return error.error.message
        return "not reached"

    async with running_engine(store, flow, transport=Far(), config=FAST) as engine:
        assert await engine.execute(flow, timeout="60s") == "\\x00 \\ud800"
    assert executed == {"it": 1}


class Silent:
    """It has no text."""

    def __str__(self) -> str:
        raise KeyError("no text")

    __repr__ = __str__


async def test_a_log_does_not_fail_its_step(store: StateStore) -> None:
    @step
    async def talks() -> str:
        log = current_step()
        log.info(Silent())  # type: ignore[arg-type]
        log.info("data", data=Silent())
        with suppress(Unreadable), log.sub_process("part"):
            raise Unreadable
        return "worked"

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.step(talks)

    async with running_engine(store, flow) as engine:
        assert await engine.execute(flow, timeout="60s") == "worked"
