"""`ctx.set_event` and `get_event`: a value that a run shows to the outside, such as how far it came."""

from typing import Any

from fastapi_durable.engine.chain import earlier_ids
from fastapi_durable.engine.position import FIRST_BRANCH_SEQ
from fastapi_durable.engine.turn import Turn
from fastapi_durable.model import Checkpoint, CheckpointKind, CheckpointStatus, Run
from fastapi_durable.store.base import StateStore


async def publish_value(turn: Turn, seq: int, key: str, value: Any) -> None:
    """Record the value of this position as the newest one of `key`.

    Raises:
        SerializationError: it has no JSON form.
    """
    name = _name(key)
    async with turn.under_way():
        if turn.recorded(seq, CheckpointKind.LOCAL, name) is None:
            output = turn.services.codec.encode(value, Any, what=f"the value of event {key!r}")
            await turn.record(
                turn.checkpoint(seq, CheckpointKind.LOCAL, name, CheckpointStatus.COMPLETED, output=output)
            )


async def latest_value(store: StateStore, run: Run, key: str) -> Checkpoint | None:
    """The row of the value that was set last by the run, or else by one that it goes on from."""
    for run_id in (run.id, *earlier_ids(run.id)):
        latest = await store.find_latest_checkpoint_by_name(run_id, _name(key))
        if latest is None:
            continue
        if latest.seq < FIRST_BRANCH_SEQ:
            return latest
        # Numbers of branches say nothing of the order in time.
        rows = await store.list_checkpoints_by_name_prefix(run_id, [_name(key)])
        return max((row for row in rows if row.name == latest.name), key=lambda row: (row.finished_at, row.seq))
    return None


def _name(key: str) -> str:
    return f"event:{key}"
