"""Runs that go on as new ones, and code that changes under them."""

import asyncio

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.queue import Queue
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import ResultTimeoutError
from fastapi_durable.model.records import RunStatus, SearchAttributes
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import FAST, build_engine, has_status, running_engine, tuned, until
from tests.support.stores import on_every_store


@step
async def label(value: str) -> str:
    return f"<{value}>"


@workflow
async def count_down(ctx: WorkflowContext, value: int) -> str:
    await ctx.step(label, str(value))
    if value > 0:
        ctx.continue_as_new(value - 1)
    return "done"


async def test_a_run_goes_on_as_a_new_one_that_keeps_what_belongs_to_the_chain() -> None:
    store = MemoryStateStore()
    async with running_engine(store, count_down) as engine:
        await engine.start(count_down, 2, run_id="c", tags=["t"], search_attributes={"k": 1}, priority=3)
        await until(lambda: _exists(store, "c~2"))
        assert await engine.handle("c~2", count_down).result("60s") == "done"
    first, last = await store.find_run("c"), await store.find_run("c~2")
    assert first is not None
    assert last is not None
    assert (first.status, first.output) == (RunStatus.COMPLETED, None)
    assert (last.tags, dict(last.search_attributes), last.priority, last.input) == (("t",), {"k": 1}, 3, 0)


@workflow
async def labelled(ctx: WorkflowContext, left: int) -> SearchAttributes:
    attributes = await ctx.upsert_search_attributes({f"left {left}": True, "left": left, "given": None})
    if left > 0:
        ctx.continue_as_new(left - 1)
    return attributes


@on_every_store
async def test_attributes_that_a_run_sets_just_before_it_goes_on_as_a_new_one_go_along(store: StateStore) -> None:
    """So do those that it removes."""
    async with running_engine(store, labelled) as engine:
        handle = await engine.start(labelled, 2, search_attributes={"given": 1, "kept": 1})
        assert await handle.result("60s") == {"kept": 1, "left 2": True, "left 1": True, "left 0": True, "left": 0}


async def test_the_next_run_of_a_chain_is_of_the_newest_version_and_where_the_chain_is() -> None:
    """Its namespace, its place in a queue and its time are those of the whole chain."""

    @workflow(name="chain", execution_timeout="1h")
    async def first(ctx: WorkflowContext, left: int) -> str:
        ctx.continue_as_new(left - 1)

    @workflow(name="chain", version="10", execution_timeout="9h")
    async def newest(ctx: WorkflowContext, left: int) -> str:
        return f"the newest, {left} left"

    @workflow(name="chain", version="9")
    async def between(ctx: WorkflowContext, left: int) -> str:
        return "never"

    store, queues = MemoryStateStore(), [Queue("narrow", concurrency=1)]
    versions = (first, newest, between)
    tenant = build_engine(store, *versions, queues=queues, config=tuned(FAST, namespace="tenant"))
    handle = await tenant.start(first, 3, run_id="c", queue="narrow", fairness_key="k")
    async with running_engine(store, *versions, queues=queues):
        assert await handle.result("60s") == "the newest, 2 left"
    old, new = await store.find_run("c"), await store.find_run("c~1")
    assert old is not None
    assert new is not None
    assert (old.workflow_version, new.workflow_version) == ("1", "10")
    assert (new.namespace, new.queue, new.fairness_key) == ("tenant", "narrow", "k")
    assert (new.origin, new.expires_at) == (old.origin, old.expires_at)
    assert new.expires_at is not None


async def test_a_parent_waits_for_the_last_run_of_a_chain() -> None:
    @workflow
    async def parent(ctx: WorkflowContext) -> str:
        return await ctx.child(count_down, 2, run_id="chain")

    store = MemoryStateStore()
    async with running_engine(store, parent, count_down) as engine:
        handle = await engine.start(parent)
        assert await handle.result("60s") == "done"
    assert await store.list_signal_waiters() == []


async def test_the_limit_of_a_wait_holds_for_a_chain_as_a_whole() -> None:
    """Each run of it ends long before the limit, and the chain never does."""

    @workflow
    async def endless(ctx: WorkflowContext) -> None:
        await ctx.sleep("5ms")
        ctx.continue_as_new()

    store = MemoryStateStore()
    async with running_engine(store, endless) as engine:
        handle = await engine.start(endless, run_id="e")
        async with asyncio.timeout(60):
            with pytest.raises(ResultTimeoutError):
                await handle.result("200ms")
        await engine.cancel("e")


async def test_an_older_run_keeps_the_old_code_and_a_new_one_takes_the_patched() -> None:
    @workflow(name="fee")
    async def before(ctx: WorkflowContext) -> list[str]:
        first = await ctx.step(label, "old")
        await ctx.wait_for_signal(f"go:{ctx.run_id}")
        return [first]

    @workflow(name="fee")
    async def after(ctx: WorkflowContext) -> list[str]:
        first = await ctx.step(label, "new") if await ctx.patched("2026") else await ctx.step(label, "old")
        await ctx.wait_for_signal(f"go:{ctx.run_id}")
        return [first]

    store = MemoryStateStore()
    async with running_engine(store, before) as engine:
        await engine.start(before, run_id="older")
        await until(lambda: has_status(engine.handle("older"), RunStatus.SUSPENDED))
    async with running_engine(store, after) as engine:
        await engine.start(after, run_id="newer")
        await until(lambda: has_status(engine.handle("newer"), RunStatus.SUSPENDED))
        for run_id in ("older", "newer"):
            await engine.signal(f"go:{run_id}")
        assert await engine.handle("older").result("60s") == ["<old>"]
        assert await engine.handle("newer").result("60s") == ["<new>"]


async def _exists(store: MemoryStateStore, run_id: str) -> bool:
    return await store.find_run(run_id) is not None
