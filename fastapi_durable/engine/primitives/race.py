"""`ctx.race`: branches side by side, of which the first to end counts.

Which one it was is recorded, so a replay, on which all that is recorded comes at once, does not decide anew. The
verdict and the removal of what the losers wait for are one transaction: before it nothing has been decided, after it
nothing is delivered to a loser any more. Children that losers waited for are cancelled after it, and again on a replay,
which makes good what a crash in between left undone.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from fastapi_durable.engine.primitives.branches import begin
from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.runs.cancellation import cancel_all
from fastapi_durable.engine.runs.completion import child_token
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.position import follow_branch, stop_at_history
from fastapi_durable.engine.turns.quiescence import retrieve
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, Json
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
    race = Race(turn, seq, entries, branches)
    try:
        verdict = await race.perform()
        tasks = race.tasks or race.begin(verdict)
        await asyncio.wait(tasks)
        turn.life.check_open()
    finally:
        race.close()
    index = int(verdict["winner"])
    if cancelled := verdict["cancelled"]:
        await turn.repeat(partial(cancel_all, turn.kernel, cancelled))
    try:
        return Winner(index, tasks[index].result())
    except Exception as error:
        # A retry of a run that fails by this lets the race begin anew.
        turn.history.failed(seq, error)
        raise


class Race(Primitive[dict[str, Json]]):
    """The verdict of a race: which branch won, and which children were cancelled with the others.

    Attributes:
        tasks: The branches, once they have begun.
    """

    def __init__(self, turn: Turn, seq: int, entries: Sequence[Callable[[], None]], branches: Sequence[Branch]) -> None:
        super().__init__(turn, seq, RACE)
        self.tasks: list[asyncio.Task[Any]] = []
        self._entries = entries
        self._branches = branches
        self._trails: list[set[int]] = [set() for _ in branches]

    def begin(self, verdict: dict[str, Json] | None) -> list["asyncio.Task[Any]"]:
        """Let the branches run; those that are known to have lost come as far as they came."""

        async def run(index: int) -> Any:
            self._entries[index]()
            follow_branch(self._trails[index])
            if verdict is not None and index != verdict["winner"]:
                # It does again what is recorded of it, for what that does to the body, and is cancelled where it was.
                stop_at_history()
            return await self._branches[index]

        self.tasks = [begin(branch, run(index)) for index, branch in enumerate(self._branches)]
        return self.tasks

    async def act(self) -> Checkpoint:
        """Wait for the first branch to end, cancel the others, and record which it was."""
        life, tasks = self.turn.life, self.begin(None)
        with life.calls.aside():
            ended, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            life.check_open()
            for task in others:
                task.cancel()
            if others:
                # Until they are gone: they may be about to leave a waiter.
                await asyncio.wait(others)
        winner = next(index for index, task in enumerate(tasks) if task in ended)
        verdict = await self.turn.persist(partial(self._decide, winner))
        if verdict is None:
            # Something was delivered meanwhile; it may be what a branch waits for that comes before the winner.
            life.cut_short()
            life.check_open()
            raise AssertionError("a turn that was cut short is not open")
        self.turn.history.add(verdict)
        return verdict

    async def _decide(self, winner: int) -> Checkpoint | None:
        """Record the verdict, and take away what the losers wait for; None if something was delivered meanwhile."""
        turn = self.turn
        lost = {seq for index, trail in enumerate(self._trails) if index != winner for seq in trail}
        async with turn.transaction() as transaction:
            run = await own_run(turn, transaction)
            recorded = await transaction.find_checkpoint(run.id, self.seq)
            if recorded is not None:
                # By this very call, whose commit was not heard of.
                return recorded
            if run.wake_count != turn.run.wake_count:
                return None
            children = await _remove_waiters(transaction, run.id, lost) if turn.put_waiters else []
            output = {"winner": winner, "cancelled": children}
            return await self.record_in(transaction, self.row(CheckpointStatus.COMPLETED, output=output))

    def returns(self, output: Json) -> dict[str, Json]:
        verdict: dict[str, Json] = output
        return verdict

    def close(self) -> None:
        """Leave nothing of the branches behind."""
        for branch in self._branches if not self.tasks else ():
            branch.close()
        for task in self.tasks:
            task.cancel()
            task.add_done_callback(retrieve)


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
