"""`ctx.race`: branches side by side, of which the first to end counts.

Which one it was is recorded, so a replay, on which all that is recorded comes at once, does not decide anew. The
verdict and the removal of what the losers wait for are one transaction: before it nothing has been decided, after it
nothing is delivered to a loser any more. Children that losers waited for are cancelled after it, and again on a replay,
which makes good what a crash in between left undone.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi_durable.engine.primitives.branches import begin
from fastapi_durable.engine.runs.cancellation import cancel_all
from fastapi_durable.engine.runs.completion import child_token
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.position import follow_branch, stop_at_history
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus
from fastapi_durable.store.base import StoreTransaction

T = TypeVar("T")

RACE = "race"
_CHILD = child_token("")
_PAGE = 500

Branch = Coroutine[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Winner(Generic[T]):
    """The branch of a race that ended first.

    Attributes:
        index: Its place in the call.
        value: What it returned.
    """

    index: int
    value: T


async def run_race(
    turn: Turn, seq: int, entries: Sequence[Callable[[], None]], branches: Sequence[Branch]
) -> Winner[Any]:
    """Run the branches until one has ended; what it returned, or raised, is what the race comes to."""
    try:
        async with turn.under_way():
            verdict = await turn.recorded(seq, CheckpointKind.LOCAL, RACE)
    except BaseException:
        for branch in branches:
            branch.close()
        raise
    trails: list[set[int]] = [set() for _ in branches]

    async def run(index: int) -> Any:
        entries[index]()
        follow_branch(trails[index])
        if verdict is not None and index != verdict.output["winner"]:
            # It does again what is recorded of it, for what that does to the body, and is cancelled where it was.
            stop_at_history()
        return await branches[index]

    tasks = [begin(branch, run(index)) for index, branch in enumerate(branches)]
    try:
        decided = verdict or await _decide(turn, seq, tasks, trails)
        await asyncio.wait(tasks)
        turn.check_open()
    finally:
        for task in tasks:
            task.cancel()
            task.add_done_callback(_retrieve)
    index = int(decided.output["winner"])
    if cancelled := decided.output["cancelled"]:
        async with turn.under_way():
            await turn.persist(lambda: cancel_all(turn.kernel, cancelled))
    try:
        return Winner(index, tasks[index].result())
    except Exception as error:
        # A retry of a run that fails by this lets the race begin anew.
        turn.failed(seq, error)
        raise


async def _decide(turn: Turn, seq: int, tasks: Sequence["asyncio.Task[Any]"], trails: Sequence[set[int]]) -> Checkpoint:
    """Wait for the first branch to end, cancel the others, and record which it was."""
    ended, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    turn.check_open()
    for task in others:
        task.cancel()
    if others:
        # Until they are gone: they may be about to leave a waiter.
        await asyncio.wait(others)
    winner = next(index for index, task in enumerate(tasks) if task in ended)
    lost: set[int] = set()
    for index, trail in enumerate(trails):
        if index != winner:
            lost |= trail
    async with turn.under_way():
        verdict = await turn.persist(lambda: _record(turn, seq, winner, lost))
        if verdict is None:
            # Something was delivered meanwhile; it may be what a branch waits for that comes before the winner.
            turn.cut_short()
            turn.check_open()
            raise AssertionError("a turn that was cut short is not open")
        turn.remember(verdict)
        return verdict


async def _record(turn: Turn, seq: int, winner: int, lost: set[int]) -> Checkpoint | None:
    """Record the verdict, and take away what the losers wait for; None if something was delivered meanwhile."""
    async with turn.kernel.store.transaction(timeout=turn.kernel.config.transaction_timeout) as transaction:
        run = await own_run(turn, transaction)
        recorded = await transaction.find_checkpoint(run.id, seq)
        if recorded is not None:
            # By this very call, whose commit was not heard of.
            return recorded
        if run.wake_count != turn.run.wake_count:
            return None
        children = await _remove_waiters(transaction, run.id, lost) if turn.put_waiters else []
        verdict = turn.checkpoint(
            seq,
            CheckpointKind.LOCAL,
            RACE,
            CheckpointStatus.COMPLETED,
            output={"winner": winner, "cancelled": children},
        )
        return (await transaction.record_checkpoint(verdict, token=turn.token)).checkpoint


async def _remove_waiters(transaction: StoreTransaction, run_id: str, positions: set[int]) -> list[str]:
    """Remove the waiters of these positions; returns the children that they waited for."""
    children, after = [], None
    while True:
        page = await transaction.list_signal_waiters(run_ids=[run_id], limit=_PAGE, after=after)
        for waiter in page:
            if waiter.seq in positions:
                await transaction.remove_signal_waiter(waiter)
                if waiter.token.startswith(_CHILD):
                    children.append(waiter.token.removeprefix(_CHILD))
        if len(page) < _PAGE:
            return children
        after = page[-1].token


def _retrieve(task: "asyncio.Task[Any]") -> None:
    """Mark a loser's exception as seen."""
    if not task.cancelled():
        task.exception()
