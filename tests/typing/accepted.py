"""The public face as a type checker sees it: everything here is right, and has the type that it says.

Checked, never executed: mypy runs over it with the rest of the repository.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Never, assert_type
from uuid import UUID

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from fastapi_durable import (
    Adaptive,
    BulkCancellation,
    DurableClient,
    DurableHealth,
    DurableHealthDep,
    DurableModule,
    DurableOptions,
    DurableSettings,
    DurableTasks,
    DurableTasksDep,
    EndedRun,
    InProcessTransport,
    MemoryStateStore,
    Retention,
    Run,
    RunGateway,
    RunGatewayDep,
    RunHandle,
    RunQuery,
    RunStatus,
    StateStore,
    StateStoreDep,
    StepExecution,
    StreamItem,
    SyncDurableClient,
    SyncRunHandle,
    TaskTicket,
    UpdateResult,
    Webhook,
    Winner,
    WorkflowContext,
    WorkflowEngineDep,
    WorkflowService,
    WorkflowServiceDep,
    WorkflowTransaction,
    app_scoped,
    current_context,
    current_step,
    entity,
    exponential,
    keep,
    operation,
    step,
    workflow,
)
from fastapi_durable.engine.primitives.webhook import Callback
from fastapi_durable.errors import ChildFailedError
from fastapi_durable.events import Event, LiveEvent, PublishedEvent, Reception, StepLog, StepStream
from fastapi_durable.injection import AppScoped
from fastapi_durable.service.inspection import ListedRun, RunDetail
from fastapi_durable.service.waiting import Waiting
from fastapi_durable.store import (
    Checkpoint,
    QueueLoad,
    RunFacet,
    SearchAttributes,
    StoreTransaction,
    WorkerRecord,
)


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
    return len(await store.list_runs(RunQuery(limit=10)))


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


class Warehouse:
    @step
    async def pick(self, order: Order) -> int:
        return order.cents

    @step
    def weigh(self, order: Order, *, settings: SettingsDep) -> float:
        return 1.0

    @step
    async def stock(self) -> bytes:
        return b""


@workflow(name="delivery")
class Delivery:
    def __init__(self, client: ClientDep) -> None:
        self.client = client

    async def run(self, ctx: WorkflowContext, order: Order, *, settings: SettingsDep) -> Receipt:
        assert_type(await self.charge(order), Receipt)
        assert_type(await ctx.step(self.charge, order, max_attempts=2, compensate=self.refund), Receipt)
        assert_type(await ctx.step(self.charge, order, retry_on=(OSError, ValueError), give_up_on=KeyError), Receipt)
        assert_type(await ctx.step(self.charge, order, retry_on=lambda error: "busy" in str(error)), Receipt)
        assert_type(await ctx.step(Warehouse.pick, order), int)
        assert_type(await ctx.step(Warehouse.weigh, order), float)
        assert_type(await ctx.step(Warehouse.stock), bytes)
        return Receipt(text=settings.url)

    @step
    async def charge(self, order: Order) -> Receipt:
        return Receipt(text=await self.client.charge(order.cents))

    @step
    async def refund(self) -> None: ...


@workflow
class Sweep:
    async def run(self, ctx: WorkflowContext) -> int:
        return 1


async def described(receipt: Receipt) -> str:
    return receipt.text


async def dispatch(ticket: TaskTicket) -> None:
    assert_type(ticket.token, str)


def known_address(address: Receipt) -> str | None:
    return None if address.text else "an address is not empty"


async def note(ctx: WorkflowContext, ended: EndedRun) -> None:
    assert_type(ended.run_id, str)
    assert_type(ended.output, Any)


@workflow(on_success=note, on_failure="clerk")
async def followed(ctx: WorkflowContext) -> int:
    return 1


@workflow(updates={"address": known_address})
async def dialogue(ctx: WorkflowContext, order: Order) -> list[int]:
    """Every primitive with its input and result."""
    assert_type(await ctx.step(Warehouse().pick, order), int)
    assert_type(await ctx.step("charge_card", order), Any)
    assert_type(await ctx.local_step("sum", lambda: order.cents + 1), int)
    assert_type(await ctx.sleep("1s"), None)
    assert_type(await ctx.sleep_until(await ctx.now()), None)
    assert_type(await ctx.wait_for_signal("token"), Any)
    assert_type(await ctx.wait_for_event("paid", Receipt, match={"id": order.id}, timeout="1h"), Receipt)
    assert_type(await ctx.wait_for_event("paid"), Any)
    hook = await ctx.webhook(Receipt)
    assert_type(hook, Webhook[Receipt])
    assert_type(hook.url, str | None)
    assert_type(await hook.wait(timeout="1h"), Receipt)
    assert_type(await (await ctx.webhook()).wait(), Any)
    assert_type(await ctx.on_update("address", Receipt, timeout="1h"), Receipt)
    assert_type(await ctx.on_update("address"), Any)
    assert_type(await ctx.set_value("progress", 50), None)
    assert_type(await ctx.stream("orders", Order).append(order), int)
    assert_type(await ctx.stream("orders", Order).extend([order]), int)
    assert_type(await ctx.stream("anything").append(1), int)
    assert_type(current_step().stream("orders", Order), StepStream[Order])
    assert_type(await ctx.on_update("address", Receipt, answer=describe), str)
    assert_type(await ctx.on_update("address", Receipt, answer=described), str)
    assert_type(await ctx.breakpoint("look"), None)
    assert_type(await ctx.task("pick", dispatch, int, timeout="1h"), int)
    assert_type(await ctx.task("pack", dispatch), Any)
    assert_type(await ctx.now(), datetime)
    assert_type(await ctx.uuid(), UUID)
    assert_type(await ctx.random(), float)
    assert_type(await ctx.side_effect(lambda: 1, int), int)
    assert_type(await ctx.child(checkout, order), Receipt)
    assert_type(await ctx.start_child(checkout, order), str)
    assert_type(await ctx.all(checkout, [order], mode="fail_fast"), list[Receipt])
    assert_type(await ctx.all(checkout, [order], concurrency=2, tolerate=1), list[Receipt | ChildFailedError])
    assert_type(await ctx.all("checkout", [{"id": "1"}], tolerate=1), list[Any])
    assert_type(await ctx.child(Delivery, order, run_id="1", priority=2, queue="mail", fairness_key="x"), Receipt)
    assert_type(await ctx.child(Sweep), int)
    assert_type(await ctx.child("checkout", {"id": "1"}, version="2"), Any)
    assert_type(await ctx.start_child(Delivery, order), str)
    assert_type(await ctx.start_child(Sweep), str)
    assert_type(await ctx.all(Delivery, [order]), list[Receipt])
    assert_type(await ctx.all("checkout", [{"id": "1"}]), list[Any])
    assert_type(await ctx.all(Delivery, [order], queue="mail"), list[Receipt])
    assert_type(await ctx.patched("change"), bool)
    assert_type(await ctx.step(describe, Receipt(text=""), compensate="take back"), str)
    assert_type(current_context(), WorkflowContext)
    assert_type(current_step(), StepLog)
    current_step().sub("file", status="skipped", data={"n": 1})
    assert_type(await ctx.race(ctx.step(count), ctx.sleep("1h")), Winner[int | None])
    assert_type(await ctx.race(ctx.step(count), ctx.now(), ctx.sleep("1h")), Winner[int | datetime | None])
    assert_type(await ctx.race(*[ctx.step(count)]), Winner[int])
    return await ctx.gather(ctx.step(count), ctx.step(count))


@entity
class Account(BaseModel):
    balance: int = 0

    @operation
    def deposit(self, cents: int) -> int:
        return cents

    @operation
    async def close(self) -> str:
        return "closed"


async def book(tx: Any, order: Order) -> float:
    return 1.0


async def stamp(tx: Any) -> bytes:
    return b""


@workflow
async def rest(ctx: WorkflowContext, order: Order) -> Receipt:
    assert_type(await ctx.call_entity(Account, "a", Account.deposit, 5), int)
    assert_type(await ctx.call_entity(Account, "a", Account.close), str)
    assert_type(await ctx.call_entity("Account", "a", "deposit", 5), Any)
    await ctx.signal_entity(Account, "a", Account.deposit, 5)
    await ctx.signal_entity("Account", "a", "deposit", 5)
    assert_type(await ctx.signal_entity(Account, "a", Account.close), None)
    assert_type(await ctx.transaction(book, order, max_attempts=2, name="book it"), float)
    assert_type(await ctx.transaction(stamp), bytes)
    assert_type(await ctx.upsert_search_attributes({"cents": 5, "gone": None}), SearchAttributes)
    assert_type(await ctx.gather(ctx.step(describe, Receipt(text="")), ctx.step(describe, Receipt(text=""))), list[str])
    assert_type(ctx.continue_as_new(order), Never)


class Ledger:
    def locks(self, event: Event) -> list[str]:
        return [f"ledger of {event.name}"]

    async def receive(self, transaction: StoreTransaction, event: Event) -> Reception:
        return Reception()


async def operate(workflows: WorkflowService) -> None:
    assert_type(await workflows.cancel("1", compensate=True), Run)
    assert_type(await workflows.cancel_where(RunQuery(tag="night")), BulkCancellation)
    assert_type(await workflows.pause("1"), Run)
    assert_type(await workflows.resume("1"), Run)
    assert_type(await workflows.retry("1"), Run)
    assert_type(await workflows.retry_with_input("1", Receipt(text="x")), Run)
    assert_type(await workflows.fork("1", from_step=3), Run)
    assert_type(await workflows.delete_run("1", force=True), int)
    assert_type(workflows.on_cancel(print), Callable[[], None])
    assert_type((await workflows.list_runs(RunQuery(tag="night")))[0].run, Run)
    assert_type(await workflows.count_runs(at_most=5), int)
    assert_type(await workflows.run_facets(at_most=5), list[RunFacet])
    assert_type(await workflows.list_children("1", limit=5), list[ListedRun])
    assert_type(await workflows.get_run_detail("1"), RunDetail | None)
    assert_type((await workflows.get_timeline("1", after=3, limit=5)).steps, Sequence[Checkpoint])
    assert_type(await workflows.waiting_for(["1"]), dict[str, Waiting])
    assert_type(await workflows.workers(), list[WorkerRecord])
    assert_type(await workflows.queues(at_most=5), list[QueueLoad])
    assert_type(workflows.in_namespace("tenant-a"), RunGateway)
    assert_type(await workflows.signal_entity(Account, "a", Account.deposit, 5, operation_id="1"), None)
    await workflows.signal_entity(Account, "a", Account.close)
    await workflows.signal_entity("Account", "a", "deposit", 5)
    assert_type(await workflows.get_entity_state(Account, "a"), Account | None)
    assert_type(await workflows.get_entity_state("Account", "a"), Any)


async def in_background(tasks: DurableTasksDep, order: Order, tx: WorkflowTransaction[Client]) -> None:
    assert_type(await tasks.add(charge_card, order, delay="5 min", key="1"), RunHandle[Receipt])
    assert_type(await tasks.add(count, at=datetime.now(UTC), priority=3), RunHandle[int])
    assert_type(await tasks.add("charge_card", order), RunHandle[Any])
    assert_type(await tasks.within(tx).add(count, queue="line", fairness_key="a", tags=["a"]), RunHandle[int])
    assert_type(tasks.handle(count, key="1"), RunHandle[int])
    assert_type(tasks, DurableTasks)


async def together(workflows: WorkflowServiceDep, order: Order) -> None:
    async with workflows.transaction(Client, timeout="5s") as tx:
        assert_type(tx, WorkflowTransaction[Client])
        assert_type(tx.client, Client)
        assert_type(await tx.start(checkout, order, run_id="1", priority=3, delay="1h"), RunHandle[Receipt])
        assert_type(await tx.start_many(checkout, [order], run_id=lambda order: order.id), list[RunHandle[Receipt]])
        assert_type(await tx.start(nightly), RunHandle[int])
        assert_type(await tx.signal("go", order, signal_id="1"), bool)
        assert_type(await tx.signal_with_start(nightly, token="go"), RunHandle[int])
        assert_type(await tx.publish_event("paid", order), PublishedEvent)
        assert_type(await tx.update("1", "address", Receipt(text="x")), UpdateResult)
        assert_type(await tx.cancel("1", compensate=True), Run)
    assert_type(workflows.transaction(Client), AbstractAsyncContextManager[WorkflowTransaction[Client]])
    async with workflows.transaction() as untyped:
        assert_type(untyped.client, Any)
    assert_type(workflows.within(Client()), WorkflowTransaction[Client])
    assert_type(workflows.transaction(Client), AbstractAsyncContextManager[WorkflowTransaction[Client]])


async def outside(workflows: WorkflowService, order: Order) -> None:
    assert_type(
        await workflows.signal_with_start(dialogue, order, token="go", payload=order, run_id="1"), RunHandle[list[int]]
    )
    assert_type(await workflows.signal_with_start(nightly, token="go"), RunHandle[int])
    assert_type(await workflows.start_many(checkout, (order, order), queue="line"), list[RunHandle[Receipt]])
    assert_type(await workflows.start_many("checkout", [1], delay="5 min", if_exists="refuse"), list[RunHandle[Any]])
    assert_type(await workflows.start(checkout, order, run_id="1", if_exists="refuse"), RunHandle[Receipt])
    assert_type(await workflows.publish_event("paid", order, event_id="1"), PublishedEvent)
    assert_type(await workflows.update("1", "address", Receipt(text="x")), UpdateResult)
    assert_type(await workflows.get_value("1", "progress", int), int | None)
    assert_type(await workflows.get_value("1", "progress", int, wait="5s"), int | None)
    async for item in workflows.read_stream("1", "orders", Order, after=3):
        assert_type(item, StreamItem[Order])
        assert_type(item.data, Order)
    assert_type(workflows.read_stream("1", "orders", follow=False), AsyncIterator[StreamItem[Any]])
    assert_type(await workflows.get_value("1", "progress"), Any)
    assert_type(await workflows.continue_run("1"), bool)
    assert_type(await workflows.complete_task("1", "pick", 3), bool)
    assert_type(await workflows.fail_task("1", "pick", ValueError("none left")), bool)
    assert_type(workflows.register_update_validator(dialogue, "address", known_address), None)
    assert_type(await workflows.callback("wh:1", {"paid": 1}), Callback)
    assert_type(workflows.add_subscriber(Ledger()), None)
    with workflows.events.stream(run_id="1") as events:
        async for event in events:
            assert_type(event, LiveEvent)


@asynccontextmanager
async def timed(execution: StepExecution) -> AsyncIterator[None]:
    assert_type(execution.attempt, int)
    yield


@workflow
async def nightly(ctx: WorkflowContext) -> int:
    return await ctx.step(count)


durable = DurableModule.for_root_async(
    inject=[get_client],
    use_factory=lambda client: DurableOptions(store=MemoryStateStore(), transport=InProcessTransport()),
    workflows=[checkout, nightly, Delivery, Sweep],
    steps=[charge_card, count, Warehouse],
)
app = FastAPI(lifespan=durable.lifespan)


async def factory(client: ClientDep, settings: SettingsDep) -> DurableOptions:
    adaptive = DurableOptions(store=MemoryStateStore(), concurrency=Adaptive(least=2, most=8, longest_lag="50ms"))
    assert_type(adaptive.concurrency, int | Adaptive)
    return DurableOptions(store=MemoryStateStore(), role="api", lease="30s", settings=DurableSettings())


also = DurableModule.for_root_async(use_factory=factory)
intercepted = DurableOptions(
    store=MemoryStateStore(),
    interceptors=[timed],
    retention=Retention(policies=[keep("completed", max_age="30 days")]),
    webhook_url=lambda token: f"https://x.example/{token}",
    event_ttl="1d",
)
app.include_router(durable.webhook_router(max_body=1000))
ready = DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[checkout])


@app.post("/orders", status_code=202)
async def place_order(order: Order, workflows: WorkflowServiceDep) -> dict[str, str]:
    assert_type(workflows, WorkflowService)
    handle = await workflows.start(checkout, order, run_id=f"checkout:{order.id}")
    assert_type(handle, RunHandle[Receipt])
    assert_type(await handle.result("60s"), Receipt)
    assert_type(await workflows.start(nightly), RunHandle[int])
    assert_type(await workflows.start("checkout", {"id": "1"}), RunHandle[Any])
    assert_type(await workflows.execute(checkout, order, timeout="60s"), Receipt)
    assert_type(await workflows.execute(nightly), int)
    assert_type(workflows.handle("run", checkout), RunHandle[Receipt])
    assert_type(await workflows.start(Delivery, order, tags=["shop"], priority=1), RunHandle[Receipt])
    assert_type(await workflows.start(Sweep), RunHandle[int])
    assert_type(await workflows.execute(Delivery, order, timeout="60s", run_id="1"), Receipt)
    assert_type(await workflows.execute(Sweep), int)
    assert_type(await workflows.signal_with_start(Delivery, order, token="go"), RunHandle[Receipt])
    assert_type(workflows.handle("run", Delivery), RunHandle[Receipt])
    assert_type(workflows.handle("run"), RunHandle[Any])
    assert_type(await workflows.signal("approve:1", {"approved": True}), bool)
    assert_type(await workflows.signal_waiting("approve:1", {"approved": True}, namespace="acme"), bool)
    return {"run_id": handle.run_id}


@app.get("/parts")
async def parts(
    store: StateStoreDep, engine: WorkflowEngineDep, gateway: RunGatewayDep, health: DurableHealthDep, client: ClientDep
) -> None:
    assert_type(store, StateStore)
    assert_type(engine, WorkflowService)
    assert_type(gateway, RunGateway)
    assert_type(health, DurableHealth)
    assert_type(client, Client)
    assert_type(await engine.start(checkout, Order(id="1", cents=1)), RunHandle[Receipt])


async def a_client(client: DurableClient, order: Order) -> None:
    assert_type(await client.start("checkout", order, returns=Receipt, run_id="1"), RunHandle[Receipt])
    assert_type(await client.start("checkout", {"id": "1"}, version="2", unserved="start"), RunHandle[Any])
    assert_type(await client.start("nightly"), RunHandle[Any])
    assert_type(await client.execute("checkout", order, returns=Receipt, timeout="5s"), Receipt)
    assert_type(await client.execute("nightly"), Any)
    assert_type(client.handle("run", Receipt), RunHandle[Receipt])
    assert_type(client.handle("run"), RunHandle[Any])
    assert_type(await client.result("run", Receipt, timeout="5s"), Receipt)
    assert_type(await client.result("run"), Any)
    assert_type(await client.status("run"), RunStatus)
    assert_type(await client.signal("token", order, signal_id="1"), bool)
    assert_type(await client.update("run", "address", "here"), UpdateResult)
    assert_type(await client.cancel("run", compensate=True), Run)
    assert_type(await client.get_value("run", "state", Receipt, wait="5s"), Receipt | None)
    assert_type(await client.get_value("run", "state"), Any)


def a_client_without_a_loop(blocking: SyncDurableClient, order: Order) -> None:
    assert_type(blocking.open(), None)
    assert_type(blocking.start("checkout", order, returns=Receipt, run_id="1"), SyncRunHandle[Receipt])
    assert_type(blocking.start("checkout", order).result("5s"), Any)
    assert_type(blocking.start("checkout", order, returns=Receipt).result(), Receipt)
    assert_type(blocking.execute("checkout", order, returns=Receipt, timeout="5s"), Receipt)
    assert_type(blocking.execute("nightly"), Any)
    assert_type(blocking.handle("run", Receipt), SyncRunHandle[Receipt])
    assert_type(blocking.handle("run").status(), RunStatus)
    assert_type(blocking.result("run", Receipt, timeout="5s"), Receipt)
    assert_type(blocking.status("run"), RunStatus)
    assert_type(blocking.signal("token", order, signal_id="1"), bool)
    assert_type(blocking.update("run", "address", "here"), UpdateResult)
    assert_type(blocking.cancel("run", compensate=True), Run)
    assert_type(blocking.get_value("run", "state", Receipt, wait="5s"), Receipt | None)
    assert_type(blocking.close(), None)
    with blocking as opened:
        assert_type(opened, SyncDurableClient)
