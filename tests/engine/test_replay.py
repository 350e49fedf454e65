"""The body is run again from the top on every wake. What it sees then is what it saw before."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.model.errors import RunFailedError, SignalTimeoutError, StepFailedError
from fastapi_durable.model.records import CheckpointStatus, RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, build_engine, has_status, killed_worker, running_engine, tuned, until

IMPATIENT = tuned(FAST, blocked_poll_interval=timedelta(milliseconds=20), lease=timedelta(milliseconds=60))


@step
async def double(value: int) -> int:
    return 2 * value


@step
async def echo(value: str) -> str:
    return value


async def second_life(engine: WorkflowService, handle: RunHandle[Any]) -> Any:
    """Wait until a run that waits for the signal `again` left memory, send it, and return the result of its replay.

    A short sleep would not do: a slow machine comes to it when it is over already, and nothing is replayed.
    """
    await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    await engine.signal("again")
    return await handle.result("60s")


async def test_the_first_run_sees_what_every_replay_sees(store: StateStore) -> None:
    """A step's result comes back through its stored form at once: a tuple is a list, a key is a string."""
    seen: list[Any] = []

    @step
    async def report() -> Any:
        return {1: (2, 3), "at": timedelta(seconds=1)}

    @workflow
    async def flow(ctx: WorkflowContext) -> Any:
        seen.append((await ctx.step(report), await ctx.now(), await ctx.uuid(), await ctx.random()))
        await ctx.wait_for_signal("again")
        return seen[-1][0]

    async with running_engine(store, flow) as engine:
        assert await second_life(engine, await engine.start(flow)) == {"1": [2, 3], "at": "PT1S"}
    assert len(seen) == 2
    assert seen[0] == seen[1]


async def test_a_failed_step_that_the_body_caught_is_not_executed_again(store: StateStore) -> None:
    executions = 0
    caught: list[tuple[str, str | None, int]] = []

    @step
    async def fail_the_first_time() -> None:
        nonlocal executions
        executions += 1
        if executions == 1:
            error = ValueError("out of stock")
            error.code = "stock"  # type: ignore[attr-defined]
            raise error

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await ctx.step(fail_the_first_time)
            return "no error"
        except StepFailedError as error:
            caught.append((str(error), error.code, error.attempts))
        await ctx.wait_for_signal("again")
        return "caught"

    async with running_engine(store, flow) as engine:
        assert await second_life(engine, await engine.start(flow)) == "caught"
    assert executions == 1
    assert caught == [("step 'fail_the_first_time' failed after 1 attempt: out of stock", "stock", 1)] * 2


async def test_a_failed_side_effect_that_the_body_caught_is_not_taken_again(store: StateStore) -> None:
    """Else the body would go another way on the replay."""
    takes = 0

    def take() -> int:
        nonlocal takes
        takes += 1
        if takes == 1:
            raise ValueError("the flag service is away")
        return takes

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        found = "nothing"
        try:
            found = str(await ctx.side_effect(take, int))
        except StepFailedError as error:
            found = error.error.message
        await ctx.wait_for_signal("again")
        return found

    async with running_engine(store, flow) as engine:
        assert await second_life(engine, await engine.start(flow)) == "the flag service is away"
    assert takes == 1


async def test_a_timeout_stays_a_timeout_although_the_signal_comes_afterwards(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            first = await ctx.wait_for_signal("go", str, timeout="5 ms")
        except SignalTimeoutError:
            first = "timeout"
        await ctx.wait_for_signal("on")
        return first

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: store.find_signal_waiter("on"))
        assert not await engine.signal("go", "too late")
        assert await engine.signal("on")
        assert await handle.result("60s") == "timeout"


async def test_a_body_that_catches_every_exception_still_suspends(store: StateStore) -> None:
    """Suspension is no Exception: the except block is for the workflow's own errors."""
    swallowed: list[Exception] = []

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            return await ctx.wait_for_signal("go", str)
        except Exception as error:
            swallowed.append(error)
            return "swallowed"

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await engine.signal("go", "signalled")
        assert await handle.result("60s") == "signalled"
    assert swallowed == []


@pytest.mark.parametrize("reaction", ["returns", "raises", "waits again", "gathers exceptions"])
async def test_a_body_that_catches_even_the_suspension_gains_nothing(store: StateStore, reaction: str) -> None:
    """What it does after the end of the turn counts for nothing; the run suspends and goes on with the signal."""

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        if reaction == "gathers exceptions":
            results = await asyncio.gather(ctx.wait_for_signal("go", str), return_exceptions=True)
            return str(results[0])
        try:
            return await ctx.wait_for_signal("go", str)
        except BaseException:
            if reaction == "returns":
                return "swallowed"
            if reaction == "waits again":
                return await ctx.wait_for_signal("another", str)
            raise ValueError("swallowed") from None

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await engine.signal("go", "signalled")
        assert await handle.result("60s") == "signalled"


async def _by_gather(ctx: WorkflowContext) -> list[int]:
    return list(await asyncio.gather(ctx.step(double, 1), ctx.step(double, 2), ctx.step(double, 3)))


async def _by_task_group(ctx: WorkflowContext) -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ctx.step(double, value)) for value in (1, 2, 3)]
    return [task.result() for task in tasks]


async def _by_wait(ctx: WorkflowContext) -> list[int]:
    tasks = [asyncio.ensure_future(ctx.step(double, value)) for value in (1, 2, 3)]
    await asyncio.wait(tasks)
    return [task.result() for task in tasks]


async def _awaited_backwards(ctx: WorkflowContext) -> list[int]:
    calls = [ctx.step(double, value) for value in (1, 2, 3)]
    return [await call for call in reversed(calls)][::-1]


async def _under_timeouts(ctx: WorkflowContext) -> list[int]:
    async with asyncio.timeout(60):
        calls = [ctx.step(double, value) for value in (1, 2, 3)]
        return [await asyncio.wait_for(call, 60) for call in calls]


@pytest.mark.parametrize("together", [_by_gather, _by_task_group, _by_wait, _awaited_backwards, _under_timeouts])
async def test_positions_are_taken_when_a_step_is_called(store: StateStore, together: Any) -> None:
    """However the calls are awaited, they are recorded in call order, and a replay hands out the same results."""
    results: list[list[int]] = []

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        results.append(await together(ctx))
        await ctx.wait_for_signal("again")
        return results[-1]

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        assert await second_life(engine, handle) == [2, 4, 6]
    assert results == [[2, 4, 6]] * 2
    history = await store.list_checkpoints(handle.run_id)
    assert [(row.seq, row.input) for row in history[:3]] == [(0, 1), (1, 2), (2, 3)]


async def test_branches_of_several_steps_get_their_own_results_on_a_replay(store: StateStore) -> None:
    """They finish in another order than they were called in; recorded results come at once, in call order."""
    turn = [asyncio.Event() for _ in range(4)]
    turn[3].set()
    keys: dict[str, set[int]] = {}

    @step
    async def slowest_first(value: int) -> int:
        if value < 10:
            # On the first run the last branch ends first.
            await turn[value].wait()
            turn[value - 1].set()
        return value * 10

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        async def branch(value: int) -> int:
            once = await ctx.step(slowest_first, value)
            twice = await ctx.step(slowest_first, once)
            return twice + await inner(value)

        async def inner(value: int) -> int:
            first, second = await asyncio.gather(leaf(value), leaf(value + 1))
            return first + second

        async def leaf(value: int) -> int:
            return await ctx.step(double, await ctx.step(double, value))

        results = list(await asyncio.gather(branch(1), branch(2), branch(3)))
        await ctx.wait_for_signal("again")
        return results + list(await asyncio.gather(branch(1), branch(2)))

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        expected = [value * 100 + 4 * value + 4 * (value + 1) for value in (1, 2, 3, 1, 2)]
        assert await second_life(engine, handle) == expected
    for row in await store.list_checkpoints(handle.run_id):
        keys.setdefault(row.step_id, set()).add(row.seq)
    assert all(len(seqs) == 1 for seqs in keys.values()), "a step id names more than one step"


async def test_a_branch_that_was_not_recorded_keeps_its_step_id_after_a_crash(store: StateStore) -> None:
    """A step id is the idempotency key for the outside world: it must not go over to another branch."""
    asked: Counter[tuple[str, int]] = Counter()
    all_in = asyncio.Barrier(3)
    crash = asyncio.Event()

    @step
    async def charge(value: int) -> int:
        asked[f"charge {value}", value] += 1
        if not crash.is_set() and value != 3:
            await asyncio.Event().wait()
        return value

    @step
    async def arrive(value: int) -> int:
        if not crash.is_set():
            await all_in.wait()
        return value

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        async def branch(value: int) -> int:
            await ctx.step(arrive, value)
            return await ctx.step(charge, value)

        return list(await asyncio.gather(branch(1), branch(2), branch(3)))

    async with killed_worker(store, flow, config=IMPATIENT) as first:
        handle = await first.start(flow)

        async def third_is_recorded() -> bool:
            return any((row.name, row.output) == ("charge", 3) for row in await store.list_checkpoints(handle.run_id))

        await until(third_is_recorded)
    crash.set()
    async with running_engine(store, flow, config=IMPATIENT) as second:
        assert await second.handle(handle.run_id).result("60s") == [1, 2, 3]
    keys = {row.step_id: row.input for row in await store.list_checkpoints(handle.run_id) if row.name == "charge"}
    assert keys == {f"{handle.run_id}:{branch}.1": branch + 1 for branch in range(3)}
    assert asked["charge 3", 3] == 1


async def test_branches_may_wait_for_signals_between_their_steps(store: StateStore) -> None:
    """Each signal finds the branch that waits for it, in whatever order they come, over several turns."""

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        async def branch(name: str) -> str:
            first = await ctx.wait_for_signal(f"{name}-1", str)
            middle = await ctx.step(echo, first)
            second = await ctx.wait_for_signal(f"{name}-2", str, timeout="1h")
            return middle + second

        return list(await asyncio.gather(branch("a"), branch("b")))

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        for token in ("b-1", "b-2", "a-1", "a-2"):
            await until(lambda token=token: store.find_signal_waiter(token))  # type: ignore[misc]
            assert await engine.signal(token, token)
        assert await handle.result("60s") == ["a-1a-2", "b-1b-2"]
    assert await store.list_signal_waiters() == []


async def test_a_branch_that_another_ones_failure_cancels_does_not_block_the_replay(store: StateStore) -> None:
    """On the replay the failure comes at once, before the cancelled branch gets as far as it did the first time."""
    crashed = False
    gate = asyncio.Event()

    @step
    async def fail() -> None:
        if not crashed:
            await gate.wait()
        raise ValueError("no")

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        async def walk() -> None:
            for number in range(3):
                await ctx.step(double, number)
            gate.set()
            await ctx.wait_for_signal("never")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(walk())
                group.create_task(ctx.step(fail))
        except* StepFailedError:
            pass
        await ctx.wait_for_signal("again")
        return "caught"

    async with running_engine(store, flow) as engine:
        assert await second_life(engine, await engine.start(flow)) == "caught"


async def test_a_context_used_inside_a_step_is_refused(store: StateStore) -> None:
    """A replay does not call the step's function, so its calls would be missing there."""

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        @step(max_attempts=3)
        async def nested() -> int:
            return await ctx.step(double, 1)

        await ctx.step(nested)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError, match=r"inside the step 'nested'"):
            await handle.result("60s")
    (row,) = await store.list_checkpoints(handle.run_id)
    assert (row.status, row.attempts) == (CheckpointStatus.FAILED, 1)


def _versions(name: str) -> tuple[Any, Any]:
    """Two deployments of one workflow that waits in the middle; the second one asks for something else first."""
    if name == "another name":

        @workflow(name="flow")
        async def recorded(ctx: WorkflowContext) -> str:
            await ctx.step(double, 1)
            await ctx.wait_for_signal("go")
            return "recorded"

        @workflow(name="flow")
        async def found(ctx: WorkflowContext) -> str:
            await ctx.step(echo, "1")
            await ctx.wait_for_signal("go")
            return "found"

    elif name == "another kind":

        @workflow(name="flow")
        async def recorded(ctx: WorkflowContext) -> str:
            await ctx.step(double, 1, name="sleep")
            await ctx.wait_for_signal("go")
            return "recorded"

        @workflow(name="flow")
        async def found(ctx: WorkflowContext) -> str:
            await ctx.sleep("0s")
            await ctx.wait_for_signal("go")
            return "found"

    elif name == "a leftover":

        @workflow(name="flow")
        async def recorded(ctx: WorkflowContext) -> str:
            await ctx.step(double, 1)
            await ctx.wait_for_signal("go")
            return "recorded"

        @workflow(name="flow")
        async def found(ctx: WorkflowContext) -> str:
            return "found"

    else:

        @workflow(name="flow")
        async def recorded(ctx: WorkflowContext) -> str:
            await ctx.wait_for_signal("go")
            await ctx.wait_for_signal("go")
            return "recorded"

        @workflow(name="flow")
        async def found(ctx: WorkflowContext) -> str:
            try:
                await ctx.wait_for_signal("go", timeout="1h")
            except Exception:
                return "an error like any other"
            return "found"

    return recorded, found


@pytest.mark.parametrize(
    ("change", "position", "was", "asks"),
    [
        ("another name", 0, "local 'double'", "local 'echo'"),
        ("another kind", 0, "local 'sleep'", "sleep 'sleep'"),
        ("a leftover", 0, "local 'double'", "the end of the workflow"),
        ("a timeout was added", 0, "signal 'signal:go'", "sleep 'timeout:go'"),
    ],
)
async def test_a_run_whose_code_changed_is_parked_and_goes_on_with_the_right_code(
    store: StateStore, change: str, position: int, was: str, asks: str
) -> None:
    """Nothing is lost by a wrong deploy: the run says what it missed, and waits for code that fits."""
    recorded, found = _versions(change)
    async with running_engine(store, recorded) as engine:
        handle = await engine.start(recorded)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        if change == "a timeout was added":
            await engine.signal("go")
            await until(lambda: store.find_signal_waiter("go"))
            await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    history = await store.list_checkpoints(handle.run_id)
    async with running_engine(store, found, config=IMPATIENT) as wrong:
        await wrong.signal("go")
        await until(lambda: has_status(handle, RunStatus.BLOCKED))
        run = await handle.run()
        assert run.error is not None
        assert run.error.type == "NonDeterminismError"
        assert f"position {position}: its history recorded {was}, the code asks for {asks}" in run.error.message
    rows = {row.seq: row for row in await store.list_checkpoints(handle.run_id)}
    assert {row.seq: row for row in history}.items() <= rows.items()
    async with running_engine(store, recorded, config=IMPATIENT) as right:
        assert await right.handle(handle.run_id).result("60s") == "recorded"
    assert (await handle.run()).error is None


async def test_a_parked_run_is_tried_again_by_the_same_deployment_but_not_all_the_time(store: StateStore) -> None:
    recorded, found = _versions("another name")
    handle = await build_engine(store, recorded).start(recorded)
    async with running_engine(store, recorded) as engine:
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    async with running_engine(store, found, config=tuned(FAST, blocked_poll_interval=timedelta(hours=1))) as engine:
        await engine.signal("go")
        await until(lambda: has_status(handle, RunStatus.BLOCKED))
        run = await handle.run()
        assert run.wake_at is not None
        assert timedelta(minutes=59) < run.wake_at - run.updated_at <= timedelta(hours=1)


async def test_a_task_that_the_body_forgot_is_ended_with_it(store: StateStore) -> None:
    """The fixture finds whatever is left; the run completes all the same."""
    started = asyncio.Event()

    @step
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        forgotten = [asyncio.create_task(ctx.step(endless)), asyncio.create_task(ctx.wait_for_signal("never"))]
        await started.wait()
        forgotten.append(asyncio.create_task(ctx.step(endless)))
        return f"{len(forgotten)} forgotten"

    async with running_engine(store, flow) as engine:
        assert await (await engine.start(flow)).result("60s") == "3 forgotten"
        assert await store.list_signal_waiters() == []
