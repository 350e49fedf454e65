"""Wait for a person: an expense that somebody approves over HTTP.

It prints:

    approved by vera
"""

import asyncio

import httpx
from fastapi import FastAPI
from pydantic import BaseModel

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    MemoryStateStore,
    SignalTimeoutError,
    WorkflowContext,
    WorkflowServiceDep,
    workflow,
)


class Decision(BaseModel):
    approved: bool
    by: str


@workflow
async def expense(ctx: WorkflowContext, cents: int) -> str:
    try:
        decision = await ctx.wait_for_signal(f"decide:{ctx.run_id}", Decision, timeout="3 days")
    except SignalTimeoutError:
        return "expired"
    return f"{'approved' if decision.approved else 'refused'} by {decision.by}"


durable = DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[expense])
app = FastAPI(lifespan=durable.lifespan)


@app.post("/expenses/{id}", status_code=202)
async def submit(id: str, cents: int, workflows: WorkflowServiceDep) -> None:
    await workflows.start(expense, cents, run_id=f"expense-{id}")


@app.post("/expenses/{id}/decision", status_code=204)
async def decide(id: str, decision: Decision, workflows: WorkflowServiceDep) -> None:
    await workflows.signal(f"decide:expense-{id}", decision)


@app.get("/expenses/{id}")
async def show(id: str, workflows: WorkflowServiceDep) -> str:
    return await workflows.handle(f"expense-{id}", expense).result("5s")


async def main() -> None:
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            await client.post("/expenses/7", params={"cents": 1200})
            await client.post("/expenses/7/decision", json={"approved": True, "by": "vera"})
            print((await client.get("/expenses/7")).json())


if __name__ == "__main__":
    asyncio.run(main())
