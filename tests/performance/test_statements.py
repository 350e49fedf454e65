"""What a workflow costs in statements: figures that do not depend on the machine."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest_asyncio

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.turns.step_log import current_step
from fastapi_durable.model.records import RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.prisma import PrismaStateStore
from tests.support.engine_rig import FAST, has_status, running_engine, tuned, until

# The worker looks once, when it starts, and then only when it is told: its polling is not what is counted.
NEVER = timedelta(minutes=5)
# Nothing that takes long on a busy machine costs a statement more.
QUIET = tuned(FAST, poll_interval=NEVER, lease=NEVER, show_running_after=NEVER, concurrency=64)


@step
async def one(value: int) -> int:
    return value + 1


@step
async def pause(value: int) -> int:
    await asyncio.sleep(0)
    return value


@workflow
async def steps(ctx: WorkflowContext, number: int) -> int:
    value = 0
    for _ in range(number):
        value = await ctx.step(one, value)
    return value


@workflow
async def values(ctx: WorkflowContext) -> float:
    await ctx.now()
    await ctx.uuid()
    await ctx.set_value("progress", 1)
    return await ctx.random()


@workflow
async def side_by_side(ctx: WorkflowContext, number: int) -> int:
    return sum(await asyncio.gather(*(ctx.step(pause, value) for value in range(number))))


@workflow
async def replayed(ctx: WorkflowContext, number: int) -> str:
    for value in range(number):
        await ctx.step(one, value)
    return await ctx.wait_for_signal("go", str)


@workflow
async def positions(ctx: WorkflowContext) -> int:
    """One for a step, a value and a sleep each; one for a signal, and one more for its deadline."""
    await ctx.step(one, 1)
    await ctx.now()
    await ctx.sleep(timedelta(milliseconds=1))
    first = await ctx.wait_for_signal("first", int)
    return first + await ctx.wait_for_signal("second", int, timeout=timedelta(hours=1))


@step
async def speak(number: int) -> None:
    tokens = current_step().stream("tokens", str)
    for token in range(number):
        await tokens.append(f"token {token}")
        await asyncio.sleep(0.01)


@workflow
async def spoken(ctx: WorkflowContext, number: int) -> None:
    await ctx.step(speak, number)


def statements_of_runs(client: Any) -> list[str]:
    """Without the worker's own: its row in the list of workers, and the look that it takes once it is told of work."""
    return [text for text, _ in client.asked if "durable_workers" not in text and "picked" not in text]


@pytest_asyncio.fixture
async def engine(client: Any) -> AsyncIterator[WorkflowService]:
    store = PrismaStateStore(client)
    workflows = (steps, values, side_by_side, replayed, positions, spoken)
    async with running_engine(store, *workflows, config=QUIET) as engine:
        assert await (await engine.start(steps, 1)).result("60s") == 1
        client.asked.clear()
        client.commits.clear()
        client.trips.clear()
        yield engine


def commits_of_runs(client: Any) -> list[str]:
    """The same of what made the database commit."""
    return [text for text in client.commits if "durable_workers" not in text and "picked" not in text]


def statements_of_an_ending(database_url: str) -> int:
    """What writes a run and its last checkpoints; on SQLite a statement for each table, in one call."""
    return 2 if database_url.startswith("file:") else 1


def trips_of_runs(client: Any) -> list[str]:
    """What runs waited for: on SQLite, each is a way to the thread of the connection and back."""
    return [text for text in client.trips if "durable_workers" not in text and "picked" not in text]


async def test_a_workflow_of_one_step_costs_two_commits_and_two_trips(
    engine: WorkflowService, client: Any, database_url: str
) -> None:
    """The run, leased; the ending, which stores the step's result and releases the lease."""
    assert await (await engine.start(steps, 1)).result("60s") == 1
    assert len(commits_of_runs(client)) == 2, client.commits
    assert len(trips_of_runs(client)) == 2, client.trips
    assert len(statements_of_runs(client)) == 1 + statements_of_an_ending(database_url), client.asked


async def test_every_further_step_costs_one_statement(engine: WorkflowService, client: Any, database_url: str) -> None:
    assert await (await engine.start(steps, 21)).result("60s") == 21
    assert len(commits_of_runs(client)) == 2 + 20
    assert len(statements_of_runs(client)) == 1 + 20 + statements_of_an_ending(database_url)


async def test_a_chain_of_values_costs_no_commit_of_its_own_before_the_ending(
    engine: WorkflowService, client: Any
) -> None:
    assert 0 <= await (await engine.start(values)).result("60s") < 1
    assert len(commits_of_runs(client)) == 2, client.commits


async def test_steps_that_end_side_by_side_cost_one_statement(engine: WorkflowService, client: Any) -> None:
    assert await (await engine.start(side_by_side, 100)).result("60s") == 4950
    assert len(commits_of_runs(client)) == 3, client.commits


async def test_a_workflow_of_one_step_writes_seven_hundred_bytes(engine: WorkflowService, client: Any) -> None:
    """Names, ids, times and values of three rows, as parameters; no column is sent twice.

    The least of some: on a busy machine a step lasts long enough to be shown as running, which is a row more.
    """
    sent: list[int] = []
    for _ in range(5):
        client.asked.clear()
        assert await (await engine.start(steps, 1)).result("60s") == 1
        sent.append(sum(len(str(value)) for _, values in client.asked for value in values if value is not None))
    assert min(sent) <= 700, client.asked


async def test_calls_take_the_positions_that_the_documents_say(engine: WorkflowService) -> None:
    """A row each: what a history costs, and what a change of this number would do to runs under way."""
    handle = await engine.start(positions)
    await engine.signal("first", 1)
    await engine.signal("second", 2)
    assert await handle.result("60s") == 3
    rows = await engine._kernel.store.list_checkpoints(handle.run_id)
    assert [row.seq for row in rows] == list(range(6))


async def _is_left(engine: WorkflowService, run_id: str) -> bool:
    return run_id not in engine._kernel.notifications.driven_here


async def test_a_signal_to_a_run_that_waits_costs_few_statements(
    engine: WorkflowService, client: Any, database_url: str
) -> None:
    """Who waits; the delivery, which leases the run; the run and its history; the ending, with its look for who waits.

    The delivery is one statement on PostgreSQL, and three in one trip on SQLite. A last one is the caller's own look,
    who waits for the result before the run is driven.
    """
    handle = await engine.start(replayed, 0)
    await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    # Others see the status a moment before this process has a free place for the run again.
    await until(lambda: _is_left(engine, handle.run_id))
    client.asked.clear()
    await engine.signal("go", "on")
    assert await handle.result("60s") == "on"
    most = 7 if database_url.startswith("postgres") else 9
    assert len(statements_of_runs(client)) <= most, client.asked


async def test_many_workflows_at_once_cost_less_than_one_statement_each(engine: WorkflowService, client: Any) -> None:
    handles = await asyncio.gather(*(engine.start(steps, 1) for _ in range(64)))
    assert await asyncio.gather(*(handle.result("60s") for handle in handles)) == [1] * 64
    assert len(client.asked) <= 64


async def test_a_replay_reads_its_whole_history_in_one_statement(engine: WorkflowService, client: Any) -> None:
    handle = await engine.start(replayed, 50)
    await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    client.asked.clear()
    await engine.signal("go", "on")
    assert await handle.result("60s") == "on"
    reads = [text for text, _ in client.asked if text.startswith("SELECT") and "durable_step_checkpoints" in text]
    assert len(reads) <= 2
    assert len(client.asked) < 25


async def test_an_item_of_a_stream_costs_less_than_a_tenth_of_a_statement(engine: WorkflowService, client: Any) -> None:
    """Fifty runs with a hundred items a second each for two seconds, all that the runs cost included."""
    runs, items = 50, 200
    handles = await asyncio.gather(*(engine.start(spoken, items) for _ in range(runs)))
    await asyncio.gather(*(handle.result("60s") for handle in handles))
    rows = [item async for item in engine.read_stream(handles[-1].run_id, "tokens", str)]
    assert [item.data for item in rows] == [f"token {number}" for number in range(items)]
    assert len(client.asked) < runs * items / 10
