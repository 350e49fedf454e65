"""The tables of the store: their columns, and the one decoder of their rows.

A row is transferred as the text of one JSON list: its columns in order, with JSON columns as texts. So a replay decodes
only the parts of a checkpoint that it reads.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Generic, TypeVar, cast

import orjson

from fastapi_durable.declare.queue import QueueState
from fastapi_durable.model.errors import SerializationError
from fastapi_durable.model.records import (
    BufferedEvent,
    BufferedSignal,
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    Json,
    Run,
    RunStatus,
    ScheduleState,
    SignalWaiter,
    StreamRow,
    StreamRowKind,
    WorkerRecord,
)
from fastapi_durable.store.prisma.kinds import (
    BEGUN,
    BIGINT,
    BOOLEAN,
    ERROR,
    INTEGER,
    JSON,
    JSON_LIST,
    JSON_OBJECT,
    MILLIS,
    MOMENT,
    NUMBER,
    SPAN,
    TEXT,
    Kind,
    enum,
    from_json_text,
)

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name in the database, in our model, and in the Prisma model.

    Attributes:
        derived: Whether it is written from a property of the model's object, for the database only, and never read.
    """

    name: str
    field: str
    kind: Kind
    derived: bool = False


class Table(Generic[T]):
    """A table, its Prisma model, and the conversion of its columns to our model's object."""

    def __init__(self, name: str, model: str, columns: Iterable[Column], build: Callable[..., T]) -> None:
        self.name = name
        self.model = model
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in self.columns)
        self._build = build
        self._get: Callable[[T], tuple[Any, ...]] = attrgetter(*self.names)
        self._by_name = {column.name: column for column in self.columns}
        self._read = tuple(
            (place, column.name, column.kind) for place, column in enumerate(self.columns) if not column.derived
        )

    def values(self, subject: T) -> tuple[Any, ...]:
        """Return the model's values of an object, in the order of the columns."""
        return self._get(subject)

    def column(self, name: str) -> Column:
        return self._by_name[name]

    def read(self, text: str) -> T:
        """Return the object of a row.

        Raises:
            SerializationError: a column has an unexpected value. The message names the column and the row's key.
        """
        try:
            # No number column is larger than 64 bits, the limit of this parser.
            values = orjson.loads(text)
        except ValueError as error:
            raise SerializationError(f"a row of {self.name} cannot be read: {error}") from error
        return self.read_values(values)

    def read_all(self, texts: Iterable[str]) -> list[T]:
        """Return the objects of all readable rows. The others are logged."""
        found = []
        for text in texts:
            try:
                found.append(self.read(text))
            except SerializationError:
                logger.exception("a row was skipped: its columns hold unexpected values")
        return found

    def read_values(self, values: Sequence[Any]) -> T:
        """Return the object of a row that was parsed already."""
        found = {}
        for place, name, kind in self._read:
            value = values[place]
            if value is not None and kind.is_json:
                value = self.read_json(values, place)
            try:
                found[name] = kind.absent if value is None else kind.from_column(value)
            except (TypeError, ValueError, AttributeError) as error:
                raise self._broken(values, place, error) from error
        return self._build(**found)

    def read_json(self, values: Sequence[Any], place: int) -> Json:
        """Return the value of one JSON column of such a row."""
        text = values[place]
        try:
            return None if text is None else from_json_text(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise self._broken(values, place, error) from error

    def _broken(self, values: Sequence[Any], place: int, error: Exception) -> SerializationError:
        row = dict(zip(self.names, values, strict=True))
        key = {name: row[name] for name in ("id", "run_id", "seq", "token", "stream", "item_offset") if name in row}
        return SerializationError(f"column {self.names[place]} of {self.name} {key} cannot be read: {error}")


RUNS = Table(
    "durable_workflow_runs",
    "DurableWorkflowRun",
    (
        Column("id", "id", TEXT),
        Column("workflow", "workflow", TEXT),
        Column("workflow_version", "workflowVersion", TEXT),
        Column("status", "status", enum(RunStatus)),
        Column("input", "input", JSON),
        Column("output", "output", JSON),
        Column("error", "error", ERROR),
        Column("wake_at", "wakeAt", MILLIS),
        Column("wake_count", "wakeCount", INTEGER),
        Column("locked_by", "lockedBy", TEXT),
        Column("locked_until", "lockedUntil", MOMENT),
        Column("awaiting_decision_task_id", "awaitingDecisionTaskId", TEXT),
        Column("recovery_attempts", "recoveryAttempts", INTEGER),
        Column("tags", "tags", JSON_LIST),
        Column("search_attributes", "searchAttributes", JSON_OBJECT),
        Column("priority", "priority", INTEGER),
        Column("namespace", "namespace", TEXT),
        Column("origin", "origin", TEXT),
        Column("parent_run_id", "parentRunId", TEXT),
        Column("parent_seq", "parentSeq", INTEGER),
        Column("expires_at", "expiresAt", MILLIS),
        Column("traceparent", "traceparent", TEXT),
        Column("queue", "queue", TEXT),
        Column("fairness_key", "fairnessKey", TEXT),
        Column("claim_order", "claimOrder", BIGINT, derived=True),
        Column("created_at", "createdAt", MOMENT),
        Column("updated_at", "updatedAt", MOMENT),
    ),
    Run,
)

CHECKPOINTS = Table(
    "durable_step_checkpoints",
    "DurableStepCheckpoint",
    (
        Column("run_id", "runId", TEXT),
        Column("seq", "seq", INTEGER),
        Column("name", "name", TEXT),
        Column("kind", "kind", enum(CheckpointKind)),
        Column("step_id", "stepId", TEXT),
        Column("status", "status", enum(CheckpointStatus)),
        Column("input", "input", JSON),
        Column("output", "output", JSON),
        Column("error", "error", ERROR),
        Column("events", "events", JSON_LIST),
        Column("attempts", "attempts", INTEGER),
        Column("worker_group", "workerGroup", TEXT),
        Column("parallel_group", "parallelGroup", TEXT),
        Column("wake_at", "wakeAt", MILLIS),
        Column("enqueued_at", "enqueuedAt", MOMENT),
        Column("started_at", "startedAt", MOMENT),
        Column("finished_at", "finishedAt", MOMENT),
    ),
    Checkpoint,
)

WAITERS = Table(
    "durable_signal_waiters",
    "DurableSignalWaiter",
    (
        Column("token", "token", TEXT),
        Column("run_id", "runId", TEXT),
        Column("seq", "seq", INTEGER),
        Column("parallel_group", "parallelGroup", TEXT),
    ),
    SignalWaiter,
)


def _buffered_signal(*, created_at: datetime | None, **values: Any) -> BufferedSignal:
    del created_at  # only pruning reads it
    return BufferedSignal(**values)


SIGNALS = Table(
    "durable_buffered_signals",
    "DurableBufferedSignal",
    (
        Column("id", "id", BIGINT),
        Column("token", "token", TEXT),
        Column("payload", "payload", JSON),
        Column("signal_id", "signalId", TEXT),
        Column("created_at", "createdAt", MILLIS),
    ),
    _buffered_signal,
)

EVENTS = Table(
    "durable_buffered_events",
    "DurableBufferedEvent",
    (
        Column("id", "id", TEXT),
        Column("name", "name", TEXT),
        Column("payload", "payload", JSON),
        Column("published_at", "publishedAt", MILLIS),
    ),
    BufferedEvent,
)

ATTRIBUTES: Table[dict[str, Any]] = Table(
    "durable_run_attributes",
    "DurableRunAttribute",
    (
        Column("run_id", "runId", TEXT),
        Column("key", "key", TEXT),
        Column("str_value", "strValue", TEXT),
        Column("num_value", "numValue", NUMBER),
    ),
    dict,
)

STREAM_ROWS = Table(
    "durable_stream_items",
    "DurableStreamItem",
    (
        Column("run_id", "runId", TEXT),
        Column("stream", "stream", TEXT),
        Column("item_offset", "itemOffset", INTEGER),
        Column("kind", "kind", enum(StreamRowKind)),
        Column("step_id", "stepId", TEXT),
        Column("attempt", "attempt", INTEGER),
        Column("data", "data", JSON),
        Column("appended_at", "appendedAt", MILLIS),
    ),
    StreamRow,
)

SCHEDULES = Table(
    "durable_schedules",
    "DurableSchedule",
    (
        Column("id", "id", TEXT),
        Column("last_window", "lastWindow", MILLIS),
        Column("last_run_id", "lastRunId", TEXT),
        Column("paused", "paused", BOOLEAN),
        Column("refusal", "refusal", ERROR),
        Column("updated_at", "updatedAt", MILLIS),
    ),
    ScheduleState,
)

WORKERS = Table(
    "durable_workers",
    "DurableWorker",
    (
        Column("id", "id", TEXT),
        Column("host", "host", TEXT),
        Column("pid", "pid", INTEGER),
        Column("version", "version", TEXT),
        Column("namespace", "namespace", TEXT),
        Column("workflows", "workflows", JSON_LIST),
        Column("concurrency", "concurrency", INTEGER),
        Column("in_flight", "inFlight", INTEGER),
        Column("started_at", "startedAt", MILLIS),
        Column("beat_at", "beatAt", MILLIS),
    ),
    WorkerRecord,
)

QUEUES = Table(
    "durable_queues",
    "DurableQueue",
    (
        Column("id", "id", TEXT),
        Column("namespace", "namespace", TEXT),
        Column("name", "name", TEXT),
        Column("concurrency", "concurrency", INTEGER),
        Column("worker_concurrency", "workerConcurrency", INTEGER),
        Column("rate_limit", "rateLimit", INTEGER),
        Column("rate_period", "ratePeriod", SPAN),
        Column("begun", "begun", BEGUN),
        Column("last_key", "lastKey", TEXT),
        Column("claims", "claims", INTEGER),
        Column("claimed_at", "claimedAt", MILLIS),
        Column("updated_at", "updatedAt", MILLIS),
    ),
    QueueState,
)

TABLES: tuple[Table[Any], ...] = cast(
    tuple[Table[Any], ...],
    (RUNS, ATTRIBUTES, CHECKPOINTS, WAITERS, SIGNALS, EVENTS, SCHEDULES, WORKERS, QUEUES, STREAM_ROWS),
)
