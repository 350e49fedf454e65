"""Workflows whose recorded histories are replayed by the tests. Do not edit a body: add another workflow."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from fastapi_durable.declare.definition import Singleton, step, workflow
from fastapi_durable.declare.entity import entity, operation
from fastapi_durable.declare.retry import fixed
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.task import TaskTicket
from fastapi_durable.engine.turns.undo import Undo
from fastapi_durable.model.errors import (
    ChildFailedError,
    EntityOperationError,
    GatherError,
    SignalTimeoutError,
    StepFailedError,
    TaskFailedError,
)
from fastapi_durable.service.facade import WorkflowService
from tests.support.engine_rig import until


@step
async def double(value: int) -> int:
    return 2 * value


@step(max_attempts=2, backoff=fixed("1ms"))
async def fail(reason: str) -> None:
    raise ValueError(reason)


@step
async def undo(done: Undo[int, int]) -> None: ...


@workflow
async def steps(ctx: WorkflowContext, value: int) -> list[int]:
    return [await ctx.step(double, value), await ctx.step(double, value, name="again")]


@workflow
async def caught(ctx: WorkflowContext) -> str:
    try:
        await ctx.step(fail, "expected")
    except StepFailedError as error:
        return error.error.message
    return "nothing"


@workflow
async def waits(ctx: WorkflowContext) -> list[object]:
    await ctx.sleep("1ms")
    first = await ctx.wait_for_signal("history:go", int)
    try:
        await ctx.wait_for_signal("history:never", timeout="1ms")
    except SignalTimeoutError:
        return [first, "timeout"]
    return [first]


@workflow
async def saga(ctx: WorkflowContext) -> None:
    await ctx.step(double, 1, compensate=undo)
    await ctx.step(double, 2, compensate=undo)
    await ctx.step(fail, "the third")


@workflow
async def leaf(ctx: WorkflowContext, value: int) -> int:
    if value < 0:
        raise ValueError("negative")
    return await ctx.step(double, value)


@workflow
async def family(ctx: WorkflowContext) -> list[object]:
    one = await ctx.child(leaf, 1)
    spawned = await ctx.start_child(leaf, 2)
    several = await ctx.all(leaf, [3, 4])
    return [one, spawned.rpartition(".")[2], several]


@workflow
async def failing_family(ctx: WorkflowContext) -> str:
    try:
        await ctx.child(leaf, -1)
    except ChildFailedError as error:
        first = error.error.message
    try:
        await ctx.all(leaf, [1, -2], mode="fail_fast")
    except GatherError as error:
        return f"{first}, {sorted(error.failures)}"
    return "nothing"


@workflow
async def branches(ctx: WorkflowContext) -> list[int]:
    pair = await asyncio.gather(ctx.step(double, 1), ctx.step(double, 2))
    return [*pair, *await ctx.gather(_twice(ctx, 3), _twice(ctx, 4))]


async def _twice(ctx: WorkflowContext, value: int) -> int:
    return await ctx.step(double, await ctx.step(double, value))


@workflow
async def values(ctx: WorkflowContext) -> list[object]:
    moment, number, chance = await ctx.now(), await ctx.uuid(), await ctx.random()
    return [moment.isoformat(), str(number), chance, await ctx.side_effect(lambda: 5)]


@workflow
async def patched(ctx: WorkflowContext) -> int:
    if await ctx.patched("doubled"):
        return await ctx.step(double, 1)
    return 1


@workflow
async def attributes(ctx: WorkflowContext) -> dict[str, Any]:
    await ctx.upsert_search_attributes({"stage": "begun", "gone": 1})
    return dict(await ctx.upsert_search_attributes({"stage": "ended", "gone": None}))


@workflow
async def unfinished(ctx: WorkflowContext) -> int:
    """Recorded while it waits: a live run has to fit the code of today as well."""
    value = await ctx.step(double, 4)
    return value + await ctx.wait_for_signal("history:unfinished", int)


async def add_one(tx: object, value: int) -> int:
    return value + 1


@workflow
async def work(ctx: WorkflowContext) -> list[object]:
    """What is executed, other than steps."""
    return [
        await ctx.transaction(add_one, 1),
        await ctx.local_step("closure", lambda: "here"),
        await ctx.step(double, 2, max_attempts=2, name="by another name"),
    ]


@workflow
async def races(ctx: WorkflowContext) -> list[object]:
    first = await ctx.race(ctx.wait_for_signal("history:loser"), _twice(ctx, 1), ctx.sleep("1h"))
    second = await ctx.race(ctx.race(ctx.step(double, 2), ctx.sleep("1h")), ctx.wait_for_event("history:loser"))
    return [first.index, first.value, second.index, second.value.value if second.value else None]


@workflow
async def events(ctx: WorkflowContext) -> list[object]:
    kept = await ctx.wait_for_event("history:kept", int)
    paid = await ctx.wait_for_event("history:paid", match={"id": 7}, timeout="1h")
    try:
        await ctx.wait_for_event("history:never", timeout="1ms")
    except SignalTimeoutError:
        return [kept, paid["cents"], "timeout"]
    return []


async def publish(engine: WorkflowService, run_id: str) -> None:
    await engine.publish_event("history:kept", 1)
    await until(lambda: engine._kernel.store.list_signal_waiters(prefix="event:"))
    await until(lambda: _received(engine, "history:paid", {"id": 7, "cents": 5}))


async def _received(engine: WorkflowService, name: str, payload: object) -> bool:
    return bool((await engine.publish_event(name, payload, buffer=False)).receivers)


@step
async def hand_out(ticket: TaskTicket) -> None: ...


@workflow
async def dialogue(ctx: WorkflowContext) -> list[object]:
    """The webhook comes last: its token is another one each time."""
    address = await ctx.on_update("address", str)
    late = await ctx.on_update("street", str, timeout="1h")
    await ctx.set_value("stage", "addressed")
    await ctx.breakpoint("look")
    await ctx.breakpoint()
    done = await ctx.task("pick", hand_out, int)
    try:
        await ctx.task("pack", hand_out, timeout="1h")
    except TaskFailedError as error:
        failed = error.error.message
    hook = await ctx.webhook(int)
    await ctx.set_value("hook", hook.token)
    return [address, late, done, failed, await hook.wait(), await hook.wait(timeout="1h")]


async def answer(engine: WorkflowService, run_id: str) -> None:
    await until(lambda: _accepted(engine, run_id, "address"))
    await until(lambda: _accepted(engine, run_id, "street"))
    for label in ("look", None):
        await until(lambda label=label: engine.continue_run(run_id, label))  # type: ignore[misc]
    await engine.complete_task(run_id, "pick", 3)
    await engine.fail_task(run_id, "pack", "no boxes")
    await until(lambda: engine.get_value(run_id, "hook"))
    await engine.callback(await engine.get_value(run_id, "hook", str) or "", 4)


async def _accepted(engine: WorkflowService, run_id: str, name: str) -> bool:
    return (await engine.update(run_id, name, "Main Street")).accepted


@entity(name="history-account")
class Account(BaseModel):
    balance: int = 0

    @operation
    def deposit(self, cents: int) -> int:
        if cents < 0:
            raise ValueError("negative")
        self.balance += cents
        return self.balance


@workflow
async def entities(ctx: WorkflowContext) -> list[object]:
    await ctx.signal_entity(Account, "ada", Account.deposit, 5)
    balance = await ctx.call_entity(Account, "ada", Account.deposit, 5)
    try:
        await ctx.call_entity(Account, "ada", Account.deposit, -1)
    except EntityOperationError as error:
        return [balance, error.error.message]
    return [balance]


@workflow
async def chain(ctx: WorkflowContext, left: int) -> str:
    if left > 0:
        await ctx.step(double, left)
        ctx.continue_as_new(left - 1)
    return ctx.run_id


@workflow(singleton=Singleton(key=lambda value: value))
async def single(ctx: WorkflowContext, value: str) -> str:
    return value


@workflow
async def descendants(ctx: WorkflowContext) -> list[object]:
    return [
        await ctx.child(chain, 2, run_id="history:chain"),
        await ctx.child(single, "one"),
        await ctx.gather(ctx.child(leaf, 1), ctx.child(leaf, 2)),
    ]


@dataclass(frozen=True)
class Recorded:
    """A workflow, its input, its children, and what is signalled to it; `waits_for` ends the recording early.

    `outside` is all else that it is told, by an engine and the run's id.
    """

    workflow: Any
    input: tuple[Any, ...] = ()
    related: tuple[Any, ...] = ()
    signals: Mapping[str, Any] = field(default_factory=dict)
    waits_for: str | None = None
    outside: Callable[[WorkflowService, str], Awaitable[None]] | None = None
    entities: tuple[type, ...] = ()

    @property
    def name(self) -> str:
        return str(self.workflow.__name__)


RECORDED = [
    Recorded(steps, (3,)),
    Recorded(caught),
    Recorded(waits, signals={"history:go": 7}),
    Recorded(saga),
    Recorded(leaf, (5,)),
    Recorded(family, related=(leaf,)),
    Recorded(failing_family, related=(leaf,)),
    Recorded(branches),
    Recorded(values),
    Recorded(patched),
    Recorded(attributes),
    Recorded(unfinished, waits_for="history:unfinished"),
    Recorded(work),
    Recorded(races),
    Recorded(events, outside=publish),
    Recorded(dialogue, outside=answer),
    Recorded(entities, entities=(Account,)),
    Recorded(chain, (1,)),
    Recorded(descendants, related=(chain, single, leaf)),
]
