"""Nearly every primitive in one long run, as they follow each other in a real one."""

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import ChildFailedError
from tests.primitives.case import Case, Desk
from tests.primitives.entities import Account, caller, sender
from tests.primitives.family import (
    chain,
    children,
    everyone,
    fail_fast,
    idle,
    leaf,
    parent_of_chain,
    spawned,
)
from tests.primitives.races import raced_waits
from tests.primitives.starting import gated
from tests.primitives.waits import sleeper, timed_out
from tests.primitives.work import (
    attributes,
    failed_step,
    gathered,
    patched,
    retried_step,
    saga,
    steps,
    task_group,
    transaction,
    values,
)
from tests.support.conversation import RESULT, answer, check_address, conversation


async def undone_child(ctx: WorkflowContext, key: str) -> str:
    try:
        await ctx.child(saga, key)
    except ChildFailedError as error:
        return error.error.message
    return "not undone"


async def single(ctx: WorkflowContext, key: str) -> str:
    return await ctx.child(gated, key)


_PARTS = (
    steps,
    retried_step,
    failed_step,
    transaction,
    values,
    attributes,
    patched,
    gathered,
    task_group,
    sleeper,
    timed_out,
    children,
    spawned,
    everyone,
    fail_fast,
    parent_of_chain,
    undone_child,
    single,
    raced_waits,
    caller,
    sender,
    conversation,
)


@workflow(updates={"address": check_address})
async def everything(ctx: WorkflowContext, key: str) -> list[object]:
    return [await part(ctx, key) for part in _PARTS]


async def talk(desk: Desk) -> None:
    await answer(desk.last, desk.key)


CASES = [
    Case(
        name="everything",
        workflows=(everything, leaf, idle, chain, saga, gated),
        entities=(Account,),
        result=[
            [2, 3, 4],
            "{key}",
            ["no {key}", "refused", 4],
            3,
            True,
            {"stage": "ended"},
            [True, 2],
            [[4, 8], [6, 16]],
            [4, 8],
            "awake",
            ["signal", "event"],
            [2, "-1 is negative"],
            10,
            [[4, 6], [1]],
            [1],
            "{key}.child.37~1",
            "{key} fails",
            "had its turn",
            [5, 0, 2, "refused"],
            [5, "not enough", 6],
            12,
            RESULT,
        ],
        writes=250,
        runs=15,
        dispensable=1,
        outside=talk,
    )
]
