"""A process that stands still for longer than its leases hold, as one whose machine is suspended or swaps."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.orders import KINDS, Purchase, audit, decide, place, until_ended
from tests.acceptance.processes import Process, database, processes, until

pytestmark = pytest.mark.slow

LEASE_SECONDS = 1.0


async def rows(database_url: str) -> list[Any]:
    """Everything that runs and steps have left."""
    async with database(database_url) as client:
        runs = await client.durableworkflowrun.find_many(order={"id": "asc"})
        steps = await client.durablestepcheckpoint.find_many(order=[{"runId": "asc"}, {"seq": "asc"}])
        entries = await client.ledgerentry.find_many(order={"id": "asc"})
        return [row.model_dump() for row in (*runs, *steps, *entries)]


async def pause_between_writes(process: Process, database_url: str) -> None:
    """Stop it while it holds no lock of an SQLite file: nobody could write until it goes on, whatever they do."""

    async def is_paused() -> bool:
        process.pause()
        if is_writable(database_url):
            return True
        process.go_on()
        return False

    await until(is_paused)


def is_writable(database_url: str) -> bool:
    if not database_url.startswith("file:"):
        return True
    with closing(sqlite3.connect(database_url.removeprefix("file:"), timeout=0.1, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
        return True


async def test_a_process_that_wakes_after_three_leases_records_nothing_of_what_others_have_done(
    database_url: str, tmp_path: Path
) -> None:
    purchases = [Purchase(f"order-{number}", KINDS[number % 3]) for number in range(3)]
    with processes(database_url, tmp_path, forked=True, DURABLE_LEASE=f"{LEASE_SECONDS}s") as started:
        desk, paused = started.web(DURABLE_ROLE="api"), started.worker(EXAMPLE_STEP_SECONDS="6")
        await asyncio.gather(desk.ready(), paused.ready())
        await asyncio.gather(*(place(desk, purchase) for purchase in purchases))

        async with database(database_url) as client:

            async def is_charging() -> bool:
                where = {"name": "charge_card", "status": "running"}
                return bool(await client.durablestepcheckpoint.count(where=where))

            await until(is_charging)
        await pause_between_writes(paused, database_url)
        began = time.monotonic()
        substitute = started.worker()
        for purchase in purchases:
            if purchase.kind != "small":
                await decide(desk, purchase)
        await until_ended(desk, purchases)
        await asyncio.sleep(began + 3 * LEASE_SECONDS - time.monotonic())
        done = await rows(database_url)

        paused.go_on()

        async def has_noticed() -> bool:
            return "lost its lease" in paused.output

        await until(has_noticed)
        paused.terminate()
        assert await paused.exit_code() == 0
        assert "Traceback" not in paused.output
        assert await rows(database_url) == done
        assert substitute.is_alive
        await audit(database_url, purchases)
