"""Streams: what a run appends for readers, in order and without a gap, whatever happens to those who append."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.retry import fixed
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.runs.stream_reader import StreamItem
from fastapi_durable.engine.turns.step_log import current_step
from fastapi_durable.model.errors import (
    DefinitionError,
    FatalError,
    InputValidationError,
    OutsideWorkflowError,
    RunFailedError,
    RunNotFoundError,
    SerializationError,
    StepFailedError,
    StoreUnavailableError,
)
from fastapi_durable.model.records import RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, build_engine, killed_worker, run_has, running_engine, tuned, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store


class Token(BaseModel):
    text: str


async def stored(engine: WorkflowService, run_id: str, name: str = "tokens") -> list[StreamItem[Any]]:
    return [item async for item in engine.read_stream(run_id, name, follow=False)]


async def texts(engine: WorkflowService, run_id: str, name: str = "tokens") -> list[Any]:
    return [item.data for item in await stored(engine, run_id, name)]


@on_every_store
async def test_what_a_step_appends_can_be_read_while_it_runs(store: StateStore) -> None:
    """As the declared type, in order, with the step and its attempt; the end of the run ends the stream."""
    goes_on = asyncio.Event()

    @step
    async def answer() -> None:
        stream = current_step().stream("tokens", Token)
        for text in ("one", "two"):
            await stream.append(Token(text=text))
        await goes_on.wait()
        await stream.append(Token(text="three"))

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(answer)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        items = []
        async with asyncio.timeout(60):
            async for item in engine.read_stream(handle.run_id, "tokens", Token):
                items.append(item)
                if item.data.text == "two":
                    assert await handle.status() is RunStatus.RUNNING
                    goes_on.set()
    assert [(item.offset, item.data.text) for item in items] == [(0, "one"), (1, "two"), (2, "three")]
    assert {(item.step, item.attempt, item.begins_again) for item in items} == {(f"{handle.run_id}:0", 1, False)}


@on_every_store
async def test_the_body_appends_each_item_once_in_order_with_its_steps(store: StateStore) -> None:
    """A replay appends nothing; offsets are the same ones that the first run was given."""
    turns = []

    @step
    async def between() -> None:
        await current_step().stream("log").append("between")

    @workflow
    async def flow(ctx: WorkflowContext) -> list[int]:
        turns.append(1)
        log = ctx.stream("log", str)
        offsets = [await log.append("first")]
        await ctx.step(between)
        offsets.append(await log.extend(["second", "third"]))
        await ctx.wait_for_signal(f"go:{ctx.run_id}")
        return [*offsets, await log.append("fourth")]

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await until(run_has(store, handle.run_id, RunStatus.SUSPENDED))
        await engine.signal(f"go:{handle.run_id}")
        assert await handle.result("60s") == [0, 3, 4]
        items = await stored(engine, handle.run_id, "log")
    assert len(turns) == 2
    assert [item.data for item in items] == ["first", "between", "second", "third", "fourth"]
    assert [item.offset for item in items] == [0, 1, 2, 3, 4]
    assert [item.step for item in items] == [None, f"{handle.run_id}:1", None, None, None]


@on_every_store
async def test_a_repeated_attempt_begins_again_and_says_so(store: StateStore) -> None:
    """What the failed attempt appended stays; the first item of the next one lets readers drop it."""

    @step(max_attempts=2, backoff=fixed("1ms"))
    async def answer() -> None:
        stream, attempt = current_step().stream("tokens"), current_step().attempt
        await stream.append(f"one of {attempt}")
        await stream.append(f"two of {attempt}")
        if attempt == 1:
            raise ValueError

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.stream("tokens").append("the body's")
        await ctx.step(answer)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await handle.result("60s")
        items = await stored(engine, handle.run_id)
    assert [(item.data, item.attempt, item.begins_again) for item in items] == [
        ("the body's", 1, False),
        ("one of 1", 1, False),
        ("two of 1", 1, False),
        ("one of 2", 2, True),
        ("two of 2", 2, False),
    ]


@on_every_store
async def test_an_attempt_that_a_crash_repeats_begins_again_under_a_higher_number(store: StateStore) -> None:
    """The step has one attempt both times; its items tell the two apart."""
    died = asyncio.Event()

    @step
    async def answer() -> None:
        stream = current_step().stream("tokens")
        await stream.append("one")
        if not died.is_set():
            await asyncio.Event().wait()
        await stream.append("two")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(answer)

    short = tuned(FAST, lease=timedelta(milliseconds=300), poll_interval=timedelta(milliseconds=10))
    async with killed_worker(store, flow, config=short) as engine:
        handle = await engine.start(flow)

        async def appended() -> bool:
            return await texts(engine, handle.run_id) == ["one"]

        await until(appended)
    died.set()
    async with running_engine(store, flow) as engine:
        await engine.handle(handle.run_id).result("60s")
        items = await stored(engine, handle.run_id)
    assert [(item.data, item.attempt, item.begins_again) for item in items] == [
        ("one", 1, False),
        ("one", 2, True),
        ("two", 2, False),
    ]


@on_every_store
async def test_readers_in_other_processes_follow_and_go_on_behind_an_offset(store: StateStore) -> None:
    """A process that drives nothing, and hears nothing, finds items by polling."""
    step_goes_on = asyncio.Event()

    @step
    async def count() -> None:
        stream = current_step().stream("numbers")
        for number in range(250):
            await stream.append(number)
        await step_goes_on.wait()
        await stream.append(250)

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(count)

    reader = build_engine(store, flow)
    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)

        async def read(after: int | None) -> list[int]:
            found = []
            async for item in reader.read_stream(handle.run_id, "numbers", int, after=after):
                found.append(item.data)
                if item.data == 249:
                    step_goes_on.set()
            return found

        async with asyncio.timeout(60):
            everything, rest = await asyncio.gather(read(None), read(99))
    assert everything == list(range(251))
    assert rest == list(range(100, 251))


async def test_a_word_of_another_process_wakes_a_reader(store: StateStore) -> None:
    """The reader's own look comes after hours; what wakes it is the wake-up, as it comes over the wire."""
    never = tuned(FAST, poll_interval=timedelta(hours=10))
    goes_on = asyncio.Event()

    @step
    async def answer() -> None:
        await goes_on.wait()
        await current_step().stream("tokens").append("heard")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(answer)

    reader = build_engine(store, flow, config=never)
    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        with engine._kernel.notifications.joined_to(reader._kernel.notifications.on_message):
            items = reader.read_stream(handle.run_id, "tokens")
            first = asyncio.ensure_future(anext(items))

            async def watches() -> bool:
                return bool(reader._kernel.notifications._stream_watches)

            await until(watches)
            goes_on.set()
            async with asyncio.timeout(60):
                assert (await first).data == "heard"
                assert [item async for item in items] == []


@on_every_store
async def test_a_closed_stream_ends_while_its_run_goes_on(store: StateStore) -> None:
    """Nothing follows the end: appending fails, on the first run and on every replay."""

    @step
    async def append() -> None:
        await current_step().stream("tokens").append("too late")

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        tokens = ctx.stream("tokens")
        await tokens.append("one")
        await tokens.close()
        refused = []
        for call in (lambda: tokens.append("two"), tokens.close, lambda: ctx.step(append)):
            try:
                await call()
            except StepFailedError as error:
                refused.append(str(error.error.type))
        await ctx.wait_for_signal(f"go:{ctx.run_id}")
        return refused

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        async with asyncio.timeout(60):
            assert [item.data async for item in engine.read_stream(handle.run_id, "tokens")] == ["one"]
        await until(run_has(store, handle.run_id, RunStatus.SUSPENDED))
        await engine.signal(f"go:{handle.run_id}")
        assert await handle.result("60s") == ["StreamClosedError"] * 3


@on_every_store
async def test_a_stream_and_its_items_are_bounded(store: StateStore) -> None:
    """A step fails without another attempt; the body gets a recorded failure."""
    attempts = []

    @step(max_attempts=3, backoff=fixed("1ms"))
    async def flood() -> None:
        attempts.append(1)
        for number in range(10):
            await current_step().stream("numbers").append(number)

    @step
    async def large() -> None:
        with pytest.raises(InputValidationError, match="at most 100 bytes as JSON"):
            await current_step().stream("numbers").append("x" * 99)
        await current_step().stream("fits").append("x" * 98)

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(large)
        with pytest.raises(StepFailedError, match="takes no more items: it has 4 of the 4"):
            await ctx.step(flood)
        with pytest.raises(StepFailedError, match="takes no more items"):
            await ctx.stream("numbers").append(4)
        with pytest.raises(InputValidationError, match="at most 100 bytes"):
            await ctx.stream("numbers").append("x" * 99)
        with pytest.raises(InputValidationError, match="must be 1-1000 items, got 0"):
            await ctx.stream("numbers").extend([])
        await ctx.wait_for_signal(f"go:{ctx.run_id}")

    config = tuned(FAST, stream_max_items=4, stream_max_item_size=100)
    async with running_engine(store, flow, config=config) as engine:
        handle = await engine.start(flow)
        await until(run_has(store, handle.run_id, RunStatus.SUSPENDED))
        await engine.signal(f"go:{handle.run_id}")
        await handle.result("60s")
        assert await texts(engine, handle.run_id, "numbers") == [0, 1, 2, 3]
    assert len(attempts) == 1


async def test_a_run_has_a_hundred_streams_at_most(store: StateStore) -> None:
    @step
    async def many() -> None:
        for number in range(101):
            await current_step().stream(f"s{number}").append(number)

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(many)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError, match="at most 100 streams"):
            await handle.result("60s")
        assert await texts(engine, handle.run_id, "s99") == [99]


@on_every_store
async def test_branches_append_to_one_stream_without_a_gap(store: StateStore) -> None:
    """Steps and the body at the same time: each one's items keep their order."""

    @step
    async def count(side: str) -> None:
        for number in range(40):
            await current_step().stream("mixed").append([side, number])
            if number % 8 == 0:
                await asyncio.sleep(0)

    async def of_body(ctx: WorkflowContext) -> None:
        for number in range(8):
            await ctx.stream("mixed").append(["body", number])

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.gather(ctx.step(count, "left"), of_body(ctx), ctx.step(count, "right"))

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await handle.result("60s")
        items = await stored(engine, handle.run_id, "mixed")
    assert [item.offset for item in items] == list(range(88))
    for side, count_of in (("left", 40), ("right", 40), ("body", 8)):
        assert [item.data[1] for item in items if item.data[0] == side] == list(range(count_of))


async def test_a_step_in_a_thread_appends(store: StateStore) -> None:
    @step
    def answer() -> None:
        stream = current_step().stream("tokens", int)
        for number in range(3):
            stream.append_from_thread(number)
        with pytest.raises(SerializationError):
            stream.append_from_thread("no number")  # type: ignore[arg-type]

    @step
    async def confused() -> None:
        with pytest.raises(OutsideWorkflowError, match="called in the event loop"):
            current_step().stream("tokens").append_from_thread(1)

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(answer)
        await ctx.step(confused)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await handle.result("60s")
        assert await texts(engine, handle.run_id) == [0, 1, 2]


async def test_an_attempt_that_is_over_appends_nothing(store: StateStore) -> None:
    """What it left running is refused, and the next attempt does not find a stranger's items among its own."""
    left: list[Callable[[], Awaitable[None]]] = []

    @step
    async def answer() -> None:
        stream = current_step().stream("tokens")
        await stream.append("in time")
        left.append(lambda: stream.append("too late"))

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(answer)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await handle.result("60s")
        with pytest.raises(OutsideWorkflowError, match=r"the attempt of step .* is over"):
            await left[0]()
        assert await texts(engine, handle.run_id) == ["in time"]
        assert not engine._kernel.streams._runs


async def test_a_transaction_has_no_streams_and_no_step_drops_what_is_appended(store: StateStore) -> None:
    async def transact(tx: Any) -> None:
        with pytest.raises(DefinitionError, match="cannot append to a stream"):
            current_step().stream("tokens")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.transaction(transact)
        with pytest.raises(DefinitionError, match="a name must be"):
            ctx.stream("")

    await current_step().stream("tokens").append("nowhere")
    async with running_engine(store, flow) as engine:
        await (await engine.start(flow)).result("60s")


@on_every_store
async def test_an_outage_loses_and_repeats_nothing(store: StateStore) -> None:
    """Writes of unknown outcome are made again under the same offsets, before any other."""
    failures = {"append_stream_rows": 3, "list_stream_parts": 1}

    async def interpose(operation: str, call: Callable[[], Awaitable[Any]]) -> Any:
        # Every other one fails behind the write: it was done, and nobody was told.
        left = failures.get(operation, 0)
        failures[operation] = left - 1
        if left > 0 and left % 2:
            await call()
        if left > 0:
            raise StoreUnavailableError("the answer was lost")
        return await call()

    @step
    async def count() -> None:
        for number in range(20):
            await current_step().stream("numbers").append(number)

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(count)
        await ctx.stream("numbers").append(20)

    async with running_engine(interposed(store, interpose), flow) as engine:
        handle = await engine.start(flow)
        await handle.result("60s")
    items = await stored(build_engine(store, flow), handle.run_id, "numbers")
    assert [item.data for item in items] == list(range(21))
    assert [item.offset for item in items] == list(range(21))
    assert not any(item.begins_again for item in items)


async def test_a_full_buffer_makes_the_step_wait(store: StateStore) -> None:
    """While the database does not answer, a step gets ahead of it by a thousand items, and no further."""
    answers = asyncio.Event()
    appended: list[int] = []

    async def interpose(operation: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if operation == "append_stream_rows":
            await answers.wait()
        return await call()

    @step
    async def count() -> None:
        for number in range(2500):
            await current_step().stream("numbers").append(number)
            appended.append(number)

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(count)

    async with running_engine(interposed(store, interpose), flow) as engine:
        handle = await engine.start(flow)

        async def full() -> bool:
            return len(appended) >= 1000

        await until(full)
        for _ in range(200):
            await asyncio.sleep(0)
        # Those of the statement that waits are in nobody's way any more.
        assert len(appended) <= 1200
        answers.set()
        await handle.result("60s")
        assert await texts(engine, handle.run_id, "numbers") == list(range(2500))


@on_every_store
async def test_a_retried_run_goes_on_with_its_streams_and_a_fork_begins_new_ones(store: StateStore) -> None:
    fails = True

    @step
    async def answer() -> None:
        await current_step().stream("tokens").append("a step's")
        if fails:
            raise FatalError("not yet")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.stream("tokens").append("the body's")
        await ctx.step(answer)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError):
            await handle.result("60s")
        fails = False
        await engine.retry(handle.run_id)
        await handle.result("60s")
        items = await stored(engine, handle.run_id)
        assert [(item.data, item.begins_again) for item in items] == [
            ("the body's", False),
            ("a step's", False),
            ("a step's", True),
        ]
        fork = await engine.fork(handle.run_id, from_step=1)
        await engine.handle(fork.id).result("60s")
        forked = await stored(engine, fork.id)
        assert [(item.offset, item.data) for item in forked] == [(0, "a step's")]


async def test_a_reader_is_told_what_it_asks_wrongly(store: StateStore) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.stream("tokens").append("a text")

    async def read(*arguments: Any, **options: Any) -> list[Any]:
        return [item async for item in engine.read_stream(*arguments, **options)]

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await handle.result("60s")
        assert await read(handle.run_id, "another") == []
        with pytest.raises(RunNotFoundError):
            await read("nobody", "tokens")
        with pytest.raises(SerializationError, match="item 0 of stream 'tokens'"):
            await read(handle.run_id, "tokens", int)
        for wrong in (-1, True, "1", 2**31):
            with pytest.raises(InputValidationError, match="after must be the offset of an item"):
                await read(handle.run_id, "tokens", after=wrong)
        with pytest.raises(DefinitionError, match="a name must be"):
            await read(handle.run_id, "")
    elsewhere = build_engine(store, flow, config=tuned(FAST, namespace="elsewhere"))
    with pytest.raises(RunNotFoundError):
        await anext(elsewhere.read_stream(handle.run_id, "tokens"))


async def test_a_stale_owner_appends_nothing(store: StateStore) -> None:
    """Its lease was taken while it had items queued: they are dropped, and its step fails nothing."""
    loses = asyncio.Event()

    @step
    async def answer() -> None:
        stream = current_step().stream("tokens")
        if not loses.is_set():
            await stream.append("before")
            await store.update_run(str(current_step().run_id), {"locked_by": "somebody else"})
            loses.set()
            await stream.append("stale")
            return
        await stream.append("after")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(answer)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await loses.wait()
        await handle.result("60s")
        items = await stored(engine, handle.run_id)
    assert [item.data for item in items if item.data != "before"] == ["after"]
