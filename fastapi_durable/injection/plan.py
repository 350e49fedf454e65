"""The parameters of a function to inject, read from its signature once.

The rules are FastAPI's: `Annotated[T, Depends(f)]`, or `= Depends(f)` as the default. A parameter that FastAPI would
take from the request has no source outside a request, so it is refused with a reason.
"""

import functools
import inspect
import typing
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Annotated, Any, Protocol, get_args, get_origin

from fastapi import params
from fastapi.security import SecurityScopes
from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection
from starlette.responses import Response
from typing_inspection.typing_objects import is_typealiastype

from fastapi_durable.declare.annotations import local_names
from fastapi_durable.declare.methods import STEP, Method

_REQUEST_TYPES = (HTTPConnection, Response, BackgroundTasks, SecurityScopes)
"""`Request` and `WebSocket` are connections."""


class Kind(Enum):
    """How a dependency is called."""

    ASYNC_GENERATOR = auto()
    GENERATOR = auto()
    COROUTINE = auto()
    SYNC = auto()


class Limit(Protocol):
    """The limit of `Depends(..., max_concurrency=n)`, in the versions of FastAPI that have it."""

    def get_semaphore(self) -> AbstractAsyncContextManager[object]:
        """Return the semaphore that routes and steps share."""
        ...


@dataclass(frozen=True, slots=True)
class Dependency:
    """A parameter to inject, and the source of its value. `limit` bounds how many values may be in use at a time."""

    parameter: str
    call: Callable[..., Any]
    use_cache: bool
    limit: Limit | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A parameter that cannot be supplied; `reason` continues the sentence "parameter 'x' of step 'y' ..."."""

    parameter: str
    reason: str
    request_bound: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The injected parameters of one callable. The plan does not keep the callable itself alive.

    `label` names it in errors, such as "step 'charge'".
    """

    label: str
    kind: Kind
    dependencies: tuple[Dependency, ...]
    refusal: Refusal | None


def plan_of_step(function: Callable[..., Any]) -> Plan:
    """Return the plan of a step or workflow. Its keyword-only parameters are injected, and the engine passes the
    others.
    """
    described: Any = function
    if isinstance(function, Method):
        described = function.owner if function.function is getattr(function.owner, "run", None) else function.function
    declared = getattr(described, "__durable_workflow__", None)
    noun = "step" if declared is None else "workflow"
    declared = declared or getattr(described, STEP, None) or {}
    label = f"{noun} {declared.get('name') or name_of(described)!r}"
    if not isinstance(function, Method):
        return _read(function, label, keyword_only=True)
    plan = _read(function.function, label, keyword_only=True)
    # The instance is created like `Depends(Class)` in a route: each time, from dependencies that the method shares.
    instance = Dependency("self", function.owner, use_cache=True, limit=None)
    return replace(plan, dependencies=(instance, *plan.dependencies))


def plan_of_dependency(function: Callable[..., Any]) -> Plan:
    """Return the plan of a dependency. All its parameters are injected."""
    return _read(function, f"dependency {name_of(function)!r}", keyword_only=False)


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a callable for errors."""
    plain = _unpartial(function)
    return getattr(plain, "__qualname__", type(plain).__qualname__).rpartition("<locals>.")[2]


def _read(function: Callable[..., Any], label: str, *, keyword_only: bool) -> Plan:
    dependencies: list[Dependency] = []
    refusal: Refusal | None = None
    kind = _kind(function)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        return Plan(label, kind, (), Refusal("?", f"is not known: its signature cannot be read ({error})"))
    for parameter in signature.parameters.values():
        try:
            found = _source(function, parameter, keyword_only=keyword_only)
        except NameError as error:
            found = Refusal(
                parameter.name,
                f"has an annotation that cannot be read: {error}. Import what it names at run time, not under "
                "TYPE_CHECKING",
            )
        if isinstance(found, Dependency):
            dependencies.append(found)
        elif found is not None and refusal is None:
            refusal = found
    return Plan(label, kind, tuple(dependencies), refusal)


def _source(
    function: Callable[..., Any], parameter: inspect.Parameter, *, keyword_only: bool
) -> Dependency | Refusal | None:
    """Return the source of the value. None: the parameter has a default, or the engine passes it."""
    name = parameter.name
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return None
    declared, markers = _unwrapped_annotation(_annotation(function, parameter))
    if isinstance(parameter.default, params.Depends | params.Param | params.Body):
        markers = [*markers, parameter.default]
    depends = next((marker for marker in reversed(markers) if isinstance(marker, params.Depends)), None)
    if keyword_only and parameter.kind is not parameter.KEYWORD_ONLY:
        if depends is None:
            return None
        return Refusal(name, "is a dependency in the place of the input: put a bare `*` before it")
    if depends is not None:
        return _dependency(parameter, depends, declared)
    if marker := next((marker for marker in markers if isinstance(marker, params.Param | params.Body)), None):
        return Refusal(name, f"is read from a request ({type(marker).__name__})", request_bound=True)
    if inspect.isclass(declared) and issubclass(declared, _REQUEST_TYPES):
        return Refusal(name, f"is bound to a request ({declared.__name__})", request_bound=True)
    if parameter.default is not parameter.empty:
        return None
    if keyword_only:
        return Refusal(name, "has neither a dependency nor a default: write `Annotated[T, Depends(f)]`")
    return Refusal(
        name, "has neither a dependency nor a default, so FastAPI reads it from a request", request_bound=True
    )


def _dependency(parameter: inspect.Parameter, depends: params.Depends, declared: Any) -> Dependency | Refusal:
    call = depends.dependency if depends.dependency is not None else declared
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return Refusal(parameter.name, "is positional-only, and dependencies are passed by name: remove the `/`")
    if not callable(call) or call is parameter.empty:
        return Refusal(parameter.name, "has `Depends()` without a function, and no class as its type to call instead")
    return Dependency(parameter.name, call, depends.use_cache, getattr(depends, "_concurrency", None))


def _annotation(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return the parameter's annotation. Each is evaluated alone, because the names in the others may not exist at run
    time.
    """
    annotation = parameter.annotation
    if not isinstance(annotation, str):
        return annotation
    plain = inspect.unwrap(_unpartial(function))
    if inspect.isclass(plain):
        plain = plain.__init__
    elif not inspect.isroutine(plain):
        plain = type(plain).__call__
    written = inspect.unwrap(plain)
    globals_ = getattr(written, "__globals__", {})

    class Carrier:
        __annotations__ = {"value": annotation}  # a container for get_type_hints, never instantiated

    return typing.get_type_hints(Carrier, globals_, local_names(written) or globals_, include_extras=True)["value"]


def _unwrapped_annotation(annotation: Any) -> tuple[Any, list[Any]]:
    """Return the bare type and the markers of an annotation, also of one that a `type` statement names."""
    if is_typealiastype(annotation):
        annotation = annotation.__value__
    if get_origin(annotation) is Annotated:
        declared, *markers = get_args(annotation)
        return declared, markers
    return annotation, []


def _kind(function: Callable[..., Any]) -> Kind:
    plain = _unpartial(function)
    for candidate in (plain, inspect.unwrap(plain)):
        if inspect.isclass(candidate):
            return Kind.SYNC
        target = candidate if inspect.isroutine(candidate) else type(candidate).__call__
        if inspect.isasyncgenfunction(target):
            return Kind.ASYNC_GENERATOR
        if inspect.isgeneratorfunction(target):
            return Kind.GENERATOR
        if inspect.iscoroutinefunction(target):
            return Kind.COROUTINE
    return Kind.SYNC


def _unpartial(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return function
