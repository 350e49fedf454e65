"""A result is stored before anything happens after it, and nobody outside hears of it sooner."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.clock import SystemClock
from fastapi_durable.model.errors import StepFailedError, StoreUnavailableError
from fastapi_durable.model.records import RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.base import StateStore
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.engine_rig import has_status, running_engine, until
from tests.support.interposed_store import interposed
from tests.support.stores import on_every_store

_executions: Counter[str] = Counter()


class Diary:
    """What is written for runs, and what is told of them, in the order in which it happens."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.before_ending: Callable[[], Awaitable[Any]] | None = None

    async def between(self, name: str, call: "partial[Awaitable[Any]]") -> Any:
        rows: Any = call.keywords.get("checkpoints", ())
        if name == "record_prepared":
            rows = call.args[0]
        elif name != "update_run" or "status" not in call.args[1]:
            return await call()
        if name == "update_run" and self.before_ending is not None:
            hook, self.before_ending = self.before_ending, None
            await hook()
        answer = await call()
        names = " ".join(each.checkpoint.name for each in rows)
        status = call.args[1]["status"] if name == "update_run" else ""
        self.entries.append(f"{name}({names}) {status}".strip() + ("" if answer else " in vain"))
        return answer

    def listen(self, engine: WorkflowService) -> None:
        engine.events.listen(lambda event: self.entries.append(event.type))


@step
async def first(key: str) -> dict[str, str]:
    _executions[key] += 1
    return {"key": key, "by": "first"}


@step
async def second(key: str) -> str:
    _executions[f"{key}.second"] += 1
    return key


@step
async def fails(key: str) -> None:
    _executions[key] += 1
    raise ValueError(key)


@workflow
async def one_step(ctx: WorkflowContext, key: str) -> str:
    return (await ctx.step(first, key))["by"]


@workflow
async def two_steps(ctx: WorkflowContext, key: str) -> str:
    await ctx.step(first, key)
    return await ctx.step(second, key)


@workflow
async def a_failure(ctx: WorkflowContext, key: str) -> str:
    try:
        await ctx.step(fails, key)
    except StepFailedError as error:
        return error.error.message
    return "no failure"


@workflow
async def an_undo(ctx: WorkflowContext, key: str) -> str:
    return str(await ctx.step(first, key, compensate=take_back))


@step
async def take_back() -> None:
    _executions["undone"] += 1


@workflow
async def values(ctx: WorkflowContext, key: str) -> str:
    await ctx.now()
    await ctx.uuid()
    await ctx.set_value("progress", 1)
    await ctx.side_effect(lambda: 7, int)
    await ctx.patched("new way")
    return await ctx.step(second, key)


@workflow
async def many_values(ctx: WorkflowContext, number: int) -> int:
    for _ in range(number):
        await ctx.random()
    return number


@workflow
async def a_sleep(ctx: WorkflowContext, key: str) -> str:
    await ctx.step(first, key)
    await ctx.sleep("20 ms")
    return key


@step
async def pauses(key: str) -> str:
    await asyncio.sleep(0)
    return key


@workflow
async def side_by_side(ctx: WorkflowContext, number: int) -> int:
    return len(await asyncio.gather(*(ctx.step(pauses, f"{n}") for n in range(number))))


@workflow
async def side_by_side_at_once(ctx: WorkflowContext, number: int) -> int:
    return len(await asyncio.gather(*(ctx.step(second, f"{n}") for n in range(number))))


@workflow
async def changes_its_result(ctx: WorkflowContext, key: str) -> list[str]:
    result: Any = await ctx.local_step("open", lambda: {"items": ["a"]})
    result["items"].append("b")
    return list(result["items"])


_gates: dict[str, asyncio.Event] = {}


@workflow
async def a_foreign_wait(ctx: WorkflowContext, key: str) -> str:
    await ctx.step(first, key)
    await _gates[key].wait()
    return key


async def written(diary: Diary, flow: Any, input: Any, store: StateStore | None = None) -> Any:
    """What a run comes to, whose diary is kept."""
    async with running_engine(interposed(store or MemoryStateStore(), diary.between), flow) as engine:
        diary.listen(engine)
        handle = await engine.start(flow, input, run_id=f"run-{input}")
        return await handle.result("60s")


@on_every_store
async def test_the_last_result_is_stored_by_the_ending_and_told_after_it(store: StateStore) -> None:
    diary = Diary()
    assert await written(diary, one_step, "a", store) == "first"
    assert diary.entries == [
        "run.started",
        "step.started",
        "update_run(first) completed",
        "step.completed",
        "run.completed",
    ]
    (row,) = await store.list_checkpoints("run-a")
    assert row.output == {"key": "a", "by": "first"}


async def test_a_result_is_stored_and_told_before_the_next_step_begins() -> None:
    diary = Diary()
    assert await written(diary, two_steps, "b") == "b"
    assert diary.entries == [
        "run.started",
        "step.started",
        "record_prepared(first)",
        "step.completed",
        "step.started",
        "update_run(second) completed",
        "step.completed",
        "run.completed",
    ]


async def test_a_failure_that_the_body_catches_is_stored_by_the_ending() -> None:
    diary = Diary()
    assert await written(diary, a_failure, "c") == "c"
    assert diary.entries[-3:] == ["update_run(fails) completed", "step.failed", "run.completed"]


async def test_a_chain_of_values_is_stored_in_one_write_before_a_step_begins() -> None:
    """Never with the step's own result: a step that is repeated gets the values that it got before."""
    diary = Diary()
    await written(diary, values, "d")
    assert [entry for entry in diary.entries if "(" in entry] == [
        "record_prepared(now uuid event:progress sideEffect patch:new way)",
        "update_run(second) completed",
    ]
    assert diary.entries.index("step.started") == 2


async def test_a_body_that_only_takes_values_holds_a_hundred_at_most() -> None:
    diary = Diary()
    await written(diary, many_values, 250)
    assert [entry.count("random") for entry in diary.entries if "(" in entry] == [100, 100, 50]


async def test_a_sleep_is_stored_with_the_suspension_and_the_step_before_it() -> None:
    diary = Diary()
    await written(diary, a_sleep, "e")
    assert [entry for entry in diary.entries if "(" in entry] == [
        "update_run(first sleep) suspended",
        "update_run(sleep) completed",
    ]


async def test_steps_that_end_side_by_side_are_stored_in_one_write() -> None:
    diary = Diary()
    await written(diary, side_by_side, 60)
    assert [entry.count("pauses") for entry in diary.entries if "(" in entry] == [60, 0]


async def test_a_branch_begins_no_step_before_the_result_of_another_one_is_stored() -> None:
    """Its input may follow from it, by what the branches share."""
    diary = Diary()
    await written(diary, side_by_side_at_once, 60)
    assert [entry.count("second") for entry in diary.entries if "(" in entry] == [1, 59, 0]


async def test_a_body_that_changes_its_result_changes_nothing_of_what_is_stored() -> None:
    store = MemoryStateStore()
    assert await written(Diary(), changes_its_result, "f", store) == ["a", "b"]
    (row,) = await store.list_checkpoints("run-f")
    assert row.output == {"items": ["a"]}


async def test_a_body_that_awaits_something_foreign_has_its_results_stored_meanwhile() -> None:
    store, diary = MemoryStateStore(), Diary()
    _gates["g"] = asyncio.Event()
    task = asyncio.create_task(written(diary, a_foreign_wait, "g", store))

    async def is_stored() -> bool:
        return bool(await store.list_checkpoints("run-g"))

    await until(is_stored)
    await until(lambda: _true("step.completed" in diary.entries))
    _gates["g"].set()
    assert await task == "g"
    assert [entry for entry in diary.entries if "(" in entry] == ["record_prepared(first)", "update_run() completed"]


async def test_a_turn_that_lost_its_lease_behind_a_blocked_loop_writes_and_tells_nothing() -> None:
    """The body computed for so long after its step that another worker took the run over: as if it had crashed."""
    store, diary = MemoryStateStore(), Diary()

    async def taken_over() -> None:
        await store.update_run("run-h", {"locked_by": "another worker"})

    diary.before_ending = taken_over
    async with running_engine(interposed(store, diary.between), one_step) as engine:
        diary.listen(engine)
        handle = await engine.start(one_step, "h", run_id="run-h")
        await until(lambda: _true("update_run(first) completed in vain" in diary.entries))
        assert await handle.status() is RunStatus.RUNNING
    assert await store.list_checkpoints("run-h") == []
    assert "step.completed" not in diary.entries


async def test_a_delivery_before_the_ending_costs_a_turn_and_no_step() -> None:
    store, diary = MemoryStateStore(), Diary()

    async def woken() -> None:
        async with store.transaction() as transaction:
            await transaction.wake_run("run-i", now=SystemClock().now())

    diary.before_ending = woken
    assert await written(diary, one_step, "i", store) == "first"
    assert _executions["i"] == 1
    assert [entry for entry in diary.entries if "(" in entry] == [
        "update_run(first) completed in vain",
        "record_prepared(first)",
        "update_run() completed",
    ]


async def test_a_cancel_before_the_ending_undoes_the_step_that_nobody_had_stored() -> None:
    store, diary = MemoryStateStore(), Diary()
    async with running_engine(interposed(store, diary.between), an_undo) as engine:
        diary.before_ending = partial(engine.cancel, "run-j", compensate=True)
        handle = await engine.start(an_undo, "j", run_id="run-j")
        await until(lambda: has_status(handle, RunStatus.CANCELLED))
    assert _executions["j"] == 1
    assert _executions["undone"] == 1


@pytest.mark.parametrize("took_effect", [False, True])
async def test_a_write_that_was_not_heard_of_is_made_again_and_its_step_is_not(took_effect: bool) -> None:
    store, failures = MemoryStateStore(), Counter[str]()
    key = f"k-{took_effect}"

    async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name == "record_prepared" and not failures[name]:
            failures[name] += 1
            if took_effect:
                await call()
            raise StoreUnavailableError("the connection broke")
        return await call()

    async with running_engine(interposed(store, between), two_steps) as engine:
        assert await (await engine.start(two_steps, key)).result("60s") == key
    assert failures["record_prepared"] == 1
    assert _executions[key] == 1


async def test_a_body_that_saw_what_is_not_stored_begins_anew() -> None:
    """Something else stands at the position, so nothing may follow from what the body saw."""
    store, seen = MemoryStateStore(), []

    @workflow
    async def watched(ctx: WorkflowContext, key: str) -> str:
        seen.append(await ctx.step(second, key))
        return await ctx.step(second, seen[-1])

    async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name == "record_prepared" and len(seen) == 1:
            await store.save_checkpoint(replace(call.args[0][0].checkpoint, output="another result"))
        return await call()

    async with running_engine(interposed(store, between), watched) as engine:
        assert await (await engine.start(watched, "l")).result("60s") == "another result"
    assert seen == ["l", "another result"]


async def _true(value: bool) -> bool:
    return value


@on_every_store
async def test_two_rows_of_one_position_are_two_writes(store: StateStore) -> None:
    """A deadline and its end, where the write of the first is cut off and made again."""
    outages = Counter[str]()

    async def between(name: str, call: "partial[Awaitable[Any]]") -> Any:
        if name == "record_prepared" and not outages[name]:
            outages[name] += 1
            await asyncio.sleep(0.02)
            raise StoreUnavailableError("the connection broke")
        return await call()

    @workflow
    async def flow(ctx: WorkflowContext) -> str:
        works = asyncio.create_task(ctx.step(pauses, "worked"))
        await ctx.sleep("1ms")
        return await works

    async with running_engine(interposed(store, between), flow) as engine:
        assert await (await engine.start(flow)).result("60s") == "worked"
