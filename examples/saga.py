"""Undo finished steps when a later one fails: the saga pattern.

It prints:

    released the seat on LH 7
    run 'trip-7' of workflow 'book_trip' failed: step 'reserve_hotel' failed after 1 attempt: no rooms
"""

import asyncio

from fastapi_durable import (
    DurableModule,
    DurableOptions,
    FatalError,
    MemoryStateStore,
    RunFailedError,
    Undo,
    WorkflowContext,
    step,
    workflow,
)


@step
async def reserve_flight(trip: str) -> str:
    return f"seat on {trip}"


@step
async def release_flight(done: Undo[str, str]) -> None:
    print(f"released the {done.output}")


@step
async def reserve_hotel(trip: str) -> str:
    raise FatalError("no rooms")


@workflow
async def book_trip(ctx: WorkflowContext, trip: str) -> None:
    await ctx.step(reserve_flight, trip, compensate=release_flight)
    await ctx.step(reserve_hotel, trip)


async def main() -> None:
    durable = DurableModule.for_root(DurableOptions(store=MemoryStateStore()), workflows=[book_trip])
    async with durable.running() as runtime:
        try:
            await runtime.service.execute(book_trip, "LH 7", run_id="trip-7")
        except RunFailedError as error:
            print(error)


if __name__ == "__main__":
    asyncio.run(main())
