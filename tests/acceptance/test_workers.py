"""Several processes on one database."""

import asyncio
from pathlib import Path

import pytest

from tests.acceptance.orders import KINDS, Purchase, audit, decide, has_run_status, place, until_ended
from tests.acceptance.processes import database, processes, until

pytestmark = pytest.mark.slow


async def test_two_processes_share_the_work_and_do_nothing_twice(database_url: str, tmp_path: Path) -> None:
    purchases = [Purchase(f"order-{number}", KINDS[number % 3]) for number in range(24)]
    # Few places, so that neither process can take all the runs.
    with processes(database_url, tmp_path, forked=True, EXAMPLE_STEP_SECONDS="0.1", DURABLE_CONCURRENCY="3") as started:
        web, worker = started.web(), started.worker()
        await asyncio.gather(web.ready(), worker.ready())
        drivers: set[str] = set()
        async with database(database_url) as client, asyncio.TaskGroup() as group:

            async def both_were_seen_driving() -> bool:
                for run in await client.durableworkflowrun.find_many(where={"status": "running"}):
                    drivers.add(run.lockedBy.partition(":")[0] if run.lockedBy else "")
                return {web.name, worker.name} <= drivers

            group.create_task(until(both_were_seen_driving))
            for purchase in purchases:
                await place(web, purchase)
        for purchase in purchases:
            if purchase.kind != "small":
                await decide(web, purchase)
        await until_ended(web, purchases)
        await audit(database_url, purchases)


async def test_a_web_process_without_a_worker_leaves_the_runs_to_a_worker_process(
    database_url: str, tmp_path: Path
) -> None:
    purchase = Purchase("order-1", "approved")
    with processes(database_url, tmp_path, forked=True) as started:
        web = started.web(DURABLE_ROLE="api")
        await web.ready()
        await place(web, purchase)
        assert await has_run_status(web, purchase, "pending")
        started.worker()
        await until(lambda: has_run_status(web, purchase, "suspended"))
        await decide(web, purchase)
        await until_ended(web, [purchase])
        await audit(database_url, [purchase])
