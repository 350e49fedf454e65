"""The checkout: from a placed order to a shipped or a rejected one.

Read it as if no process ever died. Each outcome is recorded before the next line runs; after a crash the function is
called again, is handed the recorded outcomes, and continues with what was not done yet.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, StrictBool

from example_app.database import Prisma
from example_app.orders import Order, Status, save_order
from example_app.payments import CardGatewayDep
from example_app.settings import SettingsDep
from fastapi_durable import SignalTimeoutError, StepFailedError, WorkflowContext, exponential, step, workflow

_log = logging.getLogger(__name__)

APPROVAL_WITHIN = timedelta(days=3)


class Approval(BaseModel):
    approved: StrictBool


class Progress(BaseModel):
    """What an order has come to: its status from now on, and what is entered into the ledger for it."""

    order: Order
    status: Status
    ledger: list[Literal["reserve", "charge", "ship", "refund", "release"]] = []


@workflow(name="checkout", version="1")
async def checkout(ctx: WorkflowContext, order: Order) -> Status:
    """Take an order from the desk to its parcel, or to its rejection."""
    await ctx.transaction(record, Progress(order=order, status="reserved", ledger=["reserve"]), name="reserve")
    try:
        await ctx.step(charge_card, order)
    except StepFailedError:
        # Perhaps the money was taken and only the answer got lost: a refund of what was never charged does nothing.
        await ctx.step(refund_card, order)
        await ctx.transaction(record, Progress(order=order, status="rejected", ledger=["release"]), name="release")
        return "rejected"
    await ctx.transaction(record, Progress(order=order, status="charged", ledger=["charge"]), name="charge")

    if order.needs_approval:
        await ctx.transaction(record, Progress(order=order, status="awaiting_approval"), name="ask")
        if not await is_approved(ctx, order):
            await ctx.step(refund_card, order)
            await ctx.transaction(
                record, Progress(order=order, status="rejected", ledger=["refund", "release"]), name="reject"
            )
            return "rejected"

    await ctx.step(pack_parcel, order)
    await ctx.transaction(record, Progress(order=order, status="shipped", ledger=["ship"]), name="ship")
    return "shipped"


async def is_approved(ctx: WorkflowContext, order: Order) -> bool:
    """Wait for a decision; none in time is a no. The run waits in the database and occupies nothing meanwhile."""
    try:
        approval = await ctx.wait_for_signal(f"approval:{order.id}", Approval, timeout=APPROVAL_WITHIN)
    except SignalTimeoutError:
        return False
    return approval.approved


async def record(tx: Prisma, progress: Progress) -> None:
    """What is written through `tx` commits together with the checkpoint that says so: exactly once."""
    order = progress.order
    await save_order(tx, order, progress.status)
    for kind in progress.ledger:
        await tx.ledgerentry.create(
            {"orderId": order.id, "kind": kind, "amountCents": order.total_cents, "at": datetime.now(UTC)}
        )


@step(max_attempts=5, backoff=exponential("200ms", cap="30s"))
async def charge_card(order: Order, *, gateway: CardGatewayDep) -> None:
    """A crash in the middle repeats the call, and the idempotency key makes the repetition harmless."""
    await gateway.charge(order.id, order.total_cents, idempotency_key=f"charge:{order.id}")


@step(max_attempts=20, backoff=exponential("200ms", cap="1 h"))
async def refund_card(order: Order, *, gateway: CardGatewayDep) -> None:
    await gateway.refund(idempotency_key=f"charge:{order.id}")


@step(max_attempts=5, backoff=exponential("1s", cap="5 min"))
async def send_receipt(order_id: str) -> None:
    """Also without a workflow around it: the desk adds it as a background task."""
    _log.info("order %s: the receipt is sent", order_id)


@step
async def pack_parcel(order: Order, *, settings: SettingsDep) -> None:
    await asyncio.sleep(settings.example_step_seconds)
    _log.info("order %s: the parcel is packed", order.id)
