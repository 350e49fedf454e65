"""A run that is over its execution timeout ends, whatever it and its worker are doing."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import ChildFailedError, RunCancelledError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import FAST, build_engine, has_status, running_engine, tuned, until
from tests.support.stores import on_every_store

HOUR = timedelta(hours=1)
LONG_LEASE = tuned(FAST, lease=HOUR, show_running_after=HOUR, concurrency=1, shutdown_timeout=timedelta(0))
"""Neither a renewal nor a row that shows the step would find out that the run has ended."""


@on_every_store
async def test_the_step_under_way_is_ended_and_its_result_is_not_recorded(store: StateStore) -> None:
    """At once, not when the lease is renewed."""
    entered, cut_off = asyncio.Event(), asyncio.Event()

    @step
    async def endless() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()

    @workflow(execution_timeout="1h")
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.step(endless)
        except Exception:
            return "caught"
        return "done"

    async with running_engine(store, flow, config=LONG_LEASE) as engine:
        handle = await engine.start(flow)
        await entered.wait()
        # A time so short that it passes meanwhile may pass before the step begins.
        await store.update_run(handle.run_id, {"expires_at": datetime.now(UTC)})
        with pytest.raises(RunCancelledError) as ended:
            await handle.result("60s")
        assert ended.value.code == "execution_timeout"
        async with asyncio.timeout(60):
            await cut_off.wait()
        assert not [row for row in await store.list_checkpoints(handle.run_id) if row.status.is_finished]


async def test_a_run_whose_time_passed_while_no_worker_ran_is_not_driven(store: StateStore) -> None:
    """A worker that starts claims it before anybody has looked for runs that are over their time."""
    driven: list[str] = []

    @workflow(execution_timeout="20ms")
    async def flow(ctx: WorkflowContext) -> None:
        driven.append(ctx.run_id)

    handle = await build_engine(store, flow).start(flow)
    await asyncio.sleep(0.05)
    async with running_engine(store, flow):
        with pytest.raises(RunCancelledError) as ended:
            await handle.result("60s")
    assert ended.value.code == "execution_timeout"
    assert driven == []


async def test_runs_end_in_time_while_every_place_of_the_worker_is_taken(store: StateStore) -> None:
    """Those that wait for a place, too."""
    entered = asyncio.Event()

    @workflow
    async def hang(ctx: WorkflowContext) -> None:
        entered.set()
        await asyncio.Event().wait()

    @workflow(execution_timeout="20ms")
    async def hurried(ctx: WorkflowContext) -> None: ...

    async with running_engine(store, hang, hurried, config=LONG_LEASE) as engine:
        await engine.start(hang)
        await entered.wait()
        handle = await engine.start(hurried)
        await until(lambda: has_status(handle, RunStatus.CANCELLED))


async def test_a_run_has_the_time_that_its_own_version_gave_it(store: StateStore) -> None:
    """A newer version, or none that this process knows, neither prolongs nor shortens it."""

    @workflow(name="order", execution_timeout="1ms")
    async def brief(ctx: WorkflowContext) -> None: ...

    @workflow(name="order", version="2", execution_timeout="9h")
    async def patient(ctx: WorkflowContext) -> None: ...

    elsewhere = build_engine(store, brief, patient)
    old, new = await elsewhere.start(brief), await elsewhere.start(patient)
    await until(lambda: _is_over(store, old.run_id))

    @workflow(name="another", execution_timeout="1h")
    async def another(ctx: WorkflowContext) -> None: ...

    async with running_engine(store, another):
        await until(lambda: has_status(old, RunStatus.CANCELLED))
        assert await new.status() is RunStatus.PENDING


async def _is_over(store: StateStore, run_id: str) -> bool:
    run = await store.find_run(run_id)
    assert run is not None
    assert run.expires_at is not None
    return build_engine(store)._kernel.clock.now() > run.expires_at


@workflow
async def waits(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal("never", str)


async def test_a_run_over_its_execution_timeout_is_cancelled_with_its_children() -> None:
    @workflow(execution_timeout="60ms")
    async def timed(ctx: WorkflowContext) -> str:
        return await ctx.child(waits)

    store = MemoryStateStore()
    async with running_engine(store, timed, waits) as engine:
        handle = await engine.start(timed)
        with pytest.raises(RunCancelledError) as caught:
            await handle.result("60s")
        assert caught.value.code == "execution_timeout"
        child = await store.find_run(f"{handle.run_id}.child.0")
        assert child is not None
        assert child.status is RunStatus.CANCELLED
        assert child.error is not None
        assert child.error.code == "execution_timeout"


async def test_a_parent_is_told_that_its_child_timed_out() -> None:
    @workflow(execution_timeout="30ms")
    async def slow(ctx: WorkflowContext) -> None:
        await ctx.wait_for_signal("never")

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.child(slow)
        except ChildFailedError as error:
            return str(error.code)
        return "nothing"

    async with running_engine(MemoryStateStore(), flow, slow) as engine:
        assert await (await engine.start(flow)).result("60s") == "execution_timeout"


async def test_a_pending_run_that_nobody_drives_times_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to by a worker that does not know its workflow, and has no other that can expire: it looks seldom."""
    monkeypatch.setattr("fastapi_durable.engine.upkeep.upkeep._RARE_EXPIRY_INTERVAL", timedelta(milliseconds=20))

    @workflow(execution_timeout="1ms")
    async def elsewhere(ctx: WorkflowContext) -> None: ...

    store = MemoryStateStore()
    handle = await build_engine(store, elsewhere).start(elsewhere)
    async with running_engine(store, waits):
        await until(lambda: has_status(handle, RunStatus.CANCELLED))
