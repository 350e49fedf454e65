"""Transactions that touch the same runs at a time: one waits for the other, and none is undone by a deadlock."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from example_app.clients.postgresql import Prisma
from fastapi_durable.declare.definition import Singleton, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.records import (
    Lease,
    Run,
    RunQuery,
    RunStatus,
)
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.prisma import PrismaStateStore
from fastapi_durable.store.prisma.store import PrismaTransaction
from tests.support.crossing import Held, crossing, ends, locks
from tests.support.engine_rig import FAST, build_engine, run_has, running_engine, tuned, until

pytestmark = pytest.mark.postgres

PATIENT = tuned(FAST, lease=timedelta(minutes=5))


@workflow
async def parent(ctx: WorkflowContext) -> str:
    return await ctx.child(child, run_id="child")


@workflow
async def child(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal("go", str)


async def by_itself(engine: WorkflowService) -> None:
    await engine.signal("go", "on")


async def by_an_operator(engine: WorkflowService) -> None:
    await engine.cancel("child")


@pytest.mark.parametrize("end_child", [by_itself, by_an_operator])
async def test_a_child_that_ends_while_its_parent_is_cancelled_waits_for_that_or_comes_first(
    postgres_url: str, end_child: Callable[[WorkflowService], Awaitable[None]]
) -> None:
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        outside = build_engine(held.behind(store, locks("parent")), parent, child)
        async with running_engine(held.behind(store, ends("child")), parent, child, config=PATIENT) as engine:
            await engine.start(parent, run_id="parent")
            await until(run_has(store, "parent", RunStatus.SUSPENDED))
            await until(run_has(store, "child", RunStatus.SUSPENDED))
            held.armed = True
            await asyncio.gather(outside.cancel("parent"), end_child(engine))
            await until(run_has(store, "parent", RunStatus.CANCELLED, RunStatus.COMPLETED))
            await until(run_has(store, "child", RunStatus.CANCELLED, RunStatus.COMPLETED))
    assert held.conflicts == []
    assert meeting.waited == 1, "they did not meet"


@workflow(name="parent")
async def parent_of_chain(ctx: WorkflowContext) -> str:
    return await ctx.child(going_on, 0, run_id="child")


@workflow(name="parent")
async def starter_of_chain(ctx: WorkflowContext) -> None:
    await ctx.start_child(going_on, 0, run_id="child")
    await ctx.wait_for_signal("never")


@workflow
async def going_on(ctx: WorkflowContext, number: int) -> str:
    await ctx.wait_for_signal("go")
    ctx.continue_as_new(number + 1)


@pytest.mark.parametrize("flow", [parent_of_chain, starter_of_chain], ids=["awaited", "started"])
async def test_a_child_that_goes_on_as_a_new_run_while_its_parent_is_cancelled_leaves_none_alive(
    postgres_url: str, flow: Any
) -> None:
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        outside = build_engine(held.behind(store, _lists_children), flow, going_on)
        async with running_engine(held.behind(store, ends("child")), flow, going_on, config=PATIENT) as engine:
            await engine.start(flow, run_id="parent")
            await until(run_has(store, "parent", RunStatus.SUSPENDED))
            await until(run_has(store, "child", RunStatus.SUSPENDED))
            held.armed = True
            await asyncio.gather(outside.cancel("parent"), engine.signal("go"))
            await until(run_has(store, "child", RunStatus.CANCELLED, RunStatus.COMPLETED))
        runs = await store.list_runs(RunQuery(limit=9))
        assert {run.id: run.status for run in runs if not run.status.is_terminal} == {}
        assert await store.list_signal_waiters() == []
    assert held.conflicts == []
    assert meeting.came, "they did not meet"


def _lists_children(name: str, call: "partial[Awaitable[Any]]") -> bool:
    # Within the transaction; before it, the cancel finds out what to lock.
    return name == "list_runs" and isinstance(getattr(call.func, "__self__", None), PrismaTransaction)


@workflow
async def starter(ctx: WorkflowContext) -> None:
    await ctx.start_child(listener, run_id="a")
    await ctx.start_child(listener, run_id="b")
    await ctx.wait_for_signal("never")


@workflow
async def listener(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_event("news", str)


async def test_an_event_for_many_runs_and_a_cancel_of_all_of_them_take_them_in_one_order(postgres_url: str) -> None:
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        operator = build_engine(held.behind(store, _locks_a_listener), starter, listener)
        publisher = build_engine(held.behind(store, _locks_a_listener), starter, listener)
        async with running_engine(store, starter, listener, config=PATIENT) as engine:
            await engine.start(starter, run_id="starter")
            for run_id in ("starter", "a", "b"):
                await until(run_has(store, run_id, RunStatus.SUSPENDED))
            held.armed = True
            await asyncio.gather(operator.cancel("starter"), publisher.publish_event("news", "good"))
            for run_id in ("a", "b"):
                await until(run_has(store, run_id, RunStatus.CANCELLED, RunStatus.COMPLETED))
    assert held.conflicts == []
    assert meeting.waited == 1, "they did not meet"


def _locks_a_listener(name: str, call: "partial[Awaitable[Any]]") -> bool:
    return name == "lock_run" and call.args[0] in ("a", "b")


@workflow
async def starter_of_singletons(ctx: WorkflowContext) -> None:
    await ctx.start_child(alone, run_id="b")
    await ctx.wait_for_signal("another")
    await ctx.start_child(alone, run_id="a")
    await ctx.wait_for_signal("never")


@workflow(singleton=Singleton(key=lambda _: "key"))
async def alone(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal(f"go {ctx.run_id}", str)


async def test_a_singleton_that_ends_wakes_the_next_one_while_both_are_cancelled(postgres_url: str) -> None:
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        flows = (starter_of_singletons, alone)
        operator = build_engine(held.behind(store, locks("a")), *flows)
        async with running_engine(held.behind(store, ends("b")), *flows, config=PATIENT) as engine:
            await engine.start(starter_of_singletons, run_id="starter")
            await until(run_has(store, "b", RunStatus.SUSPENDED))
            await engine.signal("another")
            await until(run_has(store, "a", RunStatus.SUSPENDED))
            await until(run_has(store, "starter", RunStatus.SUSPENDED))
            held.armed = True
            await asyncio.gather(operator.cancel("starter"), engine.signal("go b", "on"))
            for run_id in ("a", "b"):
                await until(run_has(store, run_id, RunStatus.CANCELLED, RunStatus.COMPLETED))
    assert held.conflicts == []
    assert meeting.waited == 1, "they did not meet"


async def test_a_singleton_that_comes_to_its_gate_while_the_one_before_it_is_cancelled_with_its_parent_is_woken(
    postgres_url: str,
) -> None:
    """Not only when it looks again by itself, after half a minute."""
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        flows = (starter_of_singletons, alone)
        operator = build_engine(held.behind(store, _looks_who_waits), *flows)
        async with running_engine(held.behind(store, _waits_at_gate), *flows, config=PATIENT) as engine:
            await engine.start(starter_of_singletons, run_id="starter")
            await until(run_has(store, "b", RunStatus.SUSPENDED))
            await engine.signal("go next", "on")
            held.armed = True
            following = await engine.start(alone, run_id="next")
            await until(meeting.has_begun)
            await operator.cancel("starter")
            assert await following.result("60s") == "on"
    assert meeting.waited == 1, "they did not meet"


def _waits_at_gate(name: str, call: "partial[Awaitable[Any]]") -> bool:
    return name == "put_signal_waiter" and ":queue:" in call.args[0].token


def _looks_who_waits(name: str, call: "partial[Awaitable[Any]]") -> bool:
    return name == "list_signal_waiters" and ":queue:" in call.keywords["prefix"]


async def test_a_renewal_of_leases_that_waits_for_a_run_holds_none_that_comes_behind_it(postgres_url: str) -> None:
    """A cancel of a tree comes to that next, whatever the order in which the worker drives its runs."""
    now = SystemClock().now()
    driven = Run(
        id="a",
        workflow="driven",
        workflow_version="1",
        status=RunStatus.RUNNING,
        locked_by="token",
        locked_until=now,
        created_at=now,
        updated_at=now,
    )
    leases = [Lease("b", "token"), Lease("a", "token")]
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store = PrismaStateStore(client)
        for run in (replace(driven, id="b"), driven):
            await store.create_run(run)
        async with store.transaction() as transaction:
            await transaction.lock_run("a")
            renewal = asyncio.create_task(store.renew_leases(leases, until=now + timedelta(minutes=5)))
            await meeting.come()
            # In a task of its own: the one that has the transaction open may not.
            claimed = await asyncio.create_task(store.claim_runs("another", now=now, until=now, limit=9))
        assert [run.id for run in claimed] == ["b"], "a claim passes what is locked"
        assert await renewal == {"a": False}
    assert meeting.waited == 1, "they did not meet"
