"""The warehouse behind the desk: deliveries that come in, the nightly count, and prices.

Nothing of it is kept but its runs. It shows what the checkout has no use for: steps that are undone, branches side by
side, children, a race, an event, an update, a breakpoint, queues and a schedule.
"""

import asyncio
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from example_app.orders import OrderId, Text
from example_app.settings import SettingsDep
from fastapi_durable import (
    FatalError,
    Queue,
    Schedule,
    SignalTimeoutError,
    Undo,
    WorkflowContext,
    WorkflowServiceDep,
    current_step,
    exponential,
    step,
    workflow,
)

CLOSED = "warehouse.closed"


class Delivery(BaseModel):
    id: OrderId
    supplier: Text
    parcels: Annotated[int, Field(ge=1, le=20)] = 3
    fragile: bool = False


class Parcel(BaseModel):
    delivery_id: OrderId
    number: int


class Price(BaseModel):
    sku: Text
    cents: Annotated[int, Field(ge=1)]
    in_hours: Annotated[int, Field(ge=0)] = 0


@workflow(name="delivery", version="2", tags=["warehouse"])
async def deliver(ctx: WorkflowContext, delivery: Delivery) -> str:
    """Bring a delivery from the ramp to its shelf. When it fails or is cancelled, what was done for it is undone."""
    await ctx.step(book_ramp, delivery, compensate=free_ramp)
    await ctx.step(call_supplier, delivery, compensate=call_off)
    parcels = [Parcel(delivery_id=delivery.id, number=number) for number in range(delivery.parcels)]
    await ctx.gather(*[ctx.step(unpack, parcel) for parcel in parcels])
    if delivery.fragile:
        await ctx.wait_for_signal(f"inspected:{delivery.id}", bool, timeout=timedelta(days=3))
    return await ctx.step(put_away, delivery)


@workflow(name="stocktaking", tags=["warehouse"])
async def take_stock(ctx: WorkflowContext, shelves: int) -> str:
    """Count every shelf: in aisles at the same time, in children where somebody counts twice, the rest one by one."""
    await ctx.step(scan, 0)
    await ctx.gather(walk(ctx, [1, 2, 3]), walk(ctx, [4, 5]), walk(ctx, [6]))
    await ctx.child(count_twice, 7)
    await ctx.all(count_twice, [8, 9])
    for shelf in range(10, 10 + shelves):
        await ctx.step(scan, shelf)
    try:
        await ctx.wait_for_event(CLOSED, timeout=timedelta(days=1))
    except SignalTimeoutError:
        return f"about {10 + shelves} shelves: people went in and out all day"
    return f"{10 + shelves} shelves"


async def walk(ctx: WorkflowContext, shelves: list[int]) -> list[str]:
    return [await ctx.step(scan, shelf) for shelf in shelves]


@workflow(name="count-twice")
async def count_twice(ctx: WorkflowContext, shelf: int) -> str:
    """Count a shelf, and again after a moment."""
    await ctx.step(scan, shelf)
    await ctx.sleep("60ms")
    return await ctx.step(scan, shelf)


def positive(cents: int) -> str | None:
    return None if cents > 0 else "a price is above zero"


@workflow(name="price-change", updates={"cents": positive})
async def change_price(ctx: WorkflowContext, price: Price) -> str:
    """When the hour has come, somebody looks at the new price, and lets the run continue or names another price."""
    if price.in_hours:
        await ctx.sleep(timedelta(hours=price.in_hours))
    reviewed = await ctx.race(ctx.breakpoint("review"), ctx.on_update("cents", int))
    return f"{price.sku} costs {reviewed.value or price.cents} cents"


@step
async def book_ramp(delivery: Delivery, *, settings: SettingsDep) -> str:
    await asyncio.sleep(settings.example_step_seconds)
    return f"ramp {len(delivery.supplier) % 4 + 1}"


@step
async def free_ramp(booked: Undo[Delivery, str], *, settings: SettingsDep) -> None:
    await asyncio.sleep(settings.example_step_seconds)
    current_step().info(f"{booked.output} is free")


@step(max_attempts=4, backoff=exponential("100ms"))
async def call_supplier(delivery: Delivery, *, settings: SettingsDep) -> str:
    """Suppliers hang up twice before they listen."""
    await asyncio.sleep(settings.example_step_seconds)
    if (current_step().attempt or 0) < 3:
        raise ConnectionError("the supplier hung up")
    return f"advice-{delivery.id}"


@step
async def call_off(called: Undo[Delivery, str]) -> None:
    current_step().info(f"{called.output} is off")


@step
async def unpack(parcel: Parcel, *, settings: SettingsDep) -> int:
    await asyncio.sleep(settings.example_step_seconds * (1 + parcel.number / 2))
    return parcel.number


@step
async def put_away(delivery: Delivery) -> str:
    if delivery.supplier == "Nobody":
        raise FatalError(f"delivery {delivery.id}: {delivery.supplier!r} has no shelf here", code="no_shelf")
    return f"shelf-{delivery.id}"


@step
async def scan(shelf: int, *, settings: SettingsDep) -> str:
    """Says what it does while it runs."""
    notes = current_step()
    notes.info("looking at the shelf", data={"shelf": shelf})
    with notes.sub_process("take the picture", group="camera") as part:
        await asyncio.sleep(settings.example_step_seconds)
        part.phase("focused")
    with notes.sub_process("read the label") as part:
        if shelf == 2:
            part.skip("there is no label")
    if shelf == 3:
        notes.warn("the shelf is nearly empty")
        notes.sub("count", status="failed", message="the scale does not answer")
    return f"shelf {shelf}"


SCHEDULES = [Schedule(key="stocktaking", workflow=take_stock, input=6, cron="0 3 * * *", timezone="Europe/Berlin")]
QUEUES = [
    Queue("ramps", concurrency=4),
    Queue("price-list", concurrency=2, worker_concurrency=1, rate_limit=3, rate_period="1h"),
]

router = APIRouter(prefix="/warehouse", tags=["warehouse"])


@router.post("/deliveries", status_code=202)
async def announce(delivery: Delivery, workflows: WorkflowServiceDep) -> dict[str, str]:
    """Deliveries wait for a ramp, however many are announced at once."""
    run = await workflows.start(deliver, delivery, run_id=f"delivery:{delivery.id}", queue="ramps")
    return {"run_id": run.run_id}


@router.post("/closing", status_code=202)
async def close(workflows: WorkflowServiceDep) -> dict[str, int]:
    """Whoever waits for the end of the day continues."""
    published = await workflows.publish_event(CLOSED)
    return {"runs": len(published.receivers)}
