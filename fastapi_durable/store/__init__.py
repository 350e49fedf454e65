"""State stores: the port that a store implements, and the records, queries and results that pass through it."""

from fastapi_durable.declare.queue import Queue, QueueLoad, QueueState
from fastapi_durable.model.records import (
    AttributeFilter,
    AttributeOperator,
    BufferedEvent,
    BufferedSignal,
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    ErrorRecord,
    Json,
    Lease,
    RetentionPolicy,
    Run,
    RunChanges,
    RunFacet,
    RunQuery,
    RunStatus,
    ScheduleState,
    SearchAttributes,
    SignalWaiter,
    WorkerRecord,
)
from fastapi_durable.store.base import StateStore, StoreTransaction
from fastapi_durable.store.port.checkpoints import HistoryState, RecordedCheckpoint
from fastapi_durable.store.port.runs import CreatedRun

__all__ = [
    "AttributeFilter",
    "AttributeOperator",
    "BufferedEvent",
    "BufferedSignal",
    "Checkpoint",
    "CheckpointKind",
    "CheckpointStatus",
    "CreatedRun",
    "ErrorRecord",
    "HistoryState",
    "Json",
    "Lease",
    "Queue",
    "QueueLoad",
    "QueueState",
    "RecordedCheckpoint",
    "RetentionPolicy",
    "Run",
    "RunChanges",
    "RunFacet",
    "RunQuery",
    "RunStatus",
    "ScheduleState",
    "SearchAttributes",
    "SignalWaiter",
    "StateStore",
    "StoreTransaction",
    "WorkerRecord",
]
