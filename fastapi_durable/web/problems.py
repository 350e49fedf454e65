"""The error responses of routes: RFC 9457 problems.

Only here does an error of the library become an HTTP status code, in our own routes and, on request, in those of the
application.
"""

import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.applications import Starlette

from fastapi_durable.model.errors import (
    ConfigurationError,
    DefinitionError,
    DurableError,
    EntityNotRegisteredError,
    InputValidationError,
    NotStartedError,
    NoWorkerError,
    ResultTimeoutError,
    RunExistsError,
    RunIdTakenError,
    RunNotFoundError,
    RunStateError,
    ScheduleNotFoundError,
    SchemaMismatchError,
    SerializationError,
    SignalTokenTakenError,
    SingletonQueueFullError,
    StoreConflictError,
    StoreError,
    StoreUnavailableError,
    TooManyDelayedStartsError,
    TransactionExpiredError,
    WorkflowNotRegisteredError,
    WorkflowNotServedError,
)

_log = logging.getLogger("fastapi_durable")

PROBLEM_JSON: Final = "application/problem+json"
MAX_BODY: Final = 1_000_000
"""Maximum size of a request's body in bytes."""

_STATUS_OF: Final[Mapping[type[DurableError], HTTPStatus]] = {
    RunNotFoundError: HTTPStatus.NOT_FOUND,
    WorkflowNotRegisteredError: HTTPStatus.NOT_FOUND,
    ScheduleNotFoundError: HTTPStatus.NOT_FOUND,
    EntityNotRegisteredError: HTTPStatus.NOT_FOUND,
    RunStateError: HTTPStatus.CONFLICT,
    RunIdTakenError: HTTPStatus.CONFLICT,
    RunExistsError: HTTPStatus.CONFLICT,
    SignalTokenTakenError: HTTPStatus.CONFLICT,
    SingletonQueueFullError: HTTPStatus.TOO_MANY_REQUESTS,
    TooManyDelayedStartsError: HTTPStatus.TOO_MANY_REQUESTS,
    SerializationError: HTTPStatus.UNPROCESSABLE_ENTITY,
    InputValidationError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ResultTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    NoWorkerError: HTTPStatus.SERVICE_UNAVAILABLE,
    WorkflowNotServedError: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreConflictError: HTTPStatus.SERVICE_UNAVAILABLE,
    TransactionExpiredError: HTTPStatus.SERVICE_UNAVAILABLE,
    # At run time, a request contained the name. A wrong declaration fails at the start.
    DefinitionError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ConfigurationError: HTTPStatus.SERVICE_UNAVAILABLE,
    NotStartedError: HTTPStatus.SERVICE_UNAVAILABLE,
}
_MISTAKES: Final = frozenset(
    {
        WorkflowNotRegisteredError,
        EntityNotRegisteredError,
        SerializationError,
        DefinitionError,
        ConfigurationError,
    }
)
"""Errors that mean a mistake in the code if a route of the application raises them. In our routes, the request contains
the name or the value."""
_HEADERS: Final[Mapping[HTTPStatus, Mapping[str, str]]] = {
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "5"},
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": 'Session realm="fastapi_durable"'},
}


class FieldProblem(BaseModel):
    """One error in the request."""

    where: str
    message: str


class Problem(BaseModel):
    """An answer of media type `application/problem+json` (RFC 9457)."""

    type: str = Field(description="What kind of problem: the name of the error after `urn:fastapi-durable:`.")
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []


class NotPermittedError(DurableError):
    """The caller may not do this."""


class NobodyWaitsError(DurableError):
    """No run that the caller may see waits for the signal."""


class PreconditionFailedError(DurableError):
    """The run is not as the caller saw it."""


class NotSignedInError(DurableError):
    """The console's login requires a session. There is none, or it is over."""


class TooManyAttemptsError(DurableError):
    """Too many attempts to sign in."""


class TooManyStreamsError(DurableError):
    """All places for live streams are taken."""


_STATUS_OF_OWN: Final[Mapping[type[DurableError], HTTPStatus]] = {
    NotPermittedError: HTTPStatus.FORBIDDEN,
    NotSignedInError: HTTPStatus.UNAUTHORIZED,
    NobodyWaitsError: HTTPStatus.NOT_FOUND,
    PreconditionFailedError: HTTPStatus.PRECONDITION_FAILED,
    TooManyAttemptsError: HTTPStatus.TOO_MANY_REQUESTS,
    TooManyStreamsError: HTTPStatus.SERVICE_UNAVAILABLE,
}


class BodyTooLarge(HTTPException):
    """Passes through FastAPI's reading of a body unchanged. Other exceptions would become another error."""

    def __init__(self) -> None:
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body must have at most {MAX_BODY} bytes")


def problem_of(error: DurableError, *, where: str = "console") -> Response:
    """Return the response for an error.

    Args:
        where: Name of the routes in the log, which contains the details that the response hides.
    """
    table = {**_STATUS_OF, **_STATUS_OF_OWN}
    kind = _listed_kind(error, table)
    status = HTTPStatus.INTERNAL_SERVER_ERROR if kind is None else table[kind]
    detail = _neutral(error)
    if detail is not None:
        _log.warning("%s: %s: %s", where, type(error).__name__, error)
    return _private(_response(type(error).__name__, status, detail or str(error), headers=_HEADERS.get(status)))


def add_problem_handler(app: Starlette) -> None:
    """Let the application's own routes answer with problems, except where an error means a mistake in its code."""

    async def answer(request: object, error: Exception) -> Response:
        # An open WebSocket has no status to respond with.
        if not isinstance(request, Request) or not isinstance(error, DurableError):
            raise error
        if _listed_kind(error, _STATUS_OF) in {None, *_MISTAKES}:
            raise error
        return problem_of(error, where="route")

    app.add_exception_handler(DurableError, answer)


def _listed_kind(error: DurableError, table: Mapping[type[DurableError], HTTPStatus]) -> type[DurableError] | None:
    return next((kind for kind in type(error).__mro__ if kind in table), None)


def _private(response: Response) -> Response:
    """Runs are private and change often, so no proxy or browser may store a response."""
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def problem_responses(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return the problems of a route for OpenAPI. Every route may refuse, be overloaded, or find the input invalid."""
    every = {
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        *statuses,
    }
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.get("properties", {})["errors"]["items"] = schema.pop("$defs")["FieldProblem"]
    answers: dict[int | str, dict[str, Any]] = {
        status.value: {"description": status.phrase, "content": {PROBLEM_JSON: {"schema": schema}}}
        for status in sorted(every)
    }
    if HTTPStatus.NOT_FOUND in every:
        # The application responds to a path that fits no route, such as one with a line break.
        answers[HTTPStatus.NOT_FOUND.value]["content"]["application/json"] = {"schema": {}}
    answers[HTTPStatus.BAD_REQUEST.value] = {"description": "The body cannot be read."}
    for status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        answers.setdefault(
            status.value, {"description": f"{status.phrase}: the login or the application refused the request"}
        )
    return answers


class ProblemRoute(APIRoute):
    """A route that responds with problems, and reads at most `MAX_BODY` bytes.

    Errors of the application's own dependencies go to the application's handlers.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(_limited(request))
            except DurableError as error:
                return problem_of(error)
            except RequestValidationError as error:
                return _invalid(error)
            except BodyTooLarge as error:
                return _response("BodyTooLargeError", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, error.detail)

        async def handle(request: Request) -> Response:
            return _private(await answer(request))

        return handle


def _limited(request: Request) -> Request:
    received = 0

    async def receive() -> Any:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY:
            raise BodyTooLarge
        return message

    return Request(request.scope, receive)


def _invalid(error: RequestValidationError) -> Response:
    """Return places and reasons, and never the values, which may be secrets."""
    problems = [
        FieldProblem(where=".".join(str(part) for part in each["loc"]), message=str(each["msg"]))
        for each in error.errors()[:20]
    ]
    return _response(
        "RequestInvalidError", HTTPStatus.UNPROCESSABLE_ENTITY, "the request does not fit its schema", problems
    )


def _neutral(error: DurableError) -> str | None:
    """Return a neutral text for messages that belong into the log: addresses, names of tables, statements, advice to
    developers.
    """
    match error:
        case StoreUnavailableError() | StoreConflictError() | TransactionExpiredError():
            return "the database cannot be used at the moment"
        case NoWorkerError():
            return f"run {error.run_id!r} waits for a worker, and continues when one has started"
        case WorkflowNotServedError():
            return "no worker for this work is running at the moment"
        case NotStartedError():
            return "the application has not started, or is stopping"
        case StoreError():
            return "the database refused what was asked; the application's log says why"
        case SchemaMismatchError():
            return "the database does not fit the application; the application's log says what it lacks"
        case _:
            return None


def _response(
    kind: str,
    status: HTTPStatus,
    detail: str,
    errors: list[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    name = kind.removesuffix("Error")
    slug = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")
    problem = Problem(
        type=f"urn:fastapi-durable:{slug}", title=status.phrase, status=status, detail=detail, errors=errors or []
    )
    body = problem.model_dump(exclude={"errors"} if not errors else None)
    return _ProblemResponse(body, status_code=status, headers=headers, media_type=PROBLEM_JSON)


class _ProblemResponse(JSONResponse):
    def render(self, content: Any) -> bytes:
        # A message may quote half a surrogate pair from the request, which UTF-8 cannot encode.
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
