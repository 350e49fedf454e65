"""Annotations that are texts: what Python can know works, what it cannot is refused with the name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import step, step_definition, workflow, workflow_definition
from fastapi_durable.declare.entity import entity, entity_definition, operation
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import DefinitionError
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import running_engine

if TYPE_CHECKING:
    from fractions import Fraction


async def test_a_model_that_is_local_to_a_function_is_an_input_and_a_result() -> None:
    class Order(BaseModel):
        cents: int

    @step
    async def double(order: Order) -> list[Order]:
        return [order, order]

    @workflow
    async def flow(ctx: WorkflowContext, order: Order) -> int:
        return sum(each.cents for each in await ctx.step(double, order))

    async with running_engine(MemoryStateStore(), flow) as engine:
        assert await engine.execute(flow, Order(cents=4), timeout="60s") == 8


def test_methods_see_the_class_and_the_function_around_them() -> None:
    class Order(BaseModel):
        cents: int

    @workflow
    class Selling:
        class Receipt(BaseModel):
            total: int

        async def run(self, ctx: WorkflowContext, order: Order) -> Receipt:
            raise NotImplementedError

        @step
        async def charge(self, order: Order) -> Receipt:
            raise NotImplementedError

    @entity
    class Till(BaseModel):
        @operation
        def add(self, order: Order) -> None: ...

    definition = workflow_definition(Selling)
    assert (definition.input_type, definition.output_type) == (Order, Selling.Receipt)
    assert entity_definition(Till).operations["add"].input_type is Order


def test_a_function_that_is_not_decorated_sees_what_it_closes_over() -> None:
    class Order(BaseModel):
        cents: int

    async def copy(order: Order) -> Order:
        return Order(cents=order.cents)

    assert step_definition(copy).input_type is Order


def test_the_innermost_name_counts() -> None:
    def made() -> Any:
        class Order(BaseModel):
            inner: int

        @step
        async def take(order: Order) -> None: ...

        return take, Order

    class Order(BaseModel):
        outer: int

    take, inner = made()
    assert step_definition(take).input_type is inner
    assert Order is not inner


@step
async def divide(number: Fraction) -> None: ...


@step
async def measure() -> Fraction:
    raise NotImplementedError


@step
async def pair(first: int, second: int) -> None: ...


@step
async def several(*numbers: int) -> None: ...


def _body(used: Any) -> Any:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(used)

    return flow


@pytest.mark.parametrize(
    ("used", "message"),
    [
        (divide, "the annotation of 'number' of step 'divide' cannot be read: name 'Fraction' is not defined"),
        (measure, "the return annotation of step 'measure' cannot be read: name 'Fraction' is not defined"),
        (pair, "step 'pair' must take one input or none, got first, second"),
        (several, r"step 'several' must take one input or none, got \*args"),
    ],
)
def test_a_step_that_cannot_be_called_is_refused_with_the_workflow_that_uses_it(used: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        workflow_definition(_body(used))


@workflow
async def uses_a_global_step(ctx: WorkflowContext) -> None:
    await ctx.step(pair)


def test_a_step_of_the_module_that_cannot_be_called_is_refused_too() -> None:
    with pytest.raises(DefinitionError, match="'pair' must take one input"):
        workflow_definition(uses_a_global_step)
