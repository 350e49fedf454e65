"""The tables, each column listed once, and the way of a value from the model to a column and back.

A row arrives either as a record of the model API (values already decoded by the client) or as a JSON object from SQL
(`sql.builder.Sql.row`). What cannot be decoded is reported for that row alone, so that one bad row stops no other.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from operator import attrgetter
from typing import Any, Generic, TypeVar, cast

import orjson

from fastapi_durable.declare.queue import QueueState
from fastapi_durable.model.clock import from_millis, to_millis, truncate
from fastapi_durable.model.errors import SerializationError
from fastapi_durable.model.records import (
    BufferedEvent,
    BufferedSignal,
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    ErrorRecord,
    Json,
    Run,
    RunStatus,
    ScheduleState,
    SignalWaiter,
    WorkerRecord,
)

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a column.

    Attributes:
        postgresql: What a parameter is cast to there.
        to_column: From the model's value (never None) to text or a number; times go through the dialect instead.
        from_column: From the stored value (never None) to the model's.
        is_json: The column holds JSON.
        absent: The model's value for SQL NULL.
        is_plain: `to_column` gives what a JSON list of the value would hold.
    """

    postgresql: str
    to_column: Callable[[Any], Any]
    from_column: Callable[[Any], Any]
    is_json: bool = False
    absent: Any = None
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name in the database and in our model, and the field's name in the Prisma model.

    Attributes:
        derived: Written from a property of the model's object, for the database's own use; never read.
    """

    name: str
    field: str
    kind: Kind
    derived: bool = False


_SHORT = 18

Conversions = tuple[tuple[int, Kind], ...]


def conversions(kinds: Iterable[Kind]) -> Conversions:
    """The places, in a row of these kinds, of values that have another form in JSON."""
    return tuple((place, kind) for place, kind in enumerate(kinds) if not kind.is_plain)


class Table(Generic[T]):
    """A table, its Prisma model, and how to make our model's object from its columns."""

    def __init__(self, name: str, model: str, columns: Iterable[Column], build: Callable[..., T]) -> None:
        self.name = name
        self.model = model
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in self.columns)
        self._read = tuple(column for column in self.columns if not column.derived)
        self._build_object = build
        self._get: Callable[[T], tuple[Any, ...]] = attrgetter(*self.names)
        self._by_name = {column.name: column for column in self.columns}

    def values(self, subject: T) -> tuple[Any, ...]:
        """The model's values of an object, in the order of the columns."""
        return self._get(subject)

    def column(self, name: str) -> Column:
        return self._by_name[name]

    @cached_property
    def conversions(self) -> Conversions:
        """What has to be done to `values` before they make a JSON list of a call."""
        return conversions(column.kind for column in self.columns)

    def from_record(self, record: Any) -> T:
        """The model's object of a record that the model API returned."""
        return self._build({column.name: getattr(record, column.field) for column in self._read})

    def from_row(self, text: str, *, json_is_text: bool) -> T:
        """The model's object of a row as JSON, whose JSON columns are texts themselves where `json_is_text`."""
        row = json.loads(text)
        if json_is_text:
            for column in self.columns:
                if column.kind.is_json and row[column.name] is not None:
                    try:
                        row[column.name] = json.loads(row[column.name])
                    except ValueError as error:
                        raise self._broken(row, column.name, error) from error
        return self._build(row)

    def from_values(self, values: Sequence[Any]) -> T:
        """The model's object of a row's values, in the order of the columns, whose JSON is text."""
        row = dict(zip(self.names, values, strict=True))
        for place, column in enumerate(self.columns):
            if column.kind.is_json:
                row[column.name] = self.read_json(values, place)
        return self._build(row)

    def read_json(self, values: Sequence[Any], place: int) -> Json:
        """The value of a JSON column among such values."""
        text = values[place]
        try:
            if text is None:
                return None
            # The quick parser knows whole numbers of 64 bits only, and no short text holds a longer one.
            return orjson.loads(text) if len(text) <= _SHORT else json.loads(text)
        except ValueError as error:
            raise self._broken(dict(zip(self.names, values, strict=True)), self.names[place], error) from error

    def from_rows(self, texts: Iterable[str], *, json_is_text: bool) -> list[T]:
        """The objects of all rows that can be read; the others are logged."""
        found = []
        for text in texts:
            try:
                found.append(self.from_row(text, json_is_text=json_is_text))
            except SerializationError:
                logger.exception("a row was left out: its columns do not hold what they should")
        return found

    def _build(self, row: Mapping[str, Any]) -> T:
        values = {}
        for column in self._read:
            value = row[column.name]
            try:
                values[column.name] = column.kind.absent if value is None else column.kind.from_column(value)
            except (TypeError, ValueError, AttributeError) as error:
                raise self._broken(row, column.name, error) from error
        return self._build_object(**values)

    def _broken(self, row: Mapping[str, Any], column: str, error: Exception) -> SerializationError:
        key = {name: row[name] for name in ("id", "run_id", "seq", "token") if name in row}
        return SerializationError(f"column {column} of {self.name} {key} cannot be read: {error}")


_WORDS: dict[bool | None, str] = {True: "true", False: "false", None: "null"}
_LARGEST_PLAIN = 2**63
# Built once: `json.dumps` with options builds an encoder for each call.
_write_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def to_json_text(value: Json) -> str:
    """The JSON text of a value, compact, with characters as they are.

    Raises:
        SerializationError: the value has no JSON form.
    """
    if value is True or value is False or value is None:
        return _WORDS[value]
    if type(value) is int and -_LARGEST_PLAIN < value < _LARGEST_PLAIN:
        return str(value)
    try:
        text = _write_json(value)
        text.encode()  # a lone surrogate is no character
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"a value has no JSON form: {error}") from error
    return text


def to_moment(value: datetime | str | float) -> datetime:
    """A stored time: ISO text (UTC where it names no zone), or milliseconds, which older Prisma wrote on SQLite."""
    if isinstance(value, int | float):
        return from_millis(int(value))
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return truncate(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)


def _same(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    return value if type(value) is str else str(value)


def _error_to_text(error: ErrorRecord) -> str:
    return to_json_text(error.to_json())


def _list_to_text(values: tuple[Json, ...]) -> str | None:
    return to_json_text(list(values)) if values else None


def _mapping_to_text(values: Mapping[str, Json]) -> str | None:
    return to_json_text(dict(values)) if values else None


def _span_to_millis(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


def _span_from_millis(millis: int | str) -> timedelta:
    return timedelta(milliseconds=int(millis))


def _begun_to_text(begun: tuple[tuple[datetime, int], ...]) -> str | None:
    return to_json_text([[to_millis(moment), number] for moment, number in begun]) if begun else None


def _begun_from_json(begun: Json) -> tuple[tuple[datetime, int], ...]:
    return tuple((from_millis(int(millis)), int(number)) for millis, number in begun)


TEXT = Kind("text", _text, _text, is_plain=True)
INTEGER = Kind("integer", _same, int, is_plain=True)
BIGINT = Kind("bigint", _same, int, is_plain=True)
BOOLEAN = Kind("boolean", bool, bool, is_plain=True)
MILLIS = Kind("bigint", to_millis, from_millis)
MOMENT = Kind("text::timestamp(3)", truncate, to_moment)
JSON = Kind("text::jsonb", to_json_text, _same, is_json=True)
ERROR = Kind("text::jsonb", _error_to_text, ErrorRecord.from_json, is_json=True)
# Nothing is NULL and no empty list or object, as in the reference.
JSON_LIST = Kind("text::jsonb", _list_to_text, tuple, is_json=True, absent=())
JSON_OBJECT = Kind("text::jsonb", _mapping_to_text, dict, is_json=True, absent={})


def _enum(values: Callable[[Any], Any]) -> Kind:
    return Kind("text", _text, values, is_plain=True)


RUNS = Table(
    "durable_workflow_runs",
    "DurableWorkflowRun",
    (
        Column("id", "id", TEXT),
        Column("workflow", "workflow", TEXT),
        Column("workflow_version", "workflowVersion", TEXT),
        Column("status", "status", _enum(RunStatus)),
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
        Column("kind", "kind", _enum(CheckpointKind)),
        Column("step_id", "stepId", TEXT),
        Column("status", "status", _enum(CheckpointStatus)),
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
    del created_at  # only pruning looks at it
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
        Column("num_value", "numValue", Kind("double precision", float, float)),
    ),
    dict,
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
        Column("rate_period", "ratePeriod", Kind("bigint", _span_to_millis, _span_from_millis)),
        Column("begun", "begun", Kind("text::jsonb", _begun_to_text, _begun_from_json, is_json=True, absent=())),
        Column("last_key", "lastKey", TEXT),
        Column("claims", "claims", INTEGER),
        Column("claimed_at", "claimedAt", MILLIS),
        Column("updated_at", "updatedAt", MILLIS),
    ),
    QueueState,
)

TABLES: tuple[Table[Any], ...] = cast(
    tuple[Table[Any], ...], (RUNS, ATTRIBUTES, CHECKPOINTS, WAITERS, SIGNALS, EVENTS, SCHEDULES, WORKERS, QUEUES)
)
