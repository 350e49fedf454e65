"""Many at once: the same run started fifty times, two workers over two hundred runs, signals from everywhere."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import ResultTimeoutError, RunFailedError, RunNotFoundError
from fastapi_durable.model.records import CheckpointStatus, RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import FAST, build_engine, has_status, running_engine, tuned, until

BUSY = tuned(FAST, lease=timedelta(seconds=10), concurrency=50)


@step
async def double(value: int) -> int:
    return 2 * value


async def test_of_fifty_starts_of_one_run_one_creates_it_and_all_get_its_result(
    stores: tuple[StateStore, StateStore],
) -> None:
    executions: Counter[str] = Counter()

    @step
    async def work(value: int) -> int:
        executions["work"] += 1
        return value

    @workflow
    async def flow(ctx: WorkflowContext, value: int) -> int:
        return await ctx.step(work, value)

    async with running_engine(stores[0], flow) as first, running_engine(stores[1], flow) as second:
        starts = [engine.start(flow, 7, run_id="once") for _ in range(25) for engine in (first, second)]
        handles = await asyncio.gather(*starts)
        assert sum(handle.created for handle in handles) == 1
        assert await asyncio.gather(*(handle.result("60s") for handle in handles)) == [7] * 50
    assert executions["work"] == 1
    assert [run.id for run in await stores[0].list_runs(RunQuery())] == ["once"]


async def test_two_workers_drive_many_runs_and_none_of_them_twice_at_a_time(
    stores: tuple[StateStore, StateStore],
) -> None:
    """Every step is recorded once, under one attempt; while a run is driven here, nobody drives it there."""
    count = 200 if isinstance(stores[0], MemoryStateStore) else 80
    driven: Counter[str] = Counter()
    executions: Counter[str] = Counter()
    together: list[str] = []

    @step
    async def work(key: str) -> str:
        executions[key] += 1
        return key

    @workflow
    async def flow(ctx: WorkflowContext, number: int) -> list[str]:
        driven[ctx.run_id] += 1
        if driven[ctx.run_id] > 1:
            together.append(ctx.run_id)
        try:
            first = await ctx.step(work, f"{number}-a")
            await ctx.sleep("1 ms")
            return [first, *await asyncio.gather(ctx.step(work, f"{number}-b"), ctx.step(work, f"{number}-c"))]
        finally:
            driven[ctx.run_id] -= 1

    outside = build_engine(stores[0], flow)
    handles = [await outside.start(flow, number) for number in range(count)]
    async with (
        running_engine(stores[0], flow, config=BUSY) as first,
        running_engine(stores[1], flow, config=BUSY) as second,
    ):
        results = [
            await engine.handle(handle.run_id).result("60s")
            for handle, engine in zip(handles, [first, second] * (count // 2), strict=True)
        ]
    assert results == [[f"{number}-{part}" for part in "abc"] for number in range(count)]
    assert together == []
    assert set(executions.values()) == {1}
    assert len(executions) == 3 * count
    for handle in handles[::20]:
        rows = await stores[0].list_checkpoints(handle.run_id)
        assert [(row.seq, row.status, row.attempts) for row in rows] == [
            (seq, CheckpointStatus.COMPLETED, 1) for seq in range(4)
        ]


async def test_of_many_signals_from_many_senders_none_is_lost_and_none_comes_twice(
    stores: tuple[StateStore, StateStore],
) -> None:
    """They come while two workers hand the waiting runs back and forth."""

    @workflow
    async def flow(ctx: WorkflowContext, token: str) -> list[int]:
        return [await ctx.wait_for_signal(token, int) for _ in range(10)]

    async with (
        running_engine(stores[0], flow, config=BUSY) as first,
        running_engine(stores[1], flow, config=BUSY) as second,
    ):
        handles = [await first.start(flow, f"token-{number}") for number in range(4)]

        async def send(sender: int) -> None:
            for number in range(4):
                await (first, second)[sender % 2].signal(f"token-{number}", sender)

        await asyncio.gather(*(send(sender) for sender in range(10)))
        for handle in handles:
            assert sorted(await handle.result("60s")) == list(range(10))
    for number in range(4):
        assert await stores[0].take_buffered_signal(f"token-{number}") is None
    assert await stores[0].list_signal_waiters() == []


async def test_of_two_runs_that_wait_for_one_token_at_once_one_gets_it(stores: tuple[StateStore, StateStore]) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.wait_for_signal("shared", int)

    async with running_engine(stores[0], flow) as first, running_engine(stores[1], flow) as second:
        handles = await asyncio.gather(first.start(flow), second.start(flow))
        await until(lambda: stores[0].find_signal_waiter("shared"))
        refused: list[Any] = []

        async def one_is_refused() -> bool:
            refused[:] = [handle for handle in handles if await handle.status() is RunStatus.FAILED]
            return len(refused) == 1

        await until(one_is_refused)
        (owner,) = [handle for handle in handles if handle not in refused]
        with pytest.raises(RunFailedError, match=f"already awaited by run '{owner.run_id}'"):
            await refused[0].result("60s")
        assert await first.signal("shared", 1)
        assert await owner.result("60s") == 1


async def test_callers_wait_for_a_result_in_the_same_process_and_in_another(
    stores: tuple[StateStore, StateStore],
) -> None:
    go_on = asyncio.Event()

    @step
    async def work() -> str:
        await go_on.wait()
        return "done"

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await ctx.step(work)

    elsewhere = build_engine(stores[1], flow)
    async with running_engine(stores[0], flow) as engine:
        here = await engine.start(flow)
        there = elsewhere.handle(here.run_id, flow)
        with pytest.raises(ResultTimeoutError) as caught:
            await there.result("20 ms")
        assert caught.value.run_id == here.run_id
        waiting = [asyncio.create_task(handle.result("60s")) for handle in (here, there) for _ in range(10)]
        await until(lambda: has_status(there, RunStatus.RUNNING))
        go_on.set()
        assert await asyncio.gather(*waiting) == ["done"] * 20
        assert await there.result("0s") == "done"


async def test_a_caller_that_gives_up_leaves_the_run_alone(stores: tuple[StateStore, StateStore]) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.wait_for_signal("go", int)

    async with running_engine(stores[0], flow) as engine:
        handle = await engine.start(flow)
        waiting = asyncio.create_task(handle.result())
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        await engine.signal("go", 1)
        assert await handle.result("60s") == 1


async def test_a_run_that_does_not_exist_is_no_reason_to_wait(stores: tuple[StateStore, StateStore]) -> None:
    engine = build_engine(stores[0])
    with pytest.raises(RunNotFoundError):
        await engine.handle("nobody").result("60s")
