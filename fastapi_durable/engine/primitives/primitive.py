"""The form of every primitive: open a position, look up, decide, act, record.

A primitive is a class, and each instance is one call. `perform` executes the call, in the same way for all primitives.
A primitive adds what to do if nothing is recorded yet (`act`), and what a recorded row means to the body (`returns`,
`raises`). So the body's view always comes from the row, on the first run and on every replay.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import ClassVar, Generic, TypeVar

from fastapi_durable.engine.turns.trail import asked_for
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import StepFailedError
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, ErrorRecord, Json
from fastapi_durable.model.run_ids import is_same_after_fork
from fastapi_durable.store.base import StoreTransaction

R = TypeVar("R")


class Primitive(ABC, Generic[R]):
    """One call at one position.

    Attributes:
        begun: A row of an earlier turn that is not an answer yet.
        kind, name: The kind and name of its row. A row with others means that the code has changed.
        begins_effect: Whether something outside the body may notice the call, or how often it acts. Calls that only
            take a value have no effect. Their values are stored together, before the next effect begins.
        needs_output_only: Whether a replay needs only the output of a completed row, so that the rest is not decoded.
    """

    kind: ClassVar[CheckpointKind] = CheckpointKind.LOCAL
    begins_effect: ClassVar[bool] = True
    needs_output_only: ClassVar[bool] = False

    begun: Checkpoint | None = None
    _step_id: str | None = None

    def __init__(self, turn: Turn, seq: int, name: str) -> None:
        self.turn = turn
        self.seq = seq
        self.name = name

    async def perform(self) -> R:
        """Return the row of the call. If there is no answer yet, act first.

        A run that is being cancelled does not go beyond its history. A call that is not recorded parks. So each branch
        gets as far as before, and everything that it did is undone.
        """
        turn, life, history = self.turn, self.turn.life, self.turn.history
        if self.needs_output_only and not turn.replay.is_ordered:
            # This is the most frequent path of a replay.
            output = history.output_at(self.seq, self.kind, self.name)
            if output is not None:
                life.calls.pass_by()
                life.check_open()
                asked_for(self.seq, finished=True)
                return self.returns(output[0])
        life.calls.enter()
        if life.ended is not None:
            await life.turn_away()
        try:
            recorded = history.find(self.seq)
            answered = recorded is not None and self.is_answer(recorded)
            asked_for(self.seq, finished=answered)
            if turn.is_cancelling and not answered:
                await life.hold()
            if recorded is not None and not self._is_this_call(recorded):
                turn.diverge(recorded, self.kind, self.name)
            if recorded is not None and not answered:
                self.begun = recorded
            if not turn.replay.is_over:
                await self.keep_order(recorded if answered else None)
            if recorded is None or not answered:
                if self.begins_effect:
                    await turn.begin_effect()
                recorded = await self.act()
            return self.result(recorded)
        finally:
            life.calls.leave()

    @property
    def step_id(self) -> str:
        """Return the id of the call, also for the outside world. It is the same on every attempt."""
        if self._step_id is None:
            self._step_id = self.turn.history.positions.step_id(self.seq)
        return self._step_id

    def _is_this_call(self, recorded: Checkpoint) -> bool:
        if recorded.kind != self.kind:
            return False
        return recorded.name == self.name or is_same_after_fork(recorded.name, self.name, self.turn.run.id)

    async def keep_order(self, answer: Checkpoint | None) -> None:
        """Wait, in a replay, until all earlier results have been delivered."""
        if answer is None:
            await self.turn.replay.await_end()
        else:
            await self.turn.replay.await_place(answer)

    def is_answer(self, recorded: Checkpoint, /) -> bool:
        """Return whether this row answers the call."""
        return recorded.status.is_finished

    @abstractmethod
    async def act(self) -> Checkpoint:
        """Execute the call, and return the row that records it."""

    def result(self, recorded: Checkpoint) -> R:
        """Return or raise the answer that a row contains."""
        if recorded.status is CheckpointStatus.FAILED:
            raise self.turn.history.failed(self.seq, self.raises(recorded))
        return self.returns(recorded.output)

    def returns(self, output: Json, /) -> R:
        """Return the result of a success, for primitives that need only the output."""
        raise NotImplementedError

    def raises(self, recorded: Checkpoint, /) -> Exception:
        """Return the error that a failure raises into the body."""
        return StepFailedError(self.name, recorded.error or ErrorRecord(message="failed"), recorded.attempts)

    # Parts of `act`

    def row(
        self,
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
        """Return a row for this position with the current time."""
        turn = self.turn
        now = turn.kernel.clock.now()
        started_at = started_at or now
        return Checkpoint(
            run_id=turn.run.id,
            seq=self.seq,
            name=self.name,
            kind=self.kind,
            status=status,
            step_id=self.step_id,
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

    async def commit(self, write: Callable[[], Awaitable[Checkpoint]]) -> Checkpoint:
        """Repeat an idempotent write that records this position until it succeeds; see `Turn.persist`."""
        recorded = await self.turn.persist(write)
        self.turn.history.add(recorded)
        return recorded

    async def record_in(self, transaction: StoreTransaction, row: Checkpoint) -> Checkpoint:
        """Record the position as part of a transaction, and return the stored row."""
        return (await transaction.record_checkpoint(row, token=self.turn.token)).checkpoint
