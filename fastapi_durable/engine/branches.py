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
    tasks = [begin(branch, _enter(enter, branch)) for enter, branch in zip(entries, branches, strict=True)]
    try:
        return results_of(await asyncio.gather(*tasks, return_exceptions=True))
    finally:
        for task in tasks:
            task.cancel()


def begin(branch: Coroutine[Any, Any, Any], entering: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    """A task for `entering`, which awaits the branch.

    A task that is cancelled before its first cycle never comes to the branch, and Python would warn the user of it.
    """
    task = asyncio.create_task(entering)
    task.add_done_callback(lambda _: branch.close())
    return task


async def _enter(enter: Callable[[], None], branch: Coroutine[Any, Any, Any]) -> Any:
    enter()
    return await branch
