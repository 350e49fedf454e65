"""Who starts jobs, sends them their signals and waits for their results, and does not give up when nobody answers."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi_durable import WorkflowService
from fastapi_durable.errors import StoreUnavailableError
from fastapi_durable.model.errors import StoreError
from tests.chaos.workload import SIGNALS, Job, do_job, expected_output, note_of, payload_of, token

T = TypeVar("T")


class Customers:
    """They share the numbering of jobs.

    Attributes:
        jobs: Every job whose start was begun; the auditor wants each of them ended.
        sent_again: Signals whose sender got no answer and sent them again; the second one may be left in the buffer.
        wrong: Results that were not as expected.
    """

    def __init__(self, service: WorkflowService, moments: random.Random) -> None:
        self._service = service
        self._moments = moments
        self.jobs: list[str] = []
        self.sent_again: set[str] = set()
        self.wrong: list[str] = []
        self.closing = asyncio.Event()

    async def shop(self) -> None:
        """Job after job, until closing time."""
        while not self.closing.is_set():
            job = f"job-{len(self.jobs) + 1}"
            self.jobs.append(job)
            await insist(lambda: self._service.start(do_job, Job(id=job), run_id=job))  # noqa: B023 (awaited here)
            for number in range(SIGNALS):
                await asyncio.sleep(self._moments.uniform(0, 0.3))
                await self._send(job, number)
            await self._update(job)
            output = await insist(lambda: self._service.handle(job, do_job).result())  # noqa: B023 (likewise)
            if output != expected_output(job):
                self.wrong.append(f"{job} returned {output!r}")

    async def _send(self, job: str, number: int) -> None:
        name = token(job, number)

        def again() -> None:
            self.sent_again.add(name)

        await insist(
            lambda: self._service.signal(name, payload_of(job, number), signal_id=f"{job}/{number}"), otherwise=again
        )

    async def _update(self, job: str) -> None:
        again: list[str] = []

        def once_more() -> None:
            again.append(job)
            self.sent_again.add(f"update:{job}:note")

        result = await insist(lambda: self._service.update(job, "note", note_of(job)), otherwise=once_more)
        # One that is sent again may find the run at its end: the first one had arrived.
        if not result.accepted and not again:
            self.wrong.append(f"{job} refused its update: {result.reason}")


async def insist(call: Callable[[], Awaitable[T]], *, otherwise: Callable[[], Any] = lambda: None) -> T:
    """Call until there is an answer."""
    while True:
        try:
            return await call()
        except (StoreUnavailableError, StoreError):
            otherwise()
            await asyncio.sleep(0.1)
