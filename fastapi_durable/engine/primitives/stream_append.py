"""`ctx.stream(...).append`, `extend` and `close`: items that the body appends, each exactly once.

The items and the row of the position commit together. So a replay that finds the row appends nothing, and a replay
without the row appends for the first time. The streams of the run order this transaction with the appends of its steps.
"""

from collections.abc import Sequence
from typing import Any

from fastapi_durable.engine.core.run_streams import Draft
from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.runs.failure import error_record
from fastapi_durable.engine.turns.step_stream import encoded_item
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.errors import LeaseLostError, StreamClosedError, StreamFullError
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, Json, StreamRow, StreamRowKind


class StreamAppend(Primitive[int]):
    """Appends items of the body, and returns the offset of the last one.

    Args:
        items: The items, in order. None closes the stream.
        declared: Their type.

    Raises:
        SerializationError: an item has no JSON form, or is too large.
        StepFailedError: the stream takes no more items. Every replay raises it again.
    """

    needs_output_only = True

    def __init__(self, turn: Turn, seq: int, name: str, items: Sequence[Any] | None, declared: Any = Any) -> None:
        super().__init__(turn, seq, f"stream:{name}")
        self._stream = name
        self._items = items
        self._declared = declared

    async def act(self) -> Checkpoint:
        if self._items is None:
            drafts = [Draft(StreamRowKind.END)]
        else:
            codec, limit = self.turn.kernel.codec, self.turn.kernel.streams.max_size
            encoded = [encoded_item(codec, item, self._declared, self._stream, limit) for item in self._items]
            drafts = [Draft(StreamRowKind.ITEM, data, size) for data, size in encoded]
        return await self.commit(lambda: self._append(drafts))

    async def _append(self, drafts: Sequence[Draft]) -> Checkpoint:
        turn = self.turn
        streams = turn.kernel.streams.of(turn.run.id, turn.token)
        try:
            return await streams.commit(self._stream, drafts, self._record_with)
        except (StreamFullError, StreamClosedError) as error:
            # Recorded, so that a body which caught the error takes the same branch on every replay.
            row = self.row(CheckpointStatus.FAILED, error=error_record(error))
            return (await turn.kernel.store.record_checkpoint(row, token=turn.token)).checkpoint

    async def _record_with(self, rows: Sequence[StreamRow]) -> tuple[Checkpoint, bool]:
        """Write the row of the position together with the items, unless an earlier try has committed both."""
        turn = self.turn
        async with turn.transaction() as transaction:
            row = self.row(CheckpointStatus.COMPLETED, output=rows[-1].item_offset)
            recorded = await transaction.record_checkpoint(row, token=turn.token)
            if recorded.won and await transaction.append_stream_rows(rows, tokens={turn.run.id: turn.token}):
                raise LeaseLostError(turn.run.id)
            return recorded.checkpoint, recorded.won

    def returns(self, output: Json) -> int:
        return int(output)
