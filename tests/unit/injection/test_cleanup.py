"""When and how what was injected is cleaned up."""

import asyncio
import contextvars
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Annotated

import pytest
from fastapi import Depends

from fastapi_durable.app.runtime import StandaloneApplication
from fastapi_durable.injection import DependencyResolver
from fastapi_durable.injection.lifetime import CleanupLimit
from fastapi_durable.transport.threads import Threads


@pytest.fixture
def resolver() -> DependencyResolver:
    return DependencyResolver(StandaloneApplication())


class Boom(Exception):
    pass


async def test_clean_up_happens_in_reverse_order_when_the_step_ends(resolver: DependencyResolver) -> None:
    events: list[str] = []

    async def connection() -> AsyncIterator[str]:
        events.append("connect")
        yield "connection"
        events.append("disconnect")

    def session(connection: Annotated[str, Depends(connection)]) -> Iterator[str]:
        events.append("open")
        yield "session"
        events.append("close")

    async def step(*, session: Annotated[str, Depends(session)]) -> None: ...

    async with resolver.provide(step):
        events.append("step")
    assert events == ["connect", "open", "step", "close", "disconnect"]


async def test_a_generator_sees_the_error_of_the_step_but_cannot_swallow_it(resolver: DependencyResolver) -> None:
    seen: list[BaseException] = []

    async def swallowing() -> AsyncIterator[None]:
        try:
            yield
        except Boom as error:
            seen.append(error)

    async def step(*, _: Annotated[None, Depends(swallowing)]) -> None: ...

    boom = Boom()
    with pytest.raises(Boom):
        async with resolver.provide(step):
            raise boom
    assert seen == [boom]


async def test_an_error_in_a_clean_up_fails_the_step_and_the_rest_is_still_cleaned_up(
    resolver: DependencyResolver,
) -> None:
    events: list[str] = []

    async def outer() -> AsyncIterator[None]:
        try:
            yield
        finally:
            events.append("outer")

    async def inner() -> AsyncIterator[None]:
        yield
        raise Boom

    async def step(*, _1: Annotated[None, Depends(outer)], _2: Annotated[None, Depends(inner)]) -> None: ...

    with pytest.raises(Boom):
        async with resolver.provide(step):
            pass
    assert events == ["outer"]


async def test_what_was_supplied_is_cleaned_up_when_a_later_dependency_fails(resolver: DependencyResolver) -> None:
    events: list[str] = []

    async def first() -> AsyncIterator[None]:
        try:
            yield
        finally:
            events.append("first cleaned up")

    async def second() -> None:
        raise Boom

    async def step(*, _1: Annotated[None, Depends(first)], _2: Annotated[None, Depends(second)]) -> None: ...

    with pytest.raises(Boom):
        async with resolver.provide(step):
            pytest.fail("the step was executed")
    assert events == ["first cleaned up"]


async def test_a_cancelled_step_cleans_up_and_a_second_cancellation_waits_for_it(resolver: DependencyResolver) -> None:
    in_step, cleaning, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    events: list[str] = []

    async def client() -> AsyncIterator[None]:
        try:
            yield
        finally:
            cleaning.set()
            await go_on.wait()
            events.append("closed")

    async def step(*, _: Annotated[None, Depends(client)]) -> None: ...

    async def execute() -> None:
        async with resolver.provide(step):
            in_step.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(execute())
    await in_step.wait()
    task.cancel()
    await cleaning.wait()
    task.cancel()
    asyncio.get_running_loop().call_soon(go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["closed"]


async def test_a_cancellation_during_the_clean_up_of_a_finished_step_is_not_lost(resolver: DependencyResolver) -> None:
    cleaning, go_on = asyncio.Event(), asyncio.Event()

    async def client() -> AsyncIterator[None]:
        yield
        cleaning.set()
        await go_on.wait()

    async def step(*, _: Annotated[None, Depends(client)]) -> None: ...

    async def execute() -> None:
        async with resolver.provide(step):
            pass

    task = asyncio.create_task(execute())
    await cleaning.wait()
    task.cancel()
    asyncio.get_running_loop().call_soon(go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_clean_up_that_fails_does_not_take_the_place_of_a_cancellation(
    resolver: DependencyResolver, caplog: pytest.LogCaptureFixture
) -> None:
    in_step, cleaning, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def broken() -> AsyncIterator[None]:
        try:
            yield
        finally:
            cleaning.set()
            await go_on.wait()
            raise Boom("broken pipe")

    async def step(*, _: Annotated[None, Depends(broken)]) -> None: ...

    async def cancelled_in_the_step() -> None:
        async with resolver.provide(step):
            in_step.set()
            await asyncio.Event().wait()

    async def cancelled_in_the_clean_up() -> None:
        async with resolver.provide(step):
            in_step.set()

    for execute, moment in ((cancelled_in_the_step, in_step), (cancelled_in_the_clean_up, cleaning)):
        for event in (in_step, cleaning, go_on):
            event.clear()
        task = asyncio.create_task(execute())
        await moment.wait()
        task.cancel()
        await cleaning.wait()
        asyncio.get_running_loop().call_soon(go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "broken failed" in caplog.text
        assert "broken pipe" in caplog.text
        caplog.clear()


async def test_a_cancellation_while_a_dependency_is_entered_leaves_it_again(resolver: DependencyResolver) -> None:
    entering = asyncio.Event()
    events: list[str] = []

    async def slow() -> AsyncIterator[None]:
        try:
            entering.set()
            await asyncio.Event().wait()
            yield
        finally:
            events.append("left")

    async def step(*, _: Annotated[None, Depends(slow)]) -> None: ...

    async def execute() -> None:
        async with resolver.provide(step):
            pytest.fail("the step was executed")

    task = asyncio.create_task(execute())
    await entering.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["left"]


@pytest.mark.parametrize("kind", ["def", "generator"])
async def test_a_cancellation_waits_for_the_thread_in_which_a_dependency_is_entered(kind: str) -> None:
    """Or the next attempt would enter it beside the first one. A generator that was entered too late is left again."""
    entering, go_on = threading.Event(), threading.Event()
    events: list[str] = []

    def enter() -> None:
        entering.set()
        assert go_on.wait(60)
        events.append("entered")

    def generator() -> Iterator[None]:
        enter()
        try:
            yield
        finally:
            events.append("left")

    async def step(*, _: Annotated[None, Depends(enter if kind == "def" else generator)]) -> None: ...

    resolver = DependencyResolver(StandaloneApplication(), threads=Threads(timedelta(seconds=60)))

    async def execute() -> None:
        async with resolver.provide(step):
            pytest.fail("the step was executed")

    task = asyncio.create_task(execute())
    await asyncio.to_thread(entering.wait, 60)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=0.05)
    assert not done
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == (["entered"] if kind == "def" else ["entered", "left"])


async def test_a_clean_up_that_hangs_does_not_hold_a_cancelled_step_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    resolver = DependencyResolver(StandaloneApplication(), cleanup=CleanupLimit(seconds=0.01))
    in_step = asyncio.Event()
    events: list[str] = []

    async def stubborn() -> AsyncIterator[None]:
        try:
            yield
        finally:
            try:
                await asyncio.Event().wait()
            finally:
                events.append("gave up")

    async def step(*, _: Annotated[None, Depends(stubborn)]) -> None: ...

    async def execute() -> None:
        async with resolver.provide(step):
            in_step.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(execute())
    await in_step.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=0)
    task.cancel()
    with caplog.at_level(logging.ERROR, "fastapi_durable"), pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["gave up"]
    assert "stubborn takes longer than 0.01 s" in caplog.text


async def test_timeouts_and_task_groups_inside_a_dependency_work(resolver: DependencyResolver) -> None:
    """They belong to one task, so a dependency is entered and left in the same one."""
    events: list[str] = []

    async def group() -> AsyncIterator[asyncio.TaskGroup]:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            yield tasks
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        events.append("left")

    async def step(*, tasks: Annotated[asyncio.TaskGroup, Depends(group)]) -> None: ...

    async def finish() -> None:
        events.append("child")

    async with resolver.provide(step) as arguments:
        arguments["tasks"].create_task(finish())
    assert events == ["child", "left"]


async def test_context_variables_set_by_a_dependency_hold_during_the_step_only(resolver: DependencyResolver) -> None:
    tenant = contextvars.ContextVar("tenant", default="none")

    async def set_tenant() -> AsyncIterator[None]:
        token = tenant.set("acme")
        yield
        tenant.reset(token)

    async def step(*, _: Annotated[None, Depends(set_tenant)]) -> None: ...

    async with resolver.provide(step):
        assert tenant.get() == "acme"
    assert tenant.get() == "none"
