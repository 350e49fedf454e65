"""A small application of somebody else: greets durably, on a Prisma schema of its own."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI
from prisma_client import Prisma
from pydantic import BaseModel

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    InProcessTransport,
    PrismaStateStore,
    WorkflowContext,
    WorkflowServiceDep,
    app_scoped,
    step,
    workflow,
)


class Guest(BaseModel):
    name: str


@app_scoped
async def get_prisma() -> AsyncIterator[Prisma]:
    client = Prisma()
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


PrismaDep = Annotated[Prisma, Depends(get_prisma)]


@step
async def compose(guest: Guest) -> str:
    return f"Good day, {guest.name}"


@step
async def write_down(text: str, *, prisma: PrismaDep) -> int:
    greeting = await prisma.greeting.create(data={"text": text})
    return greeting.id


@workflow(name="greet", version="1")
async def greet(ctx: WorkflowContext, guest: Guest) -> str:
    text = await ctx.step(compose, guest)
    await ctx.sleep("100ms")
    await ctx.step(write_down, text)
    return text


durable = DurableModule.for_root_async(
    inject=[get_prisma],
    use_factory=lambda prisma: DurableOptions(store=PrismaStateStore(prisma), transport=InProcessTransport()),
    workflows=[greet],
)
app = FastAPI(lifespan=durable.lifespan)


@app.post("/guests", status_code=202)
async def welcome(guest: Guest, workflows: WorkflowServiceDep) -> dict[str, str]:
    handle = await workflows.start(greet, guest, run_id=f"greet:{guest.name}")
    return {"run_id": handle.run_id}


@app.get("/guests/{name}")
async def read_greeting(name: str, workflows: WorkflowServiceDep) -> dict[str, str]:
    return {"greeting": await workflows.handle(f"greet:{name}", greet).result(timeout="60s")}


@app.get("/greetings")
async def list_greetings(prisma: PrismaDep) -> list[str]:
    return [greeting.text for greeting in await prisma.greeting.find_many()]
