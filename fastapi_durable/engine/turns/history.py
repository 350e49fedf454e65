"""The history of a run, as one turn works through it: what is recorded, and which call of the body it belongs to."""

from collections.abc import Callable, Iterable
from typing import NoReturn, TypeVar

from fastapi_durable.engine.turns.failure_attribution import FailureAttribution
from fastapi_durable.engine.turns.position import FIRST_BRANCH_SEQ, Positions
from fastapi_durable.model.errors import SerializationError
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, Json
from fastapi_durable.store.history import HistoryRow

E = TypeVar("E", bound=Exception)

_FINISHED = frozenset(status for status in CheckpointStatus if status.is_finished)


class History:
    """The rows of a run by position. It grows with each row that the turn records.

    Args:
        unreadable: Ends the turn, because a row cannot be decoded.

    Attributes:
        positions: Gives each call its `seq`.
        failures: What the body met, for a retry to know what to give up.
        has_progressed: Whether the turn came further than the history with which it began.
    """

    def __init__(
        self,
        run_id: str,
        rows: Iterable[HistoryRow | Checkpoint],
        unreadable: Callable[[SerializationError], NoReturn],
    ) -> None:
        self._rows = {row.seq: row for row in rows}
        self._unreadable = unreadable
        self.positions = Positions(run_id, self._rows.values())
        self.failures = FailureAttribution(self.positions)
        self.has_progressed = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is recorded."""
        return not self._rows

    def rows(self) -> Iterable[HistoryRow | Checkpoint]:
        """All of them, for another turn."""
        return self._rows.values()

    def find(self, seq: int) -> Checkpoint | None:
        """What is recorded at a position, whatever it is."""
        row = self._rows.get(seq)
        if row is None or isinstance(row, Checkpoint):
            return row
        try:
            checkpoint = self._rows[seq] = row.read()
        except SerializationError as error:
            self._unreadable(error)
        return checkpoint

    def find_finished(self, seq: int) -> Checkpoint | None:
        """The same, if it is finished."""
        recorded = self.find(seq)
        return recorded if recorded is not None and recorded.status.is_finished else None

    def output_at(self, seq: int, kind: CheckpointKind, name: str) -> tuple[Json] | None:
        """What the call at a position returned, if that is recorded and nothing else of it was asked for so far.

        None says nothing: `find` knows.
        """
        row = self._rows.get(seq)
        if row is None or isinstance(row, Checkpoint):
            return None
        if row.status != CheckpointStatus.COMPLETED or row.kind != kind or row.name != name:
            return None
        try:
            return (row.read_output(),)
        except SerializationError as error:
            self._unreadable(error)

    def add(self, checkpoint: Checkpoint) -> None:
        """Take in what was recorded at a position."""
        self._rows[checkpoint.seq] = checkpoint
        self.has_progressed = self.has_progressed or checkpoint.status.is_finished

    def hold(self, checkpoint: Checkpoint) -> None:
        """Take in what the turn has come to know, and has still to store: no progress yet."""
        self._rows[checkpoint.seq] = checkpoint

    def take_in(self, rows: Iterable[HistoryRow]) -> None:
        """Take in what others recorded since the turn began: deliveries, each at a position that waits for it."""
        for row in rows:
            if row.kind == CheckpointKind.SIGNAL and row.status in _FINISHED:
                known = self._rows.get(row.seq)
                if known is None or known.status not in _FINISHED:
                    self._rows[row.seq] = row

    def failed(self, seq: int, error: E) -> E:
        """The error that the call at `seq` is about to raise into the body: `raise history.failed(seq, ...)`."""
        return self.failures.met(seq, error)

    @property
    def is_replaying(self) -> bool:
        """Whether the current task has still to come to a call that is recorded."""
        return self.positions.is_replaying(self._rows.values())

    def first_leftover(self) -> HistoryRow | Checkpoint | None:
        """What is recorded at the first position that the body, now at its end, never asked for."""
        # Branches are left out: one that is cancelled when another fails may have come further the first time.
        beyond = [seq for seq in self._rows if self.positions.calls_of_body <= seq < FIRST_BRANCH_SEQ]
        return self._rows[min(beyond)] if beyond else None
