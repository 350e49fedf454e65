"""Test three days of waiting in a moment, with a clock that the test moves.

It prints:

    passed
"""

import asyncio

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    MemoryStateStore,
    SignalTimeoutError,
    WorkflowContext,
    workflow,
)
from fastapi_durable.testing import HandClock, settled


@workflow
async def invite(ctx: WorkflowContext, guest: str) -> str:
    try:
        await ctx.wait_for_signal(f"reply:{guest}", timeout="3 days")
    except SignalTimeoutError:
        return f"{guest} did not reply"
    return f"{guest} replied"


async def test_a_guest_who_does_not_reply() -> None:
    clock = HandClock()
    durable = DurableModule.for_root(DurableOptions(store=MemoryStateStore(), clock=clock), workflows=[invite])
    async with durable.running() as runtime:
        handle = await runtime.service.start(invite, "ada")
        await settled(runtime)
        clock.move(days=3)
        await settled(runtime)
        assert await handle.result() == "ada did not reply"


if __name__ == "__main__":
    asyncio.run(test_a_guest_who_does_not_reply())
    print("passed")
