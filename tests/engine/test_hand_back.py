"""A run is handed back in writes that may each be the last thing its process does: another worker goes on with it."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.driver import RunDriver
from fastapi_durable.engine.runs.queues import declare_queues
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import StoreUnavailableError
from fastapi_durable.model.records import Run, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.crashing_store import Fuse, Moment, ProcessDied, crashing
from tests.support.engine_rig import FAST, build_engine, build_machinery, running_engine, tuned, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store

PATIENT = tuned(FAST, lease=timedelta(seconds=30))
MINUTE = timedelta(minutes=1)
QUEUES = (Queue("narrow", concurrency=1),)

at_each_write = pytest.mark.parametrize("at", [1, 2])
around_it = pytest.mark.parametrize("moment", ["before", "after"])


class Steps:
    """What was done, and undone."""

    def __init__(self) -> None:
        self.done: list[str] = []


@on_every_store
@around_it
@at_each_write
@pytest.mark.parametrize("situation", ["plain", "queued", "cancelling", "cancelled meanwhile"])
async def test_a_process_that_dies_while_it_hands_a_run_back_leaves_it_to_another_worker(
    store: StateStore, situation: str, at: int, moment: Moment
) -> None:
    """Another worker finds it at that moment, or when the lease is over; it ends once, as it should."""
    steps = Steps()

    @step
    async def work() -> None:
        steps.done.append("work")

    @step
    async def take_back(undo: Undo[None, None]) -> None:
        steps.done.append("take back")

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        await ctx.step(work, compensate=take_back)
        await ctx.wait_for_signal("go")
        return "done"

    queues = QUEUES if situation == "queued" else ()
    engine = build_engine(store, flow, queues=queues)
    run = await _half_way(store, flow, engine, queue="narrow" if situation == "queued" else None)
    if situation == "cancelling":
        await engine.cancel("r", compensate=True)
    leased = await _leased(store, queued=situation == "queued")
    if situation == "cancelled meanwhile":
        await engine.cancel("r", compensate=True)
    if "cancel" not in situation:
        await engine.signal("go")
    fuse = Fuse(at, moment)
    doomed = build_machinery(crashing(store, fuse), flow, queues=queues).driver(leased, "token of the dead")
    try:
        await doomed.release_run()
    except ProcessDied:
        assert fuse.blown
    assert run.id == leased.id
    async with running_engine(store, flow, config=PATIENT, queues=queues):
        # A second worker that looks at this moment. What is still leased is found when the lease is over.
        held = await store.find_run("r")
        assert held is not None
        assert fuse.blown or held.locked_by != "token of the dead"
        if held.locked_by == "token of the dead":
            await store.update_run("r", {"locked_until": SystemClock().now() - MINUTE}, token="token of the dead")
        await until(lambda: _ended(store, RunStatus.CANCELLED if "cancel" in situation else RunStatus.COMPLETED))
    assert steps.done == (["work", "take back"] if "cancel" in situation else ["work"])
    ended = await store.find_run("r")
    assert ended is not None
    assert ended.locked_by is None
    assert await store.list_signal_waiters() == []


@on_every_store
async def test_a_worker_that_looks_right_behind_the_hand_back_is_not_disturbed_by_what_follows_it(
    store: StateStore,
) -> None:
    """The answer to the write is lost, and another worker owns the run: repeating the hand-back changes nothing."""

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.wait_for_signal("never")

    outside = build_engine(store, flow)
    await outside.start(flow, run_id="r")
    leased = await _leased(store, queued=False)
    taken: list[Run] = []

    async def between(name: str, call: "partial[Any]") -> Any:
        answer = await call()
        if name == "update_run" and not taken:
            now = SystemClock().now()
            taken.extend(await store.claim_runs("token of the living", now=now, until=now + MINUTE, limit=1))
            raise StoreUnavailableError("the connection broke before the answer came")
        return answer

    driver = build_machinery(interposed(store, between), flow).driver(leased, "token of the dead")
    with pytest.raises(StoreUnavailableError):
        await driver.release_run()
    await driver.release_run()
    assert [run.id for run in taken] == ["r"]
    run = await store.find_run("r")
    assert run is not None
    assert (run.status, run.locked_by) == (RunStatus.RUNNING, "token of the living")
    assert not run.recovery_attempts, "a hand-back is no crash"


@on_every_store
async def test_a_run_that_is_handed_back_without_a_turn_keeps_its_place_in_its_queue_and_counts_once_for_its_rate(
    store: StateStore,
) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None: ...

    queues = (Queue("strict", rate_limit=1, rate_period="1h"), *QUEUES)
    engine = build_engine(store, flow, queues=queues)
    await declare_queues(engine._kernel)

    async def claimed() -> dict[str, list[Run]]:
        now = SystemClock().now()
        claim = await store.claim_queued_runs("token", now=now, until=now + MINUTE, limit=9)
        return {queue.name: [run for run in claim.runs if run.queue == queue.name] for queue in queues}

    for queue in queues:
        for number in range(2):
            await engine.start(flow, run_id=f"{queue.name} {number}", queue=queue.name)
    for _ in range(3):
        found = await claimed()
        assert {name: [run.id for run in runs] for name, runs in found.items()} == {
            "strict": ["strict 0"],
            "narrow": ["narrow 0"],
        }
        for runs in found.values():
            await RunDriver(runs[0], "token", engine._kernel).release_run()


async def _half_way(store: StateStore, flow: Any, engine: WorkflowService, *, queue: str | None) -> Run:
    """A run whose step is done, and that waits."""
    queues = QUEUES if queue else ()
    async with running_engine(store, flow, config=PATIENT, queues=queues) as first:
        handle = await first.start(flow, run_id="r", queue=queue)
        await until(lambda: _ended(store, RunStatus.SUSPENDED))
        return await handle.run()


async def _leased(store: StateStore, *, queued: bool) -> Run:
    """The run as a worker has claimed it, which dies while it hands it back."""
    now = SystemClock().now()
    run = await store.find_run("r")
    assert run is not None
    if run.status is RunStatus.SUSPENDED:
        await store.update_run("r", {"wake_at": now - MINUTE})
    until_then = now + timedelta(seconds=30)
    if queued:
        claim = await store.claim_queued_runs("token of the dead", now=now, until=until_then, limit=1)
        (leased,) = claim.runs
    else:
        (leased,) = await store.claim_runs("token of the dead", now=now, until=until_then, limit=1)
    return leased


async def _ended(store: StateStore, status: RunStatus) -> bool:
    run = await store.find_run("r")
    return run is not None and run.status is status and run.locked_by is None
