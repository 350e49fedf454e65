"""What workers do beside driving runs: forgetting, showing what is blocked, saying that they live."""

from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from fastapi_durable import Retention, WorkflowContext, keep, workflow
from fastapi_durable.engine.upkeep.blocked import show_blocked
from fastapi_durable.engine.upkeep.retention import sweep
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import DefinitionError
from fastapi_durable.model.records import BufferedEvent, Run, RunQuery, RunStatus, WorkerRecord
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import FAST, build_engine, has_status, run_has, running_engine, tuned, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store

DAY = timedelta(days=1)


@workflow(name="known")
async def known(ctx: Any) -> str:
    return "done"


def a_run(run_id: str, status: RunStatus, *, days: float = 0, workflow: str = "known") -> Run:
    moment = SystemClock().now() - days * DAY
    return Run(id=run_id, workflow=workflow, workflow_version="1", status=status, created_at=moment, updated_at=moment)


async def ids(store: StateStore) -> list[str]:
    return sorted(run.id for run in await store.list_runs(RunQuery(limit=1000)))


@on_every_store
async def test_finished_runs_are_forgotten_by_age_and_by_number_and_live_ones_never(store: StateStore) -> None:
    for number in range(30):
        await store.create_run(a_run(f"done-{number:02}", RunStatus.COMPLETED, days=number))
        await store.create_run(a_run(f"failed-{number:02}", RunStatus.FAILED, days=number))
    await store.create_run(a_run("sleeping", RunStatus.SUSPENDED, days=999))
    await store.create_run(a_run("dead", RunStatus.DEAD, days=999))
    retention = Retention(
        policies=(keep("completed", "cancelled", max_age="9.5 days"), keep("failed", max_count=3)), batch_size=4
    )
    engine = build_engine(store, known)
    assert await sweep(engine._kernel, retention) == 20 + 27
    assert await sweep(engine._kernel, retention) == 0
    kept = [f"done-{number:02}" for number in range(10)] + [f"failed-{number:02}" for number in range(3)]
    assert await ids(store) == sorted(["dead", "sleeping", *kept])


@on_every_store
async def test_signals_and_events_that_nobody_fetched_are_forgotten_by_age(store: StateStore) -> None:
    now = SystemClock().now()
    for days in (0, 2, 40):
        await store.buffer_signal("token", days, now=now - days * DAY)
        await store.buffer_event(BufferedEvent(id=f"e{days}", name="paid", published_at=now - days * DAY))
    engine = build_engine(store, known)
    assert await sweep(engine._kernel, Retention()) == 2
    brief = build_engine(store, known, config=tuned(FAST, event_ttl=DAY))
    assert await sweep(brief._kernel, Retention(signals=None)) == 1
    first, second = await store.take_buffered_signal("token"), await store.take_buffered_signal("token")
    assert first is not None
    assert second is not None
    assert [first.payload, second.payload] == [0, 2]
    assert [event.id for event in await store.list_buffered_events("paid")] == ["e0"]


@on_every_store
async def test_a_sweep_of_one_namespace_leaves_the_others_alone(store: StateStore) -> None:
    await store.create_run(replace(a_run("theirs", RunStatus.COMPLETED, days=9), namespace="theirs"))
    await store.create_run(a_run("ours", RunStatus.COMPLETED, days=9))
    engine = build_engine(store, known, config=tuned(FAST, namespace="default"))
    assert await sweep(engine._kernel, Retention(policies=(keep("completed", max_age="1 day"),))) == 1
    assert await ids(store) == ["theirs"]


built: Counter[str] = Counter()


@workflow
async def building(ctx: WorkflowContext, goes_on: bool) -> str:
    if goes_on:
        ctx.continue_as_new(False)
    await ctx.local_step("build", lambda: built.update([ctx.run_id]))
    return f"built by {ctx.run_id}"


@workflow
async def ordering(ctx: WorkflowContext, goes_on: bool) -> list[str]:
    await ctx.start_child(building, goes_on, run_id="part")
    await ctx.wait_for_signal("join")
    parts = [await ctx.child(building, goes_on, run_id="part")]
    parts += [await ctx.child(building, False, run_id="other")]
    await ctx.wait_for_signal("end")
    return parts


@pytest.mark.parametrize("goes_on", [False, True], ids=["one run", "a chain"])
@on_every_store
async def test_a_child_is_kept_until_its_parent_has_joined_it(store: StateStore, goes_on: bool) -> None:
    """It would be started again, and its work done twice. What was joined stands in the parent's history."""
    built.clear()
    retention = Retention(policies=(keep("completed", max_count=0),))
    last = "part~1" if goes_on else "part"
    async with running_engine(store, building, ordering) as engine:
        handle = await engine.start(ordering, goes_on, run_id="order")
        await until(run_has(store, last, RunStatus.COMPLETED))
        assert await sweep(engine._kernel, retention) == 0
        await engine.signal("join")
        await until(run_has(store, "other", RunStatus.COMPLETED))
        await until(run_has(store, "order", RunStatus.SUSPENDED))
        assert await sweep(engine._kernel, retention) == 1
        assert "other" not in await ids(store)
        await engine.signal("end")
        assert await handle.result("60s") == [f"built by {last}", "built by other"]
    assert built == {last: 1, "other": 1}
    assert await sweep(build_engine(store, known)._kernel, retention) == (3 if goes_on else 2)
    assert await ids(store) == []


def test_retention_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(DefinitionError, match="completed"):
        Retention(policies=(keep("completed", max_age="1d"), keep("failed", "completed", max_count=1)))
    with pytest.raises(DefinitionError, match="got running"):
        keep("running", max_age="1d")
    with pytest.raises(DefinitionError):
        keep("completed")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"signals": "0s"}, "signals must be a positive duration of at most 36525 days, got '0s'"),
        (
            {"signals": timedelta.max},
            f"signals must be a positive duration of at most 36525 days, got {timedelta.max!r}",
        ),
        ({"sweep_interval": "2 days"}, "sweep_interval must be a positive duration of at most 1 days, got '2 days'"),
        ({"sweep_interval": "soon"}, "sweep_interval must be a positive duration of at most 1 days, got 'soon'"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1 to 100000, got 0"),
        ({"batch_size": 10**20}, f"batch_size must be a whole number from 1 to 100000, got {10**20}"),
        ({"batch_size": True}, "batch_size must be a whole number from 1 to 100000, got True"),
    ],
)
def test_retention_beyond_what_can_be_kept_or_computed_with_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Retention(**given)
    assert str(caught.value) == said


@on_every_store
async def test_a_run_that_no_worker_knows_is_shown_as_blocked_until_one_comes_that_does(store: StateStore) -> None:
    @workflow(name="unknown")
    async def unknown(ctx: Any) -> str:
        return "at last"

    await store.create_run(a_run("lonely", RunStatus.PENDING, days=1, workflow="unknown"))
    await store.create_run(a_run("queued", RunStatus.PENDING, days=1))
    await store.create_run(a_run("fresh", RunStatus.PENDING, workflow="unknown"))
    yesterday = SystemClock().now() - DAY
    woken = a_run("woken", RunStatus.SUSPENDED, days=1, workflow="unknown")
    await store.create_run(replace(woken, wake_at=yesterday))
    orphan = a_run("orphan", RunStatus.RUNNING, days=1, workflow="unknown")
    await store.create_run(replace(orphan, locked_by="dead", locked_until=yesterday))
    await store.create_run(
        replace(orphan, id="driven", locked_by="alive", locked_until=SystemClock().now() + timedelta(minutes=1))
    )
    engine = build_engine(store, known)
    await store.save_worker(a_worker("here", "known@1"))
    assert await show_blocked(engine._kernel, alive_within=timedelta(minutes=1)) == 3
    assert await show_blocked(engine._kernel, alive_within=timedelta(minutes=1)) == 0
    statuses = {run.id: run.status for run in await store.list_runs(RunQuery())}
    assert statuses == {
        "lonely": RunStatus.BLOCKED,
        "woken": RunStatus.BLOCKED,
        "orphan": RunStatus.BLOCKED,
        "driven": RunStatus.RUNNING,
        "queued": RunStatus.PENDING,
        "fresh": RunStatus.PENDING,
    }
    lonely = await store.find_run("lonely")
    assert lonely is not None
    assert lonely.error is not None
    assert lonely.error.code == "capability.unavailable"
    blocked = await store.find_run("orphan")
    assert blocked is not None
    assert (blocked.locked_by, blocked.recovery_attempts) == (None, 1), "the crash counts, and the lease is gone"
    async with running_engine(store, unknown) as knowing:
        assert await knowing.handle("lonely", unknown).result("60s") == "at last"
        assert await knowing.handle("woken", unknown).result("60s") == "at last"
        assert await knowing.handle("orphan", unknown).result("60s") == "at last"


@on_every_store
async def test_a_run_that_is_taken_while_it_is_being_shown_as_blocked_stays_with_who_took_it(
    store: StateStore,
) -> None:
    await store.create_run(a_run("lonely", RunStatus.PENDING, days=1, workflow="unknown"))

    async def take_first(name: str, call: "partial[Awaitable[Any]]") -> Any:
        found = await call()
        if name == "list_stranded_runs":
            now = SystemClock().now()
            await store.claim_runs("somebody who knows it", now=now, until=now + DAY, limit=1)
        return found

    engine = build_engine(interposed(store, take_first), known)
    assert await show_blocked(engine._kernel, alive_within=timedelta(minutes=1)) == 0
    run = await store.find_run("lonely")
    assert run is not None
    assert (run.status, run.locked_by) == (RunStatus.RUNNING, "somebody who knows it")


@on_every_store
async def test_a_run_that_another_live_worker_knows_is_not_blocked(store: StateStore) -> None:
    await store.create_run(a_run("theirs", RunStatus.PENDING, days=1, workflow="theirs"))
    await store.save_worker(a_worker("there", "theirs@1"))
    engine = build_engine(store, known)
    assert await show_blocked(engine._kernel, alive_within=timedelta(minutes=1)) == 0
    await store.save_worker(a_worker("there", "theirs@1", days=1))
    assert await show_blocked(engine._kernel, alive_within=timedelta(minutes=1)) == 1


@on_every_store
async def test_a_worker_is_listed_while_it_lives_with_what_it_drives(store: StateStore) -> None:
    await store.save_worker(a_worker("died long ago", "known@1", days=1))
    async with running_engine(store, known, config=tuned(FAST, instance_id="me")) as engine:

        async def is_listed() -> bool:
            return bool(await engine.workers())

        await until(is_listed)
        (me,) = await engine.workers()
        assert (me.id, me.workflows, me.concurrency) == (
            "me",
            ("__evt_batch@1", "__evt_debounce@1", "known@1"),
            FAST.concurrency,
        )
        handle = await engine.start(known)
        await until(lambda: has_status(handle, RunStatus.COMPLETED))
    assert [worker.id for worker in await store.list_workers()] == ["died long ago"]


def a_worker(name: str, *workflows: str, days: float = 0) -> WorkerRecord:
    moment = SystemClock().now() - days * DAY
    return WorkerRecord(
        id=name, host="box", pid=1, version="1", workflows=workflows, concurrency=1, started_at=moment, beat_at=moment
    )


@pytest.mark.parametrize("timeout", [None, "1h"])
async def test_a_worker_looks_for_expired_runs_as_often_as_its_workflows_can_expire(timeout: str | None) -> None:
    """One whose workflows cannot looks now and then, for runs from before a timeout was taken away."""
    calls: Counter[str] = Counter()

    @workflow(execution_timeout=timeout)
    async def flow(ctx: Any) -> None:
        pass

    async def between(name: str, call: "partial[Any]") -> Any:
        calls[name] += 1
        return await call()

    async with running_engine(interposed(MemoryStateStore(), between), flow):
        await until(lambda: _reached(calls, "claim_runs" if timeout is None else "list_expired_runs", 5))
    assert (calls["list_expired_runs"] > 0) is (timeout is not None)


async def _reached(calls: "Counter[str]", name: str, number: int) -> bool:
    return calls[name] >= number
