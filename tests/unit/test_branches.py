"""Branches that a turn's end overtakes."""

import asyncio
import inspect

import pytest

from fastapi_durable.engine.primitives.branches import gather_branches


async def test_a_branch_that_is_cancelled_before_it_began_is_put_away() -> None:
    async def branch() -> None:
        raise AssertionError("it never begins")

    branches = [branch(), branch()]
    gathering = asyncio.create_task(gather_branches([lambda: None, lambda: None], branches))
    # After the cycle in which it makes the tasks, and before theirs.
    asyncio.get_running_loop().call_soon(gathering.cancel)
    with pytest.raises(asyncio.CancelledError):
        await gathering
    await asyncio.sleep(0)
    assert [inspect.getcoroutinestate(each) for each in branches] == [inspect.CORO_CLOSED] * 2
