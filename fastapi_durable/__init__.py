"""Durable workflows for FastAPI, on the app's own Prisma schema."""

from fastapi_durable.clock import Clock, SystemClock
from fastapi_durable.concurrency import Adaptive
from fastapi_durable.definition import Batch, Singleton, step, workflow
from fastapi_durable.engine.context import WorkflowContext
from fastapi_durable.engine.context.ambient import current_context
from fastapi_durable.engine.engine import WorkflowEngine
from fastapi_durable.engine.handle import RunHandle
from fastapi_durable.engine.live_events import LiveEvent, LiveEvents
from fastapi_durable.engine.primitives.race import Winner
from fastapi_durable.engine.primitives.task import TaskTicket
from fastapi_durable.engine.primitives.update import UpdateResult
from fastapi_durable.engine.primitives.webhook import Webhook
from fastapi_durable.engine.runs.bulk import BulkCancellation
from fastapi_durable.engine.turns.interception import StepExecution, StepInterceptor
from fastapi_durable.engine.turns.step_log import StepLog, SubProcess, current_step
from fastapi_durable.engine.turns.subscription import Event, EventSubscriber, PublishedEvent
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.engine.upkeep.dead_letter import DeadLetter
from fastapi_durable.engine.upkeep.retention import Retention, keep
from fastapi_durable.engine.upkeep.schedule import Schedule
from fastapi_durable.engine.upkeep.scheduler import ScheduleInfo, Scheduler
from fastapi_durable.entity import entity, operation
from fastapi_durable.errors import (
    ChildFailedError,
    ConfigurationError,
    DefinitionError,
    DurableError,
    EntityNotRegisteredError,
    EntityOperationError,
    FatalError,
    GatherError,
    InjectionError,
    InputValidationError,
    LeaseLostError,
    NonDeterminismError,
    NotStartedError,
    OutsideWorkflowError,
    ResultTimeoutError,
    RunCancelledError,
    RunDeadError,
    RunFailedError,
    RunIdTakenError,
    RunNotFoundError,
    RunStateError,
    RunUnsuccessfulError,
    ScheduleNotFoundError,
    SchemaMismatchError,
    SerializationError,
    SignalTimeoutError,
    SignalTokenTakenError,
    SingletonQueueFullError,
    StepFailedError,
    StepNotRegisteredError,
    StoreConflictError,
    StoreError,
    StoreUnavailableError,
    TaskFailedError,
    TransactionExpiredError,
    WorkflowNotRegisteredError,
)
from fastapi_durable.gateway import RunGateway
from fastapi_durable.injection import app_scoped
from fastapi_durable.logs import RunContextFilter, log_context
from fastapi_durable.model import Checkpoint, ErrorRecord, Run, RunQuery, RunStatus
from fastapi_durable.module import DurableModule
from fastapi_durable.options import DurableOptions
from fastapi_durable.queue import Queue, QueueLoad, QueueState
from fastapi_durable.retry import Backoff, exponential, fixed
from fastapi_durable.runtime import DurableHealth, DurableRuntime
from fastapi_durable.service import WorkflowService
from fastapi_durable.settings import DurableSettings, Role
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.store.prisma import PrismaStateStore
from fastapi_durable.transport.base import Transport
from fastapi_durable.transport.in_process import InProcessTransport
from fastapi_durable.wakeups.base import Wakeups
from fastapi_durable.wakeups.postgresql import PostgresWakeups
from fastapi_durable.wakeups.sqlite import SqliteWakeups
from fastapi_durable.web.dependencies import (
    DurableHealthDep,
    RunGatewayDep,
    SchedulerDep,
    StateStoreDep,
    WorkflowEngineDep,
    WorkflowServiceDep,
)
from fastapi_durable.web.login import ConsoleLogin, ConsoleUser, LoginCredentials, LoginCredentialsDep

__all__ = [
    "Adaptive",
    "Backoff",
    "Batch",
    "BulkCancellation",
    "Checkpoint",
    "ChildFailedError",
    "Clock",
    "ConfigurationError",
    "ConsoleLogin",
    "ConsoleUser",
    "DeadLetter",
    "DefinitionError",
    "DurableError",
    "DurableHealth",
    "DurableHealthDep",
    "DurableModule",
    "DurableOptions",
    "DurableRuntime",
    "DurableSettings",
    "EntityNotRegisteredError",
    "EntityOperationError",
    "ErrorRecord",
    "Event",
    "EventSubscriber",
    "FatalError",
    "GatherError",
    "InProcessTransport",
    "InjectionError",
    "InputValidationError",
    "LeaseLostError",
    "LiveEvent",
    "LiveEvents",
    "LoginCredentials",
    "LoginCredentialsDep",
    "MemoryStateStore",
    "NonDeterminismError",
    "NotStartedError",
    "OutsideWorkflowError",
    "PostgresWakeups",
    "PrismaStateStore",
    "PublishedEvent",
    "Queue",
    "QueueLoad",
    "QueueState",
    "ResultTimeoutError",
    "Retention",
    "Role",
    "Run",
    "RunCancelledError",
    "RunContextFilter",
    "RunDeadError",
    "RunFailedError",
    "RunGateway",
    "RunGatewayDep",
    "RunHandle",
    "RunIdTakenError",
    "RunNotFoundError",
    "RunQuery",
    "RunStateError",
    "RunStatus",
    "RunUnsuccessfulError",
    "Schedule",
    "ScheduleInfo",
    "ScheduleNotFoundError",
    "Scheduler",
    "SchedulerDep",
    "SchemaMismatchError",
    "SerializationError",
    "SignalTimeoutError",
    "SignalTokenTakenError",
    "Singleton",
    "SingletonQueueFullError",
    "SqliteWakeups",
    "StateStore",
    "StateStoreDep",
    "StepExecution",
    "StepFailedError",
    "StepInterceptor",
    "StepLog",
    "StepNotRegisteredError",
    "StoreConflictError",
    "StoreError",
    "StoreUnavailableError",
    "SubProcess",
    "SystemClock",
    "TaskFailedError",
    "TaskTicket",
    "TransactionExpiredError",
    "Transport",
    "Undo",
    "UpdateResult",
    "Wakeups",
    "Webhook",
    "Winner",
    "WorkflowContext",
    "WorkflowEngine",
    "WorkflowEngineDep",
    "WorkflowNotRegisteredError",
    "WorkflowService",
    "WorkflowServiceDep",
    "app_scoped",
    "current_context",
    "current_step",
    "entity",
    "exponential",
    "fixed",
    "keep",
    "log_context",
    "operation",
    "step",
    "workflow",
]
