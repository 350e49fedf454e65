"""Three steps of an order, with retries and an idempotent start.

It prints:

    the second start created a run: False
    reserved o-1
    charged 2500 cents at attempt 2
    shipped o-1
"""

import asyncio

from pydantic import BaseModel

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    MemoryStateStore,
    WorkflowContext,
    current_step,
    fixed,
    step,
    workflow,
)


class Order(BaseModel):
    id: str
    cents: int


@step
async def reserve(order: Order) -> str:
    return f"reserved {order.id}"


@step(max_attempts=3, backoff=fixed("10ms"))
async def charge(order: Order) -> str:
    if current_step().attempt == 1:
        raise ConnectionError("the payment provider does not answer")
    return f"charged {order.cents} cents at attempt {current_step().attempt}"


@step
async def ship(order: Order) -> str:
    return f"shipped {order.id}"


@workflow
async def checkout(ctx: WorkflowContext, order: Order) -> list[str]:
    return [await ctx.step(each, order) for each in (reserve, charge, ship)]


async def main() -> None:
    durable = DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[checkout])
    async with durable.running() as runtime:
        order = Order(id="o-1", cents=2500)
        handle = await runtime.service.start(checkout, order, run_id="checkout-o-1")
        again = await runtime.service.start(checkout, order, run_id="checkout-o-1")
        print("the second start created a run:", again.created)
        for line in await handle.result("10s"):
            print(line)


if __name__ == "__main__":
    asyncio.run(main())
