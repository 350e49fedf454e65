"""A worker process of the catalogue: `python -m tests.primitives.processes URL NAME`. It drives until it is killed.

It says `ready` once it does.
"""

import asyncio
import sys
from datetime import timedelta

from fastapi_durable.engine.core.config import EngineConfig
from fastapi_durable.store.prisma import PrismaStateStore
from tests.primitives.case import CRASHES_OF_A_DEAD_RUN
from tests.primitives.catalogue import CASES
from tests.support.engine_rig import FAST, running_engine, tuned

LEASE = timedelta(seconds=1)
WORKFLOWS = list({workflow.__name__: workflow for case in CASES for workflow in case.workflows}.values())
ENTITIES = list({entity.__name__: entity for case in CASES for entity in case.entities}.values())
STEPS = list({step.__name__: step for case in CASES for step in case.steps}.values())
QUEUES = list({queue.name: queue for case in CASES for queue in case.queues}.values())


def config_of(name: str) -> EngineConfig:
    """Of a process that drives the runs of every namespace."""
    return tuned(
        FAST,
        instance_id=name,
        lease=LEASE,
        poll_interval=timedelta(milliseconds=50),
        concurrency=64,
        max_recovery_attempts=CRASHES_OF_A_DEAD_RUN - 1,
    )


async def work(url: str, name: str) -> None:
    """Drive runs for ever."""
    from example_app.clients.sqlite import Prisma

    async with (
        Prisma(datasource={"url": url}) as client,
        running_engine(
            PrismaStateStore(client),
            *WORKFLOWS,
            entities=ENTITIES,
            queues=QUEUES,
            steps=STEPS,
            config=config_of(name),
        ),
    ):
        print("ready", flush=True)  # noqa: T201 (the test waits for it)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2]))
