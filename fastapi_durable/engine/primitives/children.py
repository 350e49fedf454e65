"""`ctx.all`: many children at the same time, each of them a `Child`."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi_durable.engine.primitives.branches import cancel_and_wait, results_of
from fastapi_durable.engine.primitives.child import Child
from fastapi_durable.engine.primitives.child_run import ChildRequest
from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.runs.cancellation import cancel_all
from fastapi_durable.engine.turns.trail import Trail, follow_branch
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import ChildFailedError, GatherError
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, Json

FIRST_FAILURE = "all:first_failure"


async def run_children(turn: Turn, positions: Sequence[int], requests: Sequence[ChildRequest]) -> list[Any]:
    """Run children at the same time, and return their results in the order of the inputs.

    Raises:
        GatherError: at least one child failed.
    """
    return results_of(await asyncio.gather(*_tasks(turn, positions, requests), return_exceptions=True))


async def run_children_fail_fast(
    turn: Turn, positions: Sequence[int], verdict_seq: int, requests: Sequence[ChildRequest]
) -> list[Any]:
    """Run children at the same time, and cancel the others at the first failure.

    Raises:
        GatherError: it holds the first failure.
    """
    trail = Trail()
    children = _tasks(turn, positions, requests, trail)
    if not children:
        return []
    try:
        return await _until_one_fails(turn, verdict_seq, requests, children, trail)
    except asyncio.CancelledError:
        if turn.life.ended is None:
            await cancel_and_wait(children)
        raise


async def _until_one_fails(
    turn: Turn,
    verdict_seq: int,
    requests: Sequence[ChildRequest],
    children: Sequence["asyncio.Task[Any]"],
    trail: Trail,
) -> list[Any]:
    failed = -1
    if turn.history.find(verdict_seq) is None:
        done, pending = await asyncio.wait(children, return_when=asyncio.FIRST_EXCEPTION)
        failed = next((index for index, child in enumerate(children) if child in done and _has_failed(child)), -1)
        if failed < 0:
            return results_of(await asyncio.gather(*children, return_exceptions=True))
        # The other children are cancelled as runs, which ends the waits for them.
        trail.is_lost = True
        for child in pending:
            child.cancel()
    first = await FirstFailure(turn, verdict_seq, failed).perform()
    trail.is_lost = True
    for index, child in enumerate(children):
        if index != first:
            child.cancel()
    outcomes = await asyncio.gather(*children, return_exceptions=True)
    others = [request.run_id for index, request in enumerate(requests) if index != first]
    # A replay repeats the cancels, in case a crash right after the verdict prevented them.
    await turn.repeat(partial(cancel_all, turn.kernel, others))
    failure = outcomes[first]
    if not isinstance(failure, ChildFailedError):
        return results_of(outcomes)
    raise GatherError({first: failure}, total=len(requests))


class FirstFailure(Primitive[int]):
    """Which child failed first. It is recorded, because on a replay the cancelled children have failed as well.

    Args:
        index: Its index among the inputs, as this turn sees it.
    """

    def __init__(self, turn: Turn, seq: int, index: int) -> None:
        super().__init__(turn, seq, FIRST_FAILURE)
        self._index = index

    async def act(self) -> Checkpoint:
        return await self.turn.record(self.row(CheckpointStatus.COMPLETED, output=self._index))

    def returns(self, output: Json) -> int:
        return int(output)


def _tasks(
    turn: Turn, positions: Sequence[int], requests: Sequence[ChildRequest], trail: Trail | None = None
) -> list["asyncio.Task[Any]"]:
    children = [Child(turn, seq, request) for seq, request in zip(positions, requests, strict=True)]
    if trail is None:
        return [asyncio.create_task(child.perform()) for child in children]
    return [asyncio.create_task(_followed(child, trail)) for child in children]


async def _followed(child: Child, trail: Trail) -> Any:
    follow_branch(trail)
    return await child.perform()


def _has_failed(child: "asyncio.Task[Any]") -> bool:
    return not child.cancelled() and isinstance(child.exception(), ChildFailedError)
