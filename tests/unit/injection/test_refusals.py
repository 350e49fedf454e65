"""What cannot be supplied without a request is refused before a step runs, with a reason and a way out."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from fastapi import BackgroundTasks, Body, Cookie, Depends, Header, Path, Query, Request, Response, WebSocket
from fastapi.security import OAuth2PasswordBearer, SecurityScopes
from starlette.requests import HTTPConnection

from fastapi_durable.app.runtime import StandaloneApplication
from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.injection import DependencyResolver
from fastapi_durable.model.errors import InjectionError

if TYPE_CHECKING:
    from decimal import Decimal


@pytest.fixture
def resolver() -> DependencyResolver:
    return DependencyResolver(StandaloneApplication())


def refusal(resolver: DependencyResolver, function: Callable[..., Any]) -> str:
    with pytest.raises(InjectionError) as caught:
        resolver.check(function)
    return str(caught.value)


@pytest.mark.parametrize("bound", [Request, WebSocket, HTTPConnection, Response, BackgroundTasks, SecurityScopes])
async def test_what_exists_only_in_a_request_is_refused_by_its_type(resolver: DependencyResolver, bound: Any) -> None:
    async def charge(order: str, *, it: bound) -> None: ...

    assert refusal(resolver, charge).startswith(
        f"parameter 'it' of step 'charge' is bound to a request ({bound.__name__})"
    )


@pytest.mark.parametrize("marker", [Header(), Query(), Path(), Cookie(), Body()])
async def test_what_fastapi_reads_from_a_request_is_refused_even_with_a_default(
    resolver: DependencyResolver, marker: Any
) -> None:
    async def tenant(name: Annotated[str, marker] = "acme") -> str:
        return name

    async def charge(*, tenant: Annotated[str, Depends(tenant)]) -> None: ...

    message = refusal(resolver, charge)
    assert "'name' of dependency 'tenant'" in message
    assert f"is read from a request ({type(marker).__name__})" in message


async def test_a_parameter_that_fastapi_would_take_from_the_query_is_refused(resolver: DependencyResolver) -> None:
    async def page(size: int) -> int:
        return size

    async def charge(*, page: Annotated[int, Depends(page)]) -> None: ...

    assert "'size' of dependency 'page' (which step 'charge' needs" in refusal(resolver, charge)


async def test_the_error_names_the_step_the_way_to_the_parameter_and_the_mend(resolver: DependencyResolver) -> None:
    async def token(request: Request) -> str:
        return request.headers["authorization"]

    async def user(token: Annotated[str, Depends(token)]) -> str:
        return token

    @step(name="charge card")
    async def charge(order: str, *, payer: Annotated[str, Depends(user)]) -> None: ...

    assert refusal(resolver, charge) == (
        "parameter 'request' of dependency 'token' (which step 'charge card' needs through its parameter 'payer' -> "
        "'token') is bound to a request (Request). Outside a request there is none, and a step may run in another "
        "process, after a restart: pass what it needs from the request as its input"
    )


async def test_a_security_scheme_is_refused(resolver: DependencyResolver) -> None:
    scheme = OAuth2PasswordBearer("token")

    async def charge(*, token: Annotated[str, Depends(scheme)]) -> None: ...

    assert "'request' of dependency 'OAuth2PasswordBearer'" in refusal(resolver, charge)


async def test_a_workflow_is_called_a_workflow(resolver: DependencyResolver) -> None:
    @workflow(name="checkout")
    async def flow(ctx: Any, *, request: Request) -> None: ...

    assert refusal(resolver, flow).startswith("parameter 'request' of workflow 'checkout'")


async def test_a_keyword_only_parameter_without_dependency_and_default_is_refused(resolver: DependencyResolver) -> None:
    async def charge(order: str, *, currency: str) -> None: ...

    assert refusal(resolver, charge) == (
        "parameter 'currency' of step 'charge' has neither a dependency nor a default: write `Annotated[T, Depends(f)]`"
    )


async def test_a_dependency_in_the_place_of_the_input_is_refused(resolver: DependencyResolver) -> None:
    async def charge(clerk: Annotated[str, Depends(str)]) -> None: ...

    assert "put a bare `*` before it" in refusal(resolver, charge)


async def test_an_annotation_that_does_not_exist_at_run_time_is_explained(resolver: DependencyResolver) -> None:
    async def rate(base: "Decimal") -> "Decimal":
        return base

    async def charge(*, rate: "Annotated[Any, Depends(rate)]") -> None: ...

    charge.__annotations__["rate"] = Annotated[Any, Depends(rate)]
    message = refusal(resolver, charge)
    assert "'base' of dependency 'rate'" in message
    assert "Import what it names at run time" in message


async def test_a_refused_step_is_not_executed_either(resolver: DependencyResolver) -> None:
    async def charge(*, request: Request) -> None: ...

    with pytest.raises(InjectionError):
        async with resolver.provide(charge):
            pytest.fail("the step was executed")


async def test_a_signature_that_cannot_be_read_is_refused(resolver: DependencyResolver) -> None:
    async def charge(*, it: Annotated[Any, Depends(min)]) -> None: ...

    assert "signature cannot be read" in refusal(resolver, charge)
