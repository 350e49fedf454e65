"""`dependency_overrides` reach whatever is resolved outside a request."""

from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from fastapi import Depends, Request

from fastapi_durable.app.runtime import StandaloneApplication
from fastapi_durable.injection import DependencyResolver, app_scoped
from fastapi_durable.injection.application_scope import entered_scope
from fastapi_durable.model.errors import InjectionError


async def card_gateway() -> str:
    return "real gateway"


async def charger(gateway: Annotated[str, Depends(card_gateway)]) -> str:
    return f"charger of {gateway}"


async def step(*, gateway: Annotated[str, Depends(card_gateway)], charger: Annotated[str, Depends(charger)]) -> None:
    """A step that needs the gateway, directly and at one remove."""


async def test_an_override_replaces_a_dependency_wherever_it_is_nested() -> None:
    app = StandaloneApplication({card_gateway: lambda: "fake gateway"})
    async with DependencyResolver(app).provide(step) as arguments:
        assert arguments == {"gateway": "fake gateway", "charger": "charger of fake gateway"}


async def test_overrides_count_as_they_are_when_the_step_is_executed() -> None:
    app = StandaloneApplication()
    resolver = DependencyResolver(app)
    resolver.check(step)
    app.dependency_overrides[card_gateway] = lambda: "fake gateway"
    async with resolver.provide(step) as arguments:
        assert arguments["gateway"] == "fake gateway"
    app.dependency_overrides.clear()
    async with resolver.provide(step) as arguments:
        assert arguments["gateway"] == "real gateway"


async def test_an_override_has_dependencies_and_clean_up_of_its_own() -> None:
    events: list[str] = []

    async def recorder() -> list[str]:
        return events

    async def fake(events: Annotated[list[str], Depends(recorder)]) -> AsyncIterator[str]:
        yield "fake gateway"
        events.append("cleaned up")

    async with DependencyResolver(StandaloneApplication({card_gateway: fake})).provide(step) as arguments:
        assert arguments["gateway"] == "fake gateway"
    assert events == ["cleaned up"]


async def test_an_override_that_needs_a_request_is_refused_in_a_step() -> None:
    def from_request(request: Request) -> str:
        return request.url.path

    resolver = DependencyResolver(StandaloneApplication({card_gateway: from_request}))
    with pytest.raises(InjectionError, match="'request' of dependency 'from_request'"):
        resolver.check(step)
    with pytest.raises(InjectionError, match="'request' of dependency 'from_request'"):
        async with resolver.provide(step):
            pytest.fail("the step was executed")


async def test_an_override_that_needs_what_it_overrides_is_refused_by_name() -> None:
    async def wrapping(gateway: Annotated[str, Depends(card_gateway)]) -> str:
        return f"logged {gateway}"

    resolver = DependencyResolver(StandaloneApplication({card_gateway: wrapping}))
    with pytest.raises(InjectionError, match=r"form a cycle, got .*wrapping.* -> .*wrapping"):
        resolver.check(step)
    with pytest.raises(InjectionError, match="form a cycle"):
        async with resolver.provide(step):
            pytest.fail("the step was executed")


async def test_an_app_scoped_dependency_and_what_it_needs_can_be_overridden() -> None:
    async def url() -> str:
        return "production"

    @app_scoped
    async def client(url: Annotated[str, Depends(url)]) -> str:
        return f"client of {url}"

    async def needs_client(*, client: Annotated[str, Depends(client)]) -> None: ...

    app = StandaloneApplication({url: lambda: "test"})
    async with entered_scope(app), DependencyResolver(app).provide(needs_client) as arguments:
        assert arguments == {"client": "client of test"}
    app = StandaloneApplication({client: lambda: "fake client"})
    async with entered_scope(app), DependencyResolver(app).provide(needs_client) as arguments:
        assert arguments == {"client": "fake client"}


async def test_an_override_may_be_app_scoped() -> None:
    entered: list[str] = []

    @app_scoped
    async def test_client() -> str:
        entered.append("entered")
        return "test client"

    app = StandaloneApplication({card_gateway: test_client})
    resolver = DependencyResolver(app)
    async with entered_scope(app):
        for _ in range(2):
            async with resolver.provide(step) as arguments:
                assert arguments["gateway"] == "test client"
    assert entered == ["entered"]
