"""The settings by which the engine and its worker behave; `DurableSettings` adds what only an application has."""

import uuid
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, PlainValidator, model_validator

from fastapi_durable.declare.concurrency import Adaptive, parse_concurrency
from fastapi_durable.engine.core.setting import (
    DurationSetting,
    Setting,
    between,
    between_or_never,
    name,
    setting,
    url,
    whole_number,
)


def random_id() -> str:
    """An id for a process that was given none."""
    return uuid.uuid4().hex


class EngineConfig(BaseModel):
    """Settings of one engine, each with its type, rule, default and text. A setting that is None counts as unset."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    namespace: Annotated[str | None, name] = setting(
        "namespace of the runs that this process creates, drives and shows. Unset: it creates runs in `default` and "
        "drives the runs of all namespaces"
    )
    instance_id: Annotated[Setting[str, str | None], name] = setting("name of this process in leases", made=random_id)
    lease: Annotated[DurationSetting, between("10ms", "1 day")] = setting(
        "time after which another worker takes over the runs of a process that died", default="30s"
    )
    poll_interval: Annotated[DurationSetting, between("1ms", "1 day")] = setting(
        "longest time between two looks of a worker for work", default="1s"
    )
    concurrency: Annotated[Setting[int | Adaptive, int | Adaptive | None], PlainValidator(parse_concurrency)] = setting(
        "number of runs that this process drives at a time. A range such as `4-64` "
        "[adapts](../how-to/several-processes.md#how-many-at-a-time)",
        default=32,
    )
    max_recovery_attempts: Annotated[int | None, whole_number(1, 1_000_000)] = setting(
        "number of crashes without progress after which a run is dead. Unset: never"
    )
    shutdown_timeout: Annotated[DurationSetting, between("0s", "1 day")] = setting(
        "time that a stopping worker gives runs to reach a checkpoint, and each app-scoped dependency to clean up",
        default="10s",
    )
    thread_grace: Annotated[DurationSetting, between("0s", "1 day")] = setting(
        "time that a run waits for the thread of a plain `def` step after its `timeout` or a cancel",
        default="30s",
    )
    show_running_after: Annotated[DurationSetting, between("0s", "1 day")] = setting(
        "time after which the console shows a step as running", default="200ms"
    )
    inline_retry_below: Annotated[DurationSetting, between("0s", "1 day")] = setting(
        "a run stays in memory while it waits for a retry that is due sooner than this", default="2s"
    )
    blocked_poll_interval: Annotated[DurationSetting, between("1ms", "1 day")] = setting(
        "time between two attempts to continue a blocked run", default="30s"
    )
    transaction_timeout: Annotated[DurationSetting, between("1ms", "1 day")] = setting(
        "longest duration of a `ctx.transaction`", default="10s"
    )
    event_ttl: Annotated[DurationSetting, between("1ms", "36525 days")] = setting(
        "time to keep an event that no run waited for, and to remember its id", default="7 days"
    )
    stream_max_items: Annotated[Setting[int, int | None], whole_number(1, 10_000_000)] = setting(
        "items of one stream, those of failed attempts included; appending another one fails", default=100_000
    )
    stream_max_item_size: Annotated[Setting[int, int | None], whole_number(1, 1_000_000)] = setting(
        "bytes of one item of a stream, as JSON", default=65_536
    )
    max_delayed_starts: Annotated[Setting[int, int | None], whole_number(1, 10_000_000)] = setting(
        "number of runs of a namespace that may wait for the `delay` or `at` of their start. Another start is refused. "
        "Runs are counted from time to time, so a few more may begin to wait",
        default=100_000,
    )
    no_worker_after: Annotated[DurationSetting, between_or_never("1ms", "1 day")] = setting(
        "time after which `execute()` and `handle.result()` raise `NoWorkerError` if no live worker can drive the run. "
        "`never`: they wait",
        default="10s",
    )
    webhook_url: Annotated[str | Callable[[str], str] | None, url] = setting(
        "address of the public webhook route, such as `https://shop.example/webhooks`"
    )

    @model_validator(mode="before")
    @classmethod
    def _given(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if value is not None}
