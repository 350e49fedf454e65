"""The options of a module: the settings, and the parts that are code. Every mistake is reported at construction."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PlainValidator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from fastapi_durable.app.settings import DurableSettings, Role
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.core.config import random_id
from fastapi_durable.engine.core.interception import StepInterceptor
from fastapi_durable.engine.core.setting import rule
from fastapi_durable.engine.upkeep.retention import Retention
from fastapi_durable.engine.upkeep.schedule import Schedule
from fastapi_durable.model.clock import Clock, SystemClock
from fastapi_durable.model.errors import ConfigurationError
from fastapi_durable.store.base import StateStore
from fastapi_durable.transport.base import Transport
from fastapi_durable.transport.in_process import InProcessTransport
from fastapi_durable.wakeups.base import Wakeups

Topology = Literal["control-plane", "tenant"]


def described(value: Any) -> str:
    """Describe a value of the wrong kind, without its content."""
    return "None" if value is None else f"a {type(value).__qualname__}"


def _port(port: type, advice: str) -> PlainValidator:
    """Accept an object with the methods of a port. The contract tests check its behaviour."""

    def checked(value: Any) -> Any:
        if inspect.isclass(value):
            raise ValueError(f"must be an instance, got the class {value.__name__} itself")
        missing = [each for each in vars(port) if not each.startswith("_") and not callable(getattr(value, each, None))]
        if missing:
            shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise ValueError(f"must be a {port.__name__}, got {described(value)}, which lacks {shown}. {advice}")
        return value

    return PlainValidator(checked)


def _instance(kind: type, advice: str) -> PlainValidator:
    def checked(value: Any) -> Any:
        if not isinstance(value, kind):
            raise ValueError(f"must be a {kind.__name__}, got {described(value)}. {advice}")
        return value

    return PlainValidator(checked)


def _several(what: str, fits: Callable[[Any], bool]) -> PlainValidator:
    def parse(values: Any) -> tuple[Any, ...]:
        several = tuple(values)
        if not all(map(fits, several)):
            raise ValueError
        return several

    return rule(f"a list of {what}", parse)


class DurableOptions(DurableSettings):
    """Options of a `DurableModule`: every setting of `DurableSettings`, and the options that are code.

    A setting that is left out or None comes from `settings`, or else from the environment (`DURABLE_LEASE=30s`). The
    environment is read when the options are constructed. Durations are a `timedelta` or a string such as "30s".

    Attributes:
        store: Store of the runs, for example `PrismaStateStore(client)`.
        transport: Port that carries step attempts to the process that executes them.
        wakeups: Notifications between the processes that share the store, for example `PostgresWakeups(url)` or
            `SqliteWakeups(url)`. None: processes poll.
        schedules: Workflows to start at set times.
        queues: Queues in which runs wait for a slot, with limits across all processes.
        retention: What workers delete. Default: finished runs stay, and signals that no run waited for go after 30
            days.
        dead_letter_workflow: Workflow to start for every dead run whose workflow names none of its own. It must be one
            of the module's workflows, and its input is a `DeadLetter`.
        settings: Settings to use in place of the environment.
        scope_reads: Whether `StateStoreDep` and `runtime.store` see only the runs of the namespace.
        topology: "control-plane", or None, which means the same. For users of nestjs-durable.
        tenant: Namespace of the control plane. For users of nestjs-durable.
        auto_schema: Accepted for users of nestjs-durable, without effect. Prisma Migrate creates the tables.
        interceptors: Functions that take a `StepExecution` and return an async context manager, which surrounds every
            real execution of a step. The first one is the outermost. Their errors are logged.
        clock: Source of the time.

    Raises:
        ConfigurationError: an option or an environment variable is wrong. The message has its name and the rule.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        extra="forbid", arbitrary_types_allowed=True, validate_default=False
    )

    store: Annotated[StateStore, _port(StateStore, "Wrap your client: store=PrismaStateStore(client)")]
    transport: Annotated[Transport, _port(Transport, "Leave it out for InProcessTransport()")] = Field(
        default_factory=InProcessTransport
    )
    wakeups: Annotated[
        Wakeups | None, _port(Wakeups, "Pass PostgresWakeups(url) or SqliteWakeups(url), or leave it out")
    ] = None
    schedules: Annotated[Sequence[Schedule], _several("Schedule", lambda each: isinstance(each, Schedule))] = ()
    queues: Annotated[Sequence[Queue], _several("Queue", lambda each: isinstance(each, Queue))] = ()
    retention: Annotated[Retention, _instance(Retention, "Leave it out to keep every run")] = Field(
        default_factory=Retention
    )
    dead_letter_workflow: Callable[..., Any] | str | None = None
    settings: Annotated[DurableSettings | None, _instance(DurableSettings, "Leave it out for the environment")] = None
    scope_reads: bool = False
    topology: Topology | None = None
    tenant: str | None = None
    auto_schema: bool = True
    interceptors: Annotated[
        Sequence[StepInterceptor],
        _several("functions that take a StepExecution and return an async context manager", callable),
    ] = ()
    clock: Annotated[Clock, _port(Clock, "Leave it out for the machine's clock")] = Field(default_factory=SystemClock)

    if not TYPE_CHECKING:  # the signature has the fields

        def __init__(self, **given: Any) -> None:
            super().__init__(**_with_tenant(given))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the settings that were not passed from `settings`, or else from the environment."""
        settings = init_settings().get("settings")
        if not isinstance(settings, DurableSettings):
            return init_settings, EnvSettingsSource(DurableSettings)
        values = {
            name: getattr(settings, name) for name in settings.model_fields_set & DurableSettings.model_fields.keys()
        }
        return init_settings, InitSettingsSource(settings_cls, values)

    def of_one_start(self, role: Role | None) -> Self:
        """Return the options for one start of the module. An unset `instance_id` is different each time.

        Args:
            role: Role of the process, whatever the options say.
        """
        changes: dict[str, Any] = {} if role is None else {"role": role}
        if "instance_id" not in self.model_fields_set:
            changes["instance_id"] = random_id()
        return self.model_copy(update=changes)


def _with_tenant(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with the tenant's name as the namespace."""
    topology, tenant, namespace = given.get("topology"), given.get("tenant"), given.get("namespace")
    if topology not in (None, "control-plane", "tenant"):
        raise ConfigurationError(f"topology must be 'control-plane' or left out, which is the same, got {topology!r}")
    if topology == "tenant":
        raise ConfigurationError(
            "topology='tenant' is not available: a tenant is store-less by definition, and every process of this "
            "library reaches the store. Use topology='control-plane' with tenant=..., and role='worker' for a process "
            "that only drives runs"
        )
    if tenant is None:
        return dict(given)
    if topology is None:
        raise ConfigurationError(
            f"tenant={tenant!r} needs topology='control-plane'. Without a topology, set namespace= instead"
        )
    if namespace not in (None, tenant):
        raise ConfigurationError(
            f"tenant={tenant!r} and namespace={namespace!r} must be equal: a tenant is the namespace of its control "
            "plane. Leave one of them out"
        )
    return {**given, "namespace": tenant}
