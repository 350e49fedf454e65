"""Code that does not fit the history of a run: what it leaves alone until code comes that does."""

import inspect
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow, workflow_definition
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.model.errors import NonDeterminismError, StepNotRegisteredError, WorkflowNotRegisteredError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from fastapi_durable.testing import assert_replayable, record_history
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
        assert await engine.handle(handle.run_id, before).result("60s") == "booked"
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
        assert await engine.handle(handle.run_id).result("60s") == "new"


@workflow(name="invoice")
async def invoice(ctx: WorkflowContext) -> str:
    return await ctx.wait_for_signal(f"number:{ctx.run_id}", str)


@workflow(name="billing")
async def billing(ctx: WorkflowContext) -> str:
    """Would go on without its invoice if the deploy's fault were an error like others."""
    try:
        number = await ctx.child(invoice, run_id="invoice-1")
    except Exception as error:
        number = await ctx.step(book, type(error).__name__)
    await ctx.wait_for_signal("go")
    return number


@workflow(name="billing-all")
async def billing_all(ctx: WorkflowContext) -> list[str]:
    numbers = await ctx.all("invoice", [None, None])
    await ctx.wait_for_signal("go")
    return numbers


@workflow(name="by-name")
async def by_name(ctx: WorkflowContext) -> str:
    number: str = await ctx.step("book", "by name")
    await ctx.wait_for_signal("go")
    return number


async def wake(store: StateStore, run_id: str) -> None:
    async with store.transaction(timeout=timedelta(seconds=10)) as transaction:
        await transaction.wake_run(run_id, now=datetime.now(UTC))


FORGOTTEN: list[tuple[Any, dict[str, Any], list[str], str]] = [
    (billing, {}, ["invoice-1"], "invoice"),
    (billing_all, {}, ["parent.all.0.0", "parent.all.0.1"], "invoice"),
    (by_name, {"steps": [book]}, [], "book"),
]


@pytest.mark.parametrize("has_ended", [True, False], ids=["ended", "alive"])
@pytest.mark.parametrize(("parent", "parts", "children", "missing"), FORGOTTEN, ids=["child", "all", "step"])
@on_every_store
async def test_a_deploy_that_forgets_what_a_run_uses_blocks_it_and_names_it(
    store: StateStore, parent: Any, parts: dict[str, Any], children: list[str], missing: str, has_ended: bool
) -> None:
    """The body is not to blame: it neither fails nor goes another way, and goes on once the right code is there."""
    async with running_engine(store, parent, invoice, **parts) as engine:
        handle = await engine.start(parent, run_id="parent")
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        for child in children if has_ended else []:
            await engine.signal(f"number:{child}", "INV-1")
            await engine.handle(child).result("60s")
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
    async with running_engine(store, parent, config=IMPATIENT) as engine:
        await engine.signal("go")
        if not has_ended and children:
            # The parent is woken by something else than its child.
            await wake(store, "parent")
        handle = engine.handle("parent")
        await until(lambda: has_status(handle, RunStatus.BLOCKED))
        run = await store.find_run("parent")
        assert run is not None
        assert run.error is not None
        assert run.error.type in ("WorkflowNotRegisteredError", "StepNotRegisteredError")
        assert f"{missing!r}" in run.error.message
        assert not done["book WorkflowNotRegisteredError"]
    async with running_engine(store, parent, invoice, config=IMPATIENT, **parts) as engine:
        for child in [] if has_ended else children:
            await engine.signal(f"number:{child}", "INV-1")
        result = await engine.handle("parent").result("60s")
    assert result == {"billing": "INV-1", "billing-all": ["INV-1", "INV-1"], "by-name": "by name"}[parent_name(parent)]


def parent_name(parent: Any) -> str:
    return workflow_definition(parent).name


async def test_a_replay_names_what_it_was_not_given() -> None:
    store = MemoryStateStore()
    async with running_engine(store, billing, invoice) as engine:
        await engine.start(billing, run_id="billing")
        await engine.signal("number:invoice-1", "INV-1")
        await until(lambda: store.find_signal_waiter("go"))
    history = await record_history(store, "billing")
    with pytest.raises(WorkflowNotRegisteredError, match="'invoice'") as missing:
        await assert_replayable(history, billing)
    assert "related" in missing.value.__notes__[0]
    await assert_replayable(history, billing, invoice)
    # One run at a time waits for a signal.
    store = MemoryStateStore()
    async with running_engine(store, by_name, steps=[book]) as engine:
        await engine.start(by_name, run_id="by-name")
        await until(lambda: store.find_signal_waiter("go"))
    history = await record_history(store, "by-name")
    with pytest.raises(StepNotRegisteredError, match="'book'"):
        await assert_replayable(history, by_name)
    await assert_replayable(history, by_name, book)


def line_of(function: Any, text: str) -> str:
    lines, first = inspect.getsourcelines(function)
    return f"{__file__}:{next(first + number for number, line in enumerate(lines) if text in line)}"


@workflow(name="trip")
async def booked(ctx: WorkflowContext) -> str:
    await ctx.step(book, "hotel", compensate=take_back)
    await ctx.step(book, "flight", compensate=take_back)
    return await ctx.wait_for_signal("go", str)


@workflow(name="trip")
async def raising(ctx: WorkflowContext) -> str:
    await ctx.step(book, "hotel", compensate=take_back)
    raise ValueError("no such hotel")


@workflow(name="trip")
async def handling(ctx: WorkflowContext) -> str:
    await ctx.step(book, "hotel", compensate=take_back)
    try:
        raise ValueError("no such hotel")
    except ValueError:
        await ctx.sleep("1h")
    return "slept"


@workflow(name="trip")
async def sleeping(ctx: WorkflowContext) -> str:
    await ctx.step(book, "hotel", compensate=take_back)
    await ctx.sleep("1h")
    return "slept"


@workflow(name="trip")
async def shorter(ctx: WorkflowContext) -> str:
    return await ctx.step(book, "hotel", compensate=take_back)


DIVERGED = [
    (raising, line_of(raising, "raise"), "ValueError: no such hotel"),
    (handling, line_of(handling, "ctx.sleep"), "ValueError: no such hotel"),
    (sleeping, line_of(sleeping, "ctx.sleep"), None),
    (shorter, line_of(shorter, "@workflow"), None),
]


@pytest.mark.parametrize(("edited", "place", "because"), DIVERGED, ids=[each[0].__name__ for each in DIVERGED])
async def test_a_divergence_says_where_the_code_is_and_what_it_came_after(
    store: StateStore, edited: Any, place: str, because: str | None
) -> None:
    """An exception that nobody expects is mostly why a body takes another way."""
    async with running_engine(store, booked) as engine:
        handle = await engine.start(booked, run_id="trip-1")
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await wake(store, "trip-1")
    with pytest.raises(NonDeterminismError) as caught:
        await assert_replayable(await record_history(store, "trip-1"), edited)
    error = caught.value
    assert (error.workflow, error.place, error.run_id) == ("trip", place, "trip-1")
    assert f"({place})" in str(error)
    assert "of workflow 'trip'" in str(error)
    if because is None:
        assert error.__cause__ is None
        assert "This comes after" not in str(error)
    else:
        assert isinstance(error.__cause__, ValueError)
        assert f"This comes after {because} ({place if edited is raising else line_of(edited, 'raise')})." in str(error)
    async with running_engine(store, edited, config=IMPATIENT) as engine:
        await until(lambda: has_status(engine.handle("trip-1"), RunStatus.BLOCKED))
    run = await store.find_run("trip-1")
    assert run is not None
    assert run.error is not None
    assert run.error.message == str(error)
    assert (run.error.cause is None) == (because is None)
