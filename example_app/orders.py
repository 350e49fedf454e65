"""Orders: what a customer may order, and how it is kept."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Depends, HTTPException
from pydantic import BaseModel, Field, StringConstraints

from example_app.database import Json, Prisma, PrismaDep, models

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

    def is_as_placed(self, order: Order) -> bool:
        return self.model_dump(exclude={"status"}) == order.model_dump()


async def keep_order(prisma: Prisma, order: Order) -> StoredOrder:
    """Insert the order unless there is one of its id, and return the one that is there then."""
    row = await prisma.order.upsert(
        where={"id": order.id},
        data={
            "create": {
                "id": order.id,
                "customer": order.customer,
                "items": Json([item.model_dump() for item in order.items]),
                "totalCents": order.total_cents,
                "status": "placed",
                "createdAt": datetime.now(UTC),
            },
            # No change, but not empty: of an empty update Prisma makes a look and an insert, and two callers collide.
            "update": {"id": order.id},
        },
    )
    return _stored(row)


async def get_order(id: OrderId, prisma: PrismaDep) -> StoredOrder:
    """The order that a request's path names."""
    row = await prisma.order.find_unique(where={"id": id})
    if row is None:
        raise HTTPException(404, f"there is no order {id!r}")
    return _stored(row)


OrderDep = Annotated[StoredOrder, Depends(get_order)]


def _stored(row: models.Order) -> StoredOrder:
    return StoredOrder.model_validate({**row.model_dump(), "total_cents": row.totalCents})
