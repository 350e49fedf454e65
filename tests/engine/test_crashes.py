"""A process may die between any two writes; another one goes on from what is recorded."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from fastapi_durable.definition import Singleton, step, workflow
from fastapi_durable.engine.context import WorkflowContext
from fastapi_durable.engine.engine import WorkflowEngine
from fastapi_durable.engine.undo import Undo
from fastapi_durable.errors import GatherError, RunFailedError, SignalTimeoutError, StepFailedError
from fastapi_durable.model import RunQuery
from fastapi_durable.retry import fixed
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.conversation import RESULT as CONVERSATION_RESULT
from tests.support.conversation import answer, conversation
from tests.support.crashing_store import Fuse, Moment, ProcessDied, crashing
from tests.support.engine_rig import FAST, build_engine, killed_worker, running_engine, until

SHORT_LEASE = replace(FAST, lease=timedelta(milliseconds=60), poll_interval=timedelta(milliseconds=5))

_executions: Counter[str] = Counter()
_undone: Counter[int] = Counter()


@step(max_attempts=2, backoff=fixed("1ms"))
async def fail_once(key: str) -> str:
    _executions[key] += 1
    if _executions[key] == 1:
        raise ValueError("the first attempt fails")
    return key


@step
async def always_fail(key: str) -> None:
    raise ValueError(key)


@step
async def double(value: int) -> int:
    return 2 * value


async def ledger(tx: object, value: int) -> int:
    return value + 1


@workflow
async def everything(ctx: WorkflowContext, key: str) -> list[object]:
    """Uses each primitive of a simple run, branches included."""
    first = await ctx.step(fail_once, key)
    pair = await asyncio.gather(ctx.step(double, 1), ctx.step(double, 2))
    written = await ctx.transaction(ledger, 1)
    try:
        await ctx.step(always_fail, key)
        caught = "nothing"
    except StepFailedError as error:
        caught = error.error.message
    await ctx.sleep("2ms")
    number = await ctx.uuid()
    same = await ctx.side_effect(lambda: 5)
    signalled = await ctx.wait_for_signal(f"go:{key}", int)
    try:
        await ctx.wait_for_signal(f"never:{key}", int, timeout="2ms")
        missed = "nothing"
    except SignalTimeoutError:
        missed = "timeout"
    bounded = await ctx.wait_for_signal(f"again:{key}", int, timeout="1 min")
    return [first, list(pair), written, caught, number.version, same, signalled, missed, bounded]


@workflow
async def leaf(ctx: WorkflowContext, value: int) -> int:
    if value < 0:
        raise ValueError(f"{value} is negative")
    return await ctx.step(double, value)


@workflow
async def chain(ctx: WorkflowContext, value: int) -> str:
    if value > 0:
        ctx.continue_as_new(value - 1)
    return "end of the chain"


@workflow
async def family(ctx: WorkflowContext, key: str) -> list[object]:
    """Uses children in every way, branches and a patch."""
    one = await ctx.child(leaf, 1)
    several = await ctx.all(leaf, [2, 3])
    try:
        await ctx.all(leaf, [4, -1], mode="fail_fast")
        failed: list[int] = []
    except GatherError as error:
        failed = list(error.failures)
    spawned = await ctx.start_child(leaf, 5, run_id=f"{key}.spawned")
    joined = await ctx.child(leaf, 5, run_id=spawned)
    last = await ctx.child(chain, 1)
    patched = await ctx.patched("change")
    branches = await ctx.gather(_twice(ctx, 6), _twice(ctx, 7))
    return [one, several, failed, joined, last, patched, branches]


async def _twice(ctx: WorkflowContext, value: int) -> int:
    return await ctx.step(double, await ctx.step(double, value))


@step
async def undo(done: Undo[int, int]) -> None:
    _undone[done.input] += 1


@workflow
async def saga(ctx: WorkflowContext, key: str) -> None:
    """Fails after two steps that are undone."""
    await ctx.step(double, 1, compensate=undo)
    await ctx.step(double, 2, compensate=undo)
    raise ValueError(f"{key} fails")


@workflow(singleton=Singleton(key=str))
async def gated(ctx: WorkflowContext, key: str) -> dict[str, object]:
    """Holds a singleton's slot over a suspension, and changes what it is found by."""
    await ctx.upsert_search_attributes({"stage": "begun", "gone": True})
    await ctx.sleep("2ms")
    return dict(await ctx.upsert_search_attributes({"stage": "ended", "gone": None}))


@dataclass(frozen=True)
class Case:
    """A workflow to crash: who talks to it, what comes out, and how many writes it makes at least."""

    workflows: tuple[Callable[..., Any], ...]
    result: object
    writes: int
    signals: Mapping[str, object] = field(default_factory=dict)
    outside: Callable[[WorkflowEngine, str], Coroutine[Any, Any, None]] | None = None


SIMPLE = Case(
    workflows=(everything,),
    result=["{key}", [2, 4], 2, "{key}", 4, 5, 7, "timeout", 8],
    writes=20,
    signals={"go:{key}": 7, "again:{key}": 8},
)
FAMILY = Case(
    workflows=(family, leaf, chain),
    result=[2, [4, 6], [1], 10, "end of the chain", True, [24, 28]],
    writes=50,
)
GATED = Case(workflows=(gated,), result={"stage": "ended"}, writes=8)
SAGA = Case(workflows=(saga,), result="{key} fails", writes=5)
CONVERSATION = Case(workflows=(conversation,), result=CONVERSATION_RESULT, writes=50, outside=answer)


async def _run_with_a_crash(case: Case, at: int, moment: Moment) -> bool:
    """One run whose first process dies at its n-th write; whether it did die."""
    key = f"{moment}-{at}"
    store = MemoryStateStore()
    fuse = Fuse(at, moment)
    outside = build_engine(store, *case.workflows)
    async with killed_worker(crashing(store, fuse), *case.workflows, config=SHORT_LEASE) as first:
        # The caller of `start` is the process that may die; it would try again.
        try:
            await first.start(case.workflows[0].__name__, key, run_id=key)
        except ProcessDied:
            await outside.start(case.workflows[0].__name__, key, run_id=key)
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for token, payload in case.signals.items():
                group.create_task(_signal_when_awaited(store, outside, token.format(key=key), payload))
            if case.outside is not None:
                group.create_task(case.outside(outside, key))
            await until(lambda: _died_or_ended(fuse, outside, key))
            async with running_engine(store, *case.workflows, config=SHORT_LEASE) as second:
                try:
                    result = await second.handle(key).result("8s")
                except RunFailedError as error:
                    result = str(error.error and error.error.message)
                await until(lambda: _all_ended(store))
    assert json.dumps(result) == json.dumps(case.result).replace("{key}", key)
    assert await store.list_signal_waiters() == []
    for run in await store.list_runs(RunQuery()):
        assert (run.status.is_terminal, run.locked_by) == (True, None)
    return fuse.blown


async def _signal_when_awaited(store: MemoryStateStore, engine: WorkflowEngine, token: str, payload: object) -> None:
    await until(lambda: store.find_signal_waiter(token))
    assert await engine.signal(token, payload)


async def _died_or_ended(fuse: Fuse, engine: WorkflowEngine, run_id: str) -> bool:
    return fuse.blown or (await engine.handle(run_id).status()).is_terminal


async def _all_ended(store: MemoryStateStore) -> bool:
    return all(run.status.is_terminal for run in await store.list_runs(RunQuery()))


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "case", [SIMPLE, FAMILY, SAGA, CONVERSATION, GATED], ids=["simple", "family", "saga", "conversation", "gated"]
)
async def test_a_run_survives_the_death_of_its_process_at_every_write(case: Case, moment: Moment) -> None:
    """For every n: the process dies at its n-th write, another one finishes the run with the same result."""
    at = 1
    while await _run_with_a_crash(case, at, moment):
        at += 1
    assert at > case.writes, "the workflow makes fewer writes than this test is meant to cover"
