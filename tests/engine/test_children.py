"""Runs that belong to a run."""

import asyncio
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import (
    ChildFailedError,
    DefinitionError,
    FatalError,
    GatherError,
    RunCancelledError,
    RunFailedError,
)
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import has_status, run_has, running_engine, until
from tests.support.lock_journal import LockJournal
from tests.support.stores import on_every_store


@workflow
async def square(ctx: WorkflowContext, value: int) -> int:
    if value < 0:
        raise FatalError(f"{value} is negative", code="negative")
    return value * value


@workflow
async def wait_forever(ctx: WorkflowContext, key: str) -> None:
    await ctx.wait_for_signal(f"never:{key}")


async def test_a_parent_gets_the_result_of_its_child() -> None:
    @workflow
    async def parent(ctx: WorkflowContext, value: int) -> int:
        return await ctx.child(square, value) + 1

    store = MemoryStateStore()
    async with running_engine(store, parent, square) as engine:
        handle = await engine.start(parent, 3, run_id="p")
        assert await handle.result("60s") == 10
    child = await store.find_run("p.child.0")
    assert child is not None
    assert (child.status, child.parent_run_id, child.namespace) == (RunStatus.COMPLETED, "p", "default")


async def test_a_child_has_the_version_and_priority_that_are_asked_for_and_else_the_newest_and_its_parents() -> None:
    @workflow(name="grow")
    async def old(ctx: WorkflowContext) -> str:
        return "old"

    @workflow(name="grow", version="2", tags=["green"])
    async def new(ctx: WorkflowContext) -> str:
        return "new"

    @workflow(tags=["parent"])
    async def parent(ctx: WorkflowContext) -> list[str]:
        names = [await ctx.child("grow"), await ctx.child("grow", version="1", priority=7), await ctx.child(old)]
        await ctx.start_child(new, priority=-1)
        return names

    store = MemoryStateStore()
    async with running_engine(store, parent, old, new) as engine:
        handle = await engine.start(parent, run_id="p", priority=3, tags=["mine"], search_attributes={"k": 1})
        assert await handle.result("60s") == ["new", "old", "old"]
        await engine.handle("p.child.3").result("60s")
    children = [await store.find_run(f"p.child.{number}") for number in range(4)]
    assert [(run.workflow_version, run.priority, run.tags) for run in children if run is not None] == [
        ("2", 3, ("green",)),
        ("1", 7, ()),
        ("1", 3, ()),
        ("2", -1, ("green",)),
    ]
    assert {len(run.search_attributes) for run in children if run is not None} == {0}


async def test_a_parent_sees_the_whole_error_of_its_child() -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> list[str | None]:
        try:
            await ctx.child(square, -1)
        except ChildFailedError as error:
            return [error.code, error.error.type, str(error.error.stack is not None)]
        return []

    async with running_engine(MemoryStateStore(), parent, square) as engine:
        handle = await engine.start(parent)
        assert await handle.result("60s") == ["negative", "FatalError", "True"]


@workflow
async def ring(ctx: WorkflowContext, number: int) -> None:
    following = (number + 1) % 3
    await ctx.child(ring, following, run_id=f"ring-{following}")


@workflow
async def own_child(ctx: WorkflowContext) -> str:
    with pytest.raises(ChildFailedError, match="so neither would end") as refused:
        await ctx.child(own_child, run_id=ctx.run_id)
    await ctx.sleep("1ms")
    return str(refused.value.code)


@on_every_store
async def test_runs_that_would_wait_for_each_other_are_refused_and_do_not_wait_for_ever(store: StateStore) -> None:
    async with running_engine(store, ring, own_child) as engine:
        handle = await engine.start(ring, 0, run_id="ring-0")
        with pytest.raises(RunFailedError, match="run 'ring-0' itself waits for the end of 'ring-2'") as failed:
            await handle.result("60s")
        assert failed.value.code == "child_cycle"
        assert await (await engine.start(own_child)).result("60s") == "child_cycle"


@workflow
async def elder(ctx: WorkflowContext) -> str | None:
    await ctx.start_child(younger, ctx.run_id, run_id="younger")
    await ctx.wait_for_signal("younger waits")
    try:
        return await ctx.child(younger, ctx.run_id, run_id="younger")
    except ChildFailedError as error:
        return error.code


@workflow
async def younger(ctx: WorkflowContext, parent: str) -> str | None:
    return await ctx.child(elder, run_id=parent)


@on_every_store
async def test_a_parent_that_joins_its_child_is_refused_if_that_waits_for_it(
    store: StateStore, locks_are_kept: LockJournal
) -> None:
    # Each waits for the other, so neither comes first. Of two joins that meet, the database undoes one, which is
    # repeated then.
    locks_are_kept.has_no_order("elder", "younger")
    async with running_engine(store, elder, younger) as engine:
        handle = await engine.start(elder, run_id="elder")
        await until(lambda: store.find_signal_waiter("child:elder"))
        await engine.signal("younger waits")
        assert await handle.result("60s") == "child_cycle"
        assert await engine.handle("younger").result("60s") == "child_cycle"


@workflow
async def trying_again(ctx: WorkflowContext) -> str | None:
    with pytest.raises(ChildFailedError):
        await ctx.child(tried, "fail", run_id="tried")
    await ctx.wait_for_signal("parent may go on")
    try:
        return await ctx.child(tried, "fail", run_id="tried")
    except ChildFailedError as error:
        return error.code


@workflow(name="trying_again")
async def telling(ctx: WorkflowContext) -> str:
    with pytest.raises(ChildFailedError):
        await ctx.child(tried, "fail", run_id="tried")
    await ctx.wait_for_signal("parent may go on")
    with pytest.raises(ChildFailedError) as refused:
        await ctx.child(tried, "fail", run_id="tried")
    return refused.value.error.message


@workflow
async def tried(ctx: WorkflowContext, what: str) -> str | None:
    if what == "fail":
        raise FatalError("as it was told")
    await ctx.wait_for_signal(f"{what} may go on")
    if what == "go on":
        ctx.continue_as_new("succeed")
    if what == "succeed":
        return "success"
    try:
        return await ctx.child(trying_again, run_id="parent")
    except ChildFailedError as error:
        return error.code


@on_every_store
@pytest.mark.parametrize(("first", "second", "awaited"), [("parent", "join", "tried"), ("join", "parent", "parent")])
async def test_a_retry_that_alone_could_end_a_wait_makes_a_ring_as_its_origin_would(
    store: StateStore, first: str, second: str, awaited: str
) -> None:
    """A parent that waits for a failed child waits for the retry of it, under the child's own name."""
    async with running_engine(store, trying_again, tried) as engine:
        handle = await engine.start(trying_again, run_id="parent")
        await until(run_has(store, "tried", RunStatus.FAILED))
        await engine.retry_with_input("tried", "join")
        await engine.signal(f"{first} may go on")
        await until(lambda: store.find_signal_waiter(f"child:{awaited}"))
        await engine.signal(f"{second} may go on")
        assert await handle.result("60s") == "child_cycle"


@on_every_store
async def test_a_refusal_names_the_retry_that_waits_and_not_the_run_that_has_failed(store: StateStore) -> None:
    async with running_engine(store, telling, tried) as engine:
        handle = await engine.start(telling, run_id="parent")
        await until(run_has(store, "tried", RunStatus.FAILED))
        retry = await engine.retry_with_input("tried", "join")
        await engine.signal("join may go on")
        await until(lambda: store.find_signal_waiter("child:parent"))
        await engine.signal("parent may go on")
        assert await handle.result("60s") == (
            f"run '{retry.id}', a retry of 'tried', itself waits for the end of 'parent', so neither would end"
        )


@on_every_store
async def test_a_parent_may_wait_while_another_retry_can_still_bring_a_success(store: StateStore) -> None:
    """One retry waits for the parent; the other one does not."""
    async with running_engine(store, trying_again, tried) as engine:
        handle = await engine.start(trying_again, run_id="parent")
        await until(run_has(store, "tried", RunStatus.FAILED))
        for what in ("join", "succeed"):
            await engine.retry_with_input("tried", what)
        await engine.signal("join may go on")
        await until(lambda: store.find_signal_waiter("child:parent"))
        await engine.signal("parent may go on")
        await until(lambda: store.find_signal_waiter("child:tried"))
        await engine.signal("succeed may go on")
        assert await handle.result("60s") == "success"


@on_every_store
@pytest.mark.parametrize("joins_before", [True, False])
async def test_a_retry_that_goes_on_as_a_new_run_has_not_succeeded_yet(store: StateStore, joins_before: bool) -> None:
    async with running_engine(store, trying_again, tried) as engine:
        handle = await engine.start(trying_again, run_id="parent")
        await until(run_has(store, "tried", RunStatus.FAILED))
        retry = await engine.retry_with_input("tried", "go on")
        if joins_before:
            await engine.signal("parent may go on")
            await until(lambda: store.find_signal_waiter("child:tried"))
        await engine.signal("go on may go on")
        await until(run_has(store, f"{retry.id}~1", RunStatus.SUSPENDED))
        if not joins_before:
            await engine.signal("parent may go on")
            await until(lambda: store.find_signal_waiter("child:tried"))
        await engine.signal("succeed may go on")
        assert await handle.result("60s") == "success"


@workflow
async def hoping(ctx: WorkflowContext) -> str | None:
    with pytest.raises(ChildFailedError):
        await ctx.child(hopeful, False, run_id="tried")
    await ctx.wait_for_signal("hope")
    try:
        return await ctx.child(hopeful, False, run_id="tried")
    except ChildFailedError as error:
        return error.error.message


@workflow
async def hopeful(ctx: WorkflowContext, waits: bool) -> str:
    if waits:
        word = await ctx.wait_for_signal("end", str)
        if word != "bad":
            return word
    raise FatalError("it failed again" if waits else "it failed")


@on_every_store
@pytest.mark.parametrize(("word", "told"), [("good", "good"), ("bad", "it failed again")])
async def test_a_parent_is_told_how_a_retry_ends_though_the_run_that_it_retries_was_deleted(
    store: StateStore, word: str, told: str
) -> None:
    async with running_engine(store, hoping, hopeful) as engine:
        handle = await engine.start(hoping, run_id="parent")
        await until(run_has(store, "tried", RunStatus.FAILED))
        retry = await engine.retry_with_input("tried", True)
        await until(run_has(store, retry.id, RunStatus.SUSPENDED))
        await engine.signal("hope")
        await until(lambda: store.find_signal_waiter("child:tried"))
        assert await engine.delete_run("tried") == 1
        await engine.signal("end", word)
        assert await handle.result("60s") == told


@on_every_store
async def test_a_run_may_wait_for_the_one_that_started_it_and_goes_on_when_that_ends(store: StateStore) -> None:
    """It has no children by that, but it is told, also if nobody else could wait for the other run."""

    @workflow
    async def above(ctx: WorkflowContext) -> str:
        await ctx.start_child(below, run_id="below")
        await ctx.local_step("see that it waits", awaited)
        return "over"

    @workflow
    async def below(ctx: WorkflowContext) -> str:
        return await ctx.child(above, run_id="above")

    async def awaited() -> None:
        await until(lambda: store.find_signal_waiter("child:above"))

    async def is_there() -> bool:
        return await store.find_run("below") is not None

    async with running_engine(store, above, below) as engine:
        await engine.start(above, run_id="above")
        await until(is_there)
        assert await engine.handle("below").result("60s") == "over"
    run = await store.find_run("above")
    assert run is not None
    assert run.parent_run_id is None


@pytest.mark.parametrize("line", [["elder", "younger"], ["elder", "middle", "younger"]], ids=["child", "grandchild"])
async def test_a_descendant_that_starts_its_ancestor_does_not_become_its_parent(line: list[str]) -> None:
    """A cancel or a deletion that goes down would go round."""

    @workflow
    async def flow(ctx: WorkflowContext, following: list[str]) -> None:
        await ctx.start_child(flow, following[1:], run_id=following[0])
        await ctx.wait_for_signal(f"never:{ctx.run_id}")

    store = MemoryStateStore()
    async with running_engine(store, flow) as engine:
        await engine.start(flow, [*line[1:], "elder"], run_id="elder")
        await until(lambda: store.find_signal_waiter("never:younger"))
        runs = [await store.find_run(run_id) for run_id in line]
        assert [run and run.parent_run_id for run in runs] == [None, *line[:-1]]
        await engine.cancel("elder")
        assert await engine.delete_run("elder") == len(line)


async def test_children_of_children_end_where_their_ids_become_too_long_and_say_so() -> None:
    @workflow
    async def nested(ctx: WorkflowContext) -> None:
        await ctx.child(nested)

    store = MemoryStateStore()
    async with running_engine(store, nested) as engine:
        with pytest.raises(RunFailedError) as failed:
            await engine.execute(nested, timeout="60s")
    deepest = failed.value.error
    while deepest is not None and deepest.cause is not None:
        deepest = deepest.cause
    assert deepest is not None
    assert "Give the child a run_id of its own" in deepest.message


async def test_children_of_all_may_be_named_and_their_inputs_generated() -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> list[int]:
        inputs: Any = (number for number in (2, 3))
        with pytest.raises(DefinitionError, match="'wait_all' or 'fail_fast'"):
            ctx.all(square, [1], mode="first")  # type: ignore[call-overload]
        return [*await ctx.all("square", [1]), *await ctx.all(square, inputs)]

    async with running_engine(MemoryStateStore(), parent, square) as engine:
        assert await engine.execute(parent, timeout="60s") == [1, 4, 9]


async def test_a_parent_is_told_when_its_child_is_cancelled() -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> str | None:
        try:
            await ctx.child(wait_forever, "x", run_id="the-child")
        except ChildFailedError as error:
            return error.code
        return "finished"

    store = MemoryStateStore()
    async with running_engine(store, parent, wait_forever) as engine:
        handle = await engine.start(parent)
        await until(lambda: store.find_signal_waiter("never:x"))
        cancelled = await engine.cancel("the-child")
        assert cancelled.status is RunStatus.CANCELLED
        assert await handle.result("60s") == "cancelled"
    assert await store.list_signal_waiters() == []


@on_every_store
async def test_a_run_outside_of_a_tree_is_told_when_the_child_that_it_waits_for_is_cancelled_with_the_tree(
    store: StateStore,
) -> None:
    """It is locked before the child, as it was when it began to wait."""

    @workflow
    async def starter(ctx: WorkflowContext) -> None:
        await ctx.start_child(wait_forever, "x", run_id="the-child")
        await ctx.wait_for_signal("never")

    @workflow
    async def outsider(ctx: WorkflowContext) -> str | None:
        try:
            await ctx.child(wait_forever, "x", run_id="the-child")
        except ChildFailedError as error:
            return error.code
        return "finished"

    async with running_engine(store, starter, outsider, wait_forever) as engine:
        tree = await engine.start(starter)
        await until(run_has(store, "the-child", RunStatus.SUSPENDED))
        handle = await engine.start(outsider)
        await until(lambda: store.find_signal_waiter("child:the-child"))
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await engine.cancel(tree.run_id)
        assert await handle.result("60s") == "cancelled"
    assert await store.list_signal_waiters() == []


async def test_a_started_child_can_be_joined_later_by_its_id() -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> int:
        run_id = await ctx.start_child(square, 5, run_id="joined")
        await ctx.sleep("20ms")
        return await ctx.child(square, 5, run_id=run_id)

    async with running_engine(MemoryStateStore(), parent, square) as engine:
        handle = await engine.start(parent)
        assert await handle.result("60s") == 25


async def test_children_of_all_return_in_the_order_of_their_inputs() -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> list[int]:
        return await ctx.all(square, [3, 1, 2])

    store = MemoryStateStore()
    async with running_engine(store, parent, square) as engine:
        handle = await engine.start(parent, run_id="p")
        assert await handle.result("60s") == [9, 1, 4]
    rows = await store.list_checkpoints("p")
    assert [(row.name, row.parallel_group) for row in rows] == [
        (f"signal:child:p.all.0.{index}", "all:0") for index in range(3)
    ]


async def test_all_names_every_child_that_failed() -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> list[int]:
        try:
            await ctx.all(square, [1, -2, -3])
        except GatherError as error:
            return sorted(error.failures)
        return []

    async with running_engine(MemoryStateStore(), parent, square) as engine:
        handle = await engine.start(parent)
        assert await handle.result("60s") == [1, 2]


async def test_fail_fast_cancels_the_siblings_and_keeps_the_first_failure_on_replay() -> None:
    @workflow
    async def either(ctx: WorkflowContext, value: int) -> int:
        if value < 0:
            raise FatalError("negative")
        return await ctx.wait_for_signal(f"never:{value}", int)

    @workflow
    async def parent(ctx: WorkflowContext) -> list[int]:
        try:
            await ctx.all(either, [1, -2, 3], mode="fail_fast")
        except GatherError as error:
            await ctx.sleep("20ms")
            return sorted(error.failures)
        return []

    store = MemoryStateStore()
    async with running_engine(store, parent, either) as engine:
        handle = await engine.start(parent, run_id="p")
        assert await handle.result("60s") == [1]
        for index in (0, 2):
            sibling = await store.find_run(f"p.all.0.{index}")
            assert sibling is not None
            assert sibling.status is RunStatus.CANCELLED
    assert await store.list_signal_waiters() == []


@workflow
async def positive(ctx: WorkflowContext, value: int) -> int:
    """Fails at once, or waits a moment."""
    if value < 0:
        raise FatalError("negative")
    await ctx.sleep("5ms")
    return value


@on_every_store
async def test_failures_that_are_tolerated_stand_in_the_place_of_results(store: StateStore) -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> list[str]:
        results = await ctx.all(positive, [1, -2, 3, -4], tolerate=2)
        await ctx.sleep("5ms")
        return [
            f"{each.workflow}: {each.error.message}" if isinstance(each, ChildFailedError) else str(each)
            for each in results
        ]

    @workflow
    async def too_many(ctx: WorkflowContext) -> list[int]:
        try:
            await ctx.all(positive, [1, -2, 3, -4], tolerate=1)
        except GatherError as error:
            return sorted(error.failures)
        return []

    async with running_engine(store, parent, too_many, positive) as engine:
        expected = ["1", "positive: negative", "3", "positive: negative"]
        assert await engine.execute(parent, timeout="60s") == expected
        assert await engine.execute(too_many, timeout="60s") == [1, 3]


@on_every_store
async def test_fail_fast_cancels_at_the_first_failure_that_is_not_tolerated(store: StateStore) -> None:
    @workflow
    async def either(ctx: WorkflowContext, value: int) -> int:
        return await ctx.wait_for_signal(f"never:{value}", int) if value > 0 else await ctx.child(positive, value)

    @workflow
    async def parent(ctx: WorkflowContext) -> list[int]:
        try:
            await ctx.all(either, [1, -2, 3, -4], mode="fail_fast", tolerate=1)
        except GatherError as error:
            await ctx.sleep("20ms")
            return sorted(error.failures)
        return []

    async with running_engine(store, parent, either, positive) as engine:
        assert await (await engine.start(parent, run_id="p")).result("60s") == [1, 3]
        statuses = [run.status if (run := await store.find_run(f"p.all.0.{index}")) else None for index in range(4)]
    cancelled, failed = RunStatus.CANCELLED, RunStatus.FAILED
    assert statuses == [cancelled, failed, cancelled, failed]


@on_every_store
async def test_a_bounded_number_of_children_live_at_a_time_and_in_the_order_of_their_inputs(store: StateStore) -> None:
    living: set[int] = set()
    most, begun = 0, []

    @workflow
    async def member(ctx: WorkflowContext, value: int) -> int:
        nonlocal most
        if value not in begun:
            begun.append(value)
        living.add(value)
        most = max(most, len(living))
        await ctx.sleep("10ms")
        living.discard(value)
        return value

    @workflow
    async def parent(ctx: WorkflowContext) -> list[int]:
        return await ctx.all(member, list(range(8)), concurrency=2)

    async with running_engine(store, parent, member) as engine:
        assert await engine.execute(parent, timeout="60s") == list(range(8))
    assert most == 2
    assert [number // 2 for number in begun] == [0, 0, 1, 1, 2, 2, 3, 3]


async def test_children_that_wait_for_a_place_do_not_keep_the_run_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    """More of them than an interrupted body may make calls."""

    @workflow
    async def parent(ctx: WorkflowContext) -> int:
        return sum(await ctx.all(idle, [0] * 1500, concurrency=1, mode="fail_fast"))

    @workflow
    async def idle(ctx: WorkflowContext, value: int) -> int:
        return await ctx.wait_for_signal(f"never:{ctx.run_id}", int)

    store = MemoryStateStore()
    async with running_engine(store, parent, idle) as engine:
        handle = await engine.start(parent, run_id="p")
        await until(run_has(store, "p", RunStatus.SUSPENDED))
        assert await store.find_run("p.all.0.1") is None
        await engine.cancel("p")
        with pytest.raises(RunCancelledError):
            await handle.result("60s")
    assert "swallowed" not in caplog.text


@pytest.mark.parametrize(
    "options",
    [{"tolerate": -1}, {"tolerate": True}, {"tolerate": 0.5}, {"concurrency": 0}, {"concurrency": "2"}],
    ids=repr,
)
async def test_bounds_of_all_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> str:
        try:
            await ctx.all(square, [1], **options)
        except DefinitionError as error:
            return str(error)
        return ""

    async with running_engine(MemoryStateStore(), parent, square) as engine:
        assert f"{next(iter(options))} must be a whole number" in await engine.execute(parent, timeout="60s")


async def test_branches_of_gather_replay_the_same_whatever_their_timing() -> None:
    delays = {"first": [0.0, 0.03], "second": [0.02, 0.0]}

    @step
    async def work(argument: tuple[str, int]) -> str:
        name, index = argument
        await asyncio.sleep(delays[name][index])
        return f"{name}{index}"

    async def branch(ctx: WorkflowContext, name: str) -> list[str]:
        return [await ctx.step(work, (name, 0)), await ctx.step(work, (name, 1))]

    async def nested(ctx: WorkflowContext) -> list[str]:
        inner = await ctx.gather(branch(ctx, "first"), branch(ctx, "second"))
        return [*inner[0], *inner[1], await ctx.step(work, ("first", 0))]

    @workflow
    async def flow(ctx: WorkflowContext) -> list[list[str]]:
        results = await ctx.gather(nested(ctx), branch(ctx, "second"))
        await ctx.sleep("10ms")
        return [*results, [await ctx.step(work, ("second", 1))]]

    async with running_engine(MemoryStateStore(), flow) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") == [
            ["first0", "first1", "second0", "second1", "first0"],
            ["second0", "second1"],
            ["second1"],
        ]


async def test_cancelling_a_parent_cancels_its_children_and_theirs() -> None:
    @workflow
    async def middle(ctx: WorkflowContext, key: str) -> None:
        await ctx.child(wait_forever, key, run_id="leaf")

    @workflow
    async def top(ctx: WorkflowContext) -> None:
        await ctx.child(middle, "y", run_id="middle")

    store = MemoryStateStore()
    async with running_engine(store, top, middle, wait_forever) as engine:
        handle = await engine.start(top)
        await until(lambda: store.find_signal_waiter("never:y"))
        await engine.cancel(handle.run_id)
        for run_id in (handle.run_id, "middle", "leaf"):
            assert await has_status(engine.handle(run_id), RunStatus.CANCELLED)
    assert await store.list_signal_waiters() == []


@workflow
async def waits_for_retry(ctx: WorkflowContext) -> str:
    await ctx.start_child(with_helper, "fail", run_id="tried")
    await ctx.wait_for_signal("join")
    return await ctx.child(with_helper, "fail", run_id="tried")


@workflow
async def with_helper(ctx: WorkflowContext, how: str) -> str:
    if how == "fail":
        raise FatalError("not this way")
    await ctx.child(helper)
    return await ctx.wait_for_signal("finish", str)


@workflow
async def helper(ctx: WorkflowContext) -> str:
    return "the helper's"


@on_every_store
async def test_a_child_of_a_retry_does_not_answer_for_the_run_that_is_retried(store: StateStore) -> None:
    """Its id begins with that of the retry, and it stands for nobody."""
    async with running_engine(store, waits_for_retry, with_helper, helper) as engine:
        handle = await engine.start(waits_for_retry, run_id="parent")
        await until(run_has(store, "tried", RunStatus.FAILED))
        # The retry first: who joins a failed run that nothing retries is told of the failure.
        retry = await engine.retry_with_input("tried", "with help")
        await engine.signal("join")
        await until(run_has(store, f"{retry.id}.child.0", RunStatus.COMPLETED))
        await until(run_has(store, retry.id, RunStatus.SUSPENDED))
        await engine.signal("finish", "the retry's own")
        assert await handle.result("60s") == "the retry's own"
