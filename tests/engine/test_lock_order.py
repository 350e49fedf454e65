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
from fastapi_durable.model.errors import RunStateError, StoreConflictError
from fastapi_durable.model.records import TERMINAL_STATUSES, Lease, Run, RunQuery, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.prisma import PrismaStateStore
from fastapi_durable.store.prisma.store import PrismaTransaction
from tests.support.crossing import Crossing, crossing
from tests.support.engine_rig import FAST, build_engine, run_has, running_engine, tuned, until
from tests.support.interposed_store import interposed

pytestmark = pytest.mark.postgres

PATIENT = tuned(FAST, lease=timedelta(minutes=5))


class Held:
    """Holds one transaction behind the first of its calls that fits, in each of two processes, until both are there."""

    def __init__(self, meeting: Crossing) -> None:
        self.armed = False
        self.conflicts: list[StoreConflictError] = []
        self._meeting = meeting

    def behind(self, store: StateStore, place: Callable[[str, "partial[Awaitable[Any]]"], bool]) -> StateStore:
        """`store`, as a process has it whose transaction is held behind the call of `place`."""
        held = False

        async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
            nonlocal held
            try:
                answer = await call()
            except StoreConflictError as error:
                self.conflicts.append(error)
                raise
            if self.armed and not held and place(name, call):
                held = True
                await self._meeting.come()
            return answer

        return interposed(store, between)


def locks(run_id: str) -> Callable[[str, "partial[Awaitable[Any]]"], bool]:
    return lambda name, call: name == "lock_run" and call.args == (run_id,)


def ends(run_id: str) -> Callable[[str, "partial[Awaitable[Any]]"], bool]:
    return lambda name, call: (
        name == "update_run" and call.args[0] == run_id and call.args[1].get("status") in TERMINAL_STATUSES
    )


def looks_at(run_id: str) -> Callable[[str, "partial[Awaitable[Any]]"], bool]:
    """Whether the lock is taken or forgotten; not what looks at the run outside of a transaction."""
    return lambda _, call: (
        call.args == (run_id,) and isinstance(getattr(call.func, "__self__", None), PrismaTransaction)
    )


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


@workflow
async def patient(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal("go", str)


@pytest.mark.parametrize("compensate", [False, True], ids=["at once", "with undo"])
async def test_a_signal_for_a_run_that_an_operator_has_found_alive_comes_behind_the_cancel(
    compensate: bool, postgres_url: str
) -> None:
    """Else the run ends by itself, and is reported as cancelled, or lives again in order to be undone."""
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        operator = build_engine(held.behind(store, looks_at("r")), patient)
        async with running_engine(held.behind(store, ends("r")), patient, config=PATIENT) as engine:
            await engine.start(patient, run_id="r")
            await until(run_has(store, "r", RunStatus.SUSPENDED))
            held.armed = True
            cancelled, _ = await asyncio.gather(operator.cancel("r", compensate=compensate), engine.signal("go", "on"))
            await until(run_has(store, "r", RunStatus.CANCELLED, RunStatus.COMPLETED))
            assert cancelled.status in (RunStatus.CANCELLED, RunStatus.CANCELLING)
            ended = await store.find_run("r")
            assert ended is not None
            assert ended.status is RunStatus.CANCELLED
    assert held.conflicts == []
    assert meeting.waited == 1, "they did not meet"


@workflow
async def joining(ctx: WorkflowContext) -> str:
    return await ctx.child(patient, run_id="r")


async def test_a_run_that_ends_while_another_one_begins_to_wait_for_it_is_not_waited_for_in_vain(
    postgres_url: str,
) -> None:
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        both = held.behind(held.behind(store, looks_at("r")), ends("r"))
        async with running_engine(both, joining, patient, config=PATIENT) as engine:
            await engine.start(patient, run_id="r")
            await until(run_has(store, "r", RunStatus.SUSPENDED))
            held.armed = True
            parent_handle = await engine.start(joining)
            await until(lambda: _came(meeting))
            await engine.signal("go", "on")
            assert await parent_handle.result("60s") == "on"
    assert held.conflicts == []
    assert meeting.waited == 1, "they did not meet"


async def ends_task(engine: WorkflowService) -> bool:
    try:
        return await engine.complete_task("r", "count")
    except RunStateError:
        return False


async def offers_update(engine: WorkflowService) -> bool:
    return (await engine.update("r", "address", "7 Low Road")).accepted


@pytest.mark.parametrize("report", [ends_task, offers_update])
async def test_what_comes_for_a_run_while_it_is_cancelled_is_refused(
    report: Callable[[WorkflowService], Awaitable[bool]], postgres_url: str
) -> None:
    """Not accepted, and kept for nobody."""
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        operator = build_engine(held.behind(store, locks("r")), patient)
        outside = build_engine(held.behind(store, lambda name, _: name == "commit"), patient)
        await build_engine(store, patient).start(patient, run_id="r")
        held.armed = True
        cancelling = asyncio.create_task(operator.cancel("r"))
        await until(lambda: _came(meeting))
        assert not await report(outside)
        await cancelling
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
            await until(lambda: _came(meeting))
            await operator.cancel("starter")
            assert await following.result("60s") == "on"
    assert meeting.waited == 1, "they did not meet"


def _waits_at_gate(name: str, call: "partial[Awaitable[Any]]") -> bool:
    return name == "put_signal_waiter" and ":queue:" in call.args[0].token


def _looks_who_waits(name: str, call: "partial[Awaitable[Any]]") -> bool:
    return name == "list_signal_waiters" and ":queue:" in call.keywords["prefix"]


async def _came(meeting: Crossing) -> bool:
    return meeting.came > 0


@workflow(on_event="changed", debounce="1h")
async def index(ctx: WorkflowContext, changed: int) -> int:
    return changed


ACCUMULATOR = "__evtacc__:index"


async def collected(store: StateStore) -> list[int]:
    rows = await store.list_checkpoints(ACCUMULATOR)
    return [row.output["payload"] for row in rows if row.name == f"signal:{ACCUMULATOR}" and row.output is not None]


async def failed_accumulator(store: StateStore) -> None:
    """It has one event."""
    async with running_engine(store, index, config=PATIENT) as engine:
        await engine.publish_event("changed", 1)
        await until(lambda: collected(store))
        await until(run_has(store, ACCUMULATOR, RunStatus.SUSPENDED))
    await store.update_run(ACCUMULATOR, {"status": RunStatus.FAILED})


async def test_an_accumulator_that_is_retried_while_an_event_finds_it_failed_keeps_what_it_collected(
    postgres_url: str,
) -> None:
    found, go_on = asyncio.Event(), asyncio.Event()

    async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
        answer = await call()
        if name == "create_run":
            found.set()
            await go_on.wait()
        return answer

    async with Prisma(datasource={"url": postgres_url}) as client:
        store = PrismaStateStore(client)
        await failed_accumulator(store)
        publisher, operator = build_engine(interposed(store, between), index), build_engine(store, index)
        publishing = asyncio.create_task(publisher.publish_event("changed", 2))
        await found.wait()
        await operator.retry(ACCUMULATOR)
        go_on.set()
        await publishing
        assert await collected(store) == [1, 2]


async def test_an_accumulator_that_an_event_begins_anew_is_not_retried_meanwhile(postgres_url: str) -> None:
    """The retry would promise what the event takes away."""
    async with Prisma(datasource={"url": postgres_url}) as client, crossing(postgres_url, 2) as meeting:
        store, held = PrismaStateStore(client), Held(meeting)
        await failed_accumulator(store)
        publisher = build_engine(held.behind(store, looks_at(ACCUMULATOR)), index)
        operator = build_engine(held.behind(store, lambda name, _: name == "commit"), index)
        held.armed = True
        publishing = asyncio.create_task(publisher.publish_event("changed", 2))
        await until(lambda: _came(meeting))
        with pytest.raises(RunStateError, match="pending"):
            await operator.retry(ACCUMULATOR)
        await publishing
        assert await collected(store) == [2]
    assert held.conflicts == []
    assert meeting.waited == 1, "they did not meet"


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
