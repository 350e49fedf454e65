"""`ctx.gather`: concurrent branches that are numbered by their place in the call."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi_durable.engine.child import results_of


async def gather_branches(
    entries: Sequence[Callable[[], None]], branches: Sequence[Coroutine[Any, Any, Any]]
) -> list[Any]:
    """Run the branches side by side and wait for all; their results in the order of the call.

    Raises:
        GatherError: one or more raised.
    """
    tasks = [asyncio.create_task(_enter(enter, branch)) for enter, branch in zip(entries, branches, strict=True)]
    try:
        return results_of(await asyncio.gather(*tasks, return_exceptions=True))
    finally:
        for task in tasks:
            task.cancel()


async def _enter(enter: Callable[[], None], branch: Coroutine[Any, Any, Any]) -> Any:
    enter()
    return await branch
