"""Entities: every operation counts once, whoever is replayed."""

from pydantic import BaseModel

from fastapi_durable.declare.definition import workflow
from fastapi_durable.declare.entity import entity, operation
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import EntityOperationError
from fastapi_durable.service.facade import WorkflowService
from tests.primitives.case import Case, Desk, result_of


@entity(name="account")
class Account(BaseModel):
    balance: int = 0

    @operation
    async def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    @operation
    def withdraw(self, amount: int) -> int:
        self.balance -= amount
        if self.balance < 0:
            raise ValueError("not enough")
        return self.balance


@workflow
async def caller(ctx: WorkflowContext, key: str) -> list[object]:
    first = await ctx.call_entity(Account, "ada", Account.deposit, 5)
    try:
        await ctx.call_entity(Account, "ada", Account.withdraw, 50)
    except EntityOperationError as error:
        return [first, error.error.message, await ctx.call_entity(Account, "ada", Account.deposit, 1)]
    return []


@workflow
async def sender(ctx: WorkflowContext, key: str) -> int:
    await ctx.signal_entity(Account, "ada", Account.deposit, 5)
    await ctx.signal_entity(Account, "ada", Account.deposit, 1)
    return await ctx.call_entity(Account, "ada", Account.deposit, 0)


async def _branch(ctx: WorkflowContext, amount: int) -> None:
    await ctx.call_entity(Account, "ada", Account.deposit, amount)


@workflow
async def rivals(ctx: WorkflowContext, key: str) -> int:
    await ctx.gather(*(_branch(ctx, amount) for amount in (1, 2)))
    return await ctx.call_entity(Account, "ada", Account.deposit, 0)


async def with_state(engine: WorkflowService, key: str) -> object:
    state = await engine.get_entity_state(Account, "ada")
    return [await result_of(engine, key), None if state is None else state.balance]


async def deposit_from_outside(desk: Desk) -> None:
    for number in range(2):
        await desk.ask(
            lambda engine, number=number: engine.signal_entity(  # type: ignore[misc]
                Account, "ada", Account.deposit, 10, operation_id=f"{desk.key}.{number}"
            )
        )

    async def balance(engine: WorkflowService) -> bool:
        state = await engine.get_entity_state(Account, "ada")
        return state is not None and state.balance == 20

    await desk.until(balance)


async def begin_outside(case: Case, engine: WorkflowService, key: str) -> None:
    """Nothing: the first operation creates the entity."""


async def state_alone(engine: WorkflowService, key: str) -> object:
    state = await engine.get_entity_state(Account, "ada")
    return None if state is None else state.balance


CASES = [
    Case(
        name="call_entity",
        workflows=(caller,),
        entities=(Account,),
        result=[[5, "not enough", 6], 6],
        writes=30,
        runs=2,
        outcome=with_state,
    ),
    Case(
        name="signal_entity",
        workflows=(sender,),
        entities=(Account,),
        result=[6, 6],
        writes=25,
        runs=2,
        outcome=with_state,
    ),
    Case(
        name="call_entity in branches",
        workflows=(rivals,),
        entities=(Account,),
        result=[3, 3],
        writes=30,
        runs=2,
        outcome=with_state,
    ),
    Case(
        name="signal_entity from outside",
        workflows=(caller,),
        entities=(Account,),
        result=20,
        writes=10,
        runs=1,
        begin=begin_outside,
        outside=deposit_from_outside,
        outcome=state_alone,
    ),
]
