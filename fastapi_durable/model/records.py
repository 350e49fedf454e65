"""What is stored: runs, step checkpoints, waiters and buffers.

The names and JSON shapes of the stored values are those of nestjs-durable, so that either side can read the other's
rows. In Python, times are aware UTC datetimes in whole milliseconds; an absent value and JSON null are both `None`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal, TypedDict

Json = Any
"""A JSON value: None, bool, int, float, str, list of those, or dict from str to those."""

DEFAULT_NAMESPACE = "default"

PRIORITY_WORTH = timedelta(minutes=5)
"""What a unit of priority is worth: so much longer waiting. However low a priority is, its turn comes."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_PRIORITY_MILLIS = PRIORITY_WORTH // _MILLISECOND


class RunStatus(StrEnum):
    """Where a run stands. Only `pending`, `running`, `suspended`, `cancelling` and `blocked` can still change."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    CANCELLING = "cancelling"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL_STATUSES


TERMINAL_STATUSES = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.DEAD})
LIVE_STATUSES = frozenset(RunStatus) - TERMINAL_STATUSES


class CheckpointKind(StrEnum):
    """What a checkpoint records: a call that ran here (`local`) or elsewhere (`remote`), a timer, or a delivery."""

    LOCAL = "local"
    REMOTE = "remote"
    SLEEP = "sleep"
    SIGNAL = "signal"


class CheckpointStatus(StrEnum):
    """`pending`: waits (for a retry, a timer, an operator). `running`: is executed. The others never change."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_finished(self) -> bool:
        return self in (CheckpointStatus.COMPLETED, CheckpointStatus.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRecord:
    """A failure as it is stored: what a replay, a parent run and the HTTP API see of an exception.

    Attributes:
        type: The exception's class name. The reference ignores this key, and the next ones.
        cause: What the exception was raised from.
        positions: Of a failed run: what a retry gives up, to do it again (see `FailureAttribution`). None: not
            recorded, as in a run that the reference ended.
    """

    message: str
    code: str | None = None
    retryable: bool | None = None
    stack: str | None = None
    type: str | None = None
    cause: "ErrorRecord | None" = None
    positions: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, Json]:
        """The stored object; absent fields are left out."""
        value: dict[str, Json] = {"message": self.message}
        for name in ("code", "retryable", "stack", "type"):
            if (part := getattr(self, name)) is not None:
                value[name] = part
        if self.cause is not None:
            value["cause"] = self.cause.to_json()
        if self.positions is not None:
            value["positions"] = list(self.positions)
        return value

    @classmethod
    def from_json(cls, value: Json) -> "ErrorRecord":
        """Read what `to_json` or the reference wrote; anything else becomes the message."""
        if not isinstance(value, Mapping):
            return cls(message=str(value))
        cause, positions = value.get("cause"), value.get("positions")
        return cls(
            message=str(value.get("message", "")),
            code=value.get("code"),
            retryable=value.get("retryable"),
            stack=value.get("stack"),
            type=value.get("type"),
            cause=None if cause is None else cls.from_json(cause),
            positions=None if positions is None else tuple(positions),
        )

    @property
    def root(self) -> "ErrorRecord":
        """The exception whose message this one passes on: that of the step which made a run and its parents fail."""
        passed_on = self.cause is not None and self.message.endswith(self.cause.message)
        return self.cause.root if self.cause is not None and passed_on else self


PAUSED_TAG: Final = "durable:paused"
"""The tag of a run that an operator holds."""

SearchValue = str | float | int | bool
SearchAttributes = Mapping[str, SearchValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a workflow (table `durable_workflow_runs`).

    Attributes:
        wake_at: A suspended or blocked run may be claimed from this moment on; None: when something is delivered.
        wake_count: Grows by one with each delivery. A turn suspends only if it is what the turn saw, so that
            nothing delivered meanwhile is slept through.
        locked_by: The lease token of the claim that drives the run; unique to that claim.
        recovery_attempts: Crashes since the last progress.
        parent_run_id, parent_seq: The run and the position in it that wait for this run.
        expires_at: End of the execution timeout.
        queue: Where the run waits for its turn; "" for no queue.
        fairness_key: Runs of one key take turns in the queue with those of others.
    """

    id: str
    workflow: str
    workflow_version: str
    status: RunStatus = RunStatus.PENDING
    input: Json = None
    output: Json = None
    error: ErrorRecord | None = None
    wake_at: datetime | None = None
    wake_count: int = 0
    locked_by: str | None = None
    locked_until: datetime | None = None
    awaiting_decision_task_id: str | None = None
    recovery_attempts: int | None = None
    tags: tuple[str, ...] = ()
    search_attributes: SearchAttributes = field(default_factory=dict)
    priority: int | None = None
    namespace: str = DEFAULT_NAMESPACE
    origin: str | None = None
    parent_run_id: str | None = None
    parent_seq: int | None = None
    expires_at: datetime | None = None
    traceparent: str | None = None
    queue: str = ""
    fairness_key: str = ""
    created_at: datetime
    updated_at: datetime

    @property
    def is_paused(self) -> bool:
        """Whether an operator holds the run; see `service.pause`."""
        return PAUSED_TAG in self.tags and not self.status.is_terminal

    @property
    def claim_order(self) -> int:
        """Where the run stands among those that were never driven: milliseconds of `aged(created_at)`."""
        return self.aged(self.created_at)

    def aged(self, since: datetime) -> int:
        """What the run's order is decided by if it waits since then: milliseconds, the lower the earlier."""
        return (since - _EPOCH) // _MILLISECOND - (self.priority or 0) * _PRIORITY_MILLIS


class RunChanges(TypedDict, total=False):
    """Columns of a run to set; a key that is missing leaves its column alone, None clears it."""

    workflow_version: str
    status: RunStatus
    input: Json
    output: Json
    error: ErrorRecord | None
    wake_at: datetime | None
    wake_count: int
    locked_by: str | None
    locked_until: datetime | None
    awaiting_decision_task_id: str | None
    recovery_attempts: int | None
    tags: tuple[str, ...]
    search_attributes: SearchAttributes
    parent_run_id: str | None
    parent_seq: int | None
    expires_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What happened at one position of a run (table `durable_step_checkpoints`, key `(run_id, seq)`).

    A negative `seq` is a compensation. `attempts` counts the executions that were begun, the first one included.
    `wake_at` is a timer's deadline, or when a failed attempt is tried again.
    """

    run_id: str
    seq: int
    name: str
    kind: CheckpointKind
    status: CheckpointStatus
    step_id: str
    input: Json = None
    output: Json = None
    error: ErrorRecord | None = None
    events: tuple[Json, ...] = ()
    attempts: int = 1
    worker_group: str | None = None
    parallel_group: str | None = None
    wake_at: datetime | None = None
    enqueued_at: datetime | None = None
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalWaiter:
    """A run that waits at position `seq` for the signal `token` (table `durable_signal_waiters`)."""

    token: str
    run_id: str
    seq: int
    parallel_group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferedSignal:
    """A signal that arrived before anybody waited for it (table `durable_buffered_signals`); `id` gives the order."""

    id: int
    token: str
    payload: Json = None
    signal_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferedEvent:
    """A published event that nobody waited for yet (table `durable_buffered_events`)."""

    id: str
    name: str
    payload: Json = None
    published_at: datetime


AttributeOperator = Literal["eq", "ne", "gt", "gte", "lt", "lte"]


@dataclass(frozen=True, slots=True)
class AttributeFilter:
    """A condition on a search attribute. A run without the key, or with another type, never matches: not even `ne`."""

    key: str
    operator: AttributeOperator
    value: SearchValue


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """Which runs to list; conditions are joined by AND, the newest run comes first (ties by id, descending).

    Attributes:
        statuses: Empty matches nothing; together with `status` both must hold.
        origin: A declaring package; use `unattributed=True` for runs that have none.
        tag: Exact member of the run's tags.
        never_driven: Only runs that no worker has claimed yet: `updated_at` is still `created_at`.
        before: Keyset paging: only runs that come after the run `(created_at, id)` in the listing.
    """

    workflow: str | None = None
    status: RunStatus | None = None
    statuses: frozenset[RunStatus] | None = None
    tag: str | None = None
    namespace: str | None = None
    origin: str | None = None
    unattributed: bool = False
    parent_run_id: str | None = None
    never_driven: bool = False
    created_from: datetime | None = None
    created_until: datetime | None = None
    attributes: tuple[AttributeFilter, ...] = ()
    before: tuple[datetime, str] | None = None
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True)
class RunFacet:
    """How many runs share a status and an origin (None: unattributed)."""

    status: RunStatus
    origin: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to drive one run: every write of a turn names it, and fails when the run has another owner."""

    run_id: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """Which finished runs to delete: older than `max_age` (since `updated_at`), or beyond the newest `max_count`."""

    statuses: frozenset[RunStatus]
    max_age: timedelta | None = None
    max_count: int | None = None

    def __post_init__(self) -> None:
        if not self.statuses or not self.statuses <= TERMINAL_STATUSES:
            raise ValueError(
                "a retention policy names one or more terminal statuses: completed, failed, cancelled, dead"
            )
        if self.max_age is None and self.max_count is None:
            raise ValueError("a retention policy needs max_age, max_count, or both")
        if self.max_count is not None and self.max_count < 0:
            raise ValueError("max_count of a retention policy cannot be negative")


class StreamRowKind(StrEnum):
    """`item`: an item. `restart`: an item, the first one of a repeated attempt. `end`: the stream was closed."""

    ITEM = "item"
    RESTART = "restart"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRow:
    """One row of a stream (table `durable_stream_items`).

    Attributes:
        item_offset: Its place in the stream: 0, 1, 2, ... without a gap.
        step_id: Of the step that appended it; empty for the workflow's body.
        attempt: Each execution of the step has a higher one, also where a crash repeats an attempt.
    """

    run_id: str
    stream: str
    item_offset: int
    kind: StreamRowKind = StreamRowKind.ITEM
    step_id: str = ""
    attempt: int = 1
    data: Json = None
    appended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """How far a schedule has come (table `durable_schedules`); it outlives the runs that it started.

    Attributes:
        id: The schedule's key; in a namespace other than the default one `@6.orders:key`.
        last_window: The latest window that was fired or skipped: no window up to it is ever fired again.
        last_run_id: The last run that was started.
        paused: Paused by an operator, whatever the declaration says.
        refusal: Why the latest window started no run; None if it did.
    """

    id: str
    last_window: datetime
    last_run_id: str | None = None
    paused: bool = False
    refusal: ErrorRecord | None = None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """What a worker says of itself, again and again (table `durable_workers`).

    Attributes:
        id: The instance id, with which its lease tokens begin.
        version: Of this library.
        namespace: The only one that it drives; None: all.
        workflows: What it can drive, as `name@version`.
        beat_at: When it last said so. A worker that died leaves its row, which grows old.
    """

    id: str
    host: str
    pid: int
    version: str
    namespace: str | None = None
    workflows: tuple[str, ...] = ()
    concurrency: int
    in_flight: int = 0
    started_at: datetime
    beat_at: datetime
