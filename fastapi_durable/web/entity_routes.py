"""The console's routes for entities: the list, their state, and operations from outside."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from fastapi_durable.declare.codec import Codec
from fastapi_durable.declare.entity import EntityDefinition
from fastapi_durable.declare.signature import NoInput
from fastapi_durable.engine.primitives.entity_message import entity_run_id
from fastapi_durable.engine.runs.input import NO_INPUT
from fastapi_durable.engine.runs.namespaces import namespace_of
from fastapi_durable.model.errors import EntityNotRegisteredError
from fastapi_durable.web.bodies import SendOperation
from fastapi_durable.web.problems import NotPermittedError, ProblemRoute, problem_responses
from fastapi_durable.web.schemas import EntityKey, Name, json_schema_of
from fastapi_durable.web.scope import ConsoleScope, ScopeDep


class OperationView(BaseModel):
    """An operation of an entity."""

    name: str
    takes_input: bool
    input_schema: dict[str, Any] | None = Field(description="JSON Schema of the input; null where there is none.")


class EntityView(BaseModel):
    """An entity that this application knows. Each key of it is a run of the workflow `__entity`."""

    name: str
    state_schema: dict[str, Any] | None
    operations: list[OperationView]


class EntityList(BaseModel):
    entities: list[EntityView]


class EntityState(BaseModel):
    """The state after the last operation. Null before the first one is recorded."""

    run_id: str
    state: Any = None


class OperationSent(BaseModel):
    """The operation is stored. The entity executes it in turn."""

    run_id: str


def entity_routes(definitions: Sequence[EntityDefinition]) -> APIRouter:
    """Return the routes that read entities."""
    router = APIRouter(route_class=ProblemRoute)
    codec = Codec()
    known = {each.name: each for each in definitions}

    async def list_entities(scope: ScopeDep) -> EntityList:  # noqa: ARG001 (everybody who sees the console)
        """List the entities that this application knows, with the JSON Schema of their states and operations."""
        return EntityList(entities=[_view(each, codec) for _, each in sorted(known.items())])

    async def read_entity(entity: Name, key: EntityKey, scope: ScopeDep) -> EntityState:
        """Read the state of one entity."""
        run_id = _run_id(scope, _known(known, entity), key)
        await scope.run(run_id)
        return EntityState(run_id=run_id, state=await scope.runtime.service.get_entity_state(entity, key))

    not_found = problem_responses(HTTPStatus.NOT_FOUND)
    router.get("/entities", operation_id="listEntities", responses=problem_responses())(list_entities)
    router.get("/entities/{entity}/keys/{key:path}", operation_id="readEntity", responses=not_found)(read_entity)
    return router


def entity_change_routes(definitions: Sequence[EntityDefinition]) -> APIRouter:
    """Return the route that sends operations."""
    router = APIRouter(route_class=ProblemRoute)
    known = {each.name: each for each in definitions}

    async def send_operation(entity: Name, operation: Name, body: SendOperation, scope: ScopeDep) -> OperationSent:
        """Send an operation to an entity, which is created if needed. The caller does not receive the result, but can
        read the state.
        """
        if not scope.may_start:
            raise NotPermittedError("entities live in the module's own namespace, which the caller does not see")
        definition = _known(known, entity)
        if operation not in definition.operations:
            raise EntityNotRegisteredError(f"{entity}.{operation}", sorted(definition.operations))
        await scope.runtime.service.signal_entity(
            entity,
            body.key,
            operation,
            body.input if "input" in body.model_fields_set else NO_INPUT,
            operation_id=body.operation_id,
        )
        return OperationSent(run_id=_run_id(scope, definition, body.key))

    router.post(
        "/entities/{entity}/operations/{operation}",
        operation_id="sendOperation",
        status_code=202,
        responses=problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    )(send_operation)
    return router


def _known(known: dict[str, EntityDefinition], name: str) -> EntityDefinition:
    """Refuse an operation of an unknown entity, which would wait without end."""
    if name not in known:
        raise EntityNotRegisteredError(name, sorted(known))
    return known[name]


def _run_id(scope: ConsoleScope, definition: EntityDefinition, key: str) -> str:
    return entity_run_id(namespace_of(scope.runtime.kernel.config), definition.name, key)


def _view(definition: EntityDefinition, codec: Codec) -> EntityView:
    return EntityView(
        name=definition.name,
        state_schema=json_schema_of(definition.state_type, codec),
        operations=[
            OperationView(
                name=name,
                takes_input=each.input_type is not NoInput,
                input_schema=json_schema_of(each.input_type, codec),
            )
            for name, each in sorted(definition.operations.items())
        ],
    )
