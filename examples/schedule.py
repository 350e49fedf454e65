"""Start a workflow at set times.

It prints:

    sched:sync
"""

import asyncio

from fastapi_durable import DurableModule, DurableOptions, MemoryStateStore, Schedule, WorkflowContext, workflow

sent: list[str] = []


@workflow
async def send_digest(ctx: WorkflowContext) -> None:
    sent.append(ctx.run_id)


schedules = [
    Schedule(key="digest", workflow=send_digest, cron="0 7 * * MON-FRI", timezone="Europe/Berlin", overlap="skip"),
    Schedule(key="sync", workflow=send_digest, every="100ms"),
]


async def main() -> None:
    options = DurableOptions(store=MemoryStateStore(), schedules=schedules, poll_interval="20ms")
    async with DurableModule.for_root(options, workflows=[send_digest]).running():
        while not sent:
            await asyncio.sleep(0.01)
    print(sent[0].rpartition(":")[0])


if __name__ == "__main__":
    asyncio.run(main())
