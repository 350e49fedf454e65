"""Durable workflows for FastAPI, on the app's own Prisma schema."""

from fastapi_durable.app.dependencies import (
    DurableHealthDep,
    DurableTasksDep,
    RunGatewayDep,
    SchedulerDep,
    StateStoreDep,
    WorkflowEngineDep,
    WorkflowServiceDep,
)
from fastapi_durable.app.options import DurableOptions
from fastapi_durable.app.runtime import DurableHealth, DurableRuntime
from fastapi_durable.app.settings import DurableSettings, Role
from fastapi_durable.client.blocking import SyncDurableClient, SyncRunHandle
from fastapi_durable.client.client import DurableClient
from fastapi_durable.declare.concurrency import Adaptive
from fastapi_durable.declare.definition import Batch, Singleton, step, workflow
from fastapi_durable.declare.entity import entity, operation
from fastapi_durable.declare.queue import Queue
from fastapi_durable.declare.retry import Backoff, exponential, fixed
from fastapi_durable.engine.context.ambient import current_context
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.interception import StepExecution, StepInterceptor
from fastapi_durable.engine.primitives.race import Winner
from fastapi_durable.engine.primitives.task import TaskTicket
from fastapi_durable.engine.primitives.update import UpdateResult
from fastapi_durable.engine.primitives.webhook import Webhook
from fastapi_durable.engine.runs.bulk_cancellation import BulkCancellation
from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.engine.runs.stream_reader import StreamItem
from fastapi_durable.engine.turns.step_log import current_step
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.engine.upkeep.dead_letter import DeadLetter
from fastapi_durable.engine.upkeep.follow_up import EndedRun
from fastapi_durable.engine.upkeep.retention import Retention, keep
from fastapi_durable.engine.upkeep.schedule import Schedule
from fastapi_durable.engine.upkeep.scheduler import ScheduleInfo, Scheduler
from fastapi_durable.injection import app_scoped
from fastapi_durable.model.errors import DurableError, FatalError, RunFailedError, SignalTimeoutError, StepFailedError
from fastapi_durable.model.records import Run, RunQuery, RunStatus
from fastapi_durable.module import DurableModule
from fastapi_durable.observe.logs import RunContextFilter, log_context
from fastapi_durable.service.facade import RunGateway, WorkflowService
from fastapi_durable.service.tasks import DurableTasks
from fastapi_durable.service.transactions import WorkflowTransaction
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.store.prisma import PrismaStateStore
from fastapi_durable.transport.in_process import InProcessTransport
from fastapi_durable.wakeups.postgresql import PostgresWakeups
from fastapi_durable.wakeups.sqlite import SqliteWakeups
from fastapi_durable.web.login import ConsoleLogin, ConsoleUser, LoginCredentials, LoginCredentialsDep
from fastapi_durable.web.namespaces import ALL_NAMESPACES, AllNamespaces

__all__ = [
    "ALL_NAMESPACES",
    "Adaptive",
    "AllNamespaces",
    "Backoff",
    "Batch",
    "BulkCancellation",
    "ConsoleLogin",
    "ConsoleUser",
    "DeadLetter",
    "DurableClient",
    "DurableError",
    "DurableHealth",
    "DurableHealthDep",
    "DurableModule",
    "DurableOptions",
    "DurableRuntime",
    "DurableSettings",
    "DurableTasks",
    "DurableTasksDep",
    "EndedRun",
    "FatalError",
    "InProcessTransport",
    "LoginCredentials",
    "LoginCredentialsDep",
    "MemoryStateStore",
    "PostgresWakeups",
    "PrismaStateStore",
    "Queue",
    "Retention",
    "Role",
    "Run",
    "RunContextFilter",
    "RunFailedError",
    "RunGateway",
    "RunGatewayDep",
    "RunHandle",
    "RunQuery",
    "RunStatus",
    "Schedule",
    "ScheduleInfo",
    "Scheduler",
    "SchedulerDep",
    "SignalTimeoutError",
    "Singleton",
    "SqliteWakeups",
    "StateStore",
    "StateStoreDep",
    "StepExecution",
    "StepFailedError",
    "StepInterceptor",
    "StreamItem",
    "SyncDurableClient",
    "SyncRunHandle",
    "TaskTicket",
    "Undo",
    "UpdateResult",
    "Webhook",
    "Winner",
    "WorkflowContext",
    "WorkflowEngineDep",
    "WorkflowService",
    "WorkflowServiceDep",
    "WorkflowTransaction",
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
