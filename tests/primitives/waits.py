"""Sleeps, signals and events: what comes before the wait, during it, and not at all."""

from fastapi_durable.declare.definition import workflow
from fastapi_durable.engine.context.workflow_context import WorkflowContext
from fastapi_durable.model.errors import SignalTimeoutError
from fastapi_durable.service.facade import WorkflowService
from tests.primitives.case import Case, Desk


@workflow
async def sleeper(ctx: WorkflowContext, key: str) -> str:
    begun = await ctx.now()
    await ctx.sleep("2ms")
    await ctx.sleep_until(begun)
    return "awake"


@workflow
async def signalled(ctx: WorkflowContext, key: str) -> list[object]:
    """The first is there already; the second comes while it is awaited; the third in time."""
    early = await ctx.wait_for_signal(f"early:{key}", int)
    return [
        early,
        await ctx.wait_for_signal(f"late:{key}", int),
        await ctx.wait_for_signal(f"in time:{key}", timeout="1h"),
    ]


async def signal(desk: Desk) -> None:
    await desk.signal_when_awaited(f"late:{desk.key}", 2)
    await desk.signal_when_awaited(f"in time:{desk.key}", 3)


async def begin_with_signal(case: Case, engine: WorkflowService, key: str) -> None:
    """Repeated as a whole by a caller that does not know whether it was heard."""
    token = f"early:{key}"
    run = await engine._kernel.store.find_run(key)
    if run is None:
        await engine.signal_with_start(signalled, key, token=token, payload=1, signal_id=token, run_id=key)


@workflow
async def timed_out(ctx: WorkflowContext, key: str) -> list[str]:
    missed = []
    try:
        await ctx.wait_for_signal(f"never:{key}", timeout="2ms")
    except SignalTimeoutError:
        missed.append("signal")
    try:
        await ctx.wait_for_event(f"never:{key}", timeout="2ms")
    except SignalTimeoutError:
        missed.append("event")
    return missed


@workflow
async def listener(ctx: WorkflowContext, key: str) -> list[int]:
    kept = await ctx.wait_for_event(f"kept:{key}", int)
    paid = await ctx.wait_for_event(f"paid:{key}", dict[str, int], match={"order": 7}, timeout="1h")
    return [kept, paid["cents"]]


async def publish(desk: Desk) -> None:
    name = f"paid:{desk.key}"
    await desk.ask(lambda engine: engine.publish_event(f"kept:{desk.key}", 1, event_id="kept"))
    await desk.ask(lambda engine: engine.publish_event(name, {"order": 8, "cents": 0}, event_id="another order"))
    await desk.ask(lambda engine: engine.publish_event(name, {"order": 7, "cents": 5}, event_id="the order"))


async def _branch(ctx: WorkflowContext, key: str, side: str) -> list[object]:
    return [await ctx.wait_for_signal(f"{side}:{key}", int), await ctx.wait_for_event(f"{side}:{key}", int)]


@workflow
async def branches(ctx: WorkflowContext, key: str) -> list[object]:
    return list(await ctx.gather(_branch(ctx, key, "left"), _branch(ctx, key, "right")))


async def tell_branches(desk: Desk) -> None:
    for number, side in enumerate(("right", "left")):
        await desk.signal_when_awaited(f"{side}:{desk.key}", number)
        event = f"{side}:{desk.key}"
        await desk.ask(lambda engine, event=event: engine.publish_event(event, 9, event_id=event))  # type: ignore[misc]


CASES = [
    Case(name="sleep", workflows=(sleeper,), result="awake", writes=4),
    Case(
        name="wait_for_signal",
        workflows=(signalled,),
        result=[1, 2, 3],
        writes=15,
        begin=begin_with_signal,
        outside=signal,
    ),
    Case(name="waits that time out", workflows=(timed_out,), result=["signal", "event"], writes=12),
    Case(name="wait_for_event", workflows=(listener,), result=[1, 5], writes=10, outside=publish),
    Case(
        name="waits in branches",
        workflows=(branches,),
        result=[[1, 9], [0, 9]],
        writes=12,
        outside=tell_branches,
    ),
]
