"""Limit how many runs work at a time: a printer that prints two pages at once.

It prints:

    [0, 1, 2, 3, 4, 5]
    at most 2 at a time: True
"""

import asyncio

from fastapi_durable import DurableModule, DurableOptions, MemoryStateStore, Queue, WorkflowContext, step, workflow

at_work = most = 0


@step
async def render(page: int) -> int:
    global at_work, most
    at_work += 1
    most = max(most, at_work)
    await asyncio.sleep(0.01)
    at_work -= 1
    return page


@workflow
async def print_page(ctx: WorkflowContext, page: int) -> int:
    return await ctx.step(render, page)


@workflow
async def print_book(ctx: WorkflowContext, pages: int) -> list[int]:
    return await ctx.all(print_page, list(range(pages)), queue="printer")


async def main() -> None:
    options = DurableOptions(store=MemoryStateStore(), queues=[Queue("printer", concurrency=2)], poll_interval="20ms")
    durable = DurableModule.for_root(options, workflows=[print_page, print_book])
    async with durable.running() as runtime:
        print(await runtime.service.execute(print_book, 6))
    print("at most 2 at a time:", most <= 2)


if __name__ == "__main__":
    asyncio.run(main())
