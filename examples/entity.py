"""An account whose operations run one after the other, whoever sends them.

It prints:

    [True, True, True, False] cents=10
"""

import asyncio

from pydantic import BaseModel

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    MemoryStateStore,
    WorkflowContext,
    entity,
    operation,
    workflow,
)


@entity
class Account(BaseModel):
    cents: int = 0

    @operation
    def deposit(self, cents: int) -> int:
        self.cents += cents
        return self.cents

    @operation
    def withdraw(self, cents: int) -> bool:
        if cents > self.cents:
            return False
        self.cents -= cents
        return True


@workflow
async def pay(ctx: WorkflowContext, cents: int) -> bool:
    return await ctx.call_entity(Account, "ada", Account.withdraw, cents)


async def main() -> None:
    options = DurableOptions(store=MemoryStateStore())
    async with DurableModule.for_root(options, workflows=[pay], entities=[Account]).running() as runtime:
        service = runtime.service
        await service.signal_entity(Account, "ada", Account.deposit, 100)
        paid = [await service.execute(pay, 30) for _ in range(4)]
        state = await service.get_entity_state(Account, "ada")
        print(paid, state)


if __name__ == "__main__":
    asyncio.run(main())
