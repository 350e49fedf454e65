"""An engine of fastapi_durable with its worker, on a client that counts its statements."""

import asyncio
from datetime import timedelta
from typing import Any

from benchmarks.systems.our_workflows import CONFIG, WORKFLOWS, flow, many
from fastapi_durable.engine.worker import Worker
from fastapi_durable.model.records import RunStatus
from fastapi_durable.service.facade import WorkflowService
from fastapi_durable.store.prisma import PrismaStateStore
from tests.support.engine_rig import build_machinery


class OurCore:
    """What every case needs.

    Args:
        counted: Its one number grows with each statement that the client sends.
    """

    def __init__(self, client: Any, url: str, counted: list[int]) -> None:
        self.client = client
        self.url = url
        self.store = PrismaStateStore(client)
        self._counted = counted
        self.engine, self.worker = self._new_worker()

    async def begin(self) -> None:
        await self.store.ensure_schema()
        await self.worker.start()

    async def end(self) -> None:
        await self.worker.stop(timedelta(seconds=5))

    async def restart(self) -> None:
        """Another engine and worker, as another process would have them."""
        self.engine, self.worker = self._new_worker()
        await self.worker.start()

    def statements(self) -> int:
        return self._counted[0]

    async def one_step(self, value: int) -> int:
        return await (await self.engine.start(flow, value)).result()

    async def steps(self, number: int) -> int:
        return await (await self.engine.start(many, number)).result()

    def _new_worker(self) -> tuple[WorkflowService, Worker]:
        engine = build_machinery(self.store, *WORKFLOWS, config=CONFIG)
        return WorkflowService(engine.kernel), Worker(engine)

    async def until_waiting(self, run_id: str) -> None:
        async with asyncio.timeout(60):
            while (run := await self.store.find_run(run_id)) is None or run.status is not RunStatus.SUSPENDED:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def until_none_is(self, *statuses: RunStatus) -> None:
        listed = ", ".join(f"'{status}'" for status in statuses)
        query = f"SELECT 1 AS found FROM durable_workflow_runs WHERE status IN ({listed}) LIMIT 1"
        while await self.client.query_raw(query):  # noqa: ASYNC110 (it happens in the database)
            await asyncio.sleep(0.02)


async def started(engine: WorkflowService, number: int) -> list[Any]:
    """Runs that nobody drives yet."""
    handles: list[Any] = []
    for batch in range(0, number, 200):
        handles += await asyncio.gather(*(engine.start(flow, n) for n in range(batch, min(number, batch + 200))))
    return handles
