"""A signal is received once, whenever it comes."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import InputValidationError, RunFailedError, SerializationError, SignalTokenTakenError
from fastapi_durable.model.records import RunStatus, SignalWaiter
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import FAST, build_engine, has_status, running_engine, running_worker, tuned, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store


class _Moments:
    """Sends a signal when the driving engine makes its n-th call to the store, before that call is done."""

    def __init__(self, at: int) -> None:
        self.calls = 0
        self.sent = False
        self.send: Any = None
        self.active = True
        self._at = at
        self._in_transaction = False

    async def between(self, name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name in ("claim_runs", "renew_leases") and self.calls == 0:
            return await self._answer(name, call)
        # Within a transaction nobody else gets to the memory store; the moments before and after it count.
        if name == "transaction":
            await self._count()
            self._in_transaction = True
        elif name == "commit":
            self._in_transaction = False
        elif not self._in_transaction:
            await self._count()
        return await call()

    async def _answer(self, name: str, call: "partial[Awaitable[Any]]") -> Any:
        result = await call()
        if name == "claim_runs" and result:
            await self._count()
        return result

    async def _count(self) -> None:
        self.calls += 1
        if self.calls == self._at and self.active:
            self.sent = True
            await self.send()


@pytest.mark.parametrize("timeout", [None, "1h"])
@pytest.mark.parametrize("kind", ["signal", "event"])
async def test_no_moment_around_the_wait_loses_what_comes_or_delivers_it_twice(kind: str, timeout: str | None) -> None:
    """For every n: a signal or an event is sent as the run's worker makes its n-th call to the store."""
    at, sent = 1, True
    while sent:
        store, moments = MemoryStateStore(), _Moments(at)
        received: list[str] = []

        @workflow
        async def flow(ctx: WorkflowContext) -> str:
            wait = ctx.wait_for_signal if kind == "signal" else ctx.wait_for_event
            first: str = await wait("go", str, timeout=timeout)
            received.append(first)  # noqa: B023 (runs within this turn of the loop)
            return first

        sender = build_engine(store, flow)
        moments.send = partial(sender.signal if kind == "signal" else sender.publish_event, "go", "once")
        async with running_engine(interposed(store, moments.between), flow) as engine:
            handle = await engine.start(flow, run_id="run")
            await until(lambda: _sent_or_suspended(moments, handle))  # noqa: B023
            if not (sent := moments.sent):
                # Later than every call of the first turn.
                moments.active = False
                await moments.send()
            assert await handle.result("60s") == "once"
        assert received == ["once"]
        assert await store.take_buffered_signal("go") is None
        assert await store.list_buffered_events("go") == []
        assert await store.list_signal_waiters() == []
        at += 1
    assert at > 4, "the wait makes fewer calls than this test is meant to cover"


async def _sent_or_suspended(moments: _Moments, handle: Any) -> bool:
    return moments.sent or await handle.status() is RunStatus.SUSPENDED


async def test_a_signal_that_comes_after_the_history_was_read_is_found_by_the_wait_itself(store: StateStore) -> None:
    """Its waiter is from an earlier turn; another one now would be left over."""
    armed = False

    async def deliver(name: str, call: "partial[Awaitable[Any]]") -> Any:
        nonlocal armed
        result = await call()
        if name == "read_history" and armed:
            armed = False
            assert await sender.signal("b", 2)
        return result

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        return list(await asyncio.gather(ctx.wait_for_signal("a", int), ctx.wait_for_signal("b", int)))

    sender = build_engine(store, flow)
    async with running_engine(interposed(store, deliver), flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        armed = True
        assert await engine.signal("a", 1)
        assert await handle.result("60s") == [1, 2]
    assert await store.list_signal_waiters() == []


async def test_a_signal_before_the_start_is_received(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.wait_for_signal("go", str)

    async with running_engine(store, flow) as engine:
        assert not await engine.signal("go", "early")
        assert await (await engine.start(flow)).result("60s") == "early"


async def test_signals_are_received_in_the_order_in_which_they_were_sent(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        return [await ctx.wait_for_signal("number", int) for _ in range(5)]

    async with running_engine(store, flow) as engine:
        for number in range(3):
            await engine.signal("number", number)
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("number"))
        await engine.signal("number", 3)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await engine.signal("number", 4)
        assert await handle.result("60s") == [0, 1, 2, 3, 4]


async def test_two_waits_of_one_run_for_the_same_token_get_a_signal_each(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        return sorted(await asyncio.gather(ctx.wait_for_signal("number", int), ctx.wait_for_signal("number", int)))

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await engine.signal("number", 1)
        await engine.signal("number", 2)
        assert await handle.result("60s") == [1, 2]


async def test_of_two_live_runs_the_second_one_to_wait_for_a_token_learns_who_has_it(store: StateStore) -> None:
    """Not a silent takeover; the body may catch the error, and a replay raises the same."""
    caught: list[str] = []

    @workflow
    async def first(ctx: WorkflowContext) -> int:
        return await ctx.wait_for_signal("shared", int)

    @workflow
    async def second(ctx: WorkflowContext) -> str:
        try:
            await ctx.wait_for_signal("shared", int)
        except SignalTokenTakenError as error:
            caught.append(error.owner_run_id)
        await ctx.sleep("60 ms")
        return "refused"

    async with running_engine(store, first, second) as engine:
        owner = await engine.start(first, run_id="owner")
        await until(lambda: has_status(owner, RunStatus.SUSPENDED))
        assert await (await engine.start(second)).result("60s") == "refused"
        assert await engine.signal("shared", 1)
        assert await owner.result("60s") == 1
    assert caught == ["owner", "owner"]


async def test_a_waiter_that_a_finished_run_left_behind_swallows_no_signal(store: StateStore) -> None:
    """A row such as another library, or an older version of this one, may have left."""

    @workflow
    async def nothing(ctx: WorkflowContext) -> None: ...

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.wait_for_signal("go", int)

    async with running_engine(store, nothing, flow) as engine:
        dead = await engine.start(nothing)
        await dead.result("60s")
        await store.put_signal_waiter(SignalWaiter(token="go", run_id=dead.run_id, seq=0))
        assert not await engine.signal("go", 1)
        assert await (await engine.start(flow)).result("60s") == 1


async def test_a_branch_that_waits_for_a_signal_leaves_no_waiter_when_another_one_wins(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        signal = asyncio.create_task(ctx.wait_for_signal("go", str))
        timer = asyncio.create_task(ctx.sleep("20 ms"))
        done, pending = await asyncio.wait([signal, timer], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return "signal" if signal in done else "timer"

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") == "timer"
    assert await store.list_signal_waiters() == []


@pytest.mark.parametrize("token", ["", "a\x00b", "a\nb", "\ud800", "x" * 501])
async def test_a_token_that_a_database_cannot_hold_is_refused_on_both_sides(store: StateStore, token: str) -> None:
    """Refused by the store, it would send the run round in circles."""

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.wait_for_signal(token)

    async with running_engine(store, flow) as engine:
        with pytest.raises(InputValidationError):
            await engine.signal(token)
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError, match="token must be printable"):
            await handle.result("60s")


async def test_a_signal_for_one_namespace_is_received_there_or_not_at_all(store: StateStore) -> None:
    """Nothing is kept for others, not even where a run that has ended left its waiter, or two signals come at once."""

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return str(await ctx.wait_for_signal("go"))

    async with running_engine(store, flow) as engine:
        assert not await engine.signal_waiting("go", "early", namespace="default")
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("go"))
        assert not await engine.signal_waiting("go", "foreign", namespace="elsewhere")
        sent = await asyncio.gather(*[engine.signal_waiting("go", "mine", namespace="default") for _ in range(3)])
        assert sorted(sent) == [False, False, True]
        assert await handle.result("60s") == "mine"
        async with store.transaction() as transaction:
            await transaction.lock_name("signal:go")
            await transaction.put_signal_waiter(SignalWaiter(token="go", run_id=handle.run_id, seq=0))
        assert not await engine.signal_waiting("go", "late", namespace="default")
        assert await store.take_buffered_signal("go") is None


ACME, GLOBEX = tuned(FAST, namespace="acme"), tuned(FAST, namespace="globex")


@workflow
async def approval(ctx: WorkflowContext) -> str:
    return str(await ctx.wait_for_signal("approve:7"))


@on_every_store
async def test_a_kept_signal_is_received_in_the_namespace_of_its_sender(store: StateStore) -> None:
    """Each of three namespaces keeps one on the same token, under the same id of the signal."""
    async with (
        running_engine(store, approval, config=ACME) as acme,
        running_engine(store, approval, config=GLOBEX) as globex,
    ):
        anywhere = build_engine(store, approval)
        for engine, payload in ((acme, "acme's"), (globex, "globex's"), (anywhere, "nobody's")):
            assert not await engine.signal("approve:7", payload, signal_id="one")
        assert await globex.execute(approval, timeout="60s") == "globex's"
        assert await acme.execute(approval, timeout="60s") == "acme's"
        # In the namespace `default` the reference's form stays.
        kept = await store.take_buffered_signal("approve:7")
        assert kept is not None
        assert kept.payload == "nobody's"
        assert await store.list_signal_waiters() == []


@on_every_store
async def test_a_signal_that_comes_with_a_start_is_kept_in_the_namespace_of_the_run(store: StateStore) -> None:
    acme = build_engine(store, approval, config=ACME)
    await acme.signal_with_start(approval, token="approve:7", payload="acme's", run_id="first")
    async with running_engine(store, approval, config=GLOBEX) as globex:
        waiting = await globex.start(approval, run_id="second")
        await until(lambda: store.find_signal_waiter("approve:7"))
        await globex.cancel(waiting.run_id)
    async with running_engine(store, approval, config=ACME) as acme:
        assert await acme.handle("first").result("60s") == "acme's"


@on_every_store
async def test_a_signal_that_came_too_late_for_its_wait_stays_in_its_namespace(store: StateStore) -> None:
    """The wait is cancelled in the moment of its delivery, and another namespace waits for the token by then."""

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        wait = asyncio.ensure_future(approval_of(ctx))
        await ctx.sleep("1ms")
        await anext(moment)
        wait.cancel()
        with suppress(asyncio.CancelledError):
            await wait
        await ctx.wait_for_signal("go on")
        return str(await ctx.wait_for_signal("approve:7"))

    async def approval_of(ctx: WorkflowContext) -> str:
        return str(await ctx.wait_for_signal("approve:7"))

    async def moments() -> AsyncGenerator[None, None]:
        acme = build_engine(store, flow, config=ACME)
        await until(lambda: store.find_signal_waiter("approve:7"))
        await acme.signal("approve:7", "acme's")
        async with store.transaction() as transaction:
            await transaction.lock_name("signal:approve:7")
            await transaction.put_signal_waiter(SignalWaiter(token="approve:7", run_id="foreign", seq=0))
        while True:
            yield

    moment = moments()
    other = await build_engine(store, approval, config=GLOBEX).start(approval, run_id="foreign")
    async with running_engine(store, flow, config=ACME) as acme:
        handle = await acme.start(flow)
        await until(lambda: store.find_signal_waiter("go on"))
        assert await store.list_checkpoints(other.run_id) == []
        await build_engine(store, approval, config=GLOBEX).cancel(other.run_id)
        await acme.signal("go on")
        assert await handle.result("60s") == "acme's"
    await moment.aclose()


@pytest.mark.parametrize("token", ["@4.acme:approve:7", "@1.x"])
async def test_a_token_cannot_name_what_is_kept_for_another_namespace(token: str) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.wait_for_signal(token)

    async with running_engine(MemoryStateStore(), flow) as engine:
        with pytest.raises(InputValidationError, match="mark a namespace"):
            await engine.signal(token)
        with pytest.raises(InputValidationError, match="mark a namespace"):
            await engine.publish_event(token)
        with pytest.raises(RunFailedError, match="mark a namespace"):
            await (await engine.start(flow)).result("60s")
        assert not await engine.signal("@mention")


async def test_a_payload_that_cannot_be_stored_is_refused_before_anything_happens(store: StateStore) -> None:
    engine = build_engine(store)
    with pytest.raises(SerializationError, match="the payload of signal 'go'"):
        await engine.signal("go", object())
    assert await store.take_buffered_signal("go") is None


async def test_a_signal_id_keeps_a_repeated_signal_from_being_kept_twice(store: StateStore) -> None:
    engine = build_engine(store)
    for _ in range(3):
        await engine.signal("go", 1, signal_id="delivery-1")
    assert await store.take_buffered_signal("go") is not None
    assert await store.take_buffered_signal("go") is None


async def test_a_signal_during_a_long_first_turn_wakes_the_wait_that_comes_later(store: StateStore) -> None:
    """It comes while the same run is driven: the turn must not sleep through it."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        entered.set()
        await go_on.wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        waiting = asyncio.create_task(ctx.wait_for_signal("go", int))
        await ctx.step(work)
        return await waiting

    async with running_worker(store, flow) as (engine, _):
        handle = await engine.start(flow)
        await entered.wait()
        await until(lambda: store.find_signal_waiter("go"))
        assert await engine.signal("go", 1)
        go_on.set()
        assert await handle.result("60s") == 1
