"""Wait for a callback from a payment provider.

It prints:

    202
    202
    paid 500 of 500
"""

import asyncio

import httpx
from fastapi import FastAPI

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    MemoryStateStore,
    WorkflowContext,
    WorkflowServiceDep,
    workflow,
)

addresses: asyncio.Queue[str] = asyncio.Queue()  # what the payment provider was given


@workflow
async def pay(ctx: WorkflowContext, cents: int) -> str:
    hook = await ctx.webhook(dict[str, int])
    addresses.put_nowait(str(hook.url))  # in a step: create the payment, with this address as its callback
    paid = await hook.wait(timeout="1h")
    return f"paid {paid['cents']} of {cents}"


options = DurableOptions(store=MemoryStateStore(), webhook_url="http://shop.test/webhooks")
durable = DurableModule.for_root(options, workflows=[pay])
app = FastAPI(lifespan=durable.lifespan)
app.include_router(durable.webhook_router())  # POST /webhooks/{token}


@app.post("/payments/{id}")
async def start(id: str, workflows: WorkflowServiceDep) -> None:
    await workflows.start(pay, 500, run_id=f"pay-{id}")


async def main() -> None:
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop.test") as provider:
            await provider.post("/payments/7")
            address = await addresses.get()
            print((await provider.post(address, json={"cents": 500})).status_code)
            print((await provider.post(address, json={"cents": 500})).status_code)
        print(await durable.runtime(app).service.handle("pay-7", pay).result("5s"))


if __name__ == "__main__":
    asyncio.run(main())
