"""The settings by which the engine and its worker behave; `DurableSettings` adds what only an application has."""

import uuid
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, PlainValidator, model_validator

from fastapi_durable.declare.concurrency import Adaptive, parse_concurrency
from fastapi_durable.engine.core.setting import DurationSetting, Setting, between, name, setting, url, whole_number


def random_id() -> str:
    """An id for a process that was given none."""
    return uuid.uuid4().hex


class EngineConfig(BaseModel):
    """Settings of one engine: here stand the type, the rule, the default and the text of each, and nowhere else.

    A setting that is None is left out.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    namespace: Annotated[str | None, name] = setting(
        "runs are created in it, and only they are driven and shown; unset: created in `default`, all are driven"
    )
    instance_id: Annotated[Setting[str, str | None], name] = setting("names this process in leases", made=random_id)
    lease: Annotated[DurationSetting, between("10ms", "1 day")] = setting(
        "how long a dead process's runs wait until another one takes them", default="30s"
    )
    poll_interval: Annotated[DurationSetting, between("1ms", "1 day")] = setting(
        "how long a worker waits at most until it looks for work that nobody told it about", default="1s"
    )
    concurrency: Annotated[Setting[int | Adaptive, int | Adaptive | None], PlainValidator(parse_concurrency)] = setting(
        "runs driven at the same time in this process; a range such as `4-64` "
        "[adapts](../how-to/several-processes.md#how-many-at-a-time)",
        default=32,
    )
    max_recovery_attempts: Annotated[int | None, whole_number(1, 1_000_000)] = setting(
        "crashes without progress after which a run is given up as dead; unset: never"
    )
    shutdown_timeout: Annotated[DurationSetting, between("0s", "1 day")] = setting(
        "how long a stopping worker lets runs reach their next checkpoint, and each app-scoped dependency clean up",
        default="10s",
    )
    thread_grace: Annotated[DurationSetting, between("0s", "1 day")] = setting(
        "how long a run waits for the thread of a plain `def` step that was given up "
        "(its `timeout`, a cancel); nothing can stop a thread",
        default="30s",
    )
    show_running_after: Annotated[DurationSetting, between("0s", "1 day")] = setting(
        "a step that takes longer is shown as running", default="200ms"
    )
    inline_retry_below: Annotated[DurationSetting, between("0s", "1 day")] = setting(
        "a retry due sooner is waited for in memory", default="2s"
    )
    blocked_poll_interval: Annotated[DurationSetting, between("1ms", "1 day")] = setting(
        "how often a blocked run looks whether code that fits its history was deployed", default="30s"
    )
    transaction_timeout: Annotated[DurationSetting, between("1ms", "1 day")] = setting(
        "limit of a `ctx.transaction` body", default="10s"
    )
    event_ttl: Annotated[DurationSetting, between("1ms", "36525 days")] = setting(
        "how long an event that nobody waited for is kept, and its id remembered", default="7 days"
    )
    webhook_url: Annotated[str | Callable[[str], str] | None, url] = setting(
        "where the public webhook route is, such as `https://shop.example/webhooks`"
    )

    @model_validator(mode="before")
    @classmethod
    def _given(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if value is not None}
