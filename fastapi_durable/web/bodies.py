"""The request bodies of the console's HTTP API."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from fastapi_durable.model.records import (
    AttributeFilter,
    AttributeOperator,
    RunStatus,
    SearchValue,
)
from fastapi_durable.model.text import shown
from fastapi_durable.web.schemas import AttributeText, EntityKey, Name, RunId, Token

MAX_BULK = 500
_OPERATORS: dict[str, AttributeOperator] = {
    "eq": "eq",
    "ne": "ne",
    "gt": "gt",
    "gte": "gte",
    "lt": "lt",
    "lte": "lte",
}
_Whole = Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StartRun(_Body):
    input: Any = None
    run_id: RunId | None = Field(
        default=None, description="Id of the run. A second start with the same id starts nothing."
    )
    version: Name | None = None
    tags: Annotated[list[Name], Field(max_length=50)] = []
    search_attributes: Annotated[dict[Name, AttributeText | bool | _Whole | _Number], Field(max_length=50)] = {}
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] | None = None
    queue: Name | None = Field(default=None, description="Queue in which the run waits for a slot; see `listQueues`.")
    fairness_key: Name | None = Field(default=None, description="The keys of a queue take turns.")
    delay: Annotated[str, Field(max_length=50)] | None = Field(
        default=None, description="How long the run waits before it begins, such as `5 min`."
    )
    at: AwareDatetime | None = Field(default=None, description="The moment at which it begins, instead of `delay`.")
    if_exists: Literal["return", "refuse"] = Field(
        default="return", description="What to do if a run of this id exists: answer with it, or with 409."
    )


class SendSignal(_Body):
    token: Token
    payload: Any = None
    signal_id: Name | None = None


class PublishEvent(_Body):
    name: Name
    payload: Any = None
    event_id: Name | None = None
    buffer: bool = True


class SendUpdate(_Body):
    value: Any = None


class SendOperation(_Body):
    key: EntityKey
    input: Any = None
    operation_id: Name | None = Field(default=None, description="The entity skips an operation whose id it remembers.")


class CancelRun(_Body):
    compensate: bool = Field(default=False, description="Undo what finished steps declared with `compensate=` first.")


class ContinueRun(_Body):
    label: Name | None = None


class RetryWithInput(_Body):
    input: Any = None


class ForkRun(_Body):
    from_step: Annotated[int, Field(ge=0, lt=1_000_000)]


class RunFilter(_Body):
    """A filter of runs. The conditions are joined by AND."""

    status: Annotated[list[RunStatus], Field(max_length=9)] | None = None
    workflow: Name | None = None
    tag: Name | None = None
    attr: Annotated[list[AttributeText], Field(max_length=10)] = []
    namespace: Name | None = None
    origin: Name | None = None
    unattributed: bool = False
    created_from: datetime | None = None
    created_until: datetime | None = None


class BulkAction(_Body):
    """An action on all runs that a filter selects, or on the named runs."""

    filter: RunFilter | None = None
    run_ids: Annotated[list[RunId], Field(max_length=MAX_BULK)] | None = None
    compensate: bool = Field(default=False, description="For cancel.")
    force: bool = Field(default=False, description="For delete: cancel live runs first.")
    limit: Annotated[int, Field(ge=1, le=MAX_BULK)] = MAX_BULK

    @model_validator(mode="after")
    def _selects_one_way(self) -> Self:
        if (self.filter is None) == (self.run_ids is None):
            raise ValueError("exactly one of filter and run_ids must be given. An empty filter selects every run")
        return self


BulkVerb = Literal["cancel", "retry", "delete"]


def attribute_filter(text: str) -> AttributeFilter:
    """Parse `key:op:value`. The value may contain colons. true and false are booleans, and a text that looks like a
    number is one.

    Raises:
        ValueError: the text does not have this form.
    """
    key, _, rest = text.partition(":")
    operator, colon, value = rest.partition(":")
    known = _OPERATORS.get(operator)
    if not key or not colon or known is None:
        raise ValueError(
            f"an attribute filter must be key:op:value with op one of {', '.join(_OPERATORS)}, got {shown(text)}"
        )
    return AttributeFilter(key, known, _coerced(value))


def _coerced(value: str) -> SearchValue:
    if value in ("true", "false"):
        return value == "true"
    try:
        number = float(value)
    except ValueError:
        return value
    if number != number or number in (float("inf"), float("-inf")):
        return value
    return int(value) if number.is_integer() and value.lstrip("+-").isdigit() else number
