"""One turn: the body of a run, executed from the top against its recorded history.

Primitives take their position when they are called. A primitive that finds its result in the history returns it. The
others act, record, and add to the history. `Lifetime` decides when the turn ends.
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
    """One execution of a body. The driver runs it, and primitives work through it.

    Attributes:
        token: The lease under which the turn writes.
        history: The recorded rows, and the positions of the body's calls.
        life: Whether the turn is open, and which calls are under way in it.
        replay: The order of the recorded results.
        run: The run at the last read. Deliveries up to then are in the history.
        is_cancelling: Whether the body stops at the end of its history, so that everything it did is undone.
        put_waiters: Whether the run may have left waiters, which its end has to remove.
        compensations: The compensations that are due if the run fails or is cancelled.
        task_names: Names of its `ctx.task` calls.
        held: Results that the body has received and that are not stored yet.
        is_refuted: Whether the store has another result than the body received, so that the body must start again.
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
        # An earlier turn of a run that is being cancelled may have stored waiters that this turn does not reach.
        self.put_waiters = run.status is RunStatus.CANCELLING
        self.compensations: list[Compensation] = []
        self.task_names: set[str] = set()
        self.held = HeldCheckpoints(self.life, self._write_held)
        self.is_refuted = False
        self._undoing = undoing

    # For the primitives

    def take_position(self) -> int:
        """Return the position of a primitive that is being called."""
        refuse_inside_step()
        if self.life.ended is not None:
            self.life.refuse_call()
        if self.life.tasks.self_cancelled:
            self.life.refuse_cancelled()
        self.life.calls.sign_of_life()
        return self.history.positions.take()

    @property
    def is_replaying(self) -> bool:
        """Whether the calling code was executed before, according to the history."""
        return not self._undoing and self.history.is_replaying

    async def hold(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return a result to the body now, in the form that every replay reads, and store it before the next effect."""
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
        """Store the held results, because the effect that begins now may depend on them.

        Raises:
            Interrupt: the turn is over.
        """
        if self.held.has_results:
            await self.held.commit()
            self.life.check_open()
        if self.history.has_progressed and self.run.recovery_attempts:
            await self.forget_crashes()

    async def record(self, checkpoint: Checkpoint) -> Checkpoint:
        """Store a checkpoint, and return the stored row. A finished row that exists already wins.

        A cancel during the write waits until the history has the row, see `Lifetime.finish`.
        """
        return await self.life.finish(partial(self._record, checkpoint))

    async def persist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Store the held results, then repeat an idempotent write until it succeeds; see `_insist`."""
        if not self.held.is_empty:
            await self.held.commit()
        return await self._insist(write)

    async def conclude(self, write: Callable[[Sequence[PreparedCheckpoint]], Awaitable[bool]]) -> bool:
        """Do the write that ends the turn. It receives the held checkpoints, and stores them in the same commit.

        Returns:
            The result of `write`: False if a guard did not hold, and nothing was written.
        """
        rows = await self.held.until_quiet()
        concluded = await self._insist(partial(write, rows))
        if concluded:
            self.held.carried(rows)
        return concluded

    async def _insist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Repeat an idempotent write while the database cannot be reached, or conflicts with other transactions.

        A short outage should not lose the outcome of finished work. The lease limits the repetition: if it cannot be
        renewed, the turn ends. Any other error of the store ends the turn without an error in the body, which did not
        cause it. A worker takes the run again when its lease expires.
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
        """Do an idempotent write that belongs to no position. Every replay repeats it."""
        self.life.calls.enter()
        if self.life.ended is not None:
            await self.life.turn_away()
        try:
            await self.persist(write)
        finally:
            self.life.calls.leave()

    def transaction(self) -> AbstractAsyncContextManager[StoreTransaction]:
        """Open a transaction of the engine, with its time limit."""
        return self.kernel.store.transaction(timeout=self.kernel.config.transaction_timeout)

    async def forget_crashes(self) -> None:
        """Reset the count of crashes, because the run has got further than where its process died."""
        self.run = self.run.changed(recovery_attempts=0)
        store = self.kernel.store
        await self.persist(lambda: store.update_run(self.run.id, {"recovery_attempts": 0}, token=self.token))

    async def delivered(self, seq: int, until: datetime | None) -> Checkpoint | None:
        """Wait for the row that a delivery records at a position. Return None if the moment comes first."""
        row = self.history.find_finished(seq)
        if row is None:
            await self.life.park(until, seq)
            row = self.history.find_finished(seq)
        return row

    def diverge(self, recorded: Checkpoint, kind: CheckpointKind, name: str) -> NoReturn:
        """End the turn, because the code makes another call than the recorded one."""
        self.block(self._divergence(recorded, f"{kind} {name!r}", place_now(), handled_now()))

    def block_if_recorded(self, error: Exception, *seqs: int) -> None:
        """End the turn if one of these positions is recorded, because this process lacks something that the call needs.

        Earlier code got this far, so the deploy lacks something, and the body did not cause that. If nothing is
        recorded, the call is new, and the body receives the error.
        """
        if any(self.history.find(seq) is not None for seq in seqs):
            self.block(error)

    def block_if_next_is(self, name: str, error: Exception) -> None:
        """The same for a call without a position. It is recorded if the next position has its name."""
        recorded = self.history.find(self.take_position())
        self.history.positions.give_back()
        if recorded is not None and recorded.name == name:
            self.block(error)

    def block(self, error: Exception) -> NoReturn:
        """End the turn, because the code does not fit the stored history. The run waits for code that does."""
        self.life.end(Ended(Ending.DIVERGED, error=error))

    def continue_as_new(self, continuation: Continuation) -> NoReturn:
        """End the turn and the run, and continue as a new run."""
        refuse_inside_step()
        if self.life.ended is not None:
            self.life.refuse_call()
        self.life.end(Ended(Ending.CONTINUED, continuation=continuation))

    # For the driver

    def undo(self) -> "Turn":
        """Return a turn over the same history that runs the compensations. A cancel does not stop it."""
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
        """Store the held checkpoints. If another result is stored already, the body received a wrong one, and must
        start again.
        """
        store, history = self.kernel.store, self.history
        recorded = await self._insist(partial(store.record_prepared, rows, token=self.token))
        for (checkpoint, _), (stored, won) in zip(rows, recorded, strict=True):
            # A repeated write may find its own rows, if its first commit was not confirmed.
            if not won and stored != checkpoint:
                self.is_refuted = True
                self.life.cut_short()
                raise Interrupt
            if stored.status.is_finished:
                history.has_progressed = True

    async def _look(self) -> bool:
        """Add the deliveries since the run and its history were read. Return whether there were any."""
        store = self.kernel.store
        run = await store.find_run(self.run.id)
        if run is None or run.locked_by != self.token:
            self.life.lose_lease()
            return False
        if run.status is not self.run.status:
            # The run is being cancelled.
            self.life.cut_short()
            return False
        if run.is_paused:
            self.life.release()
            return False
        if run.wake_count == self.run.wake_count:
            return False
        # Read the history after the count. A delivery after the count changes it, so the ending's guard fails.
        rows = await store.read_history(run.id)
        if self.life.ended is None:
            self.history.take_in(rows)
            self.run = run
            for parked in list(self.life.calls.parked):
                if parked.seq is not None and self.history.find_finished(parked.seq) is not None:
                    self.life.calls.resume(parked)
        return True

    def _abandon(self, error: Exception) -> NoReturn:
        """End the turn for an error that the body did not cause, and does not see."""
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
