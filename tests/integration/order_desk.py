"""What the tests of this folder run: one workflow with one injected step, in an application of their own making."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI
from pydantic import BaseModel

from fastapi_durable import DurableHealthDep, DurableModule, WorkflowContext, WorkflowServiceDep, step, workflow

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class Order(BaseModel):
    id: str


class Receipt(BaseModel):
    text: str


async def get_gateway() -> str:
    return "card gateway"


GatewayDep = Annotated[str, Depends(get_gateway)]


@step
async def charge(order: Order, *, gateway: GatewayDep) -> Receipt:
    return Receipt(text=f"order {order.id} by {gateway}")


@workflow
async def checkout(ctx: WorkflowContext, order: Order) -> Receipt:
    return await ctx.step(charge, order)


def order_desk(lifespan: Lifespan | None) -> FastAPI:
    """An application that places orders and waits for their receipt."""
    app = FastAPI(lifespan=lifespan)

    @app.post("/orders")
    async def place_order(order: Order, workflows: WorkflowServiceDep) -> Receipt:
        return await workflows.execute(checkout, order, timeout="60s")

    @app.get("/health")
    async def health(health: DurableHealthDep) -> dict[str, Any]:
        return {"live": health.live, "ready": health.ready, "role": health.role}

    return app


@asynccontextmanager
async def calling(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application whose lifespan is somebody else's business."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a started application."""
    async with app.router.lifespan_context(app), calling(app) as client:
        yield client


async def receipt_of(client: httpx.AsyncClient, order_id: str) -> str:
    response = await client.post("/orders", json={"id": order_id})
    response.raise_for_status()
    text: str = response.json()["text"]
    return text


def module_of(options_factory: Callable[..., Any], inject: Sequence[Callable[..., Any]] | None = None) -> DurableModule:
    return DurableModule.for_root_async(use_factory=options_factory, inject=inject, workflows=[checkout])
