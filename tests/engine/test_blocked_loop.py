"""A step that blocks its event loop: the process lives, and keeps its runs. The clock is moved by hand."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from example_app.clients.sqlite import Prisma as SqlitePrisma
from fastapi_durable import PrismaStateStore, WorkflowContext, step, workflow
from fastapi_durable.engine.turns import lifetime
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.testing import HandClock
from tests.support.elsewhere import elsewhere, opened_store
from tests.support.engine_rig import FAST, build_engine, build_machinery, running_engine, tuned, until
from tests.support.interposed_store import interposed

pytestmark = pytest.mark.slow

LEASE = timedelta(seconds=3)
CONFIG = tuned(FAST, lease=LEASE, max_recovery_attempts=1)
INNOCENTS = 20


class Scene:
    """What happens in one test: a step that blocks and steps beside it, until they may go on."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget what happened before."""
        self.clock = HandClock()
        self.executed: Counter[str] = Counter()
        self.blocked = threading.Event()
        self.go_on = threading.Event()

    def block(self) -> None:
        """Hold the event loop, the first time."""
        if not self.blocked.is_set():
            self.blocked.set()
            assert self.go_on.wait(60)

    async def is_blocked(self) -> bool:
        return self.blocked.is_set()

    async def have_begun(self, number: int) -> bool:
        return len(self.executed) == number

    async def three_leases_pass(self, store: StateStore) -> None:
        """Whoever wants to keep a lease has to renew it six times."""
        for _ in range(6):
            self.clock.move(seconds=0.6 * LEASE.total_seconds())
            await until(partial(self._all_are_renewed, store))

    async def _all_are_renewed(self, store: StateStore) -> bool:
        running = await store.list_runs(RunQuery(status=RunStatus.RUNNING, limit=100))
        return all(run.locked_until and run.locked_until - self.clock.now() > LEASE / 2 for run in running)

    @asynccontextmanager
    async def worker(self, url: str, *workflows: Any, between: Any = None, **config: Any) -> AsyncIterator[Any]:
        """A worker with a client of its own, in the event loop that opens it."""
        async with opened_store(url) as opened:
            store = opened if between is None else interposed(opened, between, separate=True)
            async with running_engine(store, *workflows, config=tuned(CONFIG, **config), clock=self.clock) as engine:
                yield engine

    def engine(self, store: StateStore, *workflows: Any) -> WorkflowService:
        """One that starts runs and drives none."""
        return build_engine(store, *workflows, config=CONFIG, clock=self.clock)


scene = Scene()


@pytest.fixture(autouse=True)
def a_new_scene() -> None:
    scene.begin()


@step
async def parse(name: str) -> str:
    scene.executed[name] += 1
    scene.block()
    return name


@step
async def look(name: str) -> str:
    scene.executed[name] += 1
    while scene.executed[name] == 1 and not scene.go_on.is_set():  # noqa: ASYNC110 (an event of another loop)
        await asyncio.sleep(0.01)
    return name


@workflow
async def blocking(ctx: WorkflowContext, name: str) -> str:
    return await ctx.step(parse, name)


@workflow
async def innocent(ctx: WorkflowContext, name: str) -> str:
    return await ctx.step(look, name)


async def test_what_blocks_an_event_loop_for_three_leases_is_executed_once_and_so_is_everything_beside_it(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Another worker looks for abandoned runs all the time, and finds none."""
    flows = (blocking, innocent)
    async with opened_store(database_url) as store, elsewhere(partial(scene.worker, database_url, *flows)):
        engine = scene.engine(store, *flows)
        names = [f"innocent-{number}" for number in range(INNOCENTS)]
        handles = [await engine.start(innocent, name, run_id=name) for name in names]
        await until(partial(scene.have_begun, INNOCENTS))
        handles.append(await engine.start(blocking, "blocker", run_id="blocker"))
        await until(scene.is_blocked)
        async with scene.worker(database_url, *flows):
            await scene.three_leases_pass(store)
            await until(lambda: _is_said("has been blocked", caplog))
            scene.go_on.set()
            assert [await handle.result("60s") for handle in handles] == [*names, "blocker"]
        assert {(await handle.run()).recovery_attempts for handle in handles} == {None}
    assert len(scene.executed) == INNOCENTS + 1
    assert set(scene.executed.values()) == {1}
    (warning,) = [record.getMessage() for record in caplog.records if "has been blocked" in record.getMessage()]
    assert "by step 'parse' of run blocker, in Scene.block (" in warning
    assert "test_blocked_loop.py:" in warning


async def _is_said(text: str, caplog: pytest.LogCaptureFixture) -> bool:
    return text in caplog.text


async def test_a_worker_alone_does_not_take_its_own_runs_for_abandoned_after_a_block() -> None:
    """In memory nobody else could renew the leases meanwhile: they are renewed before the next look for work."""
    store = MemoryStateStore()

    @step
    async def block() -> str:
        scene.executed["block"] += 1
        scene.clock.move(seconds=3 * LEASE.total_seconds())
        return "done"

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        done = await ctx.step(block)
        # Time for a look.
        await asyncio.sleep(0.2)
        return done

    async with running_engine(store, flow, config=CONFIG, clock=scene.clock) as engine:
        handle = await engine.start(flow)
        assert await handle.result() == "done"
        assert (await handle.run()).recovery_attempts is None
    assert scene.executed == {"block": 1}


async def test_runs_whose_claim_is_answered_while_the_loop_is_blocked_are_kept_as_well(database_url: str) -> None:
    """They are leased in the database, and nothing in the process knows of them yet."""

    async def block_after_the_claim(name: str, call: "partial[Awaitable[Any]]") -> Any:
        answer = await call()
        if name == "claim_runs" and answer:
            scene.block()
        return answer

    async with opened_store(database_url) as store:
        handles = [await scene.engine(store, innocent).start(innocent, str(each)) for each in range(INNOCENTS)]
        worker = partial(scene.worker, database_url, innocent, between=block_after_the_claim)
        async with elsewhere(worker):
            await until(scene.is_blocked)
            async with scene.worker(database_url, innocent):
                await scene.three_leases_pass(store)
                scene.go_on.set()
                assert [await handle.result("60s") for handle in handles] == [str(each) for each in range(INNOCENTS)]
        assert {(await handle.run()).recovery_attempts for handle in handles} == {None}
    assert set(scene.executed.values()) == {1}


async def test_a_run_that_is_started_while_the_loop_is_blocked_is_kept_as_well(database_url: str) -> None:
    """It is created with a lease of this worker, which does not know yet that it was."""

    async def block_after_the_start(name: str, call: "partial[Awaitable[Any]]") -> Any:
        answer = await call()
        if name == "create_run":
            scene.block()
        return answer

    @asynccontextmanager
    async def starting_worker() -> AsyncIterator[None]:
        async with scene.worker(database_url, innocent, between=block_after_the_start) as engine:
            task = asyncio.create_task(engine.start(innocent, "one", run_id="one"))
            yield
            await task

    async with opened_store(database_url) as store:
        async with elsewhere(starting_worker):
            await until(scene.is_blocked)
            async with scene.worker(database_url, innocent):
                await scene.three_leases_pass(store)
                scene.go_on.set()
                handle = scene.engine(store, innocent).handle("one", innocent)
                assert await handle.result("60s") == "one"
        assert (await handle.run()).recovery_attempts is None
    assert scene.executed == {"one": 1}


async def test_leases_are_kept_while_renewals_in_the_event_loop_come_to_nothing(database_url: str) -> None:
    """As when every connection of the pool is taken."""

    async def hang(name: str, call: "partial[Awaitable[Any]]") -> Any:
        return await (asyncio.Event().wait() if name == "renew_leases" else call())

    async with opened_store(database_url) as store:
        handle = await scene.engine(store, innocent).start(innocent, "one")
        async with elsewhere(partial(scene.worker, database_url, innocent, between=hang)):
            await until(partial(scene.have_begun, 1))
            async with scene.worker(database_url, innocent):
                await scene.three_leases_pass(store)
                scene.go_on.set()
                assert await handle.result("60s") == "one"
        assert (await handle.run()).recovery_attempts is None
    assert scene.executed == {"one": 1}


async def test_a_loop_that_is_blocked_for_ten_leases_loses_its_runs_and_only_what_blocks_it_counts_a_crash(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are handed back at once; the one that blocks would block the next worker, too."""
    lease = timedelta(milliseconds=200)
    flows = (blocking, innocent)
    async with opened_store(database_url) as store:
        engine = scene.engine(store, *flows)
        held_up = [await engine.start(innocent, str(number)) for number in range(3)]
        async with elsewhere(partial(scene.worker, database_url, *flows, lease=lease)):
            await until(partial(scene.have_begun, 3))
            blocker = await engine.start(blocking, "blocker")
            await until(scene.is_blocked)
            async with scene.worker(database_url, *flows):
                assert [await handle.result("60s") for handle in held_up] == ["0", "1", "2"]
                assert scene.executed["blocker"] == 1
                scene.clock.move(seconds=2 * lease.total_seconds())
                assert await blocker.result("60s") == "blocker"
            scene.go_on.set()
        assert {(await handle.run()).recovery_attempts for handle in held_up} == {None}
        assert (await blocker.run()).recovery_attempts == 1
    assert set(scene.executed.values()) == {2}
    assert "longer than 10 leases" in caplog.text


async def test_nothing_is_renewed_any_more_once_the_worker_has_stopped(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it could not hand back is found by others when the lease ends."""
    monkeypatch.setattr(lifetime, "_UNWIND_TIMEOUT", 0.05)
    released = asyncio.Event()

    @step
    async def stubborn() -> None:
        scene.executed["stubborn"] += 1
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(stubborn)

    async with opened_store(sqlite_url) as store:
        worker = Worker(machinery := build_machinery(store, flow, config=CONFIG))
        engine = WorkflowService(machinery.kernel)
        await worker.start()
        handle = await engine.start(flow)
        await until(partial(scene.have_begun, 1))
        await worker.stop(timedelta(milliseconds=10))
        assert (await handle.run()).locked_until is not None
        await until(_no_thread_is_left)
        released.set()
        await until(lambda: _has_recorded(store, handle.run_id))


async def _has_recorded(store: StateStore, run_id: str) -> bool:
    return any(row.status.is_finished for row in await store.list_checkpoints(run_id))


async def test_the_thread_ends_with_an_event_loop_that_is_closed_without_a_stop(sqlite_url: str) -> None:
    """As that of a process that ends by an error."""

    async def begin() -> None:
        async with opened_store(sqlite_url) as store:
            await Worker(build_machinery(store, innocent, config=CONFIG)).start()

    await asyncio.to_thread(asyncio.run, begin())
    await until(_no_thread_is_left)


async def _no_thread_is_left() -> bool:
    return all(thread.name != "durable lease keeper" for thread in threading.enumerate())


async def test_a_client_that_cannot_be_made_twice_is_named_at_the_start(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its leases are renewed in the event loop alone."""

    class OwnPrisma(SqlitePrisma):
        def __init__(self, url: str) -> None:
            super().__init__(datasource={"url": url})

    async with OwnPrisma(sqlite_url) as client:
        async with running_engine(PrismaStateStore(client), innocent, config=CONFIG) as engine:
            scene.go_on.set()
            assert await (await engine.start(innocent, "one")).result("60s") == "one"
    (warning,) = [record for record in caplog.records if "cannot be constructed a second time" in record.getMessage()]
    assert warning.levelno == logging.WARNING
    assert "OwnPrisma" in warning.getMessage()


def test_a_database_in_memory_has_no_separate_connection() -> None:
    """Another connection would find another database."""
    assert PrismaStateStore(SqlitePrisma(datasource={"url": "file::memory:"})).separate_connection() is None
