"""Calls that are unsafe in a workflow's body are found by what they are, whatever they are called."""

import asyncio
import datetime
import random
import time
import uuid
from asyncio import wait_for as patience
from typing import Any

from fastapi_durable.declare.definition import step
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
