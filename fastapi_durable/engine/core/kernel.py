"""The collaborators of turns and operations. Each engine has one kernel."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import UpdateValidator
from fastapi_durable.declare.entity import EntityDefinition
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.engine.core.delay import Delay
from fastapi_durable.engine.core.delayed_starts import DelayedStarts
from fastapi_durable.engine.core.dispatch import LocalWorker
from fastapi_durable.engine.core.executing import Executions
from fastapi_durable.engine.core.injector import Injector
from fastapi_durable.engine.core.interception import StepInterceptor
from fastapi_durable.engine.core.live_events import LiveEvents
from fastapi_durable.engine.core.live_workers import LiveWorkers
from fastapi_durable.engine.core.notifications import Notifications
from fastapi_durable.engine.core.registry import StepRegistry, WorkflowRegistry
from fastapi_durable.engine.core.stream_writer import StreamWriter
from fastapi_durable.engine.core.subscription import EventSubscriber
from fastapi_durable.model.clock import Clock
from fastapi_durable.store.base import StateStore
from fastapi_durable.transport.base import Transport
from fastapi_durable.transport.threads import Threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """The engine's collaborators.

    Attributes:
        events: Receives live events.
        until_shown: How long a step runs before the store shows it as running.
        streams: Writes the stream items of the runs of this process.
        steps: Steps that can be called by name.
        is_within_transaction: Whether the writes belong to a transaction that the caller commits later.
        interceptors: Surround every real execution of a step.
        subscribers: Take part in publishing every event.
        update_validators: Registered ones, by workflow and name of the update.
        entities: The entities whose operations this engine can execute, by name.
        delayed_starts: How many more runs may be started for later.
        local_worker: Who drives new runs at once.
        live_workers: Those of all processes.
        dead_letter: The workflow that is started for dead runs whose own workflow names none.
        queues: Those that runs may be started on, by name.
        namespaces_with_queues: Where the store is known to have them.
        left_behind: Tasks of bodies that nothing can end.
        told_of_foreign_awaits: Workflows of which the log tells already what they await beside their context.
        executions: The steps and bodies that execute now.
        threads: The threads in which plain `def` functions run.
        random: Returns floats in [0, 1).
    """

    store: StateStore
    transport: Transport
    injector: Injector
    clock: Clock
    codec: Codec
    config: EngineConfig
    registry: WorkflowRegistry
    notifications: Notifications
    events: LiveEvents
    until_shown: Delay
    streams: StreamWriter
    delayed_starts: DelayedStarts
    steps: StepRegistry
    local_worker: LocalWorker
    live_workers: LiveWorkers
    is_within_transaction: bool = False
    interceptors: tuple[StepInterceptor, ...] = ()
    subscribers: list[EventSubscriber] = field(default_factory=list)
    update_validators: dict[tuple[str, str], UpdateValidator] = field(default_factory=dict)
    entities: Mapping[str, EntityDefinition] = field(default_factory=dict)
    dead_letter: Callable[..., Any] | str | None = None
    queues: Mapping[str, Queue] = field(default_factory=dict)
    namespaces_with_queues: set[str] = field(default_factory=set)
    left_behind: set[asyncio.Task[Any]] = field(default_factory=set)
    told_of_foreign_awaits: set[str] = field(default_factory=set)
    executions: Executions = field(default_factory=Executions)
    threads: Threads = field(default_factory=Threads)
    random: Callable[[], float] = random.random
