"""Programs of primitives: a workflow that executes any list of them, what that comes to, and what it has to be told.

Each instruction is named by its number in the program. Whatever is delivered to it can be delivered again without harm.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from fastapi_durable.declare.definition import Singleton, step, workflow
from fastapi_durable.declare.entity import entity, operation
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.task import TaskTicket
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.model.errors import (
    ChildFailedError,
    EntityOperationError,
    FatalError,
    GatherError,
    RunStateError,
    SignalTimeoutError,
    StepFailedError,
    TaskFailedError,
)
from fastapi_durable.service.facade import WorkflowService

_numbers = itertools.count()


@step
async def double(value: int) -> int:
    return 2 * value


@step(max_attempts=2)
async def fail(value: int) -> None:
    raise FatalError(str(value), code="no")


@step
async def undo(done: Undo[int, int]) -> None:
    assert done.output == 2 * done.input


@step
async def hand_out(ticket: TaskTicket) -> None: ...


async def add_one(tx: object, value: int) -> int:
    return value + 1


@entity
class Counter(BaseModel):
    count: int = 0

    @operation
    def add(self, more: int) -> int:
        self.count += more
        return self.count

    @operation
    def refuse(self) -> None:
        self.count += 100
        raise ValueError("refused")


@workflow
async def leaf(ctx: WorkflowContext, value: int) -> int:
    return await ctx.step(double, value)


@workflow
async def failing_leaf(ctx: WorkflowContext, value: int) -> None:
    await ctx.step(fail, value)


@workflow
async def saga(ctx: WorkflowContext, value: int) -> None:
    await ctx.step(double, value, compensate=undo)
    await ctx.gather(ctx.step(double, value, compensate=undo), ctx.step(double, value + 1, compensate=undo))
    await ctx.step(fail, value)


@workflow
async def chain(ctx: WorkflowContext, left: int) -> str:
    if left > 0:
        ctx.continue_as_new(left - 1)
    return f"after {ctx.run_id.rpartition('~')[2]}"


@workflow(singleton=Singleton(key=lambda _: "all"))
async def one_at_a_time(ctx: WorkflowContext, value: int) -> int:
    await ctx.sleep("1h")
    return value


async def _branch(ctx: WorkflowContext, value: int) -> int:
    return await ctx.step(double, await ctx.step(double, value))


async def _values(ctx: WorkflowContext) -> bool:
    """What the row of the step holds is what the first turn saw."""
    seen: list[object] = [str(await ctx.uuid()), await ctx.random(), (await ctx.now()).isoformat()]
    seen.append(await ctx.side_effect(lambda: next(_numbers), int))
    return seen == await ctx.local_step("remember", lambda: seen)


async def _task_group(ctx: WorkflowContext, number: int) -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_branch(ctx, value)) for value in (number, number + 1)]
    return [task.result() for task in tasks]


async def _race(ctx: WorkflowContext, number: int) -> list[Any]:
    never = f"never:{ctx.run_id}:{number}"
    winner = await ctx.race(
        ctx.wait_for_signal(never), _branch(ctx, number), ctx.wait_for_event(never, timeout="9999h")
    )
    return [winner.index, winner.value]


async def _hook(ctx: WorkflowContext, number: int) -> int:
    hook = await ctx.webhook(int)
    await ctx.set_value(f"hook {number}", hook.token)
    return await hook.wait()


async def _waits_in_branches(ctx: WorkflowContext, number: int) -> list[int]:
    return await ctx.gather(
        ctx.wait_for_signal(f"{ctx.run_id}:{number}", int),
        _branch(ctx, number),
        ctx.wait_for_event(f"{_event(ctx.run_id)} {number}", int),
    )


async def _joined(ctx: WorkflowContext, number: int) -> int:
    return await ctx.child(leaf, number, run_id=await ctx.start_child(leaf, number))


async def _caught(call: Awaitable[Any]) -> object:
    try:
        return await call
    except StepFailedError as error:
        return [error.error.message, error.code]
    except (ChildFailedError, TaskFailedError, EntityOperationError) as error:
        return error.error.message
    except GatherError as error:
        return sorted(error.failures)
    except SignalTimeoutError:
        return "timeout"


def _event(run_id: str) -> str:
    return f"event of {run_id}"


@dataclass(frozen=True)
class Instruction:
    """What it does, what that comes to, and how many runs it makes.

    Attributes:
        result: Of its number, and of how often an entity was counted up before.
        counts: How often it counts the entity up.
        delivered: How the outside answers it; False: it is not there yet.
    """

    execute: Callable[[WorkflowContext, int], Awaitable[Any]]
    result: Callable[[int, int], Any]
    runs: int = 0
    counts: int = 0
    delivered: Callable[[WorkflowService, str, int], Awaitable[Any]] | None = None


async def _signal(engine: WorkflowService, run_id: str, number: int) -> bool:
    await engine.signal(f"{run_id}:{number}", number, signal_id=f"{run_id}:{number}")
    return True


async def _publish(engine: WorkflowService, run_id: str, number: int) -> bool:
    await engine.publish_event(_event(run_id), {"number": number}, event_id=f"{run_id}:{number}")
    return True


async def _signal_and_publish(engine: WorkflowService, run_id: str, number: int) -> bool:
    await _signal(engine, run_id, number)
    await engine.publish_event(f"{_event(run_id)} {number}", number, event_id=f"{run_id}:{number}")
    return True


async def _update(engine: WorkflowService, run_id: str, number: int) -> bool:
    return (await engine.update(run_id, f"update {number}", number)).accepted


async def _call_back(engine: WorkflowService, run_id: str, number: int) -> bool:
    token = await engine.get_value(run_id, f"hook {number}", str)
    if token is not None:
        await engine.callback(token, number)
    return token is not None


async def _continue(engine: WorkflowService, run_id: str, number: int) -> bool:
    return await engine.continue_run(run_id, f"stop {number}")


async def _complete(engine: WorkflowService, run_id: str, number: int) -> bool:
    await engine.complete_task(run_id, f"task {number}", number)
    return True


async def _fail_task(engine: WorkflowService, run_id: str, number: int) -> bool:
    await engine.fail_task(run_id, f"task {number}", "not done")
    return True


async def _paid(ctx: WorkflowContext, number: int, **options: Any) -> int:
    event = await ctx.wait_for_event(_event(ctx.run_id), dict[str, int], match={"number": number}, **options)
    return event["number"]


INSTRUCTIONS: dict[str, Instruction] = {
    "step": Instruction(lambda ctx, n: ctx.step(double, n), lambda n, _: 2 * n),
    "failing step": Instruction(lambda ctx, n: _caught(ctx.step(fail, n)), lambda n, _: [str(n), "no"]),
    "transaction": Instruction(lambda ctx, n: ctx.transaction(add_one, n), lambda n, _: n + 1),
    "values": Instruction(lambda ctx, n: _values(ctx), lambda n, _: True),
    "attributes": Instruction(lambda ctx, n: ctx.upsert_search_attributes({"at": n}), lambda n, _: {"at": n}),
    "set_value": Instruction(lambda ctx, n: ctx.set_value("shown", n), lambda n, _: None),
    "patched": Instruction(lambda ctx, n: ctx.patched(f"patch {n}"), lambda n, _: True),
    "sleep": Instruction(lambda ctx, n: ctx.sleep("1h"), lambda n, _: None),
    "signal": Instruction(
        lambda ctx, n: ctx.wait_for_signal(f"{ctx.run_id}:{n}", int), lambda n, _: n, delivered=_signal
    ),
    "signal in time": Instruction(
        lambda ctx, n: ctx.wait_for_signal(f"{ctx.run_id}:{n}", int, timeout="9999h"), lambda n, _: n, delivered=_signal
    ),
    "no signal": Instruction(
        lambda ctx, n: _caught(ctx.wait_for_signal(f"never:{ctx.run_id}:{n}", timeout="1h")), lambda n, _: "timeout"
    ),
    "event": Instruction(_paid, lambda n, _: n, delivered=_publish),
    "event in time": Instruction(lambda ctx, n: _paid(ctx, n, timeout="9999h"), lambda n, _: n, delivered=_publish),
    "webhook": Instruction(_hook, lambda n, _: n, delivered=_call_back),
    "update": Instruction(lambda ctx, n: ctx.on_update(f"update {n}", int), lambda n, _: n, delivered=_update),
    "breakpoint": Instruction(lambda ctx, n: ctx.breakpoint(f"stop {n}"), lambda n, _: None, delivered=_continue),
    "task": Instruction(lambda ctx, n: ctx.task(f"task {n}", hand_out, int), lambda n, _: n, delivered=_complete),
    "failing task": Instruction(
        lambda ctx, n: _caught(ctx.task(f"task {n}", hand_out)), lambda n, _: "not done", delivered=_fail_task
    ),
    "child": Instruction(lambda ctx, n: ctx.child(leaf, n), lambda n, _: 2 * n, runs=1),
    "failing child": Instruction(lambda ctx, n: _caught(ctx.child(failing_leaf, n)), lambda n, _: _failed(n), runs=1),
    "start_child": Instruction(_joined, lambda n, _: 2 * n, runs=1),
    "all": Instruction(lambda ctx, n: ctx.all(leaf, [n, n + 1]), lambda n, _: [2 * n, 2 * n + 2], runs=2),
    "failing all": Instruction(lambda ctx, n: _caught(ctx.all(failing_leaf, [n, n])), lambda n, _: [0, 1], runs=2),
    "saga": Instruction(lambda ctx, n: _caught(ctx.child(saga, n)), lambda n, _: _failed(n), runs=1),
    "continue_as_new": Instruction(lambda ctx, n: ctx.child(chain, 2), lambda n, _: "after 2", runs=3),
    "singleton": Instruction(lambda ctx, n: ctx.child(one_at_a_time, n), lambda n, _: n, runs=1),
    "gather": Instruction(
        lambda ctx, n: ctx.gather(_branch(ctx, n), _branch(ctx, n + 1)), lambda n, _: [4 * n, 4 * n + 4]
    ),
    "task group": Instruction(_task_group, lambda n, _: [4 * n, 4 * n + 4]),
    "waits in branches": Instruction(_waits_in_branches, lambda n, _: [n, 4 * n, n], delivered=_signal_and_publish),
    "race": Instruction(_race, lambda n, _: [1, 4 * n]),
    "call_entity": Instruction(
        lambda ctx, n: ctx.call_entity(Counter, ctx.run_id, Counter.add, 1), lambda n, before: before + 1, counts=1
    ),
    "signal_entity": Instruction(
        lambda ctx, n: ctx.signal_entity(Counter, ctx.run_id, Counter.add, 1), lambda n, _: None, counts=1
    ),
    "failing entity": Instruction(
        lambda ctx, n: _caught(ctx.call_entity(Counter, ctx.run_id, Counter.refuse)), lambda n, _: "refused"
    ),
}


def _failed(number: int) -> str:
    return f"step 'fail' failed after 1 attempt: {number}"


@workflow
async def interpreter(ctx: WorkflowContext, program: list[str]) -> list[Any]:
    return [await INSTRUCTIONS[name].execute(ctx, number) for number, name in enumerate(program)]


WORKFLOWS = (interpreter, leaf, failing_leaf, saga, chain, one_at_a_time)


def expected(program: list[str]) -> list[Any]:
    """What the program comes to, without any engine."""
    results, count = [], 0
    for number, name in enumerate(program):
        results.append(INSTRUCTIONS[name].result(number, count))
        count += INSTRUCTIONS[name].counts
    return results


def runs_made(program: list[str]) -> int:
    """How many runs there are in the end, with that of the program and the entity's."""
    has_entity = any("entity" in name for name in program)
    return 1 + has_entity + sum(INSTRUCTIONS[name].runs for name in program)


def awaited(program: list[str]) -> list[int]:
    """The numbers of the instructions that the outside has to answer."""
    return [number for number, name in enumerate(program) if INSTRUCTIONS[name].delivered is not None]


async def deliver(engine: WorkflowService, run_id: str, program: list[str], number: int) -> bool:
    """Answer an instruction, perhaps again; False: it cannot be answered yet."""
    delivered = INSTRUCTIONS[program[number]].delivered
    assert delivered is not None
    try:
        return bool(await delivered(engine, run_id, number))
    except RunStateError:
        # The run has ended: it had the answer before.
        return True
