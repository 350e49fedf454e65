"""One turn: the body of a run, executed from the top against its recorded history.

Primitives take their position when they are called. A primitive that finds its result in the history returns it; the
others act, record, and add to the history. `Lifetime` says how long that goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NoReturn, TypeVar

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.runs.failure import named
from fastapi_durable.engine.turns.held import HeldCheckpoints
from fastapi_durable.engine.turns.history import History
from fastapi_durable.engine.turns.lifetime import Lifetime
from fastapi_durable.engine.turns.outcome import Continuation, Ended, Ending, Interrupt, Raised, Returned, TurnOutcome
from fastapi_durable.engine.turns.place import handled_now, place_now, place_of
from fastapi_durable.engine.turns.position import refuse_inside_step
from fastapi_durable.engine.turns.replay import Replay
from fastapi_durable.engine.turns.undo import Compensation
from fastapi_durable.model.errors import (
    LeaseLostError,
    NonDeterminismError,
    SerializationError,
    StoreConflictError,
    StoreUnavailableError,
)
from fastapi_durable.model.records import Checkpoint, CheckpointKind, Run, RunStatus
from fastapi_durable.store.base import StoreTransaction
from fastapi_durable.store.history import HistoryRow
from fastapi_durable.store.port.checkpoints import PreparedCheckpoint

T = TypeVar("T")


class Turn:
    """One execution of a body; primitives work through it, the driver runs it.

    Attributes:
        token: The lease under which the turn writes.
        history: What is recorded, and the positions of the body's calls.
        life: Whether the turn goes on, and what is under way in it.
        replay: In which order it goes through its history.
        run: As it was read last: what was delivered to it by then is in the history.
        is_cancelling: The body gets no further than its history, so that whatever it did is undone.
        put_waiters: Whether the run may have left waiters, which its end has to remove.
        compensations: What is undone if the run fails or is cancelled.
        task_names: Those of its `ctx.task` calls.
        held: Results that the body has, and that are not stored yet.
        is_refuted: The store holds another result than the body saw, so the body has to begin anew.
    """

    def __init__(
        self,
        run: Run,
        token: str,
        history: Iterable[HistoryRow | Checkpoint],
        kernel: Kernel,
        *,
        undoing: bool = False,
    ) -> None:
        self.run = run
        self.token = token
        self.kernel = kernel
        self.is_cancelling = run.status is RunStatus.CANCELLING and not undoing
        self.life = Lifetime(run, kernel, self._look, is_cancelling=self.is_cancelling)
        self.history = History(run.id, history, self._abandon)
        self.replay = Replay(self.life, is_over=self.history.is_empty)
        # An earlier turn of a run that is being cancelled may have waited where this one does not come to.
        self.put_waiters = run.status is RunStatus.CANCELLING
        self.compensations: list[Compensation] = []
        self.task_names: set[str] = set()
        self.held = HeldCheckpoints(self.life, self._write_held)
        self.is_refuted = False
        self._undoing = undoing

    # What primitives use

    def take_position(self) -> int:
        """The position of a primitive that is being called."""
        refuse_inside_step()
        if self.life.ended is not None:
            self.life.refuse_call()
        if self.life.tasks.self_cancelled:
            self.life.refuse_cancelled()
        self.life.calls.sign_of_life()
        return self.history.positions.take()

    @property
    def is_replaying(self) -> bool:
        """Whether the code that asks has been executed before, as far as the history tells."""
        return not self._undoing and self.history.is_replaying

    async def hold(self, checkpoint: Checkpoint) -> Checkpoint:
        """Give the body a result now, as every replay will read it, and store it before anything happens after it."""
        try:
            prepared = self.kernel.store.prepare_checkpoint(checkpoint)
        except SerializationError as error:
            self._abandon(error)
        if prepared is None:
            return await self.record(checkpoint)
        self.history.hold(prepared.checkpoint)
        self.held.hold(prepared)
        if self.held.is_full:
            await self.held.commit()
        return prepared.checkpoint

    async def begin_effect(self) -> None:
        """Store what is held: what begins now may follow from it.

        Raises:
            Interrupt: the turn is over.
        """
        if self.held.has_results:
            await self.held.commit()
            self.life.check_open()
        if self.history.has_progressed and self.run.recovery_attempts:
            await self.forget_crashes()

    async def record(self, checkpoint: Checkpoint) -> Checkpoint:
        """Store a checkpoint and return what is stored: a finished row that is there already wins.

        A cancel that comes meanwhile waits until the history has the row, see `Lifetime.finish`.
        """
        return await self.life.finish(partial(self._record, checkpoint))

    async def persist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Do an idempotent write, after what is held, until it is done; see `_insist`."""
        if not self.held.is_empty:
            await self.held.commit()
        return await self._insist(write)

    async def conclude(self, write: Callable[[Sequence[PreparedCheckpoint]], Awaitable[bool]]) -> bool:
        """Do the write that ends the turn; it is given what is held, to store that by the same commit.

        Returns:
            What `write` does: False if a guard did not hold, and nothing was written.
        """
        rows = await self.held.until_quiet()
        concluded = await self._insist(partial(write, rows))
        if concluded:
            self.held.carried(rows)
        return concluded

    async def _insist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Do an idempotent write, again and again while the database cannot be reached or others are in the way.

        The outcome of work that was done should not be lost to a short outage. The renewal of the lease bounds the
        repetition: it ends the turn once the lease cannot be held. Any other fault of the store ends the turn without
        a word to the body, which is not to blame: the run is taken up again when its lease expires.
        """
        delay = timedelta(milliseconds=10)
        while True:
            try:
                return await write()
            except (StoreUnavailableError, StoreConflictError):
                if self.life.lost_lease:
                    self.life.check_open()
                await self.kernel.clock.sleep(delay)
                delay = min(delay * 2, timedelta(seconds=2))
            except LeaseLostError:
                self.life.lose_lease()
                self.life.check_open()
            except Exception as error:
                self._abandon(error)

    async def repeat(self, write: Callable[[], Awaitable[object]]) -> None:
        """Do an idempotent write that belongs to no position, and is done again on every replay."""
        self.life.calls.enter()
        if self.life.ended is not None:
            await self.life.turn_away()
        try:
            await self.persist(write)
        finally:
            self.life.calls.leave()

    def transaction(self) -> AbstractAsyncContextManager[StoreTransaction]:
        """A transaction of the engine's own, within its time limit."""
        return self.kernel.store.transaction(timeout=self.kernel.config.transaction_timeout)

    async def forget_crashes(self) -> None:
        """The run came further than where its process died, so it is no poison pill."""
        self.run = self.run.changed(recovery_attempts=0)
        store = self.kernel.store
        await self.persist(lambda: store.update_run(self.run.id, {"recovery_attempts": 0}, token=self.token))

    async def delivered(self, seq: int, until: datetime | None) -> Checkpoint | None:
        """Wait for the row that a delivery records at a position; None: the moment has come first."""
        row = self.history.find_finished(seq)
        if row is None:
            await self.life.park(until, seq)
            row = self.history.find_finished(seq)
        return row

    def diverge(self, recorded: Checkpoint, kind: CheckpointKind, name: str) -> NoReturn:
        """End the turn because the code asks for something else than what is recorded."""
        self.block(self._divergence(recorded, f"{kind} {name!r}", place_now(), handled_now()))

    def block_if_recorded(self, error: Exception, *seqs: int) -> None:
        """End the turn because of what this process lacks for the calls at these positions, if they are recorded.

        Earlier code came this far, so the process was deployed without something that it needs; the body is not to
        blame. Where nothing is recorded, the call is new, and the body gets the error.
        """
        if any(self.history.find(seq) is not None for seq in seqs):
            self.block(error)

    def block_if_next_is(self, name: str, error: Exception) -> None:
        """The same for a call that has taken no position: it is recorded if its name stands at the next one."""
        recorded = self.history.find(self.take_position())
        self.history.positions.give_back()
        if recorded is not None and recorded.name == name:
            self.block(error)

    def block(self, error: Exception) -> NoReturn:
        """End the turn because the code does not fit what is stored; the run waits for code that does."""
        self.life.end(Ended(Ending.DIVERGED, error=error))

    def continue_as_new(self, continuation: Continuation) -> NoReturn:
        """End the turn, and with it the run, in favour of a new one."""
        refuse_inside_step()
        if self.life.ended is not None:
            self.life.refuse_call()
        self.life.end(Ended(Ending.CONTINUED, continuation=continuation))

    # What the driver uses

    def undo(self) -> "Turn":
        """A turn over the same history for undoing what this one did; not stopped by a cancel."""
        turn = Turn(self.run, self.token, self.history.rows(), self.kernel, undoing=True)
        turn.put_waiters = self.put_waiters
        return turn

    async def execute(self, body: Callable[[], Awaitable[Any]]) -> TurnOutcome:
        """Run the body until it returns, raises, or rests."""

        async def placed() -> Any:
            task = asyncio.current_task()
            self.history.positions.enter_body(task)
            with self.kernel.executions.noted(self.run.id, task=task):
                return await body()

        return await self.life.spend(placed, self._outcome)

    # Inside

    async def _record(self, checkpoint: Checkpoint) -> Checkpoint:
        store = self.kernel.store
        recorded = await self.persist(lambda: store.record_checkpoint(checkpoint, token=self.token))
        self.history.add(recorded.checkpoint)
        return recorded.checkpoint

    async def _write_held(self, rows: Sequence[PreparedCheckpoint]) -> None:
        """Store what is held. Where something else is stored, the body saw what is not so: it begins anew."""
        store, history = self.kernel.store, self.history
        recorded = await self._insist(partial(store.record_prepared, rows, token=self.token))
        for (checkpoint, _), (stored, won) in zip(rows, recorded, strict=True):
            # This very write wins against itself, when its first commit was not heard of.
            if not won and stored != checkpoint:
                self.is_refuted = True
                self.life.cut_short()
                raise Interrupt
            if stored.status.is_finished:
                history.has_progressed = True

    async def _look(self) -> bool:
        """Take in what was delivered since the run and its history were read; whether there was something."""
        store = self.kernel.store
        run = await store.find_run(self.run.id)
        if run is None or run.locked_by != self.token:
            self.life.lose_lease()
            return False
        if run.status is not self.run.status:
            # It is to be cancelled.
            self.life.cut_short()
            return False
        if run.is_paused:
            self.life.release()
            return False
        if run.wake_count == self.run.wake_count:
            return False
        # After the count: what that does not cover is found by whoever compares it.
        rows = await store.read_history(run.id)
        if self.life.ended is None:
            self.history.take_in(rows)
            self.run = run
            for parked in list(self.life.calls.parked):
                if parked.seq is not None and self.history.find_finished(parked.seq) is not None:
                    self.life.calls.resume(parked)
        return True

    def _abandon(self, error: Exception) -> NoReturn:
        """End the turn for a fault that is not the body's, which hears nothing of it."""
        self.life.end(Ended(Ending.ABANDONED, error=error))

    def _divergence(
        self, recorded: HistoryRow | Checkpoint, found: str, place: str | None, after: BaseException | None
    ) -> NonDeterminismError:
        return NonDeterminismError(
            self.run.id,
            recorded.seq,
            f"{recorded.kind} {recorded.name!r}",
            found,
            workflow=self.run.workflow,
            place=place,
            after=after,
            raised_at=None if after is None else place_of(after),
        )

    def _outcome(self, body: asyncio.Task[Any]) -> TurnOutcome:
        if self.life.was_interrupted and self.life.ended is not None:
            return self.life.ended
        error = asyncio.CancelledError() if body.cancelled() else body.exception()
        if not self._undoing and (leftover := self.history.first_leftover()):
            place = self.life.place_of_body if error is None else place_of(error)
            return Ended(Ending.DIVERGED, error=self._divergence(leftover, "the end of the workflow", place, error))
        if error is None:
            return Returned(body.result())
        if isinstance(error, Exception):
            return Raised(error, self.history.failures.given_up(error))
        return Raised(RuntimeError(f"the workflow's body was ended by {named(error)}"))
