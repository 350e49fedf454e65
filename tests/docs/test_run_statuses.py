"""The table of moves in docs/architecture.md is what runs do: each of its moves happens, and no other."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from example_app.clients.sqlite import Prisma
from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.engine.upkeep.blocked import show_blocked
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.prisma import PrismaStateStore
from tests.docs.test_architecture import moves, section, table
from tests.support.engine_rig import (
    FAST,
    SHORT_LEASE,
    build_engine,
    build_machinery,
    killed_worker,
    run_has,
    tuned,
    until,
)
from tests.support.engine_rig import running_engine as running

NOTE_EVERY_MOVE = """
CREATE TABLE moves (old TEXT, new TEXT);
CREATE TRIGGER created AFTER INSERT ON durable_workflow_runs
BEGIN INSERT INTO moves VALUES ('new', NEW.status); END;
CREATE TRIGGER moved AFTER UPDATE OF status ON durable_workflow_runs WHEN OLD.status <> NEW.status
BEGIN INSERT INTO moves VALUES (OLD.status, NEW.status); END;
"""
PENDING, RUNNING, SUSPENDED, CANCELLING, BLOCKED = (
    RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUSPENDED, RunStatus.CANCELLING, RunStatus.BLOCKED
)  # fmt: skip
CANCELLED, FAILED, DEAD = RunStatus.CANCELLED, RunStatus.FAILED, RunStatus.DEAD
PATIENT = tuned(FAST, blocked_poll_interval=timedelta(hours=1))
IMPATIENT = tuned(FAST, blocked_poll_interval=timedelta(milliseconds=20))


@step
async def hang() -> None:
    await asyncio.Event().wait()


@workflow
async def waits(ctx: WorkflowContext) -> None:
    await ctx.wait_for_signal(ctx.run_id)


@workflow
async def hangs(ctx: WorkflowContext) -> None:
    await ctx.step(hang)


@workflow
async def child(ctx: WorkflowContext, name: str) -> None:
    if name == "fails":
        raise ValueError(name)
    await ctx.wait_for_signal(f"child {name}")


@workflow
async def parent(ctx: WorkflowContext) -> None:
    await ctx.all(child, ["waits", "fails"], mode="fail_fast")


@workflow(name="waits", version="1")
async def sleeps(ctx: WorkflowContext) -> None:
    """The same workflow after a deploy that does not fit."""
    await ctx.sleep("1h")


async def begin(store: StateStore, flow: Callable[..., Any], run_id: str, config: EngineConfig = FAST) -> None:
    """A run that is suspended, and that no worker drives."""
    await build_engine(store, flow).start(flow, run_id=run_id)
    async with running(store, flow, config=config):
        await until(run_has(store, run_id, SUSPENDED))


async def ends_by_itself(store: StateStore) -> None:
    await begin(store, waits, "a")
    async with running(store, waits) as engine:
        await engine.signal("a")
        await engine.handle("a").result("60s")
        await engine.start(waits, run_id="at once")
        await until(run_has(store, "at once", SUSPENDED))


async def begins_later(store: StateStore) -> None:
    await build_engine(store, waits).start(waits, run_id="later", delay="1h")


async def is_cancelled(store: StateStore) -> None:
    outside = build_engine(store, waits)
    await outside.start(waits, run_id="not begun")
    await outside.cancel("not begun")
    for compensate in (False, True):
        run_id = f"asleep {compensate}"
        await begin(store, waits, run_id)
        await outside.cancel(run_id, compensate=compensate)
        async with running(store, waits, hangs) as engine:
            await until(run_has(store, run_id, CANCELLED))
            await engine.start(hangs, run_id=f"at work {compensate}")
            await engine.cancel(f"at work {compensate}", compensate=compensate)
            await until(run_has(store, f"at work {compensate}", CANCELLED))


async def is_handed_back(store: StateStore) -> None:
    async with running(store, hangs, config=tuned(FAST, shutdown_timeout=timedelta(milliseconds=20))) as engine:
        await engine.start(hangs, run_id="handed back")
    assert await run_has(store, "handed back", PENDING)()


async def is_retried(store: StateStore) -> None:
    async with running(store, parent, child) as engine:
        await engine.start(parent, run_id="parent")
        await until(run_has(store, "parent", FAILED))
        await until(run_has(store, "parent.all.0.0", CANCELLED))
        await engine.retry("parent")
        await until(run_has(store, "parent", FAILED))


async def dies(store: StateStore) -> None:
    outside = build_engine(store, waits)
    await begin(store, waits, "dies while it is cancelled")
    await outside.start(waits, run_id="dies")
    await outside.cancel("dies while it is cancelled", compensate=True)
    for run_id in ("dies", "dies while it is cancelled"):
        await store.update_run(run_id, {"recovery_attempts": 9})
    async with running(store, waits, config=tuned(FAST, max_recovery_attempts=1)):
        await until(run_has(store, "dies", DEAD))
        await until(run_has(store, "dies while it is cancelled", DEAD))
    await outside.retry("dies")


async def does_not_fit_its_code(store: StateStore) -> None:
    outside = build_engine(store, waits)
    for run_id in ("x", "y", "z"):
        await begin(store, waits, run_id)
        await outside.signal(run_id)
        async with running(store, sleeps, config=PATIENT):
            await until(run_has(store, run_id, BLOCKED))
    await outside.cancel("x")
    await outside.cancel("y", compensate=True)
    await outside.retry("z")
    async with running(store, sleeps, config=IMPATIENT):
        await until(run_has(store, "z", BLOCKED))
    async with running(store, waits, config=IMPATIENT) as engine:
        await engine.handle("z").result("60s")


async def is_of_a_workflow_that_no_worker_knows(store: StateStore) -> None:
    outside = build_engine(store, waits)
    await begin(store, waits, "woken")
    await outside.signal("woken")
    await outside.start(waits, run_id="never driven")
    async with killed_worker(store, hangs, config=SHORT_LEASE) as engine:
        await engine.start(hangs, run_id="killed")
    stranger = build_machinery(store)

    async def shown() -> bool:
        await show_blocked(stranger.kernel, alive_within=timedelta(0))
        return await run_has(store, "killed", BLOCKED)()

    await until(shown)
    for run_id in ("woken", "never driven"):
        assert await run_has(store, run_id, BLOCKED)()


LIVES: list[Callable[[StateStore], Awaitable[None]]] = [
    ends_by_itself,
    begins_later,
    is_cancelled,
    is_handed_back,
    is_retried,
    dies,
    does_not_fit_its_code,
    is_of_a_workflow_that_no_worker_knows,
]


@pytest.fixture
async def client(sqlite_url: str) -> AsyncIterator[Prisma]:
    with closing(sqlite3.connect(sqlite_url.removeprefix("file:"))) as database:
        database.executescript(NOTE_EVERY_MOVE)
    async with Prisma(datasource={"url": sqlite_url}) as connected:
        yield connected


async def test_runs_make_the_moves_of_the_table_and_no_other(client: Prisma) -> None:
    """The database itself notes every change of a status."""
    for live in LIVES:
        await live(PrismaStateStore(client))
    seen = {(row["old"], row["new"]) for row in await client.query_raw("SELECT DISTINCT old, new FROM moves")}
    assert seen == moves(table(section("The life of a run"), "| From | To | When | Where |"))
