"""The public face as a type checker sees it: everything here is right, and has the type that it says.

Checked, never executed: mypy runs over it with the rest of the repository.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, assert_type

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from fastapi_durable import (
    DurableHealth,
    DurableHealthDep,
    DurableModule,
    DurableOptions,
    DurableSettings,
    InProcessTransport,
    MemoryStateStore,
    RunGateway,
    RunGatewayDep,
    RunHandle,
    StateStore,
    StateStoreDep,
    WorkflowContext,
    WorkflowEngine,
    WorkflowEngineDep,
    WorkflowService,
    WorkflowServiceDep,
    app_scoped,
    exponential,
    step,
    workflow,
)
from fastapi_durable.injection import AppScoped


class Client:
    async def charge(self, cents: int) -> str:
        return f"charged {cents}"


class Order(BaseModel):
    id: str
    cents: int


class Receipt(BaseModel):
    text: str


class Settings(BaseModel):
    url: str = "file:desk.db"


def get_settings() -> Settings:
    return Settings()


SettingsDep = Annotated[Settings, Depends(get_settings)]


@app_scoped
async def get_client(settings: SettingsDep) -> AsyncIterator[Client]:
    yield Client()


@app_scoped
def get_name() -> Iterator[str]:
    yield "name"


@app_scoped
async def get_number() -> int:
    return 1


@app_scoped
def get_flag() -> bool:
    return True


assert_type(get_client, AppScoped[Client])
assert_type(get_name, AppScoped[str])
assert_type(get_number, AppScoped[int])
assert_type(get_flag, AppScoped[bool])
assert_type(app_scoped(Client), AppScoped[Client])

ClientDep = Annotated[Client, Depends(get_client)]


@step(max_attempts=3, backoff=exponential("200ms", cap="30s"))
async def charge_card(order: Order, *, client: ClientDep) -> Receipt:
    assert_type(client, Client)
    return Receipt(text=await client.charge(order.cents))


@step
async def count(*, store: StateStoreDep) -> int:
    return len(await store.list_pending_runs(limit=10))


@step
def describe(receipt: Receipt) -> str:
    return receipt.text


@workflow(name="checkout", version="1")
async def checkout(ctx: WorkflowContext, order: Order, *, settings: SettingsDep) -> Receipt:
    receipt = await ctx.step(charge_card, order)
    assert_type(receipt, Receipt)
    assert_type(await ctx.step(count), int)
    assert_type(await ctx.step(describe, receipt), str)
    assert_type(await ctx.wait_for_signal(f"approve:{order.id}", Receipt, timeout="3 days"), Receipt)
    return receipt


@workflow
async def nightly(ctx: WorkflowContext) -> int:
    return await ctx.step(count)


durable = DurableModule.for_root_async(
    inject=[get_client],
    use_factory=lambda client: DurableOptions(store=MemoryStateStore(), transport=InProcessTransport()),
    workflows=[checkout, nightly],
    steps=[charge_card, count],
)
app = FastAPI(lifespan=durable.lifespan)


async def factory(client: ClientDep, settings: SettingsDep) -> DurableOptions:
    return DurableOptions(store=MemoryStateStore(), role="api", lease="30s", settings=DurableSettings())


also = DurableModule.for_root_async(use_factory=factory)
ready = DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[checkout])


@app.post("/orders", status_code=202)
async def place_order(order: Order, workflows: WorkflowServiceDep) -> dict[str, str]:
    assert_type(workflows, WorkflowService)
    handle = await workflows.start(checkout, order, run_id=f"checkout:{order.id}")
    assert_type(handle, RunHandle[Receipt])
    assert_type(await handle.result("5s"), Receipt)
    assert_type(await workflows.start(nightly), RunHandle[int])
    assert_type(await workflows.start("checkout", {"id": "1"}), RunHandle[Any])
    assert_type(await workflows.execute(checkout, order, timeout="5s"), Receipt)
    assert_type(await workflows.execute(nightly), int)
    assert_type(workflows.handle("run", checkout), RunHandle[Receipt])
    assert_type(workflows.handle("run"), RunHandle[Any])
    assert_type(await workflows.signal("approve:1", {"approved": True}), bool)
    return {"run_id": handle.run_id}


@app.get("/parts")
async def parts(
    store: StateStoreDep, engine: WorkflowEngineDep, gateway: RunGatewayDep, health: DurableHealthDep, client: ClientDep
) -> None:
    assert_type(store, StateStore)
    assert_type(engine, WorkflowEngine)
    assert_type(gateway, RunGateway)
    assert_type(health, DurableHealth)
    assert_type(client, Client)
    assert_type(await engine.start(checkout, Order(id="1", cents=1)), RunHandle[Receipt])
