"""Orders: what a customer may order, and how it is kept."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Depends, HTTPException
from pydantic import BaseModel, Field, StringConstraints

from example_app.database import Json, Prisma, PrismaDep

OrderId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Status = Literal["placed", "reserved", "charged", "awaiting_approval", "shipped", "rejected"]


class Item(BaseModel):
    sku: Text
    quantity: Annotated[int, Field(strict=True, ge=1, le=10_000)]


class Order(BaseModel):
    id: OrderId
    customer: Text
    items: Annotated[list[Item], Field(min_length=1, max_length=100)]
    total_cents: Annotated[int, Field(strict=True, ge=1, le=100_000_000)]

    @property
    def needs_approval(self) -> bool:
        return self.total_cents >= 1000


class StoredOrder(Order):
    status: Status


def run_id_of(order_id: str) -> str:
    """One run an order: a start that is repeated finds the run that is there."""
    return f"checkout:{order_id}"


async def save_order(tx: Prisma, order: Order, status: Status) -> None:
    """Insert the order, or change the status of the one that is there; whatever else `tx` does commits with it."""
    await tx.order.upsert(
        where={"id": order.id},
        data={
            "create": {
                "id": order.id,
                "customer": order.customer,
                "items": Json([item.model_dump() for item in order.items]),
                "totalCents": order.total_cents,
                "status": status,
                "createdAt": datetime.now(UTC),
            },
            "update": {"status": status},
        },
    )


async def get_order(id: OrderId, prisma: PrismaDep) -> StoredOrder:
    """The order that a request's path names."""
    row = await prisma.order.find_unique(where={"id": id})
    if row is None:
        raise HTTPException(404, f"there is no order {id!r}")
    return StoredOrder.model_validate({**row.model_dump(), "total_cents": row.totalCents})


OrderDep = Annotated[StoredOrder, Depends(get_order)]
