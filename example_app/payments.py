"""The card gateway: somebody else's service, so what it does cannot be part of our transactions."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends

from example_app.database import PrismaDep
from example_app.settings import SettingsDep


class CardGateway:
    """Stands in for a payment provider, with books of its own (the table card_charges) that only it writes.

    As with a real one, a request that is repeated under the same idempotency key is carried out once.
    """

    def __init__(self, prisma: PrismaDep, settings: SettingsDep) -> None:
        self._charges = prisma.cardcharge
        self._one_way = settings.example_step_seconds / 2

    async def charge(self, order_id: str, amount_cents: int, *, idempotency_key: str) -> None:
        """Take the money, once per key."""
        await asyncio.sleep(self._one_way)
        await self._charges.upsert(
            where={"idempotencyKey": idempotency_key},
            data={
                "create": {
                    "idempotencyKey": idempotency_key,
                    "orderId": order_id,
                    "amountCents": amount_cents,
                    "at": datetime.now(UTC),
                },
                "update": {"idempotencyKey": idempotency_key},  # that is: leave it as it is
            },
        )
        await asyncio.sleep(self._one_way)  # a process that dies here never learns that the money was taken

    async def refund(self, *, idempotency_key: str) -> None:
        """Give back what was taken under the key, if anything was."""
        await asyncio.sleep(self._one_way)
        await self._charges.update(where={"idempotencyKey": idempotency_key}, data={"refunded": True})
        await asyncio.sleep(self._one_way)


CardGatewayDep = Annotated[CardGateway, Depends()]
