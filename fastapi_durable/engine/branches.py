"""`ctx.gather`: concurrent branches, each with positions of its own."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from fastapi_durable.engine.child import results_of
from fastapi_durable.engine.position import Scope


async def gather_branches(
    scope: Scope, branch_scopes: Sequence[Scope], branches: Sequence[Coroutine[Any, Any, Any]]
) -> list[Any]:
    """Run the branches side by side and wait for all; their results in the order of the call.

    Raises:
        GatherError: one or more raised.
    """
    tasks = [asyncio.create_task(branch) for branch in branches]
    try:
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in tasks:
            task.cancel()
        scope.collect(branch_scopes)
    return results_of(outcomes)
