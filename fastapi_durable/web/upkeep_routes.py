"""The console's routes for schedules and workers."""

from dataclasses import replace
from datetime import datetime
from http import HTTPStatus

from fastapi import APIRouter
from pydantic import BaseModel, Field

from fastapi_durable.engine.upkeep.scheduler import ScheduleInfo
from fastapi_durable.model.duration import parse_duration
from fastapi_durable.model.errors import ScheduleNotFoundError
from fastapi_durable.model.records import WorkerRecord
from fastapi_durable.model.reserved import is_engine_workflow
from fastapi_durable.web.problems import ProblemRoute, problem_responses
from fastapi_durable.web.schemas import Name
from fastapi_durable.web.scope import ConsoleScope, ScopeDep


class ScheduleView(BaseModel):
    """A schedule of a workflow."""

    key: str
    workflow: str
    cron: str | None
    every_seconds: float | None
    timezone: str
    paused: bool
    last_fire_at: datetime | None
    last_run_id: str | None
    next_fire_at: datetime | None
    refusal: str | None = Field(description="Why the latest window that was due started no run; null if it did.")

    @classmethod
    def of(cls, info: ScheduleInfo, scope: ConsoleScope) -> "ScheduleView":
        schedule = info.schedule
        return cls(
            key=schedule.key,
            workflow=scope.runtime.kernel.registry.resolve(schedule.workflow).name,
            cron=schedule.cron,
            every_seconds=None if schedule.every is None else parse_duration(schedule.every).total_seconds(),
            timezone=schedule.timezone,
            paused=info.paused,
            last_fire_at=info.last_fire_at,
            last_run_id=info.last_run_id,
            next_fire_at=info.next_fire_at,
            refusal=None if info.refusal is None else info.refusal.message,
        )


class ScheduleList(BaseModel):
    schedules: list[ScheduleView]


class ScheduleTriggered(BaseModel):
    run_id: str


class WorkerView(BaseModel):
    """A worker that has reported lately."""

    id: str
    host: str
    pid: int
    version: str
    namespace: str | None
    workflows: list[str]
    concurrency: int
    in_flight: int
    started_at: datetime
    beat_at: datetime

    @classmethod
    def of(cls, worker: WorkerRecord) -> "WorkerView":
        own = tuple(each for each in worker.workflows if not is_engine_workflow(each))
        return cls.model_validate(replace(worker, workflows=own), from_attributes=True)


class WorkerList(BaseModel):
    workers: list[WorkerView]


async def list_schedules(scope: ScopeDep) -> ScheduleList:
    """List the schedules and their states. Callers who see the module's namespace, in which schedules start runs, see
    the schedules.
    """
    if not scope.may_start:
        return ScheduleList(schedules=[])
    return ScheduleList(schedules=[ScheduleView.of(each, scope) for each in await scope.runtime.schedules.listing()])


async def list_workers(scope: ScopeDep) -> WorkerList:
    """List the workers that reported within the last 30 seconds, with their load."""
    return WorkerList(
        workers=[WorkerView.of(each) for each in await scope.gateway.workers() if _drives_for(each, scope)]
    )


def _drives_for(worker: WorkerRecord, scope: ConsoleScope) -> bool:
    """Return whether the worker drives runs that the caller sees. Tenants do not see workers of all namespaces."""
    if scope.namespace is None or worker.namespace == scope.namespace:
        return True
    return worker.namespace is None and scope.sees_everything


async def trigger_schedule(key: Name, scope: ScopeDep) -> ScheduleTriggered:
    """Start a run of the schedule now, in addition to its windows."""
    _require_seen(key, scope)
    return ScheduleTriggered(run_id=await scope.runtime.schedules.trigger(key))


async def pause_schedule(key: Name, scope: ScopeDep) -> ScheduleList:
    """Pause a schedule: its windows start no runs, on any worker, until it is resumed."""
    _require_seen(key, scope)
    await scope.runtime.schedules.pause(key)
    return await list_schedules(scope)


async def resume_schedule(key: Name, scope: ScopeDep) -> ScheduleList:
    """Resume a schedule from its next window."""
    _require_seen(key, scope)
    await scope.runtime.schedules.resume(key)
    return await list_schedules(scope)


def _require_seen(key: str, scope: ConsoleScope) -> None:
    if not scope.may_start:
        raise ScheduleNotFoundError(key)


def upkeep_routes() -> APIRouter:
    """Return the routes that read schedules and workers."""
    router = APIRouter(route_class=ProblemRoute)
    router.get("/schedules", operation_id="listSchedules", responses=problem_responses())(list_schedules)
    router.get("/workers", operation_id="listWorkers", responses=problem_responses())(list_workers)
    return router


def schedule_change_routes() -> APIRouter:
    """Return the routes that change schedules."""
    router = APIRouter(route_class=ProblemRoute)
    known = problem_responses(HTTPStatus.NOT_FOUND)
    router.post("/schedules/{key}/trigger", operation_id="triggerSchedule", status_code=201, responses=known)(
        trigger_schedule
    )
    router.post("/schedules/{key}/pause", operation_id="pauseSchedule", responses=known)(pause_schedule)
    router.post("/schedules/{key}/resume", operation_id="resumeSchedule", responses=known)(resume_schedule)
    return router
