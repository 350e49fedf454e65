"""Mistakes that a type checker must find: each ignored error is one, and mypy reports an ignore that is not needed.

Checked, never executed: mypy runs over it with the rest of the repository.
"""

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    MemoryStateStore,
    RunHandle,
    WorkflowContext,
    WorkflowService,
    app_scoped,
)
from fastapi_durable.injection import AppScoped
from tests.typing.accepted import Order, Receipt, charge_card, checkout, count, nightly


async def wrong_steps(ctx: WorkflowContext) -> None:
    await ctx.step(charge_card, Receipt(text="not an order"))  # type: ignore[arg-type]
    await ctx.step(count, 1)  # type: ignore[arg-type]
    text: str = await ctx.step(charge_card, Order(id="1", cents=1))  # type: ignore[arg-type]
    await ctx.step(1)  # type: ignore[call-overload]
    number: int = text  # type: ignore[assignment]
    await ctx.sleep(number)  # type: ignore[arg-type]


async def wrong_starts(workflows: WorkflowService, order: Order) -> None:
    await workflows.start(checkout, "not an order")  # type: ignore[arg-type]
    await workflows.start(nightly, order)  # type: ignore[arg-type]
    await workflows.start(charge_card, order)  # type: ignore[arg-type]
    handle: RunHandle[int] = await workflows.start(checkout, order)  # type: ignore[arg-type]
    await workflows.execute(checkout, 1, timeout="5s")  # type: ignore[arg-type]
    await workflows.execute(checkout, order, timeout=5)  # type: ignore[call-overload]
    result: str = await workflows.execute(checkout, order)  # type: ignore[arg-type]
    await handle.result(result, 1)  # type: ignore[call-arg]


def wrong_modules() -> None:
    DurableModule.for_root(MemoryStateStore())  # type: ignore[arg-type]
    DurableModule.for_root_async(use_factory=MemoryStateStore)  # type: ignore[arg-type]
    DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=checkout)  # type: ignore[arg-type]
    DurableOptions(store=None)  # type: ignore[arg-type]
    DurableOptions(store=MemoryStateStore(), role="boss")  # type: ignore[arg-type]
    DurableOptions(store=MemoryStateStore(), lease=30)  # type: ignore[arg-type]


@app_scoped
async def get_number() -> int:
    return 1


wrong: AppScoped[str] = get_number  # type: ignore[assignment]
