"""An application with workflows of every kind, and the console on it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import BaseModel, Field

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    DurableRuntime,
    FatalError,
    Queue,
    RunStatus,
    Schedule,
    Singleton,
    WorkflowContext,
    entity,
    operation,
    step,
    workflow,
)
from fastapi_durable.store.base import StateStore
from tests.integration.order_desk import calling
from tests.support.new_stores import new_store


class Parcel(BaseModel):
    id: str
    weight: int = Field(ge=1)


@step
async def weigh(parcel: Parcel) -> int:
    return parcel.weight


@step
async def refuse(parcel: Parcel) -> None:
    raise FatalError(f"parcel {parcel.id} is refused", code="refused")


@workflow(tags=["parcels"])
async def send(ctx: WorkflowContext, parcel: Parcel) -> int:
    """Send a parcel."""
    return await ctx.step(weigh, parcel)


@workflow
async def failing(ctx: WorkflowContext, parcel: Parcel) -> None:
    await ctx.step(weigh, parcel)
    await ctx.step(refuse, parcel)


@workflow
async def waiting(ctx: WorkflowContext, token: str) -> str:
    return str(await ctx.wait_for_signal(token, str))


@workflow
async def updated(ctx: WorkflowContext) -> int:
    await ctx.set_value("stage", "open")
    return int(await ctx.on_update("amount", int))


@workflow
async def stopping(ctx: WorkflowContext) -> str:
    await ctx.breakpoint("here")
    return "past it"


@workflow(singleton=Singleton(key=lambda token: token))
async def alone(ctx: WorkflowContext, token: str) -> str:
    return str(await ctx.wait_for_signal(token, str))


@entity
class Counter(BaseModel):
    total: int = 0

    @operation
    async def add(self, amount: int) -> int:
        self.total += amount
        return self.total


WORKFLOWS: list[Callable[..., Coroutine[Any, Any, Any]]] = [send, failing, waiting, updated, stopping, alone]

QUEUES = [Queue("parcels", concurrency=1, rate_limit=5, rate_period="1h")]

SCHEDULES = [Schedule(key="nightly", workflow=updated, cron="0 3 * * *")]


@dataclass(frozen=True)
class Desk:
    client: httpx.AsyncClient
    app: FastAPI
    durable: DurableModule

    @property
    def runtime(self) -> DurableRuntime:
        return self.durable.runtime(self.app)

    async def until(self, run_id: str, *statuses: RunStatus) -> None:
        """Wait until the run has one of these statuses."""
        async with asyncio.timeout(60):
            while True:
                run = await self.runtime.store.find_run(run_id)
                if run is not None and run.status in statuses:
                    return
                await asyncio.sleep(0.002)

    async def ended(self, function: Any, value: Any, run_id: str) -> None:
        """Start a run and wait for its end."""
        await self.runtime.service.start(function, value, run_id=run_id)
        await self.until(run_id, RunStatus.COMPLETED, RunStatus.FAILED)

    async def waits(self, token: str, run_id: str) -> None:
        """Start a run that waits for a signal."""
        await self.runtime.service.start(waiting, token, run_id=run_id)
        await self.until(run_id, RunStatus.SUSPENDED)


@asynccontextmanager
async def desk(
    *,
    prefix: str = "/durable",
    namespace: str | None = None,
    store: StateStore | None = None,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Desk]:
    """A started application; without options everybody may do everything."""
    async with nullcontext(store) if store is not None else new_store() as own:
        module = DurableModule.for_root(
            DurableOptions(
                store=own,
                poll_interval="10ms",
                namespace=namespace,
                queues=QUEUES,
                schedules=SCHEDULES,
                **(settings or {}),
            ),
            workflows=WORKFLOWS,
            entities=[Counter],
        )
        app = FastAPI(lifespan=module.lifespan)
        app.include_router(module.router(**(options or {"allow_unauthenticated": True})), prefix=prefix)
        async with app.router.lifespan_context(app), calling(app) as client:
            client.base_url = httpx.URL(f"http://localhost{prefix}/api/")
            yield Desk(client, app, module)
