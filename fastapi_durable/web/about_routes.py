"""The console's reading routes for workflows and for the caller's permissions."""

import inspect

from fastapi import APIRouter

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.web.problems import ProblemRoute, problem_responses
from fastapi_durable.web.schemas import ConsoleInfo, UserView, WorkflowList, WorkflowView, json_schema_of
from fastapi_durable.web.scope import ScopeDep

_OPERATIONS = (
    "start",
    "signal",
    "publish",
    "update",
    "operation",
    "cancel",
    "pause",
    "continue",
    "retry",
    "fork",
    "delete",
    "bulk",
    "schedule",
)


async def read_console(scope: ScopeDep) -> ConsoleInfo:
    """Return what this console shows to the caller, and which actions it offers."""
    hidden = set() if scope.sees_everything else {"publish"}
    hidden |= set() if scope.may_start else {"start", "schedule", "operation"}
    return ConsoleInfo(
        namespace=scope.namespace,
        may_operate=scope.may_operate,
        actions=[each for each in _OPERATIONS if each not in hidden] if scope.may_operate else [],
        user=None if scope.user is None else UserView(name=scope.user.name, role=scope.user.role),
        role=scope.runtime.role,
        store=type(scope.runtime.store).__name__,
    )


async def list_workflows(scope: ScopeDep) -> WorkflowList:
    """List the workflows of this application, with the JSON Schema of their inputs."""
    registry = scope.runtime.kernel.registry
    codec = Codec()
    return WorkflowList(
        workflows=[_view(each, codec, newest=registry.get(each.name) is each) for each in registry.declared]
    )


def _view(definition: WorkflowDefinition, codec: Codec, *, newest: bool) -> WorkflowView:
    description = inspect.getdoc(definition.function)
    return WorkflowView(
        name=definition.name,
        version=definition.version,
        newest=newest,
        description=None if description is None else description[:2000],
        tags=list(definition.tags),
        updates=sorted(definition.updates),
        takes_input=definition.input_type is not NoInput,
        input_schema=json_schema_of(definition.input_type, codec),
    )


def about_routes() -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=ProblemRoute)
    router.get("/console", operation_id="readConsole", responses=problem_responses())(read_console)
    router.get("/workflows", operation_id="listWorkflows", responses=problem_responses())(list_workflows)
    return router
