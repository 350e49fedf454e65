"""One turn: the body of a run, executed from the top against its recorded history.

Primitives take their position when they are called. A primitive that finds its result in the history returns it; one
that must do something is `active` meanwhile; one that can only wait `park`s. When every primitive under way is parked,
nothing in this process can move the body any more, and the turn ends by raising `Interrupt` in all of them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.turns.failure_attribution import Blame
from fastapi_durable.engine.turns.outcome import Continuation, Ended, Ending, Interrupt, Raised, Returned, TurnOutcome
from fastapi_durable.engine.turns.position import (
    FIRST_BRANCH_SEQ,
    Positions,
    asked_for,
    refuse_inside_step,
    used_too_late,
)
from fastapi_durable.engine.turns.quiescence import Rest, retrieve
from fastapi_durable.engine.turns.undo import Compensation
from fastapi_durable.model.errors import (
    LeaseLostError,
    NonDeterminismError,
    SerializationError,
    StoreConflictError,
    StoreUnavailableError,
)
from fastapi_durable.model.records import (
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    ErrorRecord,
    Json,
    Run,
    RunStatus,
)
from fastapi_durable.store.history import HistoryRow

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

_UNWIND_TIMEOUT = 5.0
"""Seconds that an interrupted body's `finally` blocks get, and once more when they were cancelled."""

_REFUSALS_AT_MOST = 1000
"""After so many calls that were refused by an interruption, the body takes it for an error and repeats the call."""

_log = logging.getLogger("fastapi_durable")


class Turn:
    """The state of one execution of a body; primitives work through it, the driver runs it."""

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
        # An earlier turn of a run that is being cancelled may have waited where this one does not come to.
        self.put_waiters = run.status is RunStatus.CANCELLING
        self.compensations: list[Compensation] = []
        self.task_names: set[str] = set()
        self._history = {row.seq: row for row in history}
        self._positions = Positions(run.id, self._history.values())
        self._blame = Blame(self._positions)
        self._progressed = False
        self._undoing = undoing
        self._is_cancelling = run.status is RunStatus.CANCELLING and not undoing
        self._body: asyncio.Task[Any] | None = None
        self._rest = Rest(self._come_to_rest)
        self._under_way = _UnderWay(self)
        self._ended: Ended | None = None
        self._interrupted = False
        self._refusals = 0
        self._body_over: asyncio.Future[None] | None = None
        self._impatience: asyncio.TimerHandle | None = None

    # What primitives use

    def take_position(self) -> int:
        """The position of a primitive that is being called."""
        refuse_inside_step()
        if self._ended is not None:
            self._refuse_call()
        self._rest.sign_of_life()
        return self._positions.take()

    def give_back_position(self) -> None:
        """Undo the last `take_position` of the current task."""
        self._positions.give_back()

    def open_branch(self) -> Callable[[], None]:
        """Number a branch that is about to begin; the returned function is called in its task."""
        return self._positions.open_branch()

    async def recorded(
        self, seq: int, kind: CheckpointKind, name: str, *, only_begun: bool = False
    ) -> Checkpoint | None:
        """What the history holds at a position, for a call that is under way.

        Ends the turn as diverged if that is something else than the code asks for. A run that is being cancelled gets
        no further than its history: the call parks, and each branch comes as far as it came before, so that whatever
        it did is undone.

        Args:
            only_begun: The call returns once its position is begun, so an unfinished row does not hold it up.
        """
        checkpoint = self.peek(seq)
        finished = checkpoint is not None and (only_begun or checkpoint.status.is_finished)
        asked_for(seq, finished=finished)
        if self._is_cancelling and not finished:
            await self.park(None)
        if checkpoint is not None and (checkpoint.kind, checkpoint.name) != (kind, name):
            self._diverge(seq, f"{checkpoint.kind} {checkpoint.name!r}", f"{kind} {name!r}")
        return checkpoint

    def failed(self, seq: int, error: E) -> E:
        """The error that the call at `seq` is about to raise into the body: `raise turn.failed(seq, ...)`."""
        return self._blame.met(seq, error)

    @property
    def has_branches(self) -> bool:
        """Whether positions were taken, now or in an earlier turn, by others than the body itself."""
        return self._positions.has_branches

    @property
    def is_replaying(self) -> bool:
        """Whether the code that asks has been executed before, as far as the history tells."""
        return not self._undoing and self._positions.is_replaying(self._history.values())

    def peek(self, seq: int) -> Checkpoint | None:
        """What the history holds at a position, whatever it is."""
        row = self._history.get(seq)
        if row is None or isinstance(row, Checkpoint):
            return row
        try:
            checkpoint = self._history[seq] = row.read()
        except SerializationError as error:
            self._abandon(error)
        return checkpoint

    def result_at(self, seq: int, kind: CheckpointKind, name: str) -> tuple[Json] | None:
        """What the call at a position returned, if that is recorded and nothing else of it was asked for so far.

        None says nothing: `recorded` knows.
        """
        row = self._history.get(seq)
        if row is None or isinstance(row, Checkpoint):
            return None
        if row.status != CheckpointStatus.COMPLETED or row.kind != kind or row.name != name:
            return None
        try:
            return (row.read_output(),)
        except SerializationError as error:
            self._abandon(error)

    def _abandon(self, error: Exception) -> NoReturn:
        """End the turn for a fault that is not the body's, which hears nothing of it."""
        self._end(Ended(Ending.ABANDONED, error=error))
        self._interrupt()

    def checkpoint(
        self,
        seq: int,
        kind: CheckpointKind,
        name: str,
        status: CheckpointStatus,
        *,
        input: Json = None,
        output: Json = None,
        error: ErrorRecord | None = None,
        events: tuple[Json, ...] = (),
        attempts: int = 1,
        wake_at: datetime | None = None,
        started_at: datetime | None = None,
        parallel_group: str | None = None,
    ) -> Checkpoint:
        """A checkpoint of this run, stamped with the current time."""
        now = self.kernel.clock.now()
        started_at = started_at or now
        return Checkpoint(
            run_id=self.run.id,
            seq=seq,
            name=name,
            kind=kind,
            status=status,
            step_id=self.step_id(seq),
            input=input,
            output=output,
            error=error,
            events=events,
            parallel_group=parallel_group,
            attempts=attempts,
            wake_at=wake_at,
            enqueued_at=started_at,
            started_at=started_at,
            finished_at=now,
        )

    def step_id(self, seq: int) -> str:
        """Names the call at a position; the same on every attempt and every replay."""
        return self._positions.step_id(seq)

    async def record(self, checkpoint: Checkpoint) -> Checkpoint:
        """Store a checkpoint and return what is stored: a finished row that is there already wins."""
        store = self.kernel.store
        recorded = await self.persist(lambda: store.record_checkpoint(checkpoint, token=self.token))
        self.remember(recorded.checkpoint)
        return recorded.checkpoint

    def remember(self, checkpoint: Checkpoint) -> None:
        """Add to the history of this turn what was stored by other means than `record`."""
        self._history[checkpoint.seq] = checkpoint
        self._progressed = self._progressed or checkpoint.status.is_finished

    async def persist(self, write: Callable[[], Awaitable[T]]) -> T:
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
                if self._ended is not None and self._ended.ending is Ending.LEASE_LOST:
                    self.check_open()
                await self.kernel.clock.sleep(delay)
                delay = min(delay * 2, timedelta(seconds=2))
            except LeaseLostError:
                self.lose_lease()
                self.check_open()
            except Exception as error:
                self._abandon(error)

    def under_way(self) -> "_UnderWay":
        """Surrounds the asynchronous part of a primitive."""
        return self._under_way

    def pass_by(self) -> None:
        """In its place where a call has its answer already, and waits for nothing."""
        self._rest.know_task()
        self.check_open()
        self._rest.sign_of_life()

    async def begin(self) -> None:
        """See `under_way`."""
        # Before anything may be raised, so that a branch which starts after the end is not reported as a fault.
        self._rest.know_task()
        if self._refusals > _REFUSALS_AT_MOST:
            self._leave_body()
            await asyncio.get_running_loop().create_future()
        self.check_open()
        self._rest.enter()
        if self._progressed and self.run.recovery_attempts:
            try:
                await self._forget_crashes()
            except BaseException:
                self.end()
                raise

    def end(self) -> None:
        """See `under_way`."""
        self._rest.leave()

    async def park(self, wake_at: datetime | None) -> NoReturn:
        """Wait for what only another turn can bring; never returns, but raises `Interrupt`.

        Args:
            wake_at: When to wake the run without any delivery; None: only a delivery helps.
        """
        self.check_open()
        await self._rest.park(wake_at)

    def block(self, error: Exception) -> NoReturn:
        """End the turn because the code does not fit what is stored; the run waits for code that does."""
        self._end(Ended(Ending.DIVERGED, error=error))
        self._interrupt()

    def continue_as_new(self, continuation: Continuation) -> NoReturn:
        """End the turn, and with it the run, in favour of a new one."""
        refuse_inside_step()
        if self._ended is not None:
            self._refuse_call()
        self._end(Ended(Ending.CONTINUED, continuation=continuation))
        self._interrupt()

    # What the driver uses

    def undo(self) -> "Turn":
        """A turn over the same history for undoing what this one did; not stopped by a cancel."""
        turn = Turn(self.run, self.token, self._history.values(), self.kernel, undoing=True)
        turn.put_waiters = self.put_waiters
        return turn

    async def execute(self, body: Callable[[], Awaitable[Any]]) -> TurnOutcome:
        """Run the body until it returns, raises, or rests."""

        async def run_body() -> Any:
            self._positions.enter_body()
            try:
                with self.kernel.executions.noted(self.run.id):
                    return await body()
            except SystemExit as error:
                # asyncio would let it end the event loop, and with it every other run of the process.
                raise RuntimeError(f"the workflow's body called sys.exit({error.code!r})") from error

        self._body = asyncio.create_task(run_body(), name=f"durable run {self.run.id}")
        self._rest.watch(self._body)
        try:
            self._body_over = asyncio.get_running_loop().create_future()
            self._body.add_done_callback(lambda _: self._let_go())
            await self._body_over
            retrieve(self._body)
            outcome = self._outcome(self._body)
            await self._cancel_branches()
        except asyncio.CancelledError:
            await self._unwind()
            raise
        finally:
            if self._impatience is not None:
                self._impatience.cancel()
        return outcome

    @property
    def ended(self) -> Ended | None:
        """Why the turn is over, if it is."""
        return self._ended

    def cut_short(self) -> None:
        """Stop now and have the driver look at the run again: it was cancelled."""
        if self._end(Ended(Ending.CUT_SHORT)):
            self._rest.cancel_all()

    def lose_lease(self) -> None:
        """Another worker may own the run: stop at once and write nothing more."""
        if self._end(Ended(Ending.LEASE_LOST)):
            self._rest.cancel_all()

    def release(self) -> None:
        """Stop at the next primitive, so that another worker can go on from there."""
        if self._rest.is_quiet:
            self._end(Ended(Ending.RELEASED))
        else:
            self._ended = self._ended or Ended(Ending.RELEASED)

    def abort(self) -> None:
        """Stop now, whatever is under way."""
        self._end(Ended(Ending.RELEASED))
        self._rest.cancel_all()

    # Inside

    async def _forget_crashes(self) -> None:
        """The run came further than where its process died, so it is no poison pill."""
        self.run = replace(self.run, recovery_attempts=0)
        store = self.kernel.store
        await self.persist(lambda: store.update_run(self.run.id, {"recovery_attempts": 0}, token=self.token))

    def _diverge(self, seq: int, recorded: str, found: str) -> None:
        self.block(NonDeterminismError(self.run.id, seq, recorded, found))

    def check_open(self) -> None:
        """Interrupt the caller if the turn is over."""
        if self._ended is not None:
            self._interrupt()

    def _interrupt(self) -> NoReturn:
        self._interrupted = True
        raise Interrupt

    def _refuse_call(self) -> None:
        """Interrupt a call that comes after the end; returns if that has been in vain all the time."""
        if self._body is not None and self._body.done() and not self._rest.knows(asyncio.current_task()):
            raise used_too_late(self.run.id)
        self._refusals += 1
        if self._refusals <= _REFUSALS_AT_MOST:
            self._interrupt()

    def _leave_body(self) -> None:
        """Go on without a body that catches the interruption and whatever else would end it.

        It would repeat its call for ever, or hold the run's place and lease. Its task can be ended by nobody, so the
        event loop must not wait for it when it closes.
        """
        if self._body is None or self._body.done() or self._body in self.kernel.left_behind:
            return
        _log.error(
            "run %s of %s: the workflow's body catches the interruption by which it leaves memory, and goes on. Let "
            "`except BaseException` and a bare `except` raise it again, or catch Exception",
            self.run.id,
            self.run.workflow,
        )
        self.kernel.left_behind.add(self._body)
        asyncio._unregister_task(self._body)
        self._body._log_destroy_pending = False  # type: ignore[attr-defined]
        self._let_go()

    def _let_go(self) -> None:
        if self._body_over is not None and not self._body_over.done():
            self._body_over.set_result(None)

    def _end(self, ended: Ended) -> bool:
        """Interrupt everything that is parked; False if the turn was over already."""
        if self._ended is None:
            self._ended = ended
        elif self._ended.ending is not Ending.RELEASED:
            return False
        self._interrupted = True
        self._rest.interrupt()
        if self._impatience is None:
            self._impatience = asyncio.get_running_loop().call_later(_UNWIND_TIMEOUT, self._lose_patience)
        return True

    def _lose_patience(self) -> None:
        self._rest.cancel_all()
        self._impatience = asyncio.get_running_loop().call_later(_UNWIND_TIMEOUT, self._lose_all_patience)

    def _lose_all_patience(self) -> None:
        if self._rest.is_idle:
            self._leave_body()
        else:
            # A step that refuses to end still works here: nobody else may begin it before the lease has expired.
            self._lose_patience()

    def _come_to_rest(self, wake_at: datetime | None) -> None:
        if self._ended is not None:
            # It was released while a call was under way.
            self._end(self._ended)
        elif self._is_cancelling:
            self._end(Ended(Ending.CANCELLED))
        else:
            self._end(Ended(Ending.SUSPENDED, wake_at=wake_at))

    def _outcome(self, body: asyncio.Task[Any]) -> TurnOutcome:
        # Once the body was interrupted, what it returns or raises says nothing. One that was asked to stop at its next
        # primitive, and came to its end without another, has ended by itself.
        if self._interrupted and self._ended is not None:
            return self._ended
        if leftover := self._first_leftover():
            return Ended(Ending.DIVERGED, error=leftover)
        error = asyncio.CancelledError() if body.cancelled() else body.exception()
        if error is None:
            return Returned(body.result())
        if isinstance(error, Exception):
            return Raised(error, self._blame.given_up(error))
        return Raised(RuntimeError(f"the workflow's body was ended by {type(error).__name__}"))

    def _first_leftover(self) -> NonDeterminismError | None:
        """The first recorded position that the body, now at its end, never asked for."""
        # Branches are left out: one that is cancelled when another fails may have come further the first time.
        beyond = [seq for seq in self._history if self._positions.calls_of_body <= seq < FIRST_BRANCH_SEQ]
        if not beyond or self._undoing:
            return None
        left = self._history[min(beyond)]
        return NonDeterminismError(self.run.id, left.seq, f"{left.kind} {left.name!r}", "the end of the workflow")

    async def _cancel_branches(self) -> None:
        """Leave no task of the body behind."""
        if self._ended is None:
            self._ended = Ended(Ending.SUSPENDED)
        branches = [task for task in self._rest.unfinished_tasks if task is not self._body]
        for task in branches:
            task.cancel()
        if branches:
            threads = self.kernel.threads
            # What works in a thread nothing can end, and what it does is to be undone if the run fails.
            grace = threads.grace.total_seconds() if threads.work_for(self.run.id) else 0
            await asyncio.wait(branches, timeout=_UNWIND_TIMEOUT + grace)

    async def _unwind(self) -> None:
        self.abort()
        if self._body is not None:
            self._body.add_done_callback(retrieve)
            await asyncio.wait({self._body}, timeout=_UNWIND_TIMEOUT)
        await self._cancel_branches()


class _UnderWay:
    """`async with turn.under_way():`. Without a state of its own, so that one serves all calls of a turn."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    async def __aenter__(self) -> None:
        await self._turn.begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._turn.end()
