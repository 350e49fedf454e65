"""One bad run never stops the others."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel, computed_field

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.runs.handle import RunHandle
from fastapi_durable.model.errors import (
    DefinitionError,
    InputValidationError,
    RunFailedError,
    SerializationError,
    StoreError,
    WorkflowNotRegisteredError,
)
from fastapi_durable.model.records import RunQuery, RunStatus
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import (
    FAST,
    SHORT_LEASE,
    build_engine,
    has_status,
    is_idle,
    running_engine,
    running_worker,
    tuned,
    until,
)
from tests.support.interposed_store import interposed


class Order(BaseModel):
    id: str
    cents: int


class Unreadable(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")


class Broken(BaseModel):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def broken(self) -> int:
        raise KeyError("no value")


@workflow
async def good(ctx: WorkflowContext) -> str:
    await ctx.sleep("1 ms")
    return "good"


async def _exits(ctx: WorkflowContext) -> None:
    sys.exit(3)


async def _raises_an_unreadable_error(ctx: WorkflowContext) -> None:
    raise Unreadable


async def _is_cancelled(ctx: WorkflowContext) -> None:
    raise asyncio.CancelledError


async def _ends_itself(ctx: WorkflowContext) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def _raises_a_base_exception(ctx: WorkflowContext) -> None:
    raise BaseException("the end")


async def _recurses(ctx: WorkflowContext) -> None:
    await _recurses(ctx)


async def _returns_what_cannot_be_stored(ctx: WorkflowContext) -> Any:
    return object()


async def _returns_what_cannot_be_read_again(ctx: WorkflowContext) -> Any:
    return 10**5000


async def _returns_what_raises_when_stored(ctx: WorkflowContext) -> Broken:
    return Broken()


async def _leaves_its_generator_open(ctx: WorkflowContext) -> None:
    raise GeneratorExit


@pytest.mark.parametrize(
    "body",
    [
        _exits,
        _raises_an_unreadable_error,
        _is_cancelled,
        _ends_itself,
        _raises_a_base_exception,
        _recurses,
        _returns_what_cannot_be_stored,
        _returns_what_cannot_be_read_again,
        _returns_what_raises_when_stored,
        _leaves_its_generator_open,
    ],
    ids=lambda body: body.__name__.strip("_"),
)
async def test_a_body_that_misbehaves_fails_its_own_run_only(store: StateStore, body: Any) -> None:
    bad = workflow(name="bad")(body)
    async with running_worker(store, bad, good) as (engine, worker):
        before, spoilt, after = [await engine.start(flow) for flow in (good, bad, good)]
        with pytest.raises(RunFailedError):
            await spoilt.result("60s")
        assert await before.result("60s") == await after.result("60s") == "good"
        await until(lambda: is_idle(worker))
        assert worker.health().alive
        assert (await spoilt.run()).recovery_attempts is None, "it was driven more than once"


async def test_a_body_that_hangs_holds_one_place_and_nobody_up(store: StateStore) -> None:
    entered = asyncio.Event()

    @workflow
    async def hang(ctx: WorkflowContext) -> None:
        entered.set()
        await asyncio.Event().wait()

    async with running_engine(
        store, hang, good, config=tuned(FAST, concurrency=2, shutdown_timeout=timedelta(0))
    ) as engine:
        await engine.start(hang)
        await entered.wait()
        handles = [await engine.start(good) for _ in range(5)]
        assert [await handle.result("60s") for handle in handles] == ["good"] * 5


async def test_a_body_that_catches_everything_in_a_loop_does_not_stop_the_process(
    store: StateStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Its interruption looks to it like an error of the call, which it repeats at once, and for ever."""
    let_go = False

    @workflow
    async def stubborn(ctx: WorkflowContext) -> str:
        while not let_go:
            try:
                return await ctx.wait_for_signal("go", str)
            except:  # noqa: E722, S112 (what it is about)
                continue
        return "let go"

    @workflow
    async def other(ctx: WorkflowContext) -> str:
        return "done"

    async with running_engine(store, stubborn, other) as engine:
        handle = await engine.start(stubborn)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        assert await engine.execute(other, timeout="60s") == "done"
        await engine.signal("go", "heard")
        assert await handle.result("60s") == "heard"
    assert "catches the interruption by which it leaves memory" in caplog.text
    # An event loop that closes cancels these, and waits for them.
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("durable run")]
    let_go = True
    left_behind = engine._kernel.left_behind
    for task in left_behind:
        task.cancel()
    await asyncio.wait(left_behind, timeout=60)
    assert {task.result() for task in left_behind} == {"let go"}


async def test_runs_of_a_workflow_that_is_not_deployed_wait_untouched(store: StateStore) -> None:
    """Nor do they hold up those behind them, however many there are."""

    @workflow
    async def removed(ctx: WorkflowContext) -> str:
        return "back again"

    @workflow(name="good", version="0")
    async def good_of_old(ctx: WorkflowContext) -> str:
        return "old"

    yesterday = build_engine(store, removed, good_of_old)
    waiting = [await yesterday.start(flow, priority=9) for flow in (removed, good_of_old) for _ in range(5)]
    snapshot = [await handle.run() for handle in waiting]
    async with running_engine(store, good, config=tuned(FAST, concurrency=1)) as engine:
        assert await (await engine.start(good)).result("60s") == "good"
        assert [await handle.run() for handle in waiting] == snapshot
    async with running_engine(store, removed, good_of_old) as engine:
        assert {await engine.handle(handle.run_id).result("60s") for handle in waiting} == {"back again", "old"}


async def test_an_input_that_no_longer_decodes_waits_for_code_that_fits_it(store: StateStore) -> None:
    """The error says where and why it does not fit, without the values; the others go on."""

    @workflow(name="flow")
    async def before(ctx: WorkflowContext, order: dict[str, str]) -> str:
        return "done"

    @workflow(name="flow")
    async def after(ctx: WorkflowContext, order: Order) -> str:
        return "not reached"

    handle = await build_engine(store, before).start(before, {"id": "4711", "card": "card-number-4242"})
    async with running_engine(store, after, good) as engine:
        other = await engine.start(good)
        await until(lambda: has_status(handle, RunStatus.BLOCKED))
        error = (await handle.run()).error
        assert error is not None
        assert "does not fit Order: cents: Field required" in error.message
        assert "card-number-4242" not in str(error.to_json())
        assert await other.result("60s") == "good"
    async with running_engine(
        store, before, config=tuned(FAST, blocked_poll_interval=timedelta(milliseconds=1))
    ) as engine:
        await store.update_run(handle.run_id, {"wake_at": None, "status": RunStatus.PENDING})
        assert await engine.handle(handle.run_id, before).result("60s") == "done"


async def test_a_run_whose_history_cannot_be_read_leaves_the_others_alone(store: StateStore) -> None:
    """Broken JSON in a column: the store raises, time and again, for that one run."""
    bad_runs: set[str] = set()
    reads = 0

    async def broken(name: str, call: "partial[Awaitable[Any]]") -> Any:
        nonlocal reads
        if name == "read_history" and call.args[0] in bad_runs:
            reads += 1
            raise StoreError("a row cannot be read")
        return await call()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return "read again"

    async with running_worker(interposed(store, broken), flow, good, config=SHORT_LEASE) as (engine, worker):
        bad_runs.add("bad")
        # Started by another process, since a worker does not read the history of a run that it starts itself.
        await build_engine(store, flow).start(flow, run_id="bad")
        bad = engine.handle("bad", flow)
        handles = [await engine.start(good) for _ in range(5)]
        assert [await handle.result("60s") for handle in handles] == ["good"] * 5
        await until(lambda: _reached(lambda: reads >= 2))
        assert worker.health().alive
        assert not (await bad.status()).is_terminal
        bad_runs.clear()
        assert await bad.result("60s") == "read again"


async def test_a_history_of_which_one_row_cannot_be_read_is_not_taken_for_a_shorter_one(sqlite_url: str) -> None:
    """Its step was done: it must not be done again because somebody spoilt the row."""
    from example_app.clients.sqlite import Prisma
    from fastapi_durable.store.prisma import PrismaStateStore

    executions = 0

    @step
    async def charge() -> str:
        nonlocal executions
        executions += 1
        return "charged"

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        charged = await ctx.step(charge)
        await ctx.wait_for_signal("go")
        return charged

    async with Prisma(datasource={"url": sqlite_url}) as client:
        store = PrismaStateStore(client)
        # Long enough for a slow disk: a lease that expires during the step would have it executed twice, rightly.
        lease = tuned(SHORT_LEASE, lease=timedelta(seconds=1))
        async with running_worker(store, flow, good, config=lease) as (engine, worker):
            handle = await engine.start(flow)
            await until(lambda: has_status(handle, RunStatus.SUSPENDED))
            await client.execute_raw("UPDATE durable_step_checkpoints SET output = '{spoilt' WHERE seq = 0")
            await engine.signal("go")
            other = await engine.start(good)
            assert await other.result("60s") == "good"
            await until(lambda: _was_tried_twice(engine.handle(handle.run_id)))
            assert worker.health().alive
            await client.execute_raw("""UPDATE durable_step_checkpoints SET output = '"charged"' WHERE seq = 0""")
            assert await handle.result("60s") == "charged"
    assert executions == 1


async def _was_tried_twice(handle: RunHandle[Any]) -> bool:
    return (await handle.run()).recovery_attempts is not None


async def _reached(condition: Any) -> bool:
    return bool(condition())


async def test_no_more_runs_are_driven_at_a_time_than_the_configuration_says(store: StateStore) -> None:
    driven = most = 0
    go_on = asyncio.Event()

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        nonlocal driven, most
        driven += 1
        most = max(most, driven)
        await go_on.wait()
        driven -= 1

    async with running_worker(store, flow, config=tuned(FAST, concurrency=3)) as (engine, worker):
        handles = [await engine.start(flow) for _ in range(10)]
        await until(lambda: _reached(lambda: driven == 3))
        # It looks for nothing that it could not drive: the rest is there for other workers.
        assert len(await store.list_runs(RunQuery(status=RunStatus.PENDING))) == 7
        assert worker.health().in_flight == 3
        go_on.set()
        for handle in handles:
            await handle.result("60s")
    assert most == 3


async def test_a_higher_priority_is_driven_first(store: StateStore) -> None:
    order: list[int] = []

    @workflow
    async def flow(ctx: WorkflowContext, number: int) -> None:
        order.append(number)

    engine = build_engine(store, flow)
    handles = [await engine.start(flow, number, priority=number) for number in (1, 3, 2)]
    async with running_engine(store, flow, config=tuned(FAST, concurrency=1)):
        for handle in handles:
            await handle.result("60s")
    assert order == [3, 2, 1]


async def test_a_start_that_cannot_work_leaves_no_row(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext, order: Order) -> None: ...

    async def undecorated(ctx: WorkflowContext) -> None: ...

    engine = build_engine(store, flow, good)
    wrong: list[tuple[type[Exception], Callable[[], Awaitable[Any]]]] = [
        (WorkflowNotRegisteredError, lambda: engine.start("unknown", 1)),
        (WorkflowNotRegisteredError, lambda: engine.start("good", version="7")),
        (DefinitionError, lambda: engine.start(undecorated)),
        (InputValidationError, lambda: engine.start("flow", {"id": "1"})),
        (InputValidationError, lambda: engine.start("flow", object())),
        (InputValidationError, lambda: engine.start("flow", {"id": "a\x00b", "cents": 1})),
        (InputValidationError, lambda: engine.start("flow")),
        (InputValidationError, lambda: engine.start("good", 1)),
        (InputValidationError, lambda: engine.start(good, run_id="")),
        (InputValidationError, lambda: engine.start(good, run_id="a\nb")),
        (InputValidationError, lambda: engine.start(good, run_id="x" * 501)),
    ]
    for error, start in wrong:
        with pytest.raises(error):
            await start()
    assert await store.list_runs(RunQuery()) == []


async def test_a_wait_for_a_run_that_failed_once_ends(store: StateStore) -> None:
    """A terminal status is reported although the run's error has odd contents."""

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        raise ValueError("\x00" + "x" * 100_000) from Unreadable()

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        assert await has_status(handle, RunStatus.FAILED)
        error = (await handle.run()).error
    assert error is not None
    assert error.type == "ValueError"
    assert len(error.message) < 10_000
    assert error.cause is not None
    assert error.cause.type == "Unreadable"


@pytest.mark.parametrize("part", ["read_output", "read"])
async def test_a_body_hears_nothing_of_a_row_that_cannot_be_read(
    store: StateStore, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might catch the error and go another way. The run is tried again when its lease expires."""
    heard: list[BaseException] = []
    reads = 0

    @step
    async def one() -> int:
        return 1

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        try:
            await (ctx.step(one) if part == "read_output" else ctx.sleep("1ms"))
        except Exception as error:
            heard.append(error)
        await ctx.wait_for_signal("go")
        return "done"

    async with running_worker(store, flow, good, config=SHORT_LEASE) as (engine, _):
        handle = await engine.start(flow)
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await until(lambda: _waits_for(store, "go"))
        row_class = type((await store.read_history(handle.run_id))[0])
        readable = getattr(row_class, part)

        def broken(row: Any) -> Any:
            nonlocal reads
            if row.step_id == f"{handle.run_id}:0":
                reads += 1
                raise SerializationError("a row cannot be read")
            return readable(row)

        monkeypatch.setattr(row_class, part, broken)
        await engine.signal("go")
        assert await (await engine.start(good)).result("60s") == "good"
        await until(lambda: _reached(lambda: reads >= 2))
        monkeypatch.undo()
        assert await handle.result("60s") == "done"
    assert heard == []


async def _waits_for(store: StateStore, token: str) -> bool:
    return await store.find_signal_waiter(token) is not None
