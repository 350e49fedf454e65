"""kill -9 at random moments, while orders are in flight: twelve times, and sixty times in `make crashes`."""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.orders import KINDS, Purchase, audit, insist, until_ended
from tests.acceptance.processes import Process, Processes, database, free_port, processes, until

pytestmark = pytest.mark.slow

THOROUGH = os.environ.get("DURABLE_CRASHES") == "all"
KILLS = 60 if THOROUGH else 12
HITS = KILLS // 3
CUSTOMERS = 6
# Each step lasts this long, so that a checkout spans many of the moments at which a kill may come.
STEP_SECONDS = "0.2"


class Desk:
    """One process that serves and drives, and one that only drives; each is killed and started again many times."""

    def __init__(self, started: Processes, client: Any, moments: random.Random) -> None:
        self._started = started
        self._client = client
        self._moments = moments
        self._port = free_port()
        self.web = started.web(port=self._port)
        self.runs_hit = 0

    async def kill_web(self, kills: int) -> None:
        for _ in self._until_enough(kills):
            await self._live_and_die(self.web)
            self.web = self._started.web(port=self._port)

    async def kill_workers(self, kills: int) -> None:
        for _ in self._until_enough(kills):
            await self._live_and_die(self._started.worker())

    def _until_enough(self, kills: int) -> Iterator[int]:
        """So many, and more while they hardly hit anything: at random moments a process may have nothing to do."""
        return (kill for kill in range(4 * kills) if kill < kills or self.runs_hit < HITS)

    async def _live_and_die(self, process: Process) -> None:
        if self._moments.random() < 0.2:
            # while it starts
            await asyncio.sleep(self._moments.uniform(0, 0.5))
        else:
            born = time.monotonic()
            await process.ready()
            # On a busy machine everything takes longer, so a life is measured by how long its beginning took.
            await asyncio.sleep(self._moments.random() * max(1.5, 2 * (time.monotonic() - born)))
        process.kill()
        self.runs_hit += await self._client.durableworkflowrun.count(
            where={"status": "running", "lockedBy": {"startswith": f"{process.name}:"}}
        )


async def shop(desk: Desk, purchases: list[Purchase], moments: random.Random, enough: asyncio.Event) -> None:
    """A customer who orders again and again, and tries again whenever nobody answers."""
    while not enough.is_set():
        purchase = Purchase(f"order-{len(purchases) + 1}", moments.choice(KINDS))
        purchases.append(purchase)
        await until(partial(insist, desk, purchase), seconds=150, pause=0.1)
        await asyncio.sleep(moments.uniform(0.3, 1.5))


@pytest.mark.timeout(600 if THOROUGH else 300)
async def test_every_order_ends_and_nothing_happens_twice_however_often_the_processes_are_killed(
    database_url: str, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 (pytest shows it when the test fails)
    moments = random.Random(seed)
    purchases: list[Purchase] = []
    enough = asyncio.Event()
    with processes(database_url, tmp_path, forked=True, EXAMPLE_STEP_SECONDS=STEP_SECONDS) as started:
        async with database(database_url) as client, asyncio.TaskGroup() as group:
            desk = Desk(started, client, moments)
            for _ in range(CUSTOMERS):
                group.create_task(shop(desk, purchases, moments, enough))
            async with asyncio.TaskGroup() as dangers:
                dangers.create_task(desk.kill_web(KILLS // 2))
                dangers.create_task(desk.kill_workers(KILLS - KILLS // 2))
            enough.set()
        await desk.web.ready()
        await until_ended(desk.web, purchases)
        await audit(database_url, purchases)
    print(  # noqa: T201 (likewise)
        f"{len(purchases)} orders; the kills hit {desk.runs_hit} runs while they were driven"
    )
    assert desk.runs_hit >= HITS, "the kills hardly hit anything: the test shows nothing"
