"""The shape of every primitive: open a position, look up, decide, act, record.

A primitive is a class, and one instance of it is one call. `perform` is the whole way of that call, the same for all of
them; a primitive adds what only it knows: what it does where nothing is recorded yet (`act`), and what a recorded row
means to the body (`returns`, `raises`). What a body sees therefore always comes from the row, on the first run as on
every replay.
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
        begun: A row that is no answer yet, left by an earlier turn.
        kind, name: What is recorded there; something else means that the code has changed.
        begins_effect: Something outside of the body may see that the call acts, or how often. Calls that only take a
            value are no effect: what they take is stored together, before one begins.
        needs_output_only: A completed row says no more to a replay than its output, so nothing else of it is decoded.
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
        """What is recorded of the call; if it has no answer yet, act first.

        A run that is being cancelled gets no further than its history: the call parks, and each branch comes as far as
        it came before, so that whatever it did is undone.
        """
        turn, life, history = self.turn, self.turn.life, self.turn.history
        if self.needs_output_only and not turn.replay.is_ordered:
            # Most of a replay.
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
        """Names the call, also to the outside world: the same when it is tried again."""
        if self._step_id is None:
            self._step_id = self.turn.history.positions.step_id(self.seq)
        return self._step_id

    def _is_this_call(self, recorded: Checkpoint) -> bool:
        if recorded.kind != self.kind:
            return False
        return recorded.name == self.name or is_same_after_fork(recorded.name, self.name, self.turn.run.id)

    async def keep_order(self, answer: Checkpoint | None) -> None:
        """Wait, in a replay, for what comes before this call."""
        if answer is None:
            await self.turn.replay.await_end()
        else:
            await self.turn.replay.await_place(answer)

    def is_answer(self, recorded: Checkpoint, /) -> bool:
        """Whether the call may return because of this row."""
        return recorded.status.is_finished

    @abstractmethod
    async def act(self) -> Checkpoint:
        """Do what the call is for, and return what is recorded of it then."""

    def result(self, recorded: Checkpoint) -> R:
        """What the call returns, or raises, because of a row that answers it."""
        if recorded.status is CheckpointStatus.FAILED:
            raise self.turn.history.failed(self.seq, self.raises(recorded))
        return self.returns(recorded.output)

    def returns(self, output: Json, /) -> R:
        """What a success returns into the body; for primitives that need no more than the output for that."""
        raise NotImplementedError

    def raises(self, recorded: Checkpoint, /) -> Exception:
        """What a failure raises into the body."""
        return StepFailedError(self.name, recorded.error or ErrorRecord(message="failed"), recorded.attempts)

    # What acting is made of

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
        """A row for this position, stamped with the current time."""
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
        """Do an idempotent write that records this position, until it is done; see `Turn.persist`."""
        recorded = await self.turn.persist(write)
        self.turn.history.add(recorded)
        return recorded

    async def record_in(self, transaction: StoreTransaction, row: Checkpoint) -> Checkpoint:
        """Record the position as part of a transaction; returns what is stored then."""
        return (await transaction.record_checkpoint(row, token=self.turn.token)).checkpoint
