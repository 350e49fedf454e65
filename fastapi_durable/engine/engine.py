"""The engine of one process: the kernel, built from the module's options, and the operations on it.

It is internal. Applications use `WorkflowService`, which needs only the kernel. Workers use drivers and upkeep.
"""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import (
    StepDefinition,
    WorkflowDefinition,
    step_definition,
)
from fastapi_durable.declare.entity import entity_definition
from fastapi_durable.declare.methods import step_methods
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.engine.core.delay import Delay
from fastapi_durable.engine.core.delayed_starts import DelayedStarts
from fastapi_durable.engine.core.dispatch import Dispatcher, LocalWorker
from fastapi_durable.engine.core.injector import Injector
from fastapi_durable.engine.core.interception import StepInterceptor
from fastapi_durable.engine.core.kernel import Kernel
from fastapi_durable.engine.core.live_events import LiveEvents
from fastapi_durable.engine.core.live_workers import LiveWorkers
from fastapi_durable.engine.core.notifications import Notifications
from fastapi_durable.engine.core.registry import StepRegistry, WorkflowRegistry
from fastapi_durable.engine.core.stream_writer import StreamWriter
from fastapi_durable.engine.driver import RunDriver
from fastapi_durable.engine.entities.workflow import entity_workflow
from fastapi_durable.engine.runs.queues import declare_queues, queues_by_name
from fastapi_durable.engine.starting.accumulator import accumulators
from fastapi_durable.engine.starting.background_task import task_workflows
from fastapi_durable.engine.starting.event_trigger import EventTriggers
from fastapi_durable.engine.upkeep.dead_letter import inline_handlers
from fastapi_durable.engine.upkeep.expiry import cancel_expired
from fastapi_durable.engine.upkeep.retention import Retention
from fastapi_durable.engine.upkeep.schedule import Schedule
from fastapi_durable.engine.upkeep.scheduler import Scheduler
from fastapi_durable.engine.upkeep.upkeep import Upkeep
from fastapi_durable.model.clock import Clock
from fastapi_durable.model.records import Run
from fastapi_durable.store.base import StateStore
from fastapi_durable.transport.base import Transport
from fastapi_durable.transport.threads import Threads


class Engine:
    """Durable execution over one store. Several engines, in one process or in many, may share the store."""

    def __init__(
        self,
        *,
        store: StateStore,
        workflows: Sequence[WorkflowDefinition],
        entities: Sequence[type] = (),
        injector: Injector,
        transport: Transport,
        config: EngineConfig,
        clock: Clock,
        codec: Codec,
        steps: Sequence[StepDefinition] = (),
        interceptors: Sequence[StepInterceptor] = (),
        schedules: Sequence[Schedule] = (),
        retention: Retention | None = None,
        dead_letter: Callable[..., Any] | str | None = None,
        queues: Sequence[Queue] = (),
        threads: Threads | None = None,
    ) -> None:
        self.store = store
        self.transport = transport
        self.config = config
        self.clock = clock
        known = {definition.key for definition in workflows}
        workflows = [*workflows, *(each for each in inline_handlers(workflows) if each.key not in known)]
        known = {definition.key for definition in workflows}
        workflows = [*workflows, *(each for each in task_workflows(steps) if each.key not in known)]
        owners = [each.owner for each in workflows if each.owner is not None]
        methods = [step_definition(method) for owner in owners for method in step_methods(owner)]
        self.registry = WorkflowRegistry([*workflows, *_own_workflows(entities)])
        self.notifications = Notifications()
        local_worker = LocalWorker()
        self.kernel = Kernel(
            store=store,
            transport=transport,
            injector=injector,
            clock=clock,
            codec=codec,
            config=config,
            registry=self.registry,
            notifications=self.notifications,
            events=LiveEvents(clock),
            streams=StreamWriter(store, clock, config, self.notifications),
            until_shown=Delay(config.show_running_after.total_seconds()),
            delayed_starts=DelayedStarts(clock, config.max_delayed_starts),
            steps=StepRegistry(steps, methods),
            local_worker=local_worker,
            live_workers=LiveWorkers(clock, local_worker, patience=config.no_worker_after),
            interceptors=tuple(interceptors),
            entities={each.name: each for each in map(entity_definition, entities)},
            dead_letter=dead_letter,
            queues=queues_by_name(queues),
            threads=threads or Threads(config.thread_grace),
        )
        self.kernel.subscribers.append(EventTriggers(self.kernel))
        for step in (*steps, *methods):
            injector.check(step.function)
            codec.adapter(step.input_type)
            codec.adapter(step.output_type)
        for entity in self.kernel.entities.values():
            codec.adapter(entity.state_type)
            for operation in entity.operations.values():
                injector.check(operation.function)
                codec.adapter(operation.input_type)
                codec.adapter(operation.output_type)
        for definition in workflows:
            injector.check(definition.function)
            codec.adapter(definition.search_attributes or Any)
            codec.adapter(definition.input_type)
            codec.adapter(definition.output_type)
        self.retention = retention or Retention()
        self.scheduler = Scheduler(self.kernel, schedules)
        named = {each for it in workflows for each in (it.dead_letter, it.on_success, it.on_failure)}
        for handler in named | {dead_letter}:
            if handler is not None:
                self.registry.resolve(handler)

    @property
    def has_queues(self) -> bool:
        """Whether this process declares queues. Only then does its worker claim from queues of its namespaces."""
        return bool(self.kernel.queues)

    async def declare_queues(self) -> None:
        """Save the limits of the queues in the store, before a worker starts. Repeating it is harmless."""
        await declare_queues(self.kernel)

    @property
    def dispatcher(self) -> Dispatcher | None:
        """The worker of this process. The worker sets this attribute."""
        return self.kernel.local_worker.dispatcher

    @dispatcher.setter
    def dispatcher(self, worker: Dispatcher | None) -> None:
        self.kernel.local_worker.dispatcher = worker

    async def cancel_expired_runs(self) -> int:
        """Cancel one batch of runs whose execution timeout has passed, and return how many."""
        return await cancel_expired(self.kernel)

    def upkeep(self, *, in_flight: Callable[[], int], concurrency: Callable[[], int]) -> Upkeep:
        """Return the tasks of a worker besides driving runs; see `Upkeep`."""
        return Upkeep(self.kernel, self.scheduler, self.retention, in_flight=in_flight, concurrency=concurrency)

    def driver(self, run: Run, token: str, *, is_new: bool = False) -> RunDriver:
        """Return a driver for a run that is leased under `token`. A new run has no history to read."""
        return RunDriver(run, token, self.kernel, is_new=is_new)


def _own_workflows(entities: Sequence[type]) -> list[WorkflowDefinition]:
    """Return the engine's own workflows: entities and accumulators."""
    # Accumulators are registered even if no workflow collects events: an earlier deploy may have left undelivered
    # events.
    return [*accumulators(), *([entity_workflow()] if entities else [])]
