"""One instance an application."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request

from fastapi_durable.app.runtime import StandaloneApplication
from fastapi_durable.injection import DependencyResolver, app_scoped
from fastapi_durable.injection.application_scope import entered_scope, scope_of
from fastapi_durable.model.errors import InjectionError, NotStartedError


class Client:
    pass


async def from_async_generator() -> AsyncIterator[Client]:
    yield Client()


def from_generator() -> Iterator[Client]:
    yield Client()


async def from_coroutine() -> Client:
    return Client()


def from_function() -> Client:
    return Client()


@pytest.mark.parametrize("function", [from_async_generator, from_generator, from_coroutine, from_function, Client])
async def test_everything_in_an_application_gets_the_same_instance(function: Any) -> None:
    get_client = app_scoped(function)

    async def step(*, client: Annotated[Client, Depends(get_client)]) -> None: ...

    app = FastAPI()

    @app.get("/")
    async def read(one: Annotated[Client, Depends(get_client)]) -> int:
        return id(one)

    async with entered_scope(app):
        resolver = DependencyResolver(app)
        async with resolver.provide(step) as first, resolver.provide(step) as second:
            assert isinstance(first["client"], Client)
            assert first["client"] is second["client"]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            assert (await client.get("/")).json() == id(first["client"])


async def test_two_applications_have_two_instances() -> None:
    get_client = app_scoped(Client)
    one, other = StandaloneApplication(), StandaloneApplication()
    async with entered_scope(one) as first, entered_scope(other) as second:
        assert await first.value_of(get_client) is not await second.value_of(get_client)


async def test_instances_are_left_in_reverse_order_when_the_scope_ends() -> None:
    events: list[str] = []

    @app_scoped
    async def pool() -> AsyncIterator[str]:
        events.append("enter pool")
        yield "pool"
        events.append("leave pool")

    @app_scoped
    async def client(pool: Annotated[str, Depends(pool)]) -> AsyncIterator[str]:
        events.append(f"enter client of {pool}")
        yield "client"
        events.append("leave client")

    app = StandaloneApplication()
    async with entered_scope(app) as scope:
        assert await scope.value_of(client) == "client"
        assert await scope.value_of(pool) == "pool"
    assert events == ["enter pool", "enter client of pool", "leave client", "leave pool"]


async def test_what_an_instance_needs_lives_as_long_as_the_instance() -> None:
    events: list[str] = []

    async def socket() -> AsyncIterator[str]:
        yield "socket"
        events.append("socket closed")

    @app_scoped
    async def client(socket: Annotated[str, Depends(socket)]) -> str:
        return f"client of {socket}"

    async with entered_scope(StandaloneApplication()) as scope:
        await scope.value_of(client)
        assert events == []
    assert events == ["socket closed"]


async def test_callers_at_the_same_time_share_one_instance_even_if_one_gives_up() -> None:
    entering, go_on = asyncio.Event(), asyncio.Event()
    entered = 0

    @app_scoped
    async def client() -> Client:
        nonlocal entered
        entered += 1
        entering.set()
        await go_on.wait()
        return Client()

    async with entered_scope(StandaloneApplication()) as scope:
        impatient = asyncio.create_task(scope.value_of(client))
        others = [asyncio.create_task(scope.value_of(client)) for _ in range(3)]
        await entering.wait()
        impatient.cancel()
        go_on.set()
        found = await asyncio.gather(*others)
        assert impatient.cancelled()
        assert entered == 1
        assert len(set(found)) == 1


async def test_a_failed_entering_is_tried_again_by_the_next_caller() -> None:
    attempts = 0

    @app_scoped
    async def client() -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ConnectionError("not yet")
        return "client"

    async with entered_scope(StandaloneApplication()) as scope:
        with pytest.raises(ConnectionError):
            await scope.value_of(client)
        assert await scope.value_of(client) == "client"


async def test_an_instance_that_needs_a_request_is_refused() -> None:
    @app_scoped
    async def client(request: Request) -> str:
        return request.url.path

    async with entered_scope(StandaloneApplication()) as scope:
        with pytest.raises(InjectionError, match="'request' of dependency 'client'"):
            await scope.value_of(client)


async def test_outside_a_lifespan_there_is_no_instance() -> None:
    get_client = app_scoped(Client)
    app = StandaloneApplication()
    with pytest.raises(NotStartedError):
        scope_of(app)
    async with entered_scope(app) as scope:
        pass
    with pytest.raises(NotStartedError):
        await scope.value_of(get_client)
    with pytest.raises(NotStartedError):
        scope_of(app)


async def test_users_of_one_application_share_the_scope_until_the_last_one_leaves() -> None:
    app = StandaloneApplication()
    events: list[str] = []

    @app_scoped
    async def client() -> AsyncIterator[str]:
        yield "client"
        events.append("left")

    async with entered_scope(app) as outer:
        async with entered_scope(app) as inner:
            assert inner is outer
            await inner.value_of(client)
        assert events == []
    assert events == ["left"]


async def test_a_clean_up_that_hangs_ends_at_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    events: list[str] = []

    @app_scoped
    async def good() -> AsyncIterator[str]:
        yield "good"
        events.append("good left")

    @app_scoped
    async def hanging(good: Annotated[str, Depends(good)]) -> AsyncIterator[str]:
        yield good
        await asyncio.Event().wait()

    with caplog.at_level(logging.ERROR, "fastapi_durable"):
        async with entered_scope(StandaloneApplication()) as scope:
            scope.cleanup.seconds = 0.01
            await scope.value_of(hanging)
    assert events == ["good left"]
    assert "the clean-up of " in caplog.text
    assert "hanging takes longer than 0.01 s" in caplog.text


async def test_the_decorated_function_stays_at_hand() -> None:
    """Tests and other frameworks can call it without an application."""
    get_client = app_scoped(from_coroutine)
    assert get_client.function is from_coroutine
    assert get_client.__name__ == "from_coroutine"
