"""Dependencies for routes, WebSockets and steps.

Each raises `NotStartedError` in an application whose lifespan has not run.
"""

from typing import Annotated

from fastapi import Depends

from fastapi_durable.app.runtime import DurableHealth, DurableRuntime, RuntimePart
from fastapi_durable.engine.upkeep.scheduler import Scheduler
from fastapi_durable.service.facade import RunGateway, WorkflowService
from fastapi_durable.service.tasks import DurableTasks
from fastapi_durable.store.base import StateStore

get_durable_runtime: RuntimePart[DurableRuntime] = RuntimePart("get_durable_runtime", lambda runtime: runtime)
get_state_store: RuntimePart[StateStore] = RuntimePart("get_state_store", lambda runtime: runtime.store)
get_workflow_service: RuntimePart[WorkflowService] = RuntimePart(
    "get_workflow_service", lambda runtime: runtime.service
)
get_workflow_engine: RuntimePart[WorkflowService] = RuntimePart("get_workflow_engine", lambda runtime: runtime.service)
get_run_gateway: RuntimePart[RunGateway] = RuntimePart("get_run_gateway", lambda runtime: runtime.service)
get_durable_tasks: RuntimePart[DurableTasks] = RuntimePart(
    "get_durable_tasks", lambda runtime: DurableTasks(runtime.service)
)
get_schedules: RuntimePart[Scheduler] = RuntimePart("get_schedules", lambda runtime: runtime.schedules)

StateStoreDep = Annotated[StateStore, Depends(get_state_store)]
WorkflowServiceDep = Annotated[WorkflowService, Depends(get_workflow_service)]
WorkflowEngineDep = Annotated[WorkflowService, Depends(get_workflow_engine)]
RunGatewayDep = Annotated[RunGateway, Depends(get_run_gateway)]
DurableTasksDep = Annotated[DurableTasks, Depends(get_durable_tasks)]
SchedulerDep = Annotated[Scheduler, Depends(get_schedules)]


async def get_durable_health(runtime: Annotated[DurableRuntime, Depends(get_durable_runtime)]) -> DurableHealth:
    """Return the state of the module in this process. The store is asked, with a limit of two seconds."""
    return await runtime.health()


DurableHealthDep = Annotated[DurableHealth, Depends(get_durable_health)]
