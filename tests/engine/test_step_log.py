"""What a step says is kept with its checkpoint and told live; its real executions can be surrounded."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.declare.retry import fixed
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.core.interception import StepExecution, StepInterceptor
from fastapi_durable.engine.core.live_events import LiveEvent
from fastapi_durable.engine.turns.step_log import current_step
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.errors import RunCancelledError, RunFailedError, StepFailedError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from tests.support.engine_rig import FAST, build_machinery, has_status, running_engine, tuned, until


async def events_of(store: StateStore, run_id: str, seq: int = 0) -> list[dict[str, Any]]:
    row = await store.find_checkpoint(run_id, seq)
    assert row is not None
    return [dict(event) for event in row.events]


def without_times(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in event.items() if key != "at"} for event in events]


async def test_what_a_step_says_is_stored_with_its_checkpoint(store: StateStore) -> None:
    def deep_below() -> None:
        current_step().warn("deep")

    @step
    async def talk() -> str | None:
        log = current_step()
        log.info("hello", data={"n": 1})
        log.sub("a.csv", status="skipped", group="files")
        log.sub_event("7", phase="parsed", name="b.csv")
        deep_below()
        return log.step_id

    @workflow
    async def flow(ctx: WorkflowContext) -> str | None:
        result = await ctx.step(talk)
        current_step().info("not in a step: nobody listens")
        return result

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") == f"{handle.run_id}:0"
    events = await events_of(store, handle.run_id)
    assert all(isinstance(event["at"], int) for event in events)
    assert without_times(events) == [
        {"level": "info", "message": "hello", "data": {"n": 1}},
        {"level": "warn", "message": "a.csv", "name": "a.csv", "group": "files", "status": "skipped"},
        {"level": "info", "message": "parsed", "subId": "7", "name": "b.csv", "phase": "parsed"},
        {"level": "warn", "message": "deep"},
    ]


async def test_a_process_inside_a_step_has_phases_and_exactly_one_end(store: StateStore) -> None:
    @step
    def work() -> None:
        log = current_step()
        with log.sub_process("good", sub_id="1") as process:
            process.phase("half")
            process.info("a line")
        with log.sub_process("skipped", sub_id="2") as process:
            process.skip("nothing to do", data={"durationMs": 7})
        with log.sub_process("failed", sub_id="3") as process:
            process.fail("no luck")
        with pytest.raises(ValueError), log.sub_process("raised", sub_id="4"):
            raise ValueError("broken")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(work)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await handle.result("60s")
    events = await events_of(store, handle.run_id)
    ends = {event["subId"]: event for event in events if "status" in event}
    assert [ends[key]["status"] for key in "1234"] == ["ok", "skipped", "failed", "failed"]
    assert [ends[key]["level"] for key in "1234"] == ["info", "warn", "error", "error"]
    assert [ends[key]["message"] for key in "1234"] == ["good", "nothing to do", "no luck", "broken"]
    assert ends["2"]["data"] == {"durationMs": 7}
    assert all(isinstance(end["data"]["durationMs"], int) for end in ends.values())
    assert [event.get("phase") for event in events if event["subId"] == "1"] == ["started", "half", None, None]


async def test_a_failed_attempt_leaves_its_own_events_even_when_its_time_is_over(store: StateStore) -> None:
    @step(max_attempts=2, backoff=fixed("1ms"))
    async def fail() -> None:
        current_step().info(f"attempt {current_step().attempt}")
        raise ValueError("no")

    @step(timeout="10ms")
    async def hang() -> None:
        current_step().info("waiting")
        await asyncio.Event().wait()

    async def written(tx: object) -> None:
        current_step().info("in a transaction")
        raise ValueError("rolled back")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        for call in (ctx.step(fail), ctx.step(hang), ctx.transaction(written)):
            with pytest.raises(StepFailedError):
                await call

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await handle.result("60s")
    said = [(await events_of(store, handle.run_id, seq))[-1]["message"] for seq in range(3)]
    assert said == ["attempt 2", "waiting", "in a transaction"]


@pytest.mark.parametrize("transactional", [False, True], ids=["a step", "a transaction"])
async def test_what_became_of_earlier_attempts_is_kept_with_the_last_one(
    store: StateStore, transactional: bool
) -> None:
    """When each was made, how long it took and why it failed; what it said is its own, and goes with it."""
    tries = 0

    async def try_again() -> str:
        nonlocal tries
        tries += 1
        current_step().info(f"try {tries}")
        if tries < 3:
            raise ConnectionError(f"the line broke {tries} times")
        return "done"

    @step(max_attempts=3, backoff=fixed("1ms"))
    async def plain() -> str:
        return await try_again()

    @step(max_attempts=3, backoff=fixed("1ms"))
    async def writing(tx: object) -> str:
        return await try_again()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        return await (ctx.transaction(writing) if transactional else ctx.step(plain))

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        assert await handle.result("60s") == "done"
    first, second, said = await events_of(store, handle.run_id)
    assert (first["name"], first["status"], first["level"]) == ("attempt 1", "failed", "error")
    assert first["message"] == "ConnectionError: the line broke 1 times"
    assert (second["subId"], second["message"]) == ("durable:attempt:2", "ConnectionError: the line broke 2 times")
    assert first["at"] <= second["at"]
    assert first["data"]["durationMs"] >= 0
    assert said["message"] == "try 3"


async def test_of_very_many_attempts_the_newest_are_kept(store: StateStore) -> None:
    @step(max_attempts=40, backoff=fixed("0s"))
    async def fail() -> None:
        raise ConnectionError("no")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(fail)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        with pytest.raises(RunFailedError):
            await handle.result("60s")
    assert [event["name"] for event in await events_of(store, handle.run_id)] == [f"attempt {n}" for n in range(20, 40)]


async def test_a_log_is_bounded_and_never_fails_its_step(store: StateStore) -> None:
    @step
    async def chatter() -> None:
        log = current_step()
        log.info("\x00".ljust(5000))
        log.info("strange", data=object())
        log.info("large", data="y" * 50_000)
        for number in range(2000):
            log.debug(str(number))

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(chatter)

    async with running_engine(store, flow) as engine:
        handle = await engine.start(flow)
        await handle.result("60s")
    events = await events_of(store, handle.run_id)
    assert len(events) == 1001
    assert len(events[0]["message"]) < 2100
    assert "<object object" in events[1]["data"]
    assert events[2]["data"] == "(left out: 50002 bytes)"
    assert events[-1]["message"] == "1003 more events were left out"


@contextmanager
def heard_by(engine: WorkflowService) -> Iterator[list[LiveEvent]]:
    heard: list[LiveEvent] = []
    stop = engine.events.listen(heard.append)
    try:
        yield heard
    finally:
        stop()


async def test_what_happens_is_told_while_it_happens(store: StateStore) -> None:
    threads = set()

    @step
    def speak(word: str) -> str:
        threads.add(threading.get_ident())
        current_step().info(word)
        return word

    @step(max_attempts=2, backoff=fixed("1ms"))
    async def fail() -> None:
        raise ValueError("no")

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.step(speak, "hi")
        await ctx.wait_for_signal("go")
        await ctx.step(fail)

    async with running_engine(store, flow) as engine:
        with heard_by(engine) as heard:
            handle = await engine.start(flow)
            await until(lambda: has_status(handle, RunStatus.SUSPENDED))
            await until(lambda: _heard(heard, "run.suspended"))
            await engine.signal("go")
            with pytest.raises(RunFailedError):
                await handle.result("60s")
            await until(lambda: _heard(heard, "run.failed"))
    assert [event.type for event in heard] == [
        "run.started",
        "step.started",
        "step.progress",
        "step.completed",
        "run.suspended",
        "step.started",
        "step.started",
        "step.failed",
        "run.failed",
    ]
    assert threading.get_ident() not in threads
    progress, done = heard[2], heard[3]
    assert (progress.name, progress.attempt, dict(progress.progress)["message"]) == ("speak", 1, "hi")
    assert (done.output, done.seq, done.workflow, done.namespace) == ("hi", 0, "flow", "default")
    assert heard[-2].attempt == 2
    assert heard[-1].error is not None


async def _heard(events: list[LiveEvent], type: str) -> bool:
    return any(event.type == type for event in events)


async def test_a_cancel_is_told_as_what_it_is_and_a_reader_gets_one_run(store: StateStore) -> None:
    """The reference tells of it as a failure."""

    @workflow
    async def flow(ctx: WorkflowContext) -> None:
        await ctx.wait_for_signal("never" + ctx.run_id)

    async with running_engine(store, flow) as engine:
        with engine.events.stream(run_id="mine") as events:
            mine, other = await engine.start(flow, run_id="mine"), await engine.start(flow, run_id="other")
            for handle in (mine, other):
                await until(partial(has_status, handle, RunStatus.SUSPENDED))
                await engine.cancel(handle.run_id)
            with pytest.raises(RunCancelledError):
                await mine.result("60s")
            told: list[LiveEvent] = []
            async with asyncio.timeout(60):
                while not told or told[-1].type != "run.cancelled":
                    told.append(await anext(events))
    assert {event.run_id for event in told} == {"mine"}
    assert [event.type for event in told] == ["run.started", "run.suspended", "run.cancelled"]


async def test_a_run_that_is_parked_and_one_that_is_given_up_are_told_as_such(store: StateStore) -> None:
    @workflow(name="flow")
    async def before(ctx: WorkflowContext) -> None:
        await ctx.wait_for_signal("go")

    @workflow(name="flow")
    async def after(ctx: WorkflowContext) -> None:
        await ctx.breakpoint()

    async with running_engine(store, before) as engine:
        handle = await engine.start(before, run_id="parked")
        await until(lambda: has_status(handle, RunStatus.SUSPENDED))
        await engine.signal("go")
        parked = await store.find_run("parked")
        await handle.result("60s")
    assert parked is not None
    again = replace(parked, id="diverged", status=RunStatus.PENDING, locked_by=None, locked_until=None, wake_at=None)
    await store.create_run(again)
    for row in await store.list_checkpoints("parked"):
        await store.save_checkpoint(replace(row, run_id="diverged"))
    poison = replace(again, id="poison", status=RunStatus.RUNNING, recovery_attempts=5, locked_until=parked.created_at)
    await store.create_run(poison)
    machinery = build_machinery(store, after, config=tuned(FAST, max_recovery_attempts=1))
    with heard_by(WorkflowService(machinery.kernel)) as heard:
        worker = Worker(machinery)
        await worker.start()
        await until(lambda: _heard(heard, "run.blocked"))
        await until(lambda: _heard(heard, "run.dead"))
        await worker.stop()
    told = {event.run_id: (event.type, event.error and event.error.code) for event in heard}
    assert told["diverged"][0] == "run.blocked"
    assert told["poison"] == ("run.dead", "max_recovery_attempts")


async def test_a_listener_that_fails_changes_nothing(store: StateStore, caplog: pytest.LogCaptureFixture) -> None:
    @workflow
    async def flow(ctx: WorkflowContext) -> int:
        return await ctx.side_effect(lambda: 1, int)

    def fail(event: LiveEvent) -> None:
        raise RuntimeError("deaf")

    async with running_engine(store, flow) as engine:
        engine.events.listen(fail)
        assert await (await engine.start(flow)).result("60s") == 1
    assert "a listener failed at run.completed" in caplog.text


_span: ContextVar[str] = ContextVar("span", default="none")


async def test_an_interceptor_surrounds_every_real_execution_and_no_replay(store: StateStore) -> None:
    seen: list[object] = []

    @asynccontextmanager
    async def outer(execution: StepExecution) -> AsyncIterator[None]:
        token = _span.set(f"span of {execution.name}")
        try:
            yield
        except Exception as error:
            seen.append((execution.name, execution.attempt, str(error)))
            raise
        else:
            seen.append((execution.name, execution.attempt, "done"))
        finally:
            _span.reset(token)

    def broken_before(execution: StepExecution) -> AbstractAsyncContextManager[None]:
        raise RuntimeError("before")

    @asynccontextmanager
    async def broken_after(execution: StepExecution) -> AsyncIterator[None]:
        yield
        raise RuntimeError("after")

    @asynccontextmanager
    async def swallowing(execution: StepExecution) -> AsyncIterator[None]:
        try:
            yield
        except Exception:
            seen.append("swallowed")

    @step(max_attempts=2, backoff=fixed("1ms"))
    async def work() -> str:
        if current_step().attempt == 1:
            raise ValueError("first")
        return _span.get()

    async def write(tx: object) -> str:
        return _span.get()

    @workflow
    async def flow(ctx: WorkflowContext) -> list[str]:
        def here() -> str:
            return _span.get()

        results = [
            await ctx.step(work),
            await ctx.transaction(write),
            await ctx.local_step("here", here),
        ]
        await ctx.sleep("2ms")
        return results

    interceptors: list[StepInterceptor] = [outer, broken_before, broken_after, swallowing]
    async with running_engine(store, flow, interceptors=interceptors) as engine:
        result = await (await engine.start(flow)).result("60s")
    assert result == ["span of work", "span of write", "span of here"]
    assert seen[:2] == ["swallowed", ("work", 1, "first")]
    assert [each[:2] for each in seen[2:] if isinstance(each, tuple)] == [("work", 2), ("write", 1), ("here", 1)]


def test_outside_a_step_the_log_does_nothing() -> None:
    log = current_step()
    log.error("lost")
    with log.sub_process("lost") as process:
        process.phase("x")
    assert (log.step_id, log.run_id, log.attempt) == (None, None, None)
