"""`ctx.race`: branches that run at the same time, of which the first to end wins.

The winner is recorded, because a replay has all results at once and could not decide again. One transaction records the
verdict and removes the losers' waiters. Before it, nothing is decided. After it, nothing is delivered to a loser. A
delivery to a loser that came in between is kept for other waits. The children of the losers are cancelled after the
transaction. A replay repeats these cancels, in case a crash prevented them.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar

from fastapi_durable.engine.primitives.branches import as_branch, begin, cancel_and_wait
from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.primitives.wait import remove_waiters
from fastapi_durable.engine.runs.cancellation import cancel_all
from fastapi_durable.engine.runs.completion import child_token
from fastapi_durable.engine.runs.delivery import tell_receiver
from fastapi_durable.engine.turns.own_run import own_run
from fastapi_durable.engine.turns.quiescence import retrieve
from fastapi_durable.engine.turns.trail import CancelledWait, Trail, follow_branch, stop_at_history
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, Json, Run, SignalWaiter
from fastapi_durable.store.base import StoreTransaction

T = TypeVar("T")

RACE = "race"
_CHILD = child_token("")

Branch = Coroutine[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Winner(Generic[T]):
    """The branch of a race that ended first.

    Attributes:
        index: Index of the branch in the call.
        value: What the branch returned.
    """

    index: int
    value: T


async def run_race(
    turn: Turn, seq: int, entries: Sequence[Callable[[], None]], branches: Sequence[Branch]
) -> Winner[Any]:
    """Run the branches until one has ended. The race returns or raises what that branch does."""
    race = Race(turn, seq, entries, branches)
    try:
        verdict = await race.perform()
        tasks = race.tasks or race.begin(verdict)
        await asyncio.wait(tasks)
        turn.life.check_open()
    except asyncio.CancelledError:
        if turn.life.ended is None:
            await cancel_and_wait(race.tasks)
        raise
    finally:
        race.close()
    index = int(verdict["winner"])
    if cancelled := verdict["cancelled"]:
        await turn.repeat(partial(cancel_all, turn.kernel, cancelled))
    try:
        return Winner(index, tasks[index].result())
    except Exception as error:
        # If the run fails because of this error, a retry repeats the race.
        turn.history.failed(seq, error)
        raise


class Race(Primitive[dict[str, Json]]):
    """The verdict of a race: which branch won, and which children of the losers were cancelled.

    Attributes:
        tasks: The branches, once they have begun.
    """

    def __init__(self, turn: Turn, seq: int, entries: Sequence[Callable[[], None]], branches: Sequence[Branch]) -> None:
        super().__init__(turn, seq, RACE)
        self.tasks: list[asyncio.Task[Any]] = []
        self._entries = entries
        self._branches = branches
        self._trails = [Trail() for _ in branches]
        self._order: list[asyncio.Task[Any]] = []

    def begin(self, verdict: dict[str, Json] | None) -> list["asyncio.Task[Any]"]:
        """Start the branches. Known losers only repeat their recorded calls."""

        async def run(index: int) -> Any:
            self._entries[index]()
            follow_branch(self._trails[index])
            if verdict is not None and index != verdict["winner"]:
                # A known loser repeats its recorded calls, because they may affect the body. It is cancelled at the
                # same place as before.
                stop_at_history()
            return await as_branch(self._branches[index])

        self.tasks = [begin(branch, run(index)) for index, branch in enumerate(self._branches)]
        for task in self.tasks:
            task.add_done_callback(self._order.append)
        return self.tasks

    async def act(self) -> Checkpoint:
        """Wait for the first branch to end, cancel the others, and record which it was."""
        life, tasks = self.turn.life, self.begin(None)
        with life.calls.aside():
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # Another branch may be answered, but not resumed yet.
            await asyncio.sleep(0)
            life.check_open()
            winner = self._first()
            for index, trail in enumerate(self._trails):
                trail.is_lost = index != winner
            await cancel_and_wait(tasks)
        receivers: list[Run] = []
        verdict = await self.turn.persist(partial(self._decide, winner, receivers)) or await self.turn.persist(
            partial(self._decide, winner, receivers, examine=True)
        )
        if verdict is None:
            # A loser received something before the winner ended.
            life.cut_short()
            life.check_open()
            raise AssertionError("a turn that was cut short is not open")
        self.turn.history.add(verdict)
        for receiver in receivers:
            tell_receiver(self.turn.kernel.notifications, receiver)
        return verdict

    def _first(self) -> int:
        """Return the branch that ended first, among those that have ended.

        Several branches may have been answered while no worker drove the run. Their rows show which one was first.
        """
        # Branches whose end is not recorded yet came last.
        order = [*self._order, *(task for task in self.tasks if task.done())]
        ended = list(dict.fromkeys(self.tasks.index(task) for task in order))
        return min(ended, key=lambda index: (*self._ended_at(index), ended.index(index)))

    def _ended_at(self, index: int) -> tuple[datetime, bool]:
        """Return when the last row of a branch was finished, and whether the run wrote that row itself.

        Times are whole milliseconds. At equal times a delivery wins, because the delivery to a loser would be lost.
        """
        asked_for = self._trails[index].asked_for
        rows = [row for seq in asked_for if (row := self.turn.history.find_finished(seq)) is not None]
        times = ((row.finished_at, row.kind is not CheckpointKind.SIGNAL) for row in rows)
        return max(times, default=(self.turn.kernel.clock.now(), True))

    async def _decide(self, winner: int, receivers: list[Run], *, examine: bool = False) -> Checkpoint | None:
        """Record the verdict, and remove the waiters of the losers.

        Args:
            receivers: Collects the runs that get deliveries which came too late for a loser.
            examine: Whether to check what the losers received, under the locks of the deliveries.

        Returns:
            The verdict. None if a loser may have received something. With `examine`, None only if that came before the
            winner ended.
        """
        turn = self.turn
        lost = [trail for index, trail in enumerate(self._trails) if index != winner]
        waits = [wait for trail in lost for wait in trail.waits]
        receivers.clear()
        async with turn.transaction() as transaction:
            for name in sorted({name for wait in waits for name in wait.locks()}) if examine else ():
                await transaction.lock_name(name)
            run = await own_run(turn, transaction)
            recorded = await transaction.find_checkpoint(run.id, self.seq)
            if recorded is not None:
                # An earlier try of this call wrote it. Its commit was not confirmed.
                return recorded
            if examine:
                if not await self._return_late(transaction, waits, self._ended_at(winner)[0], receivers):
                    return None
            elif waits and (run.wake_count != turn.run.wake_count or not all(map(self._only_waits, waits))):
                return None
            removed: list[SignalWaiter] = []
            if turn.put_waiters:
                removed = await remove_waiters(transaction, run.id, {seq for trail in lost for seq in trail.asked_for})
            children = [waiter.token.removeprefix(_CHILD) for waiter in removed if waiter.token.startswith(_CHILD)]
            output = {"winner": winner, "cancelled": children}
            return await self.record_in(transaction, self.row(CheckpointStatus.COMPLETED, output=output))

    def _only_waits(self, wait: CancelledWait) -> bool:
        """Return whether a cancelled wait has received nothing, as far as this turn knows."""
        return wait.has_waiter and self.turn.history.find_finished(wait.seq) is None

    async def _return_late(
        self, transaction: StoreTransaction, waits: Sequence[CancelledWait], ended_at: datetime, receivers: list[Run]
    ) -> bool:
        """Keep the deliveries that came too late to these waits for the next wait, as after a cancel by the body.

        Returns:
            False if one of them received something by `ended_at`.
        """
        found = [(wait, await transaction.find_checkpoint(self.turn.run.id, wait.seq)) for wait in waits]
        late = [(wait, row) for wait, row in found if row is not None and row.status.is_finished]
        if any(row.finished_at <= ended_at for _, row in late):
            return False
        for wait, row in late:
            await wait.withdraw(transaction, row, receivers)
        return True

    def returns(self, output: Json) -> dict[str, Json]:
        verdict: dict[str, Json] = output
        return verdict

    def close(self) -> None:
        """Close all branches."""
        for branch in self._branches if not self.tasks else ():
            branch.close()
        for task in self.tasks:
            task.cancel()
            task.add_done_callback(retrieve)
