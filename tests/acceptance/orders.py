"""A customer of the order desk who does not give up, and an auditor who looks at what came of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import httpx

from tests.acceptance.processes import PATIENCE, Process, database, until

Kind = Literal["small", "approved", "rejected"]

KINDS: Final[tuple[Kind, ...]] = ("small", "approved", "rejected")
SHIPPED_LEDGER: Final = ["reserve", "charge", "ship"]
REJECTED_LEDGER: Final = ["reserve", "charge", "refund", "release"]


class Desk(Protocol):
    """Where orders are placed; its process may be another one tomorrow."""

    web: Process


@dataclass(frozen=True)
class Purchase:
    """An order, and what shall become of it: small ones ship at once, others after a decision."""

    id: str
    kind: Kind

    @property
    def body(self) -> dict[str, Any]:
        cents = 900 if self.kind == "small" else 2500
        return {"id": self.id, "customer": "ada", "items": [{"sku": "lamp", "quantity": 2}], "total_cents": cents}

    @property
    def ends_as(self) -> str:
        return "rejected" if self.kind == "rejected" else "shipped"


async def place(process: Process, purchase: Purchase) -> None:
    """Place an order with a process that is up."""
    async with process.client() as http:
        answer = await http.post("/orders", json=purchase.body)
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"run_id": f"checkout:{purchase.id}", "status": "pending"}


async def decide(process: Process, purchase: Purchase) -> None:
    """Approve or reject an order."""
    async with process.client() as http:
        answer = await http.post(f"/orders/{purchase.id}/approval", json={"approved": purchase.kind == "approved"})
    assert answer.status_code == 202, answer.text


async def insist(desk: Desk, purchase: Purchase) -> bool:
    """Place an order and decide on it; False if nobody answered, so that the customer has to try again."""
    try:
        await place(desk.web, purchase)
        if purchase.kind != "small":
            await decide(desk.web, purchase)
    except httpx.TransportError:
        return False
    return True


async def look(process: Process, purchase: Purchase) -> Any:
    """The order as it stands."""
    async with process.client() as http:
        answer = await http.get(f"/orders/{purchase.id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def has_status(process: Process, purchase: Purchase, status: str) -> bool:
    return bool((await look(process, purchase))["status"] == status)


async def has_run_status(process: Process, purchase: Purchase, status: str) -> bool:
    return bool((await look(process, purchase))["run_status"] == status)


async def ledger(process: Process, purchase: Purchase) -> list[str]:
    """The kinds of the order's ledger lines, oldest first."""
    async with process.client() as http:
        answer = await http.get(f"/orders/{purchase.id}/ledger")
    return [line["kind"] for line in answer.json()]


async def until_ended(process: Process, purchases: Iterable[Purchase], *, seconds: float = PATIENCE) -> None:
    """Wait until every order's run has ended."""
    waiting = {purchase.id for purchase in purchases}

    async def all_ended() -> bool:
        async with process.client() as http:
            for order_id in sorted(waiting):
                order = (await http.get(f"/orders/{order_id}")).json()
                if order["run_status"] not in ("completed", "failed", "cancelled", "dead"):
                    return False
                waiting.discard(order_id)
        return True

    await until(all_ended, seconds=seconds, pause=0.1)


async def audit(database_url: str, purchases: Iterable[Purchase]) -> None:
    """Every order came to its end, nothing was done twice, nothing was left out, nothing is left over."""
    async with database(database_url) as client:
        runs = {run.id: run for run in await client.durableworkflowrun.find_many()}
        orders = {order.id: order for order in await client.order.find_many()}
        entries = await client.ledgerentry.find_many(order={"id": "asc"})
        charges = await client.cardcharge.find_many()
        waiters = await client.durablesignalwaiter.count()
    purchases = list(purchases)
    assert sorted(orders) == sorted(purchase.id for purchase in purchases)
    assert sorted(runs) == sorted(f"checkout:{purchase.id}" for purchase in purchases)
    for purchase in purchases:
        run, order = runs[f"checkout:{purchase.id}"], orders[purchase.id]
        assert run.status == "completed", (purchase, run.status, run.error)
        assert run.lockedBy is None, purchase
        assert order.status == purchase.ends_as, purchase
        kinds = [entry.kind for entry in entries if entry.orderId == purchase.id]
        assert kinds == (REJECTED_LEDGER if purchase.kind == "rejected" else SHIPPED_LEDGER), purchase
        taken = [charge for charge in charges if charge.orderId == purchase.id]
        assert [(charge.idempotencyKey, charge.refunded) for charge in taken] == [
            (f"charge:{purchase.id}", purchase.kind == "rejected")
        ], purchase
    assert waiters == 0
