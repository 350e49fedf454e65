"""What a dashboard or an operator sees of runs, and can do to them."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from fastapi_durable import (
    BulkCancellation,
    DurableModule,
    DurableOptions,
    DurableRuntime,
    MemoryStateStore,
    Queue,
    RunGateway,
    RunQuery,
    RunStatus,
    WorkflowContext,
    workflow,
)
from fastapi_durable.errors import RunNotFoundError
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.records import Checkpoint, CheckpointKind, CheckpointStatus, Run, RunFacet, SignalWaiter
from fastapi_durable.service.inspection import Inspection, Timeline
from fastapi_durable.service.operations import Operations
from fastapi_durable.service.waiting import Waiting
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
    async with asyncio.timeout(60):
        while not await runtime.service.waiting_for([run_id]):  # noqa: ASYNC110 (the store has no event for it)
            await asyncio.sleep(0.002)


async def test_a_run_is_shown_with_its_checkpoints_and_children(runtime: DurableRuntime) -> None:
    await runtime.service.execute(checkout, Order(id="7"), run_id="run", timeout="60s")
    for number in (1, 2):
        child = replace(stored_run(f"child {number}", age=-number), parent_run_id="run", parent_seq=number)
        await runtime.store.create_run(child)
    detail = await runtime.service.get_run_detail("run")
    assert detail is not None
    assert detail.run.status is RunStatus.COMPLETED
    assert [checkpoint.name for checkpoint in detail.timeline] == ["charge"]
    assert detail.children == ["child 1", "child 2"]
    assert detail.waiting is None


async def test_an_unknown_run_has_no_detail(runtime: DurableRuntime) -> None:
    assert await runtime.service.get_run_detail("nobody") is None


async def test_runs_are_listed_newest_first_with_what_they_wait_for(runtime: DurableRuntime) -> None:
    await runtime.store.create_run(stored_run("old", age=60, status=RunStatus.FAILED))
    await runtime.service.start(approval, "approve:7", run_id="waiting")
    await suspended(runtime, "waiting")
    listed = await runtime.service.list_runs()
    assert [(each.run.id, each.waiting) for each in listed] == [
        ("waiting", Waiting("signal", "approve:7")),
        ("old", None),
    ]
    assert [each.run.id for each in await runtime.service.list_runs(RunQuery(status=RunStatus.FAILED))] == ["old"]
    assert await runtime.service.count_runs() == 2
    assert set(await runtime.service.run_facets()) == {
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
        ("event:!!!:e30=:run#1", Waiting("engine", "event:!!!:e30=:run#1")),
        ("event:", Waiting("event", "")),
    ],
)
async def test_the_token_of_a_waiter_says_what_it_waits_for(
    runtime: DurableRuntime, token: str, waiting: Waiting
) -> None:
    await runtime.store.create_run(stored_run("run"))
    await runtime.store.put_signal_waiter(SignalWaiter(token=token, run_id="run", seq=1))
    await runtime.store.put_signal_waiter(SignalWaiter(token="a later one", run_id="run", seq=2))
    assert await runtime.service.waiting_for(["run", "nobody"]) == {"run": waiting}


async def test_only_a_suspended_run_waits(runtime: DurableRuntime) -> None:
    await runtime.store.create_run(stored_run("run", status=RunStatus.BLOCKED))
    await runtime.store.put_signal_waiter(SignalWaiter(token="token", run_id="run", seq=1))
    assert await runtime.service.waiting_for(["run"]) == {}
    assert await runtime.service.waiting_for([]) == {}


async def test_a_run_can_be_cancelled_in_its_own_namespace_only(runtime: DurableRuntime) -> None:
    handle = await runtime.service.start(approval, "approve:7", run_id="waiting")
    await suspended(runtime, "waiting")
    cancelled = await runtime.service.cancel("waiting")
    assert cancelled.status is RunStatus.CANCELLED
    assert await handle.status() is RunStatus.CANCELLED
    await runtime.store.create_run(replace(stored_run("foreign"), namespace="bank"))
    for run_id in ("foreign", "nobody"):
        with pytest.raises(RunNotFoundError):
            await runtime.service.cancel(run_id)
    foreign = await runtime.store.find_run("foreign")
    assert foreign is not None
    assert foreign.status is RunStatus.SUSPENDED


async def asked_of(gateway: RunGateway, run_id: str) -> dict[str, object]:
    """What every method of a gateway answers about a run that has ended, or that there is none."""
    foreign = RunQuery(tag="asked")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "get_run_detail": lambda: gateway.get_run_detail(run_id),
        "list_runs": lambda: gateway.list_runs(foreign),
        "get_timeline": lambda: gateway.get_timeline(run_id, limit=5),
        "list_children": lambda: gateway.list_children(run_id, limit=5),
        "count_runs": lambda: gateway.count_runs(foreign),
        "run_facets": lambda: gateway.run_facets(foreign),
        "waiting_for": lambda: gateway.waiting_for([run_id]),
        "queues": gateway.queues,
        "workers": gateway.workers,
        "cancel": lambda: gateway.cancel(run_id),
        "cancel_where": lambda: gateway.cancel_where(foreign),
        "pause": lambda: gateway.pause(run_id),
        "resume": lambda: gateway.resume(run_id),
        "retry": lambda: gateway.retry(run_id),
        "retry_with_input": lambda: gateway.retry_with_input(run_id, "again"),
        "fork": lambda: gateway.fork(run_id, from_step=0),
        "delete_run": lambda: gateway.delete_run(run_id, force=True),
    }
    answers: dict[str, object] = {}
    for name, call in calls.items():
        try:
            answers[name] = await call()
        except RunNotFoundError:
            answers[name] = "no such run"
    return answers


async def test_a_gateway_that_is_confined_to_a_namespace_sees_and_touches_nothing_of_another() -> None:
    store = MemoryStateStore()
    options = DurableOptions(store=store, role="api", queues=[Queue("mail")])
    async with DurableModule.for_root(options, workflows=[approval]).running() as runtime:
        await store.create_run(replace(stored_run("run"), tags=("asked",)))
        await store.create_run(replace(stored_run("child"), parent_run_id="run", parent_seq=1))
        await store.put_signal_waiter(SignalWaiter(token="token", run_id="run", seq=1))
        await store.save_checkpoint(
            Checkpoint(
                run_id="run",
                seq=0,
                step_id="run:0",
                name="step",
                kind=CheckpointKind.LOCAL,
                status=CheckpointStatus.COMPLETED,
                started_at=SystemClock().now(),
                finished_at=SystemClock().now(),
            )
        )
        before = [await store.find_run("run"), await store.list_checkpoints("run"), await store.list_signal_waiters()]
        answers = await asked_of(runtime.service.in_namespace("bank"), "run")
        methods = {name for name in vars(Inspection) | vars(Operations) if not name.startswith("_")}
        assert answers.keys() == methods, "a new method has to be asked, too"
        touching = ("cancel", "pause", "resume", "retry", "retry_with_input", "fork")
        assert {name: answer for name, answer in answers.items() if answer not in ([], {}, 0, None)} == {
            "get_timeline": Timeline([], total=0, version=answers["get_timeline"].version),  # type: ignore[attr-defined]
            "cancel_where": BulkCancellation(),
            **dict.fromkeys(touching, "no such run"),
        }
        assert before == [
            await store.find_run("run"),
            await store.list_checkpoints("run"),
            await store.list_signal_waiters(),
        ]
        shop = runtime.service.in_namespace("shop")
        assert [listed.run.id for listed in await shop.list_runs(RunQuery(tag="asked"))] == ["run"]
        assert (await shop.cancel("run")).status is RunStatus.CANCELLED


async def test_a_gateway_of_a_namespace_is_not_confined_to_another(runtime: DurableRuntime) -> None:
    assert runtime.service.in_namespace("shop") is runtime.service.in_namespace(None) is runtime.service
    with pytest.raises(ValueError, match="namespace must be 'shop', to which this gateway is confined, got 'bank'"):
        runtime.service.in_namespace("bank")
