"""A caller waits for a run that no live worker can drive: after a moment it is refused, and the run stays."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import Singleton, step, workflow
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core import live_workers
from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.engine.runs.unserved import Unserved
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import NoWorkerError, ResultTimeoutError
from fastapi_durable.model.records import RunStatus, WorkerRecord
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import (
    FAST,
    SHORT_LEASE,
    build_engine,
    has_status,
    killed_worker,
    run_has,
    running_engine,
    tuned,
    until,
)
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store

Stores = tuple[StateStore, StateStore]
SOON = timedelta(milliseconds=30)
QUEUE = Queue("mail", concurrency=1)
go_on = asyncio.Event()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    global go_on  # noqa: PLW0603 (an event belongs to the loop of its test)
    go_on = asyncio.Event()


@step
async def work() -> str:
    await go_on.wait()
    return "done"


@workflow
async def working(ctx: WorkflowContext) -> str:
    return await ctx.step(work)


@workflow
async def echo(ctx: WorkflowContext, text: str) -> str:
    return text


@workflow(name="echo", version="2")
async def newer_echo(ctx: WorkflowContext, text: str) -> str:
    return text


@workflow(singleton=Singleton(key=lambda _: "only one"))
async def alone(ctx: WorkflowContext, text: str) -> str:
    return await ctx.wait_for_signal(f"go:{text}", str)


@workflow
async def asleep(ctx: WorkflowContext) -> str:
    await ctx.sleep("1h")
    return "awake"


@workflow
async def parent(ctx: WorkflowContext) -> str:
    return await ctx.child(alone, "child")


EVERY = (working, echo, newer_echo, alone, asleep, parent)


def caller(store: StateStore, *, patience: timedelta | str = SOON, **settings: Any) -> WorkflowService:
    """A process that starts runs, and drives none."""
    return build_engine(store, *EVERY, config=tuned(FAST, no_worker_after=patience, **settings), queues=[QUEUE])


def counted(store: StateStore, calls: Counter[str]) -> StateStore:
    async def count(name: str, call: "partial[Awaitable[Any]]") -> Any:
        calls[name] += 1
        return await call()

    return interposed(store, count)


async def beats(store: StateStore, *, workflows: tuple[str, ...], ago: timedelta = timedelta(0)) -> None:
    """A worker of another process says that it lives."""
    beat_at = SystemClock().now() - ago
    await store.save_worker(
        WorkerRecord(
            id="other",
            host="other",
            pid=1,
            version="1",
            workflows=workflows,
            concurrency=1,
            started_at=beat_at,
            beat_at=beat_at,
        )
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker counts as dead after a second without a heartbeat, and as doubtful for half of that."""
    monkeypatch.setattr(live_workers, "WORKER_SILENCE", timedelta(seconds=1))
    monkeypatch.setattr(live_workers, "_DOUBT", timedelta(seconds=0.5))


async def refused(waiting: Awaitable[Any]) -> NoWorkerError:
    with pytest.raises(NoWorkerError) as caught:
        async with asyncio.timeout(30):
            await waiting
    return caught.value


async def has_patience(handle: RunHandle[Any], *, at_least: str = "400ms") -> None:
    with pytest.raises(ResultTimeoutError):
        await handle.result(at_least)


def periods_since(moment: float) -> float:
    """How many times 200 ms have passed."""
    return 1 + (asyncio.get_running_loop().time() - moment) / 0.2


async def test_a_caller_hears_that_there_is_no_worker_and_a_later_worker_drives_the_run(stores: Stores) -> None:
    service = caller(stores[0])
    error = await refused(service.execute(echo, "hello", run_id="r"))
    assert (error.run_id, error.workflow, error.version) == ("r", "echo", "1")
    assert "no live worker of namespace 'default' has workflow 'echo' in version '1'" in str(error)
    handle = service.handle("r", echo)
    assert await has_status(handle, RunStatus.PENDING)
    await refused(handle.result())
    async with running_engine(stores[1], echo):
        await until(run_has(stores[0], "r", RunStatus.COMPLETED))
        assert await handle.result() == "hello"


async def test_the_result_arrives_from_a_worker_that_comes_up_during_the_wait(stores: Stores) -> None:
    waiting = asyncio.create_task(caller(stores[0], patience="60s").execute(echo, "hello", run_id="r"))
    await until(run_has(stores[0], "r", RunStatus.PENDING))
    async with running_engine(stores[1], echo):
        assert await waiting == "hello"


async def test_a_worker_that_claims_before_its_first_heartbeat_is_no_reason_to_refuse(stores: Stores) -> None:
    async def starting(name: str, call: "partial[Awaitable[Any]]") -> Any:
        result = await call()
        if name == "list_workers":
            now = SystemClock().now()
            await stores[1].claim_runs("w:1", now=now, until=now + timedelta(minutes=1), limit=1)
        return result

    handle = await caller(interposed(stores[0], starting)).start(echo, "hello")
    await has_patience(handle)
    assert await has_status(handle, RunStatus.RUNNING)


@pytest.mark.parametrize(
    ("knows", "settings"),
    [
        pytest.param([asleep], {}, id="another workflow"),
        pytest.param([newer_echo], {}, id="another version"),
        pytest.param([echo], {"namespace": "theirs"}, id="another namespace"),
    ],
)
async def test_a_worker_that_may_not_drive_the_run_is_none(
    stores: Stores, knows: list[Any], settings: dict[str, Any]
) -> None:
    async with running_engine(stores[1], *knows, config=tuned(FAST, **settings)):
        await until(stores[0].list_workers)
        await refused(caller(stores[0]).execute("echo", "hello", version="1"))


async def has_workers(store: StateStore, number: int) -> bool:
    return len(await store.list_workers()) == number


async def test_old_and_new_versions_side_by_side_are_told_apart(stores: Stores) -> None:
    """As during a rolling deploy."""
    service = caller(stores[0])
    older = running_engine(stores[1], echo, config=tuned(FAST, instance_id="older"))
    async with older, running_engine(stores[1], newer_echo):
        await until(partial(has_workers, stores[0], 2))
        assert await service.execute("echo", "old", version="1") == "old"
        assert await service.execute("echo", "new", version="2") == "new"
    async with running_engine(stores[1], echo):
        assert await service.execute("echo", "old", version="1") == "old"
        await refused(service.execute("echo", "new", version="2"))


async def test_workers_of_all_namespaces_serve_each_of_them(stores: Stores) -> None:
    async with running_engine(stores[1], working, config=tuned(FAST, concurrency=1)):
        await until(stores[0].list_workers)
        for namespace in ("ours", "theirs"):
            await has_patience(await caller(stores[0], namespace=namespace).start(working))
        go_on.set()


@pytest.mark.usefixtures("quick")
async def test_a_worker_that_dies_in_the_middle_is_missed_and_the_next_one_ends_the_run(stores: Stores) -> None:
    service = caller(stores[0])
    async with killed_worker(stores[1], working, config=SHORT_LEASE):
        await until(stores[0].list_workers)
        handle = await service.start(working)
        await until(lambda: has_status(handle, RunStatus.RUNNING))
    waiting = asyncio.create_task(handle.result())
    # Its last heartbeat was a moment ago: it may be a worker with much to do.
    await asyncio.wait([waiting], timeout=0.3)
    assert not waiting.done()
    await refused(waiting)
    go_on.set()
    async with running_engine(stores[1], working):
        await until(lambda: has_status(handle, RunStatus.COMPLETED))
        assert await handle.result() == "done"


@asynccontextmanager
async def stopped(store: StateStore, *workflows: Any, **parts: Any) -> AsyncIterator[WorkflowService]:
    """What happens in the block is driven by a worker; behind it there is none."""
    async with running_engine(store, *workflows, **parts) as service:
        yield service
    assert await store.list_workers() == []


async def test_a_run_that_waits_for_something_else_waits_without_a_worker(stores: Stores) -> None:
    """It is not due. No heartbeat is read for it."""
    calls: Counter[str] = Counter()
    service = caller(counted(stores[0], calls))
    async with stopped(stores[1], *EVERY):
        handles = [
            await service.start(alone, "first"),
            await service.start(asleep),
            await service.start(parent),
            await service.start(echo, "later", delay="1h"),
        ]
        await until(partial(has_status, handles[0], RunStatus.SUSPENDED))
        handles.append(await service.start(alone, "second"))  # waits for the first
        for handle in handles:
            await until(partial(has_status, handle, RunStatus.SUSPENDED))
    paused = await service.start(echo, "held")
    await service.pause(paused.run_id)
    await asyncio.gather(*(has_patience(handle) for handle in [*handles, paused]))
    assert calls["list_workers"] == 0


async def test_a_run_that_becomes_due_counts_from_then_on(stores: Stores) -> None:
    calls: Counter[str] = Counter()
    service = caller(counted(stores[0], calls), patience="100ms")
    handle = await service.start(echo, "later", delay="600ms")
    before = SystemClock().now()
    await refused(handle.result())
    assert SystemClock().now() - before >= timedelta(milliseconds=700)
    assert calls["list_workers"] == 1


async def test_a_run_that_is_cancelled_wants_a_worker_as_well(stores: Stores) -> None:
    service = caller(stores[0])
    async with killed_worker(stores[1], working, config=SHORT_LEASE):
        handle = await service.start(working)
        await until(lambda: has_status(handle, RunStatus.RUNNING))
    await service.cancel(handle.run_id, compensate=True)
    assert await has_status(handle, RunStatus.CANCELLING)
    for worker in await stores[0].list_workers():
        await stores[0].remove_worker(worker.id)
    await refused(handle.result())


async def test_a_full_queue_is_a_reason_to_wait_while_somebody_works_in_it(stores: Stores) -> None:
    service = caller(stores[0])
    async with running_engine(stores[1], working, queues=[QUEUE]):
        first = await service.start(working, queue="mail")
        await until(lambda: has_status(first, RunStatus.RUNNING))
        await until(stores[0].list_workers)
        behind = await service.start(echo, "hello", queue="mail")
        await has_patience(behind)
        go_on.set()
        assert await first.result("60s") == "done"
        await refused(behind.result())
    async with running_engine(stores[1], echo, queues=[QUEUE]):
        await until(partial(has_status, behind, RunStatus.COMPLETED))


async def test_a_full_queue_is_looked_at_once_a_period(stores: Stores) -> None:
    calls: Counter[str] = Counter()
    store = counted(stores[0], calls)
    service = caller(store, patience="200ms")
    async with running_engine(stores[1], working, queues=[QUEUE]):
        first = await service.start(working, queue="mail")
        await until(lambda: has_status(first, RunStatus.RUNNING))
        await until(stores[0].list_workers)
        behind = await (await service.start(echo, "hello", queue="mail")).run()
        unserved = Unserved(store, SystemClock(), service._kernel.live_workers)
        began = asyncio.get_running_loop().time()
        for _ in range(50):
            await unserved.refuse(behind)
            await asyncio.sleep(0.01)
        assert 1 <= calls["list_queues"] <= periods_since(began)
        go_on.set()


async def test_slots_of_dead_workers_keep_no_caller_waiting(stores: Stores) -> None:
    service = caller(stores[0])
    async with killed_worker(stores[1], working, config=SHORT_LEASE, queues=[QUEUE]):
        await service.start(working, queue="mail")
        first = await service.start(working, queue="mail", run_id="first")
        await until(stores[0].list_workers)
    for worker in await stores[0].list_workers():
        await stores[0].remove_worker(worker.id)
    await refused(first.result())


async def test_a_rate_that_is_used_up_is_a_reason_to_wait(stores: Stores) -> None:
    slow = Queue("slow", rate_limit=1, rate_period="1h")
    config = tuned(FAST, no_worker_after=SOON)
    service = build_engine(stores[0], echo, newer_echo, config=config, queues=[slow])
    async with running_engine(stores[1], newer_echo, queues=[slow]):
        assert await service.execute(newer_echo, "first", queue="slow") == "first"
        await until(stores[0].list_workers)
        await has_patience(await service.start("echo", "second", version="1", queue="slow"))


async def test_a_result_that_comes_in_time_costs_no_look_at_the_workers(stores: Stores) -> None:
    calls: Counter[str] = Counter()
    async with running_engine(stores[1], echo):
        assert await caller(counted(stores[0], calls), patience="10s").execute(echo, "hello") == "hello"
    assert calls["list_workers"] == 0


async def test_a_run_that_is_driven_costs_no_look_at_the_workers(stores: Stores) -> None:
    calls: Counter[str] = Counter()
    service = caller(counted(stores[0], calls))
    async with running_engine(stores[1], working):
        handle = await service.start(working)
        await until(lambda: has_status(handle, RunStatus.RUNNING))
        await has_patience(handle)
        go_on.set()
    assert calls["list_workers"] == 0


async def test_all_callers_that_wait_behind_a_busy_worker_share_one_look_a_period(stores: Stores) -> None:
    calls: Counter[str] = Counter()
    service = caller(counted(stores[0], calls), patience="200ms")
    async with running_engine(stores[1], working, echo, config=tuned(FAST, concurrency=1)):
        await until(stores[0].list_workers)
        first = await service.start(working)
        await until(lambda: has_status(first, RunStatus.RUNNING))
        handles = [await service.start(echo, str(number)) for number in range(20)]
        began = asyncio.get_running_loop().time()
        waiting = [asyncio.create_task(has_patience(first, at_least="1s"))]
        for handle in handles:
            waiting.append(asyncio.create_task(has_patience(handle, at_least="1s")))
            await asyncio.wait(waiting, timeout=0.015)
        await asyncio.gather(*waiting)
        assert 1 <= calls["list_workers"] <= 2 * periods_since(began)
        go_on.set()
        assert await asyncio.gather(*(handle.result("60s") for handle in handles)) == list(map(str, range(20)))


async def test_callers_that_are_refused_at_the_same_time_share_a_look(stores: Stores) -> None:
    calls: Counter[str] = Counter()
    service = caller(counted(stores[0], calls))
    handles = [await service.start(echo, str(number)) for number in range(20)]
    await asyncio.gather(*(refused(handle.result()) for handle in handles))
    assert calls["list_workers"] < 20


@on_every_store
async def test_the_worker_of_the_own_process_is_known_without_a_heartbeat(store: StateStore) -> None:
    calls: Counter[str] = Counter()
    config = tuned(FAST, concurrency=1, no_worker_after=SOON)
    async with running_engine(counted(store, calls), working, echo, config=config) as service:
        first = await service.start(working)
        behind = await service.start(echo, "hello")
        await until(store.list_workers)
        (worker,) = await store.list_workers()
        await store.remove_worker(worker.id)
        calls.clear()
        await has_patience(behind)
        assert calls["list_workers"] == 0
        go_on.set()
        assert await first.result("60s") == "done"
        assert await behind.result("60s") == "hello"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ago", [timedelta(minutes=5), -timedelta(minutes=5)], ids=["behind", "ahead"])
async def test_a_worker_whose_clock_is_wrong_is_alive_as_long_as_its_heartbeat_changes(
    stores: Stores, ago: timedelta
) -> None:
    await beats(stores[1], workflows=("echo@1",), ago=ago)
    handle = await caller(stores[0]).start(echo, "hello")
    waiting = asyncio.create_task(handle.result())
    for _ in range(8):
        await asyncio.wait([waiting], timeout=0.25)
        await beats(stores[1], workflows=("echo@1",), ago=ago)
    assert not waiting.done()
    await refused(waiting)


async def test_a_worker_that_died_long_ago_is_none(stores: Stores) -> None:
    await beats(stores[1], workflows=("echo@1",), ago=timedelta(minutes=11))
    async with asyncio.timeout(10):  # it is not watched, which would take longer
        await refused(caller(stores[0]).execute(echo, "hello"))


@pytest.mark.usefixtures("quick")
async def test_a_worker_that_died_some_minutes_ago_is_watched_for_another_heartbeat(stores: Stores) -> None:
    await beats(stores[1], workflows=("echo@1",), ago=timedelta(minutes=5))
    handle = await caller(stores[0]).start(echo, "hello")
    began = asyncio.get_running_loop().time()
    await refused(handle.result())
    assert asyncio.get_running_loop().time() - began >= 0.5


async def test_never_means_that_callers_wait(stores: Stores) -> None:
    calls: Counter[str] = Counter()
    await has_patience(await caller(counted(stores[0], calls), patience="never").start(echo, "hello"))
    assert calls["list_workers"] == 0


async def test_a_chain_whose_worker_is_gone_is_refused_by_its_live_run(stores: Stores) -> None:
    @workflow
    async def hopping(ctx: WorkflowContext, hops: int) -> str:
        if hops:
            ctx.continue_as_new(hops - 1)
        return await ctx.step(work)

    service = build_engine(stores[0], hopping, config=tuned(FAST, no_worker_after=SOON))
    async with running_engine(stores[1], hopping, config=tuned(FAST, shutdown_timeout=SOON)):
        handle = await service.start(hopping, 1, run_id="r")
        await until(run_has(stores[0], "r~1", RunStatus.RUNNING))
    error = await refused(handle.result())
    assert error.run_id == "r~1"
