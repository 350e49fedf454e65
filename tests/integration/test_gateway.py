"""What a dashboard or an operator sees of runs, and can do to them."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    DurableRuntime,
    MemoryStateStore,
    RunQuery,
    RunStatus,
    WorkflowContext,
    workflow,
)
from fastapi_durable.app.gateway import Waiting
from fastapi_durable.errors import RunNotFoundError
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.records import Run, RunFacet, SignalWaiter
from tests.integration.order_desk import Order, checkout


@workflow
async def approval(ctx: WorkflowContext, token: str) -> str:
    return str(await ctx.wait_for_signal(token, str))


@pytest.fixture
async def runtime() -> AsyncIterator[DurableRuntime]:
    options = DurableOptions(store=MemoryStateStore(), poll_interval="10ms", namespace="shop")
    async with DurableModule.for_root(options, workflows=[checkout, approval]).running() as runtime:
        yield runtime


def stored_run(run_id: str, *, age: int = 0, status: RunStatus = RunStatus.SUSPENDED) -> Run:
    """A run that nobody here drives: it waits without a time, or has ended."""
    at = SystemClock().now() - timedelta(seconds=age)
    return Run(
        id=run_id,
        workflow="elsewhere",
        workflow_version="1",
        status=status,
        namespace="shop",
        created_at=at,
        updated_at=at,
    )


async def suspended(runtime: DurableRuntime, run_id: str) -> None:
    async with asyncio.timeout(5):
        while not await runtime.gateway.waiting_for([run_id]):  # noqa: ASYNC110 (the store has no event for it)
            await asyncio.sleep(0.002)


async def test_a_run_is_shown_with_its_checkpoints_and_children(runtime: DurableRuntime) -> None:
    await runtime.service.execute(checkout, Order(id="7"), run_id="run", timeout="5s")
    for number in (1, 2):
        child = replace(stored_run(f"child {number}", age=-number), parent_run_id="run", parent_seq=number)
        await runtime.store.create_run(child)
    detail = await runtime.gateway.get_run_detail("run")
    assert detail is not None
    assert detail.run.status is RunStatus.COMPLETED
    assert [checkpoint.name for checkpoint in detail.timeline] == ["charge"]
    assert detail.children == ["child 1", "child 2"]
    assert detail.waiting is None


async def test_an_unknown_run_has_no_detail(runtime: DurableRuntime) -> None:
    assert await runtime.gateway.get_run_detail("nobody") is None


async def test_runs_are_listed_newest_first_with_what_they_wait_for(runtime: DurableRuntime) -> None:
    await runtime.store.create_run(stored_run("old", age=60, status=RunStatus.FAILED))
    await runtime.service.start(approval, "approve:7", run_id="waiting")
    await suspended(runtime, "waiting")
    listed = await runtime.gateway.list_runs()
    assert [(each.run.id, each.waiting) for each in listed] == [
        ("waiting", Waiting("signal", "approve:7")),
        ("old", None),
    ]
    assert [each.run.id for each in await runtime.gateway.list_runs(RunQuery(status=RunStatus.FAILED))] == ["old"]
    assert await runtime.gateway.count_runs() == 2
    assert set(await runtime.gateway.run_facets()) == {
        RunFacet(RunStatus.SUSPENDED, "tests", 1),
        RunFacet(RunStatus.FAILED, None, 1),
    }
    assert await runtime.service.signal("approve:7", "yes")


@pytest.mark.parametrize(
    ("token", "waiting"),
    [
        ("approve:7", Waiting("signal", "approve:7")),
        ("wh:run:3:secret", Waiting("webhook", "wh:run:3")),
        ("bp:run:3", Waiting("breakpoint", "breakpoint")),
        ("child:run.child.1", Waiting("child", "run.child.1")),
        (f"event:{base64.b64encode('größe.changed'.encode()).decode()}:e30=:run#1", Waiting("event", "größe.changed")),
        ("event:!!!:e30=:run#1", Waiting("signal", "event:!!!:e30=:run#1")),
        ("event:", Waiting("signal", "event:")),
    ],
)
async def test_the_token_of_a_waiter_says_what_it_waits_for(
    runtime: DurableRuntime, token: str, waiting: Waiting
) -> None:
    await runtime.store.create_run(stored_run("run"))
    await runtime.store.put_signal_waiter(SignalWaiter(token=token, run_id="run", seq=1))
    await runtime.store.put_signal_waiter(SignalWaiter(token="a later one", run_id="run", seq=2))
    assert await runtime.gateway.waiting_for(["run", "nobody"]) == {"run": waiting}


async def test_only_a_suspended_run_waits(runtime: DurableRuntime) -> None:
    await runtime.store.create_run(stored_run("run", status=RunStatus.BLOCKED))
    await runtime.store.put_signal_waiter(SignalWaiter(token="token", run_id="run", seq=1))
    assert await runtime.gateway.waiting_for(["run"]) == {}
    assert await runtime.gateway.waiting_for([]) == {}


async def test_a_run_can_be_cancelled_in_its_own_namespace_only(runtime: DurableRuntime) -> None:
    handle = await runtime.service.start(approval, "approve:7", run_id="waiting")
    await suspended(runtime, "waiting")
    cancelled = await runtime.gateway.cancel("waiting")
    assert cancelled.status is RunStatus.CANCELLED
    assert await handle.status() is RunStatus.CANCELLED
    await runtime.store.create_run(replace(stored_run("foreign"), namespace="bank"))
    for run_id in ("foreign", "nobody"):
        with pytest.raises(RunNotFoundError):
            await runtime.gateway.cancel(run_id)
    foreign = await runtime.store.find_run("foreign")
    assert foreign is not None
    assert foreign.status is RunStatus.SUSPENDED
