"""A run is driven under a lease. Whoever has lost it writes nothing more, whatever it believes."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.runs.settlement import settle_run
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import RunCancelledError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import (
    SHORT_LEASE,
    build_engine,
    has_status,
    is_idle,
    running_engine,
    running_worker,
    tuned,
    until,
)
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store

# Its step says nothing while it runs: the row that shows a longer one as running would be refused, and end it.
STALE = tuned(SHORT_LEASE, show_running_after=timedelta(hours=1))
CUT_OFF = "the stale execution was cut off: it tests nothing"


async def _believe(name: str, call: "partial[Awaitable[Any]]") -> Any:
    """A worker whose renewals go nowhere, and that takes the silence for success."""
    if name == "renew_leases":
        return dict.fromkeys((lease.run_id for lease in call.args[0]), False)
    return await call()


class _Stale:
    """Such a worker that gets one run, and no other."""

    def __init__(self) -> None:
        self._has_run = False

    async def between(self, name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name == "create_run":
            # Created here, leased to this worker.
            self._has_run = True
        if name != "claim_runs":
            return await _believe(name, call)
        if self._has_run:
            return []
        claimed = await call()
        self._has_run = bool(claimed)
        return claimed


class Rendezvous:
    """A step whose first execution stands still until it may go on; later ones pass."""

    def __init__(self) -> None:
        self.executions = 0
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.left: list[str] = []

    async def meet(self) -> str:
        self.executions += 1
        number = self.executions
        if number == 1:
            self.entered.set()
            await self.go_on.wait()
        self.left.append(f"execution {number}")
        return f"execution {number}"


@on_every_store
async def test_a_stale_worker_neither_overwrites_a_result_nor_ends_the_run(store: StateStore) -> None:
    """It did not notice that its lease expired; its step ends long after another worker finished the run."""
    place = Rendezvous()

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        return [await ctx.step(place.meet), await ctx.step(place.meet)]

    async with running_worker(interposed(store, _Stale().between), flow, config=STALE) as (stale, stale_worker):
        handle = await stale.start(flow)
        await place.entered.wait()
        async with running_engine(store, flow, config=tuned(SHORT_LEASE, lease=timedelta(seconds=30))) as fresh:
            assert await fresh.handle(handle.run_id).result("60s") == ["execution 2", "execution 3"]
            run, history = await store.find_run(handle.run_id), await store.list_checkpoints(handle.run_id)
            place.go_on.set()
            await until(lambda: is_idle(stale_worker))
        assert place.left == ["execution 2", "execution 3", "execution 1"], CUT_OFF
        assert await store.find_run(handle.run_id) == run
        assert await store.list_checkpoints(handle.run_id) == history


@on_every_store
async def test_a_stale_worker_does_not_free_the_lease_of_its_successor(store: StateStore) -> None:
    place, successor = Rendezvous(), Rendezvous()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(place.meet)
        await ctx.step(successor.meet)

    async with running_worker(interposed(store, _Stale().between), flow, config=STALE) as (stale, stale_worker):
        handle = await stale.start(flow)
        await place.entered.wait()
        async with running_engine(store, flow, config=tuned(SHORT_LEASE, lease=timedelta(seconds=30))):
            await successor.entered.wait()
            owned = await handle.run()
            place.go_on.set()
            await until(lambda: is_idle(stale_worker))
            now = await handle.run()
            assert place.left == ["execution 2", "execution 1"], CUT_OFF
            assert (now.status, now.locked_by) == (RunStatus.RUNNING, owned.locked_by)
            successor.go_on.set()
            await handle.result("60s")


@on_every_store
async def test_a_stale_body_that_comes_to_its_end_does_not_end_the_run(store: StateStore) -> None:
    """All it would write is the ending: the same guard holds there."""
    place, successor = Rendezvous(), Rendezvous()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        mine = await place.meet()
        if mine == "execution 1":
            return "stale"
        return await ctx.step(successor.meet)

    async with running_worker(interposed(store, _Stale().between), flow, config=STALE) as (stale, stale_worker):
        handle = await stale.start(flow)
        await place.entered.wait()
        async with running_engine(store, flow, config=tuned(SHORT_LEASE, lease=timedelta(seconds=30))) as fresh:
            await successor.entered.wait()
            place.go_on.set()
            await until(lambda: is_idle(stale_worker))
            assert place.left == ["execution 2", "execution 1"], CUT_OFF
            assert await has_status(handle, RunStatus.RUNNING)
            successor.go_on.set()
            assert await fresh.handle(handle.run_id).result("60s") == "execution 1"


async def test_a_transaction_of_a_stale_worker_is_undone(store: StateStore) -> None:
    """Its body wrote before the lease was lost; the commit is refused."""
    place = Rendezvous()

    async def book(tx: object) -> str:
        return await place.meet()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.transaction(book)

    # The memory store lets nobody else in while a transaction is open, so the other worker is played by hand.
    async def seize(name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name == "record_checkpoint":
            transaction = call.func.__self__  # type: ignore[attr-defined]
            await transaction.lock_run(call.args[0].run_id)
            await transaction.update_run(call.args[0].run_id, {"locked_by": "another worker"})
        return await call()

    async with running_worker(interposed(store, seize), flow) as (engine, worker):
        place.go_on.set()
        handle = await engine.start(flow)
        await place.entered.wait()
        await until(lambda: is_idle(worker))
        assert await store.list_checkpoints(handle.run_id) == []
        assert not (await handle.status()).is_terminal


async def test_a_step_under_way_is_ended_when_the_lease_is_lost(store: StateStore) -> None:
    """The worker notices with its next renewal, and does not let the step work on beside its successor's."""
    place = Rendezvous()
    cut_off = asyncio.Event()

    @step
    async def work() -> str:
        try:
            return await place.meet()
        except asyncio.CancelledError:
            cut_off.set()
            raise

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.step(work)

    async with running_worker(store, flow, config=tuned(SHORT_LEASE, lease=timedelta(milliseconds=300))) as (
        engine,
        _,
    ):
        handle = await engine.start(flow)
        await place.entered.wait()
        await store.update_run(handle.run_id, {"locked_by": "another worker"})
        async with asyncio.timeout(60):
            await cut_off.wait()
        # The other worker does nothing, so its lease expires, and this one finds the run again.
        assert await handle.result("60s") == "execution 2"


async def test_a_step_under_way_is_ended_when_no_renewal_succeeds_until_the_lease_expires(store: StateStore) -> None:
    place = Rendezvous()
    cut_off = asyncio.Event()
    silent = True

    async def hang(name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name == "renew_leases" and silent:
            await asyncio.Event().wait()
        return await call()

    @step
    async def work() -> str:
        try:
            return await place.meet()
        except asyncio.CancelledError:
            cut_off.set()
            raise

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.step(work)

    async with running_worker(interposed(store, hang), flow, config=tuned(SHORT_LEASE, concurrency=1)) as (engine, _):
        handle = await engine.start(flow)
        async with asyncio.timeout(60):
            await cut_off.wait()
        silent = False
        assert await handle.result("60s") == "execution 2"


async def test_a_worker_that_takes_its_own_expired_run_again_ends_the_turn_before(
    store: StateStore,
) -> None:
    """The lease expired because renewals went nowhere; one process must not drive a run twice at a time."""
    executions: list[bool] = []

    @step
    async def work() -> int:
        executions.append(False)
        number = len(executions)
        if number == 1:
            try:
                await asyncio.Event().wait()
            finally:
                executions[0] = True
        return number

    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.step(work)

    async with running_worker(interposed(store, _believe), flow, config=SHORT_LEASE) as (engine, worker):
        handle = await engine.start(flow)
        assert await handle.result("60s") == 2
        await until(lambda: is_idle(worker))
        assert executions == [True, False], "the first execution was not ended"


async def test_a_long_step_keeps_its_lease_by_renewal(store: StateStore) -> None:
    """It takes several leases' time while another worker looks for work all along."""
    executions = 0

    @step
    async def work() -> None:
        nonlocal executions
        executions += 1
        await asyncio.sleep(0.4)

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(work)

    config = tuned(SHORT_LEASE, lease=timedelta(milliseconds=150))
    async with running_engine(store, flow, config=config) as engine, running_engine(store, flow, config=config):
        await (await engine.start(flow)).result("60s")
    assert executions == 1


async def test_one_renewal_that_fails_costs_no_lease(store: StateStore) -> None:
    """The next one comes in time: an outage is shorter than a lease, or it is one."""
    renewals: list[str] = []
    renewed_again = asyncio.Event()
    executions = 0

    async def fail_once(name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name != "renew_leases":
            return await call()
        renewals.append("failed" if not renewals else "made")
        if renewals == ["failed"]:
            raise OSError("the database is away")
        held = await call()
        renewed_again.set()
        return held

    @step
    async def work() -> None:
        nonlocal executions
        executions += 1
        await renewed_again.wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(work)

    config = tuned(SHORT_LEASE, lease=timedelta(seconds=3), show_running_after=timedelta(hours=1))
    async with running_engine(interposed(store, fail_once), flow, config=config) as engine:
        handle = await engine.start(flow)
        await handle.result("60s")
        assert (await handle.run()).recovery_attempts is None
    assert executions == 1
    assert renewals[:2] == ["failed", "made"]


async def test_a_cancel_of_which_nobody_tells_ends_the_step_at_the_next_renewal(store: StateStore) -> None:
    """The run keeps its lease until it is undone, so its worker learns of the cancel by the renewal alone."""
    entered = asyncio.Event()

    @step
    async def work() -> None:
        entered.set()
        await asyncio.Event().wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(work)

    config = tuned(SHORT_LEASE, lease=timedelta(milliseconds=300), show_running_after=timedelta(hours=1))
    async with running_engine(store, flow, config=config) as engine:
        handle = await engine.start(flow)
        await entered.wait()
        await build_engine(store, flow).cancel(handle.run_id, compensate=True)
        with pytest.raises(RunCancelledError):
            await handle.result("60s")


async def holds_nothing(worker: Worker) -> bool:
    return not worker._held_leases.tokens()


async def test_a_worker_keeps_nothing_of_a_run_that_ends_while_its_lease_is_renewed(store: StateStore) -> None:
    """Else a process that lives long would fill its memory with moments of runs that are long gone."""
    go_on, answered = asyncio.Event(), asyncio.Event()

    async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
        answer = await call()
        if name == "renew_leases":
            go_on.set()
            await until(lambda: is_idle(worker))
            answered.set()
        return answer

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.local_step("wait", go_on.wait)

    config = tuned(SHORT_LEASE, lease=timedelta(seconds=3), show_running_after=timedelta(hours=1))
    async with running_worker(interposed(store, between), flow, config=config) as (engine, worker):
        await engine.start(flow)
        async with asyncio.timeout(60):
            await answered.wait()
        # A look for work that is under way holds a token of its own for a moment.
        await until(lambda: holds_nothing(worker))


@on_every_store
async def test_a_terminal_run_stays_as_it_is(store: StateStore) -> None:
    """A turn that goes on after the run was ended from outside can neither complete it nor bring it back to life."""
    place = Rendezvous()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.step(place.meet)
        await ctx.sleep("1 ms")
        return "completed"

    async with running_worker(store, flow) as (engine, worker):
        handle = await engine.start(flow)
        await place.entered.wait()
        run = await handle.run()
        assert await settle_run(store, SystemClock(), run, RunStatus.CANCELLED, statuses=[RunStatus.RUNNING])
        ended = await handle.run()
        place.go_on.set()
        await until(lambda: is_idle(worker))
        assert await handle.run() == ended
        assert not await settle_run(store, SystemClock(), run, RunStatus.COMPLETED, statuses=[RunStatus.RUNNING])
