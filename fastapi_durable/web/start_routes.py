"""The console's routes that start runs: one for any name, and those for one workflow with its input's JSON Schema."""

import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final, Union

from fastapi import APIRouter, Response
from pydantic import create_model
from pydantic.annotated_handlers import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.definition import WorkflowDefinition
from fastapi_durable.declare.signature import NO_DEFAULT, NoInput
from fastapi_durable.engine.runs.input import NO_INPUT
from fastapi_durable.model.errors import DefinitionError
from fastapi_durable.web.bodies import StartRun
from fastapi_durable.web.problems import NotPermittedError, ProblemRoute, problem_responses
from fastapi_durable.web.schemas import Name, RunStarted
from fastapi_durable.web.scope import ConsoleScope, ScopeDep

_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.~-]*")
"""Names of workflows that get their own route. Other names would need quoting in a path."""


async def start_run(workflow: Name, body: StartRun, response: Response, scope: ScopeDep) -> RunStarted:
    """Start a workflow by its name. The input is checked against the workflow's type (see `listWorkflows`)."""
    return await _start(workflow, body, response, scope)


async def _start(workflow: str, body: StartRun, response: Response, scope: ConsoleScope) -> RunStarted:
    if not scope.may_start:
        raise NotPermittedError("runs are created in the module's own namespace, which the caller does not see")
    if body.run_id is not None and await scope.store.find_run(body.run_id) is None:
        other = await scope.runtime.store.find_run(body.run_id)
        if other is not None:
            raise NotPermittedError(f"the id {body.run_id!r} is already used")
    handle = await scope.runtime.service.start(
        workflow,
        body.input if "input" in body.model_fields_set else NO_INPUT,
        run_id=body.run_id,
        version=body.version,
        tags=body.tags,
        search_attributes=body.search_attributes,
        priority=body.priority,
        queue=body.queue,
        fairness_key=body.fairness_key,
        delay=body.delay,
        at=body.at,
        if_exists=body.if_exists,
    )
    if not handle.created:
        response.status_code = HTTPStatus.OK
    return RunStarted(run_id=handle.run_id, created=handle.created)


def start_routes(workflows: Sequence[WorkflowDefinition]) -> APIRouter:
    """Return a route for each workflow, described by its input, and one for any name below them."""
    router = APIRouter(route_class=ProblemRoute)
    answers = {
        **problem_responses(
            HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS
        ),
        200: {"model": RunStarted, "description": "A run with this id existed before."},
    }
    versions: dict[str, list[WorkflowDefinition]] = {}
    for each in workflows:
        versions.setdefault(each.name, []).append(each)
    codec, taken = Codec(), {"startRun"}
    for name, definitions in sorted(versions.items()):
        body = _body(name, definitions, codec) if _PLAIN_NAME.fullmatch(name) else None
        operation_id = f"start{_camel(name)}"
        if body is None or operation_id in taken:
            continue
        taken.add(operation_id)
        router.post(
            f"/workflows/{name}/runs",
            operation_id=operation_id,
            summary=f"Start {name}",
            description=f"Start a run of the workflow `{name}`.",
            status_code=201,
            responses=answers,
        )(_starter(name, body))
    router.post("/workflows/{workflow}/runs", operation_id="startRun", status_code=201, responses=answers)(start_run)
    return router


def _starter(name: str, model: type[StartRun]) -> Callable[..., Awaitable[RunStarted]]:
    async def start(body: StartRun, response: Response, scope: ScopeDep) -> RunStarted:
        return await _start(name, body, response, scope)

    start.__annotations__["body"] = model
    return start


def _body(name: str, definitions: Sequence[WorkflowDefinition], codec: Codec) -> type[StartRun] | None:
    """Return the request body that starts a workflow. None if its input cannot be described."""
    inputs = [each.input_type for each in definitions if each.input_type is not NoInput]
    if not inputs:
        declared: Any = (None, None)
    else:
        documented = Annotated[Any, _DocumentedAs(Union[tuple(inputs)], codec)]  # noqa: UP007 (of a list)
        is_required = all(each.input_type is not NoInput and each.default is NO_DEFAULT for each in definitions)
        declared = (documented, ... if is_required else None)
    try:
        model: type[StartRun] = create_model(f"Start{_camel(name)}", __base__=StartRun, input=declared)
        model.model_json_schema()
    except (DefinitionError, PydanticInvalidForJsonSchema):
        return None
    return model


class _DocumentedAs:
    """Any value for validation, and the JSON Schema of a type in the document.

    The engine validates the value from JSON, with the type of the started version.
    """

    def __init__(self, declared: Any, codec: Codec) -> None:
        self._schema = codec.adapter(declared).core_schema

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.any_schema()

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(self._schema)


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))
