"""Settings from the environment: `DURABLE_LEASE=30s`, `DURABLE_ROLE=api`, ..."""

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from fastapi_durable.declare.concurrency import Adaptive, parse_concurrency
from fastapi_durable.model.duration import parse_duration


class Role(StrEnum):
    """What a process does: `api` starts and reads runs, `worker` drives them, `all` does both."""

    API = "api"
    WORKER = "worker"
    ALL = "all"

    @property
    def drives(self) -> bool:
        return self is not Role.API


def _duration(value: Any) -> timedelta:
    # A number is refused by its text, with the message that says why.
    return parse_duration(value if isinstance(value, timedelta) else str(value))


ZERO = timedelta(0)
DurationSetting = Annotated[timedelta, BeforeValidator(_duration)]
PositiveDuration = Annotated[timedelta, BeforeValidator(_duration), Field(gt=ZERO)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f\x7f](.*[^\s\x00-\x1f\x7f])?$")]


SECRETS: Final = frozenset({"webhook_secret"})
"""Settings whose values no message may show."""
_SHORTEST_KEY: Final = 32


def _key(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < _SHORTEST_KEY:
        raise ValueError(
            f"a key has {_SHORTEST_KEY} characters or more, random ones; make one with `openssl rand -hex 32`"
        )
    return value


class DurableSettings(BaseSettings):
    """What can be set from outside, one variable `DURABLE_<NAME>` each; options given in code win over it.

    No `.env` file is read unless you say so: `DurableSettings(_env_file=".env")`, passed as `settings=`.

    Attributes:
        role: `api` starts and reads runs, `worker` drives them, `all` does both.
        namespace: Runs created here belong to it, and only they are driven and listed. Unset: they are created in
            "default", and runs of every namespace are driven.
        instance_id: Names this process in leases; by default random.
        lease: How long a dead process's runs wait until another one takes them.
        poll_interval: How often a worker looks for work that nobody told it about.
        concurrency: Runs driven at the same time in this process: a number, or a range such as "4-64" within which the
            worker adapts to how well its event loop keeps up; see `Adaptive`.
        max_recovery_attempts: Crashes without progress after which a run is given up as dead. Unset: never.
        shutdown_timeout: How long a stopping worker lets runs reach their next checkpoint, and how long each
            app-scoped dependency may take to clean up.
        thread_grace: How long a run waits for the thread of a plain `def` step that was given up, because its time was
            up or its run was cancelled. Nothing can end a thread.
        startup_timeout: How long the database may take to answer at the start.
        show_running_after: A step that takes longer is shown as running.
        inline_retry_below: A retry due sooner is waited for in memory; a later one gives the worker's place away.
        blocked_poll_interval: How often a blocked run looks whether code that fits its history was deployed.
        transaction_timeout: Limit of a `ctx.transaction` body.
        event_ttl: How long an event that nobody waited for is kept, and how long the id of an event is remembered.
        webhook_url: Where the public webhook route is, such as "https://shop.example/webhooks"; `Webhook.url` is this
            with the token behind it. In code, also a function of the token, which is quoted for a path.
        webhook_secret: The key with which callers sign the body of a callback (HMAC-SHA256), of 32 characters or more.
            Unset: no signature is asked for.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="DURABLE_", env_nested_delimiter="__", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    role: Role = Role.ALL
    namespace: Name | None = None
    instance_id: Name | None = None
    lease: PositiveDuration = timedelta(seconds=30)
    poll_interval: PositiveDuration = timedelta(seconds=1)
    concurrency: Annotated[int | Adaptive, PlainValidator(parse_concurrency)] = 32
    max_recovery_attempts: Annotated[int, Field(ge=1)] | None = None
    shutdown_timeout: DurationSetting = timedelta(seconds=10)
    thread_grace: DurationSetting = timedelta(seconds=30)
    startup_timeout: PositiveDuration = timedelta(seconds=10)
    show_running_after: DurationSetting = timedelta(milliseconds=200)
    inline_retry_below: DurationSetting = timedelta(seconds=2)
    blocked_poll_interval: PositiveDuration = timedelta(seconds=30)
    transaction_timeout: PositiveDuration = timedelta(seconds=10)
    event_ttl: PositiveDuration = timedelta(days=7)
    webhook_url: Annotated[str, Field(pattern=r"^https?://\S+$")] | Callable[[str], str] | None = None
    webhook_secret: Annotated[SecretStr, AfterValidator(_key)] | None = None
