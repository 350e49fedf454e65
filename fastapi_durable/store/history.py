"""The history of a run as a replay reads it. From most rows a replay needs only the output."""

from typing import Protocol

from fastapi_durable.model.records import Checkpoint, Json


class HistoryRow(Protocol):
    """A checkpoint that is decoded only as far as it is read. Its attributes are as stored."""

    @property
    def seq(self) -> int: ...

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def status(self) -> str: ...

    @property
    def step_id(self) -> str: ...

    def read_output(self) -> Json:
        """Return the output.

        Raises:
            SerializationError: what is stored cannot be read.
        """
        ...

    def read(self) -> Checkpoint:
        """Return the whole checkpoint.

        Raises:
            SerializationError: what is stored cannot be read.
        """
        ...


class WholeRow:
    """A checkpoint that needs no decoding."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.seq = checkpoint.seq
        self.kind = checkpoint.kind
        self.name = checkpoint.name
        self.status = checkpoint.status
        self.step_id = checkpoint.step_id

    def read_output(self) -> Json:
        return self._checkpoint.output

    def read(self) -> Checkpoint:
        return self._checkpoint
