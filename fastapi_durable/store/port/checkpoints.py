"""Checkpoints: what a run has recorded, position by position."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

from fastapi_durable.model.records import Checkpoint
from fastapi_durable.store.history import HistoryRow


class RecordedCheckpoint(NamedTuple):
    """The stored checkpoint, and whether it is the one that the caller brought."""

    checkpoint: Checkpoint
    won: bool


class PreparedCheckpoint(NamedTuple):
    """A checkpoint that its store has encoded, and can write later, whatever becomes of the objects in it.

    Attributes:
        checkpoint: As every reader will see it, once it is stored.
        encoded: What the store writes; of no use to any other.
    """

    checkpoint: Checkpoint
    encoded: Any


class HistoryState(NamedTuple):
    """How many checkpoints a run has, and a text that differs whenever one of them does."""

    total: int
    version: str


class CheckpointStore(Protocol):
    """The histories of runs."""

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Insert or replace, every column. The engine uses `record_checkpoint`."""
        ...

    async def record_checkpoint(self, checkpoint: Checkpoint, *, token: str | None = None) -> RecordedCheckpoint:
        """Insert, or replace a row that is not finished yet; a finished row stays and is returned instead.

        Args:
            token: The run must be leased under this token; None for writers other than a turn.

        Raises:
            LeaseLostError: it is not; nothing was written.
        """
        ...

    def prepare_checkpoint(self, checkpoint: Checkpoint) -> PreparedCheckpoint | None:
        """Encode a checkpoint for a later write, without a call to the database.

        Returns:
            None if the store cannot tell how the checkpoint will be read: it has to be written, to know.

        Raises:
            SerializationError: a value has no JSON form.
        """
        ...

    async def record_prepared(
        self, prepared: Sequence[PreparedCheckpoint], *, token: str
    ) -> Sequence[RecordedCheckpoint]:
        """Do for checkpoints of one run what `record_checkpoint` does for each, in one statement if none is in the way.

        Raises:
            LeaseLostError: the run is not leased under this token. Nothing of it was written after that.
        """
        ...

    async def find_checkpoint(self, run_id: str, seq: int) -> Checkpoint | None: ...

    async def list_checkpoints(self, run_id: str) -> list[Checkpoint]:
        """All of a run, by `seq` ascending, so compensations (negative) come first."""
        ...

    async def page_checkpoints(self, run_id: str, *, after: int | None = None, limit: int) -> list[Checkpoint]:
        """The first ones after a position, by `seq` ascending, to be shown."""
        ...

    async def history_state(self, run_id: str) -> HistoryState:
        """What tells two states of a run's history apart, without reading it."""
        ...

    async def read_history(self, run_id: str) -> Sequence[HistoryRow]:
        """The same for a replay, in any order, each decoded when it is asked for."""
        ...

    async def find_latest_checkpoint_by_name(
        self, run_id: str, name: str, *, by_time: bool = False
    ) -> Checkpoint | None:
        """The one with the highest `seq`; `by_time`, the one with the latest `finished_at`, and of several that one."""
        ...

    async def list_checkpoints_by_name_prefix(self, run_id: str, prefixes: Sequence[str]) -> list[Checkpoint]:
        """Those whose name starts with any of the prefixes (no wildcards), by `seq`; no prefix, no result."""
        ...

    async def remove_checkpoints(self, run_id: str, seqs: Collection[int] | None = None) -> int:
        """Remove those at the given positions, or all of a run; return how many there were.

        For what an operator asks for, and for a run that goes on with an empty history: a turn never removes a result.
        """
        ...
