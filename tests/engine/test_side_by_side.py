"""Waiting side by side: what is due or delivered while another branch works lets its branch go on, in the same turn."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.entity import entity, operation
from fastapi_durable.declare.retry import fixed
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.task import TaskTicket
from fastapi_durable.engine.primitives.webhook import Callback
from fastapi_durable.model.errors import SignalTimeoutError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, build_engine, has_status, running_engine, tuned, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store

PATIENT = tuned(FAST, lease=timedelta(minutes=1), poll_interval=timedelta(minutes=1))
"""Nothing is found by polling: what goes on, goes on by a timer or a notification."""

DEAF = tuned(FAST, lease=timedelta(minutes=1), poll_interval=timedelta(milliseconds=50))
"""Where nobody tells, a poll finds it."""


class Hold:
    """A step that works until another branch of the same run lets it end: a turn that rests would never get there."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.released = asyncio.Event()
        self.executions = 0

    async def work(self) -> str:
        self.executions += 1
        self.begun.set()
        await self.released.wait()
        return "worked"

    async def release(self) -> str:
        self.released.set()
        return "released"


@pytest.fixture
def hold() -> Hold:
    return Hold()


@entity
class Ledger(BaseModel):
    total: int = 0

    @operation
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total


@workflow
async def other(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal(f"end of {ctx.run_id}", str)


@step
async def hand_out(ticket: TaskTicket) -> str:
    return ticket.token


@dataclass(frozen=True)
class Delivery:
    """A wait, and what answers it from outside."""

    name: str
    wait: Callable[[WorkflowContext], Awaitable[Any]]
    answer: Callable[[WorkflowService, str], Awaitable[object]]

    def __str__(self) -> str:
        return self.name


async def _hook(ctx: WorkflowContext, **limit: Any) -> Any:
    hook = await ctx.webhook(str)
    await ctx.set_value("hook", hook.token)
    return await hook.wait(**limit)


async def _call_back(engine: WorkflowService, run_id: str) -> None:
    await until(lambda: engine.get_value(run_id, "hook"))
    assert await engine.callback(await engine.get_value(run_id, "hook", str) or "", "sent") is Callback.RECEIVED


async def _when_awaited(engine: WorkflowService, send: Callable[[], Awaitable[object]]) -> None:
    async def is_received() -> object:
        answer = await send()
        return getattr(answer, "receivers", answer)

    await until(is_received)


DELIVERIES = [
    Delivery(
        "signal",
        lambda ctx: ctx.wait_for_signal(f"go {ctx.run_id}", str),
        lambda engine, run_id: engine.signal(f"go {run_id}", "sent"),
    ),
    Delivery(
        "event",
        lambda ctx: ctx.wait_for_event(f"go {ctx.run_id}", str),
        lambda engine, run_id: engine.publish_event(f"go {run_id}", "sent"),
    ),
    Delivery(
        "update", lambda ctx: ctx.on_update("go", str), lambda engine, run_id: engine.update(run_id, "go", "sent")
    ),
    Delivery(
        "end of a child",
        lambda ctx: ctx.child(other, run_id=f"{ctx.run_id} other"),
        lambda engine, run_id: engine.signal(f"end of {run_id} other", "sent"),
    ),
    Delivery(
        "end of a task",
        lambda ctx: ctx.task("go", hand_out, str),
        lambda engine, run_id: engine.complete_task(run_id, "go", "sent"),
    ),
    Delivery("callback", _hook, _call_back),
    Delivery("callback in time", lambda ctx: _hook(ctx, timeout="1h"), _call_back),
    Delivery(
        "breakpoint",
        lambda ctx: _then_sent(ctx.breakpoint("go")),
        lambda engine, run_id: _when_awaited(engine, lambda: engine.continue_run(run_id, "go")),
    ),
]


async def _then_sent(wait: Awaitable[object]) -> str:
    await wait
    return "sent"


async def _lets_go(ctx: WorkflowContext, delivery: Delivery, hold: Hold) -> object:
    received = await delivery.wait(ctx)
    await ctx.local_step("release", hold.release)
    return received


@pytest.mark.parametrize("delivery", DELIVERIES, ids=str)
@on_every_store
async def test_a_delivery_lets_its_branch_go_on_while_another_one_works(
    store: StateStore, delivery: Delivery, hold: Hold
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        return await ctx.gather(ctx.local_step("work", hold.work), _lets_go(ctx, delivery, hold))

    async with running_engine(store, flow, other, config=PATIENT) as engine:
        handle = await engine.start(flow)
        await hold.begun.wait()
        await until(lambda: store.list_signal_waiters(run_ids=[handle.run_id]))
        await delivery.answer(engine, handle.run_id)
        assert await handle.result("60s") == ["worked", "sent"]
    assert hold.executions == 1, "its turn was not given up for that"


@pytest.mark.parametrize("delivery", DELIVERIES, ids=str)
@pytest.mark.parametrize("told", [True, False])
async def test_so_does_a_delivery_by_another_process(
    stores: tuple[StateStore, StateStore], delivery: Delivery, told: bool, hold: Hold
) -> None:
    """At once if a notification comes; else a poll finds it."""

    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        return await ctx.gather(ctx.local_step("work", hold.work), _lets_go(ctx, delivery, hold))

    # With one place here, a child is the other process's to drive.
    config = tuned(PATIENT if told else DEAF, concurrency=1)
    async with (
        running_engine(stores[0], flow, other, config=config) as here,
        running_engine(stores[1], other, config=FAST) as away,
    ):
        with ExitStack() as joined:
            if told:
                joined.enter_context(away._kernel.notifications.joined_to(here._kernel.notifications.on_message))
            handle = await here.start(flow)
            await hold.begun.wait()
            await until(lambda: stores[1].list_signal_waiters(run_ids=[handle.run_id]))
            await delivery.answer(away, handle.run_id)
            assert await handle.result("60s") == ["worked", "sent"]
    assert hold.executions == 1


async def test_the_answer_of_an_entity_lets_its_branch_go_on(store: StateStore, hold: Hold) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        async def asks() -> int:
            total = await ctx.call_entity(Ledger, "a", Ledger.add, 3)
            await ctx.local_step("release", hold.release)
            return total

        return await ctx.gather(ctx.local_step("work", hold.work), asks())

    async with running_engine(store, flow, entities=[Ledger], config=PATIENT) as engine:
        assert await (await engine.start(flow)).result("60s") == ["worked", 3]
    assert hold.executions == 1


@on_every_store
async def test_a_sleep_and_the_end_of_a_wait_come_while_another_branch_works(store: StateStore, hold: Hold) -> None:
    timers: list[str] = []

    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        async def sleeps() -> None:
            await ctx.sleep("10ms")
            timers.append("sleep")

        async def waits() -> None:
            with pytest.raises(SignalTimeoutError):
                await ctx.wait_for_signal("never", timeout="20ms")
            timers.append("signal")

        async def listens() -> None:
            with pytest.raises(SignalTimeoutError):
                await ctx.wait_for_event("never", timeout="30ms")
            timers.append("event")

        async def calls() -> None:
            with pytest.raises(SignalTimeoutError):
                await (await ctx.webhook()).wait(timeout="40ms")
            timers.append("callback")

        async def releases() -> None:
            await ctx.gather(sleeps(), waits(), listens(), calls())
            await ctx.local_step("release", hold.release)

        return await ctx.gather(ctx.local_step("work", hold.work), releases())

    async with running_engine(store, flow, config=PATIENT) as engine:
        assert await (await engine.start(flow)).result("60s") == ["worked", None]
    assert sorted(timers) == ["callback", "event", "signal", "sleep"]
    assert hold.executions == 1


async def test_an_attempt_that_waits_longer_than_a_turn_would_comes_while_another_branch_works(
    store: StateStore, hold: Hold
) -> None:
    attempts = 0

    @step(max_attempts=2, backoff=fixed("50ms"))
    async def flaky() -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ConnectionError("not yet")
        return await hold.release()

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        return await ctx.gather(ctx.local_step("work", hold.work), ctx.step(flaky))

    config = tuned(PATIENT, inline_retry_below=timedelta(0))
    async with running_engine(store, flow, config=config) as engine:
        assert await (await engine.start(flow)).result("60s") == ["worked", "released"]
    assert hold.executions == 1


@pytest.mark.parametrize("sleep_first", [True, False])
@on_every_store
async def test_a_sleep_wins_a_race_against_a_step_at_work_wherever_it_stands(
    store: StateStore, hold: Hold, sleep_first: bool
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        branches = [ctx.sleep("20ms"), ctx.local_step("work", hold.work)]
        winner = await ctx.race(*(branches if sleep_first else reversed(branches)))
        return [winner.index, winner.value, await ctx.wait_for_signal("go", str)]

    async with running_engine(store, flow, config=PATIENT) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    async with running_engine(store, flow, config=FAST) as engine:
        await engine.signal("go", "on")
        assert await engine.handle(handle.run_id).result("60s") == [0 if sleep_first else 1, None, "on"]
    assert hold.executions == 1, "the loser is not begun again on a replay"


@pytest.mark.parametrize("wait_first", [True, False])
@on_every_store
async def test_a_signal_wins_a_race_against_a_step_at_work(store: StateStore, hold: Hold, wait_first: bool) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        branches = [ctx.wait_for_signal("go", str), ctx.local_step("work", hold.work)]
        winner = await ctx.race(*(branches if wait_first else reversed(branches)))
        await ctx.sleep("1ms")
        return [winner.index, winner.value]

    async with running_engine(store, flow, config=tuned(PATIENT, poll_interval=timedelta(seconds=5))) as engine:
        handle = await engine.start(flow)
        await hold.begun.wait()
        await until(lambda: store.find_signal_waiter("go"))
        await engine.signal("go", "on")
        assert await handle.result("60s") == [0 if wait_first else 1, "on"]
    assert hold.executions == 1


@pytest.mark.parametrize("first", ["a", "b"])
@on_every_store
async def test_of_several_that_came_while_nobody_drove_the_run_the_one_that_came_first_wins(
    store: StateStore, first: str
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        winner = await ctx.race(ctx.wait_for_signal("a", int), ctx.wait_for_signal("b", int))
        await ctx.sleep("1ms")
        return [winner.index, winner.value]

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    outside = build_engine(store, flow)
    for number, token in enumerate((first, "b" if first == "a" else "a")):
        await outside.signal(token, number)
        # Times are whole milliseconds.
        await asyncio.sleep(0.005)
    async with running_engine(store, flow) as engine:
        assert await engine.handle(handle.run_id).result("60s") == [0 if first == "a" else 1, 0]


async def test_a_stopping_worker_does_not_go_on_with_what_comes_meanwhile(store: StateStore, hold: Hold) -> None:
    """The step that is under way ends, and the run is handed back."""
    woken: list[str] = []

    @workflow
    async def flow(ctx: WorkflowContext) -> list[object]:
        async def sleeps() -> None:
            await ctx.sleep("30ms")
            woken.append("awake")

        return await ctx.gather(ctx.local_step("work", hold.work), sleeps())

    async with running_engine(store, flow, config=PATIENT) as engine:
        handle = await engine.start(flow)
        await hold.begun.wait()
        asyncio.get_running_loop().call_later(0.1, hold.released.set)
    assert woken == []
    assert await has_status(handle, RunStatus.PENDING)
    async with running_engine(store, flow, config=FAST) as engine:
        assert await engine.handle(handle.run_id).result("60s") == ["worked", None]


async def test_a_thousand_deliveries_cost_a_turn_few_looks(store: StateStore, hold: Hold) -> None:
    """Those that come while it looks are taken in together by the next look."""

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        async def collects() -> int:
            received = await ctx.gather(*(ctx.wait_for_signal(f"go {number}", int) for number in range(200)))
            await ctx.local_step("release", hold.release)
            return sum(received)

        total: int
        _, total = await asyncio.gather(ctx.local_step("work", hold.work), collects())
        return total

    looks = 0

    async def count(name: str, call: Any) -> Any:
        nonlocal looks
        looks += name == "read_history"
        return await call()

    async with running_engine(interposed(store, count), flow, config=PATIENT) as engine:
        handle = await engine.start(flow)
        await hold.begun.wait()
        await until(lambda: store.find_signal_waiter("go 199"))
        await asyncio.gather(*(engine.signal(f"go {number}", number) for number in range(200)))
        assert await handle.result("60s") == sum(range(200))
    assert looks < 50
