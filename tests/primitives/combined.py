"""Nearly every primitive in one long run, as they follow each other in a real one."""

from fastapi_durable.definition import workflow
from fastapi_durable.engine.context import WorkflowContext
from tests.primitives.case import Case, Desk
from tests.primitives.entities import Account, caller
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
from tests.primitives.waits import sleeper, timed_out
from tests.primitives.work import (
    attributes,
    failed_step,
    gathered,
    patched,
    retried_step,
    steps,
    task_group,
    transaction,
    values,
)
from tests.support.conversation import RESULT, answer, check_address, conversation

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
    caller,
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
        workflows=(everything, leaf, idle, chain),
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
            [5, "not enough", 6],
            RESULT,
        ],
        writes=200,
        runs=13,
        outside=talk,
    )
]
