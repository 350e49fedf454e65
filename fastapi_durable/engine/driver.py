"""Drives one claimed run: turn after turn until it ends, rests, or is lost.

Each ending is one guarded update that also releases the lease. If the guard fails, another worker owns the run, or the
run has changed since the turn read the history. Then the driver reads the run again, and continues or stops.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.engine.context.ambient import inside_workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.conflict import retry_conflicts
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.live_events import LiveEventType
from fastapi_durable.engine.core.tracing import turn_span
from fastapi_durable.engine.primitives.compensation import unwind
from fastapi_durable.engine.primitives.continuation import continue_run, restart_run
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.engine.runs.hand_back import hand_back
from fastapi_durable.engine.runs.settlement import settle_run
from fastapi_durable.engine.runs.singleton import gate_of, pass_gate
from fastapi_durable.engine.starting.by_name import complete, is_incomplete
from fastapi_durable.engine.turns.lifetime import Lifetime
from fastapi_durable.engine.turns.outcome import Continuation, Ended, Ending, Interrupt, Raised, Returned, TurnOutcome
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.engine.upkeep.dead_letter import dead_letter_of, letter_of_this_death
from fastapi_durable.engine.upkeep.expiry import is_over
from fastapi_durable.engine.upkeep.follow_up import follow_up_of, follow_up_of_this_ending
from fastapi_durable.engine.upkeep.letter import Sending
from fastapi_durable.model.errors import InputValidationError, LeaseLostError, SerializationError, StoreUnavailableError
from fastapi_durable.model.records import ErrorRecord, Json, Lease, Run, RunChanges, RunStatus
from fastapi_durable.store.history import HistoryRow
from fastapi_durable.store.port.checkpoints import PreparedCheckpoint

_log = logging.getLogger("fastapi_durable")

_EVENT_OF: dict[RunStatus, LiveEventType] = {
    RunStatus.SUSPENDED: "run.suspended",
    RunStatus.BLOCKED: "run.blocked",
    RunStatus.COMPLETED: "run.completed",
    RunStatus.FAILED: "run.failed",
    RunStatus.CANCELLED: "run.cancelled",
    RunStatus.DEAD: "run.dead",
}

_FIRST_RETRY = timedelta(milliseconds=50)
_SLOWEST_RETRY = timedelta(seconds=2)
_DRIVEN = (RunStatus.RUNNING, RunStatus.CANCELLING)


class RunDriver:
    """Owns one run under one lease, from its claim to its release.

    Attributes:
        when_settled: Called when the run has ended, before anyone is notified.
        holds_lease: Returns whether the lease is certainly held. Called before each turn.
        divergence: Why the run is blocked. None: it is not.
    """

    def __init__(self, run: Run, token: str, kernel: Kernel, *, is_new: bool = False) -> None:
        self.run = run
        self.token = token
        self._kernel = kernel
        self._is_new = is_new
        self._turn: Turn | None = None
        self._lost = False
        self._refusal: InputValidationError | None = None
        self._stopping: Callable[[Lifetime], None] | None = None
        self.when_settled: Callable[[], None] = _nothing
        self.holds_lease: Callable[[], Awaitable[bool]] = _always
        self.divergence: Exception | None = None

    @property
    def lease(self) -> Lease:
        """The lease under which this driver writes."""
        return Lease(self.run.id, self.token)

    async def drive(self) -> None:
        """Run turns until this worker has nothing more to do for the run."""
        try:
            definition = self._kernel.registry.find(self.run.workflow, self.run.workflow_version)
            if definition is None:
                await self.release_run()
                return
            if not await self._may_go_on():
                return
            if self._is_poisonous():
                await self._bury()
                return
            if is_incomplete(self.run) and not await self._complete_start(definition):
                return
            if await is_over(self._kernel, self.run) or not await self._may_begin(definition):
                return
            while not await self._take_turn(definition):
                if self._is_stopping():
                    await self.release_run()
                    return
        finally:
            self._kernel.streams.leave(self.run.id, self.token)

    async def _may_go_on(self) -> bool:
        """Return whether the run may continue. A run that an operator paused is suspended until it is resumed."""
        while self.run.is_paused and self.run.status is RunStatus.RUNNING:
            if await self._release({"status": RunStatus.SUSPENDED, "wake_at": None}, self.run.wake_count, ()):
                self._kernel.events.run("run.suspended", self.run)
                return False
            if not await self._still_mine():
                await self._tell_if_cancelled()
                return False
        return True

    async def _complete_start(self, definition: WorkflowDefinition) -> bool:
        """Add what only the workflow's code knows; see `starting/by_name`. False: the lease is lost."""
        take = partial(complete, self._kernel, definition, self.run.id, self.token)
        try:
            completed = await retry_conflicts(self._kernel.clock, take)
        except InputValidationError as error:
            self._refusal = error
            return True
        if completed is not None:
            self.run = completed
        return completed is not None

    async def _may_begin(self, definition: WorkflowDefinition) -> bool:
        """Return whether the run may begin. A singleton run without a slot is suspended until it gets one."""
        gate, singleton = gate_of(self.run), definition.singleton
        if gate is None or singleton is None or self.run.status is not RunStatus.RUNNING:
            return True
        take = partial(pass_gate, self._kernel, self.run, self.token, gate, singleton.limit)
        try:
            return await retry_conflicts(self._kernel.clock, take)
        except LeaseLostError:
            return False

    def _is_stopping(self) -> bool:
        return self._stopping is not None

    def lose_lease(self) -> None:
        """Stop at once, because the lease could not be renewed."""
        self._lost = True
        if self._turn is not None:
            self._turn.life.lose_lease()

    def look_again(self) -> None:
        """End the turn and read the run again, because it was changed from outside."""
        if self._turn is not None:
            self._turn.life.cut_short()

    async def look_if_held_up(self) -> None:
        """Check the stored run. End the turn if the run was cancelled, is being cancelled, or has another owner.

        A paused run stops at its next call.
        """
        run = await self._kernel.store.find_run(self.run.id)
        if run is not None and run.locked_by == self.token:
            if run.is_paused and run.status is RunStatus.RUNNING:
                self.release()
                return
            changed = run.status is RunStatus.CANCELLING and self.run.status is not RunStatus.CANCELLING
        else:
            changed = True
        if changed:
            self.look_again()

    def hear(self) -> None:
        """Note a delivery to the run. A parked call that waits for it continues while other calls are in progress."""
        if self._turn is not None:
            self._turn.life.hear()

    def release(self) -> None:
        """Stop at the next checkpoint and hand the run back."""
        self._stop(Lifetime.release)

    def abort(self) -> None:
        """Stop now and hand the run back."""
        self._stop(Lifetime.abort)

    def _stop(self, how: Callable[[Lifetime], None]) -> None:
        self._stopping = how
        if self._turn is not None:
            how(self._turn.life)

    async def _take_turn(self, definition: WorkflowDefinition) -> bool:
        """Execute one turn and write its ending. Return False if the run needs another turn at once."""
        history = [] if self._is_new else await self._read_history()
        self._is_new = False
        if not await self.holds_lease():
            # The lease ended while the run waited for the event loop or for its history. Begin nothing here.
            self._lost = True
        if not history and not self.run.wake_count and not self.run.recovery_attempts:
            self._kernel.events.run("run.started", self.run)
        turn = Turn(self.run, self.token, history, self._kernel)
        try:
            body = partial(_call_body, definition, turn) if self._refusal is None else partial(_refuse, self._refusal)
            outcome = await self._execute(turn, body)
            if self._wants_undoing(outcome) and turn.compensations:
                # Compensations need the results of their steps in the history.
                await turn.held.commit()
                done, turn = turn, turn.undo()
                undone = await self._execute(turn, partial(unwind, turn, done.compensations))
                # Once everything is undone, the outcome of the body itself counts again.
                outcome = outcome if isinstance(undone, Returned) else undone
            return await self._finish(turn, definition, outcome)
        except Interrupt:
            if turn.is_refuted:
                return not await self._still_mine()
            # The ending could not be written: the lease was lost meanwhile, or the store failed.
            if turn.life.ended is not None and turn.life.ended.error is not None:
                raise turn.life.ended.error from None
            return True
        finally:
            turn.held.close()

    async def _read_history(self) -> Sequence[HistoryRow]:
        """Return the history of the run. Wait through a short outage: giving up would leave the run leased but not
        driven.
        """
        kernel, delay = self._kernel, _FIRST_RETRY
        while True:
            try:
                return await kernel.store.read_history(self.run.id)
            except StoreUnavailableError:
                if self._lost or self._is_stopping():
                    raise
                await kernel.clock.sleep(delay)
                delay = min(delay * 2, _SLOWEST_RETRY)

    async def _execute(self, turn: Turn, body: Callable[[], Awaitable[Any]]) -> TurnOutcome:
        self._turn = turn
        # These requests came while the history was read, before there was a turn.
        if self._lost:
            turn.life.lose_lease()
        elif self._stopping is not None:
            self._stopping(turn.life)
        with turn_span(self.run) as tell:
            outcome = await turn.execute(body)
            if isinstance(outcome, Raised):
                tell(outcome.error)
        # The turn has read the run again for each delivery.
        self.run = turn.run
        return outcome

    def _wants_undoing(self, outcome: TurnOutcome) -> bool:
        """Return whether to run the compensations: the body failed, or a run that is being cancelled came to its
        end.
        """
        match outcome:
            case Raised():
                return True
            case Ended(Ending.CANCELLED):
                return True
            case Returned() | Ended(Ending.CONTINUED):
                return self.run.status is RunStatus.CANCELLING
        return False

    async def _finish(self, turn: Turn, definition: WorkflowDefinition, outcome: TurnOutcome) -> bool:
        """Write the outcome of the turn. Return False if the run needs another turn at once."""
        if self.run.status is RunStatus.CANCELLING and self._wants_undoing(outcome):
            return await self._settle(turn, RunStatus.CANCELLED, definition, error=self.run.error)
        match outcome:
            case Returned(value):
                return await self._complete(turn, definition, value)
            case Raised(error, given_up):
                failure = replace(error_record(error), positions=given_up)
                return await self._settle(turn, RunStatus.FAILED, definition, error=failure)
            case Ended(Ending.SUSPENDED, wake_at):
                return await self._rest(turn, RunStatus.SUSPENDED, wake_at)
            case Ended(Ending.DIVERGED, error=Exception() as error):
                self.divergence = error
                _log.error("run %s of %s is blocked: %s", self.run.id, self.run.workflow, error)
                wake_at = self._kernel.clock.now() + self._kernel.config.blocked_poll_interval
                return await self._rest(turn, RunStatus.BLOCKED, wake_at, error_record(error, retryable=True))
            case Ended(Ending.CONTINUED, continuation=continuation) if continuation is not None:
                return await self._continue(turn, continuation)
            case Ended(Ending.CUT_SHORT):
                return not await self._goes_on(turn)
            case Ended(Ending.RELEASED):
                await turn.held.commit()
                await self.release_run()
            case Ended(Ending.ABANDONED, error=Exception() as error):
                raise error
            case Ended(Ending.LEASE_LOST):
                await self._tell_if_cancelled()
                _log.warning("run %s: lost its lease to another worker; this turn wrote nothing more", self.run.id)
        return True

    async def _complete(self, turn: Turn, definition: WorkflowDefinition, value: Any) -> bool:
        try:
            output = self._kernel.codec.encode(
                value, definition.output_type, what=f"the result of workflow {definition.name!r}"
            )
        except SerializationError as error:
            return await self._settle(turn, RunStatus.FAILED, definition, error=error_record(error))
        return await self._settle(turn, RunStatus.COMPLETED, definition, output=output)

    async def _settle(
        self,
        turn: Turn,
        status: RunStatus,
        definition: WorkflowDefinition,
        *,
        output: Json = None,
        error: ErrorRecord | None = None,
    ) -> bool:
        """End the run. Return False if the run has changed, so that it must be read first."""
        follow_up = follow_up_of(self._kernel, definition, self.run, status, output, error)
        sending = Sending(self.run, follow_up, follow_up_of_this_ending)
        settled = await turn.conclude(
            lambda held: self._try_to_settle(
                status, output, error, put_waiters=turn.put_waiters, sending=sending, checkpoints=held
            )
        )
        if not settled:
            return not await self._goes_on(turn)
        # A caller that waits for the result may start the next run at once. The slot must be free by then.
        self.when_settled()
        self._kernel.notifications.run_finished(
            self.run.id, self.run.changed(status=status, output=output, error=error, locked_by=None)
        )
        self._kernel.events.run(_EVENT_OF[status], self.run, output=output, error=error)
        self._tell_parent()
        sending.report(self._kernel)
        if gate_of(self.run) is not None or follow_up is not None:
            self._kernel.notifications.work_available()
        level = logging.INFO if status is RunStatus.COMPLETED else logging.WARNING
        reason = f": {error.message}" if error else ""
        if error and (kind := error.root.type):
            # Some messages say little without the type. The message of a KeyError is the key.
            reason += f" ({kind})"
        _log.log(level, "run %s of %s: %s%s", self.run.id, self.run.workflow, status, reason)
        return True

    def _try_to_settle(
        self,
        status: RunStatus,
        output: Json,
        error: ErrorRecord | None,
        *,
        put_waiters: bool,
        sending: Sending,
        checkpoints: Sequence[PreparedCheckpoint] = (),
    ) -> Awaitable[bool]:
        return settle_run(
            self._kernel.store,
            self._kernel.clock,
            self.run,
            status,
            output=output,
            error=error,
            statuses=(self.run.status,),
            token=self.token,
            put_waiters=put_waiters,
            also=sending.also,
            locks=sending.locks,
            checkpoints=checkpoints,
        )

    async def _continue(self, turn: Turn, continuation: Continuation) -> bool:
        kernel = self._kernel
        store, clock, input, tags = kernel.store, kernel.clock, continuation.input, continuation.tags

        def write(held: Sequence[PreparedCheckpoint]) -> Awaitable[bool]:
            if continuation.in_place:
                # The restart removes the history, so the held checkpoints are not needed.
                return restart_run(store, clock, self.run, input, self.token)
            newest = kernel.registry.get(self.run.workflow)
            return continue_run(store, clock, self.run, newest, input, tags, self.token, held)

        if not await turn.conclude(write):
            return not await self._goes_on(turn)
        kernel.notifications.run_finished(self.run.id)
        kernel.events.run("run.completed", self.run)
        kernel.notifications.work_available()
        return True

    async def _rest(
        self, turn: Turn, status: RunStatus, wake_at: datetime | None, error: ErrorRecord | None = None
    ) -> bool:
        """Release the run until it is woken. Return False if it was woken already."""
        changes: RunChanges = {"status": status, "wake_at": wake_at, "error": error}
        if self.run.status is RunStatus.CANCELLING:
            # The compensations wait for a retry, or for code that fits the history. The run stays `cancelling`, with
            # its reason.
            changes = {"status": RunStatus.CANCELLING, "wake_at": wake_at}
        if not await turn.conclude(partial(self._release, changes, self.run.wake_count)):
            return not await self._goes_on(turn)
        if self.run.status is not RunStatus.CANCELLING:
            self._kernel.events.run(_EVENT_OF[status], self.run, error=error)
        if wake_at is not None:
            self._kernel.notifications.wake_planned(wake_at)
        return True

    async def release_run(self) -> None:
        """Release the run, so that any worker can continue it at once."""
        kernel = self._kernel
        await hand_back(kernel.store, kernel.clock, self.run, self.token, had_turn=self._turn is not None)
        kernel.notifications.work_available()

    async def _release(self, changes: RunChanges, wake_count: int, checkpoints: Sequence[PreparedCheckpoint]) -> bool:
        changes = {**changes, "locked_by": None, "locked_until": None, "updated_at": self._kernel.clock.now()}
        return await self._kernel.store.update_run(
            self.run.id,
            changes,
            statuses=(self.run.status,),
            token=self.token,
            wake_count=wake_count,
            checkpoints=checkpoints,
        )

    async def _goes_on(self, turn: Turn) -> bool:
        """Return whether this driver still owns the run, and store what the turn holds, so that the next turn finds
        it.
        """
        if not await self._still_mine():
            await self._tell_if_cancelled()
            return False
        await turn.held.commit()
        return True

    async def _still_mine(self) -> bool:
        """Read the run again. Return whether it is still leased to this driver."""
        run = await self._kernel.store.find_run(self.run.id)
        if run is None or run.locked_by != self.token or run.status not in _DRIVEN:
            return False
        if run.status is RunStatus.CANCELLING and self.run.status is not RunStatus.CANCELLING:
            # Another process requested the cancel, or this one would have noted it.
            self._kernel.notifications.run_cancelled(run.id)
        self.run = run
        return True

    async def _tell_if_cancelled(self) -> None:
        run = await self._kernel.store.find_run(self.run.id)
        if run is not None and run.status is RunStatus.CANCELLED:
            self._kernel.notifications.run_cancelled(run.id)

    def _tell_parent(self) -> None:
        """Notify the parent. The transaction does not report whether the parent waits, or is being driven."""
        if self.run.parent_run_id is not None:
            self._kernel.notifications.work_available()
            self._kernel.notifications.delivered(self.run.parent_run_id)

    def _is_poisonous(self) -> bool:
        limit = self._kernel.config.max_recovery_attempts
        return limit is not None and (self.run.recovery_attempts or 0) > limit

    async def _bury(self) -> None:
        attempts = self.run.recovery_attempts or 0
        message = f"the process that drove the run died {attempts} times without progress"
        error = ErrorRecord(message=message, code="max_recovery_attempts", retryable=False)
        sending = Sending(self.run, dead_letter_of(self._kernel, self.run, error), letter_of_this_death)
        if await self._try_to_settle(RunStatus.DEAD, None, error, put_waiters=True, sending=sending):
            sending.report(self._kernel)
            self._kernel.notifications.run_finished(self.run.id)
            self._kernel.notifications.work_available()
            self._tell_parent()
            self._kernel.events.run("run.dead", self.run, error=error)
            _log.error("run %s of %s is dead: %s", self.run.id, self.run.workflow, message)


async def _refuse(error: InputValidationError) -> Any:
    """The body of a run whose start would have been refused: it fails at once."""
    raise error


async def _call_body(definition: WorkflowDefinition, turn: Turn) -> Any:
    context = WorkflowContext(turn)
    async with turn.kernel.injector.provide(definition.function) as dependencies:
        if definition.input_type is NoInput:
            with inside_workflow(context):
                return await turn.life.watched(definition.function(context, **dependencies))
        try:
            value = turn.kernel.codec.decode(
                turn.run.input, definition.input_type, what=f"the input of run {turn.run.id!r}"
            )
        except SerializationError as error:
            # The input was valid when the run was started. The code has changed since, and a deploy can correct it.
            turn.block(error)
        with inside_workflow(context):
            return await turn.life.watched(definition.function(context, value, **dependencies))


def _nothing() -> None:
    """Default of `when_settled`: do nothing."""


async def _always() -> bool:
    """Default of `holds_lease`: assume that the lease is held."""
    return True
