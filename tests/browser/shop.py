"""Workflows that show what the dashboard can show, and runs of them."""

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    DurableRuntime,
    FatalError,
    MemoryStateStore,
    RunStatus,
    Schedule,
    WorkflowContext,
    exponential,
    step,
    workflow,
)


class Order(BaseModel):
    id: str
    customer: str
    total: int = Field(ge=1)
    items: list[str] = []


class Parcel(BaseModel):
    order_id: str
    number: int


tries: dict[str, int] = {}


@step
async def reserve(order: Order) -> dict[str, int]:
    await asyncio.sleep(0.06)
    return {"places": len(order.items)}


@step(max_attempts=4, backoff=exponential("100ms"))
async def charge_card(order: Order) -> str:
    await asyncio.sleep(0.08)
    tries[order.id] = tries.get(order.id, 0) + 1
    if tries[order.id] < 3:
        raise ConnectionError("the card provider hung up")
    return f"charge-{order.id}"


@step
async def pack(parcel: Parcel) -> int:
    await asyncio.sleep(0.05 + 0.04 * parcel.number)
    return parcel.number


@step
async def ship(order: Order) -> str:
    await asyncio.sleep(0.05)
    if order.customer == "Nobody":
        raise FatalError(f"order {order.id}: the address of {order.customer!r} does not exist", code="no_address")
    return f"tracking-{order.id}"


@step
async def put_back(what: Any) -> None:
    await asyncio.sleep(0.04)


@workflow(name="checkout", version="3", tags=["shop"])
async def checkout(ctx: WorkflowContext, order: Order) -> str:
    """Take an order from the basket to the parcel service."""
    await ctx.step(reserve, order, compensate=put_back)
    await ctx.step(charge_card, order, compensate=put_back)
    await asyncio.gather(*[ctx.step(pack, Parcel(order_id=order.id, number=number)) for number in range(3)])
    if order.total >= 1000:
        await ctx.wait_for_signal(f"approve:{order.id}", bool, timeout=timedelta(days=3))
    return await ctx.step(ship, order)


@workflow(name="nightly-report")
async def report(ctx: WorkflowContext) -> str:
    """Wait for the night, then count."""
    await ctx.sleep(timedelta(hours=6))
    return "counted"


@workflow(name="price-change")
async def price_change(ctx: WorkflowContext, article: str) -> str:
    """Change a price after somebody had a look."""
    await ctx.breakpoint("review")
    return f"{article} has its new price"


def shop() -> DurableModule:
    tries.clear()
    night = Schedule(key="nightly-report", workflow=report, cron="0 3 * * *", timezone="Europe/Berlin")
    return DurableModule.for_root(
        DurableOptions(store=MemoryStateStore(), poll_interval="20ms", schedules=[night]),
        workflows=[checkout, report, price_change],
    )


async def seed(runtime: DurableRuntime) -> None:
    """Runs in every state, all at rest."""
    start = runtime.service.start
    for number in range(12):
        order = Order(id=str(1000 + number), customer=f"Customer {number}", total=40 + number, items=["book", "pen"])
        await start(checkout, order, run_id=f"checkout:{order.id}", tags=[f"order:{order.id}"])
    lost = Order(id="2001", customer="Nobody", total=80, items=["book"])
    await start(checkout, lost, run_id="checkout:2001", search_attributes={"total": 80, "vip": False})
    large = Order(id="3001", customer="Ada Lovelace", total=2400, items=["engine", "cards", "lamp"])
    await start(checkout, large, run_id="checkout:3001", search_attributes={"total": 2400, "vip": True})
    await start(report, run_id="nightly-report:2026-11-22")
    await start(price_change, "lamp", run_id="price-change:lamp")
    resting = {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.SUSPENDED}
    async with asyncio.timeout(30):
        while True:
            runs = await runtime.gateway.list_runs()
            waits = [each for each in runs if each.run.status is RunStatus.SUSPENDED and each.waiting]
            if len(waits) == 2 and sum(each.run.status.is_terminal for each in runs) == 13:
                break
            await asyncio.sleep(0.05)
    assert {each.run.status for each in runs} == resting
