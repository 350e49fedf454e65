"""Code that does not fit the history of a run: what it leaves alone until code comes that does."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, has_status, running_engine, tuned, until
from tests.support.stores import on_every_store

IMPATIENT = tuned(FAST, blocked_poll_interval=timedelta(milliseconds=20))

done: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    done.clear()


@step
async def book(item: str) -> str:
    done[f"book {item}"] += 1
    return item


@step
async def take_back(undo: Undo[str, str]) -> None:
    done[f"take back {undo.input}"] += 1


@step
async def tell(text: str) -> None:
    done[f"tell {text}"] += 1


@workflow(name="trip")
async def before(ctx: WorkflowContext) -> str:
    await ctx.step(book, "hotel", compensate=take_back)
    await ctx.wait_for_signal("go")
    await ctx.step(book, "flight", compensate=take_back)
    return "booked"


@workflow(name="trip")
async def after(ctx: WorkflowContext) -> str:
    """Would undo everything, and tell of it, if the divergence were an error like others."""
    try:
        await ctx.step(book, "hotel", compensate=take_back)
        await ctx.sleep("1h")
    except Exception as error:
        await ctx.step(tell, str(error))
        raise
    finally:
        done["left"] += 1
    return "slept"


@on_every_store
async def test_a_wrong_deploy_undoes_nothing_and_is_no_error_for_the_body(store: StateStore) -> None:
    """Work that was done in earnest stays, and the right code goes on from it."""
    async with running_engine(store, before) as engine:
        handle = await engine.start(before)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    done.clear()
    async with running_engine(store, after, config=IMPATIENT) as engine:
        await engine.signal("go")
        await until(lambda: has_status(handle, RunStatus.BLOCKED))
        await until(lambda: _tried(3))
    assert [row.seq for row in await store.list_checkpoints(handle.run_id)] == [0, 1]
    assert set(done) == {"left"}
    async with running_engine(store, before, config=IMPATIENT) as engine:
        assert await engine.handle(handle.run_id, before).result("20s") == "booked"
    assert done["book flight"] == 1
    assert not [name for name in done if name.startswith("take back")]


async def _tried(times: int) -> bool:
    return done["left"] >= times


async def test_a_blocked_run_is_undone_by_the_code_that_fits_it(store: StateStore) -> None:
    """Cancelled while the wrong code is deployed, it stays a cancel until then."""
    async with running_engine(store, before) as engine:
        handle = await engine.start(before)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    async with running_engine(store, after, config=IMPATIENT) as engine:
        await engine.signal("go")
        await until(lambda: has_status(handle, RunStatus.BLOCKED))
        await engine.cancel(handle.run_id, compensate=True)
        tried = done["left"]
        await until(lambda: _tried(tried + 2))
        assert await has_status(handle, RunStatus.CANCELLING)
        assert done["take back hotel"] == 0
    async with running_engine(store, before, config=IMPATIENT):
        await until(lambda: has_status(handle, RunStatus.CANCELLED))
    assert done["take back hotel"] == 1


def _patched(patch_id: str) -> Any:
    @workflow(name="patched")
    async def flow(ctx: WorkflowContext) -> str:
        way = "new" if await ctx.patched(patch_id) else "old"
        await ctx.wait_for_signal("go")
        return way

    return flow


async def test_a_patch_of_another_name_is_another_change(store: StateStore) -> None:
    """A run that took one change has not passed here before the other: nobody can tell which way it should go."""
    async with running_engine(store, _patched("fee")) as engine:
        handle = await engine.start("patched")
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    async with running_engine(store, _patched("tax"), config=IMPATIENT) as engine:
        await engine.signal("go")
        await until(lambda: has_status(handle, RunStatus.BLOCKED))
        error = (await handle.run()).error
        assert error is not None
        assert "recorded local 'patch:fee', the code asks for local 'patch:tax'" in error.message
    async with running_engine(store, _patched("fee"), config=IMPATIENT) as engine:
        assert await engine.handle(handle.run_id).result("5s") == "new"
