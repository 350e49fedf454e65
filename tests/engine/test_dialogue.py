"""Updates, values to show, breakpoints, tasks and signals with a start."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.task import TaskTicket
from fastapi_durable.model.errors import (
    DefinitionError,
    InputValidationError,
    RunFailedError,
    RunNotFoundError,
    RunStateError,
    SerializationError,
    SignalTimeoutError,
    TaskFailedError,
)
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.testing import HandClock
from tests.support.conversation import RESULT, answer, conversation
from tests.support.engine_rig import FAST, build_engine, has_status, killed_worker, running_engine, tuned, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store


class Address(BaseModel):
    street: str


def known_street(address: Address) -> str | None:
    return None if address.street == "Main Street" else f"{address.street} is unknown"


@workflow(updates={"address": known_street})
async def deliver(ctx: WorkflowContext) -> list[str]:
    return [(await ctx.on_update("address", Address)).street for _ in range(2)]


async def test_an_update_is_validated_and_then_received(store: StateStore) -> None:
    async with running_engine(store, deliver) as engine:
        handle = await engine.start(deliver)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        refused = await engine.update(handle.run_id, "address", {"street": "Elm Street"})
        assert (refused.accepted, refused.reason) == (False, "Elm Street is unknown")
        malformed = await engine.update(handle.run_id, "address", {"city": "Bern"})
        assert not malformed.accepted
        assert "street: Field required" in str(malformed.reason)
        first = await engine.update(handle.run_id, "address", Address(street="Main Street"))
        assert (first.accepted, first.received) == (True, True)
        assert (await engine.update(handle.run_id, "address", {"street": "Main Street"})).accepted
        assert await handle.result("60s") == ["Main Street", "Main Street"]


async def test_an_update_is_refused_for_a_run_that_is_unknown_or_has_ended(store: StateStore) -> None:
    """The reference says "accepted" and keeps it for ever."""

    @workflow
    async def short(ctx: WorkflowContext) -> None:
        return None

    async with running_engine(store, short) as engine:
        handle = await engine.start(short)
        await handle.result("60s")
        ended = await engine.update(handle.run_id, "address", 1)
        assert (ended.accepted, ended.reason) == (False, f"run {handle.run_id!r} is completed and accepts no updates")
        unknown = await engine.update("nobody", "address", 1)
        assert (unknown.accepted, unknown.reason) == (False, "no run has the id 'nobody'")
        assert await store.take_buffered_signal(f"update:{handle.run_id}:address") is None


async def test_an_update_that_races_with_the_end_of_its_run_is_received_or_refused(store: StateStore) -> None:
    """It is never accepted and then forgotten by a run that had ended."""

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.wait_for_signal("go")
        return "done"

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        _, update = await asyncio.gather(engine.signal("go"), engine.update(handle.run_id, "late", 1))
        assert await handle.result("60s") == "done"
        assert update.accepted
        assert not (await engine.update(handle.run_id, "late", 1)).accepted


async def test_a_registered_validator_takes_the_place_of_the_declared_one(store: StateStore) -> None:
    async def refuse(address: Any) -> str:
        return "closed"

    def broken(address: Any) -> None:
        raise LookupError("no map")

    async with running_engine(store, deliver) as engine:
        handle = await engine.start(deliver)
        engine.register_update_validator(deliver, "address", refuse)
        assert (await engine.update(handle.run_id, "address", 1)).reason == "closed"
        engine.register_update_validator("deliver", "address", broken)
        assert (await engine.update(handle.run_id, "address", 1)).reason == "no map"
        with pytest.raises(DefinitionError, match="must take one input"):
            engine.register_update_validator(deliver, "address", lambda a, b: None)
        with pytest.raises(DefinitionError, match="must take one input"):
            workflow(updates={"address": lambda a, b: None})(known_street)
        with pytest.raises(SerializationError):
            await engine.update(handle.run_id, "address", object())


async def test_an_update_point_may_time_out(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            return await ctx.on_update("address", str, timeout="2ms")
        except SignalTimeoutError as error:
            return f"{error.token} after {error.timeout}"

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow, run_id="r")
        assert await handle.result("60s") == "update:r:address after 0:00:00.002000"


async def test_the_value_that_was_set_last_is_shown_also_after_the_end(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.set_value("progress", 10)
        await ctx.gather(_show(ctx, 20), _show(ctx, 30))
        await ctx.wait_for_signal("go")
        await ctx.set_value("progress", 100)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        assert await engine.get_value(handle.run_id, "progress", int) in (20, 30)
        assert await engine.get_value(handle.run_id, "prog") is None
        await engine.signal("go")
        await handle.result("60s")
        assert await engine.get_value(handle.run_id, "progress", int) == 100
        with pytest.raises(RunNotFoundError):
            await engine.get_value("nobody", "progress")
        with pytest.raises(SerializationError, match="event 'progress'"):
            await engine.get_value(handle.run_id, "progress", Address)


async def test_a_value_that_is_set_after_branches_is_the_last_one_however_fast_it_comes(store: StateStore) -> None:
    """Positions of branches say nothing of time, and neither does a clock in which all of it is one moment."""

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        for value in range(10):
            await ctx.gather(_show(ctx, 0), _show(ctx, 0))
            await _show(ctx, value)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await handle.result("60s")
        assert await engine.get_value(handle.run_id, "progress", int) == 9


@on_every_store
async def test_a_value_from_a_branch_is_the_last_one_though_an_earlier_one_came_by_a_clock_ahead(
    store: StateStore,
) -> None:
    """The run was on another machine for a while, whose clock is ahead of this one."""
    clock = HandClock()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        clock.move(minutes=2)
        await _show(ctx, 1)
        clock.move(minutes=-2)
        await _show(ctx, 2)
        await ctx.gather(_show(ctx, 3))
        await ctx.wait_for_signal("go")
        await _show(ctx, 4)

    async with running_engine(store, flow, clock=clock, config=tuned(FAST, lease=timedelta(hours=1))) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        assert await engine.get_value(handle.run_id, "progress", int) == 3
        await engine.signal("go")
        await handle.result("60s")
        assert await engine.get_value(handle.run_id, "progress", int) == 4


async def test_a_value_from_a_branch_costs_the_same_however_many_came_before() -> None:
    """Of all that a run has shown, also under longer keys that begin alike, it reads one."""
    read: list[int] = []

    async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
        answer = await call()
        if "checkpoint" in name and name != "record_checkpoint":
            read.append(len(answer) if isinstance(answer, list) else 1)
        return answer

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        async def report() -> None:
            for value in range(10):
                await ctx.set_value(f"progress:{value}", value)
                await _show(ctx, value)

        await ctx.gather(report())

    store = interposed(MemoryStateStore(), between)
    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await handle.result("60s")
        assert await engine.get_value(handle.run_id, "progress", int) == 9
    assert max(read) == 1


async def _show(ctx: WorkflowContext, value: int) -> None:
    await ctx.set_value("progress", value)


async def test_a_run_stops_at_a_breakpoint_until_an_operator_lets_it_go_on(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.breakpoint()
        await ctx.breakpoint("second")
        return "done"

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        assert not await engine.continue_run(handle.run_id, "second")
        passed = await asyncio.gather(*(engine.continue_run(handle.run_id) for _ in range(3)))
        assert passed.count(True) in (1, 2)
        if passed.count(True) == 1:
            await until(lambda: engine.continue_run(handle.run_id, "second"))
        assert await handle.result("60s") == "done"
        assert not await engine.continue_run(handle.run_id)
        with pytest.raises(RunNotFoundError):
            await engine.continue_run("nobody")


async def test_a_task_is_handed_out_once_and_its_end_comes_back(store: StateStore) -> None:
    tickets: list[TaskTicket] = []

    def dispatch(ticket: TaskTicket) -> None:
        tickets.append(ticket)

    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        shipped = await ctx.task("ship", dispatch, int)
        try:
            await ctx.task("bill", dispatch)
        except TaskFailedError as error:
            return [shipped, error.code, error.error.type]
        return []

    class NoPaper(Exception):
        code = "paper"

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow, run_id="r")
        assert await engine.complete_task("r", "ship", 3)
        await until(lambda: store.find_signal_waiter("task:r:bill"))
        assert not await engine.complete_task("r", "ship", 4)
        assert await engine.fail_task("r", "bill", NoPaper("empty"))
        assert await handle.result("60s") == [3, "paper", "NoPaper"]
        assert [(each.name, each.step_id) for each in tickets] == [("ship", "r:0"), ("bill", "r:2")]
        with pytest.raises(RunStateError, match="is completed and cannot be sent the end of task 'ship'"):
            await engine.complete_task("r", "ship", 5)
        with pytest.raises(RunNotFoundError):
            await engine.fail_task("nobody", "ship", "lost")
        assert await store.take_buffered_signal("task:r:ship") is None


async def test_of_two_reports_of_a_task_the_first_counts_whenever_it_comes(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        await ctx.wait_for_signal("go")
        return await ctx.task("ship", lambda ticket: None, int)

    one, other = build_engine(store, flow), build_engine(store, flow)
    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow, run_id="r")
        reports = await asyncio.gather(
            *(each.complete_task("r", "ship", number) for number, each in enumerate([one, other] * 3))
        )
        assert reports.count(True) == 1
        await engine.signal("go")
        assert await handle.result("60s") == reports.index(True)


async def test_a_run_uses_the_name_of_a_task_once(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.task("ship", lambda ticket: None)
        await ctx.task("ship", lambda ticket: None)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await engine.complete_task(handle.run_id, "ship")
        with pytest.raises(RunFailedError, match="must be unique in its run, got 'ship' twice"):
            await handle.result("60s")


async def test_a_signal_with_a_start_reaches_the_run_that_it_starts_and_the_one_that_is_there(
    store: StateStore,
) -> None:
    @workflow
    async def cart(ctx: WorkflowContext, owner: str) -> list[int]:
        return [await ctx.wait_for_signal(f"cart:{owner}", int) for _ in range(3)]

    async with running_engine(store, cart) as engine:
        handles = await asyncio.gather(
            *(
                engine.signal_with_start(cart, "ann", run_id="ann", token="cart:ann", payload=number)
                for number in range(3)
            )
        )
        assert [handle.created for handle in handles].count(True) == 1
        assert sorted(await handles[0].result("60s")) == [0, 1, 2]
        with pytest.raises(InputValidationError):
            await engine.signal_with_start(cart, "bob", run_id="bob", token="")
        with pytest.raises(RunNotFoundError):
            await engine.handle("bob").status()


async def test_a_conversation_goes_on_in_another_process_wherever_it_stood(store: StateStore) -> None:
    """Worker after worker is killed while the outside talks to the run."""
    outside = build_engine(store, conversation)
    handle = await outside.start(conversation, "k", run_id="k")
    answering = asyncio.create_task(answer(outside, "k"))
    for _ in range(5):
        async with killed_worker(store, conversation):
            await until(lambda: _moved(store, "k"))
    async with running_engine(store, conversation):
        await answering
        assert await handle.result("60s") == RESULT
    assert await store.list_signal_waiters() == []


async def _moved(store: StateStore, run_id: str) -> bool:
    run = await store.find_run(run_id)
    return run is not None and run.status in (RunStatus.SUSPENDED, RunStatus.COMPLETED)


async def test_a_conversation_comes_to_the_same_end_on_every_database(stores: tuple[StateStore, StateStore]) -> None:
    """The run is driven through one connection and answered through another."""
    async with running_engine(stores[0], conversation) as engine:
        handle = await engine.start(conversation, "k", run_id="k")
        await answer(build_engine(stores[1], conversation), "k")
        assert await handle.result("60s") == RESULT
    assert await stores[1].list_signal_waiters() == []
