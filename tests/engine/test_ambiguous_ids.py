"""Ids and tokens of two parts mean one run only, whatever colons a caller puts into his part."""

from dataclasses import dataclass

import pytest

from fastapi_durable.declare.definition import workflow
from fastapi_durable.declare.entity import entity, operation
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.task import TaskTicket
from fastapi_durable.model.errors import DefinitionError, InputValidationError, RunFailedError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import has_status, running_engine, until
from tests.support.stores import on_every_store


@workflow
async def waits(ctx: WorkflowContext) -> str:
    return await ctx.on_update("address", str)


@workflow
async def waits_for_all(ctx: WorkflowContext) -> str:
    return await ctx.on_update("b:address", str)


async def ask(ticket: TaskTicket) -> None:
    pass


@workflow
async def asks(ctx: WorkflowContext) -> str:
    return await ctx.task("b:sign", ask, str)


@on_every_store
async def test_an_update_reaches_the_run_that_it_names_only(store: StateStore) -> None:
    """`update:a:b:address` was the update `b:address` of the run `a` as well, and passed by the validator of `a:b`."""
    async with running_engine(store, waits) as engine:
        victim = await engine.start(waits, run_id="a:b")
        await engine.start(waits, run_id="a")
        await until(lambda: has_status(victim, RunStatus.SUSPENDED))
        with pytest.raises(DefinitionError, match="must not contain ':'"):
            await engine.update("a", "b:address", "Elm Street")
        with pytest.raises(DefinitionError, match="must not contain ':'"):
            engine.register_update_validator(waits, "b:address", lambda value: None)
        await engine.update("a:b", "address", "Main Street")
        assert await victim.result("60s") == "Main Street"


async def test_the_end_of_a_task_reaches_the_run_that_it_names_only(store: StateStore) -> None:
    async with running_engine(store, asks, waits_for_all, steps=[ask]) as engine:
        for flow in (asks, waits_for_all):
            with pytest.raises(RunFailedError, match="must not contain ':'"):
                await engine.execute(flow, timeout="60s")
        for end in (engine.complete_task("a", "b:sign", "yes"), engine.fail_task("a", "b:sign", "no")):
            with pytest.raises(DefinitionError, match="must not contain ':'"):
                await end


@entity(name="box")
@dataclass
class Box:
    total: int = 0

    @operation
    def add(self, amount: int) -> None:
        self.total += amount


async def holds(engine: WorkflowService, amount: int) -> bool:
    state = await engine.get_entity_state(Box, "red:1")
    return state is not None and state.total == amount


@on_every_store
async def test_an_operation_reaches_the_entity_that_it_names_only(store: StateStore) -> None:
    async with running_engine(store, waits, entities=[Box]) as engine:
        await engine.signal_entity(Box, "red:1", "add", 5)
        for ask_for in (engine.signal_entity("box:red", "1", "add", 7), engine.get_entity_state("box:red", "1")):
            with pytest.raises(DefinitionError, match="must not contain ':'"):
                await ask_for
        await until(lambda: holds(engine, 5))


@on_every_store
async def test_nobody_starts_the_child_of_another_run_before_it_does(store: StateStore) -> None:
    """The parent would join that run, and go on with what the stranger made of it."""

    @workflow
    async def parent(ctx: WorkflowContext) -> str:
        return await ctx.child(child, "of the parent")

    @workflow
    async def child(ctx: WorkflowContext, whose: str) -> str:
        return whose

    async with running_engine(store, parent, child) as engine:
        with pytest.raises(InputValidationError, match="must not end like the id of another run's child"):
            await engine.start(child, "of a stranger", run_id="alice:credit.child.0")
        assert await engine.execute(parent, run_id="alice:credit", timeout="60s") == "of the parent"
