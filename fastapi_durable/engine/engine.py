"""The engine: starts and cancels runs, delivers to them, and hands out drivers for claimed runs."""

import uuid
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Concatenate, TypeVar, overload

from fastapi_durable.clock import Clock
from fastapi_durable.codec import Codec
from fastapi_durable.definition import StepDefinition, WorkflowDefinition
from fastapi_durable.engine.accumulator import accumulators
from fastapi_durable.engine.config import EngineConfig
from fastapi_durable.engine.conflict import retry_conflicts
from fastapi_durable.engine.context import WorkflowContext
from fastapi_durable.engine.dead_letter import inline_handlers
from fastapi_durable.engine.delay import Delay
from fastapi_durable.engine.deliveries import Deliveries
from fastapi_durable.engine.dispatch import Dispatcher
from fastapi_durable.engine.driver import RunDriver
from fastapi_durable.engine.entities import Entities
from fastapi_durable.engine.entity import entity_workflow
from fastapi_durable.engine.event_trigger import EventTriggers
from fastapi_durable.engine.handle import RunHandle
from fastapi_durable.engine.injector import Injector
from fastapi_durable.engine.input import NO_INPUT, encode_input
from fastapi_durable.engine.interception import StepInterceptor
from fastapi_durable.engine.labels import labelled
from fastapi_durable.engine.live_events import LiveEvents
from fastapi_durable.engine.notifications import Notifications
from fastapi_durable.engine.operations import Operations
from fastapi_durable.engine.registry import StepRegistry, WorkflowRegistry
from fastapi_durable.engine.retention import Retention
from fastapi_durable.engine.schedule import Schedule
from fastapi_durable.engine.scheduler import Scheduler
from fastapi_durable.engine.search_attributes import checked_attributes
from fastapi_durable.engine.services import Services
from fastapi_durable.engine.signal import checked_token, start_with_signal
from fastapi_durable.engine.singleton import create_within_queue
from fastapi_durable.engine.upkeep import Upkeep
from fastapi_durable.entity import entity_definition
from fastapi_durable.errors import InputValidationError
from fastapi_durable.model import DEFAULT_NAMESPACE, Run, RunStatus, SearchAttributes
from fastapi_durable.store.base import CreatedRun, StateStore
from fastapi_durable.telemetry import current_traceparent, step_span
from fastapi_durable.transport.base import Transport

Input = TypeVar("Input")
Output = TypeVar("Output")

_ID_LIMIT = 500


class WorkflowEngine(Deliveries, Operations, Entities):
    """Durable execution over one store. Several engines, in one process or in many, may share the store.

    Attributes:
        events: What happens to runs and steps that this process drives, told while it happens.
    """

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
    ) -> None:
        self.store = store
        self.transport = transport
        self.config = config
        self.clock = clock
        known = {definition.key for definition in workflows}
        workflows = [*workflows, *(each for each in inline_handlers(workflows) if each.key not in known)]
        self.registry = WorkflowRegistry([*workflows, *_own_workflows(workflows, entities)])
        self.notifications = Notifications()
        self.events = LiveEvents(clock)
        self.dispatcher: Dispatcher | None = None
        self._codec = codec
        self._services = Services(
            store=store,
            transport=transport,
            injector=injector,
            clock=clock,
            codec=codec,
            config=config,
            registry=self.registry,
            notifications=self.notifications,
            events=self.events,
            until_shown=Delay(config.running_row_after.total_seconds()),
            steps=StepRegistry(steps),
            interceptors=(step_span, *interceptors),
            entities={each.name: each for each in map(entity_definition, entities)},
            dead_letter=dead_letter,
        )
        self._services.subscribers.append(EventTriggers(self._services))
        for step in steps:
            injector.check(step.function)
            codec.adapter(step.input_type)
            codec.adapter(step.output_type)
        for entity in self._services.entities.values():
            codec.adapter(entity.state_type)
            for operation in entity.operations.values():
                injector.check(operation.function)
                codec.adapter(operation.input_type)
                codec.adapter(operation.output_type)
        for definition in workflows:
            injector.check(definition.function)
            if definition.owner is not None:
                injector.check(definition.owner)
            codec.adapter(definition.search_attributes or Any)
            codec.adapter(definition.input_type)
            codec.adapter(definition.output_type)
        self.retention = retention or Retention()
        self.scheduler = Scheduler(self._services, schedules)
        for handler in {definition.dead_letter for definition in workflows} | {dead_letter}:
            if handler is not None:
                self.registry.resolve(handler)

    @overload
    async def start(
        self,
        workflow: Callable[Concatenate[WorkflowContext, Input, ...], Coroutine[Any, Any, Output]],
        input: Input,
        /,
        *,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Output]: ...
    @overload
    async def start(
        self,
        workflow: Callable[Concatenate[WorkflowContext, ...], Coroutine[Any, Any, Output]],
        /,
        *,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Output]: ...
    @overload
    async def start(
        self,
        workflow: str,
        input: Any = NO_INPUT,
        /,
        *,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Any]: ...
    async def start(
        self,
        workflow: Callable[..., Coroutine[Any, Any, Any]] | str,
        input: Any = NO_INPUT,
        /,
        *,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Any]:
        """Create a run and return at once; a worker drives it.

        Idempotent by `run_id`: if a run of this id exists, the handle refers to it and nothing is changed.

        Args:
            workflow: The decorated function, or a registered name.
            run_id: By default a random UUID.
            version: Exactly this one; by default the function's own, or the newest of a name.
            tags: Added to those that the workflow declares.
            priority: A higher one is picked up earlier.

        Raises:
            InputValidationError: the input does not fit the workflow's type, or cannot be stored.
            WorkflowNotRegisteredError: unknown name or version.
            SingletonQueueFullError: too many runs of the input's singleton key are alive.
            StoreUnavailableError: the database cannot be reached; nothing was started, or it was and the same call
                with the same `run_id` will find it.
        """
        definition, run = self._new_run(
            workflow,
            input,
            run_id=run_id,
            version=version,
            tags=tags,
            search_attributes=search_attributes,
            priority=priority,
        )
        stored, created = await self._create(run, definition)
        return self._handle(stored.id, definition.output_type, created=created)

    @overload
    async def signal_with_start(
        self,
        workflow: Callable[Concatenate[WorkflowContext, Input, ...], Coroutine[Any, Any, Output]],
        input: Input,
        /,
        *,
        token: str,
        payload: Any = None,
        signal_id: str | None = None,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Output]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: Callable[Concatenate[WorkflowContext, ...], Coroutine[Any, Any, Output]],
        /,
        *,
        token: str,
        payload: Any = None,
        signal_id: str | None = None,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Output]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: str,
        input: Any = NO_INPUT,
        /,
        *,
        token: str,
        payload: Any = None,
        signal_id: str | None = None,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Any]: ...
    async def signal_with_start(
        self,
        workflow: Callable[..., Coroutine[Any, Any, Any]] | str,
        input: Any = NO_INPUT,
        /,
        *,
        token: str,
        payload: Any = None,
        signal_id: str | None = None,
        run_id: str | None = None,
        version: str | None = None,
        tags: Collection[str] = (),
        search_attributes: SearchAttributes | None = None,
        priority: int | None = None,
    ) -> RunHandle[Any]:
        """Start a run unless it exists, and send a signal, both or neither: the signal finds the run in any case.

        Args:
            token, payload, signal_id: Of the signal.
            run_id: Names the run that both the first and every later caller mean; without it each call starts one.
            version, tags, search_attributes, priority: Of a run that is started.

        Raises:
            SerializationError: the token or the payload cannot be stored.
            InputValidationError, WorkflowNotRegisteredError, StoreUnavailableError: as `start`.
        """
        definition, run = self._new_run(
            workflow,
            input,
            run_id=run_id,
            version=version,
            tags=tags,
            search_attributes=search_attributes,
            priority=priority,
        )
        checked_token(token)
        encoded = self._codec.encode(payload, Any, what=f"the payload of signal {token!r}")
        stored, created = await retry_conflicts(
            self.clock,
            lambda: start_with_signal(self.store, self.clock, definition, run, token, encoded, signal_id=signal_id),
        )
        self.notifications.work_available()
        return self._handle(stored.id, definition.output_type, created=created)

    def handle(self, run_id: str, workflow: Callable[..., Any] | str | None = None) -> RunHandle[Any]:
        """A handle on a run that was started elsewhere; `workflow` gives its result a type."""
        output_type = Any if workflow is None else self.registry.resolve(workflow).output_type
        return self._handle(run_id, output_type, created=False)

    def upkeep(self, in_flight: Callable[[], int]) -> Upkeep:
        """What a worker does beside driving runs."""
        return Upkeep(self._services, self.scheduler, self.retention, in_flight)

    def driver(self, run: Run, token: str, *, is_new: bool = False) -> RunDriver:
        """What drives a run that is leased under `token`; a new one has no history to read."""
        return RunDriver(run, token, self._services, is_new=is_new)

    async def _create(self, run: Run, definition: WorkflowDefinition) -> CreatedRun:
        """Insert the run; if this process has a worker with a free place, already leased to it.

        A crash right after the insert leaves a leased run, which is taken up like any other whose process died.
        """
        dispatcher = self.dispatcher
        reservation = None if dispatcher is None else dispatcher.reserve()
        if dispatcher is None or reservation is None:
            created = await create_within_queue(self._services, definition, run)
            if created.created:
                self.notifications.work_available()
            return created
        leased = replace(run, status=RunStatus.RUNNING, locked_by=reservation.token, locked_until=reservation.until)
        try:
            created = await create_within_queue(self._services, definition, leased)
        except BaseException:
            dispatcher.give_back(reservation)
            raise
        if created.created:
            dispatcher.use(reservation, created.run)
        else:
            dispatcher.give_back(reservation)
        return created

    def _new_run(
        self,
        workflow: Callable[..., Any] | str,
        input: Any,
        *,
        run_id: str | None,
        version: str | None,
        tags: Collection[str],
        search_attributes: SearchAttributes | None,
        priority: int | None,
    ) -> tuple[WorkflowDefinition, Run]:
        """The checked run that a start asks for."""
        definition = self.registry.resolve(workflow, version)
        now = self.clock.now()
        encoded = encode_input(self._codec, definition, input, given=input is not NO_INPUT)
        return definition, Run(
            id=str(uuid.uuid4()) if run_id is None else _checked_id(run_id),
            workflow=definition.name,
            workflow_version=definition.version,
            input=encoded,
            tags=labelled(self._codec, definition, encoded, tags),
            search_attributes=checked_attributes(self._codec, definition, search_attributes or {}),
            priority=priority,
            namespace=self.config.namespace or DEFAULT_NAMESPACE,
            origin=definition.origin,
            expires_at=None if definition.execution_timeout is None else now + definition.execution_timeout,
            traceparent=current_traceparent(),
            created_at=now,
            updated_at=now,
        )

    def _handle(self, run_id: str, output_type: Any, *, created: bool) -> RunHandle[Any]:
        return RunHandle(
            run_id,
            created=created,
            output_type=output_type,
            store=self.store,
            clock=self.clock,
            codec=self._codec,
            notifications=self.notifications,
        )


def _own_workflows(workflows: Sequence[WorkflowDefinition], entities: Sequence[type]) -> list[WorkflowDefinition]:
    """What the engine itself runs on behalf of these workflows."""
    collecting = any(each.debounce is not None or each.batch is not None for each in workflows)
    return [*(accumulators() if collecting else []), *([entity_workflow()] if entities else [])]


def _checked_id(run_id: str) -> str:
    if not run_id or len(run_id) > _ID_LIMIT or not run_id.isprintable():
        raise InputValidationError(f"a run id has 1 to {_ID_LIMIT} printable characters, {run_id[:80]!r} does not")
    return run_id
