"""`ctx.gather`: concurrent branches, numbered by their place in the call."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi_durable.engine.runs.failure import named
from fastapi_durable.engine.turns.body_task import branch_watched, is_interruption
from fastapi_durable.model.errors import DefinitionError, GatherError
from fastapi_durable.model.text import shown


async def gather_branches(
    entries: Sequence[Callable[[], None]], branches: Sequence[Coroutine[Any, Any, Any]]
) -> list[Any]:
    """Run branches at the same time, and return their results in the order of the call.

    Raises:
        GatherError: at least one branch raised.
    """
    tasks = [begin(branch, _enter(enter, branch)) for enter, branch in zip(entries, branches, strict=True)]
    try:
        return results_of(await asyncio.gather(*tasks, return_exceptions=True))
    finally:
        for task in tasks:
            task.cancel()


def results_of(outcomes: Sequence[Any]) -> list[Any]:
    """Return the results of `asyncio.gather(..., return_exceptions=True)`, or raise one error for all failures.

    Raises:
        GatherError: one or more are exceptions.
    """
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
            raise outcome
    failures = {index: outcome for index, outcome in enumerate(outcomes) if isinstance(outcome, Exception)}
    if failures:
        raise GatherError(failures, total=len(outcomes))
    return list(outcomes)


def check_branches(call: str, branches: Sequence[object]) -> None:
    """Refuse branches that are not coroutines.

    Raises:
        DefinitionError: a branch is not a coroutine. The other branches are closed.
    """
    wrong = next((branch for branch in branches if not inspect.iscoroutine(branch)), None)
    if wrong is None:
        return
    for branch in branches:
        if inspect.iscoroutine(branch):
            branch.close()
    raise DefinitionError(
        f"the branches of ctx.{call} must be coroutines, such as `ctx.step(charge, order)` or `ship(ctx, order)`, "
        f"got {shown(wrong)}. Call the function without awaiting it, and create no task"
    )


def begin(branch: Coroutine[Any, Any, Any], entering: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    """Return a task for `entering`, which awaits the branch.

    A task that is cancelled before its first cycle never awaits the branch, and Python would log a warning.
    """
    task = asyncio.create_task(entering)
    branch_watched(task, branch)
    task.add_done_callback(lambda _: branch.close())
    return task


async def cancel_and_wait(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    """Cancel tasks, and wait until they have ended: each of them removes its waiter, or may be about to store one."""
    for task in tasks:
        task.cancel()
    if unfinished := [task for task in tasks if not task.done()]:
        await asyncio.wait(unfinished)


async def as_branch(branch: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a branch. Everything that it raises is a failure, including errors that would end its task
    silently.

    Raises:
        RuntimeError: the branch raised something that is not an `Exception`. The message names it.
    """
    try:
        return await branch
    except Exception:
        raise
    except BaseException as error:
        if is_interruption(error):
            raise
        raise RuntimeError(f"a branch of the workflow was ended by {named(error)}") from error


async def _enter(enter: Callable[[], None], branch: Coroutine[Any, Any, Any]) -> Any:
    enter()
    return await as_branch(branch)
