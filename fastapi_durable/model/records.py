"""The stored records: runs, step checkpoints, waiters and buffers.

The names and JSON shapes of the stored values are those of nestjs-durable, so each library can read the other's rows.
In Python, times are aware UTC datetimes in whole milliseconds. An absent value and JSON null are both `None`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final, Literal, TypedDict, Unpack

Json = Any
"""A JSON value: None, bool, int, float, str, list of those, or dict from str to those."""

DEFAULT_NAMESPACE = "default"

PRIORITY_WORTH = timedelta(minutes=5)
"""A unit of priority counts as this much longer waiting. So every run is claimed some day, however low its priority."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_PRIORITY_MILLIS = PRIORITY_WORTH // _MILLISECOND


class RunStatus(StrEnum):
    """The status of a run. Only `pending`, `running`, `suspended`, `cancelling` and `blocked` can still change."""

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
    """`pending` waits for a retry, a timer or an operator. `running` is being executed. The others never change."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_finished(self) -> bool:
        return self in (CheckpointStatus.COMPLETED, CheckpointStatus.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRecord:
    """A stored failure: what a replay, a parent run and the HTTP API see of an exception.

    Attributes:
        type: Class name of the exception. nestjs-durable ignores this key and the next ones.
        cause: The exception from which it was raised.
        positions: Of a failed run: the positions that a retry executes again (see `FailureAttribution`). None: not
            recorded, as in a run that nestjs-durable ended.
    """

    message: str
    code: str | None = None
    retryable: bool | None = None
    stack: str | None = None
    type: str | None = None
    cause: "ErrorRecord | None" = None
    positions: tuple[int, ...] | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the stored object, without absent fields."""
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
        """Read what `to_json` or nestjs-durable wrote.

        Args:
            value: The stored object. Any other value becomes the message.
        """
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
        """The original exception, whose message this one repeats."""
        passed_on = self.cause is not None and self.message.endswith(self.cause.message)
        return self.cause.root if self.cause is not None and passed_on else self


PAUSED_TAG: Final = "durable:paused"
"""The tag of a run that an operator has paused."""

BY_NAME_TAG: Final = "durable:by-name"
"""The tag of a run that a client without the workflow's code has started, until a worker claims it."""

NO_INPUT_TAG: Final = "durable:by-name:no-input"
"""The same, of a run that was started without an input."""

BY_NAME_TAGS: Final = (BY_NAME_TAG, NO_INPUT_TAG)

SearchValue = str | float | int | bool
SearchAttributes = Mapping[str, SearchValue]


class RunChanges(TypedDict, total=False):
    """Columns of a run to set. A missing key leaves its column as it is, and None clears it."""

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
class Run:
    """One execution of a workflow (table `durable_workflow_runs`).

    Attributes:
        wake_at: Moment from which a suspended or blocked run may be claimed. None: after the next delivery.
        wake_count: Number of deliveries. A turn suspends only if the number is the one that it saw, so no delivery is
            missed.
        locked_by: Lease token of the claim that drives the run, unique to that claim.
        recovery_attempts: Number of crashes since the last progress.
        parent_run_id: Id of the run that waits for this run.
        parent_seq: Position in the parent that waits for this run.
        expires_at: End of the execution timeout.
        queue: Queue in which the run waits for a slot. "": none.
        fairness_key: The queue serves the runs of different keys in turn.
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

    def changed(self, **changes: Unpack[RunChanges]) -> "Run":
        """Return a copy of the run with other values. Each run is copied twice, and `dataclasses.replace` is slow.

        Args:
            changes: New values, by the names of `RunChanges`.
        """
        values: dict[str, Any] = dict(zip(_NAMES_OF_RUN, _values_of_run(self), strict=True))
        values.update(changes)
        return Run(**values)

    @property
    def is_paused(self) -> bool:
        """Whether an operator holds the run; see `service.pause`."""
        return PAUSED_TAG in self.tags and not self.status.is_terminal

    @property
    def claim_order(self) -> int:
        """The key that orders runs that were never driven, in milliseconds: `aged(created_at)`."""
        return self.aged(self.created_at)

    def aged(self, since: datetime) -> int:
        """Return the key that orders waiting runs, in milliseconds. The run with the lowest key comes first.

        Args:
            since: Moment since which the run waits. Each unit of priority counts as a longer wait.
        """
        return (since - _EPOCH) // _MILLISECOND - (self.priority or 0) * _PRIORITY_MILLIS


_NAMES_OF_RUN = tuple(each.name for each in fields(Run))
_values_of_run = attrgetter(*_NAMES_OF_RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What happened at one position of a run (table `durable_step_checkpoints`, key `(run_id, seq)`).

    A negative `seq` is a compensation. `attempts` counts the executions that began, the first one included. `wake_at`
    is the deadline of a timer, or the time of the next attempt.
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
    """A signal that arrived before a run waited for it (table `durable_buffered_signals`). `id` gives the order."""

    id: int
    token: str
    payload: Json = None
    signal_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferedEvent:
    """A published event that no run waited for (table `durable_buffered_events`)."""

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
    """Conditions on runs, joined by AND. The newest run comes first, and equal times are ordered by id, descending.

    Attributes:
        statuses: Statuses, one of which the run must have. An empty set matches nothing. `status` must match, too.
        origin: Application that started the run. For runs without one, use `unattributed=True`.
        tag: Exact tag of the run.
        never_driven: Only runs that no worker has claimed yet: `updated_at` is still `created_at`.
        before: Key `(created_at, id)` of the last run of the previous page.
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
    """The number of runs with a status and an origin (None: no origin)."""

    status: RunStatus
    origin: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to drive one run. Every write of a turn names it, and fails if the run has another owner."""

    run_id: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """Finished runs to delete: older than `max_age` (since `updated_at`), or beyond the newest `max_count`."""

    statuses: frozenset[RunStatus]
    max_age: timedelta | None = None
    max_count: int | None = None

    def __post_init__(self) -> None:
        if not self.statuses or not self.statuses <= TERMINAL_STATUSES:
            raise ValueError(
                "the statuses of a retention policy must be one or more of completed, failed, cancelled and dead, "
                f"got {', '.join(sorted(self.statuses)) or 'none'}"
            )
        if self.max_age is None and self.max_count is None:
            raise ValueError("a retention policy must have max_age, max_count or both, got neither")
        if self.max_count is not None and self.max_count < 0:
            raise ValueError(f"max_count of a retention policy must be 0 or more, got {self.max_count}")


class StreamRowKind(StrEnum):
    """`item`: an item. `restart`: an item, the first one of a repeated attempt. `end`: the stream was closed."""

    ITEM = "item"
    RESTART = "restart"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRow:
    """One row of a stream (table `durable_stream_items`).

    Attributes:
        item_offset: Position in the stream: 0, 1, 2, ... without a gap.
        step_id: Id of the step that appended it. Empty for the workflow's body.
        attempt: Number of the execution of the step. A repeated attempt has a higher one.
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
    """The state of a schedule (table `durable_schedules`). It outlives the runs that the schedule started.

    Attributes:
        id: Key of the schedule. In a namespace other than `default`, `@6.orders:key`.
        last_window: Latest window that was fired or skipped. No window up to it fires again.
        last_run_id: Id of the last run.
        paused: Whether an operator has paused it, whatever the declaration says.
        refusal: Why the latest window started no run. None: it started one.
    """

    id: str
    last_window: datetime
    last_run_id: str | None = None
    paused: bool = False
    refusal: ErrorRecord | None = None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """The heartbeat of a worker (table `durable_workers`).

    Attributes:
        id: Instance id, with which its lease tokens begin.
        version: Version of this library.
        namespace: Namespace whose runs it drives. None: all.
        workflows: Workflows that it can drive, as `name@version`.
        beat_at: Time of the last heartbeat. A worker that died leaves its row.
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
