"""Background tasks, and runs that begin later."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import Singleton, step, workflow
from fastapi_durable.declare.queue import Queue
from fastapi_durable.declare.retry import fixed
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.turns.step_log import current_step
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.errors import InputValidationError, RunFailedError, StepNotRegisteredError
from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.service.tasks import DurableTasks
from fastapi_durable.store.base import StateStore
from fastapi_durable.testing import HandClock
from tests.support.engine_rig import (
    FAST,
    build_engine,
    build_machinery,
    is_idle,
    run_has,
    running_engine,
    tuned,
    until,
)
from tests.support.stores import on_every_store

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@workflow
async def greet(ctx: WorkflowContext, name: str) -> str:
    return f"hello {name}"


@workflow(execution_timeout="1h")
async def hurried(ctx: WorkflowContext) -> None:
    await ctx.wait_for_signal("never")


@workflow(singleton=Singleton(key=lambda _: "k"))
async def lonely(ctx: WorkflowContext, name: str) -> str:
    return name


@step(max_attempts=3, backoff=fixed("1ms"))
async def send(address: str) -> str:
    if (current_step().attempt or 0) < 2:
        raise ConnectionError("the server hung up")
    return f"sent to {address}"


@step
def tidy() -> int:
    return 7


@step
async def refuse(address: str = "nobody") -> None:
    raise ValueError(f"no {address}")


@step
async def unknown() -> None: ...


STEPS: list[Callable[..., Any]] = [send, tidy, refuse]


def running(store: StateStore, **parts: Any) -> AbstractAsyncContextManager[WorkflowService]:
    return running_engine(store, greet, steps=STEPS, **parts)


@on_every_store
async def test_a_task_is_a_step_that_is_executed_later_with_its_retries(store: StateStore) -> None:
    async with running(store) as service:
        tasks = DurableTasks(service)
        task = await tasks.add(send, "ada@example.com", tags=["mail"])
        assert await task.result("30s") == "sent to ada@example.com"
        assert await (await tasks.add(tidy)).result("30s") == 7
        assert await (await tasks.add("send", "bob@example.com")).result("30s") == "sent to bob@example.com"
        run = await task.run()
        assert (run.workflow, run.workflow_version, run.tags) == ("send.task", "1", ("mail",))
        (row,) = await store.list_checkpoints(run.id)
        assert (row.name, row.attempts) == ("send", 2)
        failed = await tasks.add(refuse)
        with pytest.raises(RunFailedError, match="no nobody"):
            await failed.result("30s")


@on_every_store
async def test_a_key_names_one_task_of_a_step_in_a_namespace(store: StateStore) -> None:
    tasks = DurableTasks(build_engine(store, steps=STEPS))
    first = await tasks.add(send, "ada", key="mail:7")
    again = await tasks.add(send, "bob", key="mail:7")
    assert (first.created, again.created, again.run_id) == (True, False, first.run_id)
    assert (await again.run()).input == "ada"
    assert tasks.handle(send, key="mail:7").run_id == first.run_id
    assert (await tasks.add(refuse, "ada", key="mail:7")).created
    tenant = DurableTasks(build_engine(store, steps=STEPS, config=tuned(FAST, namespace="bank")))
    assert (await tenant.add(send, "ada", key="mail:7")).created


async def refused(call: Callable[[], Awaitable[object]]) -> type[Exception] | None:
    try:
        await call()
    except Exception as error:
        return type(error)
    return None


@on_every_store
async def test_bad_input_is_refused_where_the_task_is_added(store: StateStore) -> None:
    queues = [Queue("limited", rate_limit=1, rate_period="1h")]
    tasks = DurableTasks(build_engine(store, steps=STEPS, queues=queues))
    number: Any = 7
    text: Any = "noon"
    bad = {
        "input of another type": partial(tasks.add, send, number),
        "no input": partial(tasks.add, "send"),
        "an input for a step without": partial(tasks.add, "tidy", 7),
        "delay": partial(tasks.add, tidy, delay="soon"),
        "a delay that is negative": partial(tasks.add, tidy, delay=timedelta(seconds=-1)),
        "both": partial(tasks.add, tidy, delay="1s", at=NOON),
        "no time zone": partial(tasks.add, tidy, at=NOON.replace(tzinfo=None)),
        "no moment": partial(tasks.add, tidy, at=text),
        "too far": partial(tasks.add, tidy, at=NOON.replace(year=9999)),
        "key": partial(tasks.add, tidy, key=""),
        "key that is too long": partial(tasks.add, tidy, key="x" * 600),
        "queue with a rate limit": partial(tasks.add, tidy, delay="1s", queue="limited"),
    }
    for name, call in bad.items():
        assert await refused(call) is InputValidationError, name
    for stranger in (unknown, "unknown"):
        with pytest.raises(StepNotRegisteredError, match="steps="):
            await tasks.add(stranger)
    # The second is one of a run, and none of a task.
    for option in ("timeout", "search_attributes"):
        options: Any = {option: {}}
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{option}'"):
            await tasks.add(tidy, **options)
    assert await store.count_runs(RunQuery()) == 0


@on_every_store
async def test_a_process_that_lacks_the_step_leaves_the_task_alone(store: StateStore) -> None:
    task = await DurableTasks(build_engine(store, steps=STEPS)).add(tidy)
    async with running_engine(store, greet) as other:
        # Later runs are driven, so it has looked.
        assert await other.execute(greet, "Ada", timeout="30s") == "hello Ada"
        assert await task.status() is RunStatus.PENDING
    async with running(store):
        assert await task.result("30s") == 7


@on_every_store
async def test_a_task_is_added_with_the_transaction_or_not_at_all(store: StateStore) -> None:
    class BodyError(Exception):
        pass

    async def fail(service: WorkflowService) -> None:
        async with service.transaction() as tx:
            await DurableTasks(service).within(tx).add(tidy, key="undone")
            raise BodyError

    async with running(store) as service:
        tasks = DurableTasks(service)
        with pytest.raises(BodyError):
            await fail(service)
        async with service.transaction() as tx:
            task = await tasks.within(tx).add(tidy, key="kept")
            later = await tasks.within(tx).add(tidy, key="later", delay="20ms")
        assert (await task.result("30s"), await later.result("30s")) == (7, 7)
        assert await store.find_run(tasks.handle(tidy, key="undone").run_id) is None


@on_every_store
async def test_a_delayed_run_begins_at_its_time_and_not_before(store: StateStore) -> None:
    clock = HandClock(NOON)
    machinery = build_machinery(store, greet, lonely, hurried, steps=STEPS, clock=clock, queues=[Queue("line")])
    service, worker = WorkflowService(machinery.kernel), Worker(machinery)
    await machinery.declare_queues()
    await worker.start()
    try:
        delayed = await service.start(greet, "Ada", delay="1h", queue="line")
        at = await service.start(lonely, "Bob", at=NOON + timedelta(hours=1))
        signalled = await service.signal_with_start(greet, "Eve", token="t", delay="1h")
        hurry = await service.start(hurried, delay="1h", run_id="hurry")
        past = await service.start(greet, "now", at=NOON - timedelta(days=1))
        assert await past.result("30s") == "hello now"
        clock.move(minutes=59)
        # The worker has looked again when it has driven what was started after the move.
        assert await service.execute(greet, "Zoe", timeout="30s") == "hello Zoe"
        await until(partial(is_idle, worker))
        for handle in (delayed, at, signalled, hurry):
            run = await handle.run()
            assert (run.status, run.wake_at) == (RunStatus.SUSPENDED, NOON + timedelta(hours=1))
            assert await store.list_checkpoints(run.id) == []
        clock.move(minutes=1)
        assert [await each.result("30s") for each in (delayed, at, signalled)] == ["hello Ada", "Bob", "hello Eve"]

        # Its hour begins when it does.
        async def waits() -> bool:
            return bool(await store.list_signal_waiters(run_ids=["hurry"]))

        await until(waits)
        clock.move(minutes=30)
        assert await hurry.status() is not RunStatus.CANCELLED
        clock.move(minutes=31)
        await until(run_has(store, "hurry", RunStatus.CANCELLED))
    finally:
        await worker.stop()


@on_every_store
@pytest.mark.parametrize("compensate", [True, False])
async def test_a_delayed_run_is_cancelled_before_it_begins(store: StateStore, compensate: bool) -> None:
    async with running(store) as service:
        handle = await service.start(greet, "Ada", delay="1 day", run_id="later")
        assert not (await service.start(greet, "Bob", run_id="later")).created
        await service.cancel("later", compensate=compensate)
        await until(run_has(store, "later", RunStatus.CANCELLED))
        assert await store.list_checkpoints(handle.run_id) == []


@on_every_store
async def test_a_look_for_work_offers_delayed_runs_when_they_are_due(store: StateStore) -> None:
    """In one claim with what never waited, and in order of how long each waits for its turn."""
    service = build_engine(store, greet)
    now = service._kernel.clock.now()
    for minutes in range(1, 6):
        await service.start(greet, "Ada", run_id=f"in {minutes}", at=now + timedelta(minutes=minutes))
    later = now + timedelta(minutes=3)
    claimed = await store.claim_runs("t", now=later, until=later + timedelta(minutes=1), limit=10)
    assert [run.id for run in claimed] == ["in 1", "in 2", "in 3"]
