"""What a module is built from, and its validation: every mistake is named before the application takes a request."""

import inspect
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pydantic import ConfigDict, SecretStr, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from fastapi_durable.app.settings import SECRETS, DurableSettings, Role
from fastapi_durable.declare.concurrency import Adaptive
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.engine.core.interception import StepInterceptor
from fastapi_durable.engine.upkeep.retention import Retention
from fastapi_durable.engine.upkeep.schedule import Schedule
from fastapi_durable.model.clock import Clock, SystemClock
from fastapi_durable.model.duration import Duration
from fastapi_durable.model.errors import ConfigurationError
from fastapi_durable.store.base import StateStore
from fastapi_durable.transport.base import Transport
from fastapi_durable.transport.in_process import InProcessTransport
from fastapi_durable.wakeups.base import Wakeups

Topology = Literal["control-plane", "tenant"]


@dataclass(frozen=True, kw_only=True)
class DurableOptions:
    """The options of a `DurableModule`.

    An option that is left out, or None, comes from `settings`, or else from the environment (`DURABLE_LEASE=30s`); see
    `DurableSettings` for what each one means. Durations are a `timedelta` or a string such as "30s".

    Attributes:
        store: Where runs live, for example `PrismaStateStore(client)`.
        transport: How step attempts reach who executes them.
        wakeups: How the processes that share the store tell each other what happened, for example
            `PostgresWakeups(url)` or `SqliteWakeups(url)`. None: they find out by polling.
        schedules: Workflows that are started again and again.
        queues: Lines in which runs wait for their turn, with limits that hold over all processes.
        retention: What workers delete; by default finished runs are kept for ever, and signals that nobody waited for
            thirty days.
        dead_letter_workflow: Started for every dead run whose workflow names none of its own; its input is a
            `DeadLetter`. It is one of the module's workflows.
        settings: Used instead of reading the environment.
        scope_reads: With a namespace: `StateStoreDep` and `runtime.store` see and touch only its runs, too.
        topology: "control-plane" names what every module here is: an operator with a store. It exists for those who
            come from Nest; "tenant" is refused, because a worker here always has the store.
        tenant: With the control plane: the namespace, by its other name.
        auto_schema: Accepted as in Nest. No store of this library creates tables: Prisma Migrate does. What the store
            needs is checked at the start either way.
        interceptors: Make the context of every real execution of a step, the first one outermost: functions of a
            `StepExecution` under `@asynccontextmanager`. They observe; what they raise is logged.
        clock: Where the time comes from.

    Raises:
        ConfigurationError: names the option and the mend.
    """

    store: StateStore
    transport: Transport = field(default_factory=InProcessTransport)
    wakeups: Wakeups | None = None
    schedules: Sequence[Schedule] = ()
    queues: Sequence[Queue] = ()
    retention: Retention = field(default_factory=Retention)
    dead_letter_workflow: Callable[..., Any] | str | None = None
    settings: DurableSettings | None = None
    role: Role | Literal["api", "worker", "all"] | None = None
    namespace: str | None = None
    instance_id: str | None = None
    lease: Duration | None = None
    poll_interval: Duration | None = None
    concurrency: int | Adaptive | None = None
    max_recovery_attempts: int | None = None
    shutdown_timeout: Duration | None = None
    thread_grace: Duration | None = None
    startup_timeout: Duration | None = None
    show_running_after: Duration | None = None
    inline_retry_below: Duration | None = None
    blocked_poll_interval: Duration | None = None
    transaction_timeout: Duration | None = None
    event_ttl: Duration | None = None
    webhook_url: str | Callable[[str], str] | None = None
    webhook_secret: SecretStr | str | None = field(default=None, repr=False)
    scope_reads: bool = False
    topology: Topology | None = None
    tenant: str | None = None
    auto_schema: bool = True
    interceptors: Sequence[StepInterceptor] = ()
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self._check_topology()
        _check_port("store", self.store, StateStore, mend="wrap your client: store=PrismaStateStore(client)")
        _check_port("transport", self.transport, Transport, mend="leave it out for InProcessTransport()")
        if self.wakeups is not None:
            _check_port(
                "wakeups",
                self.wakeups,
                Wakeups,
                mend="pass PostgresWakeups(url) or SqliteWakeups(url), or leave it out",
            )
        _check_port("clock", self.clock, Clock, mend="leave it out for the machine's clock")
        if not all(callable(each) for each in self.interceptors):
            raise ConfigurationError(
                "option interceptors lists functions that take a StepExecution and return an async context manager"
            )
        if self.settings is not None and not isinstance(self.settings, DurableSettings):
            raise ConfigurationError(f"option settings is a DurableSettings, not {_described(self.settings)}")
        for name, value in self._overrides().items():
            try:
                _checked(name, value)
            except ValidationError as error:
                shown = name if name in SECRETS else f"{name}={value!r}"
                raise ConfigurationError(f"option {shown} is refused: {_reason(error)}") from error

    def resolve(self, *, role: Role | None = None) -> "ResolvedOptions":
        """Fill in from settings or the environment what is left out.

        Args:
            role: What the process does, whatever options and settings say.

        Raises:
            ConfigurationError: names the variable of the environment that is wrong.
        """
        settings = self.settings if self.settings is not None else _settings_from_environment()
        values = {name: getattr(settings, name) for name in DurableSettings.model_fields}
        values |= {name: _checked(name, value) for name, value in self._overrides().items()}
        if role is not None:
            values["role"] = role
        values["instance_id"] = values["instance_id"] or uuid.uuid4().hex
        config = {each.name: values[each.name] for each in fields(EngineConfig)}
        return ResolvedOptions(
            store=self.store,
            transport=self.transport,
            wakeups=self.wakeups,
            schedules=tuple(self.schedules),
            queues=tuple(self.queues),
            retention=self.retention,
            dead_letter_workflow=self.dead_letter_workflow,
            scope_reads=self.scope_reads,
            clock=self.clock,
            role=values["role"],
            startup_timeout=values["startup_timeout"].total_seconds(),
            webhook_secret=values["webhook_secret"],
            interceptors=tuple(self.interceptors),
            config=EngineConfig(**config),
        )

    def _overrides(self) -> Mapping[str, Any]:
        """The settings that are given as options."""
        given = {name: getattr(self, name) for name in DurableSettings.model_fields if getattr(self, name) is not None}
        if self.tenant is not None:
            given["namespace"] = self.tenant
        return given

    def _check_topology(self) -> None:
        if self.topology not in (None, "control-plane", "tenant"):
            raise ConfigurationError(
                f"option topology={self.topology!r} is unknown: it is 'control-plane', or left out for the same"
            )
        if self.topology == "tenant":
            raise ConfigurationError(
                "option topology='tenant' is refused: a tenant is store-less by definition, and every process of this "
                "library reaches the store. Use topology='control-plane' with tenant=..., and role='worker' for a "
                "process that only drives runs"
            )
        if self.tenant is None:
            return
        if self.topology is None:
            raise ConfigurationError(
                f"option tenant={self.tenant!r} needs topology='control-plane'; without a topology, set namespace="
            )
        if self.namespace is not None and self.namespace != self.tenant:
            raise ConfigurationError(
                f"options tenant={self.tenant!r} and namespace={self.namespace!r} contradict each other: a tenant is "
                "the namespace of its control plane. Leave one of them out"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedOptions:
    """Options with every value in place; `startup_timeout` is in seconds."""

    store: StateStore
    transport: Transport
    wakeups: Wakeups | None
    schedules: tuple[Schedule, ...]
    queues: tuple[Queue, ...]
    retention: Retention
    dead_letter_workflow: Callable[..., Any] | str | None
    scope_reads: bool
    clock: Clock
    role: Role
    startup_timeout: float
    webhook_secret: SecretStr | None
    interceptors: tuple[StepInterceptor, ...]
    config: EngineConfig


def _checked(name: str, value: Any) -> Any:
    field_info = DurableSettings.model_fields[name]
    # The validation's own error is the cause of ours, and tracebacks show causes.
    adapter: TypeAdapter[Any] = TypeAdapter(
        field_info.rebuild_annotation(), config=ConfigDict(hide_input_in_errors=True)
    )
    return adapter.validate_python(value)


def _settings_from_environment() -> DurableSettings:
    try:
        return DurableSettings()
    except ValidationError as error:
        problems = "; ".join(
            f"DURABLE_{_variable(problem)}: {_message(problem['msg'])}"
            for problem in error.errors(include_url=False, include_context=False)
        )
        raise ConfigurationError(f"the environment is set up wrongly: {problems}") from error


def _variable(problem: ErrorDetails) -> str:
    """A variable that is wrong, with its value unless that is a secret."""
    name = str(problem["loc"][0])
    return name.upper() if name in SECRETS else f"{name.upper()}={problem['input']!r}"


def _reason(error: ValidationError) -> str:
    return "; ".join(_message(problem["msg"]) for problem in error.errors(include_url=False, include_context=False))


def _message(text: str) -> str:
    return text.removeprefix("Value error, ")


def _check_port(name: str, value: Any, port: type, *, mend: str) -> None:
    """Whether the object has the methods of a port; its behaviour is the contract tests' business."""
    if inspect.isclass(value):
        raise ConfigurationError(f"option {name} is the class {value.__name__} itself: pass an instance")
    missing = [each for each in vars(port) if not each.startswith("_") and not callable(getattr(value, each, None))]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ConfigurationError(f"option {name} is {_described(value)}, which lacks {shown}; {mend}")


def _described(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__qualname__}"
