"""Random programs of primitives, with a crash at a random write: the result is that of a run without crashes."""

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fastapi_durable.definition import step, workflow
from fastapi_durable.engine.context import WorkflowContext
from fastapi_durable.errors import StepFailedError
from fastapi_durable.model import RunQuery
from fastapi_durable.store.memory import MemoryStateStore
from tests.support.crashing_store import Fuse, Moment, ProcessDied, crashing
from tests.support.engine_rig import SHORT_LEASE, build_engine, killed_worker, running_engine, until


@step
async def double(value: int) -> int:
    return 2 * value


@step
async def fail(value: int) -> None:
    raise ValueError(str(value))


@workflow
async def leaf(ctx: WorkflowContext, value: int) -> int:
    return await ctx.step(double, value)


async def _branch(ctx: WorkflowContext, value: int) -> int:
    return await ctx.step(double, await ctx.step(double, value))


@workflow
async def interpreter(ctx: WorkflowContext, program: list[str]) -> list[Any]:
    seen: list[Any] = []
    for number, instruction in enumerate(program):
        match instruction:
            case "step":
                seen.append(await ctx.step(double, number))
            case "fail":
                try:
                    await ctx.step(fail, number)
                except StepFailedError as error:
                    seen.append(error.error.message)
            case "sleep":
                await ctx.sleep("1ms")
            case "signal":
                seen.append(await ctx.wait_for_signal(f"{ctx.run_id}:{number}", int))
            case "child":
                seen.append(await ctx.child(leaf, number))
            case "all":
                seen.append(await ctx.all(leaf, [number, number + 1]))
            case "gather":
                seen.append(await ctx.gather(_branch(ctx, number), _branch(ctx, number + 1)))
            case "attributes":
                seen.append(dict(await ctx.upsert_search_attributes({"at": number})))
    return seen


def expected(program: list[str]) -> list[Any]:
    """What the program comes to, without any engine."""
    results: dict[str, Callable[[int], Any]] = {
        "step": lambda n: 2 * n,
        "fail": str,
        "signal": lambda n: n,
        "child": lambda n: 2 * n,
        "all": lambda n: [2 * n, 2 * n + 2],
        "gather": lambda n: [4 * n, 4 * n + 4],
        "attributes": lambda n: {"at": n},
    }
    return [results[each](number) for number, each in enumerate(program) if each in results]


INSTRUCTIONS = ["step", "fail", "sleep", "signal", "child", "all", "gather", "attributes"]


@settings(max_examples=25, deadline=None)
@given(
    program=st.lists(st.sampled_from(INSTRUCTIONS), min_size=1, max_size=6),
    at=st.integers(1, 30),
    moment=st.sampled_from(["before", "after"]),
    early=st.booleans(),
)
def test_a_crash_does_not_change_what_a_program_comes_to(
    program: list[str], at: int, moment: Moment, early: bool
) -> None:
    """Signals come before anybody waits for them, or while the first process is dying."""
    asyncio.run(_run(program, at, moment, early=early))


async def _run(program: list[str], at: int, moment: Moment, *, early: bool) -> None:
    store, fuse = MemoryStateStore(), Fuse(at, moment)
    outside = build_engine(store, interpreter, leaf)
    signals = [number for number, instruction in enumerate(program) if instruction == "signal"]
    for number in signals if early else []:
        await outside.signal(f"run:{number}", number)
    async with killed_worker(crashing(store, fuse), interpreter, leaf, config=SHORT_LEASE) as first:
        try:
            await first.start(interpreter, program, run_id="run")
        except ProcessDied:
            await outside.start(interpreter, program, run_id="run")
        for number in [] if early else signals:
            await outside.signal(f"run:{number}", number)

        async def died_or_ended() -> bool:
            return fuse.blown or (await outside.handle("run").status()).is_terminal

        await until(died_or_ended)
        async with running_engine(store, interpreter, leaf, config=SHORT_LEASE) as second:
            assert await second.handle("run").result("10s") == expected(program)
    assert await store.list_signal_waiters() == []
    for run in await store.list_runs(RunQuery()):
        assert (run.status.is_terminal, run.locked_by) == (True, None)
