"""Runs, checkpoints and moments with the fields that a test does not care about filled in."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi_durable.model.records import (
    BufferedEvent,
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    Run,
    RunQuery,
    SignalWaiter,
    StreamRow,
)
from fastapi_durable.store.base import StateStore

T0 = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MILLISECOND = timedelta(milliseconds=1)


def at(seconds: float) -> datetime:
    """A moment, `seconds` after T0."""
    return T0 + timedelta(seconds=seconds)


def a_run(run_id: str = "run-1", **fields: Any) -> Run:
    created_at = fields.pop("created_at", T0)
    run = Run(id=run_id, workflow="checkout", workflow_version="1", created_at=created_at, updated_at=created_at)
    return replace(run, **fields)


def a_checkpoint(seq: int = 0, run_id: str = "run-1", **fields: Any) -> Checkpoint:
    checkpoint = Checkpoint(
        run_id=run_id,
        seq=seq,
        name=f"step-{seq}",
        kind=CheckpointKind.LOCAL,
        status=CheckpointStatus.COMPLETED,
        step_id=f"{run_id}:{seq}",
        enqueued_at=T0,
        started_at=T0,
        finished_at=at(1),
    )
    return replace(checkpoint, **fields)


def a_waiter(token: str, run_id: str = "run-1", seq: int = 0, parallel_group: str | None = None) -> SignalWaiter:
    return SignalWaiter(token=token, run_id=run_id, seq=seq, parallel_group=parallel_group)


def an_event(event_id: str, name: str = "paid", seconds: float = 0, payload: Any = None) -> BufferedEvent:
    return BufferedEvent(id=event_id, name=name, payload=payload, published_at=at(seconds))


def a_stream_row(offset: int = 0, run_id: str = "run-1", stream: str = "tokens", **fields: Any) -> StreamRow:
    return replace(StreamRow(run_id=run_id, stream=stream, item_offset=offset, appended_at=T0), **fields)


async def create(store: StateStore, *runs: Run) -> None:
    for run in runs:
        await store.create_run(run)


async def existing(store: StateStore, run_id: str = "run-1") -> Run:
    """The stored run, which must be there."""
    run = await store.find_run(run_id)
    assert run is not None
    return run


async def listed(store: StateStore, **conditions: Any) -> list[str]:
    """The ids that a query lists, in order."""
    return [run.id for run in await store.list_runs(RunQuery(**conditions))]
