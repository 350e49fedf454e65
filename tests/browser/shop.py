"""Workflows that show what the dashboard can show, and runs of them."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    DurableRuntime,
    FatalError,
    MemoryStateStore,
    Queue,
    RunStatus,
    Schedule,
    WorkflowContext,
    current_step,
    exponential,
    step,
    workflow,
)
from fastapi_durable.model import Checkpoint, CheckpointKind, CheckpointStatus, Run


class Order(BaseModel):
    id: str
    customer: str
    total: int = Field(ge=1)
    items: list[str] = []


class Parcel(BaseModel):
    order_id: str
    number: int


LONG = 600

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


@step
async def scan(shelf: int) -> str:
    """Says what it does while it runs."""
    notes = current_step()
    notes.info("looking at the shelf", data={"shelf": shelf})
    with notes.sub_process("take the picture", group="camera") as part:
        await asyncio.sleep(0.03)
        part.phase("focused")
        await asyncio.sleep(0.03)
    with notes.sub_process("read the label") as part:
        await asyncio.sleep(0.02)
        if shelf == 2:
            part.skip("there is no label")
    if shelf == 3:
        notes.warn("the shelf is nearly empty")
        notes.sub("count", status="failed", message="the scale does not answer")
    return f"shelf {shelf}"


async def walk(ctx: WorkflowContext, shelves: list[int]) -> list[str]:
    return [await ctx.step(scan, shelf) for shelf in shelves]


@workflow(name="stocktaking-of-one-shelf")
async def stocktaking_of_one_shelf(ctx: WorkflowContext, shelf: int) -> str:
    await ctx.step(scan, shelf)
    await ctx.sleep("60ms")
    return await ctx.step(scan, shelf)


@workflow(name="stocktaking", tags=["warehouse"])
async def stocktaking(ctx: WorkflowContext, shelves: int) -> int:
    """Count everything, in aisles side by side, and in children for what lies apart."""
    await ctx.step(scan, 0)
    await ctx.gather(walk(ctx, [1, 2, 3]), walk(ctx, [4, 5]), walk(ctx, [6]))
    await ctx.child(stocktaking_of_one_shelf, 7)
    await ctx.all(stocktaking_of_one_shelf, [8, 9])
    for shelf in range(10, 10 + shelves):
        await ctx.step(scan, shelf)
    await ctx.wait_for_event("lights-out", timeout=timedelta(days=1))
    return shelves


def shop(*, role: Literal["api"] | None = None) -> DurableModule:
    """`role`: "api" for one without a worker."""
    tries.clear()
    night = Schedule(key="nightly-report", workflow=report, cron="0 3 * * *", timezone="Europe/Berlin")
    return DurableModule.for_root(
        DurableOptions(
            store=MemoryStateStore(),
            poll_interval="20ms",
            role=role,
            schedules=[night],
            queues=[
                Queue("mail", concurrency=4),
                Queue("imports", concurrency=2, worker_concurrency=1, rate_limit=1, rate_period="1h"),
            ],
        ),
        workflows=[checkout, report, price_change, stocktaking, stocktaking_of_one_shelf],
    )


async def write_long_run(runtime: DurableRuntime) -> None:
    """A run of many steps, as it would be stored."""
    now = runtime.engine.clock.now()
    run = Run(id="import:long", workflow="import", workflow_version="1", created_at=now, updated_at=now)
    await runtime.store.create_run(replace(run, status=RunStatus.COMPLETED))
    for seq in range(LONG):
        at = now + timedelta(seconds=seq)
        await runtime.store.save_checkpoint(
            Checkpoint(
                run_id=run.id,
                seq=seq,
                name=f"row {seq}",
                kind=CheckpointKind.LOCAL,
                status=CheckpointStatus.COMPLETED,
                step_id=f"{run.id}:{seq}",
                started_at=at,
                finished_at=at + timedelta(seconds=1),
            )
        )


async def seed(runtime: DurableRuntime) -> None:
    """Runs in every state, all at rest."""
    await write_long_run(runtime)
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
    await start(stocktaking, 6, run_id="stocktaking:2026-11")
    resting = {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.SUSPENDED}
    async with asyncio.timeout(30):
        while True:
            runs = await runtime.gateway.list_runs()
            waits = [each for each in runs if each.run.status is RunStatus.SUSPENDED and each.waiting]
            if len(waits) == 3 and sum(each.run.status.is_terminal for each in runs) == 17:
                break
            await asyncio.sleep(0.05)
    assert {each.run.status for each in runs} == resting
