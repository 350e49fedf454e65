"""The history of a run in one turn: the recorded rows, and the calls of the body to which they belong."""

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
        unreadable: Called to end the turn if a row cannot be decoded.

    Attributes:
        positions: Gives each call its `seq`.
        failures: The failures that the body met. They decide what a retry gives up.
        has_progressed: Whether the turn has got further than the history with which it began.
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
        """Return all rows, for another turn."""
        return self._rows.values()

    def find(self, seq: int) -> Checkpoint | None:
        """Return the row at a position, finished or not."""
        row = self._rows.get(seq)
        if row is None or isinstance(row, Checkpoint):
            return row
        try:
            checkpoint = self._rows[seq] = row.read()
        except SerializationError as error:
            self._unreadable(error)
        return checkpoint

    def find_finished(self, seq: int) -> Checkpoint | None:
        """Return the row at a position, if it is finished."""
        recorded = self.find(seq)
        return recorded if recorded is not None and recorded.status.is_finished else None

    def output_at(self, seq: int, kind: CheckpointKind, name: str) -> tuple[Json] | None:
        """Return the output of the call at a position, if the row is finished and was not decoded so far.

        None says nothing: use `find` then.
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
        """Add a row that was recorded at a position."""
        self._rows[checkpoint.seq] = checkpoint
        self.has_progressed = self.has_progressed or checkpoint.status.is_finished

    def hold(self, checkpoint: Checkpoint) -> None:
        """Add a row that is not stored yet. It does not count as progress."""
        self._rows[checkpoint.seq] = checkpoint

    def take_in(self, rows: Iterable[HistoryRow]) -> None:
        """Add the rows that others recorded since the turn began: deliveries, each at a position that waits for it."""
        for row in rows:
            if row.kind == CheckpointKind.SIGNAL and row.status in _FINISHED:
                known = self._rows.get(row.seq)
                if known is None or known.status not in _FINISHED:
                    self._rows[row.seq] = row

    def failed(self, seq: int, error: E) -> E:
        """Note the error that the call at `seq` raises into the body: `raise history.failed(seq, ...)`."""
        return self.failures.met(seq, error)

    @property
    def is_replaying(self) -> bool:
        """Whether a recorded call of the current task is still ahead."""
        return self.positions.is_replaying(self._rows.values())

    def first_leftover(self) -> HistoryRow | Checkpoint | None:
        """Return the row at the first position that the ended body never reached."""
        # Branches are left out: a branch that is cancelled when another one fails may have got further the first time.
        beyond = [seq for seq in self._rows if self.positions.calls_of_body <= seq < FIRST_BRANCH_SEQ]
        return self._rows[min(beyond)] if beyond else None
