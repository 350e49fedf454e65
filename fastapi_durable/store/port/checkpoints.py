"""Checkpoints: what a run has recorded, position by position."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

from fastapi_durable.model.records import Checkpoint
from fastapi_durable.store.history import HistoryRow


class RecordedCheckpoint(NamedTuple):
    """The stored checkpoint, and whether it is the caller's."""

    checkpoint: Checkpoint
    won: bool


class PreparedCheckpoint(NamedTuple):
    """A checkpoint that its store has encoded, to be written later. Later changes to the objects in it have no effect.

    Attributes:
        checkpoint: The checkpoint as readers will see it once it is stored.
        encoded: What the store writes. Other stores cannot use it.
    """

    checkpoint: Checkpoint
    encoded: Any


class HistoryState(NamedTuple):
    """The number of a run's checkpoints, and a text that changes whenever one of them does."""

    total: int
    version: str


class CheckpointStore(Protocol):
    """The histories of runs."""

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Insert or replace a checkpoint, with every column. The engine uses `record_checkpoint`.

        Args:
            checkpoint: The checkpoint.
        """
        ...

    async def record_checkpoint(self, checkpoint: Checkpoint, *, token: str | None = None) -> RecordedCheckpoint:
        """Insert a checkpoint, or replace one that is not finished.

        A finished checkpoint stays, and is returned instead.

        Args:
            checkpoint: The checkpoint.
            token: Token under which the run must be leased. None for writers other than a turn.

        Returns:
            The stored checkpoint, and whether it is the caller's.

        Raises:
            LeaseLostError: the run is not leased under `token`. Nothing was written.
        """
        ...

    def prepare_checkpoint(self, checkpoint: Checkpoint) -> PreparedCheckpoint | None:
        """Encode a checkpoint for a later write, without a call to the database.

        Args:
            checkpoint: The checkpoint.

        Returns:
            The prepared checkpoint. None if the store cannot tell how it will be read; then it must be written first.

        Raises:
            SerializationError: a value has no JSON form.
        """
        ...

    async def record_prepared(
        self, prepared: Sequence[PreparedCheckpoint], *, token: str
    ) -> Sequence[RecordedCheckpoint]:
        """Record prepared checkpoints of one run, each as `record_checkpoint` does.

        They are one statement if none of their positions is finished.

        Args:
            prepared: The checkpoints, at different positions.
            token: Token under which the run must be leased.

        Returns:
            The stored checkpoints, and whether each is the caller's.

        Raises:
            LeaseLostError: the run is not leased under `token`. Nothing was written after that.
        """
        ...

    async def find_checkpoint(self, run_id: str, seq: int) -> Checkpoint | None:
        """Return the checkpoint at a position. None if there is none.

        Args:
            run_id: Id of the run.
            seq: Position.
        """
        ...

    async def list_checkpoints(self, run_id: str) -> list[Checkpoint]:
        """Return all checkpoints of a run, ordered by `seq`.

        Compensations have negative positions, so they come first.

        Args:
            run_id: Id of the run.
        """
        ...

    async def page_checkpoints(self, run_id: str, *, after: int | None = None, limit: int) -> list[Checkpoint]:
        """Return a page of a run's checkpoints, ordered by `seq`.

        Args:
            run_id: Id of the run.
            after: Position after which the page begins. None: from the first one.
            limit: Maximum number of checkpoints.
        """
        ...

    async def history_state(self, run_id: str) -> HistoryState:
        """Return what distinguishes two states of a run's history, without reading the history.

        Args:
            run_id: Id of the run.
        """
        ...

    async def read_history(self, run_id: str) -> Sequence[HistoryRow]:
        """Return all checkpoints of a run for a replay, in any order. Each is decoded when it is read.

        Args:
            run_id: Id of the run.
        """
        ...

    async def find_latest_checkpoint_by_name(
        self, run_id: str, name: str, *, by_time: bool = False
    ) -> Checkpoint | None:
        """Return the latest checkpoint of a name. None if there is none.

        Args:
            run_id: Id of the run.
            name: Name of the checkpoint.
            by_time: Whether the latest `finished_at` decides, and the highest `seq` only among equals. False: the
                highest `seq` decides.
        """
        ...

    async def list_checkpoints_by_name_prefix(self, run_id: str, prefixes: Sequence[str]) -> list[Checkpoint]:
        """Return the checkpoints whose name starts with one of some prefixes, ordered by `seq`.

        Args:
            run_id: Id of the run.
            prefixes: Prefixes, without wildcards. An empty list finds nothing.
        """
        ...

    async def remove_checkpoints(self, run_id: str, seqs: Collection[int] | None = None) -> int:
        """Delete checkpoints of a run.

        Operators delete checkpoints, and so does a run that continues with an empty history. A turn never deletes a
        result.

        Args:
            run_id: Id of the run.
            seqs: Positions. None: all.

        Returns:
            How many were deleted.
        """
        ...
