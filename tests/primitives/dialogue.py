"""Updates, shown values, breakpoints, tasks and webhooks."""

from typing import Any

from fastapi_durable.declare.definition import step, workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.engine.primitives.task import TaskTicket
from fastapi_durable.engine.primitives.webhook import Callback
from fastapi_durable.model.errors import RunStateError, SignalTimeoutError, TaskFailedError
from tests.primitives.case import Case, Desk
from tests.primitives.work import double


def check_address(address: str) -> str | None:
    return None if address else "an address is not empty"


@workflow(updates={"address": check_address})
async def updated(ctx: WorkflowContext, key: str) -> str:
    return await ctx.on_update("address", str)


async def update(desk: Desk) -> None:
    """A caller that died looks first: two updates are two."""
    key = desk.key
    refused = await desk.ask(lambda engine: engine.update(key, "address", ""))
    assert refused.reason == "an address is not empty"

    async def offer(engine: Any) -> bool:
        run = await desk.store.find_run(key)
        if run is None or run.status.is_terminal:
            return True
        return bool((await engine.update(key, "address", "Main Street")).accepted)

    await desk.until(offer)


@workflow
async def answered(ctx: WorkflowContext, key: str) -> int:
    async def doubled(value: int) -> int:
        return await ctx.step(double, value)

    return await ctx.on_update("number", int, answer=doubled)


async def ask_for_answer(desk: Desk) -> None:
    """A caller that died looks first, and its answer is lost to it: the run made it all the same."""
    key = desk.key

    async def ask(engine: Any) -> bool:
        run = await desk.store.find_run(key)
        if run is None or run.status.is_terminal:
            return True
        result = await engine.update(key, "number", 2, wait="60s")
        assert not result.answered or result.answer == 4
        return bool(result.accepted)

    await desk.until(ask)


@workflow
async def shown(ctx: WorkflowContext, key: str) -> None:
    await ctx.set_value("progress", 50)
    await ctx.set_value("progress", 100)


async def read_along(desk: Desk) -> None:
    assert await desk.until(lambda engine: engine.get_value(desk.key, "progress", int, wait="60s")) in (50, 100)


async def last_shown(engine: Any, key: str) -> object:
    return await engine.get_value(key, "progress", int)


@workflow
async def stopped(ctx: WorkflowContext, key: str) -> str:
    await ctx.breakpoint("check")
    return "went on"


async def let_go_on(desk: Desk) -> None:
    async def go_on(engine: Any) -> bool:
        run = await desk.store.find_run(desk.key)
        return await engine.continue_run(desk.key, "check") or (run is not None and run.status.is_terminal)

    await desk.until(go_on)


@step
async def hand_out(ticket: TaskTicket) -> str:
    return ticket.token


@workflow
async def tasks(ctx: WorkflowContext, key: str) -> list[object]:
    done = await ctx.task("ship", hand_out, int, timeout="1h")
    try:
        await ctx.task("refuse", hand_out)
    except TaskFailedError as error:
        return [done, error.error.message]
    return []


async def report(desk: Desk) -> None:
    await desk.ask(lambda engine: engine.complete_task(desk.key, "ship", 3), refusals=(RunStateError,))
    await desk.ask(lambda engine: engine.fail_task(desk.key, "refuse", "out of stock"), refusals=(RunStateError,))


@workflow
async def hooked(ctx: WorkflowContext, key: str) -> list[object]:
    hook = await ctx.webhook(dict[str, int])
    unused = await ctx.webhook()
    await ctx.set_value("hook", hook.token)
    body = await hook.wait(timeout="1h")
    try:
        await unused.wait(timeout="2ms")
    except SignalTimeoutError:
        return [body, "timeout"]
    return []


async def call_back(desk: Desk) -> None:
    key = desk.key
    token = await desk.until(lambda engine: engine.get_value(key, "hook", str))
    called = await desk.ask(lambda engine: engine.callback(token, {"n": 1}))
    assert called in (Callback.RECEIVED, Callback.REPEATED, Callback.ENDED)


CASES = [
    Case(name="on_update", workflows=(updated,), result="Main Street", writes=6, outside=update),
    Case(name="on_update, answered", workflows=(answered,), result=4, writes=8, outside=ask_for_answer),
    Case(name="set_value", workflows=(shown,), result=100, writes=2, outside=read_along, outcome=last_shown),
    Case(name="breakpoint", workflows=(stopped,), result="went on", writes=8, outside=let_go_on),
    Case(name="task", workflows=(tasks,), result=[3, "out of stock"], writes=10, outside=report),
    Case(name="webhook", workflows=(hooked,), result=[{"n": 1}, "timeout"], writes=15, outside=call_back),
]
