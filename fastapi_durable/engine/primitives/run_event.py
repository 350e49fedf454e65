"""`ctx.set_value` and `get_value`: a value that a run shows to the outside, such as how far it came.

The newest row of a key is that of the highest position, but positions of branches say nothing of the order in time.
Where a run has branches, each value is therefore stamped later than the one before it, whatever the clock says.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from fastapi_durable.engine.runs.chain import earlier_ids
from fastapi_durable.engine.turns.position import FIRST_BRANCH_SEQ
from fastapi_durable.engine.turns.turn import Turn
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, Run
from fastapi_durable.store.base import StateStore


async def publish_value(turn: Turn, seq: int, key: str, value: Any) -> None:
    """Record the value of this position as the newest one of `key`.

    Raises:
        SerializationError: it has no JSON form.
    """
    name = _name(key)
    async with turn.under_way():
        if await turn.recorded(seq, CheckpointKind.LOCAL, name) is None:
            output = turn.kernel.codec.encode(value, Any, what=f"the value of event {key!r}")
            checkpoint = turn.checkpoint(seq, CheckpointKind.LOCAL, name, CheckpointStatus.COMPLETED, output=output)
            if turn.has_branches:
                checkpoint = await turn.persist(lambda: _after_the_latest(turn, checkpoint))
            await turn.record(checkpoint)


async def _after_the_latest(turn: Turn, checkpoint: Checkpoint) -> Checkpoint:
    # Of all values, those too that the body set before it had branches: their order was that of positions, whatever
    # the clocks said, and from now on it is that of time.
    store = turn.kernel.store
    latest = await store.find_latest_checkpoint_by_name(turn.run.id, checkpoint.name, by_time=True)
    if latest is None:
        return checkpoint
    return replace(checkpoint, finished_at=max(checkpoint.finished_at, latest.finished_at + timedelta(milliseconds=1)))


async def latest_value(store: StateStore, run: Run, key: str) -> Checkpoint | None:
    """The row of the value that was set last by the run, or else by one that it goes on from."""
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
