"""Plain `def` steps: nothing can end their threads, so whatever gives one up waits for it."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable import RunStatus, Undo, WorkflowContext, step, workflow
from fastapi_durable.declare.retry import NO_DELAY
from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.engine.turns import lifetime
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.errors import RunCancelledError, RunFailedError, StepFailedError
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, has_status, is_idle, running_engine, running_worker, tuned, until
from tests.support.stores import on_every_store

PATIENT = tuned(FAST, lease=timedelta(minutes=5))
HASTY = tuned(PATIENT, thread_grace=timedelta(milliseconds=20))


class Till:
    """Where a step pays in a thread, and another one pays back."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.alive = self.most_alive = 0
        self.paid: list[str] = []
        self.paid_back: list[str] = []
        self._lock = threading.Lock()

    def pay(self, name: str) -> str:
        with self._lock:
            self.alive += 1
            self.most_alive = max(self.most_alive, self.alive)
        self.entered.set()
        assert self.go_on.wait(60)
        with self._lock:
            self.alive -= 1
        self.paid.append(name)
        return f"receipt of {name}"

    async def is_entered(self) -> bool:
        return self.entered.is_set()


till = Till()


@pytest.fixture(autouse=True)
def a_new_till(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For each test: a thread that outlives its test works at the old one."""
    monkeypatch.setattr(sys.modules[__name__], "till", Till())
    yield
    till.go_on.set()


@step
def pay(name: str) -> str:
    return till.pay(name)


@step
async def pay_back(done: Undo[str, str]) -> None:
    till.paid_back.append(done.output)


@workflow
async def buy(ctx: WorkflowContext) -> str:
    return await ctx.step(pay, "Ada", compensate=pay_back)


@on_every_store
async def test_attempts_of_a_step_never_overlap(store: StateStore) -> None:
    """Each is out of time long before its thread ends; the run fails when the last thread has ended."""

    tills = [Till(), Till(), Till()]
    alive: list[int] = []

    @step(max_attempts=3, timeout="10ms", backoff=NO_DELAY)
    def slow() -> None:
        number = len(alive)
        alive.append(sum(till.alive for till in tills))
        tills[number].pay("slow")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(slow)

    async with running_engine(store, flow, config=PATIENT) as engine:
        handle = await engine.start(flow)
        for number, till in enumerate(tills, start=1):
            await until(till.is_entered)
            # Its limit passes meanwhile, in the same event loop.
            await asyncio.sleep(0.05)
            assert len(alive) == number
            till.go_on.set()
        with pytest.raises(RunFailedError) as caught:
            await handle.result("60s")
        assert caught.value.error is not None
        assert caught.value.error.root.code == "step_timeout"
        assert alive == [0, 0, 0]
        assert [till.alive for till in tills] == [0, 0, 0]
    (row,) = await store.list_checkpoints(handle.run_id)
    assert row.attempts == 3


@on_every_store
async def test_what_a_thread_finishes_after_a_cancel_is_undone(store: StateStore) -> None:
    """The run is cancelled when the thread has ended, and what it did counts as done."""
    async with running_engine(store, buy, config=PATIENT) as engine:
        handle = await engine.start(buy)
        await until(till.is_entered)
        await engine.cancel(handle.run_id, compensate=True)
        await asyncio.sleep(0.1)
        assert await has_status(handle, RunStatus.CANCELLING)
        till.go_on.set()
        with pytest.raises(RunCancelledError):
            await handle.result("60s")
    assert (till.paid, till.paid_back) == (["Ada"], ["receipt of Ada"])


async def fails_and_undoes_what_the_thread_did(store: StateStore, flow: Any) -> None:
    async with running_engine(store, flow, config=PATIENT) as engine:
        handle = await engine.start(flow)
        await until(till.is_entered)
        await asyncio.sleep(0.1)
        assert await has_status(handle, RunStatus.RUNNING)
        till.go_on.set()
        with pytest.raises(RunFailedError):
            await handle.result("60s")
    assert (till.paid, till.paid_back) == (["Ada"], ["receipt of Ada"])


@on_every_store
async def test_what_a_thread_finishes_after_another_branch_failed_is_undone(store: StateStore) -> None:
    @step
    async def refuse() -> None:
        await until(till.is_entered)
        raise ValueError("no")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step(pay, "Ada", compensate=pay_back))
            group.create_task(ctx.step(refuse))

    await fails_and_undoes_what_the_thread_did(store, flow)


async def test_a_branch_that_is_left_behind_in_a_thread_is_waited_for_as_well(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body raises without waiting for the branch."""
    monkeypatch.setattr(lifetime, "_UNWIND_TIMEOUT", 0.01)
    branches: list[asyncio.Task[str]] = []

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        branches.append(asyncio.create_task(ctx.step(pay, "Ada", compensate=pay_back)))
        await until(till.is_entered)
        raise ValueError("no")

    await fails_and_undoes_what_the_thread_did(store, flow)


async def test_a_run_is_cancelled_after_the_grace_though_a_thread_still_works_and_the_log_names_its_step(
    store: StateStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_engine(store, buy, config=HASTY) as engine:
        handle = await engine.start(buy, run_id="buying")
        await until(till.is_entered)
        await engine.cancel(handle.run_id, compensate=True)
        with pytest.raises(RunCancelledError):
            await handle.result("60s")
        assert "step 'pay' of run buying was given up, but its thread still runs" in caplog.text
    assert (till.paid, till.paid_back) == ([], [])


async def test_an_attempt_is_not_made_while_the_thread_of_an_earlier_one_outlives_the_grace(store: StateStore) -> None:
    """Without a time limit of its own it would wait for ever: it fails by a code that says why."""

    @workflow
    async def flow(ctx: WorkflowContext) -> str | None:
        try:
            await ctx.step(pay, "Ada")
        except StepFailedError as error:
            return error.code
        return None

    async with running_engine(store, flow, config=tuned(HASTY, lease=timedelta(milliseconds=300))) as engine:
        handle = await engine.start(flow)
        await until(till.is_entered)
        # Another worker takes it, does nothing, and its lease ends: this one drives the run once more.
        await store.update_run(handle.run_id, {"locked_by": "another worker"})
        assert await handle.result("60s") == "step_still_working"
        assert till.most_alive == 1


async def test_a_turn_that_lost_its_lease_does_not_work_beside_its_successor_in_the_same_process(
    store: StateStore,
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.step(pay, "Ada")

    async def is_driven_again() -> bool:
        run = await handle.run()
        return run.locked_by != "another worker" and run.recovery_attempts == 1

    async with running_engine(store, flow, config=tuned(FAST, lease=timedelta(milliseconds=300))) as engine:
        handle = await engine.start(flow)
        await until(till.is_entered)
        await store.update_run(handle.run_id, {"locked_by": "another worker"})
        await until(is_driven_again)
        till.go_on.set()
        assert await handle.result("60s") == "receipt of Ada"
    assert (till.most_alive, till.paid) == (1, ["Ada", "Ada"])


async def test_a_worker_has_no_place_for_another_run_while_the_thread_of_a_cancelled_one_works(
    store: StateStore,
) -> None:
    """A plain cancel ends the run at once, from wherever it is made; the thread is not free before it has ended."""
    async with running_worker(store, buy, config=tuned(PATIENT, concurrency=1)) as (engine, worker):
        handle = await engine.start(buy)
        await until(till.is_entered)
        await engine.cancel(handle.run_id)
        assert await has_status(handle, RunStatus.CANCELLED)
        await asyncio.sleep(0.05)
        assert worker.health().in_flight == 1
        till.go_on.set()
        await until(lambda: is_idle(worker))
    assert (till.paid, till.paid_back) == (["Ada"], [])


@asynccontextmanager
async def _stopped(store: StateStore, config: EngineConfig) -> AsyncIterator[tuple[Worker, Any]]:
    async with running_worker(store, buy, config=config) as (engine, worker):
        handle = await engine.start(buy, run_id="buying")
        await until(till.is_entered)
        yield worker, handle


async def test_a_run_whose_thread_ends_in_time_is_handed_back_with_its_result(store: StateStore) -> None:
    async with _stopped(store, PATIENT) as (worker, handle):
        stopping = asyncio.create_task(worker.stop(timedelta(seconds=60)))
        await asyncio.sleep(0.05)
        assert await has_status(handle, RunStatus.RUNNING)
        till.go_on.set()
        await stopping
        assert await handle.result("60s") == "receipt of Ada"


async def test_a_stop_waits_for_no_thread_beyond_its_limit_and_the_log_names_the_step(
    store: StateStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Its grace is the time that a stop has, however long the other one is."""
    began = time.monotonic()
    async with _stopped(store, tuned(PATIENT, thread_grace=timedelta(hours=1))) as (worker, handle):
        await worker.stop(timedelta(milliseconds=20))
        assert await has_status(handle, RunStatus.PENDING)
        assert "step 'pay' of run buying was given up, but its thread still runs" in caplog.text
    assert time.monotonic() - began < 60
