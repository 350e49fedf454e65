"""Mistakes that a type checker must find: each ignored error is one, and mypy reports an ignore that is not needed.

Checked, never executed: mypy runs over it with the rest of the repository.
"""

from fastapi_durable import (
    DurableClient,
    DurableModule,
    DurableOptions,
    DurableTasks,
    MemoryStateStore,
    RunHandle,
    SyncDurableClient,
    WorkflowContext,
    WorkflowService,
    app_scoped,
    current_step,
    workflow,
)
from fastapi_durable.injection import AppScoped
from tests.typing.accepted import (
    Account,
    Client,
    Delivery,
    Order,
    Receipt,
    Sweep,
    Warehouse,
    book,
    charge_card,
    checkout,
    count,
    dispatch,
    nightly,
)


async def wrong_steps(ctx: WorkflowContext) -> None:
    await ctx.step(charge_card, Receipt(text="not an order"))  # type: ignore[arg-type]
    await ctx.step(count, 1)  # type: ignore[arg-type]
    text: str = await ctx.step(charge_card, Order(id="1", cents=1))  # type: ignore[arg-type]
    await ctx.step(1)  # type: ignore[call-overload]
    await ctx.step(Warehouse.pick, 1)  # type: ignore[arg-type]
    await ctx.step(count, attempts=2)  # type: ignore[call-overload]
    await ctx.step(count, retry_on=[OSError])  # type: ignore[call-overload]
    await ctx.child(Delivery, 1)  # type: ignore[arg-type]
    await Delivery(Client()).charge(1)  # type: ignore[arg-type]
    number: int = text  # type: ignore[assignment]
    await ctx.sleep(number)  # type: ignore[arg-type]


async def wrong_waits(ctx: WorkflowContext, order: Order) -> None:
    number: int = await ctx.wait_for_signal("go", Receipt)  # type: ignore[arg-type]
    await ctx.wait_for_signal(number)  # type: ignore[call-overload]
    await ctx.wait_for_signal("go", timeout=5)  # type: ignore[call-overload]
    receipt: Receipt = await ctx.wait_for_event("paid", Order)  # type: ignore[arg-type]
    await ctx.wait_for_event("paid", match=receipt)  # type: ignore[call-overload]
    text: str = await (await ctx.webhook(Receipt)).wait()  # type: ignore[assignment]
    flag: bool = await ctx.on_update(text, Receipt)  # type: ignore[arg-type]
    await ctx.set_value(flag, 1)  # type: ignore[arg-type]
    await ctx.stream("orders", Order).append("not an order")  # type: ignore[arg-type]
    await ctx.stream("numbers", int).extend(["not", "numbers"])  # type: ignore[list-item]
    await current_step().stream("orders", Order).append(1)  # type: ignore[arg-type]
    await ctx.breakpoint(1)  # type: ignore[arg-type]
    await ctx.task("pick", charge_card, int)  # type: ignore[arg-type]
    await ctx.task("pick", dispatch, timeout=5)  # type: ignore[call-overload]
    await ctx.local_step("sum", charge_card)  # type: ignore[arg-type]
    await ctx.child(checkout, "not an order")  # type: ignore[arg-type]
    await ctx.all(checkout, order)  # type: ignore[call-overload]
    await ctx.all(checkout, [order], queue=1)  # type: ignore[call-overload]
    await ctx.sleep_until("1h")  # type: ignore[arg-type]
    current_step().sub("file", status="bad")  # type: ignore[arg-type]


@workflow(on_success=7)  # type: ignore[call-overload, untyped-decorator]
async def wrongly_followed(ctx: WorkflowContext) -> None: ...


async def wrong_values(ctx: WorkflowContext, order: Order) -> None:
    text: str = await ctx.now()  # type: ignore[assignment]
    text = await ctx.uuid()  # type: ignore[assignment]
    text = await ctx.random()  # type: ignore[assignment]
    text = await ctx.side_effect(order)  # type: ignore[arg-type]
    await ctx.patched(5)  # type: ignore[arg-type]
    await ctx.start_child(checkout, text)  # type: ignore[arg-type]
    await ctx.start_child(checkout, order, timeout="5s")  # type: ignore[call-overload]
    await ctx.gather(text)  # type: ignore[arg-type]
    await ctx.race(text, ctx.sleep("1h"))  # type: ignore[call-overload]
    await ctx.upsert_search_attributes([("key", 1)])  # type: ignore[arg-type]
    await ctx.transaction(book, text)  # type: ignore[arg-type]
    await ctx.transaction(book, order, compensate=dispatch)  # type: ignore[call-overload]
    await ctx.call_entity(Account, "a", Account.deposit, text)  # type: ignore[arg-type]
    await ctx.call_entity(Order, "a", Account.deposit, 5)  # type: ignore[arg-type]
    await ctx.signal_entity(Account, "a", Account.deposit, text)  # type: ignore[arg-type]
    ctx.continue_as_new(order, order)  # type: ignore[call-arg]


async def wrong_tasks(tasks: DurableTasks, workflows: WorkflowService, order: Order) -> None:
    await tasks.add(charge_card, "not an order")  # type: ignore[arg-type]
    await tasks.add(count, delay=5)  # type: ignore[call-overload]
    await tasks.add(count, key=1)  # type: ignore[call-overload]
    await tasks.add(count, timeout="1s")  # type: ignore[call-overload]
    text: str = await (await tasks.add(count)).result()  # type: ignore[assignment]
    tasks.handle(count, text)  # type: ignore[call-overload]
    await workflows.start(checkout, order, at="noon")  # type: ignore[call-overload]
    await workflows.start(checkout, order, if_exists="maybe")  # type: ignore[call-overload]
    await workflows.start_many(checkout, order)  # type: ignore[arg-type]
    await workflows.start_many(checkout, ["not an order"])  # type: ignore[arg-type]
    await workflows.start_many(checkout, [order], run_id="1")  # type: ignore[call-overload]
    await tasks.add(count, if_exists="maybe")  # type: ignore[call-overload]


async def wrong_transactions(workflows: WorkflowService, order: Order) -> None:
    async with workflows.transaction(Client, timeout=5) as tx:  # type: ignore[call-overload]
        await tx.start(checkout, 1)
    async with workflows.transaction(Client) as typed:
        await typed.start(checkout, "not an order")  # type: ignore[arg-type]
        await typed.client.refund(1)  # type: ignore[attr-defined]
        await typed.execute(checkout, order)  # type: ignore[attr-defined]
        name: str = await typed.start(checkout, order)  # type: ignore[assignment]
        workflows.transaction(name)  # type: ignore[call-overload]
        workflows.within()  # type: ignore[call-arg]


async def wrong_operations(workflows: WorkflowService, order: Order) -> None:
    await workflows.cancel(order)  # type: ignore[arg-type]
    await workflows.cancel_where("night")  # type: ignore[arg-type]
    await workflows.retry("1", order)  # type: ignore[call-arg]
    await workflows.retry_with_input(order)  # type: ignore[arg-type]
    await workflows.fork("1")  # type: ignore[call-arg]
    await workflows.delete_run("1", force="yes")  # type: ignore[arg-type]
    workflows.on_cancel(lambda: None)  # type: ignore[arg-type, misc]
    await workflows.list_runs("night")  # type: ignore[arg-type]
    await workflows.count_runs(at_most="5")  # type: ignore[arg-type]
    await workflows.run_facets("night")  # type: ignore[arg-type]
    await workflows.list_children("1")  # type: ignore[call-arg]
    await workflows.get_run_detail(order)  # type: ignore[arg-type]
    await workflows.get_timeline("1")  # type: ignore[call-arg]
    await workflows.waiting_for(1)  # type: ignore[arg-type]
    await workflows.workers("night")  # type: ignore[call-arg]
    await workflows.queues(at_most="5")  # type: ignore[arg-type]
    workflows.in_namespace(order)  # type: ignore[arg-type]
    workflows.in_namespace("tenant-a").start(checkout, order)  # type: ignore[attr-defined]
    workflows.add_subscriber(order)  # type: ignore[arg-type]
    workflows.register_update_validator(checkout, order, str)  # type: ignore[arg-type]
    await workflows.callback(order)  # type: ignore[arg-type]
    await workflows.signal_entity(Account, "a", Account.deposit, order)  # type: ignore[arg-type]
    state: Order | None = await workflows.get_entity_state(Account, "a")  # type: ignore[arg-type]
    workflows.handle(state)  # type: ignore[call-overload]
    await workflows.signal(order)  # type: ignore[arg-type]
    await workflows.signal_waiting("approve:1", order)  # type: ignore[call-arg]
    await workflows.update("1", order)  # type: ignore[arg-type]
    await workflows.continue_run("1", 5)  # type: ignore[arg-type]
    await workflows.complete_task("1")  # type: ignore[call-arg]


async def wrong_deliveries(workflows: WorkflowService, order: Order) -> None:
    await workflows.signal_with_start(checkout, order)  # type: ignore[call-overload]
    await workflows.signal_with_start(checkout, 1, token="go")  # type: ignore[arg-type]
    await workflows.publish_event(order)  # type: ignore[arg-type]
    text: str | None = await workflows.get_value("1", "progress", int)  # type: ignore[arg-type]
    await workflows.get_value("1", "progress", int, wait=5)  # type: ignore[call-overload]
    workflows.read_stream("1", "orders", Order, after="3")  # type: ignore[call-overload]
    await workflows.read_stream("1", "orders", Order)  # type: ignore[misc]
    await workflows.pause(1)  # type: ignore[arg-type]
    await workflows.resume(order)  # type: ignore[arg-type]
    await workflows.fail_task("1", "pick", text)  # type: ignore[arg-type]


async def wrong_starts(workflows: WorkflowService, order: Order) -> None:
    await workflows.start(checkout, "not an order")  # type: ignore[arg-type]
    await workflows.start(nightly, order)  # type: ignore[arg-type]
    await workflows.start(charge_card, order)  # type: ignore[arg-type]
    await workflows.start(Delivery, "not an order")  # type: ignore[arg-type]
    await workflows.start(Sweep, order)  # type: ignore[arg-type]
    await workflows.start(Warehouse, order)  # type: ignore[arg-type]
    await workflows.start(checkout, order, run=1)  # type: ignore[call-overload]
    text: str = await workflows.execute(Delivery, order)  # type: ignore[arg-type]
    await workflows.start(text, order, run_id=5)  # type: ignore[call-overload]
    handle: RunHandle[int] = await workflows.start(checkout, order)  # type: ignore[arg-type]
    await workflows.execute(checkout, 1, timeout="60s")  # type: ignore[arg-type]
    await workflows.execute(checkout, order, timeout=5)  # type: ignore[call-overload]
    result: str = await workflows.execute(checkout, order)  # type: ignore[arg-type]
    await handle.result(result, 1)  # type: ignore[call-arg]


async def wrong_clients(client: DurableClient, blocking: SyncDurableClient, order: Order) -> None:
    DurableClient(MemoryStateStore())  # type: ignore[arg-type]
    await client.start(checkout, order)  # type: ignore[call-overload]
    await client.start("checkout", order, unserved="maybe")  # type: ignore[call-overload]
    await client.start("checkout", order, run=1)  # type: ignore[call-overload]
    handle: RunHandle[int] = await client.start("checkout", order, returns=str)  # type: ignore[arg-type]
    await client.execute("checkout", order, timeout=5)  # type: ignore[call-overload]
    text: str = await client.execute("checkout", order, returns=int)  # type: ignore[arg-type]
    client.handle(handle)  # type: ignore[call-overload]
    await client.result(text, timeout=5)  # type: ignore[call-overload]
    await client.status(1)  # type: ignore[arg-type]
    await client.signal(1)  # type: ignore[arg-type]
    await client.update("run", 1)  # type: ignore[arg-type]
    await client.cancel("run", True)  # type: ignore[call-arg]
    await client.get_value("run", 1)  # type: ignore[call-overload]
    blocking.open(1)  # type: ignore[call-arg]
    blocking.close(1)  # type: ignore[call-arg]
    blocking.start(checkout, order)  # type: ignore[call-overload]
    await blocking.execute("checkout", order, returns=int)  # type: ignore[misc]
    blocking.handle(1)  # type: ignore[call-overload]
    blocking.result("run", timeout=5)  # type: ignore[call-overload]
    blocking.status(1)  # type: ignore[arg-type]
    blocking.signal(1)  # type: ignore[arg-type]
    blocking.update("run", 1)  # type: ignore[arg-type]
    blocking.cancel("run", True)  # type: ignore[call-arg]
    blocking.get_value("run", 1)  # type: ignore[call-overload]


def wrong_modules() -> None:
    DurableModule.for_root(MemoryStateStore())  # type: ignore[arg-type]
    DurableModule.for_root_async(use_factory=MemoryStateStore)  # type: ignore[arg-type]
    DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=checkout)  # type: ignore[arg-type]
    DurableModule.for_root(DurableOptions(store=MemoryStateStore())).stream_router(1)  # type: ignore[arg-type]
    DurableOptions(store=None)  # type: ignore[arg-type]
    DurableOptions(store=MemoryStateStore(), role="boss")  # type: ignore[arg-type]
    DurableOptions(store=MemoryStateStore(), lease=30)  # type: ignore[arg-type]
    DurableOptions(store=MemoryStateStore(), concurrency="4-64")  # type: ignore[arg-type]


@app_scoped
async def get_number() -> int:
    return 1


wrong: AppScoped[str] = get_number  # type: ignore[assignment]
