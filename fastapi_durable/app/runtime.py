"""The running parts of a module while its lifespan is open, and the access for routes and steps."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import SecretStr
from starlette.datastructures import State

from fastapi_durable.app.settings import Role
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.upkeep.scheduler import Scheduler
from fastapi_durable.engine.worker import Worker, WorkerHealth
from fastapi_durable.injection import AppBound, Application
from fastapi_durable.injection.lifetime import Held
from fastapi_durable.model.errors import ConfigurationError, NotStartedError
from fastapi_durable.observe.prometheus import ProcessMetrics
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore

T = TypeVar("T")
_LONGEST_OVERDUE = timedelta(seconds=30)
_STATE_KEY = "_fastapi_durable_runtimes"


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableHealth:
    """The state of a module in this process.

    Attributes:
        live: Whether the worker's loops run. If not, only a restart helps.
        ready: Whether the module is live, the store answers, and the worker's polls succeed.
        role: Role of the process.
        store_error: Why the store does not answer, or cannot be used. None: it answers.
        worker: State of the worker. None in a process that drives no runs.
    """

    live: bool
    ready: bool
    role: Role
    store_error: str | None
    worker: WorkerHealth | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableRuntime:
    """The started parts of a module in one application.

    Attributes:
        role: Role of the process.
        store: The store.
        service: The service, which `RunGatewayDep` and `WorkflowEngineDep` also inject.
        kernel: Collaborators of the engine; internal.
        schedules: The schedules.
        worker: The worker. None in a process that drives no runs.
        metrics: Counters and histograms of this process, for Prometheus.
        webhook_secret: Key that verifies signatures of callbacks. None: callbacks need no signature.
    """

    role: Role
    store: StateStore
    service: WorkflowService
    kernel: Kernel
    schedules: Scheduler
    worker: Worker | None
    metrics: ProcessMetrics
    webhook_secret: SecretStr | None = None

    async def health(self, *, timeout: timedelta = timedelta(seconds=2)) -> DurableHealth:
        """Ask the store, and read the worker's state.

        Args:
            timeout: Time within which the store must answer.

        Returns:
            Whether the module is alive and ready. It is not ready if the store does not answer.
        """
        store_error: str | None = None
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                await self.store.ping()
        except TimeoutError:
            store_error = f"no answer within {timeout.total_seconds():g} s"
        except Exception as error:  # every error means that the store cannot be used
            store_error = f"{type(error).__name__}: {error}"
        worker = None if self.worker is None else self.worker.health()
        if store_error is None and worker is not None and worker.poll_overdue > _LONGEST_OVERDUE:
            overdue = worker.poll_overdue.total_seconds()
            store_error = f"no poll for work has succeeded for {overdue:.0f} s: {worker.last_error or 'no answer'}"
        live = worker is None or worker.alive
        return DurableHealth(
            live=live, ready=live and store_error is None, role=self.role, store_error=store_error, worker=worker
        )


@dataclass(slots=True, eq=False)
class Entry:
    """A module in an application: how often its lifespan is open, and its running parts."""

    users: int = 0
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    held: Held[DurableRuntime] | None = None
    runtime: DurableRuntime | None = None


def entries_of(app: Application) -> dict[object, Entry]:
    """Return the entries of an application, by module."""
    entries: dict[object, Entry] | None = getattr(app.state, _STATE_KEY, None)
    if entries is None:
        entries = {}
        setattr(app.state, _STATE_KEY, entries)
    return entries


def runtime_of(app: Application, module: object | None = None) -> DurableRuntime:
    """Return the running parts of a module in an application. None: of its only module.

    Raises:
        NotStartedError: the lifespan has not run in this application.
        ConfigurationError: several modules run, and none was named.
    """
    entries: Mapping[object, Entry] = getattr(app.state, _STATE_KEY, {})
    if module is not None:
        entry = entries.get(module)
        running = [] if entry is None or entry.runtime is None else [entry.runtime]
    else:
        running = [entry.runtime for entry in entries.values() if entry.runtime is not None]
    if not running:
        raise NotStartedError
    if len(running) > 1:
        raise ConfigurationError(
            "several durable modules run in this application, so it is not clear which one is meant. Name it: "
            "`Annotated[WorkflowService, Depends(durable.workflow_service)]`, with the module in place of `durable`"
        )
    return running[0]


class RuntimePart(AppBound[T]):
    """A dependency that returns one of the running parts.

    Args:
        part: Picks it.
        module: Of this module; None: of the module on whose behalf a step is executed, in a route the only one.
    """

    def __init__(self, name: str, part: Callable[[DurableRuntime], T], module: object | None = None) -> None:
        self.__name__ = name
        self._part = part
        self._module = module

    async def value_in(self, app: Application, module: object | None) -> T:
        return self._part(runtime_of(app, self._module if self._module is not None else module))

    def __repr__(self) -> str:
        return f"<fastapi_durable dependency {self.__name__}>"


@dataclass(slots=True)
class StandaloneApplication:
    """Replaces the web application in a process without one, such as that of the worker command."""

    dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = field(default_factory=dict)
    state: State = field(default_factory=State)
