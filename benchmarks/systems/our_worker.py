"""`python -m benchmarks.systems.our_worker URL`: a worker of fastapi_durable in a process of its own, until its
standard input is closed.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from benchmarks.systems.our_workflows import CONFIG, WORKFLOWS
from fastapi_durable.engine.worker import Worker
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.prisma import PrismaStateStore
from fastapi_durable.wakeups.postgresql import PostgresWakeups
from fastapi_durable.wakeups.sqlite import SqliteWakeups
from tests.support.engine_rig import build_machinery


def client_of(url: str) -> Any:
    """The class of the generated client for a database."""
    return import_module(f"example_app.clients.{'sqlite' if url.startswith('file:') else 'postgresql'}").Prisma


@contextlib.asynccontextmanager
async def heard_by_others(engine: WorkflowService, url: str) -> AsyncIterator[None]:
    """Exchange word with other processes."""
    wakeups = SqliteWakeups(url) if url.startswith("file:") else PostgresWakeups(url)
    async with wakeups.joined(engine._kernel.notifications.on_message) as tell:
        with engine._kernel.notifications.joined_to(tell):
            yield


async def serve(url: str) -> None:
    async with client_of(url)(datasource={"url": url}) as client:
        engine = build_machinery(PrismaStateStore(client), *WORKFLOWS, config=CONFIG)
        worker = Worker(engine)
        async with heard_by_others(WorkflowService(engine.kernel), url):
            await worker.start()
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.read)
            await worker.stop()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
