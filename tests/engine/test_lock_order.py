"""Transactions that touch the same runs at a time: one waits for the other, and none is undone by a deadlock."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from example_app.clients.postgresql import Prisma
from fastapi_durable.definition import workflow
from fastapi_durable.engine.context import WorkflowContext
from fastapi_durable.engine.engine import WorkflowEngine
from fastapi_durable.errors import StoreConflictError
from fastapi_durable.model import TERMINAL_STATUSES, RunStatus
from fastapi_durable.store.prisma import PrismaStateStore
from tests.support.crossing import Crossing, crossing
from tests.support.engine_rig import FAST, build_engine, run_has, running_engine, until
from tests.support.interposed_store import interposed

pytestmark = pytest.mark.postgres

PATIENT = replace(FAST, lease=timedelta(minutes=5))


class Held:
    """Holds a transaction that has locked the parent, and one that has ended its child."""

    def __init__(self, meeting: Crossing) -> None:
        self.armed = False
        self.conflicts: list[StoreConflictError] = []
        self._meeting = meeting

    async def of_parent(self, name: str, call: "partial[Awaitable[Any]]") -> Any:
        return await self._held(call, here=name == "lock_run" and call.args == ("parent",))

    async def of_child(self, name: str, call: "partial[Awaitable[Any]]") -> Any:
        here = name == "update_run" and call.args[0] == "child" and call.args[1]["status"] in TERMINAL_STATUSES
        return await self._held(call, here=here)

    async def _held(self, call: "partial[Awaitable[Any]]", *, here: bool) -> Any:
        try:
            answer = await call()
        except StoreConflictError as error:
            self.conflicts.append(error)
            raise
        if here and self.armed:
            await self._meeting.come()
        return answer


@workflow
async def parent(ctx: WorkflowContext) -> str:
    return await ctx.child(child, run_id="child")


@workflow
async def child(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal("go", str)


async def by_itself(engine: WorkflowEngine) -> None:
    await engine.signal("go", "on")


async def by_an_operator(engine: WorkflowEngine) -> None:
    await engine.cancel("child")


@pytest.mark.parametrize("end_child", [by_itself, by_an_operator])
async def test_a_child_that_ends_while_its_parent_is_cancelled_waits_for_that_or_comes_first(
    postgres_url: str, end_child: Callable[[WorkflowEngine], Awaitable[None]]
) -> None:
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        outside = build_engine(interposed(store, held.of_parent), parent, child)
        async with running_engine(interposed(store, held.of_child), parent, child, config=PATIENT) as engine:
            await engine.start(parent, run_id="parent")
            await until(run_has(store, "parent", RunStatus.SUSPENDED))
            await until(run_has(store, "child", RunStatus.SUSPENDED))
            held.armed = True
            await asyncio.gather(outside.cancel("parent"), end_child(engine))
            await until(run_has(store, "parent", RunStatus.CANCELLED, RunStatus.COMPLETED))
            await until(run_has(store, "child", RunStatus.CANCELLED, RunStatus.COMPLETED))
    assert held.conflicts == []
    assert meeting.waited == 1, "they did not meet"
