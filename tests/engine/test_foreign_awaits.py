"""A body that waits for something that nothing records is told of once, with the place; nothing else ever is."""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.ambient import current_context
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.interception import StepExecution
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import running_engine
from tests.support.stores import on_every_store

Body = Callable[[WorkflowContext], Awaitable[object]]


@step
async def add(number: int) -> int:
    """A step may await what it likes, and make tasks that do."""
    await asyncio.gather(asyncio.sleep(0.001), to_thread())
    await asyncio.create_task(asyncio.sleep(0.001))
    return number + 1


async def to_thread() -> int:
    return await asyncio.get_running_loop().run_in_executor(None, abs, -1)


def line_of(function: Callable[..., Any], text: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return next(first + number for number, line in enumerate(lines) if text in line)


async def warnings_of(
    store: StateStore, caplog: pytest.LogCaptureFixture, body: Body, *, times: int = 1, **parts: Any
) -> list[str]:
    async def named(ctx: WorkflowContext) -> object:
        return await body(ctx)

    made = workflow(name="watched")(named)
    with caplog.at_level(logging.WARNING, "fastapi_durable"):
        async with running_engine(store, made, **parts) as engine:
            for _ in range(times):
                await engine.execute(made, timeout="60s")
    return [record.getMessage() for record in caplog.records if "Nothing records it" in record.getMessage()]


async def sleeps(ctx: WorkflowContext) -> None:
    await ctx.step(add, 1)
    await asyncio.sleep(0.001)


async def asks_a_thread(ctx: WorkflowContext) -> None:
    await to_thread()
    await ctx.sleep("1ms")


async def asks_in_branches(ctx: WorkflowContext) -> None:
    await asyncio.gather(ctx.step(add, 1), to_thread())


async def asks_in_a_branch_of_the_context(ctx: WorkflowContext) -> None:
    await ctx.gather(ctx.step(add, 1), to_thread())


async def asks_in_a_race(ctx: WorkflowContext) -> None:
    await ctx.race(to_thread(), ctx.step(add, 1))


async def opens_a_connection(ctx: WorkflowContext) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await reader.read()
    writer.close()
    server.close()


async def gathers_plain_futures(ctx: WorkflowContext) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.gather(loop.run_in_executor(None, abs, -1), loop.run_in_executor(None, abs, -1))


async def awaits_a_task_of_others(ctx: WorkflowContext) -> None:
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.Task[None]] = loop.create_future()
    loop.call_soon(lambda: made.set_result(loop.create_task(asyncio.sleep(0.001))))
    while not made.done():  # noqa: ASYNC110 (nothing else may be awaited here)
        await asyncio.sleep(0)
    await made.result()


@asynccontextmanager
async def connected() -> AsyncIterator[None]:
    await asyncio.sleep(0.001)
    yield


async def enters(ctx: WorkflowContext) -> None:
    async with connected():
        await ctx.step(add, 1)


FOREIGN: list[tuple[Body, str, Callable[..., Any], str]] = [
    (sleeps, "asyncio.sleep", sleeps, "asyncio.sleep"),
    (asks_a_thread, "a Future", to_thread, "run_in_executor"),
    (asks_in_branches, "a Future", to_thread, "run_in_executor"),
    (asks_in_a_branch_of_the_context, "a Future", to_thread, "run_in_executor"),
    (asks_in_a_race, "a Future", to_thread, "run_in_executor"),
    (gathers_plain_futures, "a _GatheringFuture", gathers_plain_futures, "await asyncio.gather"),
    (awaits_a_task_of_others, "a Task", awaits_a_task_of_others, "made.result()"),
    (enters, "asyncio.sleep", connected, "asyncio.sleep"),
    (opens_a_connection, "asyncio.open_connection", opens_a_connection, "open_connection"),
]


@pytest.mark.parametrize(("body", "awaited", "where", "text"), FOREIGN, ids=[each[0].__name__ for each in FOREIGN])
async def test_the_first_foreign_wait_of_a_workflow_is_told_of_once_with_its_place(
    store: StateStore,
    caplog: pytest.LogCaptureFixture,
    body: Body,
    awaited: str,
    where: Callable[..., Any],
    text: str,
) -> None:
    (message,) = await warnings_of(store, caplog, body, times=3)
    assert message.startswith(
        f"the body of workflow 'watched' awaits {awaited} at {__file__}:{line_of(where, text)}. "
    ), message


async def every_call(ctx: WorkflowContext) -> None:
    await ctx.step(add, 1)
    await ctx.local_step("here", to_thread)
    await ctx.sleep("1ms")
    await ctx.now()
    await ctx.side_effect(lambda: 1)
    await ctx.set_value("stage", 1)


async def branches(ctx: WorkflowContext) -> None:
    async def two() -> None:
        await ctx.step(add, 1)
        await ctx.sleep("1ms")

    await asyncio.gather(two(), two(), ctx.step(add, 1))
    await ctx.gather(two(), ctx.step(add, 1))
    await ctx.race(two(), ctx.sleep("1h"))
    async with asyncio.TaskGroup() as group:
        group.create_task(two())
        group.create_task(ctx.step(add, 2))
    task = asyncio.create_task(two())
    await asyncio.shield(task)
    await asyncio.gather(task)
    await asyncio.wait([asyncio.ensure_future(two())])


async def collected(ctx: WorkflowContext) -> None:
    for each in asyncio.as_completed([ctx.step(add, 1), ctx.step(add, 2)]):
        await each


async def limits(ctx: WorkflowContext) -> None:
    async with asyncio.timeout(60):
        await ctx.step(add, 1)
        await asyncio.gather(ctx.step(add, 1), ctx.step(add, 2))
    await asyncio.wait_for(ctx.step(add, 1), 60)
    await asyncio.wait_for(asyncio.gather(ctx.step(add, 1), ctx.sleep("1ms")), 60)
    await asyncio.sleep(0)


async def meetings(ctx: WorkflowContext) -> None:
    lock, event, queue = asyncio.Semaphore(1), asyncio.Event(), asyncio.Queue[int]()
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def guarded(number: int) -> None:
        async with lock:
            await ctx.step(add, number)

    async def give() -> None:
        await ctx.step(add, 1)
        event.set()
        await ctx.step(add, 2)
        queue.put_nowait(1)
        await ctx.step(add, 3)
        future.set_result(1)

    async def take() -> None:
        await event.wait()
        await queue.get()
        await future

    await asyncio.gather(*map(guarded, range(3)), give(), take())


async def helpers(ctx: WorkflowContext) -> None:
    @asynccontextmanager
    async def around() -> AsyncIterator[int]:
        number = await current_context().step(add, 1)
        yield number
        await ctx.sleep("1ms")

    async def numbers() -> AsyncIterator[int]:
        for number in range(2):
            yield await ctx.step(add, number)

    class Awaitable:
        def __await__(self) -> Any:
            return ctx.step(add, 1).__await__()

    async with around() as number:
        await ctx.step(add, number)
    async for number in numbers():
        await ctx.step(add, number)
    await anext(numbers())
    await Awaitable()


SOUND: list[Body] = [every_call, branches, collected, limits, meetings, helpers]


@pytest.mark.parametrize("body", SOUND)
@on_every_store
async def test_calls_of_the_context_are_never_told_of(
    store: StateStore, caplog: pytest.LogCaptureFixture, body: Body
) -> None:
    """However a body arranges them: in tasks, groups, limits, locks, helpers and generators."""
    assert await warnings_of(store, caplog, body) == []


@asynccontextmanager
async def pinging(_: StepExecution) -> AsyncIterator[None]:
    """Waits, and has a task beside the step that waits as well."""
    ping = asyncio.create_task(asyncio.sleep(60))
    await to_thread()
    try:
        yield
    finally:
        ping.cancel()


class Connecting:
    """Opens a dependency of the body, with a task of its own, around every turn."""

    def check(self, function: Callable[..., Any]) -> None:
        pass

    @asynccontextmanager
    async def provide(self, function: Callable[..., Any]) -> AsyncIterator[dict[str, Any]]:
        async with pinging(None):  # type: ignore[arg-type]
            yield {}


async def test_interceptors_and_dependencies_await_what_they_like(
    store: StateStore, caplog: pytest.LogCaptureFixture
) -> None:
    assert await warnings_of(store, caplog, branches, interceptors=[pinging], injector=Connecting()) == []
