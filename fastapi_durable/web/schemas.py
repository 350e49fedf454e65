"""The responses of the console's HTTP API, and the texts in its addresses."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, StringConstraints
from pydantic.errors import PydanticInvalidForJsonSchema

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.model.records import (
    Checkpoint,
    CheckpointKind,
    CheckpointStatus,
    ErrorRecord,
    Run,
    RunFacet,
    RunStatus,
    SearchValue,
)
from fastapi_durable.model.run_ids import RUN_ID_LIMIT
from fastapi_durable.service.inspection import ListedRun
from fastapi_durable.service.waiting import Waiting, WaitKind

RunId = Annotated[str, StringConstraints(min_length=1, max_length=RUN_ID_LIMIT, pattern=r"^[^\x00]+$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
EntityKey = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[^\x00]+$")]
Token = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]+$")]
AttributeText = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]


class ErrorView(BaseModel):
    """A stored failure."""

    message: str
    type: str | None = None
    code: str | None = None
    retryable: bool | None = None
    stack: str | None = None
    cause: "ErrorView | None" = None

    @classmethod
    def of(cls, error: ErrorRecord | None) -> "ErrorView | None":
        return None if error is None else cls.model_validate(error.to_json())


class WaitingView(BaseModel):
    """What a suspended run waits for."""

    kind: WaitKind
    name: str
    since: datetime

    @classmethod
    def of(cls, waiting: Waiting | None, run: Run) -> "WaitingView | None":
        if waiting is None:
            return None
        return cls(kind=waiting.kind, name=waiting.name, since=run.updated_at)


class RunSummary(BaseModel):
    """A run as a list shows it: without its input, output and error."""

    id: str
    workflow: str
    workflow_version: str
    status: RunStatus
    namespace: str
    origin: str | None
    tags: list[str]
    search_attributes: dict[str, SearchValue]
    priority: int | None
    queue: str | None
    fairness_key: str | None
    parent_run_id: str | None
    waiting: WaitingView | None
    wake_at: datetime | None = Field(description="When a suspended or blocked run continues by itself.")
    expires_at: datetime | None
    recovery_attempts: int | None
    paused: bool = Field(description="An operator holds the run; it may still be running, towards its next call.")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, listed: ListedRun) -> Self:
        return cls(**_summary(listed.run, listed.waiting))


class RunPage(BaseModel):
    """Runs, the newest first."""

    runs: list[RunSummary]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null: there is none.")
    total: int | None = Field(
        description="Number of matching runs, counted up to 10,000; null unless `total` asks for it."
    )
    total_capped: bool = Field(default=False, description="Whether there are more than `total`.")


class FacetView(BaseModel):
    status: RunStatus
    origin: str | None
    count: int


class RunFacetsView(BaseModel):
    """Counts by status and origin."""

    facets: list[FacetView]
    total: int
    capped: list[RunStatus] = Field(description="Statuses with more runs than were counted. The total is larger, too.")

    @classmethod
    def of(cls, facets: Sequence[RunFacet], most: int) -> Self:
        """Build the view from facets that were counted up to `most` + 1 for each status."""
        counts = Counter[RunStatus]()
        for each in facets:
            counts[each.status] += each.count
        capped = [status for status in RunStatus if counts[status] > most]
        # The additional one only shows that there are more.
        views = [FacetView(status=each.status, origin=each.origin, count=each.count) for each in facets]
        for status in capped:
            max((each for each in views if each.status == status), key=lambda each: each.count).count -= 1
        return cls(facets=views, total=sum(each.count for each in views), capped=capped)


class StepView(BaseModel):
    """A row of a run's history.

    A negative `seq` is a compensation. A `seq` below -2,000,000,000 is an action of an operator.
    """

    seq: int
    name: str
    kind: CheckpointKind
    status: CheckpointStatus
    step_id: str
    attempts: int
    input: Any = None
    output: Any = None
    error: ErrorView | None
    events: list[Any]
    worker_group: str | None
    parallel_group: str | None
    wake_at: datetime | None
    enqueued_at: datetime | None
    started_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, step: Checkpoint) -> Self:
        return cls(
            seq=step.seq,
            name=step.name,
            kind=step.kind,
            status=step.status,
            step_id=step.step_id,
            attempts=step.attempts,
            # A webhook's row contains its secret there, with which a viewer could call it.
            input=None if step.name.startswith("signal:wh:") else step.input,
            output=step.output,
            error=ErrorView.of(step.error),
            events=list(step.events),
            worker_group=step.worker_group,
            parallel_group=step.parallel_group,
            wake_at=step.wake_at,
            enqueued_at=step.enqueued_at,
            started_at=step.started_at,
            finished_at=step.finished_at if step.status.is_finished else None,
        )


class RunDetailView(RunSummary):
    """A run with its history, its children and its values.

    A long timeline and many children are cut. The totals count all.
    """

    input: Any = None
    output: Any = None
    error: ErrorView | None
    version: str = Field(description="Changes whenever the run changes. It is also the response's ETag.")
    timeline: list[StepView]
    timeline_total: int
    children: list[RunSummary]
    children_total: int = Field(description="Counted up to 10,000.")
    dead_letters: list[str] = Field(
        description="Runs of the dead-letter workflow that this run has started and that still exist."
    )

    @classmethod
    def of_run(
        cls,
        run: Run,
        waiting: Waiting | None,
        *,
        version: str,
        timeline: list[StepView],
        timeline_total: int,
        children: list[RunSummary],
        children_total: int,
        dead_letters: list[str],
    ) -> Self:
        return cls(
            **_summary(run, waiting),
            input=run.input,
            output=run.output,
            error=ErrorView.of(run.error),
            version=version,
            timeline=timeline,
            timeline_total=timeline_total,
            children=children,
            children_total=children_total,
            dead_letters=dead_letters,
        )


def _summary(run: Run, waiting: Waiting | None) -> dict[str, Any]:
    return {
        "id": run.id,
        "workflow": run.workflow,
        "workflow_version": run.workflow_version,
        "status": run.status,
        "namespace": run.namespace,
        "origin": run.origin,
        "tags": list(run.tags),
        "search_attributes": dict(run.search_attributes),
        "priority": run.priority,
        "queue": run.queue or None,
        "fairness_key": run.fairness_key or None,
        "parent_run_id": run.parent_run_id,
        "waiting": WaitingView.of(waiting, run),
        "wake_at": run.wake_at,
        "expires_at": run.expires_at,
        "recovery_attempts": run.recovery_attempts,
        "paused": run.is_paused,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
    }


class WorkflowView(BaseModel):
    """A workflow that this application knows."""

    name: str
    version: str
    newest: bool
    description: str | None
    tags: list[str]
    updates: list[str]
    takes_input: bool
    input_schema: dict[str, Any] | None = Field(description="JSON Schema of the input; null where there is none.")


class WorkflowList(BaseModel):
    workflows: list[WorkflowView]


class UserView(BaseModel):
    """Who is signed in with the console's own login."""

    name: str
    role: Literal["view", "operate"]


class ConsoleInfo(BaseModel):
    """The console as the caller sees it, and the actions that it offers."""

    namespace: str | None = Field(description="The only namespace that the caller sees; null: all.")
    may_operate: bool = Field(description="Whether changes are offered at all, and to this caller.")
    actions: list[str]
    user: UserView | None = Field(description="Null: the console has no login of its own, so there is no logout.")
    role: str
    store: str


class RunStarted(BaseModel):
    run_id: str
    created: bool = Field(description="False: a run with this id existed, and nothing was changed.")


class SignalSent(BaseModel):
    received: bool = Field(description="Whether a run received it; false: it is kept for the next run that waits.")


class EventPublished(BaseModel):
    event_id: str
    receivers: list[str]
    started: list[str]
    refused: list[str]
    buffered: bool
    duplicate: bool


class UpdateSent(BaseModel):
    accepted: bool
    received: bool
    reason: str | None


class RunValue(BaseModel):
    """A value that a run publishes with `ctx.set_value`. Null until it has set one."""

    value: Any = None


class RunChanged(BaseModel):
    """The run after an action, or the new run that the action created."""

    run_id: str
    status: RunStatus


class RunsDeleted(BaseModel):
    deleted: int = Field(description="How many runs, descendants included.")


class BulkFailure(BaseModel):
    run_id: str
    reason: str


class BulkResult(BaseModel):
    """The result of a bulk action. `matched` = `applied` + `failed` + `remaining`."""

    matched: int = Field(
        description="Runs that the filter selects and whose status allows the action; counted up to 10,000."
    )
    matched_capped: bool = Field(default=False, description="Whether there are more than `matched`.")
    applied: int
    failed: int
    remaining: int = Field(description="Selected runs beyond the limit. Call again for them.")
    failures: list[BulkFailure] = Field(description="The first failures, with their reasons.")


def json_schema_of(declared: Any, codec: Codec) -> dict[str, Any] | None:
    """Return the JSON Schema of a type. None if there is no value, or if pydantic cannot describe the type."""
    if declared is NoInput:
        return None
    try:
        schema: dict[str, Any] = codec.adapter(declared).json_schema()
    except PydanticInvalidForJsonSchema:
        return None
    return schema
