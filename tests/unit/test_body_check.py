"""Calls that are unsafe in a workflow's body are found by what they are, whatever they are called."""

import asyncio
import datetime
import inspect
import random
import time
import uuid
from asyncio import wait_for as patience
from typing import Annotated, Any

import httpx

from fastapi_durable import RunGatewayDep, WorkflowContext, WorkflowServiceDep
from fastapi_durable.declare.definition import step, workflow, workflow_definition
from fastapi_durable.engine.context.body_check import unsafe_calls


async def racing(ctx: Any) -> None:
    await asyncio.wait([ctx.step("a"), ctx.step("b")], return_when=asyncio.FIRST_COMPLETED)
    for each in asyncio.as_completed([ctx.step("a")]):
        await each


async def impatient(ctx: Any) -> None:
    async with asyncio.timeout(1):
        await ctx.step("a")
    if ctx:
        await patience(ctx.step("a"), 1)


async def sleepy(ctx: Any) -> None:
    await asyncio.sleep(1)
    time.sleep(1)  # noqa: ASYNC251 (what is looked for)


@step
async def pay(cents: int) -> int:
    return cents


async def by_chance(ctx: Any) -> list[Any]:
    return [
        datetime.datetime.now(datetime.UTC),
        time.time(),
        uuid.uuid4(),
        random.random(),
        await pay(1),
        await ctx.side_effect(lambda: random.randint(1, 6)),
        await ctx.step(pay, 1),
    ]


async def sound(ctx: Any) -> list[Any]:
    async def of_a_step() -> None:
        await asyncio.sleep(1)

    await ctx.local_step("closure", of_a_step)
    await ctx.local_step("lambda", lambda: time.sleep(1))
    return list(await asyncio.gather(ctx.step("a"), ctx.sleep("1s")))


def test_races_limits_and_sleeps_are_found_with_their_lines_and_what_to_use_instead() -> None:
    assert [(found.call, found.mend.rpartition("use ")[2]) for found in unsafe_calls(racing)] == [
        ("asyncio.wait", "`ctx.race`"),
        ("asyncio.as_completed", "`ctx.race`"),
    ]
    assert [found.call for found in unsafe_calls(impatient)] == ["asyncio.timeout", "patience"]
    asleep = unsafe_calls(sleepy)
    assert [found.call for found in asleep] == ["asyncio.sleep", "time.sleep"]
    first = sleepy.__code__.co_firstlineno
    assert [found.line for found in asleep] == [first + 1, first + 2]
    assert str(asleep[0]).startswith(f"{__file__}:{first + 1}: asyncio.sleep: ")


def test_time_chance_and_steps_that_are_called_as_functions_are_found() -> None:
    """On each replay they would be something else, or happen again; inside of a closure they are right."""
    assert [(found.call, found.mend.rpartition("use ")[2]) for found in unsafe_calls(by_chance)] == [
        ("datetime.datetime.now", "`ctx.now`"),
        ("time.time", "`ctx.now`"),
        ("uuid.uuid4", "`ctx.uuid`"),
        ("random.random", "`ctx.random`, or `ctx.side_effect`"),
        ("pay", "`ctx.step(pay, ...)`"),
    ]


async def forgetful(ctx: Any, name: str) -> None:
    ctx.step(pay, 1)
    if name:
        ctx.sleep("1h")
    waiting = ctx.step(pay, 2)
    await waiting
    name.upper()
    ctx.continue_as_new(name)


def test_a_call_of_the_context_that_nobody_awaits_is_found() -> None:
    """The run would complete, and the step never have been executed."""
    found = unsafe_calls(forgetful)
    assert [(each.call, each.mend.rpartition("use ")[2]) for each in found] == [
        ("ctx.step", "`await ctx.step(pay, 1)`"),
        ("ctx.sleep", "`await ctx.sleep('1h')`"),
    ]
    first = forgetful.__code__.co_firstlineno
    assert [each.line for each in found] == [first + 1, first + 3]


def test_closures_and_gather_are_left_alone() -> None:
    assert unsafe_calls(sound) == []


def test_a_body_without_source_is_not_judged() -> None:
    assert unsafe_calls(eval("lambda ctx: ctx")) == []  # noqa: S307 (a function that was typed in)
    assert unsafe_calls(len) == []


class Shop:
    async def run(self, ctx: Any) -> None:
        await asyncio.sleep(1)


def test_the_body_of_a_class_is_read_too() -> None:
    assert [found.call for found in unsafe_calls(Shop.run)] == ["asyncio.sleep"]


@workflow
class Counter:
    """The check is given what the engine executes: a method whose instance is injected later."""

    def __init__(self, *, service: WorkflowServiceDep) -> None:
        self.service = service

    async def run(self, ctx: Any) -> float:
        await self.pause()
        await self.charge(1)
        await self.service.execute(other)
        ctx.step(pay, 1)
        return random.random()

    async def pause(self) -> None:
        await asyncio.sleep(1)

    @step
    async def charge(self, cents: int) -> int:
        return cents


@workflow
async def other(ctx: WorkflowContext) -> None:
    """Does nothing."""


def test_a_workflow_that_is_a_class_is_read_with_its_methods() -> None:
    found = unsafe_calls(workflow_definition(Counter).function)
    assert [each.call for each in found] == ["self.service.execute", "ctx.step", "random.random", "asyncio.sleep"]


@workflow
async def starting(ctx: WorkflowContext, *, service: WorkflowServiceDep, gateway: RunGatewayDep) -> None:
    await service.start(other)
    await service.signal("go")
    await gateway.list_runs()
    await ctx.child(other)


def test_what_the_service_does_is_found() -> None:
    """Every replay would start another run."""
    found = unsafe_calls(starting)
    assert [each.call for each in found] == ["service.start", "service.signal", "gateway.list_runs"]
    assert "`ctx.child`" in found[0].mend
    assert "use a step" in found[1].mend


class Gateway:
    """Stands for a client of the application's own; what it awaits is what counts."""

    async def get(self, path: str) -> str:
        return await asyncio.to_thread(path.upper)

    async def twice(self, ctx: WorkflowContext) -> int:
        return await ctx.step(pay, 2)


async def ship(ctx: Any) -> None:
    await ctx.step(pay, 1)
    ctx.sleep("1s")
    await nap()


async def nap() -> None:
    await asyncio.sleep(1)


SESSION = httpx.AsyncClient()


async def requesting(
    ctx: WorkflowContext, *, prisma: Annotated[Any, None], client: Annotated[httpx.AsyncClient, None], ours: Gateway
) -> None:
    await prisma.order.create(data={})
    await client.get("https://shop.example")
    await asyncio.gather(SESSION.get("https://shop.example"), ctx.step(pay, 1))
    async with httpx.AsyncClient() as fresh:
        await fresh.get("https://shop.example")
    await ours.get("/")
    await ours.twice(ctx)
    await prisma.ship(ctx)
    await ship(ctx)
    await asyncio.to_thread(len, "")


def test_requests_and_queries_are_found_also_in_the_functions_that_a_body_calls() -> None:
    found = unsafe_calls(workflow()(requesting))
    assert [each.call for each in found] == [
        "prisma.order.create",
        "client.get",
        "SESSION.get",
        "fresh.get",
        "asyncio.to_thread",
        "asyncio.to_thread",
        "ctx.sleep",
        "asyncio.sleep",
    ]
    assert all(each.file == __file__ for each in found)
    lines, first = inspect.getsourcelines(nap)
    assert found[-1].line == first + len(lines) - 1


@workflow
class Keeping:
    """Keeps its context, and what it is made with."""

    def __init__(self, *, client: Annotated[httpx.AsyncClient, None]) -> None:
        self.client = client

    async def run(self, ctx: WorkflowContext) -> None:
        self.ctx = ctx
        await self.work()
        await Helper(ctx).work()
        helper = Helper(ctx)
        await helper.work()

    async def work(self) -> None:
        await self.ctx.step(pay, 1)
        await self.client.get("https://shop.example")


class Helper:
    def __init__(self, ctx: WorkflowContext) -> None:
        self.ctx = ctx

    async def work(self) -> None:
        await self.ctx.sleep("1s")


def test_a_context_that_an_object_keeps_is_known_by_its_methods() -> None:
    assert [each.call for each in unsafe_calls(workflow_definition(Keeping).function)] == ["self.client.get"]


def test_what_cannot_be_read_keeps_no_application_from_starting() -> None:
    @workflow
    async def early(ctx: WorkflowContext) -> None:
        await late()

    assert unsafe_calls(early) == []

    async def late() -> None:
        await asyncio.sleep(1)

    assert [each.call for each in unsafe_calls(early)] == ["asyncio.sleep"]
