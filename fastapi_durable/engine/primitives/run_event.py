"""`ctx.set_value` and `get_value`: a value that a run shows to the outside, such as how far it came.

The newest row of a key is that of the highest position, but positions of branches say nothing of the order in time.
Where a run has branches, each value is therefore stamped later than the one before it, whatever the clock says.
"""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from fastapi_durable.engine.primitives.primitive import Primitive
from fastapi_durable.engine.runs.chain import earlier_ids
from fastapi_durable.engine.turns.position import FIRST_BRANCH_SEQ
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import Checkpoint, CheckpointStatus, Json, Run
from fastapi_durable.store.base import StateStore


class ShownValue(Primitive[None]):
    """The value of this position, as the newest one of `key`.

    Raises:
        SerializationError: it has no JSON form.
    """

    begins_effect = False

    def __init__(self, turn: Turn, seq: int, key: str, value: Any) -> None:
        super().__init__(turn, seq, _name(key))
        self._key = key
        self._value = value

    async def act(self) -> Checkpoint:
        turn = self.turn
        output = turn.kernel.codec.encode(self._value, Any, what=f"the value of event {self._key!r}")
        row = self.row(CheckpointStatus.COMPLETED, output=output)
        if turn.history.positions.has_branches:
            row = await turn.persist(partial(self._after_the_latest, row))
        return await turn.hold(row)

    async def _after_the_latest(self, row: Checkpoint) -> Checkpoint:
        # Of all values, those too that the body set before it had branches: their order was that of positions, whatever
        # the clocks said, and from now on it is that of time.
        store = self.turn.kernel.store
        latest = await store.find_latest_checkpoint_by_name(self.turn.run.id, self.name, by_time=True)
        if latest is None:
            return row
        return replace(row, finished_at=max(row.finished_at, latest.finished_at + timedelta(milliseconds=1)))

    def returns(self, _: Json) -> None:
        """Nothing."""


async def latest_value(store: StateStore, run: Run, key: str) -> Checkpoint | None:
    """Return the row of the value that the run, or the run from which it continued, set last."""
    for run_id in (run.id, *earlier_ids(run.id)):
        if (latest := await _latest_of(store, run_id, _name(key))) is not None:
            return latest
    return None


async def _latest_of(store: StateStore, run_id: str, name: str) -> Checkpoint | None:
    latest = await store.find_latest_checkpoint_by_name(run_id, name)
    if latest is None or latest.seq < FIRST_BRANCH_SEQ:
        return latest
    return await store.find_latest_checkpoint_by_name(run_id, name, by_time=True)


def _name(key: str) -> str:
    return f"event:{key}"
