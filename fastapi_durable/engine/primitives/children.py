"""`ctx.all`: many children at the same time, each of them a `Child`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many children may fail, and how many may live at a time (None: all)."""

    tolerate: int
    concurrency: int | None


async def run_children(
    turn: Turn, positions: Sequence[int], requests: Sequence[ChildRequest], bounds: Bounds
) -> list[Any]:
    """Run children at the same time, and return their results in the order of the inputs.

    Raises:
        GatherError: more children failed than are tolerated.
    """
    children = _tasks(turn, positions, requests, bounds)
    return _results(await asyncio.gather(*children, return_exceptions=True), bounds)


async def run_children_fail_fast(
    turn: Turn, positions: Sequence[int], verdict_seq: int, requests: Sequence[ChildRequest], bounds: Bounds
) -> list[Any]:
    """Run children at the same time, and cancel the others at the first failure that is not tolerated.

    Raises:
        GatherError: it holds that failure, and those before it.
    """
    trail = Trail()
    children = _tasks(turn, positions, requests, bounds, trail)
    if not children:
        return []
    try:
        return await _until_too_many_fail(turn, verdict_seq, requests, children, bounds, trail)
    except asyncio.CancelledError:
        if turn.life.ended is None:
            await cancel_and_wait(children)
        raise


async def _until_too_many_fail(
    turn: Turn,
    verdict_seq: int,
    requests: Sequence[ChildRequest],
    children: Sequence["asyncio.Task[Any]"],
    bounds: Bounds,
    trail: Trail,
) -> list[Any]:
    failed: list[int] = []
    if turn.history.find(verdict_seq) is None:
        pending = set(children)
        while pending and len(failed) <= bounds.tolerate:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
            raised = [index for index, child in enumerate(children) if child in done and _error_of(child) is not None]
            failed += [index for index in raised if isinstance(_error_of(children[index]), ChildFailedError)]
            if not all(index in failed for index in raised):
                # The turn is over, or a child could not be asked for.
                break
        if len(failed) <= bounds.tolerate:
            return _results(await asyncio.gather(*children, return_exceptions=True), bounds)
        # Several may have failed at once.
        failed = failed[: bounds.tolerate + 1]
        # The others are cancelled as runs, which tells their waits.
        trail.is_lost = True
        for child in pending:
            child.cancel()
    verdict = await FirstFailures(turn, verdict_seq, failed).perform()
    trail.is_lost = True
    for index, child in enumerate(children):
        if index not in verdict:
            child.cancel()
    outcomes = await asyncio.gather(*children, return_exceptions=True)
    others = [request.run_id for index, request in enumerate(requests) if index not in verdict]
    # Repeated on a replay, which makes good what a crash right after the verdict left undone.
    await turn.repeat(partial(cancel_all, turn.kernel, others))
    failures = {index: error for index in verdict if isinstance(error := outcomes[index], ChildFailedError)}
    if len(failures) < len(verdict):
        return results_of(outcomes)
    raise GatherError(failures, total=len(requests))


class FirstFailures(Primitive[list[int]]):
    """Which children failed first; recorded, since a replay finds the cancelled ones failed as well.

    Args:
        indexes: Their places among the inputs, as this turn sees them. A single one is stored as a number.
    """

    def __init__(self, turn: Turn, seq: int, indexes: Sequence[int]) -> None:
        super().__init__(turn, seq, FIRST_FAILURE)
        self._indexes = indexes

    async def act(self) -> Checkpoint:
        first, *more = self._indexes
        return await self.turn.record(self.row(CheckpointStatus.COMPLETED, output=[first, *more] if more else first))

    def returns(self, output: Json) -> list[int]:
        return [int(index) for index in (output if isinstance(output, list) else [output])]


def _results(outcomes: Sequence[Any], bounds: Bounds) -> list[Any]:
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if len(errors) > bounds.tolerate or not all(isinstance(error, ChildFailedError) for error in errors):
        return results_of(outcomes)
    return list(outcomes)


def _tasks(
    turn: Turn,
    positions: Sequence[int],
    requests: Sequence[ChildRequest],
    bounds: Bounds,
    trail: Trail | None = None,
) -> list["asyncio.Task[Any]"]:
    places = None if bounds.concurrency is None else asyncio.Semaphore(bounds.concurrency)
    return [
        asyncio.create_task(_perform(Child(turn, seq, request), places, trail))
        for seq, request in zip(positions, requests, strict=True)
    ]


async def _perform(child: Child, places: asyncio.Semaphore | None, trail: Trail | None) -> Any:
    """The child's result, once there is a place for it.

    Places are given in the order of the inputs, so those that an earlier turn began come first on a replay, and those
    that ended give theirs up at once. A child that waits for a place does nothing that the turn would wait for.
    """
    if trail is not None:
        follow_branch(trail)
    if places is None:
        return await child.perform()
    async with places:
        # Else those that wait would begin one after the other when the turn ends, only to be turned away.
        child.turn.life.check_open()
        return await child.perform()


def _error_of(child: "asyncio.Task[Any]") -> BaseException | None:
    return None if child.cancelled() else child.exception()
