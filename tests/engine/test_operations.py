"""What operators do: retry, retry with another input, fork, bulk cancel and delete. Each leaves a trace."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.model.errors import (
    ChildFailedError,
    GatherError,
    InputValidationError,
    RunCancelledError,
    RunFailedError,
    RunNotFoundError,
    RunStateError,
    StepFailedError,
)
from fastapi_durable.model.records import Checkpoint, RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import FAST, build_engine, has_status, running_engine, tuned, until
from tests.support.stores import on_every_store

done: Counter[str] = Counter()
broken: set[str] = set()
patience: list[str] = []
"""How long `patient` waits: the last one."""


@pytest.fixture(autouse=True)
def _fresh() -> None:
    done.clear()
    broken.clear()


@step
async def work(name: str) -> str:
    done[name] += 1
    if name in broken:
        raise RuntimeError(f"{name} is broken")
    return name.upper()


@step
async def take_back(undo: Undo[str, str]) -> None:
    done[f"undo {undo.input}"] += 1
    if f"undo {undo.input}" in broken:
        raise RuntimeError("cannot be undone")


@workflow
async def three(ctx: WorkflowContext, names: list[str]) -> list[str]:
    return [await ctx.step(work, name) for name in names]


@workflow
async def undoing(ctx: WorkflowContext, names: list[str]) -> list[str]:
    return [await ctx.step(work, name, compensate=take_back) for name in names]


@workflow
async def catching(ctx: WorkflowContext) -> list[str]:
    try:
        first = await ctx.step(work, "first")
    except StepFailedError:
        first = await ctx.step(work, "instead")
    return [first, await ctx.step(work, "last")]


@workflow
async def leaf(ctx: WorkflowContext, name: str) -> str:
    return await ctx.step(work, name)


@workflow
async def parent(ctx: WorkflowContext, names: list[str]) -> list[str]:
    return await ctx.all(leaf, names)


@workflow
async def hasty_parent(ctx: WorkflowContext, names: list[str]) -> list[str]:
    return await ctx.all(waiting_leaf, names, mode="fail_fast")


@workflow
async def waiting_leaf(ctx: WorkflowContext, name: str) -> str:
    if name.startswith("waits"):
        await ctx.wait_for_signal(f"go:{name}")
    return await ctx.step(work, name)


@workflow
async def waiting(ctx: WorkflowContext) -> str:
    await ctx.step(work, "before", compensate=take_back)
    return await ctx.wait_for_signal("go", str)


@workflow
async def patient(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal("late", str, timeout=patience[-1])


async def _traces(store: StateStore, run_id: str) -> list[Checkpoint]:
    return [row for row in await store.list_checkpoints(run_id) if row.name.startswith("operator:")]


async def test_a_failed_run_goes_on_from_where_it_failed() -> None:
    """What succeeded is not done again, what failed gets fresh attempts, and the history says who did that and why."""
    store = MemoryStateStore()
    async with running_engine(store, three) as engine:
        broken.add("b")
        handle = await engine.start(three, ["a", "b", "c"])
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        broken.clear()
        assert (await engine.retry(handle.run_id)).status is RunStatus.PENDING
        assert await handle.result("60s") == ["A", "B", "C"]
    assert done == {"a": 1, "b": 2, "c": 1}
    (trace,) = await _traces(store, handle.run_id)
    assert trace.name == "operator:retry"
    assert trace.output["status"] == "failed"
    assert [row["name"] for row in trace.output["given_up"]] == ["work"]


@on_every_store
async def test_a_run_whose_failed_child_was_deleted_is_retried_with_a_new_child(store: StateStore) -> None:
    async with running_engine(store, parent, leaf) as engine:
        broken.add("b")
        handle = await engine.start(parent, ["a", "b"], run_id="p")
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        failed = await store.list_runs(RunQuery(parent_run_id="p", status=RunStatus.FAILED))
        assert await engine.delete_run(failed[0].id) == 1
        broken.clear()
        await engine.retry("p")
        assert await handle.result("60s") == ["A", "B"]
    assert done == {"a": 1, "b": 2}


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.CANCELLED, RunStatus.SUSPENDED])
async def test_only_a_failed_dead_or_blocked_run_is_retried(status: RunStatus) -> None:
    """A completed or cancelled run is not revived, and a live one keeps its lease."""
    store = MemoryStateStore()
    async with running_engine(store, three, waiting) as engine:
        handle = await (engine.start(three, []) if status is RunStatus.COMPLETED else engine.start(waiting))
        if status is not RunStatus.COMPLETED:
            await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        if status is RunStatus.CANCELLED:
            await engine.cancel(handle.run_id)
        await until(lambda: has_status(handle, status))
        with pytest.raises(RunStateError, match=str(status)):
            await engine.retry(handle.run_id)
        assert await handle.status() is status
        assert await _traces(store, handle.run_id) == []
        with pytest.raises(RunNotFoundError):
            await engine.retry("nobody")


async def test_a_dead_run_is_retried_with_its_count_of_crashes_at_zero() -> None:
    store = MemoryStateStore()
    config = tuned(FAST, max_recovery_attempts=1, lease=timedelta(milliseconds=30))
    outside = build_engine(store, three)
    handle = await outside.start(three, ["a"])
    now = outside._kernel.clock.now()
    for process in ("dead process", "another dead process"):
        await store.claim_runs(process, now=now, until=now, limit=1)
    async with running_engine(store, three, config=config) as engine:
        await until(lambda: has_status(handle, RunStatus.DEAD))
        assert (await engine.retry(handle.run_id)).recovery_attempts == 0
        assert await handle.result("60s") == ["A"]


async def test_steps_that_were_undone_are_done_again_and_undone_again() -> None:
    """A second failure undoes what was done the second time, and nothing twice."""
    store = MemoryStateStore()
    async with running_engine(store, undoing) as engine:
        broken.add("c")
        handle = await engine.start(undoing, ["a", "b", "c"])
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        assert (done["undo a"], done["undo b"]) == (1, 1)
        await engine.retry(handle.run_id)
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        assert done == {"a": 2, "b": 2, "c": 2, "undo a": 2, "undo b": 2}
        broken.clear()
        await engine.retry(handle.run_id)
        assert await handle.result("60s") == ["A", "B", "C"]
    assert done == {"a": 3, "b": 3, "c": 3, "undo a": 2, "undo b": 2}
    assert [row.seq for row in await store.list_checkpoints(handle.run_id) if -1000 < row.seq < 0] == []


async def test_a_step_whose_undo_failed_still_stands_after_a_retry() -> None:
    store = MemoryStateStore()
    async with running_engine(store, undoing) as engine:
        broken.update({"b", "undo a"})
        handle = await engine.start(undoing, ["a", "b"])
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        broken.clear()
        await engine.retry(handle.run_id)
        assert await handle.result("60s") == ["A", "B"]
    assert done["a"] == 1


async def test_a_failure_that_the_body_caught_stays_as_it_is() -> None:
    """It decided the way of the body: taken back, the replay would diverge."""
    store = MemoryStateStore()
    async with running_engine(store, catching) as engine:
        broken.update({"first", "last"})
        handle = await engine.start(catching)
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        broken.clear()
        await engine.retry(handle.run_id)
        assert await handle.result("60s") == ["INSTEAD", "LAST"]
    assert done == {"first": 1, "instead": 1, "last": 2}


async def test_a_wait_that_timed_out_begins_anew() -> None:
    store = MemoryStateStore()
    patience.append("30ms")
    async with running_engine(store, patient) as engine:
        handle = await engine.start(patient)
        with pytest.raises(RunFailedError, match="late"):
            await handle.result("60s")
        patience.append("60s")
        await engine.retry(handle.run_id)
        await until(lambda: store.find_signal_waiter("late"))
        await engine.signal("late", "now")
        assert await handle.result("60s") == "now"


async def test_failed_children_are_retried_with_their_parent() -> None:
    store = MemoryStateStore()
    async with running_engine(store, parent, leaf) as engine:
        broken.update({"b", "c"})
        handle = await engine.start(parent, ["a", "b", "c"])
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        broken.clear()
        await engine.retry(handle.run_id)
        assert await handle.result("60s") == ["A", "B", "C"]
    assert done == {"a": 1, "b": 2, "c": 2}
    assert len(await _traces(store, f"{handle.run_id}.all.0.1")) == 1


async def test_children_that_a_failed_sibling_had_cancelled_are_retried_too() -> None:
    store = MemoryStateStore()
    async with running_engine(store, hasty_parent, waiting_leaf) as engine:
        broken.add("b")
        handle = await engine.start(hasty_parent, ["waits", "b"])
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        broken.clear()
        await engine.retry(handle.run_id)
        await until(lambda: store.find_signal_waiter("go:waits"))
        await engine.signal("go:waits")
        assert await handle.result("60s") == ["WAITS", "B"]


async def test_two_operators_retry_a_run_once() -> None:
    store = MemoryStateStore()
    async with running_engine(store, three) as engine:
        broken.add("a")
        handle = await engine.start(three, ["a"])
        with pytest.raises(RunFailedError):
            await handle.result("60s")
    outside = build_engine(store, three)
    outcomes = await asyncio.gather(*[outside.retry(handle.run_id) for _ in range(5)], return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Run", *["RunStateError"] * 4]
    assert len(await _traces(store, handle.run_id)) == 1


async def test_a_retry_with_input_is_a_run_of_its_own_with_everything_else_the_same() -> None:
    store = MemoryStateStore()
    async with running_engine(store, three) as engine:
        broken.add("a")
        attributes: dict[str, str | bool] = {"customer": "x", "vip": True}
        handle = await engine.start(three, ["a"], tags=["t"], search_attributes=attributes, priority=3)
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        with pytest.raises(InputValidationError):
            await engine.retry_with_input(handle.run_id, {"not": "a list"})
        retried = await engine.retry_with_input(handle.run_id, ["b"])
        assert retried.id.startswith(f"{handle.run_id}~retry~")
        assert len(retried.id) == len(f"{handle.run_id}~retry~") + 8
        assert (retried.tags, retried.search_attributes, retried.priority) == (("t",), attributes, 3)
        assert await engine.handle(retried.id).result("60s") == ["B"]
        assert await handle.status() is RunStatus.FAILED
        (trace,) = await _traces(store, handle.run_id)
        assert trace.output == {"run_id": retried.id}


async def test_a_live_run_is_not_retried_with_another_input() -> None:
    store = MemoryStateStore()
    outside = build_engine(store, three)
    handle = await outside.start(three, ["a"])
    with pytest.raises(RunStateError):
        await outside.retry_with_input(handle.run_id, ["b"])
    assert await store.count_runs(RunQuery()) == 1


@workflow
async def single_parent(ctx: WorkflowContext, name: str) -> str:
    return await ctx.child(leaf, name)


@pytest.mark.parametrize("first", ["child", "parent"])
async def test_a_parent_adopts_the_success_of_a_retry_with_input(first: str) -> None:
    """Whether the retry ends before the parent is retried, or while it waits."""
    store = MemoryStateStore()
    async with running_engine(store, single_parent, leaf) as engine:
        broken.add("a")
        handle = await engine.start(single_parent, "a")
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        child_id = f"{handle.run_id}.child.0"
        retried = await engine.retry_with_input(child_id, "b")
        if first == "child":
            await engine.handle(retried.id).result("60s")
        await engine.retry(handle.run_id)
        assert await handle.result("60s") == "B"
        assert await engine.handle(child_id).status() is RunStatus.FAILED


async def test_a_fork_keeps_what_came_before_its_position() -> None:
    store = MemoryStateStore()
    async with running_engine(store, three) as engine:
        handle = await engine.start(three, ["a", "b", "c"], tags=["t"])
        await handle.result("60s")
        forked = await engine.fork(handle.run_id, from_step=2)
        assert forked.id.startswith(f"{handle.run_id}~fork~")
        assert await engine.handle(forked.id).result("60s") == ["A", "B", "C"]
        assert done == {"a": 1, "b": 1, "c": 2}
        assert forked.tags == ("t",)
        assert [trace.name for trace in await _traces(store, forked.id)] == ["operator:fork"]
        assert [trace.name for trace in await _traces(store, handle.run_id)] == ["operator:forked"]
        with pytest.raises(InputValidationError):
            await engine.fork(handle.run_id, from_step=-1)
        with pytest.raises(RunNotFoundError):
            await engine.fork("nobody", from_step=0)


async def test_a_fork_of_a_parent_finds_the_children_that_it_had() -> None:
    """The default ids of children hold the parent's id; the copy names the fork's."""

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        one = await ctx.child(leaf, "a")
        several = await ctx.all(leaf, ["b"])
        branches = await ctx.gather(_twice(ctx, "c"), _twice(ctx, "d"))
        return [one, *several, *branches, await ctx.step(work, "e")]

    async def _twice(ctx: WorkflowContext, name: str) -> str:
        return await ctx.step(work, await ctx.step(work, name))

    store = MemoryStateStore()
    async with running_engine(store, flow, leaf) as engine:
        handle = await engine.start(flow, run_id="p")
        await handle.result("60s")
        forked = await engine.fork("p", from_step=2)
        assert await engine.handle(forked.id).result("60s") == await handle.result()
    assert done == {"a": 1, "b": 1, "c": 1, "C": 1, "d": 1, "D": 1, "e": 2}


async def test_a_fork_fits_a_body_that_makes_names_of_its_run_id() -> None:
    """What is copied has the names of the source; the body of the fork asks with its own id."""
    charged: list[int] = []

    @step
    async def charge(amount: int) -> int:
        charged.append(amount)
        return amount

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int | str]:
        paid = await ctx.wait_for_signal(f"paid:{ctx.run_id}", int)
        first = await ctx.step(charge, paid, name=f"charge {ctx.run_id}")
        report = await ctx.child(leaf_of_fork, run_id=f"{ctx.run_id}-report")
        return [first, report, await ctx.step(charge, 1, name="last")]

    @workflow
    async def leaf_of_fork(ctx: WorkflowContext) -> str:
        return ctx.run_id

    async with running_engine(MemoryStateStore(), flow, leaf_of_fork) as engine:
        handle = await engine.start(flow, run_id="order")
        await engine.signal("paid:order", 7)
        assert await handle.result("60s") == [7, "order-report", 1]
        last = 3
        fork = await engine.fork("order", from_step=last)
        assert await engine.handle(fork.id).result("60s") == [7, "order-report", 1]
        again = await engine.fork(fork.id, from_step=last)
        assert await engine.handle(again.id).result("60s") == [7, "order-report", 1]
    assert charged == [7, 1, 1, 1]


async def test_a_fork_of_a_failed_saga_does_the_undone_steps_again() -> None:
    store = MemoryStateStore()
    async with running_engine(store, undoing) as engine:
        broken.add("b")
        handle = await engine.start(undoing, ["a", "b"])
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        broken.clear()
        forked = await engine.fork(handle.run_id, from_step=1)
        assert await engine.handle(forked.id).result("60s") == ["A", "B"]
    assert done["a"] == 2


async def test_cancel_where_counts_what_it_did() -> None:
    """However many they are: no limit cuts it short, and what has ended is left alone."""
    store = MemoryStateStore()
    outside = build_engine(store, three, waiting)
    for number in range(230):
        await outside.start(three, [], run_id=f"r{number}", tags=["bulk"])
    await outside.start(three, [], run_id="other")
    await outside.cancel("r7")
    result = await outside.cancel_where(RunQuery(tag="bulk", limit=3))
    assert (result.cancelled, result.cancelling, result.ended, result.failures) == (229, 0, 0, {})
    assert result.matched == 229
    assert await outside.handle("other").status() is RunStatus.PENDING
    assert (await outside.cancel_where(RunQuery(tag="bulk"))).matched == 0


async def test_cancel_where_undoes_when_asked() -> None:
    store = MemoryStateStore()
    async with running_engine(store, waiting) as engine:
        handle = await engine.start(waiting)
        await until(lambda: store.find_signal_waiter("go"))
        assert (await engine.cancel_where(RunQuery(workflow="waiting"), compensate=True)).cancelling == 1
        with pytest.raises(RunCancelledError):
            await handle.result("60s")
    assert done["undo before"] == 1


async def test_a_run_is_deleted_with_all_that_is_below_it() -> None:
    store = MemoryStateStore()
    async with running_engine(store, parent, leaf) as engine:
        handle = await engine.start(parent, ["a", "b"])
        await handle.result("60s")
        await engine.start(parent, ["c"], run_id="other")
        await engine.handle("other").result("60s")
        assert await engine.delete_run(handle.run_id) == 3
        assert await engine.delete_run(handle.run_id) == 0
        assert await store.list_checkpoints(handle.run_id) == []
        assert await store.count_runs(RunQuery()) == 2


async def test_a_live_run_is_deleted_only_by_force() -> None:
    """Nothing is removed if anything below it is alive; with force that is cancelled first, and its parent told."""
    store = MemoryStateStore()
    async with running_engine(store, single_parent_waiting, waiting) as engine:
        handle = await engine.start(single_parent_waiting)
        await until(lambda: store.find_signal_waiter("go"))
        for run_id in (handle.run_id, f"{handle.run_id}.child.0"):
            with pytest.raises(RunStateError):
                await engine.delete_run(run_id)
        assert await store.count_runs(RunQuery()) == 2
        assert await engine.delete_run(f"{handle.run_id}.child.0", force=True) == 1
        assert await handle.result("60s") == "cancelled"
    assert await store.list_signal_waiters() == []


@workflow
async def single_parent_waiting(ctx: WorkflowContext) -> str:
    try:
        return await ctx.child(waiting)
    except ChildFailedError as error:
        return str(error.code)


async def test_listeners_hear_of_cancels_made_here_and_elsewhere() -> None:
    """One that fails disturbs nobody; one that was removed hears nothing."""
    started, go_on = asyncio.Event(), asyncio.Event()

    @step
    async def slow() -> None:
        started.set()
        await go_on.wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(slow)

    def fail(run_id: str) -> None:
        raise RuntimeError(run_id)

    store, heard = MemoryStateStore(), list[str]()
    async with running_engine(store, flow) as engine:
        engine.on_cancel(fail)
        remove = engine.on_cancel(heard.append)
        handle = await engine.start(flow)
        await started.wait()
        await build_engine(store, flow).cancel(handle.run_id)
        go_on.set()
        await until(lambda: _holds(heard, [handle.run_id]))
        other = await engine.start(flow, run_id="other")
        await engine.cancel(other.run_id)
        assert set(heard) == {handle.run_id, "other"}
        remove()
        await engine.cancel((await engine.start(flow, run_id="third")).run_id)
        assert "third" not in heard


async def _holds(heard: list[str], expected: list[str]) -> bool:
    return heard[: len(expected)] == expected


async def test_a_gather_error_is_no_reason_to_keep_a_failure() -> None:
    """Branches that went on after one had failed do not make its failure one that the body caught."""

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        return await ctx.gather(_chain(ctx, "a"), _chain(ctx, "b"))

    async def _chain(ctx: WorkflowContext, name: str) -> str:
        await ctx.step(work, f"{name}1")
        return await ctx.step(work, f"{name}2")

    async with running_engine(MemoryStateStore(), flow) as engine:
        broken.add("a1")
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError) as caught:
            await handle.result("60s")
        assert caught.value.error is not None
        assert caught.value.error.type == GatherError.__name__
        broken.clear()
        await engine.retry(handle.run_id)
        assert await handle.result("60s") == ["A2", "B2"]
    assert done == {"a1": 2, "a2": 1, "b1": 1, "b2": 1}
