"""`on_success=` and `on_failure=`: what follows the end of a run, once for each ending."""

import itertools
from contextlib import suppress
from typing import Any

import pytest

from fastapi_durable.declare.definition import Singleton, step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.upkeep.follow_up import EndedRun
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import RunFailedError, WorkflowNotRegisteredError
from fastapi_durable.model.records import Run, RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from tests.support.crashing_store import Fuse, Moment, ProcessDied, crashing
from tests.support.engine_rig import build_engine, build_machinery, run_has, running_engine, until
from tests.support.stores import on_every_store


@workflow(name="clerk")
async def clerk(ctx: WorkflowContext, ended: EndedRun) -> list[Any]:
    error = None if ended.error is None else ended.error["message"]
    return [ended.run_id, ended.workflow, ended.status, ended.input, ended.output, error]


@workflow(name="worker", on_success=clerk, on_failure="clerk")
async def worker(ctx: WorkflowContext, number: int) -> int:
    if number < 0:
        raise ValueError("a number is not negative")
    return number * 2


async def follow_ups(store: StateStore) -> list[Run]:
    return [run for run in await store.list_runs(RunQuery()) if run.id.startswith("ended")]


@on_every_store
async def test_the_end_of_a_run_starts_what_follows_with_what_it_came_to(store: StateStore) -> None:
    async with running_engine(store, worker, clerk) as engine:
        assert await engine.execute(worker, 4, run_id="good", timeout="60s") == 8
        with pytest.raises(RunFailedError):
            await engine.execute(worker, -1, run_id="bad", timeout="60s")
        assert await engine.handle("ended:good", clerk).result("60s") == ["good", "worker", "completed", 4, 8, None]
        told = await engine.handle("ended:bad", clerk).result("60s")
        assert told == ["bad", "worker", "failed", -1, None, "a number is not negative"]
        assert len(await follow_ups(store)) == 2


@on_every_store
@pytest.mark.parametrize("number", [4, -1])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_worker_that_dies_while_it_ends_a_run_leaves_one_follow_up(
    store: StateStore, moment: Moment, number: int
) -> None:
    """At every write: either another one ends the run and starts what follows, or both were done."""
    for at in itertools.count(1):
        fuse = Fuse(at, moment)
        await build_engine(store, worker, clerk).start(worker, number, run_id=f"r{at}")
        now = SystemClock().now()
        (run,) = await store.claim_runs("t", now=now, until=now, limit=1)
        with suppress(ProcessDied):
            await build_machinery(crashing(store, fuse), worker, clerk).driver(run, "t").drive()
        async with running_engine(store, worker, clerk) as engine:
            await until(run_has(store, f"r{at}", RunStatus.COMPLETED, RunStatus.FAILED))
            assert (await engine.handle(f"ended:r{at}", clerk).result("60s"))[0] == f"r{at}"
        assert len(await follow_ups(store)) == at
        if not fuse.blown:
            break
    assert at > 2


@on_every_store
async def test_each_ending_of_a_retried_run_has_a_follow_up_of_its_own(store: StateStore) -> None:
    mended: list[bool] = []

    @step
    async def fail_until_mended() -> str:
        if len(mended) < 2:
            raise ValueError("not mended yet")
        return "mended"

    @workflow(name="broken", on_success=clerk, on_failure=clerk)
    async def broken(ctx: WorkflowContext) -> str:
        return await ctx.step(fail_until_mended)

    async with running_engine(store, broken, clerk) as engine:
        await engine.start(broken, run_id="r")
        for _ in range(2):
            await until(run_has(store, "r", RunStatus.FAILED))
            mended.append(True)
            await engine.retry("r")
        await until(run_has(store, "r", RunStatus.COMPLETED))
        statuses = [
            (await engine.handle(run_id, clerk).result("60s"))[2] for run_id in ("ended:r", "ended@2:r", "ended@3:r")
        ]
        assert statuses == ["failed", "failed", "completed"]
        assert len(await follow_ups(store)) == 3


async def test_a_plain_function_becomes_a_workflow_of_its_own(store: StateStore) -> None:
    async def applaud(ctx: WorkflowContext, ended: EndedRun) -> str:
        return f"{ended.run_id} made {ended.output}"

    @workflow(name="singer", on_success=applaud)
    async def singer(ctx: WorkflowContext) -> str:
        return "a song"

    async with running_engine(store, singer) as engine:
        await engine.execute(singer, run_id="r", timeout="60s")
        assert await engine.handle("ended:r", applaud).result("60s") == "r made a song"
    (run,) = await follow_ups(store)
    assert run.workflow == "singer.on_success"


async def test_only_the_last_run_of_a_chain_has_ended(store: StateStore) -> None:
    @workflow(name="hopping", on_success=clerk)
    async def hopping(ctx: WorkflowContext, hops: int) -> str:
        if hops:
            ctx.continue_as_new(hops - 1)
        return "arrived"

    async with running_engine(store, hopping, clerk) as engine:
        await engine.execute(hopping, 2, run_id="r", timeout="60s")
        assert (await engine.handle("ended:r~2", clerk).result("60s"))[4] == "arrived"
        assert [run.id for run in await follow_ups(store)] == ["ended:r~2"]


async def test_a_cancelled_run_is_followed_by_nothing(store: StateStore) -> None:
    @workflow(name="waiting", on_success=clerk, on_failure=clerk)
    async def waiting(ctx: WorkflowContext) -> None:
        await ctx.wait_for_signal("never")

    async with running_engine(store, waiting, clerk) as engine:
        for run_id, compensate in (("plain", False), ("undone", True)):
            await engine.start(waiting, run_id=run_id)
            await until(run_has(store, run_id, RunStatus.SUSPENDED))
            await engine.cancel(run_id, compensate=compensate)
            await until(run_has(store, run_id, RunStatus.CANCELLED))
        assert await follow_ups(store) == []


async def test_what_follows_is_followed_by_nothing(store: StateStore) -> None:
    """A workflow may name itself."""

    @workflow(name="again", on_success="again")
    async def again(ctx: WorkflowContext, _: Any = None) -> str:
        return ctx.run_id

    async with running_engine(store, again) as engine:
        await engine.execute(again, run_id="r", timeout="60s")
        assert await engine.handle("ended:r", again).result("60s") == "ended:r"
        assert await engine.execute(again, timeout="60s")
        assert {run.id for run in await follow_ups(store) if run.id.count("ended") > 1} == set()


async def test_a_run_ends_though_what_is_to_follow_does_not_take_it(
    store: StateStore, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow(name="picky")
    async def picky(ctx: WorkflowContext, number: int) -> None: ...

    @workflow(name="loose", on_success=picky)
    async def loose(ctx: WorkflowContext) -> str:
        return "done"

    async with running_engine(store, loose, picky) as engine:
        assert await engine.execute(loose, timeout="60s") == "done"
    assert "what is to follow cannot be started" in caplog.text
    assert await follow_ups(store) == []


async def test_a_follow_up_that_a_bound_refuses_is_told(store: StateStore, caplog: pytest.LogCaptureFixture) -> None:
    @workflow(name="crowded", singleton=Singleton(key=lambda _: "k", max_queue_depth=0))
    async def crowded(ctx: WorkflowContext, ended: EndedRun) -> None:
        await ctx.wait_for_signal("never")

    @workflow(name="busy", on_success=crowded)
    async def busy(ctx: WorkflowContext) -> None: ...

    async with running_engine(store, busy, crowded) as engine:
        for run_id in ("first", "second"):
            await engine.execute(busy, run_id=run_id, timeout="60s")
        assert [run.id for run in await follow_ups(store)] == ["ended:first"]
    assert "run ended:second of workflow 'crowded' was not started" in caplog.text


def test_a_workflow_that_nobody_registered_is_refused_at_the_start(store: StateStore) -> None:
    @workflow(name="hopeful", on_success="nowhere")
    async def hopeful(ctx: WorkflowContext) -> None: ...

    with pytest.raises(WorkflowNotRegisteredError, match="nowhere"):
        build_engine(store, hopeful)
